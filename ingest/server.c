#include "ingest/server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "ingest/tls.h"

enum {
    LISTEN_BACKLOG = 1024,
    DESCRIPTOR_RESERVE = 128, /* for Kafka, HTTP clients, files and the admin server */
    ACCEPT_PAUSE_MS = 100,    /* after accept() failed for lack of descriptors or memory */
    LINGER_MS = 2000,         /* reading on after the last answer */
    BODY_CHECK_MS = 1000,
    BODY_GRACE_MS = 5000, /* before the rate of a body is judged */
    ADDRESS_LENGTH = 16
};

enum connection_state { HANDSHAKE, IDLE, HEAD, BODY, HANDLING, WRITING, LINGERING, CLOSED };

struct connection {
    struct server *server;
    struct bufferevent *stream;
    struct event *timer;
    enum connection_state state;
    struct exchange *exchange; /* from the first byte of a request to its answer */
    unsigned char address[ADDRESS_LENGTH];
    size_t request_count;
    int64_t body_since_ms;
    bool should_close; /* after the answer under way */
    struct connection *previous, *next;
};

struct exchange {
    struct server *server;
    struct connection *connection; /* NULL: answered by the server, or the client has gone */
    struct event *deadline;
    struct request request;
    char request_id[UUID_TEXT_SIZE];
    int64_t started_us;
};

struct server {
    struct loop *loop;
    struct server_settings settings;
    char *address;
    char *certificate_file;
    char *key_file;
    const struct server_handler *handler;
    void *arg;
    SSL_CTX *tls; /* NULL: plain HTTP */
    struct evconnlistener *listener;
    struct event *accept_pause;
    struct event *drained;
    void (*on_drained)(void *arg);
    void *on_drained_arg;
    bool is_draining;
    struct connection *connections;
    size_t connection_count;
    size_t exchange_count; /* with the handler */
};

/* --- Exchanges --- */

static void exchange_free(struct exchange *exchange)
{
    if (exchange == NULL)
        return;
    if (exchange->deadline != NULL)
        event_free(exchange->deadline);
    request_done(&exchange->request);
    free(exchange);
}

static struct exchange *exchange_new(struct connection *connection)
{
    uint8_t random[16];
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL)
        return NULL;
    exchange->server = connection->server;
    exchange->connection = connection;
    exchange->started_us = clock_monotonic_us();
    random_fill(random, sizeof(random));
    uuid_from_random(random, exchange->request_id);
    request_init(&exchange->request, &connection->server->settings.request_limits);
    return exchange;
}

static void tell_finished(const struct exchange *exchange, int status, const char *code)
{
    const struct server *server = exchange->server;
    const struct exchange_summary summary = {
        .request_id = exchange->request_id,
        .path = exchange->request.path,
        .status = status,
        .code = code,
        .duration_us = clock_monotonic_us() - exchange->started_us,
    };
    server->handler->on_finished(server->arg, &summary);
}

const struct request *exchange_request(const struct exchange *exchange)
{
    return &exchange->request;
}

const char *exchange_request_id(const struct exchange *exchange)
{
    return exchange->request_id;
}

int64_t exchange_started_us(const struct exchange *exchange)
{
    return exchange->started_us;
}

/* --- Connections --- */

