/* Conditions of a rule file: {path: [values]}, and the values alone.
 *
 * Internal to the rules' loader; rules_hold() judges by them. Pure. */
#ifndef TANDEM_MAPPER_RULES_CONDITION_H
#define TANDEM_MAPPER_RULES_CONDITION_H

#include "mapper/rules_loading.h"

/* A list of values, or one alone, as a list that is not empty for value_is_wanted(); new reference. NULL after an error
 * was reported. */
json_t *rules_condition_values(const struct rules_loading *loading, const struct yaml_node *node);
/* What stands under `key` ("select", "closed") for each side; a side nothing is said of is left as it is. -1 after an
 * error was reported. */
int rules_conditions_load(const struct rules_loading *loading, const char *key,
                          json_t *ret_conditions[static SIDE_COUNT]) TANDEM_MUST_CHECK;

/* One side's conditions, {path: [values]} or {path: value}; written only on success. -1 after an error was reported. */
int rules_condition_load(const struct rules_loading *loading, const struct yaml_node *node, enum side side,
                         json_t **ret_conditions) TANDEM_MUST_CHECK;

#endif
