/* Asks one outside system what tests/component/test_systems.py tells it to, and prints the answers.
 *
 *   systems_driver <partner-center|dynamics-365> <configuration>
 *
 * Standard input: a JSON object a line, {"do": "read", "record_type", "record_id"}, {"do": "find" or "write", "decision":
 * {…}, "may_send": false}, {"do": "shows", "decision", "documents"}, {"do": "settling", "decision"}, {"do": "trouble"};
 * for Partner Center also {"do": "list", "listing": "updated", "next"}, for Dynamics 365 {"do": "rows" or "changes", …}; its
 * end frees the system and ends the program. Standard output: a JSON object a line with "number", the line of the question
 * from 1. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/messages/decision.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/loop.h"
#include "common/systems/dynamics365.h"
#include "common/systems/partner_center.h"

enum { INPUT_BYTES_MAX = 1 << 20, EXIT_BAD_INPUT = 64, EXIT_BROKEN_PROMISE = 65 };

struct driver {
    struct loop *loop;
    struct system *system;
    struct text input;
    json_int_t lines;
    unsigned under_way;
    bool is_calling; /* inside a function of the system: no callback may come */
};

struct question {
    struct driver *driver;
    json_int_t number;
    struct decision decision;
    bool may_send;
};

static const char *const RESULTS[] = {
    [SYSTEM_DONE] = "done",       [SYSTEM_CONFLICT] = "conflict", [SYSTEM_GONE] = "gone",
    [SYSTEM_REFUSED] = "refused", [SYSTEM_RETRY] = "retry",       [SYSTEM_UNKNOWN] = "unknown",
    [SYSTEM_BLOCKED] = "blocked",
};

static _Noreturn void broken(int status, const char *what)
{
    (void)fprintf(stderr, "systems_driver: %s\n", what);
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
    if (err->class == ERROR_NONE)
        return json_null();
    return json_pack("{s:s, s:s, s:s}", "class", error_class_name(err->class), "code", err->code, "message",
                     err->message);
}

static void question_free(struct question *question)
{
    decision_done(&question->decision);
    free(question);
}

static void on_answer(void *arg, const struct system_answer *answer)
{
    struct question *question = arg;
    struct driver *driver = question->driver;

    if (driver->is_calling)
        broken(EXIT_BROKEN_PROMISE, "a callback came from inside the call");
    if (driver->under_way == 0)
        broken(EXIT_BROKEN_PROMISE, "a callback came twice");
    driver->under_way--;
    print(json_pack("{s:I, s:s, s:O?, s:s?, s:s?, s:b, s:b, s:b, s:I, s:I, s:I, s:b, s:o}", "number", question->number,
                    "result", RESULTS[answer->result], "documents", answer->documents, "record_id", answer->record_id,
                    "deal_key", answer->deal_key, "is_created", answer->is_created, "is_certain", answer->is_certain,
                    "is_unfinished", answer->is_unfinished, "status", (json_int_t)answer->status, "retry_after_ms",
                    (json_int_t)answer->retry_after_ms, "calls", (json_int_t)answer->calls, "took_time",
                    answer->duration_us > 0, "error", error_json(&answer->error)));
    question_free(question);
}

static void on_page(void *arg, const struct system_page *page)
{
    struct question *question = arg;
    struct driver *driver = question->driver;

    if (driver->is_calling || driver->under_way == 0)
        broken(EXIT_BROKEN_PROMISE, "a page came from inside the call, or twice");
    driver->under_way--;
    print(json_pack("{s:I, s:s, s:O?, s:I, s:s?, s:I, s:I, s:b, s:o}", "number", question->number, "result",
                    RESULTS[page->result], "documents", page->documents, "skipped", (json_int_t)page->skipped, "next",
                    page->next, "status", (json_int_t)page->status, "retry_after_ms", (json_int_t)page->retry_after_ms,
                    "took_time", page->duration_us > 0, "error", error_json(&page->error)));
    question_free(question);
}

static int list(struct question *question, const json_t *line, struct error *err)
{
    static const char *const LISTINGS[] = {
        [PARTNER_CENTER_UPDATED] = "updated",
        [PARTNER_CENTER_CREATED] = "created",
        [PARTNER_CENTER_SHARED_ACTIVE] = "shared-active",
        [PARTNER_CENTER_SHARED_NEW] = "shared-new",
    };

    for (size_t i = 0; i < ARRAY_LENGTH(LISTINGS); i++) {
        if (text_equal(json_text_of(line, "listing"), LISTINGS[i]))
            return partner_center_list(question->driver->system, (enum partner_center_listing)i,
                                       json_text_of(line, "next"), on_page, question, err);
    }
    broken(EXIT_BAD_INPUT, "a line asks for an unknown listing");
}

