#include "mapper/rules_field.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/rules_condition.h"
#include "mapper/rules_language.h"
#include "mapper/rules_lookup.h"
#include "mapper/rules_path.h"
#include "mapper/rules_rows.h"
#include "mapper/transform.h"

enum { NAME_BYTES_MAX = 64 };

static int read_name(const struct rules_loading *loading, const struct yaml_node *node, struct rule_field *field)
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
    return rules_copy_text(loading, &field->name, name->text);
}

static int read_paths(const struct rules_loading *loading, const struct yaml_node *node, struct rule_field *field,
                      enum side side)
{
    const struct yaml_node *paths = yaml_get(node, RULES_SIDE_KEYS[side]);
    size_t count;

    if (paths == NULL)
        return 0;
    count = paths->kind == YAML_SEQUENCE ? paths->count : 1;
    if (count == 0 || count > RULE_PATHS_MAX)
        return diagnostics_error(loading->diagnostics, paths->position, "a field has 1 to %d paths of a side",
                                 (int)RULE_PATHS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *path = paths->kind == YAML_SEQUENCE ? paths->items[i] : paths;
        if (rules_path_check(loading->diagnostics, path, side) < 0)
            return -1;
        field->paths[side][field->path_count[side]] = rules_path_new(path->text);
        if (field->paths[side][field->path_count[side]] == NULL)
            return rules_no_memory(loading);
        field->path_count[side]++;
    }
    return 0;
}

static const struct yaml_node *path_node(const struct yaml_node *node, enum side side, size_t i)
{
    const struct yaml_node *paths = yaml_get(node, RULES_SIDE_KEYS[side]);

    return paths->kind == YAML_SEQUENCE ? paths->items[i] : paths;
}

/* Where nothing is said: both directions, as far as there is something to write. */
static int read_directions(const struct rules_loading *loading, const struct yaml_node *node,
                           const struct rule_field *field, bool ret_towards[static SIDE_COUNT])
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
                                       RULES_SIDE_KEYS[side]);
    }
    return status;
}

enum situation { ON_CREATE, ON_UPDATE, ON_INVITE, SITUATION_COUNT };

static int read_situations(const struct rules_loading *loading, const struct yaml_node *node,
                           bool ret_on[static SITUATION_COUNT])
{
    static const char *const words[SITUATION_COUNT] = {"create", "update", "invite"};
    const size_t count = node->kind == YAML_SEQUENCE ? node->count : 1;

    memset(ret_on, 0, SITUATION_COUNT * sizeof(*ret_on));
    if (count == 0)
        return diagnostics_error(loading->diagnostics, node->position, "'on' is empty, so the field would do nothing");
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = node->kind == YAML_SEQUENCE ? node->items[i] : node;
        int word = rules_yaml_word(loading->diagnostics, item, "situation", words, ARRAY_LENGTH(words));
        if (word < 0)
            return -1;
        ret_on[word] = true;
    }
    return 0;
}

static const char *const direction_keys[SIDE_COUNT] = {
    [SIDE_PARTNER_CENTER] = "to-partner-center", [SIDE_CRM] = "to-crm"};

static int read_on(const struct rules_loading *loading, const struct yaml_node *node,
                   const bool is_towards[static SIDE_COUNT], struct rule_field *field)
{
    const struct yaml_node *on = yaml_get(node, "on");

    if (on != NULL && on->kind == YAML_MAPPING &&
        rules_yaml_check_keys(loading->diagnostics, on, "on", direction_keys, SIDE_COUNT) < 0)
        return -1;
    for (int side = 0; side < SIDE_COUNT; side++) {
        const struct yaml_node *one = on != NULL && on->kind == YAML_MAPPING ? yaml_get(on, direction_keys[side]) : on;
        bool situations[SITUATION_COUNT] = {[ON_CREATE] = true, [ON_UPDATE] = true};
        if (one != NULL && one != on && !is_towards[side])
            return diagnostics_error(loading->diagnostics, one->position, "the field is not written %s",
                                     direction_keys[side]);
        if (!is_towards[side])
            continue;
        if (one != NULL && read_situations(loading, one, situations) < 0)
            return -1;
        if (situations[ON_INVITE] && side == SIDE_CRM)
            return diagnostics_error(loading->diagnostics, one->position,
                                     "an invitation is written to Partner Center only");
        field->is_written_on_create[side] = situations[ON_CREATE];
        field->is_written_on_update[side] = situations[ON_UPDATE];
        field->is_written_on_invite = field->is_written_on_invite || situations[ON_INVITE];
    }
    return 0;
}

