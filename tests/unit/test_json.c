#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "tests/support/allocation.h"

static json_t *read_n(const char *bytes, size_t count)
{
    struct json_fault fault = {0};
    json_t *json = NULL;
    if (json_read(bytes, count, &JSON_LIMITS_OWN, &json, &fault) < 0)
        fail_msg("%s: %s at %zu:%zu", bytes, json_problem_code(fault.problem), fault.line, fault.column);
    return json;
}

static json_t *read_text(const char *text)
{
    return read_n(text, strlen(text));
}

static void assert_written(const json_t *json, bool sorted, const char *expected)
{
    size_t length = 0;
    char *text = json_write(json, sorted, &length);
    assert_non_null(text);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
    free(text);
}

static void assert_fault(const char *bytes, size_t count, const struct json_limits *limits, enum json_problem problem,
                         size_t line, size_t column)
{
    static json_t marker;
    json_t *json = &marker;
    struct json_fault fault = {0};
    if (json_read(bytes, count, limits, &json, &fault) == 0)
        fail_msg("accepted: %s", bytes);
    if (fault.problem != problem || fault.line != line || fault.column != column)
        fail_msg("%s: problem %d at %zu:%zu instead of %d at %zu:%zu", bytes, (int)fault.problem, fault.line,
                 fault.column, (int)problem, line, column);
    assert_ptr_equal(json, &marker);
}

/* Values come out as they went in, in one canonical text. */
static void test_values_and_their_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"null", "null"},
        {" \t\r\n true ", "true"},
        {"false", "false"},
        {"\"\"", "\"\""},
        {"[]", "[]"},
        {"{ }", "{}"},
        {"[ 1 , [ ] , { \"a\" : [ { } ] } ]", "[1,[],{\"a\":[{}]}]"},
        {"{\"b\":1,\"a\":{\"d\":2,\"c\":3}}", "{\"a\":{\"c\":3,\"d\":2},\"b\":1}"},
        {"{\"ab\":1,\"a\":2,\"\":3,\"\\u00e4\":4}", "{\"\":3,\"a\":2,\"ab\":1,\"\xC3\xA4\":4}"},
        {"0", "0"},
        {"-0", "0"},
        {"-0.0", "0"},
        {"1.50", "1.5"},
        {"50000.0", "50000"},
        {"-1e3", "-1000"},
        {"1E+2", "100"},
        {"0.000001", "0.000001"},
        {"0.0000001", "1e-7"},
        {"-1.25e-9", "-1.25e-9"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775807.0", "9223372036854775807"},
        {"-9223372036854775808.0", "-9223372036854775808"},
        {"9223372036854775808.0", "9.223372036854775808e18"},
        {"-9223372036854775809.0", "-9.223372036854775809e18"},
        {"1e18", "1000000000000000000"},
        {"1e19", "1e19"},
        {"1e399", "1e399"},
        {"1e-400", "1e-400"},
        {"9007199254740993.0", "9007199254740993"},
        {"0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"},
        {"\"\\u0041\\n\\t\\\"\\\\\\/\\b\\f\\r\"", "\"A\\n\\t\\\"\\\\/\\b\\f\\r\""},
        {"\"\\u0001\\u001f\\u007f\"", "\"\\u0001\\u001f\\u007f\""},
        {"\"\\ud83d\\ude00\\u20ac\"", "\"\xF0\x9F\x98\x80\xE2\x82\xAC\""},
        {"\"\\uffff__proto__\"", "\"\xEF\xBF\xBF__proto__\""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *json = read_text(cases[i].text);
        assert_written(json, true, cases[i].expected);
        json_t *again = read_text(cases[i].expected);
        if (!json_same(json, again))
            fail_msg("not the same: %s", cases[i].text);
        json_decref(again);
        json_decref(json);
    }
}

/* Without sorting, members keep the order in which they were set. */
static void test_unsorted_keeps_order(void **state)
{
    (void)state;
    json_t *json = read_text("{\"b\":1.5,\"a\":\"x\"}");
    assert_written(json, false, "{\"b\":1.5,\"a\":\"x\"}");
    json_decref(json);
}

