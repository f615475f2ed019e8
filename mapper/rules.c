#include "mapper/rules.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules_path.h"
#include "mapper/rules_path_read.h"
#include "mapper/transform.h"
#include "mapper/value.h"

const struct rule_field *rules_field(const struct rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->field_count; i++) {
        if (text_equal(rules->fields[i].name, name))
            return &rules->fields[i];
    }
    return NULL;
}

bool rule_path_is_of_microsoft(const char *path)
{
    return text_starts_with(path, "microsoft.");
}

static void field_done(struct rule_field *field)
{
    free(field->name);
    free(field->explanation);
    for (int side = 0; side < SIDE_COUNT; side++) {
        for (size_t i = 0; i < field->path_count[side]; i++)
            free(field->paths[side][i]);
        json_decref(field->when[side]);
        transform_free(field->transform[side]);
    }
}

void rules_free(struct rules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < rules->field_count; i++)
        field_done(&rules->fields[i]);
    free(rules->fields);
    for (int side = 0; side < SIDE_COUNT; side++) {
        for (size_t i = 0; i < rules->path_count[side]; i++)
            free(rules->paths[side][i]);
        free(rules->paths[side]);
        json_decref(rules->select[side]);
        json_decref(rules->is_closed[side]);
    }
    json_decref(rules->leave_out);
    json_decref(rules->invitation.when);
    json_decref(rules->invitation.write);
    json_decref(rules->unanswered.when);
    json_decref(rules->unanswered.substitute);
    json_decref(rules->unanswered.write);
    for (size_t i = 0; i < rules->column_count; i++)
        free(rules->columns[i].name);
    free(rules->columns);
    json_decref(rules->lookups);
    json_decref(rules->rows);
    free(rules->version);
    free(rules->crm);
    free(rules->record_type);
    free(rules->identifier_column);
    free(rules->sync_column);
    free(rules->audit_column);
    free(rules);
}

/* At Partner Center null means unknown, as one that is absent does. */
static bool is_known(enum side side, const json_t *value)
{
    return value != NULL && (side == SIDE_CRM || !json_is_null(value));
}

json_t *rule_field_value(const struct rule_field *field, enum side side, const json_t *values)
{
    json_t *list;
    size_t known = 0;

    if (field->path_count[side] == 0)
        return json_null();
    if (field->path_count[side] == 1) {
        json_t *only = json_object_get(values, field->paths[side][0]);
        return is_known(side, only) ? json_incref(only) : NULL;
    }
    list = json_array();
    for (size_t i = 0; i < field->path_count[side]; i++) {
        json_t *value = json_object_get(values, field->paths[side][i]);
        known += is_known(side, value);
        if (json_array_append_new(list, value == NULL ? json_null() : json_incref(value)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    /* Partner Center may leave out parts of a whole; a column that was not read makes the CRM's whole unknown. */
    if (side == SIDE_CRM ? known == field->path_count[side] : known > 0)
        return list;
    json_decref(list);
    return NULL;
}

static bool holds(const struct rule_field *field, enum side source, const json_t *value)
{
    const json_t *conditions = field->when[source];

    if (conditions == NULL)
        return true;
    for (size_t i = 0; i < field->path_count[source]; i++) {
        const json_t *among = json_object_get(conditions, field->paths[source][i]);
        const json_t *part = field->path_count[source] == 1 ? value : json_array_get(value, i);
        if (among != NULL && !value_is_wanted(among, part))
            return false;
    }
    return true;
}

static bool says_nothing(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_null(json_array_get(list, i)))
            return false;
    }
    return true;
}

/* "field 'stage' (status, substatus): <message>" */
static int unmappable(const struct rule_field *field, enum side source, const char *message, struct error *err)
{
    struct text text;

    text_init(&text, ERROR_MESSAGE_SIZE / 3);
    for (size_t i = 0; i < field->path_count[source]; i++) {
        if (text_appendf(&text, "%s%s", i == 0 ? "" : ", ", field->paths[source][i]) < 0)
            break; /* the first ones tell enough */
    }
    error_set(err, ERROR_POISON, "rules.unmappable", "field '%s' (%s): %s", field->name, text_string(&text), message);
    text_done(&text);
    return -1;
}

/* As the value would be read from the target. */
static int order_parts(const struct rule_field *field, enum side target, json_t *value)
{
    const size_t count = field->path_count[target];

    for (size_t i = 0; i < count; i++) {
        if (rules_path_order(field->paths[target][i], count == 1 ? value : json_array_get(value, i)) < 0)
            return -1;
    }
    return 0;
}

int rule_field_map(const struct rules *rules, const struct rule_field *field, enum side target, const json_t *value,
                   json_t **ret_value, struct error *err)
{
    const enum side source = side_other(target);
    json_auto_t *nothing = json_null();
    char message[TRANSFORM_MESSAGE_SIZE];
    json_t *made = NULL;

    (void)rules; /* tables are part of the transforms */
    if (!holds(field, source, value)) {
        *ret_value = NULL;
        return 0;
    }
    if (value == NULL || (field->path_count[source] > 1 && says_nothing(value)))
        value = nothing;
    switch (transform_apply(field->transform[target], value, &made, message)) {
    case TRANSFORM_NO_MEMORY:
        return error_no_memory(err);
    case TRANSFORM_REFUSED:
        return unmappable(field, source, message, err);
    case TRANSFORM_LEAVE:
        *ret_value = NULL;
        return 0;
    case TRANSFORM_DONE:
        break;
    }
    if (field->path_count[target] > 1 && !json_is_null(made) && json_array_size(made) != field->path_count[target]) {
        json_decref(made);
        return unmappable(field, source, "does not give a value for each path", err);
    }
    if (order_parts(field, target, made) < 0) {
        json_decref(made);
        return error_no_memory(err);
    }
    *ret_value = made;
    return 0;
}

bool rule_field_leaves(const struct rule_field *field, enum side target, const json_t *value)
{
    char message[TRANSFORM_MESSAGE_SIZE];
    json_t *made = NULL;
    const bool is_left = value != NULL && holds(field, side_other(target), value) &&
                         transform_apply(field->transform[target], value, &made, message) == TRANSFORM_LEAVE;

    json_decref(made);
    return is_left;
}

int rule_field_spread(const struct rule_field *field, enum side side, const json_t *value, json_t *write)
{
    for (size_t i = 0; i < field->path_count[side]; i++) {
        json_t *part = field->path_count[side] == 1 ? json_deep_copy(value)
                       : json_is_null(value)        ? json_null()
                                                    : json_deep_copy(json_array_get(value, i));
        char *path = rules_path_target(field->paths[side][i]);
        int status = path == NULL ? -1 : json_object_set(write, path, part);
        json_decref(part);
        free(path);
        if (status < 0)
            return -1;
    }
    return 0;
}

bool rules_leave_out(const struct rules *rules, const json_t *values)
{
    for (size_t i = 0; i < json_array_size(rules->leave_out); i++) {
        if (rules_hold(json_array_get(rules->leave_out, i), values, true))
            return true;
    }
    return false;
}

bool rules_hold(const json_t *conditions, const json_t *values, bool all)
{
    json_t *iterated = (json_t *)(uintptr_t)conditions; /* jansson iterates over no const object, and changes none */
    const char *path;
    json_t *among;
    size_t held = 0;

    json_object_foreach (iterated, path, among)
        held += value_is_wanted(among, json_object_get(values, path));
    return all ? held == json_object_size(conditions) : held > 0;
}
