#include "pusher/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"

static const struct breaker_policy POLICY = {.failures_max = 3,
                                             .refusals_max = 2,
                                             .pauses = {.first_delay_ms = 100, .delay_max_ms = 1000},
                                             .blocked_pauses = {.first_delay_ms = 5000, .delay_max_ms = 60000},
                                             .told_max_ms = 30000};
static const uint32_t MOST = UINT32_MAX; /* the longest pause jitter allows */

static enum system_result note(struct breaker *breaker, enum system_result result, const char *deal, int64_t now_ms)
{
    struct system_answer answer = {.result = result, .retry_after_ms = -1};

    return breaker_note(breaker, &answer, true, deal, now_ms, MOST);
}

/* A few failures in a row open it; after the pause exactly one call goes through, and its success closes it. */
static void test_breaker_opens_probes_and_closes(void **state)
{
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    note(&breaker, SYSTEM_RETRY, "a", 0);
    note(&breaker, SYSTEM_UNKNOWN, "b", 0);
    assert_true(breaker_admits(&breaker, 0));
    note(&breaker, SYSTEM_RETRY, "c", 0);
    assert_false(breaker_admits(&breaker, 0));
    assert_non_null(breaker_trouble(&breaker));
    assert_true(breaker_admits(&breaker, 100));
    assert_false(breaker_admits(&breaker, 100));
    note(&breaker, SYSTEM_DONE, "a", 110);
    assert_true(breaker_admits(&breaker, 110));
    assert_null(breaker_trouble(&breaker));
}

/* Each failed probe makes the next pause longer. */
static void test_breaker_pauses_longer_after_a_failed_probe(void **state)
{
    struct breaker breaker;
    int64_t first_ms;

    (void)state;
    breaker_init(&breaker, &POLICY);
    for (int i = 0; i < 3; i++)
        note(&breaker, SYSTEM_RETRY, "a", 0);
    first_ms = breaker.probe_at_ms;
    assert_true(breaker_admits(&breaker, first_ms));
    note(&breaker, SYSTEM_RETRY, "a", first_ms);
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_true(breaker.probe_at_ms - first_ms > first_ms);
}

/* A success between failures starts the count again. */
static void test_breaker_stays_closed_when_failures_are_not_in_a_row(void **state)
{
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    for (int i = 0; i < 10; i++) {
        note(&breaker, SYSTEM_RETRY, "a", 0);
        note(&breaker, SYSTEM_RETRY, "a", 0);
        note(&breaker, SYSTEM_DONE, "a", 0);
    }
    assert_int_equal(breaker.state, BREAKER_CLOSED);
}

/* One Retry-After pauses the whole system for that long, and not longer than the cap. */
static void test_breaker_obeys_retry_after_up_to_the_cap(void **state)
{
    struct system_answer answer = {.result = SYSTEM_RETRY, .retry_after_ms = 7000};
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    breaker_note(&breaker, &answer, true, "a", 0, 0);
    assert_false(breaker_admits(&breaker, 6999));
    assert_true(breaker_admits(&breaker, 7000));
    answer.retry_after_ms = 86400000;
    breaker_note(&breaker, &answer, true, "a", 7000, 0);
    assert_false(breaker_admits(&breaker, 36999));
    assert_true(breaker_admits(&breaker, 37000));
}

/* Calls that were under way when it opened neither end the pause nor shorten it. */
static void test_breaker_ignores_answers_from_before_the_pause(void **state)
{
    struct system_answer told = {.result = SYSTEM_RETRY, .retry_after_ms = 7000};
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    breaker_note(&breaker, &told, true, "a", 0, 0);
    note(&breaker, SYSTEM_DONE, "b", 10);
    told.retry_after_ms = 1000;
    breaker_note(&breaker, &told, true, "c", 10, 0);
    assert_false(breaker_admits(&breaker, 6999));
}

