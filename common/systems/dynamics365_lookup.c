#include "common/systems/dynamics365_lookup.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/http/client.h"
#include "common/systems/dynamics365_column_path.h"
#include "common/systems/dynamics365_table.h"

enum {
    ATTRIBUTES_MAX = 20000, /* remembered records; forgotten as a whole when full */
    ATTRIBUTES_LIFE_MS = 300000,
    VALUE_BYTES_MAX = 1000,
    SEARCH_BYTES_MAX = 16 * 1024
};

/* Namespace of the ids we give to records we make; of our own, random once. */
#define LOOKUP_NAMESPACE "5b1d6f0e-8a1c-4c3e-9a55-0f6c2f2d7b11"

/* -- names --------------------------------------------------------------------------------------------------------- */

/* Lookups to several tables have one navigation property for each, named after the table. */
static size_t without_table(const char *navigation, size_t length)
{
    static const char *const tables[] = {"_account", "_contact", "_systemuser", "_team"};

    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++) {
        const size_t suffix = strlen(tables[i]);
        if (length > suffix + 2 && strncmp(navigation + length - suffix, tables[i], suffix) == 0 &&
            strncmp(navigation + length - suffix - 2, "id", 2) == 0)
            return length - suffix;
    }
    return length;
}

char *dynamics_lookup_column(const char *navigation, size_t length)
{
    char *column = text_format("_%.*s_value", (int)without_table(navigation, length), navigation);

    /* Navigation properties of custom lookups are in mixed case, columns never are. */
    for (char *at = column; at != NULL && *at != '\0'; at++) {
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    }
    return column;
}

char *dynamics_literal(const char *text)
{
    struct text out;
    char *taken = NULL;
    bool is_complete = true;

    text_init(&out, 2 * VALUE_BYTES_MAX);
    for (const char *at = text; *at != '\0' && is_complete; at++)
        is_complete = text_append_char(&out, *at) == 0 && (*at != '\'' || text_append_char(&out, '\'') == 0);
    if (is_complete)
        taken = text_take(&out);
    text_done(&out);
    return taken;
}

/* The attribute a column names of what the navigation property points to; NULL when it is about something else, also
 * about what lies behind a further lookup. */
static const char *attribute_of(const char *column, const char *navigation)
{
    struct dynamics_column_path path;

    if (!dynamics_column_path_read(column, &path) || path.is_collection || path.is_nested ||
        path.head_length != strlen(navigation) || strncmp(column, navigation, path.head_length) != 0)
        return NULL;
    return path.rest;
}

/* -- parts of a write ---------------------------------------------------------------------------------------------- */

