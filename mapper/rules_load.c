/* Reading and checking a rule file. */
#include "mapper/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/base/yaml.h"
#include "mapper/rules_yaml.h"
#include "mapper/table.h"
#include "mapper/transform.h"
#include "mapper/value.h"

enum { VERSION_DIGITS = 16, PATH_BYTES_MAX = 200, NAME_BYTES_MAX = 64, TABLES_MAX = 100 };

static const char *const side_keys[SIDE_COUNT] = {[SIDE_PARTNER_CENTER] = "partner_center", [SIDE_CRM] = "crm"};

/* One path a field writes, for finding two that write the same. */
struct written {
    const char *path;
    size_t field; /* its number */
    enum side side;
    struct position position;
};

struct loading {
    struct diagnostics *diagnostics;
    const struct yaml_node *root;
    struct rules *rules;
    struct table *tables;
    size_t table_count;
    struct written *written;
    size_t written_count;
};

static int no_memory(const struct loading *loading)
{
    rules_yaml_no_memory(loading->diagnostics);
    return -1;
}

static int copy_text(const struct loading *loading, char **ret_copy, const char *text)
{
    *ret_copy = text_copy(text);
    return *ret_copy == NULL ? no_memory(loading) : 0;
}

/* -- paths --------------------------------------------------------------------------------------------------------- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Names, and at Partner Center numbers of a list's items, with single dots between them. */
static bool path_is_valid(const char *path, bool may_index)
{
    size_t names = 0;

    for (;;) {
        const bool is_index = is_digit(path[0]);
        if (is_index ? !may_index || names == 0 : !is_letter(path[0]))
            return false;
        while (is_digit(path[0]) || (!is_index && is_letter(path[0])))
            path++;
        names++;
        if (path[0] == '\0')
            return true;
        if (path[0] != '.')
            return false;
        path++;
    }
}

static size_t count_of(const char *text, char c)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += *text == c;
    return count;
}

static int check_path(const struct loading *loading, const struct yaml_node *node, enum side side)
{
    if (node->kind != YAML_SCALAR)
        return diagnostics_error(loading->diagnostics, node->position, "a path is expected, not a %s",
                                 rules_yaml_kind_name(node->kind));
    if (strlen(node->text) > PATH_BYTES_MAX)
        return diagnostics_error(loading->diagnostics, node->position, "a path of more than %d characters",
                                 (int)PATH_BYTES_MAX);
    if (side == SIDE_CRM && (!path_is_valid(node->text, false) || count_of(node->text, '.') > 1))
        return diagnostics_error(loading->diagnostics, node->position, "'%s' is no column: a name, or lookup.attribute",
                                 node->text);
    if (side == SIDE_PARTNER_CENTER && (!path_is_valid(node->text, true) || strcmp(node->text, "microsoft") == 0))
        return diagnostics_error(loading->diagnostics, node->position,
                                 "'%s' is no path: names with single dots between them, like details.dealValue",
                                 node->text);
    return 0;
}

/* -- conditions ---------------------------------------------------------------------------------------------------- */

static json_t *read_values(const struct loading *loading, const struct yaml_node *node)
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
        if (json_array_append_new(values, value_from_yaml(item)) < 0) {
            no_memory(loading);
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

/* {path: [values]} or {path: value}. */
static int read_conditions(const struct loading *loading, const struct yaml_node *node, enum side side,
                           json_t **ret_conditions)
{
    json_t *conditions;
    int status = 0;

    if (node->kind != YAML_MAPPING || node->count == 0)
        return diagnostics_error(loading->diagnostics, node->position, "a mapping of paths to values is expected");
    conditions = json_object();
    for (size_t i = 0; i < node->count; i++) {
        json_t *values;
        if (check_path(loading, node->keys[i], side) < 0) {
            status = -1;
            continue;
        }
        values = read_values(loading, node->items[i]);
        if (values == NULL)
            status = -1;
        else if (json_object_set_new(conditions, node->keys[i]->text, values) < 0)
            status = no_memory(loading);
    }
    if (status < 0)
        json_decref(conditions);
    else
        *ret_conditions = conditions;
    return status;
}

static int read_side_conditions(const struct loading *loading, const char *key,
                                json_t *ret_conditions[static SIDE_COUNT])
{
    const struct yaml_node *node = yaml_get(loading->root, key);
    int status = 0;

    if (node == NULL)
        return 0;
    status = rules_yaml_check_keys(loading->diagnostics, node, key, side_keys, SIDE_COUNT);
    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *conditions = yaml_get(node, side_keys[side]);
        if (conditions != NULL && read_conditions(loading, conditions, (enum side)side, &ret_conditions[side]) < 0)
            status = -1;
    }
    return status;
}

