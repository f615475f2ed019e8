#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "tests/support/allocation.h"

/* Nothing is appended beyond the limit, and what was there stays. */
static void test_append_stops_at_the_limit(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 10);
    assert_string_equal(text_string(&text), "");
    assert_int_equal(text_append(&text, "12345"), 0);
    assert_int_equal(text_append(&text, "678901"), -1);
    assert_string_equal(text_string(&text), "12345");
    assert_int_equal(text_appendf(&text, "%d", 678901), -1);
    assert_string_equal(text_string(&text), "12345");
    assert_int_equal(text_appendf(&text, "%d", 67890), 0);
    assert_string_equal(text_string(&text), "1234567890");
    assert_int_equal(text_append_char(&text, '!'), -1);
    assert_int_equal(text_append(&text, ""), 0);
    assert_int_equal(text.length, 10);
    text_done(&text);
}

/* A buffer without room for anything still takes the empty text. */
static void test_limit_zero_holds_the_empty_text(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 0);
    assert_int_equal(text_append(&text, ""), 0);
    assert_int_equal(text_append_char(&text, 'x'), -1);
    assert_string_equal(text_string(&text), "");
    text_done(&text);
}

/* Growth keeps the content, NUL bytes included. */
static void test_growth_keeps_the_content(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, SIZE_MAX);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(text_append_char(&text, (char)(i % 251)), 0);
    assert_int_equal(text.length, 5000);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(text.data[i], (char)(i % 251));
    assert_int_equal(text.data[5000], '\0');
    assert_int_equal(text_append_n(&text, "x", SIZE_MAX), -1);
    text_clear(&text);
    assert_string_equal(text_string(&text), "");
    text_done(&text);
}

/* The content goes over to the caller; the buffer can be used again with the same limit. */
static void test_take_empties_the_buffer(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 4);
    char *empty = text_take(&text);
    assert_string_equal(empty, "");
    free(empty);
    assert_int_equal(text_append(&text, "abcd"), 0);
    char *taken = text_take(&text);
    assert_string_equal(taken, "abcd");
    free(taken);
    assert_int_equal(text_append(&text, "abcde"), -1);
    assert_int_equal(text_append(&text, "ab"), 0);
    text_done(&text);
}

/* When memory ends, appends fail and leave the content, and copies are NULL. */
static void test_failed_allocation_changes_nothing(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 1000);
    assert_int_equal(text_append(&text, "kept"), 0);
    char *longer = text_format("%0200d", 7);
    assert_non_null(longer);
    allocation_fail_at(1);
    assert_int_equal(text_append(&text, longer), -1);
    assert_true(allocation_has_failed());
    assert_string_equal(text_string(&text), "kept");
    allocation_fail_at(1);
    assert_null(text_copy("x"));
    allocation_fail_at(1);
    assert_null(text_format("x"));
    allocation_fail_at(0);
    free(longer);
    text_done(&text);
}

/* More than 1 MiB is not formatted. */
static void test_format_is_bounded(void **state)
{
    (void)state;
    assert_null(text_format("%01048577d", 1));
    char *most = text_format("%01048576d", 1);
    assert_non_null(most);
    free(most);
}

/* Comparisons treat NULL as a value of its own and know ASCII letters only. */
static void test_comparisons(void **state)
{
    (void)state;
    assert_true(text_equal(NULL, NULL));
    assert_false(text_equal("", NULL));
    assert_true(text_equal_ignoring_case("MS-RequestId", "ms-requestid"));
    assert_false(text_equal_ignoring_case("a", "ab"));
    assert_false(text_equal_ignoring_case("[", "{"));
    assert_false(text_equal_ignoring_case("\xC3\x84", "\xC3\xA4"));
    assert_false(text_equal_ignoring_case(NULL, "a"));
    assert_true(text_starts_with("abc", ""));
    assert_true(text_starts_with("abc", "abc"));
    assert_false(text_starts_with("ab", "abc"));
    assert_true(text_ends_with("a.yaml", ".yaml"));
    assert_false(text_ends_with("yaml", ".yaml"));
}

/* Exactly the well-formed sequences of RFC 3629 are valid; the offset is that of the first broken one. */
static void test_utf8_validity(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t bad_offset; /* SIZE_MAX: valid */
    } cases[] = {
        {"", SIZE_MAX},
        {"a\x7F", SIZE_MAX},
        {"\xC2\x80\xDF\xBF", SIZE_MAX},
        {"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", SIZE_MAX},
        {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", SIZE_MAX},
        {"a\x80", 1},
        {"\xC0\x80", 0},
        {"\xC1\xBF", 0},
        {"\xE0\x9F\xBF", 0},
        {"\xF0\x8F\xBF\xBF", 0},
        {"ab\xED\xA0\x80", 2},
        {"\xF4\x90\x80\x80", 0},
        {"\xF5\x80\x80\x80", 0},
        {"\xC3", 0},
        {"\xE2\x82", 0},
        {"\xF0\x9F\x98", 0},
        {"\xE2\x28\xA1", 0},
        {"\xFF\xFE", 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size_t bad_offset = SIZE_MAX;
        bool is_valid = utf8_is_valid(cases[i].bytes, strlen(cases[i].bytes), &bad_offset);
        assert_int_equal(bad_offset, cases[i].bad_offset);
        assert_int_equal(is_valid, cases[i].bad_offset == SIZE_MAX);
        assert_int_equal(utf8_is_valid(cases[i].bytes, strlen(cases[i].bytes), NULL), is_valid);
    }
}

/* Lengths in characters and in UTF-16 units differ above U+FFFF. */
static void test_utf8_lengths(void **state)
{
    (void)state;
    static const char text[] = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80";
    static const unsigned expected[] = {'a', 0xE4, 0x20AC, 0x1F600};
    size_t count = sizeof(text) - 1;
    assert_int_equal(utf8_length(text, count), 4);
    assert_int_equal(utf8_length_utf16(text, count), 5);
    size_t position = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++)
        assert_int_equal(utf8_next(text, count, &position), expected[i]);
    assert_int_equal(position, count);
}

