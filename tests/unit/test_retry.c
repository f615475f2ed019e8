#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/attributes.h"
#include "common/base/retry.h"

static const struct retry_policy policy = {
    .first_delay_ms = 100, .delay_max_ms = 1000, .attempts_max = 8, .time_max_ms = 60000};

/* The pause doubles up to the cap; the largest random number reaches just below its bound, the smallest is no pause. */
static void test_pause_doubles_up_to_the_cap(void **state)
{
    (void)state;
    static const int64_t bounds[] = {100, 200, 400, 800, 1000, 1000, 1000};
    for (unsigned i = 0; i < ARRAY_LENGTH(bounds); i++) {
        struct retry_state at = {.attempts = i + 1, .first_attempt_ms = 5000};
        struct retry_decision longest = retry_decide(&policy, &at, 5000, -1, UINT32_MAX);
        struct retry_decision middle = retry_decide(&policy, &at, 5000, -1, UINT32_C(0x80000000));
        struct retry_decision shortest = retry_decide(&policy, &at, 5000, -1, 0);
        assert_true(longest.should_retry && middle.should_retry && shortest.should_retry);
        assert_int_equal(longest.at_ms, 5000 + bounds[i] - 1);
        assert_int_equal(middle.at_ms, 5000 + bounds[i] / 2);
        assert_int_equal(shortest.at_ms, 5000);
    }
}

/* The last allowed attempt is the last. */
static void test_gives_up_after_the_attempts(void **state)
{
    (void)state;
    struct retry_state at = {.attempts = 7};
    assert_true(retry_decide(&policy, &at, 0, -1, 0).should_retry);
    at.attempts = 8;
    assert_false(retry_decide(&policy, &at, 0, -1, 0).should_retry);
}

/* What would start after the time bound is not tried. */
static void test_gives_up_after_the_time(void **state)
{
    (void)state;
    struct retry_state at = {.attempts = 1, .first_attempt_ms = 1000};
    assert_true(retry_decide(&policy, &at, 60500, 500, 0).should_retry);
    assert_false(retry_decide(&policy, &at, 60500, 501, 0).should_retry);
    assert_false(retry_decide(&policy, &at, 61001, -1, 0).should_retry);
}

/* Zero means no bound. */
static void test_no_bounds(void **state)
{
    (void)state;
    struct retry_policy endless = {.first_delay_ms = 1, .delay_max_ms = INT64_MAX};
    struct retry_state at = {.attempts = 4000000000U};
    struct retry_decision decision = retry_decide(&endless, &at, 10, -1, UINT32_MAX);
    assert_true(decision.should_retry);
    assert_true(decision.at_ms > 10);
    decision = retry_decide(&endless, &at, INT64_MAX - 1, -1, UINT32_MAX);
    assert_true(decision.at_ms == INT64_MAX);
}

/* The peer's wish is the least pause, and the cap is the longest. */
static void test_retry_after(void **state)
{
    (void)state;
    struct retry_state at = {.attempts = 1};
    assert_int_equal(retry_decide(&policy, &at, 0, 700, UINT32_MAX).at_ms, 700);
    assert_int_equal(retry_decide(&policy, &at, 0, 50000, 0).at_ms, 1000);
    assert_int_equal(retry_decide(&policy, &at, 0, 0, UINT32_MAX).at_ms, 99);
}

/* A policy that makes no sense waits not at all, and never travels back. */
static void test_negative_delays_are_none(void **state)
{
    (void)state;
    struct retry_policy odd = {.first_delay_ms = -5, .delay_max_ms = -7};
    struct retry_state at = {.attempts = 3};
    assert_int_equal(retry_decide(&odd, &at, 100, 50, UINT32_MAX).at_ms, 100);
}

/* Retry-After is seconds or a date; anything else counts as absent. */
static void test_retry_after_values(void **state)
{
    (void)state;
    static const int64_t now_ms = INT64_C(784111777000); /* Sun, 06 Nov 1994 08:49:37 GMT */
    static const struct {
        const char *value;
        int64_t expected;
    } cases[] = {
        {"0", 0},
        {"120", 120000},
        {" 5\t", 5000},
        {"Sun, 06 Nov 1994 08:50:07 GMT", 30000},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
        {"Sun, 06 Nov 1994 08:00:00 GMT", 0},
        {"-1", -1},
        {"1.5", -1},
        {"", -1},
        {" ", -1},
        {"soon", -1},
        {"99999999999999999999", -1},
        {"00000000000000000000000000000000000000000000000001", -1},
        {NULL, -1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_int_equal(retry_after_parse(cases[i].value, now_ms), cases[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pause_doubles_up_to_the_cap),
        cmocka_unit_test(test_gives_up_after_the_attempts),
        cmocka_unit_test(test_gives_up_after_the_time),
        cmocka_unit_test(test_no_bounds),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_negative_delays_are_none),
        cmocka_unit_test(test_retry_after_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