/* -- head ---------------------------------------------------------------------------------------------------------- */

static int read_column(const struct loading *loading, const struct yaml_node *identity, const char *key,
                       bool is_required, char **ret_column)
{
    const struct yaml_node *node = yaml_get(identity, key);

    if (node == NULL)
        return is_required ? diagnostics_error(loading->diagnostics, identity->position, "the identity needs '%s'", key)
                           : 0;
    if (check_path(loading, node, SIDE_CRM) < 0)
        return -1;
    if (strchr(node->text, '.') != NULL)
        return diagnostics_error(loading->diagnostics, node->position, "'%s' must be a column of the record itself",
                                 key);
    return copy_text(loading, ret_column, node->text);
}

static int read_identity(const struct loading *loading)
{
    static const char *const keys[] = {"identifier", "sync", "audit", "link"};
    static const char *const links[] = {"as-soon-as-created", "with-acceptance"};
    const struct yaml_node *node = yaml_get(loading->root, "identity");
    const struct yaml_node *link = yaml_get(node, "link");
    struct rules *rules = loading->rules;
    int status = 0, word = 0;

    if (node == NULL)
        return diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'identity'");
    if (rules_yaml_check_keys(loading->diagnostics, node, "identity", keys, ARRAY_LENGTH(keys)) < 0)
        status = -1;
    if (node->kind != YAML_MAPPING)
        return -1;
    if (read_column(loading, node, "identifier", true, &rules->identifier_column) < 0)
        status = -1;
    if (read_column(loading, node, "sync", true, &rules->sync_column) < 0)
        status = -1;
    if (read_column(loading, node, "audit", false, &rules->audit_column) < 0)
        status = -1;
    if (link != NULL)
        word = rules_yaml_word(loading->diagnostics, link, "link", links, ARRAY_LENGTH(links));
    rules->link_waits_for_acceptance = word == 1;
    return word < 0 ? -1 : status;
}

static int read_head(const struct loading *loading)
{
    static const char *const systems[] = {"dynamics-365", "salesforce"};
    const struct yaml_node *version = yaml_get(loading->root, "version");
    const struct yaml_node *crm = yaml_get(loading->root, "crm");
    const struct yaml_node *record = yaml_get(loading->root, "record");
    long long number = 1;
    int status = 0, word;

    if (version == NULL)
        status = diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'version: 1'");
    else if (!yaml_get_integer(version, &number) || number != 1)
        status =
            diagnostics_error(loading->diagnostics, version->position, "the only version of the rule language is 1");
    if (crm == NULL) {
        status = diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'crm'");
    } else {
        word = rules_yaml_word(loading->diagnostics, crm, "CRM", systems, ARRAY_LENGTH(systems));
        if (word < 0 || copy_text(loading, &loading->rules->crm, systems[word]) < 0)
            status = -1;
    }
    if (record == NULL)
        return diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'record'");
    if (record->kind != YAML_SCALAR || !path_is_valid(record->text, false) || strchr(record->text, '.') != NULL)
        return diagnostics_error(loading->diagnostics, record->position,
                                 "the record is a table's name, like opportunity");
    if (copy_text(loading, &loading->rules->record_type, record->text) < 0)
        return -1;
    return status;
}

/* -- lookups ------------------------------------------------------------------------------------------------------- */

static int read_match(const struct loading *loading, const struct yaml_node *lookup, struct position position,
                      json_t *ret_match)
{
    const struct yaml_node *node = yaml_get(lookup, "match");

    if (node == NULL || node->kind != YAML_SEQUENCE || node->count == 0)
        return diagnostics_error(loading->diagnostics, node == NULL ? position : node->position,
                                 "a lookup needs 'match', the list of attributes it is found by");
    for (size_t i = 0; i < node->count; i++) {
        if (check_path(loading, node->items[i], SIDE_CRM) < 0)
            return -1;
        if (strchr(node->items[i]->text, '.') != NULL)
            return diagnostics_error(loading->diagnostics, node->items[i]->position,
                                     "an attribute of the looked-up record has no dot");
        if (json_array_append_new(ret_match, json_string(node->items[i]->text)) < 0)
            return no_memory(loading);
    }
    return 0;
}

