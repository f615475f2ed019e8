/* The pass over a JSON text before jansson sees it: one look at each byte, no recursion, no memory for the nesting.
 *
 * Checks grammar, UTF-8, limits and the range of numbers, and rewrites what jansson would not keep exactly (json.h says
 * how decimals stand in the tree). Part of json.c, in no one else's interface. Does not find duplicate keys: that takes
 * memory, and jansson does it. */
#ifndef TANDEM_BASE_JSON_SCAN_H
#define TANDEM_BASE_JSON_SCAN_H

#include <stddef.h>

#include "common/base/decimal.h"
#include "common/base/json.h"
#include "common/base/text.h"

/* U+FDD0 before the digits of a decimal. */
#define JSON_DECIMAL_MARK "\xEF\xB7\x90"
/* What replaces the mark at the beginning of a text from outside (U+FFFD, as many bytes). */
#define JSON_MARK_REPLACEMENT "\xEF\xBF\xBD"

enum {
    /* Reading, writing and comparing recurse, jansson does too; deeper trees are refused whatever the limits say. */
    JSON_NESTING_MAX = 256,
    JSON_DECIMAL_MARK_SIZE = 3,
    JSON_NUMBER_TEXT_SIZE = DECIMAL_DIGITS_MAX + 16 /* sign, digits, point, exponent, NUL */
};

/* 0, or -1 with *reterr_fault. `rewritten` is initialised here; without content the text can be used as it is. The
 * caller releases it with text_done(), also on failure. */
int json_scan(const char *bytes, size_t count, const struct json_limits *limits, struct text *rewritten,
              struct json_fault *reterr_fault);

/* The place of the key that ends at an offset of the rewritten text, as JSON_DUPLICATE_KEY: jansson only knows that
 * offset. JSON_NO_MEMORY when there is none for rewriting it again. */
struct json_fault json_scan_duplicate(const char *bytes, size_t count, const struct json_limits *limits,
                                      size_t key_end);

/* One text for one number: plain where that is an integer of 64 bits or has few zeros after the point, else scientific
 * with one digit before the point. Returns the length. */
size_t json_number_format(const struct decimal *decimal, char out[static JSON_NUMBER_TEXT_SIZE]);

#endif