static int read_required(const struct rules_loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    const struct yaml_node *required = yaml_get(node, "required");
    const size_t count = required == NULL ? 0 : required->kind == YAML_SEQUENCE ? required->count : 1;

    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = required->kind == YAML_SEQUENCE ? required->items[i] : required;
        int side = rules_yaml_word(loading->diagnostics, item, "direction", direction_keys, SIDE_COUNT);
        if (side < 0)
            return -1;
        if (!field->is_written_on_create[side] && !(side == SIDE_PARTNER_CENTER && field->is_written_on_invite))
            return diagnostics_error(loading->diagnostics, item->position,
                                     "the field is not written when a record is created %s", direction_keys[side]);
        field->is_required_on_create[side] = true;
    }
    return 0;
}

static int read_explanation(const struct rules_loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    const struct yaml_node *explain = yaml_get(node, "explain");
    const char *text = explain == NULL ? NULL : rules_yaml_text(loading->diagnostics, explain, "explain");

    if (explain == NULL)
        return 0;
    return text == NULL ? -1 : rules_copy_text(loading, &field->explanation, text);
}

static int read_policy(const struct rules_loading *loading, const struct yaml_node *node,
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

/* As it stands among the field's paths, or without its members. */
static bool names_path(const char *key, const char *path)
{
    const size_t length = strlen(key);

    return strncmp(key, path, length) == 0 && (path[length] == '\0' || path[length] == '{');
}

/* The field's own copy of the path; NULL: it has none of that name. */
static const char *find_path(const struct rule_field *field, const char *path, enum side *ret_side)
{
    for (int side = 0; side < SIDE_COUNT; side++) {
        for (size_t i = 0; i < field->path_count[side]; i++) {
            if (!names_path(path, field->paths[side][i]))
                continue;
            *ret_side = (enum side)side;
            return field->paths[side][i];
        }
    }
    return NULL;
}

/* A condition's path, as it may be written: with blanks between members. -1: out of memory. */
static int find_path_of_key(const struct rule_field *field, const char *key, const char **ret_path, enum side *ret_side)
{
    char *path = rules_path_new(key);
    const bool is_complete = path != NULL;

    *ret_path = is_complete ? find_path(field, path, ret_side) : NULL;
    free(path);
    return is_complete ? 0 : -1;
}

/* -1: an error was reported. */
static int report_foreign_path(const struct rules_loading *loading, const struct yaml_node *key,
                               const struct rule_field *field)
{
    const char *own[RULE_PATHS_MAX * SIDE_COUNT];
    const char *suggestion;
    size_t count = 0;

    for (int side = 0; side < SIDE_COUNT; side++) {
        for (size_t i = 0; i < field->path_count[side]; i++)
            own[count++] = field->paths[side][i];
    }
    suggestion = diagnostic_suggest(key->text, own, count);
    if (suggestion != NULL)
        return diagnostics_error(loading->diagnostics, key->position,
                                 "'%s' is not a path of this field, whose value alone decides (did you mean '%s'?)",
                                 key->text, suggestion);
    return diagnostics_error(loading->diagnostics, key->position,
                             "'%s' is not a path of this field, whose value alone decides", key->text);
}

static int read_when(const struct rules_loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    const struct yaml_node *when = yaml_get(node, "when");
    int status = 0;

    if (when == NULL)
        return 0;
    if (when->kind != YAML_MAPPING || when->count == 0)
        return diagnostics_error(loading->diagnostics, when->position, "a mapping of paths to values is expected");
    for (size_t i = 0; i < when->count; i++) {
        const char *path;
        enum side side = SIDE_CRM;
        json_t *values;
        if (find_path_of_key(field, when->keys[i]->text, &path, &side) < 0)
            return rules_no_memory(loading);
        if (path == NULL) {
            status = report_foreign_path(loading, when->keys[i], field);
            continue;
        }
        values = rules_condition_values(loading, when->items[i]);
        if (values == NULL) {
            status = -1;
            continue;
        }
        if (field->when[side] == NULL)
            field->when[side] = json_object();
        if (json_object_set_new(field->when[side], path, values) < 0)
            status = rules_no_memory(loading);
    }
    return status;
}

/* Towards one side: its own chain, or the shared one, which is written towards the CRM. `table` is short for a shared
 * chain of one step. */
static int read_chain(const struct rules_loading *loading, const struct yaml_node *node, struct rule_field *field,
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
                                    .target_paths = field->paths[target],
                                    .target_count = field->path_count[target]};

    if (own != NULL)
        return transform_load(&setup, own, &field->transform[target]);
    if (shared != NULL)
        return transform_load(&setup, shared, &field->transform[target]);
    if (table != NULL)
        return transform_load_table(&setup, table, &field->transform[target]);
    if (field->path_count[source] == 0)
        return diagnostics_error(loading->diagnostics, field->position,
                                 "the field has no '%s' path, so it needs a constant %s", RULES_SIDE_KEYS[source],
                                 direction_keys[target]);
    return transform_check_plain(&setup, yaml_get(node, RULES_SIDE_KEYS[target])->position);
}

