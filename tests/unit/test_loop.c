#include "common/runtime/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/attributes.h"

enum { POSTERS = 4, POSTS_EACH = 500, DEADLINE_MS = 10000 };

struct world {
    struct loop *loop;
    struct loop_timer *deadline; /* ends a test that hangs */
    struct loop_timer *timer;
    struct loop_timer *other;
    bool is_late;
    int calls;
    int64_t fired_at_us;
    char trace[32];
};

static void on_deadline(void *arg)
{
    struct world *world = arg;
    world->is_late = true;
    loop_stop(world->loop);
}

static int set_up(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof(world));
    struct error err = ERROR_INIT;
    if (loop_new(&world.loop, &err) < 0)
        return -1;
    world.deadline = loop_timer_new(world.loop, on_deadline, &world);
    loop_timer_set(world.deadline, DEADLINE_MS);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    loop_timer_free(world->deadline);
    loop_timer_free(world->timer);
    loop_timer_free(world->other);
    loop_free(world->loop);
    return 0;
}

static void run(struct world *world)
{
    struct error err = ERROR_INIT;
    assert_int_equal(loop_run(world->loop, &err), 0);
    assert_false(world->is_late);
}

static void note(struct world *world, char c)
{
    size_t length = strlen(world->trace);
    assert_true(length + 1 < sizeof(world->trace));
    world->trace[length] = c;
}

static void note_and_stop(void *arg)
{
    struct world *world = arg;
    world->calls++;
    world->fired_at_us = clock_monotonic_us();
    loop_stop(world->loop);
}

/* A timer fires once, not before its time on the same clock that decisions are made with. */
static void test_timer_fires_once_and_never_early(void **state)
{
    struct world *world = *state;
    world->timer = loop_timer_new(world->loop, note_and_stop, world);
    for (int round = 0; round < 20; round++) {
        int64_t set_at_us = clock_monotonic_us();
        loop_timer_set(world->timer, 3);
        assert_true(loop_timer_is_set(world->timer));
        run(world);
        assert_true(world->fired_at_us - set_at_us >= 3000);
        assert_false(loop_timer_is_set(world->timer));
        assert_int_equal(world->calls, round + 1);
    }
}

static void busy_then_set(void *arg)
{
    struct world *world = arg;
    int64_t until_us = clock_monotonic_us() + 15000;
    while (clock_monotonic_us() < until_us)
        continue;
    world->fired_at_us = -clock_monotonic_us();
    loop_timer_set(world->timer, 10);
}

/* A delay counts from the call, however long the callback that makes it has been running. */
static void test_delay_counts_from_the_call(void **state)
{
    struct world *world = *state;
    world->timer = loop_timer_new(world->loop, note_and_stop, world);
    assert_int_equal(loop_post(world->loop, busy_then_set, world), 0);
    int64_t began_us = clock_monotonic_us();
    run(world);
    assert_true(world->fired_at_us - began_us >= 25000);
}

static void note_a(void *arg)
{
    note(arg, 'a');
}

static void note_b_and_stop(void *arg)
{
    note(arg, 'b');
    note_and_stop(arg);
}

/* Setting a running timer again moves it, and a stopped one does not fire. */
static void test_timer_can_be_moved_and_stopped(void **state)
{
    struct world *world = *state;
    world->timer = loop_timer_new(world->loop, note_a, world);
    world->other = loop_timer_new(world->loop, note_b_and_stop, world);
    loop_timer_set(world->timer, 1);
    loop_timer_set(world->timer, 60000);
    loop_timer_set(world->other, 5);
    run(world);
    assert_string_equal(world->trace, "b");
    loop_timer_set(world->timer, 1);
    loop_timer_stop(world->timer);
    assert_false(loop_timer_is_set(world->timer));
    loop_timer_set(world->other, 5);
    run(world);
    assert_string_equal(world->trace, "bb");
}

