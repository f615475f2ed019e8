#include "common/runtime/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/timestamp.h"

enum { CAPTURE_SIZE = 1024 * 1024, WRITERS = 4, LINES_EACH = 200 };

static char captured[CAPTURE_SIZE];
static int real_stderr;

/* Sends standard error into `fd` until release_stderr(). */
static void redirect_stderr(int fd)
{
    (void)fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
}

static void release_stderr(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    close(real_stderr);
}

static FILE *start_capture(void)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    redirect_stderr(fileno(file));
    return file;
}

static const char *end_capture(FILE *file)
{
    release_stderr();
    ssize_t got = pread(fileno(file), captured, sizeof(captured) - 1, 0);
    assert_true(got >= 0);
    captured[got] = '\0';
    (void)fclose(file);
    return captured;
}

/* The one line that was captured, as JSON. */
static json_t *parse_line(const char *line)
{
    size_t length = strlen(line);
    assert_true(length > 0 && line[length - 1] == '\n');
    assert_null(memchr(line, '\n', length - 1));
    json_t *json = NULL;
    struct json_fault fault;
    if (json_read(line, length - 1, &JSON_LIMITS_FOREIGN, &json, &fault) < 0)
        fail_msg("not JSON: %s", line);
    return json;
}

static json_t *log_one(const char *name, const char *text)
{
    FILE *file = start_capture();
    log_info("test.event", LOG_TEXT(name, text));
    return parse_line(end_capture(file));
}

/* A line is one JSON object with time in milliseconds, level, program, event and the typed fields. */
static void test_line_has_fixed_members_and_typed_fields(void **state)
{
    (void)state;
    log_setup("tandem-test", LOG_LEVEL_INFO);
    FILE *file = start_capture();
    log_warning("push.applied", LOG_TEXT("deal", "d-1"), LOG_INTEGER("attempt", INT64_MIN),
                LOG_BOOLEAN("certain", true), LOG_TEXT("absent", NULL));
    const char *line = end_capture(file);
    json_auto_t *json = parse_line(line);
    const char *time = json_text_of(json, "ts");
    struct timestamp ignored;
    assert_int_equal(strlen(time), strlen("2026-01-01T00:00:00.000Z"));
    assert_true(timestamp_parse(time, false, &ignored));
    assert_string_equal(json_text_of(json, "level"), "warning");
    assert_string_equal(json_text_of(json, "program"), "tandem-test");
    assert_string_equal(json_text_of(json, "event"), "push.applied");
    assert_string_equal(json_text_of(json, "deal"), "d-1");
    assert_true(json_integer_of(json, "attempt", 0) == INT64_MIN);
    assert_true(json_flag_of(json, "certain", false));
    assert_true(json_is_null(json_object_get(json, "absent")));
    assert_int_equal(json_object_size(json), 8);
}

/* An error becomes three fields. */
static void test_error_is_written_as_class_code_and_message(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_POISON, "record.invalid", "no id");
    FILE *file = start_capture();
    log_error("record.refused", LOG_ERROR(&err));
    json_auto_t *json = parse_line(end_capture(file));
    assert_string_equal(json_text_of(json, "error_class"), "poison");
    assert_string_equal(json_text_of(json, "error_code"), "record.invalid");
    assert_string_equal(json_text_of(json, "error"), "no id");
}

/* Lines below the threshold are not written. */
static void test_lines_below_the_threshold_are_left_out(void **state)
{
    (void)state;
    FILE *file = start_capture();
    log_set_level(LOG_LEVEL_WARNING);
    log_info("test.hidden", LOG_INTEGER("n", 1));
    log_warning("test.shown", LOG_INTEGER("n", 1));
    log_set_level(LOG_LEVEL_INFO);
    json_auto_t *json = parse_line(end_capture(file));
    assert_string_equal(json_text_of(json, "event"), "test.shown");
}

/* Whatever could break a line, a terminal or a reader's eye is escaped, and reads back as it was. */
static void test_dangerous_characters_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *written;
    } rows[] = {
        {"a\nb\r\t", "\"a\\u000ab\\u000d\\u0009\""},
        {"\x01\x1b[31m", "\"\\u0001\\u001b[31m\""},
        {"\x7f", "\"\\u007f\""},
        {"\xC2\x85", "\"\\u0085\""},
        {"say \"hi\" \\", "\"say \\\"hi\\\" \\\\\""},
        {"\xE2\x80\xA8|\xE2\x80\xA9", "\"\\u2028|\\u2029\""},
        {"\xE2\x80\xAE\xE2\x81\xA6\xE2\x80\x8F\xD8\x9C", "\"\\u202e\\u2066\\u200f\\u061c\""},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_auto_t *json = log_one("value", rows[i].text);
        assert_string_equal(json_text_of(json, "value"), rows[i].text);
        if (strstr(captured, rows[i].written) == NULL)
            fail_msg("%s does not hold %s", captured, rows[i].written);
    }
}

