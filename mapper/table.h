/* A value table of the rules: rows that say which values of one side stand for which of the other.
 *
 * Read once, with both directions laid out for look-up; a direction in which a value has two rows is refused at load. The
 * rows are shared by reference count with the transforms that use them. Pure. */
#ifndef TANDEM_MAPPER_TABLE_H
#define TANDEM_MAPPER_TABLE_H

#include <jansson.h>
#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/yaml.h"
#include "mapper/side.h"

enum { TABLE_ROWS_MAX = 1000 };

struct table {
    char *name;
    size_t arity[SIDE_COUNT]; /* values per row */
    json_t *rows[SIDE_COUNT]; /* by the side that is written: [{"from", "to"}]; without "to": write nothing */
    struct position position; /* of its name */
    bool is_used;
};

/* -1 with errors in `diagnostics`; the table must be released in any case. */
int table_load(struct diagnostics *diagnostics, const struct yaml_node *key, const struct yaml_node *node,
               struct table *ret_table) TANDEM_MUST_CHECK;
void table_done(struct table *table);

/* The row for a value; borrowed, NULL: there is none. */
const json_t *table_find(const json_t *rows, const json_t *value);

/* Appends a row and says whether `from` had one already: 1 then (and nothing is appended), 0, -1 out of memory.
 * Borrows; `to` may be NULL. */
int table_add(json_t *rows, const json_t *from, const json_t *to) TANDEM_MUST_CHECK;

#endif
