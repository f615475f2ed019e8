/* A YAML document as a tree of nodes that know where they stand in their file.
 *
 * For configuration and rules only: one document, block or flow, plain scalars stay text (no implicit typing beyond
 * what the asking function does), no anchors, aliases, tags or duplicate keys; bounded in size, depth and nodes.
 * Built on libyaml. Reads memory, not files. The tree owns copies of everything; free with yaml_node_free(). */
#ifndef TANDEM_BASE_YAML_H
#define TANDEM_BASE_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/diagnostic.h"

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    struct position position; /* of the first character; length of the token (scalars) */
    char *text;               /* scalars: the value; else NULL */
    bool is_quoted;           /* scalars: written in quotes or as a block, so never null, number or boolean */
    size_t count;             /* items of a sequence, pairs of a mapping */
    struct yaml_node **keys;  /* mappings: scalars */
    struct yaml_node **items; /* sequences: items; mappings: values */
};

enum { YAML_BYTES_MAX = 4 * 1024 * 1024, YAML_DEPTH_MAX = 32, YAML_NODES_MAX = 200000 };

/* NULL on failure, with at least one error in `diagnostics`. `source` comes from diagnostics_add_source(). An empty
 * document is an empty mapping. */
struct yaml_node *yaml_parse(struct diagnostics *diagnostics, const struct source *source);
/* Not called yaml_free: libyaml exports that name, and ours would take its place there. */
void yaml_node_free(struct yaml_node *node);
TANDEM_DEFINE_AUTO(yaml, struct yaml_node *, yaml_node_free)

/* Value of a key of a mapping, NULL when absent. */
const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key);
bool yaml_is_null(const struct yaml_node *node);                           /* plain ~, null or empty */
bool yaml_get_boolean(const struct yaml_node *node, bool *ret_value);      /* plain true/false, yes/no */
bool yaml_get_integer(const struct yaml_node *node, long long *ret_value); /* plain decimal integer */

#endif