/* Bytes that are no UTF-8 become the replacement character, one for each. */
static void test_invalid_utf8_is_replaced(void **state)
{
    (void)state;
    json_auto_t *json = log_one("value", "a\xFF"
                                         "b\xE2\x82"
                                         "c\xC0\x80\xED\xA0\x80");
    assert_string_equal(json_text_of(json, "value"), "a\xEF\xBF\xBD"
                                                     "b\xEF\xBF\xBD\xEF\xBF\xBD"
                                                     "c\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

/* Texts of up to 512 bytes stay whole; longer ones are cut between characters and end in an ellipsis. */
static void test_long_text_is_cut_at_a_character(void **state)
{
    (void)state;
    char text[600];
    memset(text, 'x', sizeof(text));
    text[512] = '\0';
    json_auto_t *whole = log_one("value", text);
    assert_string_equal(json_text_of(whole, "value"), text);

    /* A three-byte character across byte 509, where the cut would fall. */
    memset(text, 'x', sizeof(text));
    memcpy(text + 507, "\xE2\x82\xAC", 3);
    text[599] = '\0';
    json_auto_t *cut = log_one("value", text);
    const char *value = json_text_of(cut, "value");
    assert_int_equal(strlen(value), 510);
    assert_string_equal(value + 507, "\xE2\x80\xA6");
}

/* A line that would become too long leaves out whole fields and says how many. */
static void test_fields_that_do_not_fit_are_counted(void **state)
{
    (void)state;
    char text[512];
    memset(text, '\x01', sizeof(text));
    text[511] = '\0';
    struct log_field fields[10];
    for (size_t i = 0; i < 9; i++)
        fields[i] = LOG_TEXT("wide", text);
    fields[9] = LOG_INTEGER("last", 7);
    /* Equal names would be refused by a strict reader. */
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    for (size_t i = 0; i < 9; i++)
        fields[i].name = names[i];
    FILE *file = start_capture();
    log_write(LOG_LEVEL_ERROR, "test.wide", fields, 10);
    json_auto_t *json = parse_line(end_capture(file));
    assert_string_equal(json_text_of(json, "e"), text);
    assert_null(json_text_of(json, "f"));
    assert_int_equal(json_integer_of(json, "last", 0), 7);
    assert_int_equal(json_integer_of(json, "omitted", 0), 4);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        log_info("test.thread", LOG_TEXT("writer", arg), LOG_INTEGER("line", i));
    return NULL;
}

/* Lines of several threads never mix. */
static void test_lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    static char names[WRITERS][2] = {"a", "b", "c", "d"};
    pthread_t threads[WRITERS];
    FILE *file = start_capture();
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *at = captured;
    (void)end_capture(file);
    int lines = 0;
    for (char *feed; (feed = strchr(at, '\n')) != NULL; at = feed + 1, lines++) {
        json_t *json = NULL;
        struct json_fault fault;
        assert_int_equal(json_read(at, (size_t)(feed - at), &JSON_LIMITS_FOREIGN, &json, &fault), 0);
        json_decref(json);
    }
    assert_int_equal(lines, WRITERS * LINES_EACH);
}

/* A full pipe that does not block costs lines, not time; the next line that goes through says how many. */
static void test_lost_lines_are_told_with_the_next(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    redirect_stderr(fds[1]);
    for (int i = 0; i < 2000; i++)
        log_info("test.flood", LOG_INTEGER("line", i));
    ssize_t drained = 0;
    for (ssize_t got; (got = read(fds[0], captured, sizeof(captured))) > 0;)
        drained += got;
    log_info("test.after", LOG_INTEGER("line", 2000));
    ssize_t got = read(fds[0], captured, sizeof(captured) - 1);
    release_stderr();
    close(fds[0]);
    close(fds[1]);
    assert_true(drained > 0 && got > 1);
    captured[got] = '\0';
    json_auto_t *json = parse_line(captured[0] == '\n' ? captured + 1 : captured);
    assert_string_equal(json_text_of(json, "event"), "test.after");
    assert_true(json_integer_of(json, "lost", 0) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_has_fixed_members_and_typed_fields),
        cmocka_unit_test(test_error_is_written_as_class_code_and_message),
        cmocka_unit_test(test_lines_below_the_threshold_are_left_out),
        cmocka_unit_test(test_dangerous_characters_are_escaped),
        cmocka_unit_test(test_invalid_utf8_is_replaced),
        cmocka_unit_test(test_long_text_is_cut_at_a_character),
        cmocka_unit_test(test_fields_that_do_not_fit_are_counted),
        cmocka_unit_test(test_lines_of_threads_do_not_mix),
        cmocka_unit_test(test_lost_lines_are_told_with_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
