#include "mapper/rules_path_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/rules_path.h"

/* Dataverse Web API, formatted values. */
#define FORMATTED_VALUE "@OData.Community.Display.V1.FormattedValue"

/* -- order --------------------------------------------------------------------------------------------------------- */

struct item {
    char *text; /* one text for one value */
    json_t *value;
};

static int compare_items(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->text, ((const struct item *)b)->text);
}

static int order_list(json_t *list)
{
    const size_t count = json_array_size(list);
    struct item *items = calloc(count + 1, sizeof(*items));
    int status = items == NULL ? -1 : 0;

    for (size_t i = 0; i < count && status == 0; i++) {
        items[i].value = json_incref(json_array_get(list, i));
        items[i].text = json_write(items[i].value, true, NULL);
        status = items[i].text == NULL ? -1 : 0;
    }
    if (status == 0)
        qsort(items, count, sizeof(*items), compare_items);
    for (size_t i = 0; i < count && items != NULL; i++) {
        if (status == 0)
            status = json_array_set(list, i, items[i].value);
        json_decref(items[i].value);
        free(items[i].text);
    }
    free(items);
    return status;
}

int rules_path_order(const char *path, json_t *value)
{
    return rules_path_shape(path) == RULES_PATH_LIST && json_is_array(value) ? order_list(value) : 0;
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

/* The members of `path` that say something. NULL: out of memory. */
static json_t *read_members(const char *path, enum side side, const json_t *object)
{
    json_t *made = json_object();
    char name[RULES_PATH_BYTES_MAX + 1];
    size_t length;

    for (const char *member = rules_path_members(path, &length); member != NULL && made != NULL;
         member = rules_path_next_member(member, &length)) {
        json_t *value;
        (void)snprintf(name, sizeof(name), "%.*s", (int)length, member);
        value = json_at(object, name, side == SIDE_PARTNER_CENTER);
        if (value == NULL || json_is_null(value) || json_object_set_new(made, name, json_deep_copy(value)) == 0)
            continue;
        json_decref(made);
        made = NULL;
    }
    return made;
}

static json_t *read_list(const char *path, enum side side, const json_t *list)
{
    json_t *made = json_array();

    for (size_t i = 0; i < json_array_size(list) && made != NULL; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_object(item) || json_array_append_new(made, read_members(path, side, item)) == 0)
            continue;
        json_decref(made);
        made = NULL;
    }
    if (made != NULL && order_list(made) == 0)
        return made;
    json_decref(made);
    return NULL;
}

static int done(json_t *made, json_t **ret_value)
{
    if (made == NULL)
        return -1;
    *ret_value = made;
    return 0;
}

/* A column without a value has no label. */
static int read_label(const char *column, const json_t *body, json_t **ret_value)
{
    const json_t *raw = json_object_get(body, column);
    char *name = text_format("%s" FORMATTED_VALUE, column);
    json_t *label = name == NULL ? NULL : json_object_get(body, name);
    const bool is_complete = name != NULL;

    free(name);
    *ret_value = NULL;
    if (!is_complete)
        return -1;
    if (label != NULL)
        return done(json_deep_copy(label), ret_value);
    return raw != NULL && json_is_null(raw) ? done(json_null(), ret_value) : 0;
}

int rules_path_read(const char *path, enum side side, const json_t *body, json_t **ret_value)
{
    const enum rules_path_shape shape = rules_path_shape(path);
    char base[RULES_PATH_BYTES_MAX + 1];
    const json_t *there;

    (void)snprintf(base, sizeof(base), "%.*s", (int)rules_path_base_length(path), path);
    if (shape == RULES_PATH_CHOICE_LABEL)
        return read_label(base, body, ret_value);
    there = json_at(body, base, side == SIDE_PARTNER_CENTER);
    if (shape == RULES_PATH_PLAIN)
        return done(there == NULL ? json_null() : json_deep_copy(there), ret_value);
    *ret_value = NULL;
    if (there == NULL && side == SIDE_CRM)
        return 0;
    if (shape == RULES_PATH_LIST && (json_is_array(there) || side == SIDE_CRM))
        return done(read_list(path, side, there), ret_value);
    if (shape == RULES_PATH_OBJECT && json_is_object(there))
        return done(read_members(path, side, there), ret_value);
    return done(json_null(), ret_value);
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

char *rules_path_target(const char *path)
{
    if (rules_path_shape(path) == RULES_PATH_CHOICE_LABEL)
        return text_copy(path);
    return text_copy_n(path, rules_path_base_length(path));
}

/* Child rows are written with names like "productid.number", and show objects. */
static int nest_members(json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i), *value;
        const char *name;
        void *next;
        json_object_foreach_safe (row, next, name, value) {
            if (strchr(name, '.') == NULL)
                continue;
            if (json_set_at(row, name, json_incref(value)) < 0)
                return -1;
            (void)json_object_del(row, name);
        }
    }
    return 0;
}

int rules_path_put(const char *path, json_t *body, json_t *value)
{
    char *name;
    int status;

    if (rules_path_shape(path) != RULES_PATH_CHOICE_LABEL) {
        if (nest_members(value) == 0)
            return json_set_at(body, path, value);
        json_decref(value);
        return -1;
    }
    name = text_format("%.*s" FORMATTED_VALUE, (int)rules_path_base_length(path), path);
    if (name == NULL) {
        json_decref(value);
        return -1;
    }
    status = json_object_set_new(body, name, value);
    free(name);
    return status;
}
