#include "mapper/table.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules_language.h"
#include "mapper/rules_path.h"
#include "mapper/rules_yaml.h"
#include "mapper/value.h"

static const char *const side_keys[SIDE_COUNT] = {[SIDE_PARTNER_CENTER] = "partner_center", [SIDE_CRM] = "crm"};

const json_t *table_find(const json_t *rows, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (value_matches(json_object_get(row, "from"), value))
            return row;
    }
    return NULL;
}

int table_add(json_t *rows, const json_t *from, const json_t *to)
{
    json_t *row;

    if (table_find(rows, from) != NULL)
        return 1;
    row = json_object();
    if (json_object_set_new(row, "from", json_deep_copy(from)) < 0 ||
        (to != NULL && json_object_set_new(row, "to", json_deep_copy(to)) < 0)) {
        json_decref(row);
        return -1;
    }
    return json_array_append_new(rows, row) < 0 ? -1 : 0;
}

/* While a table is read: per side written, the places of the rows in use, so that an ambiguity can name both. */
struct reading {
    struct diagnostics *diagnostics;
    struct table *table;
    struct position *places[SIDE_COUNT];
};

/* One side of a row: a scalar, or a list of as many as the table's other rows have. NULL: an error was reported. */
static json_t *read_cell(struct reading *reading, const struct yaml_node *node, enum side side)
{
    struct table *table = reading->table;
    const size_t count = node->kind == YAML_SEQUENCE ? node->count : 1;
    json_t *list;

    if (node->kind == YAML_MAPPING || count == 0 || count > RULE_PATHS_MAX) {
        diagnostics_error(reading->diagnostics, node->position, "a value or a list of up to %d values is expected",
                          (int)RULE_PATHS_MAX);
        return NULL;
    }
    if (table->arity[side] == 0)
        table->arity[side] = count;
    if (table->arity[side] != count) {
        diagnostics_error(reading->diagnostics, node->position, "%zu value%s for '%s', where the table has %zu", count,
                          count == 1 ? "" : "s", side_keys[side], table->arity[side]);
        return NULL;
    }
    list = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = node->kind == YAML_SEQUENCE ? node->items[i] : node;
        if (item->kind != YAML_SCALAR) {
            diagnostics_error(reading->diagnostics, item->position, "a value is expected, not a %s",
                              rules_yaml_kind_name(item->kind));
            json_decref(list);
            return NULL;
        }
        if (json_array_append_new(list, value_from_yaml(item)) < 0) {
            rules_yaml_no_memory(reading->diagnostics);
            json_decref(list);
            return NULL;
        }
    }
    if (count == 1) {
        json_t *only = json_incref(json_array_get(list, 0));
        json_decref(list);
        return only;
    }
    return list;
}

static int add_row(struct reading *reading, const struct yaml_node *node, enum side target, const json_t *from,
                   const json_t *to)
{
    json_t *rows = reading->table->rows[target];
    struct position *places = reading->places[target];
    const size_t count = json_array_size(rows);

    switch (table_add(rows, from, to)) {
    case 0:
        places[count] = node->position;
        return 0;
    case 1:
        break;
    default:
        rules_yaml_no_memory(reading->diagnostics);
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (!value_matches(json_object_get(json_array_get(rows, i), "from"), from))
            continue;
        diagnostics_error(reading->diagnostics, node->position,
                          "ambiguous towards %s: the row in line %zu has the same value of '%s' (say which holds with "
                          "'direction')",
                          side_name(target), places[i].line, side_keys[side_other(target)]);
        diagnostics_report(reading->diagnostics, DIAGNOSTIC_NOTE, places[i], "the other row");
        break;
    }
    return -1;
}

/* NULL in ret_cell: `leave`. */
static int read_side(struct reading *reading, const struct yaml_node *row, enum side side, json_t **ret_cell)
{
    const struct yaml_node *cell = yaml_get(row, side_keys[side]);

    *ret_cell = NULL;
    if (cell == NULL)
        return diagnostics_error(reading->diagnostics, row->position, "the row has no '%s'", side_keys[side]);
    if (rules_yaml_is_leave(cell))
        return 0;
    *ret_cell = read_cell(reading, cell, side);
    return *ret_cell == NULL ? -1 : 0;
}

