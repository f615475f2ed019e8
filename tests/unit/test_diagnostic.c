#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/diagnostic.h"
#include "tests/support/allocation.h"

static const struct source *add(struct diagnostics *diagnostics, const char *name, const char *bytes)
{
    const struct source *source = diagnostics_add_source(diagnostics, name, bytes, strlen(bytes));
    assert_non_null(source);
    return source;
}

static void assert_printed(const struct diagnostics *diagnostics, const char *expected)
{
    struct text out;
    text_init(&out, 100000);
    assert_int_equal(diagnostics_print(diagnostics, &out), 0);
    assert_string_equal(text_string(&out), expected);
    text_done(&out);
}

/* A message shows place, level, words, the line, and a caret as long as what it is about. */
static void test_message_with_caret(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    const struct source *source = add(&diagnostics, "rules/contact.yaml", "fields:\n        transform: e146\nend:");
    assert_int_equal(
        diagnostics_error(&diagnostics, (struct position){source, 2, 20, 4}, "unknown transform '%s'", "e146"), -1);
    assert_printed(&diagnostics, "rules/contact.yaml:2:20: error: unknown transform 'e146'\n"
                                 "        transform: e146\n"
                                 "                   ^~~~\n");
    assert_int_equal(diagnostics.error_count, 1);
    diagnostics_done(&diagnostics);
}

/* Tabs stay tabs, characters count as one each, the mark ends with the line, and a carriage return is not shown. */
static void test_caret_lines_up(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        size_t column, length;
        const char *expected;
    } cases[] = {
        {"\t\ta: b\r\n", 6, 1, "\t\ta: b\n\t\t   ^\n"},
        {"\xC3\xA4\xE2\x82\xAC: x", 4, 1, "\xC3\xA4\xE2\x82\xAC: x\n   ^\n"},
        {"a: bc\nd", 4, 50, "a: bc\n   ^~\n"},
        {"a:", 3, 1, "a:\n  ^\n"},
        {"a:", 99, 5, "a:\n  ^\n"},
        {"a: b", 1, 0, "a: b\n^\n"},
        {"", 1, 1, "\n^\n"},
        {"\xEF\xBB\xBF"
         "ab",
         2, 1, "ab\n ^\n"},
        {"a\x1B[31m\xFF\xC2\x85 b", 10, 1, "a?[31m?? b\n         ^\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        struct position position = {add(&diagnostics, "f", cases[i].line), 1, cases[i].column, cases[i].length};
        diagnostics_error(&diagnostics, position, "m");
        struct text out;
        text_init(&out, 1000);
        assert_int_equal(diagnostics_print(&diagnostics, &out), 0);
        assert_string_equal(strchr(text_string(&out), '\n') + 1, cases[i].expected);
        text_done(&out);
        diagnostics_done(&diagnostics);
    }
}

/* Of a long line only the part around the caret is shown, wherever the caret is. */
static void test_long_lines_are_cut(void **state)
{
    (void)state;
    char line[1001];
    for (size_t i = 0; i < 1000; i++)
        line[i] = (char)('a' + i % 26);
    line[1000] = '\0';
    static const size_t columns[] = {1, 61, 62, 500, 900, 1000};
    for (size_t i = 0; i < ARRAY_LENGTH(columns); i++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        diagnostics_error(&diagnostics, (struct position){add(&diagnostics, "f", line), 1, columns[i], 700}, "m");
        struct text out;
        text_init(&out, 5000);
        assert_int_equal(diagnostics_print(&diagnostics, &out), 0);
        const char *shown = strchr(text_string(&out), '\n') + 1;
        const char *carets = strchr(shown, '\n') + 1;
        size_t shown_length = strcspn(shown, "\n");
        assert_in_range(shown_length, 163, 166);
        assert_true(strlen(carets) - 1 <= shown_length);
        /* The character above the caret is the one that was meant. */
        assert_int_equal(shown[strcspn(carets, "^")], line[columns[i] - 1]);
        text_done(&out);
        diagnostics_done(&diagnostics);
    }
}

/* Messages come in the order of files, lines and columns; a note stays behind its message. */
static void test_order_of_places(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    const struct source *b = add(&diagnostics, "b", "1\n2\n3\n");
    const struct source *a = add(&diagnostics, "a", "1\n");
    diagnostics_error(&diagnostics, (struct position){a, 1, 1, 1}, "in a");
    diagnostics_error(&diagnostics, (struct position){b, 3, 1, 1}, "third");
    diagnostics_report(&diagnostics, DIAGNOSTIC_NOTE, (struct position){b, 1, 1, 1}, "see here");
    diagnostics_report(&diagnostics, DIAGNOSTIC_NOTE, (struct position){b, 2, 1, 1}, "and here");
    diagnostics_report(&diagnostics, DIAGNOSTIC_WARNING, (struct position){b, 2, 2, 1}, "second");
    diagnostics_error(&diagnostics, (struct position){b, 2, 1, 1}, "first");
    diagnostics_error(&diagnostics, (struct position){b, 2, 1, 1}, "first, too");
    diagnostics_error(&diagnostics, (struct position){b, 0, 0, 0}, "whole file");
    diagnostics_error(&diagnostics, (struct position){0}, "nowhere");
    static const char *const expected[] = {
        "error: nowhere",           "b: error: whole file",   "b:2:1: error: first",
        "b:2:1: error: first, too", "b:2:2: warning: second", "b:3:1: error: third",
        "b:1:1: note: see here",    "b:2:1: note: and here",  "a:1:1: error: in a",
    };
    struct position position;
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++)
        assert_string_equal(diagnostics_message(&diagnostics, i, &position), expected[i]);
    assert_ptr_equal(position.source, a);
    assert_null(diagnostics_message(&diagnostics, ARRAY_LENGTH(expected), NULL));
    assert_int_equal(diagnostics.error_count, 6);
    assert_int_equal(diagnostics.warning_count, 1);
    diagnostics_done(&diagnostics);
}

