/* Does with an HTTP client, and with the tokens of one account, what tests/component/test_http_client.py and
 * test_http_token.py tell it to, and prints what came of it.
 *
 * Standard input: a JSON object a line. The first one is the set-up: {"client": {…}, "account": {…}, "audiences": […]},
 * the last two may be absent. Then {"do": "send", "method", "url", "headers", "body", "timeout_ms", "may_send",
 * "look_up"}, {"do": "get" or "blocked", "source"}, {"do": "reject", "source", "token"}, {"do": "set", "refresh_token"},
 * {"do": "saved", "is_saved"} (settles the save that was told), {"do": "free"} (frees the client). The end of the input
 * frees everything and ends the program.
 * Standard output: a JSON object a line with "number", the line of the question from 1 behind the set-up; a refresh token
 * that shall be saved has number 0. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/http/client.h"
#include "common/http/token.h"
#include "common/runtime/log.h"
#include "common/runtime/loop.h"

enum { INPUT_BYTES_MAX = 1 << 20, SOURCES_MAX = 4, HEADERS_MAX = 16, EXIT_BAD_INPUT = 64, EXIT_BROKEN_PROMISE = 65 };

struct driver {
    struct loop *loop;
    struct http_client *client;
    struct token_account *account;
    struct token_source *sources[SOURCES_MAX];
    size_t source_count;
    void (*settle_save)(void *arg, bool is_saved); /* NULL: nothing waits to be saved */
    void *settle_arg;
    struct text input;
    json_int_t lines;
    bool is_set_up;
    unsigned under_way;
    bool is_calling; /* inside a function of the modules: no callback may come */
};

struct question {
    struct driver *driver;
    json_int_t number;
    json_t *json;
};

static const char *const RESULTS[] = {
    [HTTP_ANSWERED] = "answered",
    [HTTP_NOT_SENT] = "not_sent",
    [HTTP_UNKNOWN] = "unknown",
    [HTTP_CANCELLED] = "cancelled",
};

static _Noreturn void broken(int status, const char *what)
{
    (void)fprintf(stderr, "http_driver: %s\n", what);
    _Exit(status);
}

static void print(json_t *answer)
{
    char *text = answer == NULL ? NULL : json_write(answer, false, NULL);

    if (text == NULL)
        broken(EXIT_BROKEN_PROMISE, "an answer cannot be written");
    (void)puts(text);
    (void)fflush(stdout);
    free(text);
    json_decref(answer);
}

static json_t *error_json(const struct error *err)
{
    if (err == NULL || err->class == ERROR_NONE)
        return json_null();
    return json_pack("{s:s, s:s, s:s}", "class", error_class_name(err->class), "code", err->code, "message",
                     err->message);
}

static struct question *question_new(struct driver *driver, json_t *json)
{
    struct question *question = calloc(1, sizeof(*question));

    if (question == NULL)
        broken(EXIT_BROKEN_PROMISE, "out of memory");
    question->driver = driver;
    question->number = driver->lines;
    question->json = json_incref(json);
    driver->under_way++;
    return question;
}

/* Once per question, and from the loop. */
static void question_settle(struct question *question, json_t *answer)
{
    if (question->driver->is_calling)
        broken(EXIT_BROKEN_PROMISE, "a callback came from inside the call");
    print(answer);
    question->driver->under_way--;
    json_decref(question->json);
    free(question);
}

/* -- requests ------------------------------------------------------------------------------------------------------- */

static void on_response(void *arg, const struct http_response *response)
{
    struct question *question = arg;
    json_t *values = json_array();
    json_t *name;
    size_t i;

    json_array_foreach (json_object_get(question->json, "look_up"), i, name) {
        const char *value = http_response_header(response, json_string_value(name));
        (void)json_array_append_new(values, value == NULL ? json_null() : json_string(value));
    }
    question_settle(question, json_pack("{s:I, s:s, s:i, s:s%, s:o, s:b, s:o}", "number", question->number, "result",
                                        RESULTS[response->result], "status", (int)response->status, "body",
                                        response->body, response->body_length, "headers", values, "took_time",
                                        response->duration_us > 0, "error", error_json(&response->error)));
}

static bool may_send(void *arg)
{
    const struct question *question = arg;

    return json_flag_of(question->json, "may_send", true);
}

static enum http_method method_of(const char *name)
{
    static const char *const names[] = {"GET", "POST", "PATCH", "PUT", "DELETE"};

