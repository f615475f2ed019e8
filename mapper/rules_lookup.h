/* The lookups of a rule file: which record a column of the CRM points to, what it is found by, whether it is created.
 *
 * Internal to the rules' loader. Pure. All return -1 after an error was reported. */
#ifndef TANDEM_MAPPER_RULES_LOOKUP_H
#define TANDEM_MAPPER_RULES_LOOKUP_H

#include <stdbool.h>

#include "mapper/rules_loading.h"

/* What names a table: `described` gets "entity" and, where it is given, "entity_set". `what` as in "the lookup needs". */
int rules_table_read(const struct rules_loading *loading, const struct yaml_node *key, const struct yaml_node *node,
                     const char *what, json_t *described) TANDEM_MUST_CHECK;
/* One lookup, for {column: lookup}. */
int rules_lookup_read(const struct rules_loading *loading, const struct yaml_node *key, const struct yaml_node *node,
                      json_t *lookups) TANDEM_MUST_CHECK;
/* An attribute that is written of what a lookup (NULL: described wrongly) points to has a use. */
int rules_lookup_check_attribute(const struct rules_loading *loading, struct position position, const json_t *lookup,
                                 const char *attribute) TANDEM_MUST_CHECK;

int rules_lookups_load(const struct rules_loading *loading) TANDEM_MUST_CHECK;
/* "customerid_account.name", a path of a field that writes it: the lookup is described, and the attribute has a use. What
 * is only read needs neither. */
int rules_lookup_check(const struct rules_loading *loading, const struct yaml_node *node, bool is_written)
    TANDEM_MUST_CHECK;
/* When all fields are loaded: what a lookup is found by is written by some field. */
int rules_lookups_check(const struct rules_loading *loading) TANDEM_MUST_CHECK;

#endif