static int read_lookup(const struct loading *loading, const struct yaml_node *key, const struct yaml_node *node)
{
    static const char *const keys[] = {"entity", "match", "create"};
    const struct yaml_node *entity = yaml_get(node, "entity");
    const struct yaml_node *create = yaml_get(node, "create");
    json_auto_t *match = json_array();
    json_t *lookup;
    bool may_create = false;
    int status = 0;

    if (check_path(loading, key, SIDE_CRM) < 0)
        return -1;
    if (strchr(key->text, '.') != NULL)
        return diagnostics_error(loading->diagnostics, key->position, "a lookup is a column of the record itself");
    if (rules_yaml_check_keys(loading->diagnostics, node, "a lookup", keys, ARRAY_LENGTH(keys)) < 0)
        return -1;
    if (entity == NULL)
        status = diagnostics_error(loading->diagnostics, key->position, "the lookup needs 'entity'");
    else if (check_path(loading, entity, SIDE_CRM) < 0)
        status = -1;
    if (create != NULL && !yaml_get_boolean(create, &may_create))
        status = diagnostics_error(loading->diagnostics, create->position, "'create' must be true or false");
    if (match == NULL)
        return no_memory(loading);
    if (read_match(loading, node, key->position, match) < 0 || status < 0)
        return -1;
    lookup = json_pack("{s:s, s:O, s:b}", "entity", entity->text, "match", match, "create", may_create);
    if (json_object_set_new(loading->rules->lookups, key->text, lookup) < 0)
        return no_memory(loading);
    return 0;
}

static int read_lookups(const struct loading *loading)
{
    const struct yaml_node *node = yaml_get(loading->root, "lookups");
    int status = 0;

    loading->rules->lookups = json_object();
    if (loading->rules->lookups == NULL)
        return no_memory(loading);
    if (node == NULL)
        return 0;
    if (node->kind != YAML_MAPPING)
        return diagnostics_error(loading->diagnostics, node->position, "lookups are a mapping of columns");
    for (size_t i = 0; i < node->count; i++) {
        if (read_lookup(loading, node->keys[i], node->items[i]) < 0)
            status = -1;
    }
    return status;
}

/* "customerid_account.name": the lookup is described, and the attribute has a use. */
static int check_lookup(const struct loading *loading, const struct yaml_node *node, bool is_written)
{
    const char *dot = strchr(node->text, '.');
    const json_t *lookup;
    json_auto_t *attribute = NULL;
    char name[PATH_BYTES_MAX + 1];

    if (dot == NULL)
        return 0;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(dot - node->text), node->text);
    if (yaml_get(yaml_get(loading->root, "lookups"), name) == NULL)
        return diagnostics_error(loading->diagnostics, node->position, "the lookup '%s' is not under 'lookups'", name);
    lookup = json_object_get(loading->rules->lookups, name);
    if (lookup == NULL || !is_written || json_flag_of(lookup, "create", false))
        return 0; /* without a lookup: it is described wrongly, which was reported */
    attribute = json_string(dot + 1);
    if (attribute == NULL)
        return no_memory(loading);
    if (value_is_among(json_object_get(lookup, "match"), attribute))
        return 0;
    return diagnostics_error(loading->diagnostics, node->position,
                             "'%s' would never be written: it is not in the lookup's 'match', and 'create' is not true",
                             dot + 1);
}

/* What a lookup is found by has to be written by some field. */
static int check_lookups_are_fed(const struct loading *loading)
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

/* -- tables -------------------------------------------------------------------------------------------------------- */

static int read_tables(struct loading *loading)
{
    const struct yaml_node *node = yaml_get(loading->root, "tables");
    int status = 0;

    if (node == NULL)
        return 0;
    if (node->kind != YAML_MAPPING || node->count > TABLES_MAX)
        return diagnostics_error(loading->diagnostics, node->position, "tables are a mapping of at most %d names",
                                 (int)TABLES_MAX);
    loading->tables = calloc(node->count + 1, sizeof(struct table));
    if (loading->tables == NULL)
        return no_memory(loading);
    for (size_t i = 0; i < node->count; i++) {
        if (table_load(loading->diagnostics, node->keys[i], node->items[i], &loading->tables[i]) < 0)
            status = -1;
        loading->table_count++;
    }
    return status;
}

