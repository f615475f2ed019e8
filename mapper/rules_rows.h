/* The child rows of a rule file: how the rows are made that a field writes with a new CRM record.
 *
 * Internal to the rules' loader. A row's own columns and lookups are the members of the field's path
 * ("solutions[]{price,productid.number}"); here stands what the path does not say. Pure. */
#ifndef TANDEM_MAPPER_RULES_ROWS_H
#define TANDEM_MAPPER_RULES_ROWS_H

#include "mapper/rules_loading.h"

/* Both return -1 after an error was reported. */
int rules_rows_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;
/* A path of the CRM that `field` writes: where it is a list, its rows can be made as it says, and only with a new record. */
int rules_rows_check(const struct rules_loading *loading, const struct yaml_node *path, const struct rule_field *field)
    TANDEM_MUST_CHECK;

/* When all fields are loaded. */
void rules_rows_warn_of_unused(const struct rules_loading *loading);

#endif
