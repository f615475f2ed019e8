/* Single values of the configuration: durations, sizes, integers, URLs and addresses, as people write them.
 *
 * Strict: the whole text counts, no blanks, no fractions, no guessing. A fault tells which bytes it is about. Pure, no
 * allocation, any thread. Ranges and places in files are config.c's. */
#ifndef TANDEM_RUNTIME_CONFIG_VALUE_H
#define TANDEM_RUNTIME_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attributes.h"

enum { VALUE_MESSAGE_SIZE = 192, VALUE_TEXT_SIZE = 32 };

struct value_fault {
    size_t offset;     /* bytes into the text; its length when something is missing at the end */
    size_t length;     /* bytes; 0 at the end */
    bool shows_secret; /* the text must not be shown: it holds a password */
    char message[VALUE_MESSAGE_SIZE];
};

/* "250ms", "5s", "10m", "24h", "30d": one whole number, one unit. */
int value_parse_duration(const char *text, int64_t *ret_ms, struct value_fault *reterr_fault) TANDEM_MUST_CHECK;
/* "64KiB", "2MiB", "1GiB", or plain bytes. */
int value_parse_size(const char *text, int64_t *ret_bytes, struct value_fault *reterr_fault) TANDEM_MUST_CHECK;
/* Decimal, with an optional minus. */
int value_parse_integer(const char *text, int64_t *ret_number, struct value_fault *reterr_fault) TANDEM_MUST_CHECK;
/* https, a host (an internationalised name in its ASCII form), an optional port, an optional path; nothing else. */
int value_check_url(const char *text, struct value_fault *reterr_fault) TANDEM_MUST_CHECK;
/* "host:port" or "[IPv6]:port", port 0 to 65535. */
int value_check_address(const char *text, struct value_fault *reterr_fault) TANDEM_MUST_CHECK;

/* The shortest text that parses to the same value. Return `out`. */
char *value_format_duration(int64_t ms, char out[static VALUE_TEXT_SIZE]);
char *value_format_size(int64_t bytes, char out[static VALUE_TEXT_SIZE]);

#endif
