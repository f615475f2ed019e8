#include "common/runtime/admin.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum { ANSWER_SIZE = 256 * 1024, REQUEST_SIZE = 64 * 1024, DEADLINE_S = 10 };

struct world {
    struct loop *loop;
    struct admin *admin;
    bool is_ready;
    const char *request; /* what the client thread sends */
    size_t request_length;
    bool has_answer;
    char answer[ANSWER_SIZE];
};

static struct world world;

static bool is_ready(void *arg, struct text *out)
{
    const struct world *asked = arg;
    if (text_append(out, asked->is_ready ? "ready\n" : "not ready: kafka\n") < 0)
        return false;
    return asked->is_ready;
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

/* Sends the request and reads until the server closes. */
static void *be_client(void *arg)
{
    struct world *ours = arg;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(admin_port(ours->admin)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval deadline = {.tv_sec = DEADLINE_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        (void)send(fd, ours->request, ours->request_length, MSG_NOSIGNAL);
        size_t length = 0;
        ssize_t got;
        while ((got = recv(fd, ours->answer + length, sizeof(ours->answer) - 1 - length, 0)) > 0)
            length += (size_t)got;
        ours->answer[length] = '\0';
        ours->has_answer = length > 0;
    }
    close(fd);
    if (loop_post(ours->loop, stop_loop, ours->loop) < 0)
        return NULL;
    return ours;
}

static const char *ask_bytes(const char *request, size_t length)
{
    world.request = request;
    world.request_length = length;
    world.has_answer = false;
    pthread_t client;
    struct error err = ERROR_INIT;
    assert_int_equal(pthread_create(&client, NULL, be_client, &world), 0);
    assert_int_equal(loop_run(world.loop, &err), 0);
    void *result = NULL;
    assert_int_equal(pthread_join(client, &result), 0);
    assert_non_null(result);
    assert_true(world.has_answer);
    return world.answer;
}

static const char *ask(const char *request)
{
    return ask_bytes(request, strlen(request));
}

static void expect_start(const char *answer, const char *start)
{
    if (!text_starts_with(answer, start))
        fail_msg("answer does not begin with '%s':\n%s", start, answer);
}

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    struct error err = ERROR_INIT;
    if (loop_new(&world.loop, &err) < 0)
        return -1;
    return admin_new(world.loop, "127.0.0.1:0", is_ready, &world, &world.admin, &err);
}

static int tear_down(void **state)
{
    (void)state;
    admin_free(world.admin);
    loop_free(world.loop);
    return 0;
}

/* Health is 200 as long as the loop turns, also with a query behind the path, and says what is away beside it. */
static void test_health_is_ok(void **state)
{
    (void)state;
    expect_start(ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 200 ");
    assert_true(text_ends_with(world.answer, "\r\n\r\nok\nnot ready: kafka\n"));
    world.is_ready = true;
    const char *answer = ask("GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_start(answer, "HTTP/1.1 200 ");
    assert_true(text_ends_with(answer, "\r\n\r\nok\n"));
}

/* Readiness is what the program says, with its reasons. */
static void test_readiness_follows_the_program(void **state)
{
    (void)state;
    const char *answer = ask("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_start(answer, "HTTP/1.1 503 ");
    assert_true(text_ends_with(answer, "\r\n\r\nnot ready: kafka\n"));
    world.is_ready = true;
    answer = ask("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_start(answer, "HTTP/1.1 200 ");
    assert_true(text_ends_with(answer, "\r\n\r\nready\n"));
}

/* The metrics come in Prometheus' text format. */
static void test_metrics_are_served(void **state)
{
    (void)state;
    metric_set(metrics_series(metrics_declare(METRIC_GAUGE, "tandem_test_answer", "", "Answer."), NULL), 42);
    const char *answer = ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_start(answer, "HTTP/1.1 200 ");
    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(answer, "\ntandem_test_answer 42\n"));
}

/* Nothing else is there, and nothing but GET is understood. */
static void test_everything_else_is_refused(void **state)
{
    (void)state;
    expect_start(ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 404 ");
    expect_start(ask("GET /metrics/../healthz HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 404 ");
    const char *answer = ask("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    expect_start(answer, "HTTP/1.1 405 ");
    assert_non_null(strstr(answer, "Allow: GET\r\n"));
    expect_start(ask("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 405 ");
}

/* Bodies and headers beyond the bounds are refused, not kept. */
static void test_large_requests_are_refused(void **state)
{
    (void)state;
    expect_start(ask("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"), "HTTP/1.1 413 ");
    static char request[REQUEST_SIZE];
    int length = snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\nX: ");
    memset(request + length, 'x', 20000);
    (void)snprintf(request + length + 20000, 5, "\r\n\r\n");
    expect_start(ask_bytes(request, (size_t)length + 20004), "HTTP/1.1 400 ");
}

/* What is no HTTP is answered with an error. */
static void test_garbage_is_refused(void **state)
{
    (void)state;
    expect_start(ask("\x16\x03\x01\x02 garbage\r\n\r\n"), "HTTP/1.");
    assert_null(strstr(world.answer, " 200 "));
}

/* An address that is taken, or no address of this machine, is an error with the address in it. */
static void test_address_that_cannot_be_bound_is_an_error(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct admin *second = NULL;
    char address[32];
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", admin_port(world.admin));
    assert_int_equal(admin_new(world.loop, address, is_ready, &world, &second, &err), -1);
    assert_string_equal(err.code, "admin.listen");
    assert_non_null(strstr(err.message, address));
    assert_non_null(strstr(err.message, "Address already in use"));
    assert_int_equal(admin_new(world.loop, "192.0.2.1:0", is_ready, &world, &second, &err), -1);
    assert_string_equal(err.code, "admin.listen");
    assert_null(second);
}

/* IPv6 addresses are written in brackets. */
static void test_brackets_hold_an_ipv6_address(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct admin *second = NULL;
    if (admin_new(world.loop, "[::1]:0", is_ready, &world, &second, &err) < 0)
        skip(); /* a machine without IPv6 */
    assert_true(admin_port(second) > 0);
    admin_free(second);
}

int main(void)
{
#define CASE(test_) cmocka_unit_test_setup_teardown(test_, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_health_is_ok),
        CASE(test_readiness_follows_the_program),
        CASE(test_metrics_are_served),
        CASE(test_everything_else_is_refused),
        CASE(test_large_requests_are_refused),
        CASE(test_garbage_is_refused),
        CASE(test_address_that_cannot_be_bound_is_an_error),
        CASE(test_brackets_hold_an_ipv6_address),
    };
    log_setup("test_admin", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
