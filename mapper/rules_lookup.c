#include "mapper/rules_lookup.h"

#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/rules_language.h"
#include "mapper/rules_path.h"
#include "mapper/value.h"

static int read_match(const struct rules_loading *loading, const struct yaml_node *lookup, struct position position,
                      json_t *ret_match)
{
    const struct yaml_node *node = yaml_get(lookup, "match");

    if (node == NULL || node->kind != YAML_SEQUENCE || node->count == 0)
        return diagnostics_error(loading->diagnostics, node == NULL ? position : node->position,
                                 "a lookup needs 'match', the list of attributes it is found by");
    for (size_t i = 0; i < node->count; i++) {
        if (rules_path_check_plain(loading->diagnostics, node->items[i], SIDE_CRM) < 0)
            return -1;
        if (strchr(node->items[i]->text, '.') != NULL)
            return diagnostics_error(loading->diagnostics, node->items[i]->position,
                                     "an attribute of the looked-up record has no dot");
        if (json_array_append_new(ret_match, json_string(node->items[i]->text)) < 0)
            return rules_no_memory(loading);
    }
    return 0;
}

int rules_table_read(const struct rules_loading *loading, const struct yaml_node *key, const struct yaml_node *node,
                     const char *what, json_t *described)
{
    const struct yaml_node *entity = yaml_get(node, "entity");
    const struct yaml_node *set = yaml_get(node, "entity_set");
    int status = 0;

    if (entity == NULL)
        status = diagnostics_error(loading->diagnostics, key->position, "%s needs 'entity'", what);
    else if (rules_path_check_plain(loading->diagnostics, entity, SIDE_CRM) < 0)
        status = -1;
    else if (json_object_set_new(described, "entity", json_string(entity->text)) < 0)
        return rules_no_memory(loading);
    if (set == NULL)
        return status;
    if (rules_path_check_name(loading->diagnostics, set, "the entity_set") < 0)
        return -1;
    return json_object_set_new(described, "entity_set", json_string(set->text)) < 0 ? rules_no_memory(loading) : status;
}

int rules_lookup_read(const struct rules_loading *loading, const struct yaml_node *key, const struct yaml_node *node,
                      json_t *lookups)
{
    const struct yaml_node *create = yaml_get(node, "create");
    json_auto_t *match = json_array();
    json_auto_t *lookup = json_object();
    bool may_create = false;
    int status = 0;

    if (rules_path_check_plain(loading->diagnostics, key, SIDE_CRM) < 0)
        return -1;
    if (strchr(key->text, '.') != NULL)
        return diagnostics_error(loading->diagnostics, key->position, "a lookup is a column of the record itself");
    if (rules_language_check(loading->diagnostics, node, RULES_LOOKUP) < 0)
        return -1;
    if (rules_table_read(loading, key, node, "the lookup", lookup) < 0)
        status = -1;
    if (create != NULL && !yaml_get_boolean(create, &may_create))
        status = diagnostics_error(loading->diagnostics, create->position, "'create' must be true or false");
    if (match == NULL || lookup == NULL)
        return rules_no_memory(loading);
    if (read_match(loading, node, key->position, match) < 0 || status < 0)
        return -1;
    if (json_object_set(lookup, "match", match) < 0 ||
        json_object_set_new(lookup, "create", json_boolean(may_create)) < 0 ||
        json_object_set(lookups, key->text, lookup) < 0)
        return rules_no_memory(loading);
    return 0;
}

int rules_lookups_load(const struct rules_loading *loading)
{
    const struct yaml_node *node = yaml_get(loading->root, "lookups");
    int status = 0;

    loading->rules->lookups = json_object();
    if (loading->rules->lookups == NULL)
        return rules_no_memory(loading);
    if (node == NULL)
        return 0;
    if (node->kind != YAML_MAPPING)
        return diagnostics_error(loading->diagnostics, node->position, "lookups are a mapping of columns");
    for (size_t i = 0; i < node->count; i++) {
        if (rules_lookup_read(loading, node->keys[i], node->items[i], loading->rules->lookups) < 0)
            status = -1;
    }
    return status;
}

int rules_lookup_check_attribute(const struct rules_loading *loading, struct position position, const json_t *lookup,
                                 const char *attribute)
{
    json_auto_t *name = NULL;

    if (lookup == NULL || json_flag_of(lookup, "create", false))
        return 0; /* without a lookup: it is described wrongly, which was reported */
    name = json_string(attribute);
    if (name == NULL)
        return rules_no_memory(loading);
    if (value_is_among(json_object_get(lookup, "match"), name))
        return 0;
    return diagnostics_error(loading->diagnostics, position,
                             "'%s' would never be written: it is not in the lookup's 'match', and 'create' is not true",
                             attribute);
}

int rules_lookup_check(const struct rules_loading *loading, const struct yaml_node *node, bool is_written)
{
    const char *dot = strchr(node->text, '.');
    const json_t *lookup;
    char name[RULES_PATH_BYTES_MAX + 1];

    if (!is_written || dot == NULL || rules_path_shape(node->text) != RULES_PATH_PLAIN)
        return 0;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(dot - node->text), node->text);
    if (yaml_get(yaml_get(loading->root, "lookups"), name) == NULL)
        return diagnostics_error(loading->diagnostics, node->position, "the lookup '%s' is not under 'lookups'", name);
    lookup = json_object_get(loading->rules->lookups, name);
    return rules_lookup_check_attribute(loading, node->position, lookup, dot + 1);
}

int rules_lookups_check(const struct rules_loading *loading)
{
    const struct yaml_node *lookups = yaml_get(loading->root, "lookups");
    int status = 0;

    for (size_t i = 0; lookups != NULL && i < lookups->count; i++) {
        const char *name = lookups->keys[i]->text;
        const json_t *match = json_object_get(json_object_get(loading->rules->lookups, name), "match");
        for (size_t k = 0; k < json_array_size(match); k++) {
            const char *attribute = json_string_value(json_array_get(match, k));
            bool is_fed = false;
            for (size_t w = 0; w < loading->written_count && !is_fed; w++) {
                const char *path = loading->written[w].path;
                is_fed = loading->written[w].side == SIDE_CRM && text_starts_with(path, name) &&
                         path[strlen(name)] == '.' && strcmp(path + strlen(name) + 1, attribute) == 0;
            }
            if (!is_fed)
                status = diagnostics_error(loading->diagnostics, lookups->keys[i]->position,
                                           "no field writes '%s.%s', by which the record is found", name, attribute);
        }
    }
    return status;
}
