#include "common/http/client.h"

#include <curl/curl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/text.h"
#include "common/http/address.h"
#include "common/runtime/metrics.h"
#include "tandem_version.h"

enum {
    CONNECTION_LIFE_S = 300, /* certificates are looked at again at least this often */
    LOW_SPEED_BYTES = 100,   /* slower than this per second for the whole time-out is given up */
    ACCOUNT_NAME_SIZE = 48
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct event *timer;
    char name[ACCOUNT_NAME_SIZE];
    char *ca_file;
    struct http_client_settings settings; /* its texts are not ours: use name and ca_file */
    struct transfer *running;             /* doubly linked */
    struct transfer *first_waiting, **last_waiting;
    unsigned running_count, waiting_count;
    bool is_in_curl; /* libcurl is on the stack: transfers are not added or removed */
    bool is_closing;
    struct event *later; /* finishes and starts transfers outside libcurl's callbacks */
    struct metric *requests, *duration;
};

struct transfer {
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    size_t body_length;
    struct text answer;
    struct text answer_headers; /* "Name: value\n" lines of the final response */
    size_t header_bytes;        /* received, those of interim responses included */
    bool has_overflowed;
    bool was_released;  /* the request went to a connection */
    bool was_held_back; /* may_send said no */
    bool is_repeatable; /* sending it twice does no harm */
    bool has_private_address;
    bool (*may_send)(void *arg);
    http_callback on_done;
    void *arg;
    int64_t started_us;
    char reason[CURL_ERROR_SIZE];
    struct transfer *next, **link;
};

/* One socket of libcurl's on the loop. */
struct watch {
    struct event *event;
};

static void start_waiting(struct http_client *client);
static void reap(struct http_client *client);

/* -- the multi interface on the loop -------------------------------------------------------------------------------- */

static void act(struct http_client *client, curl_socket_t fd, int what)
{
    int running;

    client->is_in_curl = true;
    (void)curl_multi_socket_action(client->multi, fd, what, &running);
    client->is_in_curl = false;
    reap(client);
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
    const int flags = ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0);

    act(arg, fd, flags);
}

static void on_timer_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer_change(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_client *client = arg;
    const struct timeval when = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

    (void)multi;
    if (timeout_ms < 0)
        (void)evtimer_del(client->timer);
    else
        (void)evtimer_add(client->timer, &when);
    return 0;
}

static int on_socket_change(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_client *client = arg;
    struct watch *watch = socket_arg;
    short flags = EV_PERSIST;

    (void)easy;
    if (watch != NULL) {
        event_free(watch->event);
        watch->event = NULL;
    }
    if (what == CURL_POLL_REMOVE) {
        free(watch);
        (void)curl_multi_assign(client->multi, fd, NULL);
        return 0;
    }
    if (watch == NULL && (watch = calloc(1, sizeof(*watch))) == NULL)
        return -1;
    flags = (short)(flags | ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) | ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0));
    watch->event = event_new(loop_base(client->loop), fd, flags, on_socket_event, client);
    if (watch->event == NULL || event_add(watch->event, NULL) < 0) {
        if (watch->event != NULL)
            event_free(watch->event);
        free(watch);
        (void)curl_multi_assign(client->multi, fd, NULL);
        return -1;
    }
    (void)curl_multi_assign(client->multi, fd, watch);
    return 0;
}

/* -- one transfer --------------------------------------------------------------------------------------------------- */