static void warn_of_unused_tables(const struct loading *loading)
{
    for (size_t i = 0; i < loading->table_count; i++) {
        if (!loading->tables[i].is_used)
            diagnostics_report(loading->diagnostics, DIAGNOSTIC_WARNING, loading->tables[i].position,
                               "no field uses the table '%s'", loading->tables[i].name);
    }
}

/* -- fields -------------------------------------------------------------------------------------------------------- */

static int read_name(const struct loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    const struct yaml_node *name = yaml_get(node, "name");
    size_t length;

    if (name == NULL)
        return diagnostics_error(loading->diagnostics, node->position, "the field has no 'name'");
    field->position = name->position;
    if (name->kind != YAML_SCALAR)
        return diagnostics_error(loading->diagnostics, name->position, "the name is a word");
    length = strspn(name->text, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (length == 0 || name->text[length] != '\0' || length > NAME_BYTES_MAX)
        return diagnostics_error(loading->diagnostics, name->position,
                                 "a name has lower-case letters, digits and '_', at most %d", (int)NAME_BYTES_MAX);
    for (const struct rule_field *other = loading->rules->fields; other < field; other++) {
        if (!text_equal(other->name, name->text))
            continue;
        diagnostics_error(loading->diagnostics, name->position, "a field '%s' is there already", name->text);
        diagnostics_report(loading->diagnostics, DIAGNOSTIC_NOTE, other->position, "the other field");
        return -1;
    }
    return copy_text(loading, &field->name, name->text);
}

static int read_paths(const struct loading *loading, const struct yaml_node *node, struct rule_field *field,
                      enum side side)
{
    const struct yaml_node *paths = yaml_get(node, side_keys[side]);
    size_t count;

    if (paths == NULL)
        return 0;
    count = paths->kind == YAML_SEQUENCE ? paths->count : 1;
    if (count == 0 || count > RULE_PATHS_MAX)
        return diagnostics_error(loading->diagnostics, paths->position, "a field has 1 to %d paths of a side",
                                 (int)RULE_PATHS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *path = paths->kind == YAML_SEQUENCE ? paths->items[i] : paths;
        if (check_path(loading, path, side) < 0 ||
            copy_text(loading, &field->paths[side][field->path_count[side]], path->text) < 0)
            return -1;
        field->path_count[side]++;
    }
    return 0;
}

static const struct yaml_node *path_node(const struct yaml_node *node, enum side side, size_t i)
{
    const struct yaml_node *paths = yaml_get(node, side_keys[side]);

    return paths->kind == YAML_SEQUENCE ? paths->items[i] : paths;
}

/* Where nothing is said: both directions, as far as there is something to write. */
static int read_directions(const struct loading *loading, const struct yaml_node *node, const struct rule_field *field,
                           bool ret_towards[static SIDE_COUNT])
{
    const struct yaml_node *direction = yaml_get(node, "direction");
    int status = 0;

    for (int side = 0; side < SIDE_COUNT; side++)
        ret_towards[side] = direction != NULL || field->path_count[side] > 0;
    if (rules_yaml_direction(loading->diagnostics, direction, ret_towards) < 0)
        return -1;
    if (!ret_towards[SIDE_PARTNER_CENTER] && !ret_towards[SIDE_CRM])
        return diagnostics_error(loading->diagnostics, node->position, "the field has no path on either side");
    for (int side = 0; side < SIDE_COUNT; side++) {
        if (ret_towards[side] && field->path_count[side] == 0)
            status = diagnostics_error(loading->diagnostics, direction->position,
                                       "the field is written to %s and has no '%s' path", side_name((enum side)side),
                                       side_keys[side]);
    }
    return status;
}

static int read_situations(const struct loading *loading, const struct yaml_node *node, bool *ret_create,
                           bool *ret_update)
{
    static const char *const words[] = {"create", "update"};
    const size_t count = node->kind == YAML_SEQUENCE ? node->count : 1;

    *ret_create = *ret_update = false;
    if (count == 0)
        return diagnostics_error(loading->diagnostics, node->position, "'on' is empty, so the field would do nothing");
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = node->kind == YAML_SEQUENCE ? node->items[i] : node;
        int word = rules_yaml_word(loading->diagnostics, item, "situation", words, ARRAY_LENGTH(words));
        if (word < 0)
            return -1;
        *(word == 0 ? ret_create : ret_update) = true;
    }
    return 0;
}