static bool may_send(void *arg)
{
    return ((const struct question *)arg)->may_send;
}

static int call_system(struct question *question, const json_t *line, struct error *err)
{
    struct system *system = question->driver->system;
    const char *what = json_text_of(line, "do");
    const struct system_write write = {.decision = &question->decision, .may_send = may_send, .may_send_arg = question};

    if (text_equal(what, "read"))
        return system->operations->read(system, json_text_of(line, "record_type"), json_text_of(line, "record_id"),
                                        on_answer, question, err);
    if (text_equal(what, "find"))
        return system->operations->find(system, &question->decision, on_answer, question, err);
    if (text_equal(what, "write"))
        return system->operations->write(system, &write, on_answer, question, err);
    if (text_equal(what, "list"))
        return list(question, line, err);
    broken(EXIT_BAD_INPUT, "a line asks for something unknown");
}

static void ask(struct question *question, const json_t *line)
{
    struct driver *driver = question->driver;
    struct error err = ERROR_INIT;
    int status;

    driver->is_calling = true;
    driver->under_way++;
    status = call_system(question, line, &err);
    driver->is_calling = false;
    if (status == 0)
        return;
    driver->under_way--;
    print(json_pack("{s:I, s:s, s:o}", "number", question->number, "result", "not begun", "error", error_json(&err)));
    question_free(question);
}

static void judge(struct question *question, const json_t *line)
{
    const struct system *system = question->driver->system;
    bool is_certain = false;
    bool shows =
        system->operations->shows(system, json_object_get(line, "documents"), &question->decision, &is_certain);

    print(json_pack("{s:I, s:b, s:b}", "number", question->number, "shows", shows, "is_certain", is_certain));
    question_free(question);
}

/* -- Dynamics 365: rows and changes -------------------------------------------------------------------------------- */

static json_t *page_json(const struct question *question, const struct system_page *page)
{
    if (question->driver->is_calling || question->driver->under_way == 0)
        broken(EXIT_BROKEN_PROMISE, "a page came from inside the call, or twice");
    question->driver->under_way--;
    return json_pack("{s:I, s:s, s:O?, s:I, s:s?, s:I, s:I, s:b, s:o}", "number", question->number, "result",
                     RESULTS[page->result], "documents", page->documents, "skipped", (json_int_t)page->skipped, "next",
                     page->next, "status", (json_int_t)page->status, "retry_after_ms", (json_int_t)page->retry_after_ms,
                     "took_time", page->duration_us > 0, "error", error_json(&page->error));
}

static void on_rows(void *arg, const struct system_page *page)
{
    print(page_json(arg, page));
    question_free(arg);
}

static void on_changes(void *arg, const struct dynamics_365_changes *changes)
{
    json_t *answer = page_json(arg, &changes->page);

    if (json_object_update_new(answer, json_pack("{s:O?, s:s?, s:b}", "deleted", changes->deleted, "resume",
                                                 changes->resume, "is_expired", changes->is_expired)) < 0)
        broken(EXIT_BROKEN_PROMISE, "an answer cannot be written");
    print(answer);
    question_free(arg);
}

/* {"do": "rows" or "changes", "entity", "columns": [one], "filter", "page_rows", "parent", "cursor"} */
static void browse(struct question *question, const json_t *line)
{
    struct driver *driver = question->driver;
    const char *columns[] = {json_string_value(json_array_get(json_object_get(line, "columns"), 0)), NULL};
    const struct dynamics_365_listing listing = {.entity = json_text_of(line, "entity"),
                                                 .columns = columns,
                                                 .filter = json_text_of(line, "filter"),
                                                 .page_rows = (unsigned)json_integer_of(line, "page_rows", 0),
                                                 .parent = json_text_of(line, "parent")};
    const char *cursor = json_text_of(line, "cursor");
    struct error err = ERROR_INIT;
    int status;

    driver->is_calling = true;
    driver->under_way++;
    if (text_equal(json_text_of(line, "do"), "rows"))
        status = dynamics_365_list(driver->system, &listing, cursor, on_rows, question, &err);
    else
        status = dynamics_365_delta(driver->system, &listing, cursor, on_changes, question, &err);
    driver->is_calling = false;
    if (status == 0)
        return;
    driver->under_way--;
    print(json_pack("{s:I, s:s, s:o}", "number", question->number, "result", "not begun", "error", error_json(&err)));
    question_free(question);
}