/* Any request may carry a token and any answer may bring one. libcurl's own buffers are out of reach. */
static void cleanse(struct transfer *transfer)
{
    for (struct curl_slist *line = transfer->headers; line != NULL; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    if (transfer->body != NULL)
        explicit_bzero(transfer->body, transfer->body_length);
    if (transfer->answer.data != NULL)
        explicit_bzero(transfer->answer.data, transfer->answer.length);
}

static void transfer_free(struct transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    cleanse(transfer);
    curl_slist_free_all(transfer->headers);
    free(transfer->body);
    text_done(&transfer->answer);
    text_done(&transfer->answer_headers);
    free(transfer);
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;

    if (text_append_n(&transfer->answer, bytes, size * count) == 0)
        return size * count;
    transfer->has_overflowed = true;
    return 0; /* libcurl ends the transfer with CURLE_WRITE_ERROR */
}

static size_t on_header(char *bytes, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    size_t length = size * count;

    transfer->header_bytes += length;
    if (transfer->header_bytes > transfer->answer_headers.limit) {
        transfer->has_overflowed = true;
        return 0;
    }
    if (length >= 5 && strncmp(bytes, "HTTP/", 5) == 0)
        text_clear(&transfer->answer_headers); /* an interim response came before */
    while (length > 0 && (bytes[length - 1] == '\r' || bytes[length - 1] == '\n'))
        length--;
    if (length == 0 || (text_append_n(&transfer->answer_headers, bytes, length) == 0 &&
                        text_append_char(&transfer->answer_headers, '\n') == 0))
        return size * count;
    transfer->has_overflowed = true;
    return 0;
}

static int on_before_request(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    struct transfer *transfer = arg;

    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    /* libcurl sends a request again by itself when a connection it reused ends without an answer. The first one may have
     * been carried out, so only the caller can tell what to do. */
    if (transfer->was_released && !transfer->is_repeatable)
        return CURL_PREREQFUNC_ABORT;
    if (transfer->may_send != NULL && !transfer->may_send(transfer->arg)) {
        transfer->was_held_back = true;
        return CURL_PREREQFUNC_ABORT;
    }
    transfer->was_released = true;
    return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *transfer = arg;

    (void)purpose;
    if (transfer->client->settings.refuse_private_addresses &&
        !http_address_is_public(&address->addr, address->addrlen)) {
        transfer->has_private_address = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
}

/* Could the peer have acted on a request that ended this way? Only an ending before the request went out says no; a
 * connection that was reused and died may have carried it. */
static bool was_surely_not_sent(const struct transfer *transfer, CURLcode code)
{
    long sent = 0;

    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_OUT_OF_MEMORY:
        if (!transfer->was_released)
            return true;
        break;
    default:
        break;
    }
    /* Counts the request's bytes of this transfer over all its connections, zero until the first of them left. */
    return curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK && sent == 0;
}

static void describe_failure(const struct transfer *transfer, CURLcode code, struct http_response *response)
{
    response->result = was_surely_not_sent(transfer, code) ? HTTP_NOT_SENT : HTTP_UNKNOWN;
    if (transfer->was_held_back)
        (void)error_set(&response->error, ERROR_TRANSIENT, "http.held_back", "not sent: the work is no longer ours");
    else if (transfer->has_private_address)
        (void)error_set(&response->error, ERROR_POISON, "http.private_address",
                        "the host's address is not on the public internet");
    else if (transfer->has_overflowed)
        (void)error_set(&response->error, ERROR_TRANSIENT, "http.too_large",
                        "the answer is larger than %zu bytes, or its headers than %zu", transfer->answer.limit,
                        transfer->answer_headers.limit);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        (void)error_set(&response->error, ERROR_TRANSIENT, "http.timeout", "no complete answer in time");
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        (void)error_set(&response->error, ERROR_TRANSIENT, "http.certificate",
                        "the server's certificate is not valid: %s", curl_easy_strerror(code));
    else
        (void)error_set(&response->error, ERROR_TRANSIENT, "http.transport", "%s", curl_easy_strerror(code));
}

static const char *status_class(const struct http_response *response)
{
    static const char *const classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};

    if (response->result == HTTP_NOT_SENT)
        return "not_sent";
    if (response->result != HTTP_ANSWERED)
        return "unknown";
    return response->status >= 100 && response->status < 600 ? classes[response->status / 100 - 1] : "other";
}

static void count(const struct http_client *client, const struct http_response *response)
{
    const char *const values[] = {client->name, NULL};

    metric_count(client->requests, client->name, status_class(response), NULL, NULL);
    if (client->duration != NULL)
        metric_observe_us(metrics_series(client->duration, values), response->duration_us);
}

static void hand_over(struct transfer *transfer, struct http_response *response)
{
    response->body = text_string(&transfer->answer);
    response->body_length = transfer->answer.length;
    response->headers = &transfer->answer_headers;
    response->duration_us = clock_monotonic_us() - transfer->started_us;
    count(transfer->client, response);
    transfer->on_done(transfer->arg, response);
    transfer_free(transfer);
}

static void unlink_running(struct transfer *transfer)
{
    *transfer->link = transfer->next;
    if (transfer->next != NULL)
        transfer->next->link = transfer->link;
    transfer->client->running_count--;
}

static void finish(struct transfer *transfer, CURLcode code)
{
    struct http_response response = {.result = HTTP_ANSWERED};

    (void)curl_multi_remove_handle(transfer->client->multi, transfer->easy);
    unlink_running(transfer);
    if (code == CURLE_OK)
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &response.status);
    else
        describe_failure(transfer, code, &response);
    hand_over(transfer, &response);
}

/* Tells the fate of what has ended. Callbacks may send new requests, which wait until the next turn. */
static void reap(struct http_client *client)
{
    const CURLMsg *message;
    int left;

    while (!client->is_closing && (message = curl_multi_info_read(client->multi, &left)) != NULL) {
        struct transfer *transfer = NULL;
        const CURLcode code = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(transfer, code);
    }
    start_waiting(client);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    reap(arg);
}