static int read_row(struct reading *reading, const struct yaml_node *node)
{
    json_auto_t *partner_center = NULL;
    json_auto_t *crm = NULL;
    bool is_towards[SIDE_COUNT] = {true, true};
    int status = 0;

    if (rules_language_check(reading->diagnostics, node, RULES_TABLE_ROW) < 0)
        return -1;
    if (read_side(reading, node, SIDE_PARTNER_CENTER, &partner_center) < 0)
        status = -1;
    if (read_side(reading, node, SIDE_CRM, &crm) < 0)
        status = -1;
    if (rules_yaml_direction(reading->diagnostics, yaml_get(node, "direction"), is_towards) < 0)
        status = -1;
    if (status < 0)
        return -1;
    if (partner_center == NULL && crm == NULL)
        return diagnostics_error(reading->diagnostics, node->position, "both sides of the row are 'leave'");
    if (is_towards[SIDE_CRM] && partner_center != NULL && add_row(reading, node, SIDE_CRM, partner_center, crm) < 0)
        status = -1;
    if (is_towards[SIDE_PARTNER_CENTER] && crm != NULL &&
        add_row(reading, node, SIDE_PARTNER_CENTER, crm, partner_center) < 0)
        status = -1;
    return status;
}

/* The names of the columns are for people; their number is the table's. */
static int read_header(struct reading *reading, const struct yaml_node *node)
{
    int status = 0;

    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *names = yaml_get(node, side_keys[side]);
        if (names == NULL)
            continue;
        if (names->kind == YAML_MAPPING || (names->kind == YAML_SEQUENCE && names->count > RULE_PATHS_MAX) ||
            (names->kind == YAML_SEQUENCE && names->count == 0)) {
            status = diagnostics_error(reading->diagnostics, names->position, "a name or a list of names is expected");
            continue;
        }
        reading->table->arity[side] = names->kind == YAML_SEQUENCE ? names->count : 1;
    }
    return status;
}

static int read_rows(struct reading *reading, const struct yaml_node *rows, struct position position)
{
    int status = 0;

    if (rows == NULL || rows->kind != YAML_SEQUENCE || rows->count == 0)
        return diagnostics_error(reading->diagnostics, rows == NULL ? position : rows->position,
                                 "the table needs 'rows', a list");
    if (rows->count > TABLE_ROWS_MAX)
        return diagnostics_error(reading->diagnostics, rows->position, "more than %d rows", (int)TABLE_ROWS_MAX);
    for (int side = 0; side < SIDE_COUNT; side++) {
        reading->places[side] = calloc(rows->count, sizeof(struct position));
        if (reading->places[side] == NULL) {
            rules_yaml_no_memory(reading->diagnostics);
            return -1;
        }
    }
    for (size_t i = 0; i < rows->count; i++) {
        if (read_row(reading, rows->items[i]) < 0)
            status = -1;
    }
    for (int side = 0; side < SIDE_COUNT; side++) {
        /* Only 'leave' on that side: nothing is ever written, so one value is as good as any. */
        if (reading->table->arity[side] == 0)
            reading->table->arity[side] = 1;
    }
    return status;
}

int table_load(struct diagnostics *diagnostics, const struct yaml_node *key, const struct yaml_node *node,
               struct table *ret_table)
{
    struct reading reading = {.diagnostics = diagnostics, .table = ret_table};
    int status;

    *ret_table = (struct table){.name = text_copy(key->text), .position = key->position};
    ret_table->rows[SIDE_PARTNER_CENTER] = json_array();
    ret_table->rows[SIDE_CRM] = json_array();
    if (ret_table->name == NULL || ret_table->rows[SIDE_PARTNER_CENTER] == NULL || ret_table->rows[SIDE_CRM] == NULL) {
        rules_yaml_no_memory(diagnostics);
        return -1;
    }
    if (rules_language_check(diagnostics, node, RULES_TABLE) < 0)
        return -1;
    status = read_header(&reading, node);
    if (read_rows(&reading, yaml_get(node, "rows"), key->position) < 0)
        status = -1;
    free(reading.places[SIDE_PARTNER_CENTER]);
    free(reading.places[SIDE_CRM]);
    return status;
}

void table_done(struct table *table)
{
    free(table->name);
    json_decref(table->rows[SIDE_PARTNER_CENTER]);
    json_decref(table->rows[SIDE_CRM]);
    *table = (struct table){0};
}
