/* What the parts of the rules' loader share while one file is read.
 *
 * Internal to rules_load.c, which owns it, and to rules_condition.c, rules_lookup.c, rules_rows.c and
 * rules_field.c. The YAML outlives
 * it. Pure. */
#ifndef TANDEM_MAPPER_RULES_LOADING_H
#define TANDEM_MAPPER_RULES_LOADING_H

#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/text.h"
#include "common/base/yaml.h"
#include "mapper/rules.h"
#include "mapper/rules_yaml.h"
#include "mapper/table.h"

/* One path a field writes, for finding two that write the same. */
struct rules_written {
    const char *path;
    size_t field; /* its number */
    enum side side;
    struct position position;
};

struct rules_loading {
    struct diagnostics *diagnostics;
    const struct yaml_node *root;
    struct rules *rules;
    struct table *tables;
    size_t table_count;
    struct rules_written *written;
    size_t written_count;
};

/* The sides' names in a rule file. */
extern const char *const RULES_SIDE_KEYS[SIDE_COUNT];

/* Both return -1 after an error was reported. */
static inline int rules_no_memory(const struct rules_loading *loading)
{
    rules_yaml_no_memory(loading->diagnostics);
    return -1;
}

static inline int rules_copy_text(const struct rules_loading *loading, char **ret_copy, const char *text)
{
    *ret_copy = text_copy(text);
    return *ret_copy == NULL ? rules_no_memory(loading) : 0;
}

#endif