/* A text is cut to UTF-16 units, before what belongs together. */
static void test_utf8_cut(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t units;
        size_t bytes;
    } cases[] = {
        {"abc", 0, 0},
        {"abc", 2, 2},
        {"abc", 3, 3},
        {"abc", 9, 3},
        {"a\xF0\x9F\x98\x80", 2, 1}, /* a surrogate pair needs two units */
        {"a\xF0\x9F\x98\x80", 3, 5},
        {"ae\xCC\x81", 2, 1}, /* combining acute */
        {"ae\xCC\x81", 3, 4},
        {"ae\xCC\x81z", 3, 4},
        {"x\xE2\x9D\xA4\xEF\xB8\x8F", 2, 1},                     /* variation selector */
        {"x\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD", 4, 1},             /* skin tone */
        {"\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB!", 4, 0}, /* woman, joiner, laptop: 5 units */
        {"\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB!", 5, 11},
        {"\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA\xF0\x9F\x87\xAB\xF0\x9F\x87\xB7", 6, 8}, /* two flags */
        {"\xE0\xA4\xA8\xE0\xA5\x8D", 1, 0},                                         /* Devanagari na with virama */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_int_equal(utf8_cut_utf16(cases[i].text, strlen(cases[i].text), cases[i].units), cases[i].bytes);
}

/* Numbers are digits and nothing else, within the limit. */
static void test_parse_unsigned(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned long long limit;
        bool is_valid;
        unsigned long long number;
    } cases[] = {
        {"0", 0, true, 0},
        {"1", 0, false, 0},
        {"007", 7, true, 7},
        {"8", 7, false, 0},
        {"65535", 65535, true, 65535},
        {"65536", 65535, false, 0},
        {"18446744073709551615", ULLONG_MAX, true, ULLONG_MAX},
        {"18446744073709551616", ULLONG_MAX, false, 0},
        {"99999999999999999999999", ULLONG_MAX, false, 0},
        {"", 9, false, 0},
        {"-1", 9, false, 0},
        {"+1", 9, false, 0},
        {" 1", 9, false, 0},
        {"1 ", 9, false, 0},
        {"0x1", 9, false, 0},
        {NULL, 9, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        unsigned long long number = 0;
        assert_int_equal(text_parse_unsigned(cases[i].text, cases[i].limit, &number), cases[i].is_valid);
        assert_true(number == cases[i].number);
    }
}

/* Signed numbers reach exactly to both ends of the type. */
static void test_parse_signed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_valid;
        long long number;
    } cases[] = {
        {"-9223372036854775808", true, LLONG_MIN},
        {"-9223372036854775809", false, 0},
        {"9223372036854775807", true, LLONG_MAX},
        {"9223372036854775808", false, 0},
        {"-0", true, 0},
        {"-12", true, -12},
        {"-", false, 0},
        {"", false, 0},
        {"--1", false, 0},
        {NULL, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        long long number = 0;
        assert_int_equal(text_parse_signed(cases[i].text, &number), cases[i].is_valid);
        assert_true(number == cases[i].number);
    }
}

/* What is assigned takes the old text's place; without memory the old one stays. */
static void test_assignment_replaces_or_changes_nothing(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char *text = NULL;
    assert_int_equal(text_assign(&text, "one", &err), 0);
    assert_string_equal(text, "one");
    allocation_fail_at(1);
    assert_int_equal(text_assign(&text, "two", &err), -1);
    allocation_fail_at(0);
    assert_string_equal(text, "one");
    assert_int_equal(err.class, ERROR_TRANSIENT);
    assert_int_equal(text_assign(&text, "three", &err), 0);
    assert_string_equal(text, "three");
    assert_int_equal(text_assign(&text, NULL, &err), 0);
    assert_null(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_stops_at_the_limit),
        cmocka_unit_test(test_limit_zero_holds_the_empty_text),
        cmocka_unit_test(test_growth_keeps_the_content),
        cmocka_unit_test(test_take_empties_the_buffer),
        cmocka_unit_test(test_failed_allocation_changes_nothing),
        cmocka_unit_test(test_format_is_bounded),
        cmocka_unit_test(test_assignment_replaces_or_changes_nothing),
        cmocka_unit_test(test_comparisons),
        cmocka_unit_test(test_utf8_validity),
        cmocka_unit_test(test_utf8_lengths),
        cmocka_unit_test(test_utf8_cut),
        cmocka_unit_test(test_parse_unsigned),
        cmocka_unit_test(test_parse_signed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
