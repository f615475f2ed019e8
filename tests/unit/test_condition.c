#include "ingest/condition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const struct condition_policy policy = {.back_off = {.first_delay_ms = 1000, .delay_max_ms = 8000},
                                               .probe_interval_ms = 30000};

static struct system_answer failure_of(enum system_result result, int64_t retry_after_ms, const char *code)
{
    struct system_answer answer = {.result = result, .retry_after_ms = retry_after_ms};

    (void)error_set(&answer.error, ERROR_TRANSIENT, code, "%s", code);
    return answer;
}

/* With the largest random number every pause is nearly as long as it can be. */
static bool failed(struct condition *condition, enum system_result result, int64_t retry_after_ms, int64_t now_ms,
                   int64_t *ret_not_before_ms)
{
    const struct system_answer answer = failure_of(result, retry_after_ms, "server.failed");

    return condition_failed(condition, &policy, &answer, now_ms, UINT32_MAX, ret_not_before_ms);
}

/* A system in good condition is read up to the limit. */
static void test_good_condition_allows_up_to_the_limit(void **state)
{
    const struct condition condition = {0};

    (void)state;
    assert_true(condition_allows(&condition, 5, 0, 8));
    assert_true(condition_allows(&condition, 5, 7, 8));
    assert_false(condition_allows(&condition, 5, 8, 8));
}

/* Only several failures in a row pause, and then one read at a time is tried after a hold. */
static void test_failures_in_a_row_pause(void **state)
{
    struct condition condition = {0};
    int64_t not_before_ms;

    (void)state;
    for (int i = 1; i < CONDITION_FAILURES_TO_PAUSE; i++) {
        assert_false(failed(&condition, SYSTEM_RETRY, -1, 100, &not_before_ms));
        assert_int_equal(not_before_ms, 100);
        assert_true(condition_allows(&condition, 100, 7, 8));
    }
    assert_true(failed(&condition, SYSTEM_UNKNOWN, -1, 100, &not_before_ms));
    assert_true(condition.hold_until_ms > 100);
    assert_false(condition_allows(&condition, condition.hold_until_ms - 1, 0, 8));
    assert_true(condition_allows(&condition, condition.hold_until_ms, 0, 8));
    assert_false(condition_allows(&condition, condition.hold_until_ms, 1, 8));
    assert_false(condition.is_blocked);
    assert_string_equal(condition.trouble, "server.failed");
}

/* An answer in between begins the count anew. */
static void test_answer_ends_a_row(void **state)
{
    struct condition condition = {0};
    int64_t not_before_ms;

    (void)state;
    for (int i = 0; i < 3 * CONDITION_FAILURES_TO_PAUSE; i++) {
        assert_false(failed(&condition, SYSTEM_RETRY, -1, i, &not_before_ms));
        assert_false(condition_answered(&condition));
    }
    assert_true(condition_allows(&condition, 0, 7, 8));
}

/* While it is paused every failure is a hold anew, and no news. */
static void test_failed_probe_holds_again_without_news(void **state)
{
    struct condition condition = {0};
    int64_t not_before_ms;
    int64_t held_ms;

    (void)state;
    for (int i = 0; i < CONDITION_FAILURES_TO_PAUSE; i++)
        (void)failed(&condition, SYSTEM_RETRY, -1, 0, &not_before_ms);
    held_ms = condition.hold_until_ms;
    assert_false(failed(&condition, SYSTEM_RETRY, -1, held_ms, &not_before_ms));
    assert_true(condition.hold_until_ms > held_ms);
    assert_true(condition_answered(&condition));
    assert_true(condition_allows(&condition, held_ms, 7, 8));
}

/* Retry-After of one read holds all of them, without a pause; a wait beyond belief is cut. */
static void test_retry_after_holds_all_reads(void **state)
{
    struct condition condition = {0};
    int64_t not_before_ms;

    (void)state;
    assert_false(failed(&condition, SYSTEM_RETRY, 3000, 1000, &not_before_ms));
    assert_int_equal(not_before_ms, 4000);
    assert_false(condition_allows(&condition, 3999, 0, 8));
    assert_true(condition_allows(&condition, 4000, 7, 8));
    assert_false(failed(&condition, SYSTEM_RETRY, INT64_MAX, 4000, &not_before_ms));
    assert_int_equal(not_before_ms, 4000 + CONDITION_RETRY_AFTER_MAX_MS);
}

/* A shorter wait that comes later does not end a longer one. */
static void test_hold_never_becomes_shorter(void **state)
{
    struct condition condition = {0};
    int64_t not_before_ms;

    (void)state;
    (void)failed(&condition, SYSTEM_RETRY, 9000, 0, &not_before_ms);
    (void)failed(&condition, SYSTEM_RETRY, 10, 1, &not_before_ms);
    assert_int_equal(not_before_ms, 11);
    assert_int_equal(condition.hold_until_ms, 9000);
}

/* A system that does not let us in is paused by the first answer, and probed. */
static void test_blocked_system_is_probed(void **state)
{
    struct condition condition = {0};
    int64_t not_before_ms;

    (void)state;
    assert_true(failed(&condition, SYSTEM_BLOCKED, -1, 1000, &not_before_ms));
    assert_int_equal(not_before_ms, 31000);
    assert_true(condition.is_blocked);
    assert_false(condition_allows(&condition, 30999, 0, 8));
    assert_true(condition_allows(&condition, 31000, 0, 8));
    assert_false(condition_allows(&condition, 31000, 1, 8));
    assert_false(failed(&condition, SYSTEM_BLOCKED, -1, 31000, &not_before_ms));
    /* Let in, but failing: another reason. */
    assert_true(failed(&condition, SYSTEM_RETRY, -1, 61000, &not_before_ms));
    assert_false(condition.is_blocked);
}

/* Good news ends the hold of a system that did not let us in, and of no other. */
static void test_hurry_is_for_blocked_systems(void **state)
{
    struct condition throttled = {0};
    struct condition blocked = {0};
    int64_t not_before_ms;

    (void)state;
    (void)failed(&throttled, SYSTEM_RETRY, 5000, 0, &not_before_ms);
    (void)failed(&blocked, SYSTEM_BLOCKED, -1, 0, &not_before_ms);
    assert_false(condition_hurry(&throttled, 10));
    assert_false(condition_allows(&throttled, 10, 0, 8));
    assert_true(condition_hurry(&blocked, 10));
    assert_true(condition_allows(&blocked, 10, 0, 8));
    assert_false(condition_allows(&blocked, 10, 1, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_condition_allows_up_to_the_limit),
        cmocka_unit_test(test_failures_in_a_row_pause),
        cmocka_unit_test(test_answer_ends_a_row),
        cmocka_unit_test(test_failed_probe_holds_again_without_news),
        cmocka_unit_test(test_retry_after_holds_all_reads),
        cmocka_unit_test(test_hold_never_becomes_shorter),
        cmocka_unit_test(test_blocked_system_is_probed),
        cmocka_unit_test(test_hurry_is_for_blocked_systems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