static const char *const direction_keys[SIDE_COUNT] = {
    [SIDE_PARTNER_CENTER] = "to-partner-center", [SIDE_CRM] = "to-crm"};

static int read_on(const struct loading *loading, const struct yaml_node *node,
                   const bool is_towards[static SIDE_COUNT], struct rule_field *field)
{
    const struct yaml_node *on = yaml_get(node, "on");

    if (on != NULL && on->kind == YAML_MAPPING &&
        rules_yaml_check_keys(loading->diagnostics, on, "on", direction_keys, SIDE_COUNT) < 0)
        return -1;
    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *one = on != NULL && on->kind == YAML_MAPPING ? yaml_get(on, direction_keys[side]) : on;
        bool on_create = true, on_update = true;
        if (one != NULL && one != on && !is_towards[side])
            return diagnostics_error(loading->diagnostics, one->position, "the field is not written %s",
                                     direction_keys[side]);
        if (!is_towards[side])
            continue;
        if (one != NULL && read_situations(loading, one, &on_create, &on_update) < 0)
            return -1;
        field->is_written_on_create[side] = on_create;
        field->is_written_on_update[side] = on_update;
    }
    return 0;
}

static int read_required(const struct loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    const struct yaml_node *required = yaml_get(node, "required");
    const size_t count = required == NULL ? 0 : required->kind == YAML_SEQUENCE ? required->count : 1;

    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = required->kind == YAML_SEQUENCE ? required->items[i] : required;
        int side = rules_yaml_word(loading->diagnostics, item, "direction", direction_keys, SIDE_COUNT);
        if (side < 0)
            return -1;
        if (!field->is_written_on_create[side])
            return diagnostics_error(loading->diagnostics, item->position,
                                     "the field is not written when a record is created %s", direction_keys[side]);
        field->is_required_on_create[side] = true;
    }
    return 0;
}

static int read_policy(const struct loading *loading, const struct yaml_node *node,
                       const bool is_towards[static SIDE_COUNT], struct rule_field *field)
{
    static const char *const words[] = {"partner-center", "crm", "latest", "manual"};
    const struct yaml_node *conflict = yaml_get(node, "conflict");
    int word = POLICY_PARTNER_CENTER;

    if (conflict != NULL) {
        word = rules_yaml_word(loading->diagnostics, conflict, "conflict policy", words, ARRAY_LENGTH(words));
        if (word < 0)
            return -1;
        if (!is_towards[SIDE_PARTNER_CENTER] || !is_towards[SIDE_CRM])
            diagnostics_report(loading->diagnostics, DIAGNOSTIC_WARNING, conflict->position,
                               "a field written in one direction only has no conflicts");
    }
    field->policy = (enum rule_policy)word;
    return 0;
}

static int side_of_path(const struct rule_field *field, const char *path)
{
    for (int side = 0; side < SIDE_COUNT; side++) {
        for (size_t i = 0; i < field->path_count[side]; i++) {
            if (strcmp(field->paths[side][i], path) == 0)
                return side;
        }
    }
    return -1;
}

static int read_when(const struct loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    const struct yaml_node *when = yaml_get(node, "when");
    int status = 0;

    if (when == NULL)
        return 0;
    if (when->kind != YAML_MAPPING || when->count == 0)
        return diagnostics_error(loading->diagnostics, when->position, "a mapping of paths to values is expected");
    for (size_t i = 0; i < when->count; i++) {
        const int side = side_of_path(field, when->keys[i]->text);
        json_t *values;
        if (side < 0) {
            status =
                diagnostics_error(loading->diagnostics, when->keys[i]->position,
                                  "'%s' is not a path of this field, whose value alone decides", when->keys[i]->text);
            continue;
        }
        values = read_values(loading, when->items[i]);
        if (values == NULL) {
            status = -1;
            continue;
        }
        if (field->when[side] == NULL)
            field->when[side] = json_object();
        if (json_object_set_new(field->when[side], when->keys[i]->text, values) < 0)
            status = no_memory(loading);
    }
    return status;
}

