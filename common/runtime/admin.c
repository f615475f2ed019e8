#include "common/runtime/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum {
    HEADERS_BYTES_MAX = 8 * 1024,
    BODY_BYTES_MAX = 1024, /* a GET has none; one that comes is read and dropped */
    TIMEOUT_S = 10,        /* without progress, reading as well as writing */
    PAGE_BYTES_MAX = 8 * 1024 * 1024,
    HOST_SIZE = 256
};

static const char TEXT_TYPE[] = "text/plain; charset=utf-8";
static const char METRICS_TYPE[] = "text/plain; version=0.0.4; charset=utf-8";

struct admin {
    struct evhttp *http;
    uint16_t port;
    bool (*is_ready)(void *arg, struct text *out);
    void *arg;
};

static void reply(struct evhttp_request *request, int status, const char *type, const char *bytes, size_t count)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    struct evbuffer *body = evbuffer_new();
    if (body == NULL || evbuffer_add(body, bytes, count) < 0 || evhttp_add_header(headers, "Content-Type", type) < 0 ||
        evhttp_add_header(headers, "Cache-Control", "no-store") < 0 ||
        evhttp_add_header(headers, "Connection", "close") < 0)
        evhttp_send_error(request, HTTP_INTERNAL, NULL);
    else
        evhttp_send_reply(request, status, NULL, body);
    if (body != NULL)
        evbuffer_free(body);
}

static void reply_text(struct evhttp_request *request, int status, const char *string)
{
    reply(request, status, TEXT_TYPE, string, strlen(string));
}

static void reply_readiness(const struct admin *admin, struct evhttp_request *request)
{
    struct text body;
    text_init(&body, PAGE_BYTES_MAX);
    bool is_ready = admin->is_ready(admin->arg, &body);
    reply_text(request, is_ready ? HTTP_OK : HTTP_SERVUNAVAIL, text_string(&body));
    text_done(&body);
}

/* That the loop turns is what there is to know; what is away is told beside it, but mended by no restart. */
static void reply_health(const struct admin *admin, struct evhttp_request *request)
{
    struct text body;
    text_init(&body, PAGE_BYTES_MAX);
    bool has_reasons = text_append(&body, "ok\n") == 0 && !admin->is_ready(admin->arg, &body);
    reply_text(request, HTTP_OK, has_reasons ? text_string(&body) : "ok\n");
    text_done(&body);
}

static void reply_metrics(struct evhttp_request *request)
{
    struct text page;
    text_init(&page, PAGE_BYTES_MAX);
    if (metrics_render(&page) < 0)
        reply_text(request, HTTP_INTERNAL, "the metrics do not fit\n");
    else
        reply(request, HTTP_OK, METRICS_TYPE, text_string(&page), page.length);
    text_done(&page);
}

static void on_request(struct evhttp_request *request, void *arg)
{
    const struct admin *admin = arg;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;
    bool is_health = text_equal(path, "/healthz");
    bool is_readiness = text_equal(path, "/readyz");
    if (!is_health && !is_readiness && !text_equal(path, "/metrics")) {
        reply_text(request, HTTP_NOTFOUND, "not found\n");
    } else if (evhttp_request_get_command(request) != EVHTTP_REQ_GET) {
        (void)evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET");
        reply_text(request, HTTP_BADMETHOD, "only GET\n");
    } else if (is_health) {
        reply_health(admin, request);
    } else if (is_readiness) {
        reply_readiness(admin, request);
    } else {
        reply_metrics(request);
    }
}

/* Takes "host:port" apart, of which the configuration knows that it is well-formed. */
static bool split_address(const char *address, char host[static HOST_SIZE], uint16_t *ret_port)
{
    const char *colon = strrchr(address, ':');
    unsigned long long port;
    if (colon == NULL || !text_parse_unsigned(colon + 1, UINT16_MAX, &port))
        return false;
    bool is_bracketed = address[0] == '[' && colon > address + 1 && colon[-1] == ']';
    const char *start = address + (is_bracketed ? 1 : 0);
    size_t length = (size_t)(colon - start) - (is_bracketed ? 1 : 0);
    if (length == 0 || length >= HOST_SIZE)
        return false;
    memcpy(host, start, length);
    host[length] = '\0';
    *ret_port = (uint16_t)port;
    return true;
}

static uint16_t port_of_socket(evutil_socket_t fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static int listen_at(struct admin *admin, const char *address, struct error *err)
{
    char host[HOST_SIZE];
    uint16_t port;
    if (!split_address(address, host, &port))
        return error_set(err, ERROR_CONFIG, "admin.address", "'%s' is not host:port", address);
    errno = 0;
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(admin->http, host, port);
    if (bound == NULL)
        return error_set(err, ERROR_FATAL, "admin.listen", "cannot listen at %s: %s", address,
                         errno != 0 ? strerror(errno) : "the host is not known");
    admin->port = port_of_socket(evhttp_bound_socket_get_fd(bound));
    log_info("admin.listening", LOG_TEXT("host", host), LOG_INTEGER("port", admin->port));
    return 0;
}

int admin_new(struct loop *loop, const char *address, bool (*is_ready)(void *arg, struct text *out), void *arg,
              struct admin **ret_admin, struct error *err)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL)
        return error_no_memory(err);
    admin->is_ready = is_ready;
    admin->arg = arg;
    admin->http = evhttp_new(loop_base(loop));
    if (admin->http == NULL) {
        free(admin);
        return error_no_memory(err);
    }
    evhttp_set_max_headers_size(admin->http, HEADERS_BYTES_MAX);
    evhttp_set_max_body_size(admin->http, BODY_BYTES_MAX);
    evhttp_set_timeout(admin->http, TIMEOUT_S);
    /* All that libevent knows, so that the answer is 405 with Allow instead of its 501. */
    evhttp_set_allowed_methods(admin->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
                                                EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
                                                EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
    evhttp_set_gencb(admin->http, on_request, admin);
    if (listen_at(admin, address, err) < 0) {
        admin_free(admin);
        return -1;
    }
    *ret_admin = admin;
    return 0;
}

uint16_t admin_port(const struct admin *admin)
{
    return admin->port;
}

void admin_free(struct admin *admin)
{
    if (admin == NULL)
        return;
    evhttp_free(admin->http);
    free(admin);
}