int dynamics_lookup_add(const json_t *described, json_t *lookups, const char *column, const char *dot,
                        const json_t *value, struct error *err)
{
    char *navigation = text_copy_n(column, (size_t)(dot - column));
    const json_t *how = navigation == NULL ? NULL : json_object_get(described, navigation);
    struct dynamics_table table;
    json_t *lookup;
    int status = -1;

    if (navigation == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (!dynamics_table_of(how, &table) || json_array_size(json_object_get(how, "match")) == 0) {
        (void)error_set(err, ERROR_POISON, "dynamics_365.write", "the rules say of no lookup '%s' what it points to",
                        navigation);
        goto out;
    }
    lookup = json_object_get(lookups, navigation);
    if (lookup == NULL) {
        lookup = json_deep_copy(how);
        if (lookup == NULL || json_object_set_new(lookup, "values", json_object()) < 0 ||
            json_object_set_new(lookups, navigation, lookup) < 0) {
            (void)error_no_memory(err);
            goto out;
        }
    }
    status = json_object_set_new(json_object_get(lookup, "values"), dot + 1, json_deep_copy(value));
    if (status < 0)
        (void)error_no_memory(err);
out:
    free(navigation);
    return status;
}

/* -- search -------------------------------------------------------------------------------------------------------- */

/* "name eq 'Adatum'", "creditlimit eq 1000", "address1_postalcode eq null" */
static int append_comparison(struct text *filter, const char *attribute, const json_t *value, struct error *err)
{
    struct decimal number;
    char plain[DECIMAL_TEXT_SIZE];
    char *literal;
    int status;

    if (value == NULL || json_is_null(value)) {
        status = text_appendf(filter, "%s eq null", attribute);
    } else if (json_is_boolean(value)) {
        status = text_appendf(filter, "%s eq %s", attribute, json_is_true(value) ? "true" : "false");
    } else if (json_get_decimal(value, &number)) {
        status = text_appendf(filter, "%s eq %s", attribute, decimal_format(&number, -1, plain));
    } else if (json_is_string(value) && json_string_length(value) <= VALUE_BYTES_MAX) {
        literal = dynamics_literal(json_string_value(value));
        status = literal == NULL ? -1 : text_appendf(filter, "%s eq '%s'", attribute, literal);
        free(literal);
    } else {
        return error_set(err, ERROR_POISON, "lookup.value", "nothing can be found by this value of '%s'", attribute);
    }
    return status < 0 ? error_no_memory(err) : 0;
}

static int append_filter(struct text *filter, const json_t *lookup, struct error *err)
{
    const json_t *match = json_object_get(lookup, "match");

    for (size_t i = 0; i < json_array_size(match); i++) {
        const char *attribute = json_string_value(json_array_get(match, i));
        if (i > 0 && text_append(filter, " and ") < 0)
            return error_no_memory(err);
        if (append_comparison(filter, attribute, json_object_get(json_object_get(lookup, "values"), attribute), err) <
            0)
            return -1;
    }
    return 0;
}

int dynamics_lookup_search(const json_t *lookup, const char *navigation, const struct config_list *columns,
                           char **ret_path, struct error *err)
{
    struct dynamics_table table;
    struct text filter, path;
    char *encoded = NULL;
    int status = -1;

    text_init(&filter, SEARCH_BYTES_MAX);
    text_init(&path, SEARCH_BYTES_MAX);
    if (!dynamics_table_of(lookup, &table)) {
        (void)error_set(err, ERROR_POISON, "dynamics_365.write", "a lookup of a table that has no name");
        goto out;
    }
    if (append_filter(&filter, lookup, err) < 0)
        goto out;
    encoded = http_encode(text_string(&filter));
    if (encoded == NULL || text_appendf(&path, "%s?$select=%s", table.set, table.key) < 0) {
        (void)error_no_memory(err);
        goto out;
    }
    for (size_t i = 0; i < columns->count; i++) {
        const char *attribute = attribute_of(columns->items[i], navigation);
        if (attribute != NULL && text_appendf(&path, ",%s", attribute) < 0) {
            (void)error_no_memory(err);
            goto out;
        }
    }
    if (text_appendf(&path, "&$filter=%s&$top=2", encoded) < 0) {
        (void)error_no_memory(err);
        goto out;
    }
    *ret_path = text_take(&path);
    status = *ret_path == NULL ? error_no_memory(err) : 0;
out:
    text_done(&filter);
    text_done(&path);
    free(encoded);
    return status;
}

int dynamics_lookup_id(const json_t *lookup, char out[static UUID_TEXT_SIZE])
{
    const json_t *match = json_object_get(lookup, "match");
    json_auto_t *identity = json_object();
    char *seed;
    int status;

    for (size_t i = 0; i < json_array_size(match); i++) {
        const char *attribute = json_string_value(json_array_get(match, i));
        json_t *value = json_object_get(json_object_get(lookup, "values"), attribute);
        if (json_object_set(identity, attribute, value == NULL ? json_null() : value) < 0)
            return -1;
    }
    seed = identity == NULL ? NULL : json_write(identity, true, NULL);
    status = seed == NULL || uuid_from_name(LOOKUP_NAMESPACE, seed, strlen(seed), out) == NULL ? -1 : 0;
    free(seed);
    return status;
}

/* -- memory -------------------------------------------------------------------------------------------------------- */

int dynamics_memory_init(struct dynamics_memory *memory)
{
    *memory =
        (struct dynamics_memory){.attributes = json_object(), .currencies = json_object(), .found = json_object()};
    if (memory->attributes != NULL && memory->currencies != NULL && memory->found != NULL)
        return 0;
    dynamics_memory_done(memory);
    return -1;
}

void dynamics_memory_done(struct dynamics_memory *memory)
{
    json_decref(memory->attributes);
    json_decref(memory->currencies);
    json_decref(memory->found);
    *memory = (struct dynamics_memory){0};
}

void dynamics_memory_forget(struct dynamics_memory *memory)
{
    (void)json_object_clear(memory->attributes);
    (void)json_object_clear(memory->currencies);
    (void)json_object_clear(memory->found);
}

void dynamics_memory_keep(struct dynamics_memory *memory, const struct config_list *columns, const char *navigation,
                          const char *id, const json_t *record, int64_t now_ms)
{
    json_auto_t *values = json_object();
    char *key;

    for (size_t i = 0; i < columns->count; i++) {
        const char *attribute = attribute_of(columns->items[i], navigation);
        json_t *value = attribute == NULL ? NULL : json_object_get(record, attribute);
        if (attribute != NULL &&
            json_object_set_new(values, attribute, value == NULL ? json_null() : json_deep_copy(value)) < 0)
            return; /* rather unknown than incomplete */
    }
    if (json_object_size(memory->attributes) >= ATTRIBUTES_MAX)
        (void)json_object_clear(memory->attributes);
    key = text_format("%s/%s", navigation, id);
    if (key != NULL && values != NULL)
        (void)json_object_set_new(
            memory->attributes, key,
            json_pack("{s:O, s:I}", "values", values, "until", (json_int_t)now_ms + ATTRIBUTES_LIFE_MS));
    free(key);
}

/* One lookup of a record: navigation property and the id it holds. */
struct pointer {
    char *navigation;
    char *column;
    const char *id; /* borrowed from the record; NULL: points to nothing */
};

static void pointer_done(struct pointer *pointer)
{
    free(pointer->navigation);
    free(pointer->column);
}

/* What a column with a dot is about. -1: out of memory, *ret_pointer is then to be released too. */
static int pointer_of(const char *column, size_t length, const json_t *record, struct pointer *ret_pointer)
{
    *ret_pointer = (struct pointer){
        .navigation = text_copy_n(column, length),
        .column = dynamics_lookup_column(column, length),
    };
    if (ret_pointer->navigation == NULL || ret_pointer->column == NULL)
        return -1;
    ret_pointer->id = json_text_of(record, ret_pointer->column);
    return 0;
}

void dynamics_memory_keep_expanded(struct dynamics_memory *memory, const struct config_list *columns,
                                   const json_t *record, int64_t now_ms)
{
    for (size_t i = 0; i < columns->count; i++) {
        struct dynamics_column_path path;
        struct pointer pointer = {0};
        if (dynamics_column_path_read(columns->items[i], &path) && path.rest != NULL && !path.is_collection &&
            pointer_of(columns->items[i], path.head_length, record, &pointer) == 0 && pointer.id != NULL &&
            json_is_object(json_object_get(record, pointer.navigation)))
            dynamics_memory_keep(memory, columns, pointer.navigation, pointer.id,
                                 json_object_get(record, pointer.navigation), now_ms);
        pointer_done(&pointer);
    }
}

/* What a column is about stays unknown where it is not remembered: attributes behind further lookups never are. */
static int expand_one(const struct dynamics_memory *memory, const struct pointer *pointer, bool is_nested,
                      json_t *record, int64_t now_ms, bool *ret_is_known)
{
    const json_t *known;
    char *key;

    *ret_is_known = true;
    if (json_object_get(record, pointer->navigation) == NULL && pointer->id == NULL)
        return json_object_set_new(record, pointer->navigation, json_null());
    if (pointer->id != NULL && is_nested)
        *ret_is_known = false;
    if (json_object_get(record, pointer->navigation) != NULL || !*ret_is_known)
        return 0;
    key = text_format("%s/%s", pointer->navigation, pointer->id);
    if (key == NULL)
        return -1;
    known = json_object_get(memory->attributes, key);
    free(key);
    if (known != NULL && json_integer_of(known, "until", 0) > now_ms)
        return json_object_set(record, pointer->navigation, json_object_get(known, "values"));
    *ret_is_known = false;
    return 0;
}

int dynamics_memory_expand(const struct dynamics_memory *memory, const struct config_list *columns, json_t *record,
                           int64_t now_ms, bool *ret_is_complete)
{
    bool is_complete = true;

    for (size_t i = 0; i < columns->count; i++) {
        struct dynamics_column_path path;
        struct pointer pointer = {0};
        bool is_known = true;
        int status;

        if (!dynamics_column_path_read(columns->items[i], &path) || path.rest == NULL)
            continue;
        if (path.is_collection) {
            is_complete = false;
            continue;
        }
        status = pointer_of(columns->items[i], path.head_length, record, &pointer);
        if (status == 0)
            status = expand_one(memory, &pointer, path.is_nested, record, now_ms, &is_known);
        pointer_done(&pointer);
        if (status < 0)
            return -1;
        is_complete &= is_known;
    }
    *ret_is_complete = is_complete;
    return 0;
}

static const char *currency_code(const json_t *lookup)
{
    return text_equal(json_text_of(lookup, "entity"), "transactioncurrency")
               ? json_text_of(json_object_get(lookup, "values"), "isocurrencycode")
               : NULL;
}

const char *dynamics_memory_currency(const struct dynamics_memory *memory, const json_t *lookup)
{
    const char *code = currency_code(lookup);

    return code == NULL ? NULL : json_text_of(memory->currencies, code);
}

void dynamics_memory_keep_currency(struct dynamics_memory *memory, const json_t *lookup, const char *id)
{
    const char *code = currency_code(lookup);

    if (code != NULL)
        (void)json_object_set_new(memory->currencies, code, json_string(id));
}

/* "account/5b1d…": one key for all lookups that look for the same. */
static char *key_of(const json_t *lookup)
{
    char identity[UUID_TEXT_SIZE];

    return dynamics_lookup_id(lookup, identity) < 0 ? NULL
                                                    : text_format("%s/%s", json_text_of(lookup, "entity"), identity);
}

const char *dynamics_memory_found(const struct dynamics_memory *memory, const json_t *lookup, int64_t now_ms)
{
    char *key = key_of(lookup);
    const json_t *known = key == NULL ? NULL : json_object_get(memory->found, key);

    free(key);
    return json_integer_of(known, "until", 0) > now_ms ? json_text_of(known, "id") : NULL;
}

void dynamics_memory_keep_found(struct dynamics_memory *memory, const json_t *lookup, const char *id, int64_t now_ms)
{
    char *key = key_of(lookup);

    if (json_object_size(memory->found) >= ATTRIBUTES_MAX)
        (void)json_object_clear(memory->found);
    if (key != NULL)
        (void)json_object_set_new(memory->found, key,
                                  json_pack("{s:s, s:I}", "id", id, "until", (json_int_t)now_ms + ATTRIBUTES_LIFE_MS));
    free(key);
}