static void run(struct transfer *transfer)
{
    struct http_client *client = transfer->client;

    transfer->next = client->running;
    transfer->link = &client->running;
    if (client->running != NULL)
        client->running->link = &transfer->next;
    client->running = transfer;
    client->running_count++;
    if (curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK)
        finish(transfer, CURLE_OUT_OF_MEMORY);
}

static void start_waiting(struct http_client *client)
{
    while (!client->is_in_curl && client->first_waiting != NULL &&
           client->running_count < client->settings.concurrent_max) {
        struct transfer *transfer = client->first_waiting;
        client->first_waiting = transfer->next;
        if (client->first_waiting == NULL)
            client->last_waiting = &client->first_waiting;
        client->waiting_count--;
        run(transfer);
    }
}

/* -- making a transfer ---------------------------------------------------------------------------------------------- */

/* In libcurl's notation: "Name: value", "Name;" for an empty value, "Name:" for none of libcurl's own. */
static int append_line(struct transfer *transfer, const char *line, struct error *err)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, line);

    if (longer == NULL)
        return error_no_memory(err);
    transfer->headers = longer;
    return 0;
}

static int add_header(struct transfer *transfer, const struct http_header *header, struct error *err)
{
    char *line;
    int status;

    if (!http_header_name_is_valid(header->name) || !http_header_value_is_valid(header->value))
        return error_set(err, ERROR_POISON, "http.bad_header", "a request header holds what no header may hold");
    line = header->value[0] == '\0' ? text_format("%s;", header->name)
                                    : text_format("%s: %s", header->name, header->value);
    if (line == NULL)
        return error_no_memory(err);
    status = append_line(transfer, line, err);
    explicit_bzero(line, strlen(line));
    free(line);
    return status;
}

static int add_headers(struct transfer *transfer, const struct http_request *request, struct error *err)
{
    bool has_content_type = false;

    for (size_t i = 0; i < request->header_count; i++) {
        if (add_header(transfer, &request->headers[i], err) < 0)
            return -1;
        has_content_type |= strcasecmp(request->headers[i].name, "Content-Type") == 0;
    }
    /* libcurl would call every other body a form. */
    if (!has_content_type && append_line(transfer, "Content-Type:", err) < 0)
        return -1;
    /* Without this libcurl waits for "100 Continue" before it sends a longer body. */
    return append_line(transfer, "Expect:", err);
}

static const char *method_name(enum http_method method)
{
    static const char *const names[] = {"GET", "POST", "PATCH", "PUT", "DELETE"};

    return names[method];
}

/* libcurl's options take long, pointers or curl_off_t; each call below gives exactly that type. */
static CURLcode set_options(struct transfer *transfer, const struct http_request *request)
{
    const struct http_client *client = transfer->client;
    const int64_t timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : client->settings.total_timeout_ms;
    const bool has_body = request->body != NULL || request->method == HTTP_POST || request->method == HTTP_PATCH ||
                          request->method == HTTP_PUT;
    CURL *easy = transfer->easy;
    CURLcode code = CURLE_OK;

#define SET(option_, value_)                                    \
    do {                                                        \
        if (code == CURLE_OK)                                   \
            code = curl_easy_setopt(easy, (option_), (value_)); \
    } while (0)
    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_PRIVATE, transfer);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_UNRESTRICTED_AUTH, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)client->settings.connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_BYTES);
    /* The time that the service takes to think counts as slow, so this must not undercut the time-out. */
    SET(CURLOPT_LOW_SPEED_TIME, (long)(timeout_ms / 1000 + 1));
    /* A time-out does not wait for the thread that resolves the name, which would stop the loop for as long as DNS does
     * not answer; the thread ends by itself. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_LIFE_S);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_USERAGENT, "Tandem/" TANDEM_VERSION);
    SET(CURLOPT_HTTPHEADER, transfer->headers);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, transfer);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, transfer);
    SET(CURLOPT_PREREQFUNCTION, on_before_request);
    SET(CURLOPT_PREREQDATA, transfer);
    if (client->ca_file != NULL) {
        SET(CURLOPT_CAINFO, client->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }
    if (has_body) { /* an empty one is announced, too: servers answer 411 to these methods without a length */
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body_length);
        SET(CURLOPT_POSTFIELDS, transfer->body == NULL ? "" : transfer->body);
    }
    SET(CURLOPT_CUSTOMREQUEST, method_name(request->method));
#undef SET
    return code;
}

static int fill(struct transfer *transfer, const struct http_request *request, struct error *err)
{
    if (http_url_check(request->url, err) < 0)
        return -1;
    transfer->easy = curl_easy_init();
    if (request->body != NULL)
        transfer->body = text_copy_n(request->body, request->body_length);
    if (transfer->easy == NULL || (request->body != NULL && transfer->body == NULL))
        return error_no_memory(err);
    transfer->body_length = request->body == NULL ? 0 : request->body_length;
    if (add_headers(transfer, request, err) < 0)
        return -1;
    if (set_options(transfer, request) != CURLE_OK)
        return error_set(err, ERROR_FATAL, "http.options", "the HTTP library does not take a setting");
    return 0;
}

