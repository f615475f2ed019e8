/* Transforms of lists and of the values of several paths. */
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/transform_apply.h"
#include "mapper/value.h"

/* -- choosing ------------------------------------------------------------------------------------------------------ */

TRANSFORM_FUNCTION(first)
{
    (void)transform;
    (void)reterr_message;
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *item = json_array_get(value, i);
        if (!json_is_null(item))
            return transform_done(json_deep_copy(item), ret_value);
    }
    return transform_done(json_null(), ret_value);
}

TRANSFORM_FUNCTION(pick)
{
    const json_t *item = json_array_get(value, (size_t)json_integer_of(transform->arguments, "place", 0));

    (void)reterr_message;
    return transform_done(item == NULL ? json_null() : json_deep_copy(item), ret_value);
}

/* Of several values one that says something is enough. */
static bool any_is_present(const json_t *value)
{
    bool is_present = false;

    if (!json_is_array(value))
        return value_is_present(value);
    for (size_t i = 0; i < json_array_size(value) && !is_present; i++)
        is_present = value_is_present(json_array_get(value, i));
    return is_present;
}

TRANSFORM_FUNCTION(present)
{
    const json_t *says = json_object_get(transform->arguments, any_is_present(value) ? "yes" : "no");

    (void)reterr_message;
    return says == NULL ? TRANSFORM_LEAVE : transform_done(json_deep_copy(says), ret_value);
}

/* -- making lists -------------------------------------------------------------------------------------------------- */

TRANSFORM_FUNCTION(wrap)
{
    json_t *list;

    if (transform->is_inverse)
        return transform_first(transform, value, ret_value, reterr_message);
    list = json_array();
    if (list != NULL && !json_is_null(value) && json_array_append_new(list, json_deep_copy(value)) < 0) {
        json_decref(list);
        list = NULL;
    }
    return transform_done(list, ret_value);
}

TRANSFORM_FUNCTION(concat)
{
    json_auto_t *list = json_array();

    (void)transform;
    (void)reterr_message;
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *part = json_array_get(value, i);
        const size_t count = json_is_array(part) ? json_array_size(part) : 1;
        for (size_t k = 0; k < count; k++) {
            json_t *item = json_is_array(part) ? json_array_get(part, k) : part;
            if (!json_is_null(item) && json_array_append_new(list, json_deep_copy(item)) < 0)
                return TRANSFORM_NO_MEMORY;
        }
    }
    return transform_done(json_incref(list), ret_value);
}

static bool has_equal(const json_t *list, const char *member, const json_t *item)
{
    const json_t *value = json_object_get(item, member);

    for (size_t i = 0; i < json_array_size(list) && value_is_present(value); i++) {
        if (value_matches(json_object_get(json_array_get(list, i), member), value))
            return true;
    }
    return false;
}

TRANSFORM_FUNCTION(unique)
{
    const char *member = transform_text_argument(transform, "by", "");
    json_auto_t *list = json_array();

    (void)reterr_message;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!has_equal(list, member, item) && json_array_append_new(list, json_deep_copy(item)) < 0)
            return TRANSFORM_NO_MEMORY;
    }
    return transform_done(json_incref(list), ret_value);
}

/* -- members ------------------------------------------------------------------------------------------------------- */

/* A member's `place`-th name in the CRM; NULL: there are no more. */
static const char *crm_name(const json_t *names, size_t place)
{
    if (json_is_array(names))
        return json_string_value(json_array_get(names, place));
    return place == 0 ? json_string_value(names) : NULL;
}

/* Rows of several tables have several names for the same: the first one that is there. */
static const json_t *crm_value(const json_t *item, const json_t *names)
{
    const char *name;

    for (size_t place = 0; (name = crm_name(names, place)) != NULL; place++) {
        const json_t *value = json_object_get(item, name);
        if (value != NULL && !json_is_null(value))
            return value;
    }
    return NULL;
}

