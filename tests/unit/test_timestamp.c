#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/attributes.h"
#include "common/base/timestamp.h"

/* RFC 3339 times are read to the nanosecond, whatever their offset; everything else is refused. */
static void test_parse_rfc3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool zone_optional;
        const char *expected; /* NULL: refused */
    } cases[] = {
        {"1970-01-01T00:00:00Z", false, "1970-01-01T00:00:00.000000000Z"},
        {"2026-11-21T04:00:00.1234567Z", false, "2026-11-21T04:00:00.123456700Z"},
        {"2026-11-21T04:00:00.123456789+05:30", false, "2026-11-20T22:30:00.123456789Z"},
        {"2026-12-31T23:30:00-14:00", false, "2027-01-01T13:30:00.000000000Z"},
        {"2024-02-29T00:00:00-00:00", false, "2024-02-29T00:00:00.000000000Z"},
        {"2000-02-29T23:59:59Z", false, "2000-02-29T23:59:59.000000000Z"},
        {"0001-01-01T00:00:00Z", false, "0001-01-01T00:00:00.000000000Z"},
        {"9999-12-31T23:59:59.999999999Z", false, "9999-12-31T23:59:59.999999999Z"},
        {"2026-11-21T04:00:00", true, "2026-11-21T04:00:00.000000000Z"},
        {"2026-11-21T04:00:00.5", true, "2026-11-21T04:00:00.500000000Z"},
        {"2026-11-21T04:00:00+01:00", true, "2026-11-21T03:00:00.000000000Z"},
        {"2026-11-21T04:00:00", false, NULL},
        {"0001-01-01T00:00:00+00:01", false, NULL},
        {"9999-12-31T23:59:00-00:01", false, NULL},
        {"0000-12-31T23:59:59Z", false, NULL},
        {"1900-02-29T00:00:00Z", false, NULL},
        {"2200-02-29T00:00:00Z", false, NULL},
        {"2026-02-30T00:00:00Z", false, NULL},
        {"2026-04-31T00:00:00Z", false, NULL},
        {"2026-13-01T00:00:00Z", false, NULL},
        {"2026-00-01T00:00:00Z", false, NULL},
        {"2026-01-00T00:00:00Z", false, NULL},
        {"2026-11-21T24:00:00Z", false, NULL},
        {"2026-11-21T23:60:00Z", false, NULL},
        {"2016-12-31T23:59:60Z", false, NULL},
        {"2026-11-21t04:00:00Z", false, NULL},
        {"2026-11-21 04:00:00Z", false, NULL},
        {"2026-11-21T04:00:00z", false, NULL},
        {"2026-11-21T04:00Z", false, NULL},
        {"2026-11-21T04:00:00.Z", false, NULL},
        {"2026-11-21T04:00:00.1234567890Z", false, NULL},
        {"2026-11-21T04:00:00,5Z", false, NULL},
        {"2026-11-21T04:00:00+14:01", false, NULL},
        {"2026-11-21T04:00:00+01:60", false, NULL},
        {"2026-11-21T04:00:00+0100", false, NULL},
        {"2026-11-21T04:00:00Z ", false, NULL},
        {"2026-11-21T04:00:00ZZ", true, NULL},
        {"2026-11-21", true, NULL},
        {"", true, NULL},
        {NULL, true, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct timestamp timestamp = {.seconds = 42};
        char text[TIMESTAMP_TEXT_SIZE];
        bool is_valid = timestamp_parse(cases[i].text, cases[i].zone_optional, &timestamp);
        if (is_valid != (cases[i].expected != NULL))
            fail_msg("%s: %d", cases[i].text, is_valid);
        if (is_valid)
            assert_string_equal(timestamp_format(timestamp, 9, text), cases[i].expected);
        else
            assert_int_equal(timestamp.seconds, 42);
    }
}

