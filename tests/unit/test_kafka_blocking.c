#include "common/kafka/blocking.h"

#include <pthread.h>
#include <stdatomic.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct record {
    struct loop *loop;
    struct blocking *blocking;
    pthread_t job_thread;
    char order[8];
    size_t count;
    atomic_int jobs;
};

static int set_up(void **state)
{
    static struct record record;
    struct error err = ERROR_INIT;

    record = (struct record){0};
    *state = &record;
    return loop_new(&record.loop, &err) < 0 || blocking_new(record.loop, &record.blocking, &err) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct record *record = *state;

    blocking_free(record->blocking);
    loop_free(record->loop);
    return 0;
}

static void job(void *arg)
{
    struct record *record = arg;

    record->job_thread = pthread_self();
    atomic_fetch_add(&record->jobs, 1);
}

static void done_a(void *arg)
{
    struct record *record = arg;

    record->order[record->count++] = 'a';
}

static void done_b(void *arg)
{
    struct record *record = arg;

    record->order[record->count++] = 'b';
    loop_stop(record->loop);
}

/* Jobs run elsewhere, their ends come on the loop's thread and in order. */
static void test_ends_come_in_order_on_the_loop(void **state)
{
    struct record *record = *state;
    struct error err = ERROR_INIT;

    assert_int_equal(blocking_run(record->blocking, job, done_a, record), 0);
    assert_int_equal(blocking_run(record->blocking, job, NULL, record), 0);
    assert_int_equal(blocking_run(record->blocking, job, done_b, record), 0);
    assert_int_equal(loop_run(record->loop, &err), 0);
    assert_string_equal(record->order, "ab");
    assert_int_equal(atomic_load(&record->jobs), 3);
    assert_false(pthread_equal(record->job_thread, pthread_self()));
}

/* Freeing waits for the jobs and forgets their ends. */
static void test_free_waits_for_jobs(void **state)
{
    struct record *record = *state;

    assert_int_equal(blocking_run(record->blocking, job, done_a, record), 0);
    assert_int_equal(blocking_run(record->blocking, job, done_a, record), 0);
    blocking_free(record->blocking);
    record->blocking = NULL;
    assert_int_equal(atomic_load(&record->jobs), 2);
    assert_int_equal(record->count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ends_come_in_order_on_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_free_waits_for_jobs, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
