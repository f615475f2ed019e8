/* Whether ingest reads every column the rules use, where both are configured in the same file.
 *
 * A column the rules use and nobody reads would be unknown for ever: its field would silently not be kept the same. Only
 * the list of columns is read of the CRM's section; its other keys are other programs' (secrets among them). */
#ifndef TANDEM_MAPPER_COLUMN_CHECK_H
#define TANDEM_MAPPER_COLUMN_CHECK_H

#include <stdbool.h>

#include "common/runtime/config.h"
#include "mapper/rules.h"

struct column_check {
    struct config_list columns; /* empty when the configuration names none: the defaults suit the default rules */
    bool has_section;
};

/* `check` is borrowed by the section. */
struct config_section column_check_section(struct column_check *check);
/* -1 with an error for each column that is not read. */
int column_check(const struct column_check *check, const struct rules *rules, struct diagnostics *diagnostics)
    TANDEM_MUST_CHECK;

#endif