/* What is refused is named, and the place is exact: also behind numbers that were rewritten, and on later lines. */
static void test_faults_and_their_places(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum json_problem problem;
        size_t line, column;
    } cases[] = {
        {"", JSON_EMPTY, 1, 1},
        {" \n ", JSON_EMPTY, 2, 2},
        {"[1,]", JSON_SYNTAX, 1, 4},
        {"[1 2]", JSON_SYNTAX, 1, 4},
        {"[", JSON_SYNTAX, 1, 2},
        {"[1}", JSON_SYNTAX, 1, 3},
        {"{\"a\":1]", JSON_SYNTAX, 1, 7},
        {"]", JSON_SYNTAX, 1, 1},
        {"{\"a\"}", JSON_SYNTAX, 1, 5},
        {"{\"a\":}", JSON_SYNTAX, 1, 6},
        {"{\"a\":1,}", JSON_SYNTAX, 1, 8},
        {"{a:1}", JSON_SYNTAX, 1, 2},
        {"{'a':1}", JSON_SYNTAX, 1, 2},
        {"{} {}", JSON_SYNTAX, 1, 4},
        {"{}\nx", JSON_SYNTAX, 2, 1},
        {"// c\n1", JSON_SYNTAX, 1, 1},
        {"tru", JSON_SYNTAX, 1, 1},
        {"True", JSON_SYNTAX, 1, 1},
        {"nulll", JSON_SYNTAX, 1, 5},
        {"NaN", JSON_SYNTAX, 1, 1},
        {"-Infinity", JSON_SYNTAX, 1, 2},
        {"01", JSON_SYNTAX, 1, 2},
        {"-01", JSON_SYNTAX, 1, 3},
        {"+1", JSON_SYNTAX, 1, 1},
        {".5", JSON_SYNTAX, 1, 1},
        {"5.", JSON_SYNTAX, 1, 3},
        {"5.e1", JSON_SYNTAX, 1, 3},
        {"1e", JSON_SYNTAX, 1, 3},
        {"1e+", JSON_SYNTAX, 1, 4},
        {"0x10", JSON_SYNTAX, 1, 2},
        {"\"abc", JSON_SYNTAX, 1, 5},
        {"\"a\nb\"", JSON_SYNTAX, 1, 3},
        {"\"a\x1f\"", JSON_SYNTAX, 1, 3},
        {"\"\\x\"", JSON_SYNTAX, 1, 2},
        {"\"\\u12g4\"", JSON_SYNTAX, 1, 2},
        {"\"\\u12", JSON_SYNTAX, 1, 2},
        {"\"\\", JSON_SYNTAX, 1, 2},
        {"\xEF\xBB\xBF{}", JSON_SYNTAX, 1, 1},
        {"\"\xC3\xA4\" \xC3\xA4", JSON_SYNTAX, 1, 6},
        {"\xFF\xFE{", JSON_INVALID_UTF8, 1, 1},
        {"[1.5,\"a\xC0\x80\"]", JSON_INVALID_UTF8, 1, 8},
        {"\"\xED\xA0\x80\"", JSON_INVALID_UTF8, 1, 2},
        {"\"\xF4\x90\x80\x80\"", JSON_INVALID_UTF8, 1, 2},
        {"\"\xE2\x82\"", JSON_INVALID_UTF8, 1, 2},
        {"\"a\\ud800\"", JSON_INVALID_UTF8, 1, 3},
        {"\"\\ud800\\u0041\"", JSON_INVALID_UTF8, 1, 2},
        {"\"\\udc00\"", JSON_INVALID_UTF8, 1, 2},
        {"\"\\ud800\\ud800\"", JSON_INVALID_UTF8, 1, 2},
        {"\"a\\u0000\"", JSON_NUL, 1, 3},
        {"9223372036854775808", JSON_NUMBER_RANGE, 1, 1},
        {"[1,\n -9223372036854775809]", JSON_NUMBER_RANGE, 2, 2},
        {"[1.5, 1e401]", JSON_NUMBER_RANGE, 1, 7},
        {"[1e-401]", JSON_NUMBER_RANGE, 1, 2},
        {"1e99999999999999999999", JSON_NUMBER_RANGE, 1, 1},
        {"{\"a\":1,\"a\":2}", JSON_DUPLICATE_KEY, 1, 8},
        {"{\"a\":1.5,\"\\u0061\":2}", JSON_DUPLICATE_KEY, 1, 10},
        {"{\"x\":[1.5,2.50e3],\n  \"b\":{\"x\":0.1, \"x\":1}}", JSON_DUPLICATE_KEY, 2, 17},
        {"{\"\\ufdd0\":1,\"\xEF\xBF\xBD\":2}", JSON_DUPLICATE_KEY, 1, 13},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_fault(cases[i].text, strlen(cases[i].text), &JSON_LIMITS_FOREIGN, cases[i].problem, cases[i].line,
                     cases[i].column);
    assert_fault("[\"a\0b\"]", 7, &JSON_LIMITS_FOREIGN, JSON_NUL, 1, 4);
    assert_fault("[\0]", 3, &JSON_LIMITS_FOREIGN, JSON_SYNTAX, 1, 2);
    assert_fault("{\0", 2, &JSON_LIMITS_FOREIGN, JSON_SYNTAX, 1, 2);
}