static struct timeval interval_of(int64_t ms)
{
    return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

static void check_drained(struct server *server)
{
    if (server->is_draining && server->connection_count == 0 && server->exchange_count == 0)
        event_active(server->drained, EV_TIMEOUT, 0);
}

static void set_timer(struct connection *connection, int64_t ms)
{
    const struct timeval interval = interval_of(ms);
    evtimer_add(connection->timer, &interval);
}

/* The only writer of the state. Each state has its time-out; reading is on in all but two. */
static void move(struct connection *connection, enum connection_state state)
{
    const struct server_settings *settings = &connection->server->settings;
    bool may_read = state != HANDLING && state != WRITING && state != CLOSED;

    connection->state = state;
    switch (state) {
    case HANDSHAKE:
        set_timer(connection, settings->handshake_timeout_ms);
        break;
    case IDLE:
        set_timer(connection, settings->idle_timeout_ms);
        break;
    case HEAD:
        set_timer(connection, settings->head_timeout_ms);
        break;
    case BODY:
        connection->body_since_ms = clock_monotonic_ms();
        set_timer(connection, BODY_CHECK_MS);
        break;
    case HANDLING: /* the exchange has a deadline of its own */
        evtimer_del(connection->timer);
        break;
    case WRITING:
        set_timer(connection, settings->write_timeout_ms);
        break;
    case LINGERING:
        set_timer(connection, LINGER_MS);
        break;
    case CLOSED: /* freed by the callback on the stack, or by the timer */
        set_timer(connection, 0);
        break;
    }
    if (may_read)
        bufferevent_enable(connection->stream, EV_READ);
    else
        bufferevent_disable(connection->stream, EV_READ);
}

static void connection_free(struct connection *connection)
{
    struct server *server = connection->server;

    if (connection->state == HANDLING)
        connection->exchange->connection = NULL; /* the handler has it */
    else
        exchange_free(connection->exchange);
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    event_free(connection->timer);
    ERR_clear_error();
    bufferevent_free(connection->stream);
    ERR_clear_error();
    free(connection);
    server->connection_count--;
    server->handler->on_connections(server->arg, server->connection_count);
    check_drained(server);
}

/* Nothing was answered. */
static void give_up(struct connection *connection, const char *code)
{
    if (connection->exchange != NULL)
        tell_finished(connection->exchange, 0, code);
    connection_free(connection);
}

/* Answers the exchange, which stays the caller's. */
static void send_answer(struct connection *connection, const struct exchange *exchange, const struct answer *answer)
{
    const struct request *request = &exchange->request;
    bool without_body = request->method != NULL && strcmp(request->method, "HEAD") == 0;

    connection->exchange = NULL;
    connection->should_close = connection->should_close || request->state != REQUEST_COMPLETE ||
                               request->should_close || connection->server->is_draining ||
                               connection->request_count >= connection->server->settings.requests_per_connection;
    move(connection, WRITING);
    if (answer_write(bufferevent_get_output(connection->stream), answer, exchange->request_id, clock_now(),
                     without_body, connection->should_close) < 0)
        move(connection, CLOSED);
    tell_finished(exchange, answer->status, answer->code);
}

static void refuse(struct connection *connection, const struct answer *answer)
{
    struct exchange *exchange = connection->exchange;
    send_answer(connection, exchange, answer);
    exchange_free(exchange);
}

void exchange_answer(struct exchange *exchange, const struct answer *answer)
{
    struct server *server = exchange->server;

    if (exchange->connection != NULL)
        send_answer(exchange->connection, exchange, answer);
    exchange_free(exchange);
    server->exchange_count--;
    check_drained(server);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    static const struct answer late = {.status = 503, .code = "deadline", .retry_after_s = 1};
    struct exchange *exchange = arg;
    struct connection *connection = exchange->connection;

    (void)fd;
    (void)what;
    if (connection == NULL)
        return;
    exchange->connection = NULL;
    send_answer(connection, exchange, &late);
}

static void hand_over(struct connection *connection)
{
    struct server *server = connection->server;
    struct exchange *exchange = connection->exchange;
    const struct timeval deadline = interval_of(server->settings.answer_timeout_ms);

    exchange->deadline = evtimer_new(loop_base(server->loop), on_deadline, exchange);
    if (exchange->deadline == NULL || evtimer_add(exchange->deadline, &deadline) < 0) {
        refuse(connection, &(struct answer){.status = 503, .code = "overloaded", .retry_after_s = 1});
        return;
    }
    move(connection, HANDLING);
    server->exchange_count++;
    server->handler->on_request(server->arg, exchange);
}

static void judge_head(struct connection *connection)
{
    struct server *server = connection->server;
    struct request *request = &connection->exchange->request;
    struct answer answer = {.status = 500, .code = "internal"};
    size_t body_max_bytes = 0;

    if (!server->handler->on_head(server->arg, request, &body_max_bytes, &answer)) {
        /* Without a body the connection can go on. */
        if (request->content_length == 0)
            request_take_body(request, 0);
        refuse(connection, &answer);
        return;
    }
    if (server->exchange_count >= server->settings.exchanges_max) {
        refuse(connection, &(struct answer){.status = 503, .code = "overloaded", .retry_after_s = 1});
        return;
    }
    request_take_body(request, body_max_bytes);
    if (request->state != REQUEST_BODY)
        return;
    if (request->expects_continue && evbuffer_get_length(bufferevent_get_input(connection->stream)) == 0 &&
        evbuffer_add_printf(bufferevent_get_output(connection->stream), "HTTP/1.1 100 Continue\r\n\r\n") < 0) {
        move(connection, CLOSED);
        return;
    }
    move(connection, BODY);
}

/* Takes bytes for the request under way; false when there is no more to do for now. */
static bool read_some(struct connection *connection)
{
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    struct evbuffer_iovec bytes;

    if (evbuffer_peek(input, -1, NULL, &bytes, 1) < 1 || bytes.iov_len == 0)
        return false;
    if (connection->state == IDLE) {
        connection->exchange = exchange_new(connection);
        if (connection->exchange == NULL) {
            move(connection, CLOSED);
            return false;
        }
        connection->request_count++;
        move(connection, HEAD);
    }
    struct request *request = &connection->exchange->request;
    size_t taken = request_feed(request, bytes.iov_base, bytes.iov_len);
    evbuffer_drain(input, taken);
    if (request->state == REQUEST_AT_BODY)
        judge_head(connection);
    if (connection->state != HEAD && connection->state != BODY)
        return false;
    if (request->state == REQUEST_REFUSED)
        refuse(connection, &(struct answer){.status = request->refusal.status,
                                            .code = request->refusal.code,
                                            .retry_after_s = request->refusal.status == 503 ? 1 : 0});
    else if (request->state == REQUEST_COMPLETE)
        hand_over(connection);
    return connection->state == HEAD || connection->state == BODY;
}

static void on_read(struct bufferevent *stream, void *arg)
{
    struct connection *connection = arg;

    if (connection->state == LINGERING) {
        struct evbuffer *input = bufferevent_get_input(stream);
        evbuffer_drain(input, evbuffer_get_length(input));
        return;
    }
    if (connection->state != IDLE && connection->state != HEAD && connection->state != BODY)
        return;
    while (read_some(connection))
        continue;
    if (connection->state == CLOSED)
        connection_free(connection);
}

/* No more to write; the client may still be sending, and must not be reset before it has read the answer. */
static void linger(struct connection *connection)
{
    SSL *ssl = bufferevent_openssl_get_ssl(connection->stream);
    struct evbuffer *input = bufferevent_get_input(connection->stream);

    ERR_clear_error();
    if (ssl != NULL)
        (void)SSL_shutdown(ssl);
    ERR_clear_error();
    (void)shutdown(bufferevent_getfd(connection->stream), SHUT_WR);
    evbuffer_drain(input, evbuffer_get_length(input));
    move(connection, LINGERING);
}

static void on_written(struct bufferevent *stream, void *arg)
{
    struct connection *connection = arg;

    if (connection->state != WRITING || evbuffer_get_length(bufferevent_get_output(stream)) > 0)
        return;
    if (connection->should_close) {
        linger(connection);
        return;
    }
    move(connection, IDLE);
    if (evbuffer_get_length(bufferevent_get_input(stream)) > 0)
        on_read(stream, connection);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
    struct connection *connection = arg;

    if ((what & BEV_EVENT_CONNECTED) != 0) {
        if (connection->state == HANDSHAKE)
            move(connection, IDLE);
        return;
    }
    /* A client may close its side once it has sent its request. */
    bool is_half_closed =
        (what & BEV_EVENT_EOF) != 0 && (what & BEV_EVENT_READING) != 0 && bufferevent_openssl_get_ssl(stream) == NULL;
    if (is_half_closed && (connection->state == HANDLING || connection->state == WRITING)) {
        connection->should_close = true;
        return;
    }
    give_up(connection, "incomplete");
}

static bool is_body_too_slow(const struct connection *connection)
{
    const struct server_settings *settings = &connection->server->settings;
    int64_t since_ms = clock_monotonic_ms() - connection->body_since_ms;
    int64_t received = (int64_t)connection->exchange->request.body_length;

    if (since_ms >= settings->body_timeout_ms)
        return true;
    return since_ms > BODY_GRACE_MS && received < settings->body_rate_min * (since_ms / 1000);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    static const struct answer slow = {.status = 408, .code = "timeout"};
    struct connection *connection = arg;

    (void)fd;
    (void)what;
    switch (connection->state) {
    case BODY:
        if (!is_body_too_slow(connection))
            set_timer(connection, BODY_CHECK_MS);
        else
            refuse(connection, &slow);
        break;
    case HEAD:
        refuse(connection, &slow);
        break;
    default:
        give_up(connection, "timeout");
        break;
    }
}

/* --- Accepting --- */

static void read_address(const struct sockaddr *address, unsigned char out[static ADDRESS_LENGTH])
{
    memset(out, 0, ADDRESS_LENGTH);
    if (address->sa_family == AF_INET)
        memcpy(out, &((const struct sockaddr_in *)(const void *)address)->sin_addr, sizeof(struct in_addr));
    else if (address->sa_family == AF_INET6)
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, sizeof(struct in6_addr));
}

