#include "mapper/value.h"

#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"

unsigned value_kind_of(const json_t *value)
{
    size_t objects = 0, lists = 0;

    if (value == NULL || json_is_null(value))
        return 0;
    if (json_is_number(value) || json_is_decimal(value))
        return VALUE_NUMBER;
    if (json_is_string(value))
        return VALUE_TEXT;
    if (json_is_boolean(value))
        return VALUE_BOOLEAN;
    if (!json_is_array(value))
        return VALUE_OBJECT;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        objects += json_is_object(item);
        lists += json_is_array(item);
    }
    if (json_array_size(value) == 0)
        return VALUE_LIST | VALUE_OBJECTS;
    if (objects == json_array_size(value))
        return VALUE_OBJECTS;
    return objects + lists == 0 ? VALUE_LIST : VALUE_MIXED;
}

const char *value_kinds_name(unsigned kinds, char out[static VALUE_SHOWN_SIZE])
{
    static const struct {
        unsigned kinds;
        const char *name;
    } names[] = {{VALUE_TEXT, "text"},
                 {VALUE_NUMBER, "number"},
                 {VALUE_BOOLEAN, "boolean"},
                 {VALUE_LIST | VALUE_OBJECTS | VALUE_MIXED, "list"},
                 {VALUE_LIST, "list"},
                 {VALUE_OBJECT, "object"},
                 {VALUE_OBJECTS, "list of objects"},
                 {VALUE_MIXED, "mixed list"}};
    size_t used = 0;

    (void)snprintf(out, VALUE_SHOWN_SIZE, "null");
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if ((kinds & names[i].kinds) != names[i].kinds)
            continue;
        kinds &= ~names[i].kinds;
        /* Seven short names always fit. */
        used += (size_t)snprintf(out + used, VALUE_SHOWN_SIZE - used, "%s%s", used == 0 ? "" : " or ", names[i].name);
    }
    return out;
}

/* JSON's syntax of numbers, so that postal codes and telephone numbers stay text. */
static bool is_number(const char *text, struct decimal *ret_decimal)
{
    const char *digits = text[0] == '-' ? text + 1 : text;

    if (digits[0] < '0' || digits[0] > '9' || (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9'))
        return false;
    return decimal_parse(text, strlen(text), ret_decimal);
}

json_t *value_from_yaml(const struct yaml_node *scalar)
{
    struct decimal decimal;
    long long integer;

    if (scalar->is_quoted)
        return json_text_new(scalar->text, strlen(scalar->text));
    if (yaml_is_null(scalar))
        return json_null();
    if (strcmp(scalar->text, "true") == 0 || strcmp(scalar->text, "false") == 0)
        return json_boolean(scalar->text[0] == 't');
    if (!is_number(scalar->text, &decimal))
        return json_text_new(scalar->text, strlen(scalar->text));
    if (text_parse_signed(scalar->text, &integer))
        return json_integer(integer);
    return json_decimal_new(&decimal);
}

bool value_matches(const json_t *a, const json_t *b)
{
    if (a == NULL || b == NULL)
        return (a == NULL || json_is_null(a)) && (b == NULL || json_is_null(b));
    if (value_kind_of(a) == VALUE_TEXT && value_kind_of(b) == VALUE_TEXT)
        return text_equal_ignoring_case(json_string_value(a), json_string_value(b));
    if (!json_is_array(a) || !json_is_array(b))
        return json_same(a, b);
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!value_matches(json_array_get(a, i), json_array_get(b, i)))
            return false;
    }
    return true;
}

bool value_is_among(const json_t *list, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (value_matches(json_array_get(list, i), value))
            return true;
    }
    return false;
}

bool value_is_present(const json_t *value)
{
    if (value == NULL || json_is_null(value) || json_is_false(value))
        return false;
    if (json_is_string(value))
        return json_string_length(value) > 0;
    return json_is_array(value)    ? json_array_size(value) > 0
           : json_is_object(value) ? json_object_size(value) > 0
                                   : true;
}

/* No value of a condition is an object. */
json_t *value_present_new(void)
{
    return json_pack("{s:b}", "present", 1);
}

bool value_is_wanted(const json_t *wanted, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        const json_t *one = json_array_get(wanted, i);
        if (json_is_object(one) ? value_is_present(value) : value_matches(one, value))
            return true;
    }
    return false;
}

static bool is_word_of(const json_t *rows, const json_t *text)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *from = json_object_get(json_array_get(rows, i), "from");
        if (value_matches(from, text) || value_is_among(from, text))
            return true;
    }
    return false;
}

static bool is_code(const char *text)
{
    size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

    return length <= 3 && text[length] == '\0';
}

/* Returns the bytes written; what does not fit is cut, which happens to no value that people gave a table. */
static size_t show_one(const json_t *value, const json_t *rows, char *out, size_t size)
{
    char number[DECIMAL_TEXT_SIZE];
    struct decimal decimal;
    int wanted;

    if (json_get_decimal(value, &decimal))
        wanted = snprintf(out, size, "%s", decimal_format(&decimal, -1, number));
    else if (value == NULL || json_is_null(value))
        wanted = snprintf(out, size, "null");
    else if (json_is_boolean(value))
        wanted = snprintf(out, size, "%s", json_is_true(value) ? "true" : "false");
    else if (!json_is_string(value))
        wanted = snprintf(out, size, "%s", json_is_array(value) ? "a list" : "an object");
    else if (is_code(json_string_value(value)) || is_word_of(rows, value))
        wanted = snprintf(out, size, "'%s'", json_string_value(value));
    else
        wanted = snprintf(out, size, "a text of %zu characters",
                          utf8_length(json_string_value(value), json_string_length(value)));
    return wanted < 0 ? 0 : (size_t)wanted < size ? (size_t)wanted : size - 1;
}

const char *value_show(const json_t *value, const json_t *rows, char out[static VALUE_SHOWN_SIZE])
{
    size_t used = 0, bad;

    out[0] = '\0';
    if ((value_kind_of(value) & VALUE_LIST) != 0) {
        for (size_t i = 0; i < json_array_size(value) && used + 4 < VALUE_SHOWN_SIZE; i++) {
            used += (size_t)snprintf(out + used, VALUE_SHOWN_SIZE - used, i == 0 ? "[" : ", ");
            used += show_one(json_array_get(value, i), rows, out + used, VALUE_SHOWN_SIZE - used - 1);
        }
        (void)snprintf(out + used, VALUE_SHOWN_SIZE - used, used == 0 ? "[]" : "]");
    } else {
        used = show_one(value, rows, out, VALUE_SHOWN_SIZE);
    }
    if (!utf8_is_valid(out, strlen(out), &bad))
        out[bad] = '\0';
    return out;
}
