#include "common/base/json.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/json_scan.h"
#include "common/base/text.h"

enum { WRITE_BYTES_MAX = 64 * 1024 * 1024, REAL_TEXT_SIZE = 32 };

const struct json_limits JSON_LIMITS_FOREIGN = {
    .bytes_max = 256 * 1024,
    .depth_max = 32,
    .nodes_max = 20000,
    .string_bytes_max = 64 * 1024,
    .number_digits_max = DECIMAL_DIGITS_MAX,
};

const struct json_limits JSON_LIMITS_OWN = {
    .bytes_max = 8 * 1024 * 1024,
    .depth_max = 64,
    .nodes_max = 400000,
    .string_bytes_max = 1024 * 1024,
    .number_digits_max = DECIMAL_DIGITS_MAX,
};

/* Jansson's lexer does not look whether its buffer could grow: bytes of a string go missing, and it then steps back over
 * what it never stored, which ends in an assertion or outside the buffer. No answer can be given for that parse, and none
 * that unwinds it is safe. */
static _Thread_local bool is_parsing;

/* Async-signal-safe, since nothing that needs memory can be relied on. */
static _Noreturn void end_process(void)
{
    static const char message[] = "out of memory while a JSON text was parsed: the process ends itself\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);
    (void)written; /* nobody is left to be told */
    abort();
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL && is_parsing)
        end_process();
    return memory;
}

void json_setup(void)
{
    json_set_alloc_funcs(allocate, free);
    json_object_seed(0);
}

const char *json_problem_code(enum json_problem problem)
{
    switch (problem) {
    case JSON_OK:
        return "ok";
    case JSON_EMPTY:
    case JSON_SYNTAX:
        return "invalid_json";
    case JSON_DUPLICATE_KEY:
        return "duplicate_key";
    case JSON_TOO_DEEP:
        return "too_deep";
    case JSON_TOO_COMPLEX:
        return "too_complex";
    case JSON_TOO_LARGE:
        return "too_large";
    case JSON_INVALID_UTF8:
        return "invalid_utf8";
    case JSON_NUL:
        return "nul";
    case JSON_NUMBER_RANGE:
        return "number_range";
    case JSON_NO_MEMORY:
        return "out_of_memory";
    }
    return "invalid_json";
}

int json_read(const char *bytes, size_t count, const struct json_limits *limits, json_t **ret_json,
              struct json_fault *reterr_fault)
{
    struct text rewritten;
    if (json_scan(bytes, count, limits, &rewritten, reterr_fault) < 0) {
        text_done(&rewritten);
        return -1;
    }

    json_error_t error;
    is_parsing = true;
    json_t *json =
        json_loadb(rewritten.length > 0 ? rewritten.data : bytes, rewritten.length > 0 ? rewritten.length : count,
                   JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    is_parsing = false;
    text_done(&rewritten);
    if (json != NULL) {
        *ret_json = json;
        return 0;
    }
    /* The scan has checked everything else. */
    if (json_error_code(&error) == json_error_duplicate_key)
        *reterr_fault = json_scan_duplicate(bytes, count, limits, (size_t)error.position);
    else
        *reterr_fault = (struct json_fault){.problem = JSON_NO_MEMORY, .line = 1, .column = 1};
    return -1;
}

json_t *json_text_new(const char *bytes, size_t count)
{
    char *text;
    json_t *json;

    if (count < JSON_DECIMAL_MARK_SIZE || memcmp(bytes, JSON_DECIMAL_MARK, JSON_DECIMAL_MARK_SIZE) != 0)
        return json_stringn(bytes, count);
    text = text_copy_n(bytes, count);
    if (text == NULL)
        return NULL;
    memcpy(text, JSON_MARK_REPLACEMENT, JSON_DECIMAL_MARK_SIZE);
    json = json_stringn(text, count);
    free(text);
    return json;
}

/* ---- Exact numbers ---- */

bool json_is_decimal(const json_t *json)
{
    return json_is_string(json) && json_string_length(json) > JSON_DECIMAL_MARK_SIZE &&
           memcmp(json_string_value(json), JSON_DECIMAL_MARK, JSON_DECIMAL_MARK_SIZE) == 0;
}

json_t *json_decimal_new(const struct decimal *decimal)
{
    char text[JSON_DECIMAL_MARK_SIZE + JSON_NUMBER_TEXT_SIZE] = JSON_DECIMAL_MARK;
    size_t length = json_number_format(decimal, text + JSON_DECIMAL_MARK_SIZE);
    return json_stringn(text, JSON_DECIMAL_MARK_SIZE + length);
}

bool json_get_decimal(const json_t *json, struct decimal *ret_decimal)
{
    if (json_is_decimal(json)) {
        return decimal_parse(json_string_value(json) + JSON_DECIMAL_MARK_SIZE,
                             json_string_length(json) - JSON_DECIMAL_MARK_SIZE, ret_decimal);
    }
    char text[REAL_TEXT_SIZE];
    int used = -1;
    if (json_is_integer(json))
        used = snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(json));
    else if (json_is_real(json))
        used = snprintf(text, sizeof(text), "%.17g", json_real_value(json));
    return used > 0 && decimal_parse(text, (size_t)used, ret_decimal);
}