static size_t count_from(const struct server *server, const unsigned char address[static ADDRESS_LENGTH])
{
    size_t count = 0;
    for (const struct connection *each = server->connections; each != NULL; each = each->next)
        count += memcmp(each->address, address, ADDRESS_LENGTH) == 0;
    return count;
}

static struct bufferevent *stream_new(struct server *server, evutil_socket_t fd)
{
    struct event_base *base = loop_base(server->loop);

    if (server->tls == NULL)
        return bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    SSL *ssl = SSL_new(server->tls);
    if (ssl == NULL)
        return NULL;
    struct bufferevent *stream =
        bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (stream == NULL)
        SSL_free(ssl);
    else
        bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    return stream;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int length,
                      void *arg)
{
    struct server *server = arg;
    struct connection *connection = NULL;
    unsigned char from[ADDRESS_LENGTH];
    const int on = 1;

    (void)listener;
    (void)length;
    read_address(address, from);
    if (server->connection_count < server->settings.connections_max &&
        count_from(server, from) < server->settings.connections_per_address_max)
        connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        evutil_closesocket(fd);
        return;
    }
    connection->server = server;
    memcpy(connection->address, from, sizeof(from));
    connection->timer = evtimer_new(loop_base(server->loop), on_timer, connection);
    if (connection->timer != NULL)
        connection->stream = stream_new(server, fd);
    if (connection->stream == NULL) {
        if (connection->timer != NULL)
            event_free(connection->timer);
        free(connection);
        evutil_closesocket(fd);
        return;
    }
    /* Answers are small and written at once: nothing to wait for. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connection->next = server->connections;
    if (connection->next != NULL)
        connection->next->previous = connection;
    server->connections = connection;
    server->connection_count++;
    server->handler->on_connections(server->arg, server->connection_count);
    bufferevent_setcb(connection->stream, on_read, on_written, on_event, connection);
    bufferevent_enable(connection->stream, EV_WRITE);
    move(connection, server->tls == NULL ? IDLE : HANDSHAKE);
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct server *server = arg;
    const struct timeval pause = interval_of(ACCEPT_PAUSE_MS);

    evconnlistener_disable(listener);
    evtimer_add(server->accept_pause, &pause);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct server *server = arg;

    (void)fd;
    (void)what;
    if (server->listener != NULL)
        evconnlistener_enable(server->listener);
}

/* --- Life --- */