/* The item with the members' names of the side written; without any, nothing is known of it. NULL: out of memory. */
static json_t *rename_members(const struct transform *transform, const json_t *item)
{
    json_t *members = json_object_get(transform->arguments, "members");
    json_t *made = json_object();
    const char *partner_center;
    json_t *crm;

    json_object_foreach (members, partner_center, crm) {
        const char *to = transform->is_inverse ? partner_center : crm_name(crm, 0);
        const json_t *value = transform->is_inverse ? crm_value(item, crm) : json_object_get(item, partner_center);
        if (value == NULL || json_is_null(value) || json_object_set_new(made, to, json_deep_copy(value)) == 0)
            continue;
        json_decref(made);
        return NULL;
    }
    return made;
}

/* The first member the item needs and has not; NULL: it has all. */
static const char *find_missing(const struct transform *transform, const json_t *item)
{
    const json_t *needs = json_object_get(transform->arguments, "needs");

    for (size_t i = 0; i < json_array_size(needs); i++) {
        const char *name = json_string_value(json_array_get(needs, i));
        if (!value_is_present(json_object_get(item, name)))
            return name;
    }
    return NULL;
}

/* Towards the CRM, objects with other constants are about something else, as are those that lack what is needed: nobody
 * here could add it. */
static bool has_constants(const struct transform *transform, const json_t *item)
{
    json_t *constants = json_object_get(transform->arguments, "with");
    const char *name;
    json_t *value;

    json_object_foreach (constants, name, value) {
        if (!value_matches(json_object_get(item, name), value))
            return false;
    }
    return true;
}

static int add_constants(const struct transform *transform, json_t *made)
{
    const json_t *constants = json_object_get(transform->arguments, "with");

    return constants == NULL ? 0 : json_object_update(made, (json_t *)(uintptr_t)constants);
}

/* 1: it goes into the list; 0: it does not; -1: out of memory. */
static int make_item(const struct transform *transform, const json_t *item, json_t **ret_made)
{
    if (!transform->is_inverse && (!has_constants(transform, item) || find_missing(transform, item) != NULL))
        return 0;
    *ret_made = rename_members(transform, item);
    return *ret_made == NULL ? -1 : json_object_size(*ret_made) > 0;
}

TRANSFORM_FUNCTION(list)
{
    const size_t limit = (size_t)json_integer_of(transform->arguments, "max", INT32_MAX);
    json_auto_t *list = json_array();

    for (size_t i = 0; i < json_array_size(value); i++) {
        json_auto_t *made = NULL;
        const int fits = make_item(transform, json_array_get(value, i), &made);
        const char *missing = fits > 0 && transform->is_inverse ? find_missing(transform, made) : NULL;

        if (missing != NULL)
            return transform_refuse(reterr_message, value, NULL, "has an entry without '%s'", missing);
        if (fits < 0 || (fits > 0 && transform->is_inverse && add_constants(transform, made) < 0) ||
            (fits > 0 && json_array_append(list, made) < 0))
            return TRANSFORM_NO_MEMORY;
    }
    if (json_array_size(list) > limit)
        return transform_refuse(reterr_message, value, NULL, "has more than %zu entries", limit);
    return transform_done(json_incref(list), ret_value);
}

/* -- tagged values ------------------------------------------------------------------------------------------------- */

static const json_t *find_tagged(const json_t *list, const json_t *type)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (value_matches(json_object_get(item, "type"), type))
            return json_object_get(item, "id");
    }
    return NULL;
}

static enum transform_result read_tags(const json_t *types, const json_t *value, json_t **ret_value)
{
    json_auto_t *values = json_array();

    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *id = find_tagged(value, json_array_get(types, i));
        if (json_array_append_new(values, id == NULL ? json_null() : json_deep_copy(id)) < 0)
            return TRANSFORM_NO_MEMORY;
    }
    return transform_done(json_incref(json_array_size(types) == 1 ? json_array_get(values, 0) : values), ret_value);
}

TRANSFORM_FUNCTION(tag)
{
    const json_t *types = json_object_get(transform->arguments, "types");
    json_auto_t *list = NULL;

    (void)reterr_message;
    if (!transform->is_inverse)
        return read_tags(types, value, ret_value);
    list = json_array();
    for (size_t i = 0; i < json_array_size(types); i++) {
        json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        json_t *item;
        if (!value_is_present(id))
            continue;
        item = json_pack("{s:O, s:O}", "id", id, "type", json_array_get(types, i));
        if (json_array_append_new(list, item) < 0)
            return TRANSFORM_NO_MEMORY;
    }
    return transform_done(json_incref(list), ret_value);
}