int http_send(struct http_client *client, const struct http_request *request, http_callback on_done, void *arg,
              struct error *err)
{
    struct transfer *transfer;
    const struct timeval at_once = {0};

    if (client->is_closing)
        return error_set(err, ERROR_TRANSIENT, "http.closing", "the client is being closed");
    if (client->waiting_count >= client->settings.queued_max)
        return error_set(err, ERROR_TRANSIENT, "http.queue_full", "too many requests wait already");
    transfer = calloc(1, sizeof(*transfer));
    if (transfer == NULL)
        return error_no_memory(err);
    transfer->client = client;
    transfer->on_done = on_done;
    transfer->arg = arg;
    transfer->may_send = request->may_send;
    transfer->is_repeatable = request->method == HTTP_GET;
    transfer->started_us = clock_monotonic_us();
    text_init(&transfer->answer, client->settings.response_max_bytes);
    text_init(&transfer->answer_headers, client->settings.response_headers_max_bytes);
    if (fill(transfer, request, err) < 0) {
        transfer_free(transfer);
        return -1;
    }
    *client->last_waiting = transfer;
    client->last_waiting = &transfer->next;
    client->waiting_count++;
    (void)event_add(client->later, &at_once);
    return 0;
}

const char *http_response_header(const struct http_response *response, const char *name)
{
    /* Lines end in '\n' inside one text; a value is handed out by ending it in place, which the next look-up undoes by
     * looking at '\0' like at a line's end. */
    struct text *lines = response->headers;
    const size_t name_length = strlen(name);

    if (lines == NULL || lines->data == NULL)
        return NULL;
    for (size_t at = 0; at < lines->length;) {
        char *line = lines->data + at;
        const size_t length = strcspn(line, "\n");
        if (length > name_length && line[name_length] == ':' && strncasecmp(line, name, name_length) == 0) {
            char *value = line + name_length + 1;
            line[length] = '\0';
            return value + strspn(value, " \t");
        }
        at += length + 1;
    }
    return NULL;
}

/* -- life ----------------------------------------------------------------------------------------------------------- */

static int copy_settings(struct http_client *client, const struct http_client_settings *settings)
{
    client->settings = *settings;
    (void)snprintf(client->name, sizeof(client->name), "%s", settings->name == NULL ? "other" : settings->name);
    if (settings->ca_file == NULL)
        return 0;
    client->ca_file = text_copy(settings->ca_file);
    return client->ca_file == NULL ? -1 : 0;
}

int http_client_new(struct loop *loop, const struct http_client_settings *settings, struct http_client **ret_client,
                    struct error *err)
{
    struct http_client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        return error_no_memory(err);
    client->loop = loop;
    client->last_waiting = &client->first_waiting;
    client->requests = metrics_declare(METRIC_COUNTER, "tandem_http_requests_total", "client,result",
                                       "Requests to outside systems by account and kind of answer.");
    client->duration = metrics_declare(METRIC_HISTOGRAM, "tandem_http_request_seconds", "client",
                                       "Time from asking for a request to its answer, waiting included.");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        client->multi = curl_multi_init();
    client->timer = evtimer_new(loop_base(loop), on_timer_event, client);
    client->later = evtimer_new(loop_base(loop), on_later, client);
    if (client->multi == NULL || client->timer == NULL || client->later == NULL ||
        copy_settings(client, settings) < 0) {
        http_client_free(client);
        return error_no_memory(err);
    }
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket_change);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer_change);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)settings->concurrent_max);
    *ret_client = client;
    return 0;
}

static void cancel(struct transfer *transfer)
{
    struct http_response response = {.result = HTTP_CANCELLED};

    (void)error_set(&response.error, ERROR_TRANSIENT, "http.cancelled", "the client was closed");
    hand_over(transfer, &response);
}

void http_client_free(struct http_client *client)
{
    if (client == NULL)
        return;
    client->is_closing = true;
    while (client->running != NULL) {
        struct transfer *transfer = client->running;
        (void)curl_multi_remove_handle(client->multi, transfer->easy);
        unlink_running(transfer);
        cancel(transfer);
    }
    while (client->first_waiting != NULL) {
        struct transfer *transfer = client->first_waiting;
        client->first_waiting = transfer->next;
        cancel(transfer);
    }
    if (client->multi != NULL)
        (void)curl_multi_cleanup(client->multi);
    if (client->timer != NULL)
        event_free(client->timer);
    if (client->later != NULL)
        event_free(client->later);
    free(client->ca_file);
    free(client);
}