    for (size_t i = 0; name != NULL && i < ARRAY_LENGTH(names); i++) {
        if (strcmp(name, names[i]) == 0)
            return (enum http_method)i;
    }
    broken(EXIT_BAD_INPUT, "unknown method");
}

static void send_request(struct driver *driver, json_t *json)
{
    struct question *question = question_new(driver, json);
    struct http_header headers[HEADERS_MAX];
    struct error err = ERROR_INIT;
    const json_t *body = json_object_get(json, "body");
    struct http_request request = {
        .method = method_of(json_text_of(json, "method")),
        .url = json_text_of(json, "url"),
        .headers = headers,
        .body = json_string_value(body),
        .body_length = json_string_length(body),
        .timeout_ms = json_integer_of(json, "timeout_ms", 0),
        .may_send = may_send,
    };
    json_t *pair;
    size_t i;
    int status;

    json_array_foreach (json_object_get(json, "headers"), i, pair) {
        headers[request.header_count].name = json_string_value(json_array_get(pair, 0));
        headers[request.header_count++].value = json_string_value(json_array_get(pair, 1));
    }
    driver->is_calling = true;
    status = http_send(driver->client, &request, on_response, question, &err);
    driver->is_calling = false;
    if (status < 0)
        question_settle(question, json_pack("{s:I, s:s, s:o}", "number", question->number, "result", "refused", "error",
                                            error_json(&err)));
}

/* -- tokens --------------------------------------------------------------------------------------------------------- */

static void on_token(void *arg, const char *token, const struct error *err)
{
    struct question *question = arg;

    question_settle(question, json_pack("{s:I, s:s?, s:o}", "number", question->number, "token", token, "error",
                                        token == NULL ? error_json(err) : json_null()));
}

static void on_save(void *arg, const char *account, const char *refresh_token,
                    void (*done)(void *done_arg, bool is_saved), void *done_arg)
{
    struct driver *driver = arg;

    if (driver->settle_save != NULL)
        broken(EXIT_BROKEN_PROMISE, "two saves at once");
    driver->settle_save = done;
    driver->settle_arg = done_arg;
    print(json_pack("{s:i, s:s, s:s}", "number", 0, "account", account, "save", refresh_token));
}

static void settle_save(struct driver *driver, bool is_saved)
{
    void (*const settle)(void *, bool) = driver->settle_save;

    if (settle == NULL)
        broken(EXIT_BAD_INPUT, "nothing waits to be saved");
    driver->settle_save = NULL;
    settle(driver->settle_arg, is_saved);
}

static struct token_source *source_of(const struct driver *driver, const json_t *json)
{
    const json_int_t at = json_integer_of(json, "source", 0);

    if (at < 0 || (size_t)at >= driver->source_count)
        broken(EXIT_BAD_INPUT, "there is no such source");
    return driver->sources[at];
}

static void get_token(struct driver *driver, json_t *json)
{
    struct question *question = question_new(driver, json);
    int status;

    driver->is_calling = true;
    status = token_get(source_of(driver, json), on_token, question);
    driver->is_calling = false;
    if (status < 0)
        broken(EXIT_BROKEN_PROMISE, "out of memory");
}

/* -- the driver ----------------------------------------------------------------------------------------------------- */

static void make_account(struct driver *driver, const json_t *set_up)
{
    const json_t *keys = json_object_get(set_up, "account");
    const struct token_account_settings settings = {
        .grant = json_text_of(keys, "refresh_token") == NULL ? TOKEN_CLIENT_CREDENTIALS : TOKEN_REFRESH_TOKEN,
        .token_url = json_text_of(keys, "token_url"),
        .client_id = json_text_of(keys, "client_id"),
        .client_secret = json_text_of(keys, "client_secret"),
        .refresh_token = json_text_of(keys, "refresh_token"),
        .name = "tested",
    };
    struct error err = ERROR_INIT;
    json_t *audience;
    size_t i;

    if (keys == NULL)
        return;
    if (token_account_new(driver->loop, driver->client, &settings, on_save, driver, &driver->account, &err) < 0)
        broken(EXIT_BAD_INPUT, err.message);
    json_array_foreach (json_object_get(set_up, "audiences"), i, audience) {
        if (i == SOURCES_MAX ||
            token_source_new(driver->account, json_string_value(audience), &driver->sources[i], &err) < 0)
            broken(EXIT_BAD_INPUT, "the source cannot be made");
        driver->source_count = i + 1;
    }
}