/* Each limit holds exactly: the largest allowed is read, one more is refused. */
static void test_limits_hold_exactly(void **state)
{
    (void)state;
    static const struct json_limits limits = {
        .bytes_max = 40, .depth_max = 3, .nodes_max = 8, .string_bytes_max = 4, .number_digits_max = 5};
    static const char *const accepted[] = {
        "[[[]]]",
        "[1,2,3,4,5,6,7]",
        "{\"a\":1,\"b\":2,\"c\":3}",
        "\"abcd\"",
        "\"\\u20aca\"",
        "\"\\n\\n\\n\\n\"",
        "\"\\ud83d\\ude00\"",
        "12345",
        "123.45",
        "0.00000012345",
        "[                                      ]",
    };
    static const struct {
        const char *text;
        enum json_problem problem;
        size_t column;
    } refused[] = {
        {"[[[[]]]]", JSON_TOO_DEEP, 4},
        {"[[{\"a\":[]}]]", JSON_TOO_DEEP, 8},
        {"[1,2,3,4,5,6,7,8]", JSON_TOO_COMPLEX, 16},
        {"{\"a\":1,\"b\":2,\"c\":3,\"d\":4}", JSON_TOO_COMPLEX, 24},
        {"[\"abcde\"]", JSON_TOO_LARGE, 2},
        {"{\"abcde\":1}", JSON_TOO_LARGE, 2},
        {"\"\\u20acab\"", JSON_TOO_LARGE, 1},
        {"123456", JSON_NUMBER_RANGE, 1},
        {"1.23450", JSON_NUMBER_RANGE, 1},
        {"[                                       ]", JSON_TOO_LARGE, 1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(accepted); i++) {
        json_t *json = NULL;
        struct json_fault fault;
        if (json_read(accepted[i], strlen(accepted[i]), &limits, &json, &fault) < 0)
            fail_msg("%s: %s at %zu", accepted[i], json_problem_code(fault.problem), fault.column);
        json_decref(json);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
        assert_fault(refused[i].text, strlen(refused[i].text), &limits, refused[i].problem, 1, refused[i].column);
}

/* However large the limits are, nesting ends where recursion would become dangerous. */
static void test_nesting_is_bounded_in_any_case(void **state)
{
    (void)state;
    struct json_limits limits = JSON_LIMITS_OWN;
    limits.depth_max = 100000;
    char text[520];
    memset(text, '[', 256);
    memset(text + 256, ']', 256);
    json_t *json = NULL;
    struct json_fault fault;
    assert_int_equal(json_read(text, 512, &limits, &json, &fault), 0);
    char *written = json_write(json, false, NULL);
    assert_non_null(written);
    assert_true(json_same(json, json));
    free(written);
    json_decref(json);
    memset(text, '[', 257);
    assert_fault(text, 512, &limits, JSON_TOO_DEEP, 1, 257);
}

/* A bomb of small values is refused before it costs memory. */
static void test_bombs_are_refused(void **state)
{
    (void)state;
    size_t count = 200 * 1024;
    char *text = malloc(count + 1);
    assert_non_null(text);
    text[count] = '\0';
    for (size_t i = 0; i < count; i++)
        text[i] = i == 0 ? '[' : i % 3 == 1 ? '{' : i % 3 == 2 ? '}' : ',';
    assert_fault(text, count, &JSON_LIMITS_FOREIGN, JSON_TOO_COMPLEX, 1, 19999 * 3 + 2);
    memset(text, '[', count);
    assert_fault(text, count, &JSON_LIMITS_FOREIGN, JSON_TOO_DEEP, 1, 33);
    memset(text, '9', count);
    assert_fault(text, count, &JSON_LIMITS_FOREIGN, JSON_NUMBER_RANGE, 1, 1);
    free(text);
}

/* Decimals are kept exactly and told from text; text from outside cannot pass for one. */
static void test_decimals_and_text_stay_apart(void **state)
{
    (void)state;
    json_t *json = read_text("[1.50,\"\xEF\xB7\x90"
                             "1.5\",\"\\uFDD0"
                             "1.5\",\"x\\ufdd0\",15,\"\xEF\xB7\x90\"]");
    assert_true(json_is_decimal(json_array_get(json, 0)));
    for (size_t i = 1; i < json_array_size(json); i++)
        assert_false(json_is_decimal(json_array_get(json, i)));
    assert_string_equal(json_string_value(json_array_get(json, 1)), "\xEF\xBF\xBD"
                                                                    "1.5");
    assert_string_equal(json_string_value(json_array_get(json, 2)), "\xEF\xBF\xBD"
                                                                    "1.5");
    assert_string_equal(json_string_value(json_array_get(json, 3)), "x\xEF\xB7\x90");
    assert_false(json_same(json_array_get(json, 0), json_array_get(json, 1)));

    struct decimal decimal;
    char text[DECIMAL_TEXT_SIZE];
    assert_true(json_get_decimal(json_array_get(json, 0), &decimal));
    assert_string_equal(decimal_format(&decimal, 2, text), "1.50");
    assert_true(json_get_decimal(json_array_get(json, 4), &decimal));
    assert_string_equal(decimal_format(&decimal, -1, text), "15");
    assert_false(json_get_decimal(json_array_get(json, 1), &decimal));
    assert_false(json_get_decimal(NULL, &decimal));
    json_decref(json);
}

/* Nor can a text that came another way than in JSON. */
static void test_text_made_here_is_no_number(void **state)
{
    static const struct {
        const char *given, *made;
    } cases[] = {{"", ""},
                 {"plain", "plain"},
                 {"\xEF\xB7\x90", "\xEF\xBF\xBD"},
                 {"\xEF\xB7\x90"
                  "1.5",
                  "\xEF\xBF\xBD"
                  "1.5"},
                 {"\xEF\xB7\x90, \"a\": 1", "\xEF\xBF\xBD, \"a\": 1"},
                 {"x\xEF\xB7\x90"
                  "1",
                  "x\xEF\xB7\x90"
                  "1"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *json = json_text_new(cases[i].given, strlen(cases[i].given));
        assert_false(json_is_decimal(json));
        assert_string_equal(json_string_value(json), cases[i].made);
        char *written = json_write(json, false, NULL);
        assert_non_null(written);
        free(written);
        json_decref(json);
    }
}

/* A decimal made here is the same as one that was read; reals of our own count as numbers, too. */
static void test_decimals_of_our_own(void **state)
{
    (void)state;
    struct decimal decimal;
    assert_true(decimal_parse("1234.50", 7, &decimal));
    json_t *made = json_decimal_new(&decimal);
    json_t *read = read_text("1234.5e0");
    json_t *real = json_real(1234.5);
    assert_true(json_equal(made, read));
    assert_true(json_same(made, real));
    assert_written(made, false, "1234.5");
    assert_written(real, false, "1234.5");
    json_decref(made);
    json_decref(read);
    json_decref(real);
}

/* The longest number there is survives the way through a tree. */
static void test_longest_decimal_round_trips(void **state)
{
    (void)state;
    char text[128] = "-";
    for (size_t i = 1; i <= 96; i++)
        text[i] = '7';
    strncat(text, "e-400", sizeof(text) - 98);
    json_t *json = read_text(text);
    char *written = json_write(json, false, NULL);
    assert_non_null(written);
    json_t *again = read_text(written);
    assert_true(json_same(json, again));
    free(written);
    json_decref(json);
    json_decref(again);
}

/* What cannot be JSON is not written: a marked text that is no number, a tree that is too deep. */
static void test_write_refuses_the_impossible(void **state)
{
    (void)state;
    json_t *forged = json_string("\xEF\xB7\x90"
                                 "1,\"admin\":true");
    assert_null(json_write(forged, false, NULL));
    json_decref(forged);
    assert_null(json_write(NULL, false, NULL));

    json_t *deep = json_array();
    for (int i = 0; i < 300; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, deep);
        deep = outer;
    }
    assert_null(json_write(deep, true, NULL));
    json_decref(deep);
}

/* Numbers are the same by value, objects whatever their order, everything else as it stands. */
static void test_sameness(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool is_same;
    } cases[] = {
        {"1", "1.0", true},
        {"1.10", "11e-1", true},
        {"0", "-0.0", true},
        {"1", "\"1\"", false},
        {"1.5", "\"1.5\"", false},
        {"9007199254740993", "9007199254740992.0", false},
        {"true", "true", true},
        {"true", "false", false},
        {"null", "false", false},
        {"null", "null", true},
        {"\"a\"", "\"a\"", true},
        {"\"a\"", "\"A\"", false},
        {"{\"a\":1,\"b\":[2]}", "{\"b\":[2.0],\"a\":1}", true},
        {"{\"a\":null}", "{}", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"[1,2]", "[2,1]", false},
        {"[1]", "[1,1]", false},
        {"[]", "{}", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_t *a = read_text(cases[i].a);
        json_t *b = read_text(cases[i].b);
        if (json_same(a, b) != cases[i].is_same || json_same(b, a) != cases[i].is_same)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
        json_decref(a);
        json_decref(b);
    }
    json_t *json = json_null();
    assert_true(json_same(NULL, NULL));
    assert_false(json_same(NULL, json));
}

/* Members of another type count as absent. */
static void test_members(void **state)
{
    (void)state;
    json_t *json = read_text("{\"t\":\"x\",\"i\":7,\"d\":1.5,\"w\":5.0,\"big\":1e30,\"b\":true,\"n\":null}");
    assert_string_equal(json_text_of(json, "t"), "x");
    assert_null(json_text_of(json, "i"));
    assert_null(json_text_of(json, "d"));
    assert_null(json_text_of(json, "n"));
    assert_null(json_text_of(json, "absent"));
    assert_null(json_text_of(NULL, "t"));
    assert_int_equal(json_integer_of(json, "i", -1), 7);
    assert_int_equal(json_integer_of(json, "w", -1), 5);
    assert_int_equal(json_integer_of(json, "d", -1), -1);
    assert_int_equal(json_integer_of(json, "big", -1), -1);
    assert_int_equal(json_integer_of(json, "t", -1), -1);
    assert_true(json_flag_of(json, "b", false));
    assert_true(json_flag_of(json, "n", true));
    assert_false(json_flag_of(json, "i", false));
    json_decref(json);
}

/* Paths lead through objects and arrays; names are compared exactly first. */
static void test_paths(void **state)
{
    (void)state;
    json_t *json = read_text("{\"details\":{\"Requirements\":{\"solutions\":[{\"id\":\"A\"},{\"ID\":\"B\"}]}},"
                             "\"X\":1,\"x\":2,\"\":3}");
    static const struct {
        const char *path;
        bool ignoring_case;
        const char *expected; /* NULL: absent */
    } cases[] = {
        {"details.Requirements.solutions.0.id", false, "\"A\""},
        {"details.requirements.solutions.0.id", false, NULL},
        {"DETAILS.requirements.Solutions.1.id", true, "\"B\""},
        {"details.Requirements.solutions.2.id", true, NULL},
        {"details.Requirements.solutions.-1", true, NULL},
        {"details.Requirements.solutions.99999999999999", true, NULL},
        {"details.Requirements.solutions.0x0", true, NULL},
        {"details.Requirements.solutions.0.id.more", true, NULL},
        {"x", true, "2"},
        {"X", true, "1"},
        {"", false, "3"},
        {"details.", false, NULL},
        {"detail", true, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const json_t *found = json_at(json, cases[i].path, cases[i].ignoring_case);
        if ((found != NULL) != (cases[i].expected != NULL))
            fail_msg("%s", cases[i].path);
        if (found != NULL)
            assert_written(found, false, cases[i].expected);
    }
    assert_null(json_at(NULL, "a", false));
    json_decref(json);
}

/* Setting a path makes the objects on the way, replaces null, and leaves everything else alone. */
static void test_set_at(void **state)
{
    (void)state;
    json_t *json = read_text("{\"a\":{\"x\":1},\"n\":null,\"t\":\"text\"}");
    assert_int_equal(json_set_at(json, "a.b.c", json_integer(2)), 0);
    assert_int_equal(json_set_at(json, "n.m", json_integer(3)), 0);
    assert_int_equal(json_set_at(json, "t.m", json_integer(4)), -1);
    assert_int_equal(json_set_at(json, "", json_integer(4)), -1);
    assert_int_equal(json_set_at(json, "a..b", json_integer(4)), -1);
    assert_int_equal(json_set_at(json, "q", NULL), -1);
    assert_int_equal(json_set_at(NULL, "q", json_integer(4)), -1);
    assert_written(json, true, "{\"a\":{\"b\":{\"c\":2},\"x\":1},\"n\":{\"m\":3},\"t\":\"text\"}");
    json_decref(json);
}

/* Every problem has its stable word. */
static void test_problem_codes(void **state)
{
    (void)state;
    static const char *const codes[] = {"ok",       "invalid_json", "invalid_json", "duplicate_key",
                                        "too_deep", "too_complex",  "too_large",    "invalid_utf8",
                                        "nul",      "number_range", "out_of_memory"};
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++)
        assert_string_equal(json_problem_code((enum json_problem)i), codes[i]);
}

enum reading_end { READING_RIGHT, READING_OUT_OF_MEMORY, READING_ABORTED, READING_WRONG };

/* Reads with the n-th allocation failing. What is right without a failure is given by `wanted`. */
static enum reading_end read_failing_at(unsigned n, const char *text, enum json_problem wanted, bool *ret_has_failed)
{
    json_t *json = NULL;
    struct json_fault fault = {.problem = JSON_OK};
    allocation_fail_at(n);
    int result = json_read(text, strlen(text), &JSON_LIMITS_FOREIGN, &json, &fault);
    *ret_has_failed = allocation_has_failed();
    allocation_fail_at(0);
    json_decref(json);
    if (*ret_has_failed)
        return result < 0 && fault.problem == JSON_NO_MEMORY ? READING_OUT_OF_MEMORY : READING_WRONG;
    return (result < 0) == (wanted != JSON_OK) && fault.problem == wanted ? READING_RIGHT : READING_WRONG;
}

/* The same in a process of its own, which may end itself if it says why. */
static enum reading_end read_apart(unsigned n, const char *text, enum json_problem wanted)
{
    int pipe_fds[2], status = 0;
    char said[256];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};
        bool has_failed;
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        _exit(dup2(pipe_fds[1], STDERR_FILENO) < 0 ? (int)READING_WRONG
                                                   : (int)read_failing_at(n, text, wanted, &has_failed));
    }
    (void)close(pipe_fds[1]);
    ssize_t length = read(pipe_fds[0], said, sizeof(said) - 1);
    (void)close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status))
        return (enum reading_end)WEXITSTATUS(status);
    said[length > 0 ? length : 0] = '\0';
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
                   strcmp(said, "out of memory while a JSON text was parsed: the process ends itself\n") == 0
               ? READING_ABORTED
               : READING_WRONG;
}