/* Towards one side: its own chain, or the shared one, which is written towards the CRM. `table` is short for a shared
 * chain of one step. */
static int read_chain(const struct loading *loading, const struct yaml_node *node, struct rule_field *field,
                      enum side target)
{
    const enum side source = side_other(target);
    const struct yaml_node *own = yaml_get(node, target == SIDE_CRM ? "to_crm" : "to_partner_center");
    const struct yaml_node *shared = yaml_get(node, "transform");
    const struct yaml_node *table = yaml_get(node, "table");
    struct transform_setup setup = {.diagnostics = loading->diagnostics,
                                    .tables = loading->tables,
                                    .table_count = loading->table_count,
                                    .target = target,
                                    .is_inverse = own == NULL && target == SIDE_PARTNER_CENTER,
                                    .source_paths = field->paths[source],
                                    .source_count = field->path_count[source],
                                    .target_count = field->path_count[target]};

    if (own != NULL)
        return transform_load(&setup, own, &field->transform[target]);
    if (shared != NULL)
        return transform_load(&setup, shared, &field->transform[target]);
    if (table != NULL)
        return transform_load_table(&setup, table, &field->transform[target]);
    if (field->path_count[source] == 0)
        return diagnostics_error(loading->diagnostics, field->position,
                                 "the field has no '%s' path, so it needs a constant %s", side_keys[source],
                                 direction_keys[target]);
    return transform_check_plain(&setup, yaml_get(node, side_keys[target])->position);
}

static int read_chains(const struct loading *loading, const struct yaml_node *node,
                       const bool is_towards[static SIDE_COUNT], struct rule_field *field)
{
    static const char *const own_keys[SIDE_COUNT] = {
        [SIDE_PARTNER_CENTER] = "to_partner_center", [SIDE_CRM] = "to_crm"};
    const struct yaml_node *shared = yaml_get(node, "transform");
    const struct yaml_node *table = yaml_get(node, "table");

    if (shared != NULL && table != NULL)
        return diagnostics_error(loading->diagnostics, table->position,
                                 "'table' is short for a transform; put it into 'transform'");
    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *own = yaml_get(node, own_keys[side]);
        if (own != NULL && (shared != NULL || table != NULL))
            return diagnostics_error(loading->diagnostics, own->position,
                                     "'%s' beside '%s': write one chain for both directions, or one for each",
                                     own_keys[side], shared != NULL ? "transform" : "table");
        if (own != NULL && !is_towards[side])
            return diagnostics_error(loading->diagnostics, own->position, "the field is not written %s",
                                     direction_keys[side]);
    }
    for (int side = SIDE_COUNT - 1; side >= 0; side--) {
        if (is_towards[side] && read_chain(loading, node, field, (enum side)side) < 0)
            return -1;
    }
    return 0;
}

/* One holds the other: "details" and "details.dealValue". */
static bool paths_overlap(const char *a, const char *b)
{
    const size_t length_a = strlen(a), length_b = strlen(b);
    const size_t shorter = length_a < length_b ? length_a : length_b;

    if (strncmp(a, b, shorter) != 0)
        return false;
    return length_a == length_b || (length_a > length_b ? a : b)[shorter] == '.';
}

static int note_written(struct loading *loading, const struct yaml_node *path, const struct rule_field *field,
                        enum side side)
{
    const size_t number = (size_t)(field - loading->rules->fields);

    for (size_t i = 0; i < loading->written_count; i++) {
        const struct written *other = &loading->written[i];
        const struct rule_field *writer = &loading->rules->fields[other->field];
        if (other->side != side || !paths_overlap(other->path, path->text) ||
            !((writer->is_written_on_create[side] && field->is_written_on_create[side]) ||
              (writer->is_written_on_update[side] && field->is_written_on_update[side])))
            continue;
        if (other->field == number)
            return diagnostics_error(loading->diagnostics, path->position, "the field writes '%s' twice", path->text);
        diagnostics_error(loading->diagnostics, path->position, "the field '%s' writes '%s' as well", writer->name,
                          other->path);
        diagnostics_report(loading->diagnostics, DIAGNOSTIC_NOTE, other->position, "here");
        return -1;
    }
    loading->written[loading->written_count++] =
        (struct written){.path = path->text, .field = number, .side = side, .position = path->position};
    return 0;
}

