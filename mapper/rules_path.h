/* The paths a rule file may name: dotted names, at Partner Center also numbers of a list's items.
 *
 * Internal to the rules' loader. Knows how a path is written, not what it holds. Pure. */
#ifndef TANDEM_MAPPER_RULES_PATH_H
#define TANDEM_MAPPER_RULES_PATH_H

#include <stdbool.h>

#include "common/base/diagnostic.h"
#include "common/base/yaml.h"
#include "mapper/rules.h"

enum { RULES_PATH_BYTES_MAX = 200 };

/* Names, and where it `may_index` numbers of a list's items, with single dots between them. */
bool rules_path_is_valid(const char *path, bool may_index);
/* -1 after an error was reported. A CRM path is a column, or lookup.attribute. */
int rules_path_check(struct diagnostics *diagnostics, const struct yaml_node *node, enum side side) TANDEM_MUST_CHECK;
/* One holds the other: "details" and "details.dealValue". */
bool rules_paths_overlap(const char *a, const char *b);
/* Does it lead through an item of a list? */
bool rules_path_has_index(const char *path);

#endif