/* Whichever allocation fails while a text is read: either that is said and nothing leaks, or the process has ended; never
 * is a tree given that lacks something, nor does the parser come to grief in its own way. */
static void test_reading_without_memory_is_an_error_or_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum json_problem problem;
    } cases[] = {
        {"{\"b\":[1.5,\"\\ufdd0x\",{\"c\":2}],\"a\":\"a text longer than the first piece of memory "
         "that a buffer asks for, so that it has to grow\"}",
         JSON_OK},
        {"[\"\\u00e4\\u00f6\\u00fc\\u00e4\\u00f6\\u00fc\\u00e4\\u00f6\\u00fc\\u00e4\\u00f6\\u00fc\\u00e4\\u00f6\\u00fc\", 1.5]",
         JSON_OK},
        {"{\"a\":1.5,\"b\":2.5,\"a\":3}", JSON_DUPLICATE_KEY},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        unsigned counts[READING_WRONG] = {0};
        enum reading_end end = READING_OUT_OF_MEMORY;
        for (unsigned n = 1; end != READING_RIGHT; n++) {
            bool has_failed = false;
            end = read_apart(n, cases[i].text, cases[i].problem);
            if (end >= READING_WRONG)
                fail_msg("%s: allocation %u", cases[i].text, n);
            counts[end]++;
            /* Here again, where leaks are looked for. */
            if (end != READING_ABORTED)
                assert_int_equal(read_failing_at(n, cases[i].text, cases[i].problem, &has_failed), end);
        }
        assert_true(counts[READING_OUT_OF_MEMORY] > 0);
        assert_true(counts[READING_ABORTED] > 3);
    }
}

