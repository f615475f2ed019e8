/* HTTP client: libcurl's multi interface on the event loop.
 *
 * https only, verified, no redirects, no cookies, no proxy from the environment, bounded answers, bounded time, header
 * values checked for control characters; one pool of connections per client, and one client per account, so that no
 * connection carries two accounts. The user agent is "Tandem/VERSION". Knows nothing of tokens (token.h) nor of any
 * service.
 * Loop thread only. The callback comes exactly once per request, never from inside http_request(), also when the client
 * is freed (then with HTTP_CANCELLED). */
#ifndef TANDEM_HTTP_CLIENT_H
#define TANDEM_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/http/syntax.h"
#include "common/runtime/loop.h"

struct http_client;

struct http_client_settings {
    const char *name;                  /* of the account, for metrics and messages: "dynamics-365"; copied */
    const char *ca_file;               /* NULL: the system's */
    int64_t connect_timeout_ms;        /* 5,000 */
    int64_t total_timeout_ms;          /* 30,000 */
    size_t response_max_bytes;         /* 8 MiB, counted while receiving */
    size_t response_headers_max_bytes; /* 64 KiB */
    unsigned concurrent_max;           /* requests under way; further ones wait in order */
    unsigned queued_max;               /* waiting requests; beyond: ERROR_TRANSIENT "http.queue_full" at once */
    bool refuse_private_addresses;     /* loopback, link-local, private and their mapped forms (certificate fetch) */
};

enum http_method { HTTP_GET, HTTP_POST, HTTP_PATCH, HTTP_PUT, HTTP_DELETE };

struct http_header {
    const char *name;
    const char *value;
};

struct http_request {
    enum http_method method;
    const char *url; /* absolute, https */
    const struct http_header *headers;
    size_t header_count;
    const char *body; /* NULL: none */
    size_t body_length;
    int64_t timeout_ms; /* 0: the client's */
    /* Asked right before the request is sent on a connection; false cancels it (a worker that lost its partition must
     * not write). May be NULL. */
    bool (*may_send)(void *arg);
};

enum http_result {
    HTTP_ANSWERED, /* there is a status; whatever it is */
    HTTP_NOT_SENT, /* the peer cannot have acted: refused, unresolved, TLS failed, cancelled by may_send */
    HTTP_UNKNOWN,  /* it may have acted: timed out, reset, truncated or oversized answer after sending */
    HTTP_CANCELLED /* by http_client_free() */
};

struct http_response {
    enum http_result result;
    long status;      /* 0 unless HTTP_ANSWERED */
    const char *body; /* NUL-terminated; never NULL */
    size_t body_length;
    int64_t duration_us;
    struct error error; /* set unless HTTP_ANSWERED */
    void *headers;      /* for http_response_header() */
};

typedef void (*http_callback)(void *arg, const struct http_response *response);

int http_client_new(struct loop *loop, const struct http_client_settings *settings, struct http_client **ret_client,
                    struct error *err) TANDEM_MUST_CHECK;
void http_client_free(struct http_client *client); /* accepts NULL */

/* Everything in `request` is copied. 0: the callback will come; -1: it will not. */
int http_send(struct http_client *client, const struct http_request *request, http_callback on_done, void *arg,
              struct error *err) TANDEM_MUST_CHECK;
/* First header of that name, without regard to case; NULL when absent. Valid during the callback. */
const char *http_response_header(const struct http_response *response, const char *name);

#endif
