#include "common/runtime/config_value.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"

enum {
    PORT_MAX = 65535,
    PORT_DIGITS_MAX = 5,
    HOST_BYTES_MAX = 253, /* RFC 1035 3.1, without the final dot */
    NUMBER_DIGITS_MAX = 19
};

static const char DIGITS[] = "0123456789";
static const char HOST_CHARACTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
static const char HTTPS[] = "https://";

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first, for formatting. */
static const struct unit DURATION_UNITS[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
static const struct unit SIZE_UNITS[] = {
    {"GiB", 1 << 30},
    {"MiB", 1 << 20},
    {"KiB", 1 << 10},
    {"", 1},
};

static int fault_at(struct value_fault *fault, size_t offset, size_t length, const char *format, ...)
    TANDEM_PRINTF(4, 5);

static int fault_at(struct value_fault *fault, size_t offset, size_t length, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(fault->message, sizeof(fault->message), format, arguments);
    va_end(arguments);
    fault->offset = offset;
    fault->length = length;
    fault->shows_secret = false;
    return -1;
}

/* How a kind of number with a unit is written. */
struct unit_family {
    const struct unit *units;
    size_t unit_count;
    const char *shape;      /* what is expected, with examples */
    const char *unit_names; /* for messages */
};

static const struct unit_family DURATIONS = {
    .units = DURATION_UNITS,
    .unit_count = ARRAY_LENGTH(DURATION_UNITS),
    .shape = "a duration is a whole number and a unit: 250ms, 5s, 10m, 24h or 30d",
    .unit_names = "ms, s, m, h or d",
};
static const struct unit_family SIZES = {
    .units = SIZE_UNITS,
    .unit_count = ARRAY_LENGTH(SIZE_UNITS),
    .shape = "a size is a whole number of bytes, or with a unit: 64KiB, 2MiB or 1GiB",
    .unit_names = "KiB, MiB or GiB",
};

static int parse_with_unit(const struct unit_family *family, const char *text, int64_t *ret_number,
                           struct value_fault *fault)
{
    size_t length = strlen(text);
    size_t digits = strspn(text, DIGITS);
    if (digits == 0)
        return fault_at(fault, 0, length, "%s", family->shape);
    const char *suffix = text + digits;
    size_t letters = strspn(suffix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (letters != length - digits)
        return fault_at(fault, digits + letters, length - digits - letters, "%s", family->shape);

    const struct unit *unit = NULL;
    for (size_t i = 0; i < family->unit_count; i++) {
        if (strcmp(family->units[i].name, suffix) == 0)
            unit = &family->units[i];
    }
    if (unit == NULL && letters == 0)
        return fault_at(fault, length, 0, "the unit is missing (%s)", family->unit_names);
    if (unit == NULL)
        return fault_at(fault, digits, letters, "unknown unit '%.*s' (%s)", letters > 32 ? 32 : (int)letters, suffix,
                        family->unit_names);

    char number_text[NUMBER_DIGITS_MAX + 1];
    unsigned long long number;
    if (digits > NUMBER_DIGITS_MAX)
        return fault_at(fault, 0, length, "the number is too large");
    memcpy(number_text, text, digits);
    number_text[digits] = '\0';
    if (!text_parse_unsigned(number_text, (unsigned long long)(INT64_MAX / unit->factor), &number))
        return fault_at(fault, 0, length, "the number is too large");
    *ret_number = (int64_t)number * unit->factor;
    return 0;
}

int value_parse_duration(const char *text, int64_t *ret_ms, struct value_fault *reterr_fault)
{
    return parse_with_unit(&DURATIONS, text, ret_ms, reterr_fault);
}

int value_parse_size(const char *text, int64_t *ret_bytes, struct value_fault *reterr_fault)
{
    return parse_with_unit(&SIZES, text, ret_bytes, reterr_fault);
}

int value_parse_integer(const char *text, int64_t *ret_number, struct value_fault *reterr_fault)
{
    size_t sign = text[0] == '-' ? 1 : 0;
    size_t digits = strspn(text + sign, DIGITS);
    size_t length = strlen(text);
    if (digits == 0)
        return fault_at(reterr_fault, 0, length, "a whole number is expected");
    if (sign + digits != length)
        return fault_at(reterr_fault, sign + digits, length - sign - digits, "a whole number is expected");
    long long number;
    if (!text_parse_signed(text, &number))
        return fault_at(reterr_fault, 0, length, "the number is too large");
    *ret_number = number;
    return 0;
}

/* Reads a host name, an IPv4 address or an IPv6 address in brackets at `*at` and moves behind it. */
static int check_host(const char *text, size_t *at, struct value_fault *fault)
{
    if (text[*at] == '[') {
        const char *close = strchr(text + *at, ']');
        char literal[INET6_ADDRSTRLEN];
        struct in6_addr ignored;
        size_t length = close != NULL ? (size_t)(close - (text + *at)) - 1 : 0;
        if (close == NULL)
            return fault_at(fault, strlen(text), 0, "the closing ']' is missing");
        if (length >= sizeof(literal))
            return fault_at(fault, *at + 1, length, "not an IPv6 address");
        memcpy(literal, text + *at + 1, length);
        literal[length] = '\0';
        if (inet_pton(AF_INET6, literal, &ignored) != 1)
            return fault_at(fault, *at + 1, length, "not an IPv6 address");
        *at += length + 2;
        return 0;
    }
    size_t length = strspn(text + *at, HOST_CHARACTERS);
    if (length == 0)
        return fault_at(fault, *at, text[*at] != '\0' ? 1 : 0, "the host is missing");
    if (length > HOST_BYTES_MAX)
        return fault_at(fault, *at, length, "a host name has at most %d characters", (int)HOST_BYTES_MAX);
    *at += length;
    return 0;
}

/* Reads digits at `*at`, behind the colon, and moves behind them. */
static int check_port(const char *text, size_t *at, unsigned long long least, struct value_fault *fault)
{
    size_t digits = strspn(text + *at, DIGITS);
    char port_text[PORT_DIGITS_MAX + 1];
    unsigned long long port = 0;
    bool is_port = digits > 0 && digits <= PORT_DIGITS_MAX;
    if (is_port) {
        memcpy(port_text, text + *at, digits);
        port_text[digits] = '\0';
        is_port = text_parse_unsigned(port_text, PORT_MAX, &port) && port >= least;
    }
    if (!is_port)
        return fault_at(fault, *at, digits, "a port from %llu to %d is expected", least, (int)PORT_MAX);
    *at += digits;
    return 0;
}

int value_check_url(const char *text, struct value_fault *reterr_fault)
{
    size_t length = strlen(text);
    size_t at = sizeof(HTTPS) - 1;
    const char *userinfo_end = strchr(text, '@');
    if (userinfo_end != NULL) {
        fault_at(reterr_fault, (size_t)(userinfo_end - text), 1, "a user or password in a URL is not allowed");
        reterr_fault->shows_secret = true;
        return -1;
    }
    if (!text_starts_with(text, HTTPS)) {
        const char *separator = strstr(text, "://");
        return fault_at(reterr_fault, 0, separator != NULL ? (size_t)(separator - text) : length,
                        "a URL begins with https://");
    }
    if (check_host(text, &at, reterr_fault) < 0)
        return -1;
    if (text[at] == ':') {
        at++;
        if (check_port(text, &at, 1, reterr_fault) < 0)
            return -1;
    }
    if (text[at] != '\0' && text[at] != '/' && text[at] != '?' && text[at] != '#')
        return fault_at(reterr_fault, at, 1, "this character cannot be in a host name");
    for (; at < length; at++) {
        unsigned char c = (unsigned char)text[at];
        if (c == '?' || c == '#')
            return fault_at(reterr_fault, at, length - at, "a query or fragment is not allowed here");
        if (c <= 0x20 || c >= 0x7F || strchr("\"<>\\^`{|}", c) != NULL)
            return fault_at(reterr_fault, at, 1, "this character must be percent-encoded");
    }
    return 0;
}

int value_check_address(const char *text, struct value_fault *reterr_fault)
{
    size_t at = 0;
    if (text[0] != '[' && strchr(text, ':') != strrchr(text, ':'))
        return fault_at(reterr_fault, 0, strlen(text), "an IPv6 address is put in brackets: [::1]:8080");
    if (text[0] == ':')
        return fault_at(reterr_fault, 0, 1, "the host is missing; 0.0.0.0 or [::] stands for all of this machine");
    if (check_host(text, &at, reterr_fault) < 0)
        return -1;
    if (text[at] != ':')
        return fault_at(reterr_fault, at, strlen(text + at), "host:port or [IPv6]:port is expected");
    at++;
    if (check_port(text, &at, 0, reterr_fault) < 0)
        return -1;
    if (text[at] != '\0')
        return fault_at(reterr_fault, at, strlen(text + at), "host:port or [IPv6]:port is expected");
    return 0;
}

static char *format_with_unit(const struct unit_family *family, int64_t number, char out[static VALUE_TEXT_SIZE])
{
    size_t last = family->unit_count - 1;
    size_t chosen = last;
    for (size_t i = 0; i < last && chosen == last; i++) {
        if (number != 0 && number % family->units[i].factor == 0)
            chosen = i;
    }
    const struct unit *unit = &family->units[chosen];
    (void)snprintf(out, VALUE_TEXT_SIZE, "%lld%s", (long long)(number / unit->factor), unit->name);
    return out;
}

char *value_format_duration(int64_t ms, char out[static VALUE_TEXT_SIZE])
{
    return ms == 0 ? memcpy(out, "0s", sizeof("0s")) : format_with_unit(&DURATIONS, ms, out);
}

char *value_format_size(int64_t bytes, char out[static VALUE_TEXT_SIZE])
{
    return format_with_unit(&SIZES, bytes, out);
}
