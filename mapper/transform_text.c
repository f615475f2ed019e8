/* Transforms of texts. */
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/transform_apply.h"
#include "mapper/value.h"

enum { TEXT_BYTES_MAX = 1024 * 1024 /* of a value made by a transform */ };

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

TRANSFORM_FUNCTION(text)
{
    const char *bytes = json_string_value(value);
    size_t count = json_string_length(value);
    const char *letters = transform_text_argument(transform, "case", "");
    const char first = letters[0] == 'u' ? 'a' : 'A';
    char *copy;
    json_t *made;

    (void)reterr_message;
    if (json_flag_of(transform->arguments, "trim", true)) {
        for (; count > 0 && is_blank(bytes[0]); bytes++)
            count--;
        while (count > 0 && is_blank(bytes[count - 1]))
            count--;
    }
    copy = text_copy_n(bytes, count);
    if (copy == NULL)
        return TRANSFORM_NO_MEMORY;
    for (size_t i = 0; i < count && letters[0] != '\0'; i++) {
        if (copy[i] >= first && copy[i] <= first + 25)
            copy[i] = (char)(copy[i] ^ ('a' ^ 'A'));
    }
    made = json_text_new(copy, count);
    free(copy);
    return transform_done(made, ret_value);
}

/* Dataverse and Salesforce count lengths in UTF-16 units. */
TRANSFORM_FUNCTION(truncate)
{
    const char *bytes = json_string_value(value);
    const size_t count = json_string_length(value);
    const size_t limit = (size_t)json_integer_of(transform->arguments, "length", 0);
    const char *ellipsis = transform_text_argument(transform, "ellipsis", "");
    const size_t units = utf8_length_utf16(ellipsis, strlen(ellipsis));
    struct text text;
    json_t *made = NULL;

    (void)reterr_message;
    if (utf8_length_utf16(bytes, count) <= limit)
        return transform_done(json_deep_copy(value), ret_value);
    text_init(&text, TEXT_BYTES_MAX);
    if (text_append_n(&text, bytes, utf8_cut_utf16(bytes, count, limit - units)) == 0 &&
        text_append(&text, ellipsis) == 0)
        made = json_text_new(text_string(&text), text.length);
    text_done(&text);
    return transform_done(made, ret_value);
}

static int append_value(struct text *out, const json_t *value)
{
    char digits[DECIMAL_TEXT_SIZE];
    struct decimal decimal;

    if (json_get_decimal(value, &decimal))
        return text_append(out, decimal_format(&decimal, -1, digits));
    if (json_is_boolean(value))
        return text_append(out, json_is_true(value) ? "true" : "false");
    return json_is_string(value) ? text_append_n(out, json_string_value(value), json_string_length(value)) : 0;
}

static const json_t *place_value(const json_t *value, const json_t *place)
{
    return json_is_array(value) ? json_array_get(value, (size_t)json_integer_value(place)) : value;
}

/* An optional part stands only where each of its values says something. */
static bool is_complete(const json_t *pieces, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(pieces); i++) {
        const json_t *piece = json_array_get(pieces, i);
        const json_t *part = json_is_integer(piece) ? place_value(value, piece) : piece;
        if (part == NULL || json_is_null(part) ||
            (json_is_integer(piece) && json_string_length(part) == 0 && json_is_string(part)))
            return false;
    }
    return true;
}

/* Optional parts do not nest, so this goes no deeper than two. */
static int append_pieces(struct text *out, const json_t *pieces, const json_t *value)
{
    int status = 0;

    for (size_t i = 0; i < json_array_size(pieces) && status == 0; i++) {
        const json_t *piece = json_array_get(pieces, i);
        if (json_is_string(piece))
            status = text_append_n(out, json_string_value(piece), json_string_length(piece));
        else if (json_is_integer(piece))
            status = append_value(out, place_value(value, piece));
        else if (is_complete(piece, value))
            status = append_pieces(out, piece, value);
    }
    return status;
}

TRANSFORM_FUNCTION(template)
{
    struct text text;
    json_t *made = NULL;
    int status;

    text_init(&text, TEXT_BYTES_MAX);
    status = append_pieces(&text, transform->pieces, value);
    if (status == 0)
        made = json_text_new(text_string(&text), text.length);
    text_done(&text);
    if (status < 0)
        return transform_refuse(reterr_message, value, NULL, "makes a text that is too long");
    return transform_done(made, ret_value);
}

/* Success and failure marks the connectors put before names (Partner Center co-sell connectors, check mark). */
static const char *const marks[] = {"\xE2\x9C\x94", "\xE2\x9C\x93", "\xE2\x9C\x96",
                                    "\xE2\x9C\x97", "\xE2\x9C\x98", "\xE2\x9D\x8C"};
static const char variation_selector[] = "\xEF\xB8\x8F"; /* U+FE0F */

static size_t mark_length(const char *text, const char *own)
{
    if (text_starts_with(text, own))
        return strlen(own);
    for (size_t i = 0; i < ARRAY_LENGTH(marks); i++) {
        if (text_starts_with(text, marks[i]))
            return strlen(marks[i]);
    }
    return 0;
}

static const char *skip_blanks_and_selectors(const char *text)
{
    for (;;) {
        if (is_blank(*text))
            text++;
        else if (text_starts_with(text, variation_selector))
            text += strlen(variation_selector);
        else
            return text;
    }
}

/* A text without marks before it stays exactly as it is, blanks included. */
static const char *skip_marks(const char *text, const char *own)
{
    for (;;) {
        const char *start = skip_blanks_and_selectors(text);
        size_t length = mark_length(start, own);
        if (length == 0)
            return text;
        text = skip_blanks_and_selectors(start + length);
    }
}

TRANSFORM_FUNCTION(check_mark)
{
    const char *own = transform_text_argument(transform, "on", marks[0]);
    const char *bare = skip_marks(json_string_value(value), own);
    struct text text;
    json_t *made = NULL;

    if (transform->is_inverse || bare[0] == '\0')
        return transform_done(json_text_new(bare, strlen(bare)), ret_value);
    text_init(&text, TEXT_BYTES_MAX);
    if (text_appendf(&text, "%s ", own) == 0 && text_append(&text, bare) == 0)
        made = json_stringn(text_string(&text), text.length);
    text_done(&text);
    if (made == NULL && strlen(bare) > TEXT_BYTES_MAX / 2)
        return transform_refuse(reterr_message, value, NULL, "is too long");
    return transform_done(made, ret_value);
}
