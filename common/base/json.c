#include "common/base/json.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

/* Reading, writing and comparing recurse, jansson does too; deeper trees are refused whatever the limits say. */
enum { NESTING_MAX = 256, WRITE_BYTES_MAX = 64 * 1024 * 1024, REAL_TEXT_SIZE = 32 };

/* U+FDD0 before the digits of a decimal, and what replaces it in text from outside (U+FFFD, as many bytes). */
#define DECIMAL_MARK        "\xEF\xB7\x90"
#define MARK_REPLACEMENT    "\xEF\xBF\xBD"
#define ESCAPED_REPLACEMENT "\\uFFFD"

enum {
    DECIMAL_MARK_SIZE = 3,
    DECIMAL_MARK_CODE_POINT = 0xFDD0,
    /* Mark, sign, 19 digits or 96 with point and exponent, NUL. */
    DECIMAL_TREE_SIZE = DECIMAL_MARK_SIZE + DECIMAL_DIGITS_MAX + 16
};

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

void json_setup(void)
{
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

/* One text for one value: plain where that is an integer of 64 bits or has few zeros after the point, else scientific
 * with one digit before the point. A plain integer beyond 64 bits could not be read again. */
static size_t format_canonical(const struct decimal *decimal, char out[static DECIMAL_TREE_SIZE])
{
    int power = decimal->exponent + decimal->count - 1;
    bool is_plain = decimal->count == 0 || (decimal->exponent < 0 ? power >= -6 : power < 18);
    if (!is_plain && decimal->exponent >= 0 && power == 18) {
        struct decimal limit;
        const char *text = decimal->is_negative ? "-9223372036854775808" : "9223372036854775807";
        int order = decimal_parse(text, strlen(text), &limit) ? decimal_compare(decimal, &limit) : 0;
        is_plain = decimal->is_negative ? order >= 0 : order <= 0;
    }
    if (is_plain) {
        char plain[DECIMAL_TEXT_SIZE];
        size_t length = strlen(decimal_format(decimal, -1, plain));
        memcpy(out, plain, length + 1);
        return length;
    }

    size_t at = 0;
    if (decimal->is_negative)
        out[at++] = '-';
    out[at++] = (char)('0' + decimal->digits[0]);
    if (decimal->count > 1)
        out[at++] = '.';
    for (size_t i = 1; i < decimal->count; i++)
        out[at++] = (char)('0' + decimal->digits[i]);
    int used = snprintf(out + at, DECIMAL_TREE_SIZE - at, "e%d", power);
    return at + (used > 0 ? (size_t)used : 0);
}

/* ---- Reading: the scan before jansson ---- */

struct scan {
    const char *bytes;
    size_t count;
    const struct json_limits *limits;

    size_t at;
    size_t line;
    size_t line_start; /* offset of the current line's first byte */
    unsigned nodes;
    unsigned depth;
    uint8_t is_object[NESTING_MAX / 8]; /* one bit per open bracket */

    /* Jansson's input: as read, with the replacements. Nothing is copied until the first one. */
    struct text rewritten;
    size_t copied;

    /* Set for the second pass: find the key that ends at this offset of jansson's input. */
    size_t wanted_key_end;

    struct json_fault fault;
};

static int fault_at(struct scan *scan, enum json_problem problem, size_t offset)
{
    scan->fault = (struct json_fault){
        .problem = problem,
        .line = scan->line,
        .column = offset - scan->line_start + 1,
    };
    return -1;
}

static int replace(struct scan *scan, size_t start, size_t end, const char *replacement, size_t length)
{
    if (text_append_n(&scan->rewritten, scan->bytes + scan->copied, start - scan->copied) < 0 ||
        text_append_n(&scan->rewritten, replacement, length) < 0)
        return fault_at(scan, JSON_NO_MEMORY, start);
    scan->copied = end;
    return 0;
}

/* The next byte, or -1 at the end: a byte of the input is never negative. */
static int peek(const struct scan *scan)
{
    return scan->at < scan->count ? (unsigned char)scan->bytes[scan->at] : -1;
}

static void skip_blanks(struct scan *scan)
{
    for (; scan->at < scan->count; scan->at++) {
        char c = scan->bytes[scan->at];
        if (c == '\n') {
            scan->line++;
            scan->line_start = scan->at + 1;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            return;
        }
    }
}

/* Bytes of the UTF-8 sequence at the cursor; 0 when it is not well-formed. */
static size_t sequence_here(const struct scan *scan)
{
    unsigned char lead = (unsigned char)scan->bytes[scan->at];
    size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length > scan->count - scan->at || !utf8_is_valid(scan->bytes + scan->at, length, NULL))
        return 0;
    return length;
}