static void set_up(struct driver *driver, const json_t *json)
{
    const json_t *keys = json_object_get(json, "client");
    const struct http_client_settings settings = {
        .name = "tested",
        .ca_file = json_text_of(keys, "ca_file"),
        .connect_timeout_ms = json_integer_of(keys, "connect_timeout_ms", 5000),
        .total_timeout_ms = json_integer_of(keys, "total_timeout_ms", 10000),
        .response_max_bytes = (size_t)json_integer_of(keys, "response_max_bytes", 65536),
        .response_headers_max_bytes = (size_t)json_integer_of(keys, "response_headers_max_bytes", 16384),
        .concurrent_max = (unsigned)json_integer_of(keys, "concurrent_max", 8),
        .queued_max = (unsigned)json_integer_of(keys, "queued_max", 100),
        .refuse_private_addresses = json_flag_of(keys, "refuse_private_addresses", false),
    };
    struct error err = ERROR_INIT;

    if (http_client_new(driver->loop, &settings, &driver->client, &err) < 0)
        broken(EXIT_BAD_INPUT, err.message);
    make_account(driver, json);
    driver->is_set_up = true;
}

static void free_tokens_and_client(struct driver *driver)
{
    while (driver->source_count > 0)
        token_source_free(driver->sources[--driver->source_count]);
    http_client_free(driver->client);
    driver->client = NULL;
    token_account_free(driver->account);
    driver->account = NULL;
    if (driver->settle_save != NULL)
        settle_save(driver, true);
    if (driver->under_way != 0)
        broken(EXIT_BROKEN_PROMISE, "a callback never came");
}

static void follow(struct driver *driver, json_t *json)
{
    const char *what = json_text_of(json, "do");

    if (!driver->is_set_up) {
        set_up(driver, json);
        return;
    }
    driver->lines++;
    if (text_equal(what, "send"))
        send_request(driver, json);
    else if (text_equal(what, "get"))
        get_token(driver, json);
    else if (text_equal(what, "reject"))
        token_reject(source_of(driver, json), json_text_of(json, "token"));
    else if (text_equal(what, "set") &&
             token_account_set_refresh_token(driver->account, json_text_of(json, "refresh_token")) == 0)
        ;
    else if (text_equal(what, "saved"))
        settle_save(driver, json_flag_of(json, "is_saved", true));
    else if (text_equal(what, "blocked"))
        print(json_pack("{s:I, s:b}", "number", driver->lines, "blocked", token_is_blocked(source_of(driver, json))));
    else if (text_equal(what, "free"))
        free_tokens_and_client(driver);
    else
        broken(EXIT_BAD_INPUT, "unknown question");
}

static void follow_line(struct driver *driver, const char *line, size_t length)
{
    json_auto_t *json = NULL;
    struct json_fault fault;

    if (json_read(line, length, &JSON_LIMITS_OWN, &json, &fault) < 0)
        broken(EXIT_BAD_INPUT, json_problem_code(fault.problem));
    follow(driver, json);
}

static void on_input(evutil_socket_t fd, short events, void *arg)
{
    struct driver *driver = arg;
    char bytes[65536];
    ssize_t count;

    (void)events;
    count = read(fd, bytes, sizeof(bytes));
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (count <= 0) {
        loop_stop(driver->loop);
        return;
    }
    for (ssize_t i = 0; i < count; i++) {
        if (bytes[i] != '\n') {
            if (text_append_char(&driver->input, bytes[i]) < 0)
                broken(EXIT_BAD_INPUT, "a line is too long");
            continue;
        }
        follow_line(driver, text_string(&driver->input), driver->input.length);
        text_clear(&driver->input);
    }
}

int main(void)
{
    struct driver driver = {0};
    struct error err = ERROR_INIT;
    struct event *input;

    (void)signal(SIGPIPE, SIG_IGN);
    json_setup();
    log_setup("http_driver", LOG_LEVEL_DEBUG);
    text_init(&driver.input, INPUT_BYTES_MAX);
    if (loop_new(&driver.loop, &err) < 0)
        broken(EXIT_BROKEN_PROMISE, err.message);
    input = event_new(loop_base(driver.loop), STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &driver);
    if (input == NULL || event_add(input, NULL) < 0 || loop_run(driver.loop, &err) < 0)
        broken(EXIT_BROKEN_PROMISE, "the loop does not run");
    free_tokens_and_client(&driver);
    event_free(input);
    text_done(&driver.input);
    loop_free(driver.loop);
    return 0;
}
