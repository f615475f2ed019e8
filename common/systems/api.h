/* One authorised request at a system: token, request, one renewed token after a 401, answer.
 *
 * Stands between the HTTP client and the systems; knows neither their paths nor their errors. Loop thread only; the
 * callback comes exactly once for every call that returned 0, never from inside it. */
#ifndef TANDEM_SYSTEMS_API_H
#define TANDEM_SYSTEMS_API_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/http/client.h"
#include "common/http/token.h"

enum { API_HEADERS_MAX = 12 };

/* An API that takes bearer tokens: who carries its requests, and what signs them in. */
struct api {
    struct http_client *client;  /* borrowed */
    struct token_source *tokens; /* borrowed */
};

struct api_request {
    enum http_method method;
    const char *url;
    struct http_header headers[API_HEADERS_MAX]; /* beside Authorization */
    size_t header_count;
    const char *body; /* NULL: none */
    size_t body_length;
    bool (*may_send)(void *arg); /* may be NULL */
    void *may_send_arg;
};

/* `response` is NULL when no token could be had; `err` then says why (ERROR_CONFIG: a person must act). */
typedef void (*api_callback)(void *arg, const struct http_response *response, const struct error *err);

void api_request_header(struct api_request *request, const char *name, const char *value);
/* Everything in `request` is copied. */
int api_send(const struct api *api, const struct api_request *request, api_callback on_done, void *arg,
             struct error *err) TANDEM_MUST_CHECK;

#endif