/* A byte that no rule of the grammar expects here. */
static int unexpected(struct scan *scan)
{
    bool is_foreign = scan->at < scan->count && sequence_here(scan) == 0;
    return fault_at(scan, is_foreign ? JSON_INVALID_UTF8 : JSON_SYNTAX, scan->at);
}

static int count_node(struct scan *scan)
{
    if (++scan->nodes > scan->limits->nodes_max)
        return fault_at(scan, JSON_TOO_COMPLEX, scan->at);
    return 0;
}

/* Four hexadecimal digits at an offset; -1 when they are not there. */
static long hex4_at(const struct scan *scan, size_t offset)
{
    if (scan->count < 4 || offset > scan->count - 4)
        return -1;
    long value = 0;
    for (size_t i = offset; i < offset + 4; i++) {
        char c = scan->bytes[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* An escape at the cursor. *ret_length: its bytes once decoded. */
static int scan_escape(struct scan *scan, bool is_first, size_t *ret_length)
{
    size_t start = scan->at;
    char kind = scan->count - start > 1 ? scan->bytes[start + 1] : '\0';
    if (kind != 'u') {
        if (kind == '\0' || strchr("\"\\/bfnrt", kind) == NULL)
            return fault_at(scan, JSON_SYNTAX, start);
        scan->at += 2;
        *ret_length = 1;
        return 0;
    }

    long unit = hex4_at(scan, start + 2);
    if (unit < 0)
        return fault_at(scan, JSON_SYNTAX, start);
    if (unit == 0)
        return fault_at(scan, JSON_NUL, start);
    scan->at += 6;
    *ret_length = unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
    if (unit >= 0xD800 && unit <= 0xDFFF) {
        /* Half a surrogate pair alone is no character. */
        bool has_second = unit <= 0xDBFF && scan->count - scan->at >= 6 && scan->bytes[scan->at] == '\\' &&
                          scan->bytes[scan->at + 1] == 'u';
        long second = has_second ? hex4_at(scan, scan->at + 2) : -1;
        if (second < 0xDC00 || second > 0xDFFF)
            return fault_at(scan, JSON_INVALID_UTF8, start);
        scan->at += 6;
        *ret_length = 4;
    }
    if (is_first && unit == DECIMAL_MARK_CODE_POINT)
        return replace(scan, start, scan->at, ESCAPED_REPLACEMENT, sizeof(ESCAPED_REPLACEMENT) - 1);
    return 0;
}

static int scan_string(struct scan *scan)
{
    size_t opening = scan->at++;
    size_t length = 0;
    for (;;) {
        int c = peek(scan);
        if (c == '"')
            break;
        if (c < 0)
            return fault_at(scan, JSON_SYNTAX, scan->at);
        if (c < 0x20)
            return fault_at(scan, c == 0 ? JSON_NUL : JSON_SYNTAX, scan->at);

        size_t step;
        if (c == '\\') {
            if (scan_escape(scan, length == 0, &step) < 0)
                return -1;
        } else {
            step = sequence_here(scan);
            if (step == 0)
                return fault_at(scan, JSON_INVALID_UTF8, scan->at);
            size_t start = scan->at;
            scan->at += step;
            if (length == 0 && step == DECIMAL_MARK_SIZE &&
                memcmp(scan->bytes + start, DECIMAL_MARK, DECIMAL_MARK_SIZE) == 0 &&
                replace(scan, start, scan->at, MARK_REPLACEMENT, DECIMAL_MARK_SIZE) < 0)
                return -1;
        }
        length += step;
        if (length > scan->limits->string_bytes_max)
            return fault_at(scan, JSON_TOO_LARGE, opening);
    }
    scan->at++;
    return 0;
}

static bool skip_digits(struct scan *scan)
{
    size_t start = scan->at;
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return scan->at > start;
}

/* Digits of a number's lexeme from the first that is not zero, without the exponent. */
static size_t significant_digits(const char *lexeme, size_t length)
{
    size_t digits = 0;
    for (size_t i = 0; i < length && lexeme[i] != 'e' && lexeme[i] != 'E'; i++) {
        bool is_digit = lexeme[i] >= '0' && lexeme[i] <= '9';
        if (is_digit && (digits > 0 || lexeme[i] != '0'))
            digits++;
    }
    return digits;
}

static bool fits_int64(const char *lexeme, size_t length)
{
    char text[24];
    long long value;
    if (length >= sizeof(text))
        return false;
    memcpy(text, lexeme, length);
    text[length] = '\0';
    return text_parse_signed(text, &value);
}

static int scan_number(struct scan *scan)
{
    size_t start = scan->at;
    if (peek(scan) == '-')
        scan->at++;
    if (peek(scan) == '0')
        scan->at++;
    else if (!skip_digits(scan))
        return unexpected(scan);

    bool is_integer = true;
    if (peek(scan) == '.') {
        is_integer = false;
        scan->at++;
        if (!skip_digits(scan))
            return unexpected(scan);
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        is_integer = false;
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        if (!skip_digits(scan))
            return unexpected(scan);
    }

    const char *lexeme = scan->bytes + start;
    size_t length = scan->at - start;
    if (significant_digits(lexeme, length) > scan->limits->number_digits_max)
        return fault_at(scan, JSON_NUMBER_RANGE, start);
    if (is_integer)
        return fits_int64(lexeme, length) ? 0 : fault_at(scan, JSON_NUMBER_RANGE, start);

    struct decimal decimal;
    if (!decimal_parse(lexeme, length, &decimal))
        return fault_at(scan, JSON_NUMBER_RANGE, start);
    char canonical[DECIMAL_TREE_SIZE];
    char replacement[DECIMAL_TREE_SIZE + 8];
    format_canonical(&decimal, canonical);
    int used = snprintf(replacement, sizeof(replacement), "\"" DECIMAL_MARK "%s\"", canonical);
    return replace(scan, start, scan->at, replacement, (size_t)used);
}

static int scan_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (scan->count - scan->at < length || memcmp(scan->bytes + scan->at, word, length) != 0)
        return fault_at(scan, JSON_SYNTAX, scan->at);
    scan->at += length;
    return 0;
}

static int open_bracket(struct scan *scan, bool is_object)
{
    if (scan->depth >= scan->limits->depth_max || scan->depth >= NESTING_MAX)
        return fault_at(scan, JSON_TOO_DEEP, scan->at);
    uint8_t bit = (uint8_t)(1U << (scan->depth % 8));
    if (is_object)
        scan->is_object[scan->depth / 8] |= bit;
    else
        scan->is_object[scan->depth / 8] &= (uint8_t)~bit;
    scan->depth++;
    scan->at++;
    return 0;
}

static bool is_in_object(const struct scan *scan)
{
    return scan->depth > 0 && (scan->is_object[(scan->depth - 1) / 8] >> ((scan->depth - 1) % 8) & 1) != 0;
}

static int scan_scalar(struct scan *scan)
{
    switch (peek(scan)) {
    case '"':
        return scan_string(scan);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return scan_number(scan);
    default:
        return unexpected(scan);
    }
}

/* A key and its colon. */
static int scan_key(struct scan *scan)
{
    if (peek(scan) != '"')
        return unexpected(scan);
    size_t start = scan->at;
    if (count_node(scan) < 0 || scan_string(scan) < 0)
        return -1;
    /* Where jansson stands after the same key. */
    if (scan->wanted_key_end > 0 && scan->rewritten.length + (scan->at - scan->copied) >= scan->wanted_key_end)
        return fault_at(scan, JSON_DUPLICATE_KEY, start);
    skip_blanks(scan);
    if (peek(scan) != ':')
        return unexpected(scan);
    scan->at++;
    skip_blanks(scan);
    return 0;
}

/* The whole text, without recursion: after each value comes a comma, a closing bracket or the end. */
static int scan_text(struct scan *scan)
{
    skip_blanks(scan);
    if (scan->at == scan->count)
        return fault_at(scan, JSON_EMPTY, scan->at);

    for (;;) {
        if (count_node(scan) < 0)
            return -1;
        int c = peek(scan);
        if (c == '{' || c == '[') {
            if (open_bracket(scan, c == '{') < 0)
                return -1;
            skip_blanks(scan);
            if (peek(scan) != (c == '{' ? '}' : ']')) {
                if (c == '{' && scan_key(scan) < 0)
                    return -1;
                continue;
            }
            scan->depth--;
            scan->at++;
        } else if (scan_scalar(scan) < 0) {
            return -1;
        }

        skip_blanks(scan);
        while (scan->depth > 0 && peek(scan) == (is_in_object(scan) ? '}' : ']')) {
            scan->depth--;
            scan->at++;
            skip_blanks(scan);
        }
        if (scan->depth == 0)
            return scan->at == scan->count ? 0 : unexpected(scan);
        if (peek(scan) != ',')
            return unexpected(scan);
        scan->at++;
        skip_blanks(scan);
        if (is_in_object(scan) && scan_key(scan) < 0)
            return -1;
    }
}

static void scan_init(struct scan *scan, const char *bytes, size_t count, const struct json_limits *limits)
{
    *scan = (struct scan){.bytes = bytes, .count = count, .limits = limits, .line = 1};
    /* No number grows more than fivefold: "1e18" becomes 24 bytes. */
    text_init(&scan->rewritten, count > (SIZE_MAX - 64) / 8 ? SIZE_MAX - 64 : count * 8 + 64);
}

/* Jansson knows only the offset in its own input: scan again up to the key that ends there. */
static void locate_duplicate(struct scan *scan, size_t key_end)
{
    struct scan again;
    scan_init(&again, scan->bytes, scan->count, scan->limits);
    again.wanted_key_end = key_end;
    if (scan_text(&again) == 0)
        fault_at(&again, JSON_DUPLICATE_KEY, again.at);
    scan->fault = again.fault;
    text_done(&again.rewritten);
}

static int parse_scanned(struct scan *scan, json_t **ret_json)
{
    const char *input = scan->bytes;
    size_t length = scan->count;
    if (scan->rewritten.data != NULL) {
        if (replace(scan, scan->count, scan->count, "", 0) < 0)
            return -1;
        input = scan->rewritten.data;
        length = scan->rewritten.length;
    }

    json_error_t error;
    json_t *json = json_loadb(input, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (json != NULL) {
        *ret_json = json;
        return 0;
    }
    /* The scan has checked everything else, and jansson tells a failed allocation in several ways. */
    if (json_error_code(&error) == json_error_duplicate_key)
        locate_duplicate(scan, (size_t)error.position);
    else
        scan->fault = (struct json_fault){.problem = JSON_NO_MEMORY, .line = 1, .column = 1};
    return -1;
}

int json_read(const char *bytes, size_t count, const struct json_limits *limits, json_t **ret_json,
              struct json_fault *reterr_fault)
{
    struct scan scan;
    scan_init(&scan, bytes, count, limits);
    int result = -1;
    if (count > limits->bytes_max)
        fault_at(&scan, JSON_TOO_LARGE, 0);
    else if (scan_text(&scan) == 0)
        result = parse_scanned(&scan, ret_json);
    if (result < 0)
        *reterr_fault = scan.fault;
    text_done(&scan.rewritten);
    return result;
}

/* ---- Exact numbers ---- */

bool json_is_decimal(const json_t *json)
{
    return json_is_string(json) && json_string_length(json) > DECIMAL_MARK_SIZE &&
           memcmp(json_string_value(json), DECIMAL_MARK, DECIMAL_MARK_SIZE) == 0;
}

json_t *json_decimal_new(const struct decimal *decimal)
{
    char text[DECIMAL_MARK_SIZE + DECIMAL_TREE_SIZE] = DECIMAL_MARK;
    size_t length = format_canonical(decimal, text + DECIMAL_MARK_SIZE);
    return json_stringn(text, DECIMAL_MARK_SIZE + length);
}

bool json_get_decimal(const json_t *json, struct decimal *ret_decimal)
{
    if (json_is_decimal(json)) {
        return decimal_parse(json_string_value(json) + DECIMAL_MARK_SIZE, json_string_length(json) - DECIMAL_MARK_SIZE,
                             ret_decimal);
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
    char canonical[DECIMAL_TREE_SIZE];
    if (!json_get_decimal(json, &decimal))
        return -1;
    return text_append_n(out, canonical, format_canonical(&decimal, canonical));
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

static int write_object(struct text *out, const json_t *object, bool sorted, unsigned depth)
{
    size_t count = json_object_size(object);
    struct key *keys = NULL;
    if (sorted && count > 0) {
        keys = calloc(count, sizeof(*keys));
        if (keys == NULL)
            return -1;
    }

    int result = text_append_char(out, '{');
    size_t i = 0;
    json_t *iterated = mutable_of(object);
    for (void *at = json_object_iter(iterated); at != NULL && result == 0; at = json_object_iter_next(iterated, at)) {
        struct key key = {json_object_iter_key(at), json_object_iter_key_len(at), json_object_iter_value(at)};
        if (keys != NULL) {
            keys[i++] = key;
            continue;
        }
        if (i++ > 0)
            result = text_append_char(out, ',');
        if (result == 0)
            result = write_member(out, &key, sorted, depth);
    }
    if (keys != NULL)
        qsort(keys, count, sizeof(*keys), compare_keys);
    for (size_t k = 0; keys != NULL && k < count && result == 0; k++) {
        if (k > 0)
            result = text_append_char(out, ',');
        if (result == 0)
            result = write_member(out, &keys[k], sorted, depth);
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
    if (json == NULL || depth > NESTING_MAX)
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
    if (depth > NESTING_MAX)
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