static int resolve(const char *address, struct evutil_addrinfo **ret_list, struct error *err)
{
    const struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = EVUTIL_AI_PASSIVE | EVUTIL_AI_NUMERICSERV,
    };
    const char *colon = strrchr(address, ':');
    size_t length = colon == NULL ? 0 : (size_t)(colon - address);
    bool is_bracketed = length >= 2 && address[0] == '[' && address[length - 1] == ']';
    char *host = is_bracketed ? text_copy_n(address + 1, length - 2) : text_copy_n(address, length);
    if (host == NULL)
        return error_no_memory(err);
    int failure = evutil_getaddrinfo(*host == '\0' ? NULL : host, colon == NULL ? NULL : colon + 1, &hints, ret_list);
    free(host);
    if (failure != 0)
        return error_set(err, ERROR_CONFIG, "serve.listen", "%s: %s", address, evutil_gai_strerror(failure));
    return 0;
}

static int listen_at(struct server *server, struct error *err)
{
    struct evutil_addrinfo *list = NULL;
    const unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;

    if (resolve(server->address, &list, err) < 0)
        return -1;
    server->listener = evconnlistener_new_bind(loop_base(server->loop), on_accept, server, flags, LISTEN_BACKLOG,
                                               list->ai_addr, (int)list->ai_addrlen);
    int failure = errno;
    evutil_freeaddrinfo(list);
    if (server->listener == NULL)
        return error_set(err, ERROR_CONFIG, "serve.listen", "%s: %s", server->address, strerror(failure));
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    return 0;
}

