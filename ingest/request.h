/* One HTTP/1.1 request, read strictly and in pieces (RFC 9112).
 *
 * Takes bytes as they come and stops twice: when the head is complete, so that the caller can judge path and type and
 * say how much body it takes, and when the body is. What two implementations could understand differently is refused,
 * not repaired: line ends other than CRLF, folded fields, blanks before a colon, repeated or decorated lengths, any
 * transfer coding. Knows no route and writes no answer. Pure: no I/O, no clock. Every buffer has a bound from struct
 * request_limits; the declared length alone makes nothing be allocated.
 *
 * A refused request cannot be continued, and its connection must be closed after the answer: where the next one would
 * begin is not known. One thread at a time. */
#ifndef TANDEM_INGEST_REQUEST_H
#define TANDEM_INGEST_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attributes.h"
#include "common/base/text.h"

enum { REQUEST_FIELDS_MAX = 128 };

struct request_limits {
    size_t line_max_bytes;    /* request line, without its line end: 414 */
    size_t fields_max_bytes;  /* all fields with their line ends: 431 */
    size_t field_max_bytes;   /* one field, without its line end: 431 */
    unsigned field_count_max; /* at most REQUEST_FIELDS_MAX: 431 */
};

/* 4 KiB line, 16 KiB and 64 fields, 8 KiB a field. */
extern const struct request_limits REQUEST_LIMITS;

/* LINE -> FIELDS -> AT_BODY -> BODY -> COMPLETE; AT_BODY -> COMPLETE without a body; any but COMPLETE -> REFUSED */
enum request_state {
    REQUEST_LINE,
    REQUEST_FIELDS,
    REQUEST_AT_BODY, /* the head is complete: the caller calls request_take_body() or answers */
    REQUEST_BODY,
    REQUEST_COMPLETE,
    REQUEST_REFUSED
};

struct refusal {
    int status;
    const char *code; /* a literal */
};

struct request_field {
    const char *name;
    const char *value; /* without blanks around it */
};

struct request {
    enum request_state state;
    struct refusal refusal; /* REQUEST_REFUSED */

    /* From AT_BODY on. NUL-terminated, without NUL inside. */
    const char *method;
    const char *path;  /* as sent: escapes are checked, not decoded */
    const char *query; /* without the '?'; NULL when there is none */
    struct request_field fields[REQUEST_FIELDS_MAX];
    size_t field_count;
    uint64_t content_length;
    bool should_close;     /* HTTP/1.0, or the client asks for it */
    bool expects_continue; /* 100 (Continue) may be sent before the body */

    char *body; /* NUL-terminated, may hold NUL; NULL when empty */
    size_t body_length;

    /* Private. */
    struct request_limits limits;
    struct text head;
    size_t line_at;   /* where the current line begins in the head */
    size_t fields_at; /* where the first field does */
    size_t path_at, query_at;
    size_t name_at[REQUEST_FIELDS_MAX];
    size_t value_at[REQUEST_FIELDS_MAX];
    bool has_query;
    bool is_http_1_0;
    bool is_length_padded;
    bool skipped_line;
    size_t body_capacity;
};

void request_init(struct request *request, const struct request_limits *limits);
void request_done(struct request *request);

/* Takes bytes until the state is AT_BODY, COMPLETE or REFUSED, or all are taken. Returns how many were. */
size_t request_feed(struct request *request, const char *bytes, size_t count);
/* In AT_BODY: goes on to the body, if there is one and it is not longer than this (else REFUSED with 413). */
void request_take_body(struct request *request, size_t body_max_bytes);
/* Whether anything of this request has arrived. */
bool request_has_begun(const struct request *request);

/* Value of the first field of that name (ASCII case ignored), NULL when absent; *ret_count (may be NULL) tells how many
 * there are. */
const char *request_field(const struct request *request, const char *name, size_t *ret_count);
/* The value of a query parameter that occurs once, escapes decoded, '+' kept as it is; false when absent, repeated,
 * with a NUL or longer than `size` - 1. */
bool request_query_value(const struct request *request, const char *name, char *out, size_t size);
/* Content-Type is application/json, in UTF-8 if it names a charset. */
bool request_is_json(const struct request *request);
/* The host name of the Host field, without port, is `name` (ASCII case ignored). */
bool request_host_is(const struct request *request, const char *name);

#endif
