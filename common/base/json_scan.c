#include "common/base/json_scan.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* JSON_MARK_REPLACEMENT where the mark is written as an escape. */
#define ESCAPED_REPLACEMENT "\\uFFFD"

enum { DECIMAL_MARK_CODE_POINT = 0xFDD0 };

/* A plain integer beyond 64 bits could not be read again. */
size_t json_number_format(const struct decimal *decimal, char out[static JSON_NUMBER_TEXT_SIZE])
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
    int used = snprintf(out + at, JSON_NUMBER_TEXT_SIZE - at, "e%d", power);
    return at + (used > 0 ? (size_t)used : 0);
}

struct scan {
    const char *bytes;
    size_t count;
    const struct json_limits *limits;

    size_t at;
    size_t line;
    size_t line_start; /* offset of the current line's first byte */
    unsigned nodes;
    unsigned depth;
    uint8_t is_object[JSON_NESTING_MAX / 8]; /* one bit per open bracket */

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
            if (length == 0 && step == JSON_DECIMAL_MARK_SIZE &&
                memcmp(scan->bytes + start, JSON_DECIMAL_MARK, JSON_DECIMAL_MARK_SIZE) == 0 &&
                replace(scan, start, scan->at, JSON_MARK_REPLACEMENT, JSON_DECIMAL_MARK_SIZE) < 0)
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
    char canonical[JSON_NUMBER_TEXT_SIZE];
    char replacement[JSON_NUMBER_TEXT_SIZE + 8];
    json_number_format(&decimal, canonical);
    int used = snprintf(replacement, sizeof(replacement), "\"" JSON_DECIMAL_MARK "%s\"", canonical);
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
    if (scan->depth >= scan->limits->depth_max || scan->depth >= JSON_NESTING_MAX)
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

int json_scan(const char *bytes, size_t count, const struct json_limits *limits, struct text *rewritten,
              struct json_fault *reterr_fault)
{
    struct scan scan;
    scan_init(&scan, bytes, count, limits);
    int result = -1;
    if (count > limits->bytes_max)
        fault_at(&scan, JSON_TOO_LARGE, 0);
    else
        result = scan_text(&scan);
    if (result == 0 && scan.rewritten.length > 0)
        result = replace(&scan, count, count, "", 0);
    *rewritten = scan.rewritten;
    if (result < 0)
        *reterr_fault = scan.fault;
    return result;
}

struct json_fault json_scan_duplicate(const char *bytes, size_t count, const struct json_limits *limits, size_t key_end)
{
    struct scan scan;
    scan_init(&scan, bytes, count, limits);
    scan.wanted_key_end = key_end;
    if (scan_text(&scan) == 0)
        fault_at(&scan, JSON_DUPLICATE_KEY, scan.at);
    text_done(&scan.rewritten);
    return scan.fault;
}