/* Descriptors for everything else come first. */
static size_t bound_by_descriptors(size_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return wanted;
    size_t usable = limit.rlim_cur > 2 * DESCRIPTOR_RESERVE ? (size_t)limit.rlim_cur - DESCRIPTOR_RESERVE
                                                            : (size_t)limit.rlim_cur / 2;
    return wanted < usable ? wanted : usable;
}

static void on_nothing_left(evutil_socket_t fd, short what, void *arg)
{
    struct server *server = arg;
    void (*on_drained)(void *) = server->on_drained;

    (void)fd;
    (void)what;
    server->on_drained = NULL;
    if (on_drained != NULL)
        on_drained(server->on_drained_arg);
}

int server_new(struct loop *loop, const struct server_settings *settings, const struct server_handler *handler,
               void *arg, struct server **ret_server, struct error *err)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return error_no_memory(err);
    server->loop = loop;
    server->settings = *settings;
    server->settings.connections_max = bound_by_descriptors(settings->connections_max);
    server->handler = handler;
    server->arg = arg;
    server->accept_pause = evtimer_new(loop_base(loop), on_pause_over, server);
    server->drained = evtimer_new(loop_base(loop), on_nothing_left, server);
    server->address = text_copy(settings->address);
    if (settings->certificate_file != NULL) {
        server->certificate_file = text_copy(settings->certificate_file);
        server->key_file = text_copy(settings->key_file);
    }
    if (server->accept_pause == NULL || server->drained == NULL || server->address == NULL ||
        (settings->certificate_file != NULL && (server->certificate_file == NULL || server->key_file == NULL))) {
        error_no_memory(err);
        goto fail;
    }
    if (server->certificate_file != NULL &&
        tls_server_context(server->certificate_file, server->key_file, &server->tls, err) < 0)
        goto fail;
    if (listen_at(server, err) < 0)
        goto fail;
    *ret_server = server;
    return 0;
fail:
    server_free(server);
    return -1;
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    if (server->listener != NULL)
        evconnlistener_free(server->listener);
    while (server->connections != NULL)
        connection_free(server->connections);
    SSL_CTX_free(server->tls);
    if (server->accept_pause != NULL)
        event_free(server->accept_pause);
    if (server->drained != NULL)
        event_free(server->drained);
    free(server->address);
    free(server->certificate_file);
    free(server->key_file);
    free(server);
}

int server_port(const struct server *server)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);

    if (getsockname(evconnlistener_get_fd(server->listener), (struct sockaddr *)&address, &length) < 0)
        return -1;
    return address.ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)(const void *)&address)->sin6_port)
                                         : ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port);
}

int server_reload(struct server *server, struct error *err)
{
    SSL_CTX *context = NULL;

    if (server->certificate_file == NULL)
        return 0;
    if (tls_server_context(server->certificate_file, server->key_file, &context, err) < 0)
        return -1;
    SSL_CTX_free(server->tls); /* connections hold references of their own */
    server->tls = context;
    return 0;
}

void server_drain(struct server *server, void (*on_drained)(void *arg), void *arg)
{
    server->is_draining = true;
    server->on_drained = on_drained;
    server->on_drained_arg = arg;
    evtimer_del(server->accept_pause);
    evconnlistener_disable(server->listener);
    for (struct connection *each = server->connections, *next; each != NULL; each = next) {
        next = each->next;
        if (each->state == HANDSHAKE || each->state == IDLE)
            connection_free(each);
    }
    check_drained(server);
}