static bool has_index(const char *path)
{
    for (; path != NULL; path = strchr(path, '.') == NULL ? NULL : strchr(path, '.') + 1) {
        if (is_digit(path[0]))
            return true;
    }
    return false;
}

static int check_targets(struct loading *loading, const struct yaml_node *node, const struct rule_field *field,
                         enum side side, bool is_written)
{
    int status = 0;

    for (size_t i = 0; i < field->path_count[side]; i++) {
        const struct yaml_node *path = path_node(node, side, i);
        if (side == SIDE_CRM && check_lookup(loading, path, is_written) < 0)
            status = -1;
        if (!is_written)
            continue;
        if (side == SIDE_PARTNER_CENTER && rule_path_is_of_microsoft(path->text))
            status = diagnostics_error(loading->diagnostics, path->position,
                                       "Microsoft's referral can only be read (say 'direction: to-crm')");
        else if (side == SIDE_PARTNER_CENTER && has_index(path->text))
            status = diagnostics_error(loading->diagnostics, path->position,
                                       "an item of a list can only be read (say 'direction: to-crm')");
        else if (note_written(loading, path, field, side) < 0)
            status = -1;
    }
    return status;
}

/* Errors of one part do not hide those of the next, as long as what the next needs is there. */
static int read_field(struct loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    static const char *const keys[] = {
        "name",      "partner_center", "crm",    "direction",         "on",  "required", "conflict",
        "transform", "table",          "to_crm", "to_partner_center", "when"};
    bool is_towards[SIDE_COUNT];
    int status;

    field->position = node->position;
    status = rules_yaml_check_keys(loading->diagnostics, node, "a field", keys, ARRAY_LENGTH(keys));
    if (node->kind != YAML_MAPPING)
        return -1;
    if (read_name(loading, node, field) < 0)
        status = -1;
    if (read_paths(loading, node, field, SIDE_PARTNER_CENTER) < 0 || read_paths(loading, node, field, SIDE_CRM) < 0 ||
        read_directions(loading, node, field, is_towards) < 0 || read_on(loading, node, is_towards, field) < 0)
        return -1;
    if (read_required(loading, node, field) < 0)
        status = -1;
    if (read_policy(loading, node, is_towards, field) < 0)
        status = -1;
    if (read_when(loading, node, field) < 0)
        status = -1;
    if (read_chains(loading, node, is_towards, field) < 0)
        status = -1;
    for (int side = 0; side < SIDE_COUNT; side++) {
        if (check_targets(loading, node, field, (enum side)side, is_towards[side]) < 0)
            status = -1;
    }
    return status;
}

static int read_fields(struct loading *loading)
{
    const struct yaml_node *node = yaml_get(loading->root, "fields");
    struct rules *rules = loading->rules;
    int status = 0;

    if (node == NULL || node->kind != YAML_SEQUENCE || node->count == 0)
        return diagnostics_error(loading->diagnostics, node == NULL ? loading->root->position : node->position,
                                 "the rules need 'fields', a list");
    if (node->count > RULE_FIELDS_MAX)
        return diagnostics_error(loading->diagnostics, node->position, "more than %d fields", (int)RULE_FIELDS_MAX);
    rules->fields = calloc(node->count, sizeof(struct rule_field));
    loading->written = calloc(node->count * RULE_PATHS_MAX * SIDE_COUNT, sizeof(struct written));
    if (rules->fields == NULL || loading->written == NULL)
        return no_memory(loading);
    for (size_t i = 0; i < node->count; i++) {
        rules->field_count++;
        if (read_field(loading, node->items[i], &rules->fields[i]) < 0)
            status = -1;
    }
    return status;
}

/* -- all paths ----------------------------------------------------------------------------------------------------- */

static int add_path(const struct loading *loading, json_t *set, const char *path)
{
    return path == NULL || json_object_set_new(set, path, json_null()) == 0 ? 0 : no_memory(loading);
}

