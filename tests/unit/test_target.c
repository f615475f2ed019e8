#include "pusher/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CALLERS = 4 };

static const char *trouble_of_system;

static const char *trouble(const struct system *system)
{
    (void)system;
    return trouble_of_system;
}

static const struct system_operations OPERATIONS = {.name = "test", .trouble = trouble};
static struct system test_system = {.operations = &OPERATIONS};

static const struct breaker_policy POLICY = {.failures_max = 2,
                                             .pauses = {.first_delay_ms = 20, .delay_max_ms = 20},
                                             .blocked_pauses = {.first_delay_ms = 60000, .delay_max_ms = 60000},
                                             .told_max_ms = 60000};

struct ground {
    struct loop *loop;
    struct target *target;
    struct turn turns[CALLERS];
    int order[CALLERS * 4]; /* who was let through */
    size_t count;
    size_t wanted; /* the loop ends when so many were */
    struct loop_timer *limit;
};

static struct ground *ground;

static void on_turn(void *arg)
{
    ground->order[ground->count++] = *(const int *)arg;
    if (ground->count == ground->wanted)
        loop_stop(ground->loop);
}

static int numbers[CALLERS] = {0, 1, 2, 3};

static void on_limit(void *arg)
{
    (void)arg;
    loop_stop(ground->loop);
}

static int set_up(void **state)
{
    struct error err = ERROR_INIT;

    ground = calloc(1, sizeof(*ground));
    if (ground == NULL || loop_new(&ground->loop, &err) < 0 ||
        target_new(ground->loop, &test_system, &POLICY, 2, &ground->target, &err) < 0)
        return -1;
    ground->limit = loop_timer_new(ground->loop, on_limit, NULL);
    for (int i = 0; i < CALLERS; i++)
        ground->turns[i] = (struct turn){.on_turn = on_turn, .arg = &numbers[i]};
    trouble_of_system = NULL;
    *state = ground;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    target_free(ground->target);
    loop_timer_free(ground->limit);
    loop_free(ground->loop);
    free(ground);
    return 0;
}

static void run_until(size_t wanted, int64_t limit_ms)
{
    struct error err = ERROR_INIT;

    ground->wanted = wanted;
    loop_timer_set(ground->limit, limit_ms);
    assert_int_equal(loop_run(ground->loop, &err), 0);
    assert_int_equal(ground->count, wanted);
}

static void leave(enum system_result result)
{
    const struct system_answer answer = {.result = result, .retry_after_ms = -1};

    (void)target_leave(ground->target, &answer, true, "deal");
}

/* No more calls are under way than allowed; whoever waits comes next, in order. */
static void test_target_lets_through_in_order_up_to_its_bound(void **state)
{
    (void)state;
    for (int i = 0; i < CALLERS; i++)
        target_enter(ground->target, &ground->turns[i]);
    assert_int_equal(ground->count, 2);
    leave(SYSTEM_DONE);
    run_until(3, 5000);
    leave(SYSTEM_DONE);
    run_until(4, 5000);
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(ground->order[i], i);
    leave(SYSTEM_DONE);
    leave(SYSTEM_DONE);
}

/* Who gives up its turn is passed over. */
static void test_target_passes_over_who_does_not_want_its_turn(void **state)
{
    (void)state;
    for (int i = 0; i < CALLERS; i++)
        target_enter(ground->target, &ground->turns[i]);
    target_cancel(ground->target, &ground->turns[2]);
    target_cancel(ground->target, &ground->turns[2]);
    leave(SYSTEM_DONE);
    run_until(3, 5000);
    assert_int_equal(ground->order[2], 3);
}

/* After failures in a row everybody waits; then one is let through, and all when it succeeds. */
static void test_target_lets_one_through_to_try(void **state)
{
    (void)state;
    target_enter(ground->target, &ground->turns[0]);
    target_enter(ground->target, &ground->turns[1]);
    leave(SYSTEM_RETRY);
    leave(SYSTEM_RETRY);
    target_enter(ground->target, &ground->turns[2]);
    target_enter(ground->target, &ground->turns[3]);
    run_until(3, 5000);
    assert_null(target_trouble(ground->target));
    leave(SYSTEM_DONE);
    run_until(4, 5000);
}

/* A person is told of a blocked account and of a sign-in that is needed, not of an outage. */
static void test_target_tells_what_a_person_must_do(void **state)
{
    (void)state;
    target_enter(ground->target, &ground->turns[0]);
    leave(SYSTEM_BLOCKED);
    assert_non_null(target_trouble(ground->target));
    trouble_of_system = "sign in";
    assert_string_equal(target_trouble(ground->target), "sign in");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_target_lets_through_in_order_up_to_its_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_passes_over_who_does_not_want_its_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_lets_one_through_to_try, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_target_tells_what_a_person_must_do, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