static void take_line(struct driver *driver, const char *bytes, size_t length)
{
    struct question *question = calloc(1, sizeof(*question));
    json_auto_t *line = NULL;
    struct json_fault fault;
    struct error err = ERROR_INIT;
    const json_t *decision;

    if (question == NULL || json_read(bytes, length, &JSON_LIMITS_OWN, &line, &fault) < 0)
        broken(EXIT_BAD_INPUT, "a line is not JSON");
    question->driver = driver;
    question->number = ++driver->lines;
    question->may_send = json_flag_of(line, "may_send", true);
    decision = json_object_get(line, "decision");
    if (decision != NULL &&
        message_from_json(DECISION_MEMBERS, DECISION_MEMBER_COUNT, decision, &question->decision, &err) < 0)
        broken(EXIT_BAD_INPUT, err.message);
    if (text_equal(json_text_of(line, "do"), "trouble")) {
        print(json_pack("{s:I, s:s?}", "number", question->number, "trouble",
                        driver->system->operations->trouble(driver->system)));
        question_free(question);
    } else if (text_equal(json_text_of(line, "do"), "settling")) {
        const struct system_operations *operations = driver->system->operations;
        print(json_pack("{s:I, s:I}", "number", question->number, "settling_ms",
                        operations->settling_ms == NULL
                            ? (json_int_t)0
                            : (json_int_t)operations->settling_ms(driver->system, &question->decision)));
        question_free(question);
    } else if (text_equal(json_text_of(line, "do"), "shows")) {
        judge(question, line);
    } else if (text_equal(json_text_of(line, "do"), "rows") || text_equal(json_text_of(line, "do"), "changes")) {
        browse(question, line);
    } else {
        ask(question, line);
    }
}

static void on_input(evutil_socket_t descriptor, short what, void *arg)
{
    struct driver *driver = arg;
    char bytes[65536];
    const ssize_t count = read(descriptor, bytes, sizeof(bytes));
    char *end;

    (void)what;
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        loop_stop(driver->loop);
        return;
    }
    if (text_append_n(&driver->input, bytes, (size_t)count) < 0)
        broken(EXIT_BAD_INPUT, "too much input");
    while (driver->input.length > 0 && (end = memchr(driver->input.data, '\n', driver->input.length)) != NULL) {
        const size_t length = (size_t)(end - driver->input.data);
        take_line(driver, driver->input.data, length);
        memmove(driver->input.data, end + 1, driver->input.length - length - 1);
        driver->input.length -= length + 1;
    }
}

static struct partner_center_settings partner_center;
static struct dynamics_365_settings dynamics_365;

static int open_system(struct driver *driver, bool is_partner_center, struct error *err)
{
    if (is_partner_center)
        return partner_center_new(driver->loop, &partner_center, NULL, NULL, &driver->system, err);
    return dynamics_365_new(driver->loop, &dynamics_365, &driver->system, err);
}

static struct config *load(const char *path, bool is_partner_center)
{
    const struct config_section section = {
        .name = is_partner_center ? "partner_center" : "dynamics_365",
        .keys = is_partner_center ? PARTNER_CENTER_KEYS : DYNAMICS_365_KEYS,
        .key_count = is_partner_center ? PARTNER_CENTER_KEY_COUNT : DYNAMICS_365_KEY_COUNT,
        .target = is_partner_center ? (void *)&partner_center : (void *)&dynamics_365,
    };
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct config *config = NULL;
    struct text out;

    text_init(&out, INPUT_BYTES_MAX);
    if (config_load(path, &section, 1, NULL, &diagnostics, &config) < 0) {
        (void)diagnostics_print(&diagnostics, &out);
        broken(EXIT_BAD_INPUT, text_string(&out));
    }
    diagnostics_done(&diagnostics);
    return config;
}

int main(int argc, char **argv)
{
    struct driver driver = {0};
    struct error err = ERROR_INIT;

    if (argc != 3)
        broken(EXIT_BAD_INPUT, "usage: systems_driver <system> <configuration>");
    json_setup();
    const bool is_partner_center = strcmp(argv[1], "partner-center") == 0;
    struct config *config = load(argv[2], is_partner_center);
    text_init(&driver.input, INPUT_BYTES_MAX);
    if (loop_new(&driver.loop, &err) < 0 || open_system(&driver, is_partner_center, &err) < 0)
        broken(EXIT_BAD_INPUT, err.message);
    struct event *on_line = event_new(loop_base(driver.loop), STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &driver);
    if (on_line == NULL || event_add(on_line, NULL) < 0 || loop_run(driver.loop, &err) < 0)
        broken(EXIT_BAD_INPUT, "the loop does not run");
    event_free(on_line);
    system_free(driver.system);
    if (driver.under_way > 0)
        broken(EXIT_BROKEN_PROMISE, "a callback did not come when the system was freed");
    loop_free(driver.loop);
    text_done(&driver.input);
    config_free(config);
    return 0;
}
