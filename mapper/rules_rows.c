#include "mapper/rules_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/rules_language.h"
#include "mapper/rules_lookup.h"
#include "mapper/rules_path.h"

static const char SECTION[] = "rows";

/* -- the section --------------------------------------------------------------------------------------------------- */

static int read_parent(const struct rules_loading *loading, const struct yaml_node *key, const struct yaml_node *node,
                       json_t *rows)
{
    const struct yaml_node *parent = yaml_get(node, "parent");

    if (parent == NULL)
        return diagnostics_error(loading->diagnostics, key->position,
                                 "the rows need 'parent', which points to the record they belong to");
    if (rules_path_check_name(loading->diagnostics, parent, "the parent") < 0)
        return -1;
    return json_object_set_new(rows, "parent", json_string(parent->text)) < 0 ? rules_no_memory(loading) : 0;
}

static int read_lookups(const struct rules_loading *loading, const struct yaml_node *node, json_t *rows)
{
    const struct yaml_node *lookups = yaml_get(node, "lookups");
    json_t *described = json_object();
    int status = 0;

    if (json_object_set_new(rows, "lookups", described) < 0)
        return rules_no_memory(loading);
    if (lookups == NULL)
        return 0;
    if (lookups->kind != YAML_MAPPING)
        return diagnostics_error(loading->diagnostics, lookups->position, "lookups are a mapping of columns");
    for (size_t i = 0; i < lookups->count; i++) {
        if (rules_lookup_read(loading, lookups->keys[i], lookups->items[i], described) < 0)
            status = -1;
    }
    return status;
}

static int read_rows(const struct rules_loading *loading, const struct yaml_node *key, const struct yaml_node *node)
{
    json_auto_t *rows = json_object();
    int status = 0;

    if (rules_path_check_name(loading->diagnostics, key, "what rows are named by") < 0 ||
        rules_language_check(loading->diagnostics, node, RULES_ROWS) < 0)
        return -1;
    if (rows == NULL)
        return rules_no_memory(loading);
    if (rules_table_read(loading, key, node, "what makes rows", rows) < 0)
        status = -1;
    if (read_parent(loading, key, node, rows) < 0)
        status = -1;
    if (read_lookups(loading, node, rows) < 0)
        status = -1;
    if (status < 0)
        return -1;
    return json_object_set(loading->rules->rows, key->text, rows) < 0 ? rules_no_memory(loading) : 0;
}

int rules_rows_load(const struct rules_loading *loading)
{
    const struct yaml_node *node = yaml_get(loading->root, SECTION);
    int status = 0;

    loading->rules->rows = json_object();
    if (loading->rules->rows == NULL)
        return rules_no_memory(loading);
    if (node == NULL)
        return 0;
    if (node->kind != YAML_MAPPING)
        return diagnostics_error(loading->diagnostics, node->position, "rows are a mapping of navigation properties");
    for (size_t i = 0; i < node->count; i++) {
        if (read_rows(loading, node->keys[i], node->items[i]) < 0)
            status = -1;
    }
    return status;
}

/* -- the fields' paths --------------------------------------------------------------------------------------------- */

static bool names_member(const char *path, const char *lookup, const char *attribute)
{
    const size_t lookup_length = strlen(lookup), attribute_length = strlen(attribute);
    size_t length;

    for (const char *member = rules_path_members(path, &length); member != NULL;
         member = rules_path_next_member(member, &length)) {
        if (length == lookup_length + 1 + attribute_length && strncmp(member, lookup, lookup_length) == 0 &&
            member[lookup_length] == '.' && strncmp(member + lookup_length + 1, attribute, attribute_length) == 0)
            return true;
    }
    return false;
}

/* A lookup of the rows that the path names at all is found by what the path names. */
static int check_match(const struct rules_loading *loading, struct position position, const char *path,
                       const char *lookup, const json_t *match)
{
    int status = 0;

    for (size_t i = 0; i < json_array_size(match); i++) {
        const char *attribute = json_string_value(json_array_get(match, i));
        if (!names_member(path, lookup, attribute))
            status =
                diagnostics_error(loading->diagnostics, position,
                                  "the path has no member '%s.%s', by which the record is found", lookup, attribute);
    }
    return status;
}

static int check_member(const struct rules_loading *loading, struct position position, const char *path,
                        const char *member, size_t length, const char *rows, const json_t *lookups)
{
    char name[RULES_PATH_BYTES_MAX + 1];
    const json_t *lookup;
    char *dot;

    (void)snprintf(name, sizeof(name), "%.*s", (int)length, member);
    dot = strchr(name, '.');
    if (dot == NULL)
        return 0;
    *dot = '\0';
    lookup = json_object_get(lookups, name);
    if (lookup == NULL)
        return diagnostics_error(loading->diagnostics, position, "the lookup '%s' is not among the 'lookups' of '%s'",
                                 name, rows);
    if (rules_lookup_check_attribute(loading, position, lookup, dot + 1) < 0)
        return -1;
    return check_match(loading, position, path, name, json_object_get(lookup, "match"));
}

static int check_members(const struct rules_loading *loading, struct position position, const char *path,
                         const char *rows, const json_t *lookups)
{
    size_t length;

    for (const char *member = rules_path_members(path, &length); member != NULL;
         member = rules_path_next_member(member, &length)) {
        if (check_member(loading, position, path, member, length, rows, lookups) < 0)
            return -1;
    }
    return 0;
}

int rules_rows_check(const struct rules_loading *loading, const struct yaml_node *node, const struct rule_field *field)
{
    char name[RULES_PATH_BYTES_MAX + 1];
    const json_t *rows;
    char *path;
    int status;

    if (rules_path_shape(node->text) != RULES_PATH_LIST)
        return 0;
    (void)snprintf(name, sizeof(name), "%.*s", (int)rules_path_base_length(node->text), node->text);
    if (field->is_written_on_update[SIDE_CRM])
        return diagnostics_error(loading->diagnostics, node->position,
                                 "child rows are made with a new record only: afterwards the list is the seller's (say "
                                 "'on: [create]', or 'direction: to-partner-center' to read them)");
    if (yaml_get(yaml_get(loading->root, SECTION), name) == NULL)
        return diagnostics_error(loading->diagnostics, node->position,
                                 "'%s' is not under 'rows', where it stands how child rows are made", name);
    rows = json_object_get(loading->rules->rows, name);
    if (rows == NULL)
        return 0; /* described wrongly, which was reported */
    path = rules_path_new(node->text);
    if (path == NULL)
        return rules_no_memory(loading);
    status = check_members(loading, node->position, path, name, json_object_get(rows, "lookups"));
    free(path);
    return status;
}

void rules_rows_warn_of_unused(const struct rules_loading *loading)
{
    const struct yaml_node *rows = yaml_get(loading->root, SECTION);

    for (size_t i = 0; rows != NULL && i < rows->count; i++) {
        const char *name = rows->keys[i]->text;
        bool is_used = false;
        for (size_t w = 0; w < loading->written_count && !is_used; w++) {
            const char *path = loading->written[w].path;
            is_used = loading->written[w].side == SIDE_CRM && rules_path_shape(path) == RULES_PATH_LIST &&
                      rules_path_base_length(path) == strlen(name) && text_starts_with(path, name);
        }
        if (!is_used)
            diagnostics_report(loading->diagnostics, DIAGNOSTIC_WARNING, rows->keys[i]->position,
                               "no field writes the rows of '%s'", name);
    }
}
