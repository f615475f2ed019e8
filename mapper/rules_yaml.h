/* The questions that every part of the rules' loader asks of a YAML node, each answered with a diagnostic.
 *
 * Internal to the rules' loader, table.c and transform_load.c. Pure. */
#ifndef TANDEM_MAPPER_RULES_YAML_H
#define TANDEM_MAPPER_RULES_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/yaml.h"
#include "mapper/side.h"

/* All return -1 after an error was reported. */

void rules_yaml_no_memory(struct diagnostics *diagnostics);
const char *rules_yaml_kind_name(enum yaml_kind kind);

/* `node` is a mapping with no other keys than these; `what` as in "unknown key 'x' in a row". */
int rules_yaml_check_keys(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what,
                          const char *const *keys, size_t count) TANDEM_MUST_CHECK;
/* A scalar that is one of the words; its index, or -1. `what` as in "unknown policy 'x'". */
int rules_yaml_word(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what,
                    const char *const *words, size_t count) TANDEM_MUST_CHECK;
/* The plain word `leave`: nothing is written. */
bool rules_yaml_is_leave(const struct yaml_node *node);
/* A scalar that is not empty. NULL after an error. */
const char *rules_yaml_text(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what);
/* to-crm, to-partner-center or both, by the side written; an absent node (NULL) changes nothing. */
int rules_yaml_direction(struct diagnostics *diagnostics, const struct yaml_node *node,
                         bool ret_towards[static SIDE_COUNT]) TANDEM_MUST_CHECK;

#endif