static void free_itself(void *arg)
{
    struct world *world = arg;
    loop_timer_free(world->timer);
    world->timer = NULL;
    loop_stop(world->loop);
}

/* A timer may be freed by its own callback. */
static void test_timer_can_be_freed_in_its_callback(void **state)
{
    struct world *world = *state;
    world->timer = loop_timer_new(world->loop, free_itself, world);
    loop_timer_set(world->timer, -5);
    run(world);
    assert_null(world->timer);
}

static void post_b(void *arg)
{
    struct world *world = arg;
    note(world, 'a');
    assert_int_equal(loop_post(world->loop, note_b_and_stop, world), 0);
}

static void note_c(void *arg)
{
    note(arg, 'c');
}

/* Posted calls run in order; what a call posts itself comes behind those that wait already. */
static void test_posts_keep_their_order(void **state)
{
    struct world *world = *state;
    assert_int_equal(loop_post(world->loop, post_b, world), 0);
    assert_int_equal(loop_post(world->loop, note_c, world), 0);
    run(world);
    assert_string_equal(world->trace, "acb");
}

static void count_call(void *arg)
{
    struct world *world = arg;
    if (++world->calls == POSTERS * POSTS_EACH)
        loop_stop(world->loop);
}

static void *post_many(void *arg)
{
    struct world *world = arg;
    for (int i = 0; i < POSTS_EACH; i++) {
        if (loop_post(world->loop, count_call, world) < 0)
            return NULL;
    }
    return world;
}

/* Every call posted by other threads runs, and wakes a loop that waits. */
static void test_posts_from_other_threads_all_run(void **state)
{
    struct world *world = *state;
    pthread_t threads[POSTERS];
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, world), 0);
    run(world);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
    assert_int_equal(world->calls, POSTERS * POSTS_EACH);
}

static void stop_twice(void *arg)
{
    struct world *world = arg;
    loop_stop(world->loop);
    loop_stop(world->loop);
}

/* Stopping twice ends one run only: the next one goes on until it is stopped itself. */
static void test_second_stop_does_not_end_the_next_run(void **state)
{
    struct world *world = *state;
    assert_int_equal(loop_post(world->loop, stop_twice, world), 0);
    run(world);
    world->timer = loop_timer_new(world->loop, note_and_stop, world);
    loop_timer_set(world->timer, 5);
    run(world);
    assert_int_equal(world->calls, 1);
}

static void note_b(void *arg)
{
    note(arg, 'b');
}

/* Stopping lets what is due in the same turn run before the loop ends. */
static void test_stop_finishes_the_turn(void **state)
{
    struct world *world = *state;
    world->timer = loop_timer_new(world->loop, note_and_stop, world);
    world->other = loop_timer_new(world->loop, note_b, world);
    loop_timer_set(world->timer, 0);
    loop_timer_set(world->other, 0);
    run(world);
    assert_string_equal(world->trace, "b");
}

/* Freeing a loop frees the calls that never ran. */
static void test_waiting_posts_are_freed_with_the_loop(void **state)
{
    struct world *world = *state;
    assert_int_equal(loop_post(world->loop, count_call, world), 0);
    assert_int_equal(world->calls, 0);
}

/* Random bytes fill exactly what was asked for, and differ from call to call. */
static void test_random_fill_stays_in_its_bounds(void **state)
{
    (void)state;
    uint8_t a[70] = {0}, b[70] = {0};
    random_fill(a + 1, 68);
    random_fill(b + 1, 68);
    assert_int_equal(a[0] | a[69] | b[0] | b[69], 0);
    assert_memory_not_equal(a + 1, b + 1, 68);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timer_fires_once_and_never_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_delay_counts_from_the_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timer_can_be_moved_and_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timer_can_be_freed_in_its_callback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_posts_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_posts_from_other_threads_all_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_second_stop_does_not_end_the_next_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_finishes_the_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_waiting_posts_are_freed_with_the_loop, set_up, tear_down),
        cmocka_unit_test(test_random_fill_stays_in_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