/* A blocked account opens it at once, with long pauses. */
static void test_breaker_opens_at_once_when_the_account_is_blocked(void **state)
{
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    assert_int_equal(note(&breaker, SYSTEM_BLOCKED, "a", 0), SYSTEM_BLOCKED);
    assert_false(breaker_admits(&breaker, 4000));
    assert_int_equal(breaker.reason, BREAKER_ACCOUNT);
}

/* Refusals of more different deals in a row than allowed are no longer the deals' fault. */
static void test_breaker_takes_refusals_en_masse_for_a_blocked_account(void **state)
{
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    assert_int_equal(note(&breaker, SYSTEM_REFUSED, "a", 0), SYSTEM_REFUSED);
    assert_int_equal(note(&breaker, SYSTEM_REFUSED, "a", 0), SYSTEM_REFUSED);
    assert_int_equal(note(&breaker, SYSTEM_REFUSED, "b", 0), SYSTEM_REFUSED);
    assert_int_equal(note(&breaker, SYSTEM_REFUSED, "c", 0), SYSTEM_BLOCKED);
    assert_int_equal(breaker.reason, BREAKER_REFUSING);
    assert_true(breaker_admits(&breaker, 5000));
    assert_int_equal(note(&breaker, SYSTEM_REFUSED, "d", 5000), SYSTEM_BLOCKED);
    assert_true(breaker_admits(&breaker, 60000));
    assert_int_equal(note(&breaker, SYSTEM_DONE, "e", 60000), SYSTEM_DONE);
    assert_int_equal(note(&breaker, SYSTEM_REFUSED, "f", 60000), SYSTEM_REFUSED);
}

/* A read that works does not prove that writes are taken again. */
static void test_breaker_is_not_closed_by_a_read_while_writes_are_refused(void **state)
{
    struct system_answer read = {.result = SYSTEM_DONE, .retry_after_ms = -1};
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    note(&breaker, SYSTEM_REFUSED, "a", 0);
    breaker_note(&breaker, &read, false, "a", 0, 0);
    note(&breaker, SYSTEM_REFUSED, "b", 0);
    note(&breaker, SYSTEM_REFUSED, "c", 0);
    assert_int_equal(breaker.reason, BREAKER_REFUSING);
    assert_true(breaker_admits(&breaker, 5000));
    breaker_note(&breaker, &read, false, "a", 5000, 0);
    assert_int_equal(breaker.state, BREAKER_OPEN);
}

/* A call that never left says nothing about the system; a probe that never left is given to the next. */
static void test_breaker_does_not_count_what_was_not_sent(void **state)
{
    struct system_answer held = {.result = SYSTEM_RETRY, .retry_after_ms = -1, .error.code = "http.held_back"};
    struct breaker breaker;

    (void)state;
    breaker_init(&breaker, &POLICY);
    for (int i = 0; i < 10; i++)
        breaker_note(&breaker, &held, true, "a", 0, 0);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    for (int i = 0; i < 3; i++)
        note(&breaker, SYSTEM_RETRY, "a", 0);
    assert_true(breaker_admits(&breaker, 100));
    breaker_note(&breaker, &held, true, "a", 100, 0);
    assert_true(breaker_admits(&breaker, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breaker_opens_probes_and_closes),
        cmocka_unit_test(test_breaker_pauses_longer_after_a_failed_probe),
        cmocka_unit_test(test_breaker_stays_closed_when_failures_are_not_in_a_row),
        cmocka_unit_test(test_breaker_obeys_retry_after_up_to_the_cap),
        cmocka_unit_test(test_breaker_ignores_answers_from_before_the_pause),
        cmocka_unit_test(test_breaker_opens_at_once_when_the_account_is_blocked),
        cmocka_unit_test(test_breaker_takes_refusals_en_masse_for_a_blocked_account),
        cmocka_unit_test(test_breaker_is_not_closed_by_a_read_while_writes_are_refused),
        cmocka_unit_test(test_breaker_does_not_count_what_was_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
