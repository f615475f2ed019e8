/* The columns of the CRM that have to be read for the rules, each with its first place in the rule file.
 *
 * Internal to the rules' loader. Pure. */
#ifndef TANDEM_MAPPER_RULES_COLUMN_H
#define TANDEM_MAPPER_RULES_COLUMN_H

#include "mapper/rules_loading.h"

/* Fills rules->columns, once fields and conditions are loaded without errors. -1 after an error was reported. */
int rules_columns_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;

#endif