static int read_chains(const struct rules_loading *loading, const struct yaml_node *node,
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

static int note_written(struct rules_loading *loading, const struct yaml_node *path, const struct rule_field *field,
                        enum side side)
{
    const size_t number = (size_t)(field - loading->rules->fields);

    for (size_t i = 0; i < loading->written_count; i++) {
        const struct rules_written *other = &loading->written[i];
        const struct rule_field *writer = &loading->rules->fields[other->field];
        if (other->side != side || !rules_paths_overlap(other->path, path->text) ||
            !((writer->is_written_on_create[side] && field->is_written_on_create[side]) ||
              (writer->is_written_on_update[side] && field->is_written_on_update[side]) ||
              (side == SIDE_PARTNER_CENTER && writer->is_written_on_invite && field->is_written_on_invite)))
            continue;
        if (other->field == number)
            return diagnostics_error(loading->diagnostics, path->position, "the field writes '%s' twice", path->text);
        diagnostics_error(loading->diagnostics, path->position, "the field '%s' writes '%s' as well", writer->name,
                          other->path);
        diagnostics_report(loading->diagnostics, DIAGNOSTIC_NOTE, other->position, "here");
        return -1;
    }
    loading->written[loading->written_count++] =
        (struct rules_written){.path = path->text, .field = number, .side = side, .position = path->position};
    return 0;
}

/* Why a path cannot be written; NULL: it can. */
static const char *reason_against_writing(const char *path, enum side side)
{
    const enum rules_path_shape shape = rules_path_shape(path);

    if (side == SIDE_CRM)
        return shape == RULES_PATH_OBJECT
                   ? "members of other records can only be read (say 'direction: to-partner-center', or write "
                     "lookup.attribute)"
                   : NULL;
    if (rule_path_is_of_microsoft(path))
        return "Microsoft's referral can only be read (say 'direction: to-crm')";
    if (rules_path_has_index(path))
        return "an item of a list can only be read (say 'direction: to-crm')";
    return NULL;
}

static int check_targets(struct rules_loading *loading, const struct yaml_node *node, const struct rule_field *field,
                         enum side side, bool is_written)
{
    int status = 0;

    for (size_t i = 0; i < field->path_count[side]; i++) {
        const struct yaml_node *path = path_node(node, side, i);
        const char *reason;
        if (side == SIDE_CRM && (rules_lookup_check(loading, path, is_written) < 0 ||
                                 (is_written && rules_rows_check(loading, path, field) < 0)))
            status = -1;
        if (!is_written)
            continue;
        reason = reason_against_writing(path->text, side);
        if (reason != NULL)
            status = diagnostics_error(loading->diagnostics, path->position, "%s", reason);
        else if (note_written(loading, path, field, side) < 0)
            status = -1;
    }
    return status;
}

/* Errors of one part do not hide those of the next, as long as what the next needs is there. */
static int read_field(struct rules_loading *loading, const struct yaml_node *node, struct rule_field *field)
{
    bool is_towards[SIDE_COUNT];
    int status;

    field->position = node->position;
    status = rules_language_check(loading->diagnostics, node, RULES_FIELD);
    if (node->kind != YAML_MAPPING)
        return -1;
    if (read_name(loading, node, field) < 0)
        status = -1;
    if (read_paths(loading, node, field, SIDE_PARTNER_CENTER) < 0 || read_paths(loading, node, field, SIDE_CRM) < 0 ||
        read_directions(loading, node, field, is_towards) < 0 || read_on(loading, node, is_towards, field) < 0)
        return -1;
    if (read_required(loading, node, field) < 0)
        status = -1;
    if (read_explanation(loading, node, field) < 0)
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

int rules_fields_load(struct rules_loading *loading)
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
    loading->written = calloc(node->count * RULE_PATHS_MAX * SIDE_COUNT, sizeof(struct rules_written));
    if (rules->fields == NULL || loading->written == NULL)
        return rules_no_memory(loading);
    for (size_t i = 0; i < node->count; i++) {
        rules->field_count++;
        if (read_field(loading, node->items[i], &rules->fields[i]) < 0)
            status = -1;
    }
    return status;
}