/* ---- Writing ---- */

struct key {
    const char *text;
    size_t length;
    json_t *value; /* borrowed from the object */
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *key_a = a;
    const struct key *key_b = b;
    size_t common = key_a->length < key_b->length ? key_a->length : key_b->length;
    int order = memcmp(key_a->text, key_b->text, common);
    if (order != 0)
        return order;
    return (key_a->length > key_b->length) - (key_a->length < key_b->length);
}

static int write_string(struct text *out, const char *bytes, size_t length)
{
    static const char short_escapes[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};
    if (text_append_char(out, '"') < 0)
        return -1;
    size_t copied = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        char escape = c < sizeof(short_escapes) ? short_escapes[c] : '\0';
        if (escape == '\0' && c >= 0x20 && c != 0x7F)
            continue;
        if (text_append_n(out, bytes + copied, i - copied) < 0 ||
            (escape != '\0' ? text_appendf(out, "\\%c", escape) : text_appendf(out, "\\u%04x", (unsigned)c)) < 0)
            return -1;
        copied = i + 1;
    }
    return text_append_n(out, bytes + copied, length - copied) < 0 ? -1 : text_append_char(out, '"');
}

static int write_number(struct text *out, const json_t *json)
{
    struct decimal decimal;
    char canonical[JSON_NUMBER_TEXT_SIZE];
    if (!json_get_decimal(json, &decimal))
        return -1;
    return text_append_n(out, canonical, json_number_format(&decimal, canonical));
}

static int write_value(struct text *out, const json_t *json, bool sorted, unsigned depth);

static int write_member(struct text *out, const struct key *key, bool sorted, unsigned depth)
{
    if (write_string(out, key->text, key->length) < 0 || text_append_char(out, ':') < 0)
        return -1;
    return write_value(out, key->value, sorted, depth);
}

/* Jansson's iteration takes no const object, but changes none. */
static json_t *mutable_of(const json_t *json)
{
    return (json_t *)(uintptr_t)json;
}

/* Members in the object's own order, or sorted. The array is freed by the caller; NULL when out of memory. */
static struct key *keys_of(const json_t *object, bool sorted)
{
    size_t count = json_object_size(object);
    struct key *keys = calloc(count > 0 ? count : 1, sizeof(*keys));
    if (keys == NULL)
        return NULL;
    json_t *iterated = mutable_of(object);
    size_t i = 0;
    for (void *at = json_object_iter(iterated); at != NULL; at = json_object_iter_next(iterated, at)) {
        keys[i++] = (struct key){
            .text = json_object_iter_key(at),
            .length = json_object_iter_key_len(at),
            .value = json_object_iter_value(at),
        };
    }
    if (sorted)
        qsort(keys, count, sizeof(*keys), compare_keys);
    return keys;
}

static int write_object(struct text *out, const json_t *object, bool sorted, unsigned depth)
{
    struct key *keys = keys_of(object, sorted);
    if (keys == NULL)
        return -1;
    int result = text_append_char(out, '{');
    for (size_t i = 0; i < json_object_size(object) && result == 0; i++) {
        if (i > 0)
            result = text_append_char(out, ',');
        if (result == 0)
            result = write_member(out, &keys[i], sorted, depth);
    }
    free(keys);
    return result == 0 ? text_append_char(out, '}') : -1;
}

static int write_array(struct text *out, const json_t *array, bool sorted, unsigned depth)
{
    if (text_append_char(out, '[') < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        if ((i > 0 && text_append_char(out, ',') < 0) || write_value(out, json_array_get(array, i), sorted, depth) < 0)
            return -1;
    }
    return text_append_char(out, ']');
}

static int write_value(struct text *out, const json_t *json, bool sorted, unsigned depth)
{
    if (json == NULL || depth > JSON_NESTING_MAX)
        return -1;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return write_object(out, json, sorted, depth + 1);
    case JSON_ARRAY:
        return write_array(out, json, sorted, depth + 1);
    case JSON_STRING:
        if (json_is_decimal(json))
            return write_number(out, json);
        return write_string(out, json_string_value(json), json_string_length(json));
    case JSON_INTEGER:
    case JSON_REAL:
        return write_number(out, json);
    case JSON_TRUE:
        return text_append(out, "true");
    case JSON_FALSE:
        return text_append(out, "false");
    case JSON_NULL:
        return text_append(out, "null");
    }
    return -1;
}

char *json_write(const json_t *json, bool sorted, size_t *ret_length)
{
    struct text out;
    text_init(&out, WRITE_BYTES_MAX);
    char *taken = NULL;
    if (write_value(&out, json, sorted, 0) == 0) {
        size_t length = out.length;
        taken = text_take(&out);
        if (taken != NULL && ret_length != NULL)
            *ret_length = length;
    }
    text_done(&out);
    return taken;
}

/* ---- Comparing ---- */