static int add_conditions(const struct loading *loading, json_t *set, json_t *conditions)
{
    const char *path;
    json_t *values;

    json_object_foreach (conditions, path, values) {
        if (add_path(loading, set, path) < 0)
            return -1;
    }
    return 0;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int keep_sorted(const struct loading *loading, json_t *set, enum side side)
{
    struct rules *rules = loading->rules;
    const char *path;
    json_t *nothing;

    rules->paths[side] = calloc(json_object_size(set) + 1, sizeof(char *));
    if (rules->paths[side] == NULL)
        return no_memory(loading);
    json_object_foreach (set, path, nothing) {
        if (copy_text(loading, &rules->paths[side][rules->path_count[side]], path) < 0)
            return -1;
        rules->path_count[side]++;
    }
    qsort(rules->paths[side], rules->path_count[side], sizeof(char *), compare_paths);
    return 0;
}

static int collect_paths(const struct loading *loading, enum side side)
{
    static const char *const built_in[] = {"id", "engagementId", "externalReferenceId", "status", "substatus"};
    const struct rules *rules = loading->rules;
    json_auto_t *set = json_object();

    for (size_t i = 0; side == SIDE_PARTNER_CENTER && i < ARRAY_LENGTH(built_in); i++) {
        if (add_path(loading, set, built_in[i]) < 0)
            return -1;
    }
    if (side == SIDE_CRM &&
        (add_path(loading, set, rules->identifier_column) < 0 || add_path(loading, set, rules->sync_column) < 0))
        return -1;
    if (add_conditions(loading, set, rules->select[side]) < 0 ||
        add_conditions(loading, set, rules->is_closed[side]) < 0)
        return -1;
    for (size_t i = 0; i < rules->field_count; i++) {
        for (size_t k = 0; k < rules->fields[i].path_count[side]; k++) {
            if (add_path(loading, set, rules->fields[i].paths[side][k]) < 0)
                return -1;
        }
    }
    return keep_sorted(loading, set, side);
}

/* -- the whole ----------------------------------------------------------------------------------------------------- */

static int stamp_version(const struct loading *loading, const struct source *source)
{
    char digest[SHA256_HEX_SIZE];

    if (sha256_hex(source->bytes, source->length, digest) == NULL)
        return no_memory(loading);
    digest[VERSION_DIGITS] = '\0';
    return copy_text(loading, &loading->rules->version, digest);
}

static int load(struct loading *loading, const struct source *source)
{
    static const char *const keys[] = {"version", "crm",    "record",  "identity", "select",
                                       "closed",  "fields", "lookups", "tables"};
    struct rules *rules = loading->rules;
    int status = rules_yaml_check_keys(loading->diagnostics, loading->root, "the rules", keys, ARRAY_LENGTH(keys));

    if (loading->root->kind != YAML_MAPPING)
        return -1;
    if (read_head(loading) < 0)
        status = -1;
    if (read_identity(loading) < 0)
        status = -1;
    if (read_side_conditions(loading, "select", rules->select) < 0)
        status = -1;
    if (read_side_conditions(loading, "closed", rules->is_closed) < 0)
        status = -1;
    if (read_lookups(loading) < 0)
        status = -1;
    if (read_tables(loading) < 0)
        status = -1;
    if (read_fields(loading) < 0)
        status = -1;
    if (status < 0)
        return -1;
    warn_of_unused_tables(loading);
    if (check_lookups_are_fed(loading) < 0 || collect_paths(loading, SIDE_PARTNER_CENTER) < 0 ||
        collect_paths(loading, SIDE_CRM) < 0)
        return -1;
    return stamp_version(loading, source);
}

struct rules *rules_load(struct diagnostics *diagnostics, const struct source *source)
{
    struct yaml_node *root = yaml_parse(diagnostics, source);
    struct loading loading = {.diagnostics = diagnostics, .root = root};
    const size_t errors_before = diagnostics->error_count;
    int status;

    if (root == NULL)
        return NULL;
    loading.rules = calloc(1, sizeof(struct rules));
    status = loading.rules == NULL ? no_memory(&loading) : load(&loading, source);
    for (size_t i = 0; i < loading.table_count; i++)
        table_done(&loading.tables[i]);
    free(loading.tables);
    free(loading.written);
    yaml_node_free(root);
    if (status == 0)
        return loading.rules;
    if (diagnostics->error_count == errors_before)
        (void)no_memory(&loading); /* some values cannot tell that from another failure */
    rules_free(loading.rules);
    return NULL;
}
