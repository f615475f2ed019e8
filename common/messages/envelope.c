#include "common/messages/envelope.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"

enum {
    TRACE_ID_AT = 3, /* "00-" trace id "-" span id "-01" */
    TRACE_ID_DIGITS = 32,
    SPAN_ID_AT = TRACE_ID_AT + TRACE_ID_DIGITS + 1,
    SPAN_ID_DIGITS = 16,
    FLAGS_AT = SPAN_ID_AT + SPAN_ID_DIGITS + 1,
    FLAGS_DIGITS = 2,
    TRACEPARENT_LENGTH = FLAGS_AT + FLAGS_DIGITS
};

static void put_hex(const uint8_t *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static bool is_hex(const char *text, size_t count)
{
    return strspn(text, "0123456789abcdef") >= count;
}

/* All zeros is not an id (W3C Trace Context 3.2.2). */
static bool is_id(const char *text, size_t count)
{
    return is_hex(text, count) && strspn(text, "0") < count;
}

static bool is_traceparent(const char *text)
{
    return text != NULL && strlen(text) == TRACEPARENT_LENGTH && strncmp(text, "00-", TRACE_ID_AT) == 0 &&
           is_id(text + TRACE_ID_AT, TRACE_ID_DIGITS) && text[SPAN_ID_AT - 1] == '-' &&
           is_id(text + SPAN_ID_AT, SPAN_ID_DIGITS) && text[FLAGS_AT - 1] == '-' &&
           is_hex(text + FLAGS_AT, FLAGS_DIGITS);
}

static void assemble(const char *trace_id, const char *span_id, char out[static TRACEPARENT_SIZE])
{
    (void)snprintf(out, TRACEPARENT_SIZE, "00-%.*s-%.*s-01", TRACE_ID_DIGITS, trace_id, SPAN_ID_DIGITS, span_id);
}

void traceparent_new(const uint8_t random[static 24], char out[static TRACEPARENT_SIZE])
{
    char ids[TRACE_ID_DIGITS + SPAN_ID_DIGITS];

    put_hex(random, 24, ids);
    assemble(ids, ids + TRACE_ID_DIGITS, out);
}

void traceparent_continue(const char *parent, const uint8_t random[static 8], char out[static TRACEPARENT_SIZE])
{
    char span[SPAN_ID_DIGITS];
    char trace[TRACE_ID_DIGITS];

    put_hex(random, 8, span);
    if (is_traceparent(parent)) {
        memcpy(trace, parent + TRACE_ID_AT, TRACE_ID_DIGITS);
    } else {
        memcpy(trace, span, SPAN_ID_DIGITS);
        memcpy(trace + SPAN_ID_DIGITS, span, SPAN_ID_DIGITS);
    }
    assemble(trace, span, out);
}

void traceparent_derive(const char *parent, const char *seed, char out[static TRACEPARENT_SIZE])
{
    char digest[SHA256_HEX_SIZE];

    if (sha256_hex(seed, strlen(seed), digest) == NULL) {
        out[0] = '\0';
        return;
    }
    assemble(is_traceparent(parent) ? parent + TRACE_ID_AT : digest, digest + TRACE_ID_DIGITS, out);
}

void traceparent_trace_id(const char *traceparent, char out[static 33])
{
    out[0] = '\0';
    if (is_traceparent(traceparent)) {
        memcpy(out, traceparent + TRACE_ID_AT, TRACE_ID_DIGITS);
        out[TRACE_ID_DIGITS] = '\0';
    }
}
