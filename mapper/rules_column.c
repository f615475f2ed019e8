#include "mapper/rules_column.h"

#include <stdlib.h>
#include <string.h>

#include "mapper/rules_path.h"

/* Takes `name` over; NULL is out of memory. */
static int add_column(const struct rules_loading *loading, char *name, struct position position)
{
    struct rules *rules = loading->rules;
    struct rule_column *columns;

    for (size_t i = 0; i < rules->column_count && name != NULL; i++) {
        if (text_equal(rules->columns[i].name, name)) {
            free(name);
            return 0;
        }
    }
    columns = name == NULL ? NULL : realloc(rules->columns, (rules->column_count + 1) * sizeof(*columns));
    if (columns == NULL) {
        free(name);
        return rules_no_memory(loading);
    }
    rules->columns = columns;
    rules->columns[rules->column_count++] = (struct rule_column){.name = name, .position = position};
    return 0;
}

/* A path as the columns that are read for it: "rows[]{a,b.c}" as "rows[].a" and "rows[].b.c". */
static int add_path(const struct rules_loading *loading, const struct yaml_node *node)
{
    char *path = rules_path_new(node->text);
    const char *infix = path != NULL && rules_path_shape(path) == RULES_PATH_LIST ? "[]" : "";
    size_t length;
    const char *member;
    int status = 0;

    if (path == NULL)
        return rules_no_memory(loading);
    member = rules_path_members(path, &length);
    if (member == NULL)
        return add_column(loading, path, node->position);
    for (; member != NULL && status == 0; member = rules_path_next_member(member, &length))
        status = add_column(
            loading, text_format("%.*s%s.%.*s", (int)rules_path_base_length(path), path, infix, (int)length, member),
            node->position);
    free(path);
    return status;
}

/* Creating a record asks for nothing that stands in it; all else does. */
static bool is_read(const struct rule_field *field)
{
    return field->is_written_on_update[SIDE_CRM] || field->is_written_on_update[SIDE_PARTNER_CENTER] ||
           field->is_written_on_create[SIDE_PARTNER_CENTER] || field->is_written_on_invite;
}

static int add_paths(const struct rules_loading *loading, const struct yaml_node *paths)
{
    if (paths->kind != YAML_SEQUENCE)
        return add_path(loading, paths);
    for (size_t i = 0; i < paths->count; i++) {
        if (add_path(loading, paths->items[i]) < 0)
            return -1;
    }
    return 0;
}

int rules_columns_load(const struct rules_loading *loading)
{
    static const char *const identity_keys[] = {"identifier", "sync", "audit"};
    static const char *const condition_keys[] = {"select", "closed", "invitation"};
    const struct yaml_node *identity = yaml_get(loading->root, "identity");
    const struct yaml_node *fields = yaml_get(loading->root, "fields");

    for (size_t i = 0; i < ARRAY_LENGTH(identity_keys); i++) {
        const struct yaml_node *column = yaml_get(identity, identity_keys[i]);
        if (column != NULL && add_path(loading, column) < 0)
            return -1;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(condition_keys); i++) {
        const struct yaml_node *conditions =
            yaml_get(yaml_get(loading->root, condition_keys[i]), RULES_SIDE_KEYS[SIDE_CRM]);
        for (size_t k = 0; conditions != NULL && k < conditions->count; k++) {
            if (add_path(loading, conditions->keys[k]) < 0)
                return -1;
        }
    }
    for (size_t i = 0; i < loading->rules->field_count; i++) {
        const struct yaml_node *paths = yaml_get(fields->items[i], RULES_SIDE_KEYS[SIDE_CRM]);
        if (paths != NULL && is_read(&loading->rules->fields[i]) && add_paths(loading, paths) < 0)
            return -1;
    }
    return 0;
}
