#include "common/systems/api.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

struct call {
    struct api api;
    enum http_method method;
    char *url;
    struct http_header headers[API_HEADERS_MAX + 1]; /* names are literals, values owned */
    size_t header_count;
    char *body;
    size_t body_length;
    bool (*may_send)(void *arg);
    void *may_send_arg;
    char *token; /* the one last tried */
    bool was_renewed;
    api_callback on_done;
    void *arg;
};

static void forget_token(struct call *call)
{
    if (call->token == NULL)
        return;
    OPENSSL_cleanse(call->token, strlen(call->token));
    free(call->token);
    call->token = NULL;
}

static void call_free(struct call *call)
{
    forget_token(call);
    for (size_t i = 0; i < call->header_count; i++)
        free((void *)(uintptr_t)call->headers[i].value);
    free(call->url);
    free(call->body);
    free(call);
}

static void finish(struct call *call, const struct http_response *response, const struct error *err)
{
    call->on_done(call->arg, response, err);
    call_free(call);
}

static bool call_may_send(void *arg)
{
    const struct call *call = arg;

    return call->may_send == NULL || call->may_send(call->may_send_arg);
}

static void on_token(void *arg, const char *token, const struct error *err);

static void on_response(void *arg, const struct http_response *response)
{
    struct call *call = arg;

    if (response->result == HTTP_ANSWERED && response->status == 401 && !call->was_renewed) {
        call->was_renewed = true;
        token_reject(call->api.tokens, call->token);
        forget_token(call);
        if (token_get(call->api.tokens, on_token, call) == 0)
            return;
    }
    finish(call, response, NULL);
}

static int send_with(struct call *call, const char *token, struct error *err)
{
    struct http_header headers[API_HEADERS_MAX + 1];
    char *authorization = text_format("Bearer %s", token);
    struct http_request request = {
        .method = call->method,
        .url = call->url,
        .headers = headers,
        .header_count = call->header_count + 1,
        .body = call->body,
        .body_length = call->body_length,
        .may_send = call_may_send,
    };
    int status;

    call->token = text_copy(token);
    if (authorization == NULL || call->token == NULL) {
        free(authorization);
        return error_no_memory(err);
    }
    memcpy(headers, call->headers, call->header_count * sizeof(headers[0]));
    headers[call->header_count] = (struct http_header){.name = "Authorization", .value = authorization};
    status = http_send(call->api.client, &request, on_response, call, err);
    OPENSSL_cleanse(authorization, strlen(authorization));
    free(authorization);
    return status;
}

static void on_token(void *arg, const char *token, const struct error *err)
{
    struct call *call = arg;
    struct error send_error = ERROR_INIT;

    if (token == NULL)
        finish(call, NULL, err);
    else if (send_with(call, token, &send_error) < 0)
        finish(call, NULL, &send_error);
}

void api_request_header(struct api_request *request, const char *name, const char *value)
{
    if (value != NULL && request->header_count < API_HEADERS_MAX)
        request->headers[request->header_count++] = (struct http_header){.name = name, .value = value};
}

static int copy_request(struct call *call, const struct api_request *request)
{
    call->method = request->method;
    call->may_send = request->may_send;
    call->may_send_arg = request->may_send_arg;
    call->url = text_copy(request->url);
    if (call->url == NULL)
        return -1;
    if (request->body != NULL) {
        call->body = text_copy_n(request->body, request->body_length);
        call->body_length = request->body_length;
        if (call->body == NULL)
            return -1;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        char *value = text_copy(request->headers[i].value);
        if (value == NULL)
            return -1;
        call->headers[call->header_count++] = (struct http_header){.name = request->headers[i].name, .value = value};
    }
    return 0;
}

int api_send(const struct api *api, const struct api_request *request, api_callback on_done, void *arg,
             struct error *err)
{
    struct call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        return error_no_memory(err);
    call->api = *api;
    call->on_done = on_done;
    call->arg = arg;
    if (copy_request(call, request) < 0 || token_get(api->tokens, on_token, call) < 0) {
        call_free(call);
        return error_no_memory(err);
    }
    return 0;
}