/* Whichever allocation fails, writing gives NULL, and nothing leaks. */
static void test_writing_without_memory_is_an_error(void **state)
{
    (void)state;
    json_t *json = read_text("{\"b\":[1.5,\"\\ufdd0x\",{\"c\":2}],\"a\":\"a text longer than the first piece of memory "
                             "that a buffer asks for, so that it has to grow\"}");
    bool has_failed = true;
    for (unsigned n = 1; has_failed; n++) {
        allocation_fail_at(n);
        char *written = json_write(json, true, NULL);
        has_failed = allocation_has_failed();
        allocation_fail_at(0);
        assert_int_equal(written == NULL, has_failed);
        free(written);
    }
    json_decref(json);
}

static int set_up(void **state)
{
    (void)state;
    json_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_their_text),
        cmocka_unit_test(test_unsorted_keeps_order),
        cmocka_unit_test(test_faults_and_their_places),
        cmocka_unit_test(test_limits_hold_exactly),
        cmocka_unit_test(test_nesting_is_bounded_in_any_case),
        cmocka_unit_test(test_bombs_are_refused),
        cmocka_unit_test(test_decimals_and_text_stay_apart),
        cmocka_unit_test(test_text_made_here_is_no_number),
        cmocka_unit_test(test_decimals_of_our_own),
        cmocka_unit_test(test_longest_decimal_round_trips),
        cmocka_unit_test(test_write_refuses_the_impossible),
        cmocka_unit_test(test_sameness),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_set_at),
        cmocka_unit_test(test_problem_codes),
        cmocka_unit_test(test_reading_without_memory_is_an_error_or_the_end),
        cmocka_unit_test(test_writing_without_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