/* Known instants have the seconds everybody else gives them. */
static void test_seconds_of_known_instants(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"1969-12-31T23:59:59Z", -1},
        {"2001-09-09T01:46:40Z", 1000000000},
        {"2038-01-19T03:14:08Z", INT64_C(2147483648)},
        {"0001-01-01T00:00:00Z", INT64_C(-62135596800)},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799)},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct timestamp timestamp;
        assert_true(timestamp_parse(cases[i].text, false, &timestamp));
        assert_true(timestamp.seconds == cases[i].seconds);
    }
}

/* Microsoft's JSON date counts milliseconds; its offset does not shift the instant. */
static void test_parse_ms_json(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        {"/Date(1793404800000)/", "2026-10-31T00:00:00.000Z"},
        {"/Date(1793404800001+0200)/", "2026-10-31T00:00:00.001Z"},
        {"/Date(1793404800000-0730)/", "2026-10-31T00:00:00.000Z"},
        {"/Date(-1)/", "1969-12-31T23:59:59.999Z"},
        {"/Date()/", NULL},
        {"/Date(-)/", NULL},
        {"/Date(1", NULL},
        {"/Date(1)", NULL},
        {"/Date(1)/x", NULL},
        {"/Date(1+02)/", NULL},
        {"/Date(1+0260)/", NULL},
        {"/Date(1+1500)/", NULL},
        {"/Date(999999999999999)/", NULL},
        {"/Date(9999999999999999999)/", NULL},
        {"Date(1)", NULL},
        {NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct timestamp timestamp;
        char text[TIMESTAMP_TEXT_SIZE];
        bool is_valid = timestamp_parse_ms_json(cases[i].text, &timestamp);
        if (is_valid != (cases[i].expected != NULL))
            fail_msg("%s: %d", cases[i].text, is_valid);
        if (is_valid)
            assert_string_equal(timestamp_format(timestamp, 3, text), cases[i].expected);
    }
}

/* HTTP dates are read in the one form that senders must use. */
static void test_parse_http(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",       "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 6 Nov 1994 08:49:37 GMT",   "Sun, 06 Nov 1994 08:49:37 GMT ", "Son, 06 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",  "Sun, 06 nov 1994 08:49:37 GMT",  "",
    };
    struct timestamp timestamp;
    assert_true(timestamp_parse_http("Sun, 06 Nov 1994 08:49:37 GMT", &timestamp));
    assert_int_equal(timestamp.seconds, 784111777);
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
        assert_false(timestamp_parse_http(refused[i], &timestamp));
    assert_false(timestamp_parse_http(NULL, &timestamp));
}

/* Fractions are cut, not rounded, and the number of digits has bounds. */
static void test_format_cuts(void **state)
{
    (void)state;
    struct timestamp timestamp = {.seconds = 0, .nanoseconds = 999999999};
    char text[TIMESTAMP_TEXT_SIZE];
    assert_string_equal(timestamp_format(timestamp, 0, text), "1970-01-01T00:00:00Z");
    assert_string_equal(timestamp_format(timestamp, -1, text), "1970-01-01T00:00:00Z");
    assert_string_equal(timestamp_format(timestamp, 3, text), "1970-01-01T00:00:00.999Z");
    assert_string_equal(timestamp_format(timestamp, 20, text), "1970-01-01T00:00:00.999999999Z");
}

/* Instants far outside of the calendar still fit their buffer. */
static void test_extremes_fit(void **state)
{
    (void)state;
    char text[TIMESTAMP_TEXT_SIZE];
    char date[DATE_TEXT_SIZE];
    timestamp_format((struct timestamp){INT64_MAX, 999999999}, 9, text);
    assert_true(strlen(text) < TIMESTAMP_TEXT_SIZE);
    timestamp_format((struct timestamp){INT64_MIN, 999999999}, 9, text);
    assert_true(strlen(text) < TIMESTAMP_TEXT_SIZE);
    assert_string_equal(date_format(INT32_MAX, date), "5881580-07-11");
    assert_string_equal(date_format(INT32_MIN, date), "-5877641-06-23");
}

