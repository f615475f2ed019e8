/* One authorised request at a system: token, request, one renewed token after a 401, answer.
 *
 * Stands between the HTTP client and the systems; knows neither their paths nor their errors. Loop thread only; the
 * callback comes exactly once for every call that returned 0, never from inside it. */
#ifndef TANDEM_SYSTEMS_EXCHANGE_H
#define TANDEM_SYSTEMS_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/http/client.h"
#include "common/http/token.h"

enum { EXCHANGE_HEADERS_MAX = 12 };

struct exchange {
    struct http_client *client;  /* borrowed */
    struct token_source *tokens; /* borrowed */
};

struct exchange_request {
    enum http_method method;
    const char *url;
    struct http_header headers[EXCHANGE_HEADERS_MAX]; /* beside Authorization */
    size_t header_count;
    const char *body; /* NULL: none */
    size_t body_length;
    bool (*may_send)(void *arg); /* may be NULL */
    void *may_send_arg;
};

/* `response` is NULL when no token could be had; `err` then says why (ERROR_CONFIG: a person must act). */
typedef void (*exchange_callback)(void *arg, const struct http_response *response, const struct error *err);

void exchange_request_header(struct exchange_request *request, const char *name, const char *value);
/* Everything in `request` is copied. */
int exchange_send(const struct exchange *exchange, const struct exchange_request *request, exchange_callback on_done,
                  void *arg, struct error *err) TANDEM_MUST_CHECK;

#endif
