/* Whether ingest and the pusher read every column the rules need, where the configuration is at hand.
 *
 * A column the rules compare and nobody reads would be unknown for ever: its field would silently not be kept the same.
 * Columns that are only written need no reading. Only the list of columns is read of the CRM's section; its other keys
 * are other programs' (secrets among them). */
#ifndef TANDEM_MAPPER_COLUMN_CHECK_H
#define TANDEM_MAPPER_COLUMN_CHECK_H

#include <stdbool.h>

#include "common/runtime/config.h"
#include "mapper/rules.h"

struct column_check {
    struct config_list columns; /* the default ones where the configuration has the section and names none */
    bool has_section;           /* false: nothing is known, and nothing is checked */
};

/* `check` is borrowed by the section. */
struct config_section column_check_section(struct column_check *check);
/* -1 with an error for each column that is not read, at its first place in the rules. `diagnostics` are those the rules
 * were loaded with. */
int column_check(const struct column_check *check, const struct rules *rules, struct diagnostics *diagnostics)
    TANDEM_MUST_CHECK;

#endif