static bool is_number(const json_t *json)
{
    return json_is_number(json) || json_is_decimal(json);
}

static bool same_at(const json_t *a, const json_t *b, unsigned depth);

static bool same_objects(const json_t *a, const json_t *b, unsigned depth)
{
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_t *iterated = mutable_of(a);
    for (void *at = json_object_iter(iterated); at != NULL; at = json_object_iter_next(iterated, at)) {
        const json_t *other = json_object_getn(b, json_object_iter_key(at), json_object_iter_key_len(at));
        if (other == NULL || !same_at(json_object_iter_value(at), other, depth))
            return false;
    }
    return true;
}

static bool same_arrays(const json_t *a, const json_t *b, unsigned depth)
{
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!same_at(json_array_get(a, i), json_array_get(b, i), depth))
            return false;
    }
    return true;
}

static bool same_numbers(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    struct decimal decimal_a, decimal_b;
    return json_get_decimal(a, &decimal_a) && json_get_decimal(b, &decimal_b) &&
           decimal_compare(&decimal_a, &decimal_b) == 0;
}

static bool same_at(const json_t *a, const json_t *b, unsigned depth)
{
    if (depth > JSON_NESTING_MAX)
        return false;
    if (is_number(a) || is_number(b))
        return is_number(a) && is_number(b) && same_numbers(a, b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_object(a))
        return same_objects(a, b, depth + 1);
    if (json_is_array(a))
        return same_arrays(a, b, depth + 1);
    if (json_is_string(a)) {
        return json_string_length(a) == json_string_length(b) &&
               memcmp(json_string_value(a), json_string_value(b), json_string_length(a)) == 0;
    }
    return true;
}

bool json_same(const json_t *a, const json_t *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return same_at(a, b, 0);
}

/* ---- Members ---- */

const char *json_text_of(const json_t *object, const char *key)
{
    const json_t *member = json_object_get(object, key);
    return json_is_decimal(member) ? NULL : json_string_value(member);
}

json_int_t json_integer_of(const json_t *object, const char *key, json_int_t fallback)
{
    const json_t *member = json_object_get(object, key);
    if (json_is_integer(member))
        return json_integer_value(member);
    struct decimal decimal;
    char text[DECIMAL_TEXT_SIZE];
    long long value;
    if (json_is_decimal(member) && json_get_decimal(member, &decimal) &&
        text_parse_signed(decimal_format(&decimal, -1, text), &value))
        return value;
    return fallback;
}

bool json_flag_of(const json_t *object, const char *key, bool fallback)
{
    const json_t *member = json_object_get(object, key);
    return json_is_boolean(member) ? json_is_true(member) : fallback;
}

static json_t *member_ignoring_case(const json_t *object, const char *name, size_t length)
{
    json_t *iterated = mutable_of(object);
    for (void *at = json_object_iter(iterated); at != NULL; at = json_object_iter_next(iterated, at)) {
        const char *key = json_object_iter_key(at);
        size_t i = 0;
        if (json_object_iter_key_len(at) != length)
            continue;
        while (i < length) {
            char a = key[i];
            char b = name[i];
            a = (char)(a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a);
            b = (char)(b >= 'A' && b <= 'Z' ? b + ('a' - 'A') : b);
            if (a != b)
                break;
            i++;
        }
        if (i == length)
            return json_object_iter_value(at);
    }
    return NULL;
}

static json_t *array_item(const json_t *array, const char *name, size_t length)
{
    char digits[12];
    unsigned long long index;
    if (length >= sizeof(digits))
        return NULL;
    memcpy(digits, name, length);
    digits[length] = '\0';
    return text_parse_unsigned(digits, UINT32_MAX, &index) ? json_array_get(array, (size_t)index) : NULL;
}

json_t *json_at(const json_t *json, const char *path, bool ignoring_case)
{
    const json_t *found = json;
    for (;;) {
        size_t length = strcspn(path, ".");
        json_t *next = NULL;
        if (json_is_object(found)) {
            next = json_object_getn(found, path, length);
            if (next == NULL && ignoring_case)
                next = member_ignoring_case(found, path, length);
        } else if (json_is_array(found)) {
            next = array_item(found, path, length);
        }
        if (next == NULL || path[length] == '\0')
            return next;
        found = next;
        path += length + 1;
    }
}

/* The object under a name, made when there is none; NULL when something else stands there. */
static json_t *object_under(json_t *object, const char *name, size_t length)
{
    json_t *next = json_object_getn(object, name, length);
    if (next != NULL && !json_is_null(next))
        return json_is_object(next) ? next : NULL;
    next = json_object();
    return json_object_setn_new(object, name, length, next) == 0 ? next : NULL;
}

int json_set_at(json_t *object, const char *path, json_t *value)
{
    for (;;) {
        size_t length = strcspn(path, ".");
        if (length == 0 || !json_is_object(object)) {
            json_decref(value);
            return -1;
        }
        if (path[length] == '\0')
            return json_object_setn_new(object, path, length, value);
        object = object_under(object, path, length);
        path += length + 1;
    }
}
