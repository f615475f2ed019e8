/* The lookups of a rule file: which record a column of the CRM points to, what it is found by, whether it is created.
 *
 * Internal to the rules' loader. Pure. All return -1 after an error was reported. */
#ifndef TANDEM_MAPPER_RULES_LOOKUP_H
#define TANDEM_MAPPER_RULES_LOOKUP_H

#include <stdbool.h>

#include "mapper/rules_loading.h"

int rules_lookups_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;
/* "customerid_account.name", a path of a field that writes it: the lookup is described, and the attribute has a use. What
 * is only read needs neither. */
int rules_lookup_check(const struct rules_loading *loading, const struct yaml_node *node, bool is_written)
    TANDEM_MUST_CHECK;
/* When all fields are loaded: what a lookup is found by is written by some field. */
int rules_lookups_check(const struct rules_loading *loading) TANDEM_MUST_CHECK;

#endif
