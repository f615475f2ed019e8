/* JSON as this project reads and writes it: strict, bounded and exact, on top of jansson.
 *
 * Reading refuses what two parsers could understand differently (duplicate keys, invalid UTF-8, NUL, trailing bytes,
 * a byte order mark) and what costs memory out of proportion (depth, nodes), before jansson sees the text. Numbers with
 * a fraction or an exponent keep their exact decimal value: in the tree they are strings that begin with the Unicode
 * noncharacter U+FDD0, which is reserved for use inside a process; json_is_decimal() tells them from text, and
 * json_write() turns them into numbers again, plain ("1234.5", 50000.0 as "50000") or, beyond 64 bits and below 10^-6,
 * scientific ("1.5e30"). Trees nest at most 256 deep. A text from outside that begins with U+FDD0
 * gets U+FFFD in its place.
 *
 * Trees are jansson's, reference counted, not thread-safe; use json_auto_t. json_setup() once at start.
 * Error values hold a code and a position, never the input's text.
 *
 * Out of memory is an error everywhere but in one place: while jansson parses, it writes beyond its buffers or loses text
 * when an allocation fails. There the process ends itself, with a line on standard error and SIGABRT. What a text may
 * cost is bounded by its limits, so that no sender can bring this about alone; nothing is lost, since what a process has
 * not finished is done again. */
#ifndef TANDEM_BASE_JSON_H
#define TANDEM_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/decimal.h"
#include "common/base/error.h"

struct json_limits {
    size_t bytes_max;
    unsigned depth_max;
    unsigned nodes_max;      /* values and keys together */
    size_t string_bytes_max; /* of one string or key */
    unsigned number_digits_max;
};

/* Bodies from outside: 256 KiB, depth 32, 20,000 nodes, 64 KiB strings, 96 digits. */
extern const struct json_limits JSON_LIMITS_FOREIGN;
/* Our own messages and the systems' answers: 8 MiB, depth 64, 400,000 nodes, 1 MiB strings. */
extern const struct json_limits JSON_LIMITS_OWN;

enum json_problem {
    JSON_OK,
    JSON_EMPTY,         /* "invalid_json" */
    JSON_SYNTAX,        /* "invalid_json" */
    JSON_DUPLICATE_KEY, /* "duplicate_key", also when one is written with escapes */
    JSON_TOO_DEEP,      /* "too_deep" */
    JSON_TOO_COMPLEX,   /* "too_complex" */
    JSON_TOO_LARGE,     /* "too_large" */
    JSON_INVALID_UTF8,  /* "invalid_utf8" */
    JSON_NUL,           /* "nul" */
    JSON_NUMBER_RANGE,  /* "number_range": integers beyond 64 bits, too many digits, exponent beyond +-400 */
    JSON_NO_MEMORY      /* before or after the parser was at work */
};

struct json_fault {
    enum json_problem problem;
    size_t line;   /* from 1 */
    size_t column; /* from 1, bytes */
};

/* Seeds jansson's hash function, and has the process end itself where jansson overlooks a failed allocation. Once, before
 * any other thread and before the first tree is made. */
void json_setup(void);

/* Any value at the top. On success *ret_json is a new reference. On failure -1 with *reterr_fault filled. */
int json_read(const char *bytes, size_t count, const struct json_limits *limits, json_t **ret_json,
              struct json_fault *reterr_fault) TANDEM_MUST_CHECK;
const char *json_problem_code(enum json_problem problem);

/* Compact text; `sorted`: keys in byte order, one text for one value (for hashes and comparisons). free(); NULL when
 * out of memory or when the value cannot be represented. `ret_length` may be NULL. */
char *json_write(const json_t *json, bool sorted, size_t *ret_length);

/* A text that json_read() has not seen: a header, a key, a part of a longer one. As there, one that begins with U+FDD0 gets
 * U+FFFD in its place, so that it cannot pass for a number. `bytes` are UTF-8 without NUL. New reference; NULL when out of
 * memory. */
json_t *json_text_new(const char *bytes, size_t count);

/* Exact numbers. */
json_t *json_decimal_new(const struct decimal *decimal);
bool json_is_decimal(const json_t *json);
/* Integers and exact decimals (and jansson reals made by our own code); false for everything else. */
bool json_get_decimal(const json_t *json, struct decimal *ret_decimal);

/* Same JSON value: numbers numerically, objects regardless of order, strings byte by byte. NULL equals only NULL. */
bool json_same(const json_t *a, const json_t *b);

/* Member access that never fails loudly: NULL / fallback when absent, null or of another type. */
const char *json_text_of(const json_t *object, const char *key);
/* Also a decimal of integral value within 64 bits: some systems write whole numbers as 5.0. */
json_int_t json_integer_of(const json_t *object, const char *key, json_int_t fallback);
bool json_flag_of(const json_t *object, const char *key, bool fallback);
/* Member of nested objects and arrays: "details.requirements.solutions.0.id"; with `ignoring_case` names are compared
 * without regard to ASCII case (Partner Center mixes cases, referral-resources). Borrowed; NULL when absent. */
json_t *json_at(const json_t *json, const char *path, bool ignoring_case);
/* Sets a member and makes the objects on the way (dots only, no arrays). Steals `value`, also on failure. */
int json_set_at(json_t *object, const char *path, json_t *value);

#endif
