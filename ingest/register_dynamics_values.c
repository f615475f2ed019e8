#include "ingest/register_dynamics_values.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/dynamics365_column_path.h"
#include "common/systems/dynamics365_lookup.h"

enum { ATTRIBUTES_BYTES_MAX = 64 * 1024, AUTH_VALUE_BYTES_MAX = 2048 };

/* --- Attributes --------------------------------------------------------------------------------------------------- */

/* What the platform sets with every change, or never changes. */
static bool says_nothing(const char *attribute)
{
    static const char *const words[] = {"versionnumber", "modifiedon", "modifiedby", "createdon", "opportunityid"};

    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        if (strcmp(words[i], attribute) == 0)
            return true;
    }
    return false;
}

/* "_customerid_value" -> "customerid", in place. Who owns a record is changed by its owner, whatever is read of that. */
static const char *attribute_of(char *column)
{
    static const char suffix[] = "_value";
    const size_t length = strlen(column);

    if (column[0] == '_' && text_ends_with(column, suffix)) {
        column[length - strlen(suffix)] = '\0';
        column++;
    }
    return text_starts_with(column, "owning") ? "ownerid" : column;
}

static int add_attribute(json_t *attributes, const char *flat)
{
    struct dynamics_column_path path;
    char *column;
    const char *attribute;
    int status = -1;

    if (!dynamics_column_path_read(flat, &path) || path.is_collection)
        return 0;
    column = path.rest != NULL ? dynamics_lookup_column(flat, path.head_length) : text_copy_n(flat, path.head_length);
    if (column == NULL)
        return -1;
    attribute = attribute_of(column);
    status = says_nothing(attribute) ? 0 : json_object_set_new(attributes, attribute, json_true());
    free(column);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object, sorted. */
static char *join(const json_t *names)
{
    const size_t count = json_object_size(names);
    const char **sorted = calloc(count + 1, sizeof(*sorted));
    struct text out;
    char *taken = NULL;
    int status = sorted == NULL ? -1 : 0;
    size_t i = 0;
    const char *name;
    json_t *unused;

    text_init(&out, ATTRIBUTES_BYTES_MAX);
    json_object_foreach ((json_t *)(uintptr_t)names, name, unused) {
        if (sorted != NULL)
            sorted[i++] = name;
    }
    if (sorted != NULL)
        qsort(sorted, count, sizeof(*sorted), compare_names);
    for (i = 0; i < count && status == 0; i++)
        status = text_appendf(&out, "%s%s", i == 0 ? "" : ",", sorted[i]);
    if (status == 0)
        taken = text_take(&out);
    text_done(&out);
    free(sorted);
    return taken;
}

char *register_dynamics_attributes(const struct config_list *columns)
{
    json_auto_t *attributes = json_pack("{s:b, s:b}", "statecode", 1, "statuscode", 1);
    int status = attributes == NULL ? -1 : 0;

    for (size_t i = 0; i < columns->count && status == 0; i++)
        status = add_attribute(attributes, columns->items[i]);
    return status < 0 ? NULL : join(attributes);
}

/* NULL when out of memory. */
static json_t *set_of(const char *names)
{
    json_t *set = json_object();

    for (const char *at = names == NULL ? "" : names; *at != '\0' && set != NULL;) {
        const size_t length = strcspn(at, ", ");
        char *name = text_copy_n(at, length);

        if (name == NULL || (length > 0 && json_object_set_new(set, name, json_true()) < 0)) {
            json_decref(set);
            set = NULL;
        }
        free(name);
        at += length + (at[length] != '\0');
    }
    return set;
}

bool register_dynamics_same_attributes(const char *a, const char *b)
{
    json_auto_t *one = set_of(a);
    json_auto_t *other = set_of(b);

    /* Out of memory: written once more than needed, at worst. */
    return one != NULL && json_same(one, other);
}

/* --- Texts -------------------------------------------------------------------------------------------------------- */

static int append_xml(struct text *out, const char *value)
{
    for (const char *at = value; *at != '\0'; at++) {
        const char *entity = *at == '&' ? "&amp;" : *at == '<' ? "&lt;" : *at == '>' ? "&gt;" : "&quot;";
        const int status = strchr("&<>\"", *at) != NULL ? text_append(out, entity) : text_append_char(out, *at);
        if (status < 0)
            return -1;
    }
    return 0;
}

char *register_dynamics_auth_value(bool uses_webhook_key, const char *header, const char *secret)
{
    struct text out;
    char *taken = NULL;

    if (uses_webhook_key)
        return text_copy(secret);
    text_init(&out, AUTH_VALUE_BYTES_MAX);
    if (text_append(&out, "<settings><setting name=\"") == 0 && append_xml(&out, header) == 0 &&
        text_append(&out, "\" value=\"") == 0 && append_xml(&out, secret) == 0 &&
        text_append(&out, "\" /></settings>") == 0)
        taken = text_take(&out);
    text_done(&out);
    return taken;
}
