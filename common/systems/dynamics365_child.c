#include "common/systems/dynamics365_child.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/dynamics365_lookup.h"
#include "common/systems/dynamics365_table.h"

/* Namespace of the ids we give to child rows; of our own, random once. */
#define CHILD_NAMESPACE "c5f0b7d2-3a64-4e1b-8d0a-7e92b61f4c38"

bool dynamics_is_children(const json_t *value)
{
    return json_is_array(value);
}

static int refuse(const char *navigation, const char *why, struct error *err)
{
    return error_set(err, ERROR_POISON, "dynamics_365.write", "the rows of '%s' %s", navigation, why);
}

/* "msft_price" is the row's own, "msft_solutionid.msft_name" of what it points to. */
static int take_members(const json_t *row, const json_t *lookups, json_t *child, struct error *err)
{
    json_t *members = (json_t *)(uintptr_t)row; /* jansson iterates over no const object, and changes none */
    const char *name;
    json_t *value;

    json_object_foreach (members, name, value) {
        const char *dot = strchr(name, '.');
        if (dot != NULL) {
            if (dynamics_lookup_add(lookups, json_object_get(child, "lookups"), name, dot, value, err) < 0)
                return -1;
        } else if (json_object_set_new(json_object_get(child, "columns"), name, json_deep_copy(value)) < 0) {
            return error_no_memory(err);
        }
    }
    return 0;
}

/* One text for one row of a list; `number`: how many before it say the same. */
static json_t *seed_of(const char *navigation, const json_t *row, size_t number)
{
    char *said = json_write(row, true, NULL);
    char *seed = said == NULL ? NULL : text_format("%s#%zu%s", navigation, number, said);
    json_t *made = seed == NULL ? NULL : json_string(seed);

    free(said);
    free(seed);
    return made;
}

static size_t count_equal(const json_t *rows, size_t before)
{
    size_t count = 0;

    for (size_t i = 0; i < before; i++)
        count += json_same(json_array_get(rows, i), json_array_get(rows, before));
    return count;
}

static int add_one(const json_t *how, const char *navigation, const json_t *rows, size_t place, json_t *children,
                   struct error *err)
{
    const json_t *row = json_array_get(rows, place);
    json_auto_t *child =
        json_pack("{s:{s:s, s:s*}, s:s, s:{}, s:{}}", "table", "entity", json_text_of(how, "entity"), "entity_set",
                  json_text_of(how, "entity_set"), "parent", json_text_of(how, "parent"), "columns", "lookups");

    if (!json_is_object(row))
        return refuse(navigation, "are no objects", err);
    if (child == NULL || json_object_set_new(child, "seed", seed_of(navigation, row, count_equal(rows, place))) < 0)
        return error_no_memory(err);
    if (take_members(row, json_object_get(how, "lookups"), child, err) < 0)
        return -1;
    return json_array_append(children, child) < 0 ? error_no_memory(err) : 0;
}

int dynamics_children_add(const struct decision *decision, const char *navigation, const json_t *rows, json_t *children,
                          struct error *err)
{
    const json_t *how = json_object_get(decision->rows, navigation);
    struct dynamics_table table;

    if (decision->action != DECISION_CREATE)
        return refuse(navigation, "are made with a new record only", err);
    if (json_array_size(rows) == 0)
        return 0;
    if (!dynamics_table_of(how, &table) || json_text_of(how, "parent") == NULL)
        return refuse(navigation, "belong to a table the rules do not tell", err);
    if (json_array_size(children) + json_array_size(rows) > DYNAMICS_CHILDREN_MAX)
        return refuse(navigation, "are more than can be made", err);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (add_one(how, navigation, rows, i, children, err) < 0)
            return -1;
    }
    return 0;
}

int dynamics_child_id(const json_t *child, const char *parent_id, char out[static UUID_TEXT_SIZE])
{
    char *name = text_format("%s/%s", parent_id, json_text_of(child, "seed"));
    int status = name == NULL || uuid_from_name(CHILD_NAMESPACE, name, strlen(name), out) == NULL ? -1 : 0;

    free(name);
    return status;
}

char *dynamics_child_body(const json_t *child, const char *parent_set, const char *parent_id, const json_t *binds,
                          size_t *ret_length)
{
    json_auto_t *body = json_copy(json_object_get(child, "columns"));
    char *column = text_format("%s@odata.bind", json_text_of(child, "parent"));
    char *target = text_format("/%s(%s)", parent_set, parent_id);
    char *text = NULL;

    if (body != NULL && column != NULL && target != NULL && json_object_update(body, (json_t *)(uintptr_t)binds) == 0 &&
        json_object_set_new(body, column, json_string(target)) == 0)
        text = json_write(body, false, ret_length);
    free(column);
    free(target);
    return text;
}
