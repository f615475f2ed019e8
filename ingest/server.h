/* HTTP/1.1 server for small JSON requests: connections, TLS, limits and time-outs; what a request means is the
 * handler's.
 *
 * One connection, one request at a time:
 *
 *   HANDSHAKE -> IDLE -> HEAD -> BODY -> HANDLING -> WRITING -> IDLE, or LINGERING -> CLOSED
 *                            \______________________^
 *
 * A request that is refused is answered and its connection closed, after reading on for a moment so that the answer is
 * not lost to a reset. Pipelined requests wait unread. Anything may end in CLOSED.
 *
 * Each exchange handed to the handler is answered exactly once by it, now or later; if the handler takes too long the
 * server answers 503 in its place, and if the client has gone nobody is told, but the handler calls all the same.
 * Loop thread only. Does not log; on_finished tells what became of each request. */
#ifndef TANDEM_INGEST_SERVER_H
#define TANDEM_INGEST_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/runtime/loop.h"
#include "ingest/answer.h"
#include "ingest/request.h"

struct server_settings {
    const char *address;          /* "host:port", "[::1]:port"; port 0 takes a free one */
    const char *certificate_file; /* PEM with chain; NULL: plain HTTP, for a proxy on the same machine */
    const char *key_file;
    struct request_limits request_limits;
    int64_t handshake_timeout_ms;
    int64_t head_timeout_ms; /* from the first byte of a request to the end of its head */
    int64_t body_timeout_ms;
    int64_t body_rate_min; /* bytes a second, after the first five seconds */
    int64_t answer_timeout_ms;
    int64_t write_timeout_ms;
    int64_t idle_timeout_ms;
    size_t requests_per_connection;
    size_t connections_max; /* also bounded by the process's limit of open files, less a reserve */
    size_t connections_per_address_max;
    size_t exchanges_max; /* requests under way with the handler */
};

struct exchange;

struct exchange_summary {
    const char *request_id;
    const char *path; /* NULL when the request line was not understood */
    int status;       /* 0: nothing was answered, the client has gone */
    const char *code;
    int64_t duration_us; /* since the first byte */
};

struct server_handler {
    /* The head is there. True: takes the body up to *ret_body_max_bytes; false: *ret_answer, and the connection is
     * closed if a body follows. */
    bool (*on_head)(void *arg, const struct request *request, size_t *ret_body_max_bytes, struct answer *ret_answer);
    /* The request is complete. */
    void (*on_request)(void *arg, struct exchange *exchange);
    void (*on_finished)(void *arg, const struct exchange_summary *summary);
    void (*on_connections)(void *arg, size_t count);
};

struct server;

/* Everything in `settings` is copied; `handler` is borrowed. */
int server_new(struct loop *loop, const struct server_settings *settings, const struct server_handler *handler,
               void *arg, struct server **ret_server, struct error *err) TANDEM_MUST_CHECK;
/* No exchange may be with the handler any more. Accepts NULL. */
void server_free(struct server *server);
int server_port(const struct server *server);
/* Reads certificate and key again; what was in use stays on failure. */
int server_reload(struct server *server, struct error *err) TANDEM_MUST_CHECK;
/* Accepts no more, closes idle connections and, with its next answer, every other. The callback comes once, later, when
 * no connection and no exchange is left. */
void server_drain(struct server *server, void (*on_drained)(void *arg), void *arg);

const struct request *exchange_request(const struct exchange *exchange);
const char *exchange_request_id(const struct exchange *exchange);
int64_t exchange_started_us(const struct exchange *exchange); /* monotonic */
/* Ends the exchange; it is not valid afterwards. */
void exchange_answer(struct exchange *exchange, const struct answer *answer);

#endif
