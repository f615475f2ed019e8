#include "mapper/rules_condition.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/rules_path.h"
#include "mapper/value.h"

/* The plain word `present`; in quotes it is that text. */
static json_t *read_value(const struct yaml_node *node)
{
    return !node->is_quoted && strcmp(node->text, "present") == 0 ? value_present_new() : value_from_yaml(node);
}

json_t *rules_condition_values(const struct rules_loading *loading, const struct yaml_node *node)
{
    const size_t count = node->kind == YAML_SEQUENCE ? node->count : 1;
    json_t *values = json_array();

    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = node->kind == YAML_SEQUENCE ? node->items[i] : node;
        if (item->kind != YAML_SCALAR) {
            diagnostics_error(loading->diagnostics, item->position, "a value is expected, not a %s",
                              rules_yaml_kind_name(item->kind));
            json_decref(values);
            return NULL;
        }
        if (json_array_append_new(values, read_value(item)) < 0) {
            rules_no_memory(loading);
            json_decref(values);
            return NULL;
        }
    }
    if (count == 0) {
        diagnostics_error(loading->diagnostics, node->position, "the list of values is empty, so nothing can hold");
        json_decref(values);
        return NULL;
    }
    return values;
}

int rules_condition_load(const struct rules_loading *loading, const struct yaml_node *node, enum side side,
                         json_t **ret_conditions)
{
    json_t *conditions;
    int status = 0;

    if (node->kind != YAML_MAPPING || node->count == 0)
        return diagnostics_error(loading->diagnostics, node->position, "a mapping of paths to values is expected");
    conditions = json_object();
    for (size_t i = 0; i < node->count; i++) {
        json_t *values;
        char *path;
        if (rules_path_check(loading->diagnostics, node->keys[i], side) < 0) {
            status = -1;
            continue;
        }
        values = rules_condition_values(loading, node->items[i]);
        if (values == NULL) {
            status = -1;
            continue;
        }
        path = rules_path_new(node->keys[i]->text);
        if (path == NULL || json_object_set(conditions, path, values) < 0)
            status = rules_no_memory(loading);
        json_decref(values);
        free(path);
    }
    if (status < 0)
        json_decref(conditions);
    else
        *ret_conditions = conditions;
    return status;
}

int rules_conditions_load(const struct rules_loading *loading, const char *key,
                          json_t *ret_conditions[static SIDE_COUNT])
{
    const struct yaml_node *node = yaml_get(loading->root, key);
    int status = 0;

    if (node == NULL)
        return 0;
    status = rules_yaml_check_keys(loading->diagnostics, node, key, RULES_SIDE_KEYS, SIDE_COUNT);
    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *conditions = yaml_get(node, RULES_SIDE_KEYS[side]);
        if (conditions != NULL && rules_condition_load(loading, conditions, (enum side)side, &ret_conditions[side]) < 0)
            status = -1;
    }
    return status;
}