/* Milliseconds round down, before 1970 as well, and do not overflow. */
static void test_milliseconds(void **state)
{
    (void)state;
    struct timestamp before = {.seconds = -1, .nanoseconds = 999999999};
    assert_int_equal(timestamp_to_ms(before), -1);
    struct timestamp from = timestamp_from_ms(-1);
    assert_int_equal(from.seconds, -1);
    assert_int_equal(from.nanoseconds, 999000000);
    assert_true(timestamp_to_ms((struct timestamp){INT64_MAX, 0}) == INT64_MAX);
    assert_true(timestamp_to_ms((struct timestamp){INT64_MIN, 0}) == INT64_MIN);
    assert_true(timestamp_to_ms(timestamp_from_ms(INT64_MIN + 1000000)) == INT64_MIN + 1000000);

    struct timestamp sum = timestamp_add_ms((struct timestamp){10, 999500000}, 1);
    assert_int_equal(sum.seconds, 11);
    assert_int_equal(sum.nanoseconds, 500000);
    sum = timestamp_add_ms((struct timestamp){10, 0}, -1);
    assert_int_equal(sum.seconds, 9);
    assert_int_equal(sum.nanoseconds, 999000000);
    assert_int_equal(timestamp_from_ms(INT64_MIN).nanoseconds, 192000000);
    assert_true(timestamp_add_ms((struct timestamp){INT64_MAX, 0}, 5000).seconds == INT64_MAX);
    assert_true(timestamp_add_ms((struct timestamp){INT64_MIN, 0}, -5000).seconds == INT64_MIN);
}

/* Order looks at seconds first, then at nanoseconds. */
static void test_compare(void **state)
{
    (void)state;
    struct timestamp a = {.seconds = 1, .nanoseconds = 2};
    assert_int_equal(timestamp_compare(a, a), 0);
    assert_true(timestamp_compare(a, (struct timestamp){1, 3}) < 0);
    assert_true(timestamp_compare(a, (struct timestamp){0, 900}) > 0);
}

/* Each day from year 1 to 9999 is written and read back, one after the other, and none is missing. */
static void test_every_day_round_trips(void **state)
{
    (void)state;
    char text[DATE_TEXT_SIZE];
    char previous[DATE_TEXT_SIZE] = "";
    int32_t first, last;
    assert_true(date_parse("0001-01-01", &first));
    assert_true(date_parse("9999-12-31", &last));
    for (int32_t day = first; day <= last; day++) {
        int32_t again;
        if (!date_parse(date_format(day, text), &again) || again != day || strcmp(previous, text) >= 0)
            fail_msg("day %d is %s after %s", (int)day, text, previous);
        memcpy(previous, text, sizeof(text));
    }
    assert_int_equal(last - first + 1, 3652059);
}

/* Dates have exactly one form. */
static void test_date_form(void **state)
{
    (void)state;
    static const char *const refused[] = {"2026-9-30",  "2026-09-31", "26-09-30",   "2026-09-30T",
                                          "2026/09/30", "",           "2026-02-29", "+026-01-01"};
    int32_t days;
    assert_true(date_parse("2026-09-30", &days));
    assert_int_equal(days, 20726);
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
        assert_false(date_parse(refused[i], &days));
    assert_false(date_parse(NULL, &days));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_rfc3339),         cmocka_unit_test(test_seconds_of_known_instants),
        cmocka_unit_test(test_parse_ms_json),         cmocka_unit_test(test_parse_http),
        cmocka_unit_test(test_format_cuts),           cmocka_unit_test(test_extremes_fit),
        cmocka_unit_test(test_milliseconds),          cmocka_unit_test(test_compare),
        cmocka_unit_test(test_every_day_round_trips), cmocka_unit_test(test_date_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