/* Beyond the most there are messages are counted only, and the end says how many. */
static void test_too_many_are_counted(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    for (size_t i = 0; i < DIAGNOSTICS_MAX + 7; i++)
        diagnostics_error(&diagnostics, (struct position){0}, "m");
    assert_int_equal(diagnostics.error_count, DIAGNOSTICS_MAX + 7);
    assert_non_null(diagnostics_message(&diagnostics, DIAGNOSTICS_MAX - 1, NULL));
    assert_null(diagnostics_message(&diagnostics, DIAGNOSTICS_MAX, NULL));
    struct text out;
    text_init(&out, 100000);
    assert_int_equal(diagnostics_print(&diagnostics, &out), 0);
    assert_true(text_ends_with(text_string(&out), "7 more not shown\n"));
    text_done(&out);
    diagnostics_done(&diagnostics);
}

/* A message is one line, bounded, and valid UTF-8, whatever names are in it. */
static void test_words_are_tamed(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    diagnostics_error(&diagnostics, (struct position){0}, "key '%s'", "a\nb\x1B[0m");
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL), "error: key 'a b [0m'");
    char *names = malloc(9001);
    assert_non_null(names);
    for (size_t i = 0; i < 3000; i++)
        memcpy(names + 3 * i, "\xE2\x82\xAC", 3);
    names[9000] = '\0';
    for (size_t lead = 0; lead < 3; lead++)
        diagnostics_error(&diagnostics, (struct position){0}, "%.*s%s", (int)lead, "xx", names);
    for (size_t i = 1; i <= 3; i++) {
        const char *message = diagnostics_message(&diagnostics, i, NULL);
        assert_in_range(strlen(message), 4000, 4200);
        assert_true(utf8_is_valid(message, strlen(message), NULL));
    }
    free(names);
    diagnostics_done(&diagnostics);
}

/* Printing into a buffer that is too small fails. */
static void test_print_reports_a_full_buffer(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    diagnostics_error(&diagnostics, (struct position){add(&diagnostics, "f", "line"), 1, 1, 4}, "m");
    static const char expected[] = "f:1:1: error: m\nline\n^~~~\n";
    for (size_t limit = 0; limit < sizeof(expected); limit++) {
        struct text out;
        text_init(&out, limit);
        assert_int_equal(diagnostics_print(&diagnostics, &out), limit == sizeof(expected) - 1 ? 0 : -1);
        text_done(&out);
    }
    diagnostics_done(&diagnostics);
}

/* An error is counted even when there is no memory for its words. */
static void test_failed_allocations_still_count(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 3; n++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        allocation_fail_at(n);
        assert_null(diagnostics_add_source(&diagnostics, "f", "x", 1));
        assert_true(allocation_has_failed());
        assert_null(diagnostics.sources);
        allocation_fail_at(n);
        diagnostics_error(&diagnostics, (struct position){0}, "m");
        allocation_fail_at(0);
        assert_int_equal(diagnostics.error_count, 1);
        diagnostics_done(&diagnostics);
    }
}

/* The nearest word is suggested when it is near enough; swapped neighbours count once. */
static void test_suggestions(void **state)
{
    (void)state;
    static const char *const words[] = {"e164", "trim", "decimal", "truncate", "date"};
    static const struct {
        const char *word, *expected;
    } cases[] = {
        {"e146", "e164"},       {"tirm", "trim"},         {"decmal", "decimal"}, {"decimall", "decimal"},
        {"dceiaml", "decimal"}, {"trunkade", "truncate"}, {"trunkad", NULL},     {"dat", "date"},
        {"da", NULL},           {"daxx", NULL},           {"x", NULL},           {"", NULL},
        {"mapping", NULL},      {"date", "date"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const char *found = diagnostic_suggest(cases[i].word, words, ARRAY_LENGTH(words));
        if (!text_equal(found, cases[i].expected))
            fail_msg("%s: %s", cases[i].word, found != NULL ? found : "none");
    }
    char endless[200];
    memset(endless, 'a', sizeof(endless));
    endless[sizeof(endless) - 1] = '\0';
    assert_null(diagnostic_suggest(endless, words, ARRAY_LENGTH(words)));
    assert_null(diagnostic_suggest("e164", NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_with_caret),
        cmocka_unit_test(test_caret_lines_up),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_order_of_places),
        cmocka_unit_test(test_too_many_are_counted),
        cmocka_unit_test(test_words_are_tamed),
        cmocka_unit_test(test_print_reports_a_full_buffer),
        cmocka_unit_test(test_failed_allocations_still_count),
        cmocka_unit_test(test_suggestions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
