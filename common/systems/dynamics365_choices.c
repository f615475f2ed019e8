#include "common/systems/dynamics365_choices.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/json.h"
#include "common/base/text.h"

enum { ASKED_AGAIN_AFTER_MS = 60000 };

int dynamics_choices_init(struct dynamics_choices *choices)
{
    choices->known = json_object();
    return choices->known == NULL ? -1 : 0;
}

void dynamics_choices_done(struct dynamics_choices *choices)
{
    json_decref(choices->known);
    choices->known = NULL;
}

char *dynamics_choices_path(const char *entity, const char *column)
{
    return text_format("EntityDefinitions(LogicalName='%s')/Attributes(LogicalName='%s')/"
                       "Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName"
                       "&$expand=OptionSet($select=Options),GlobalOptionSet($select=Options)",
                       entity, column);
}

/* -- keeping ------------------------------------------------------------------------------------------------------- */

static int add_label(json_t *labels, const json_t *label)
{
    const char *text = json_text_of(label, "Label");

    return text == NULL ? 0 : json_array_append_new(labels, json_string(text));
}

/* NULL when out of memory. */
static json_t *labels_of(const json_t *option)
{
    const json_t *label = json_object_get(option, "Label");
    const json_t *localised = json_object_get(label, "LocalizedLabels");
    json_t *labels = json_array();
    int status = labels == NULL ? -1 : add_label(labels, json_object_get(label, "UserLocalizedLabel"));

    for (size_t i = 0; i < json_array_size(localised) && status == 0; i++)
        status = add_label(labels, json_array_get(localised, i));
    if (status == 0)
        return labels;
    json_decref(labels);
    return NULL;
}

static json_t *choices_of(const json_t *options)
{
    json_t *list = json_array();
    json_t *option;
    size_t i;

    json_array_foreach (options, i, option) {
        const json_t *value = json_object_get(option, "Value");
        if (json_is_integer(value) &&
            json_array_append_new(
                list, json_pack("{s:I, s:o}", "value", json_integer_value(value), "labels", labels_of(option))) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static char *name_of(const char *entity, const char *column)
{
    return text_format("%s/%s", entity, column);
}

/* A column has choices of its own, or those of an option set that several columns share. */
int dynamics_choices_keep(struct dynamics_choices *choices, const char *entity, const char *column,
                          const json_t *metadata, int64_t now_ms)
{
    const json_t *own = json_object_get(json_object_get(metadata, "OptionSet"), "Options");
    const json_t *shared = json_object_get(json_object_get(metadata, "GlobalOptionSet"), "Options");
    json_t *list = choices_of(json_array_size(own) > 0 ? own : shared);
    char *name = name_of(entity, column);
    int status = -1;

    if (name != NULL && json_array_size(list) > 0)
        status = json_object_set_new(choices->known, name,
                                     json_pack("{s:O, s:I}", "choices", list, "at", (json_int_t)now_ms));
    json_decref(list);
    free(name);
    return status;
}

/* -- finding ------------------------------------------------------------------------------------------------------- */

static size_t without_blanks(const char **text)
{
    size_t length;

    *text += strspn(*text, " \t\r\n");
    length = strlen(*text);
    while (length > 0 && strchr(" \t\r\n", (*text)[length - 1]) != NULL)
        length--;
    return length;
}

bool dynamics_label_is_same(const char *a, const char *b)
{
    const size_t length = without_blanks(&a);

    return without_blanks(&b) == length && strncasecmp(a, b, length) == 0;
}

static bool has_label(const json_t *choice, const char *label)
{
    const json_t *labels = json_object_get(choice, "labels");

    for (size_t i = 0; i < json_array_size(labels); i++) {
        if (dynamics_label_is_same(json_string_value(json_array_get(labels, i)), label))
            return true;
    }
    return false;
}

enum dynamics_choice dynamics_choices_find(const struct dynamics_choices *choices, const char *entity,
                                           const char *column, const char *label, int64_t now_ms, json_int_t *ret_value)
{
    char *name = name_of(entity, column);
    const json_t *known = name == NULL ? NULL : json_object_get(choices->known, name);
    const json_t *list = json_object_get(known, "choices");
    const json_t *found = NULL;
    size_t count = 0;

    free(name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (has_label(json_array_get(list, i), label)) {
            found = json_array_get(list, i);
            count++;
        }
    }
    if (count == 1) {
        *ret_value = json_integer_of(found, "value", 0);
        return DYNAMICS_CHOICE_FOUND;
    }
    if (known == NULL || now_ms - json_integer_of(known, "at", 0) >= ASKED_AGAIN_AFTER_MS)
        return DYNAMICS_CHOICE_ASK;
    return DYNAMICS_CHOICE_NONE;
}
