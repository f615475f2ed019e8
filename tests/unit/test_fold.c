#include "ingest/fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int items_alive;

static void free_item(struct fold_item *item)
{
    items_alive--;
    free(item);
}

static struct fold_item *item_new(int32_t partition, int64_t offset)
{
    struct fold_item *item = calloc(1, sizeof(*item));

    assert_non_null(item);
    item->partition = partition;
    item->offset = offset;
    items_alive++;
    return item;
}

static int set_up(void **state)
{
    items_alive = 0;
    *state = fold_new(2, free_item);
    return *state == NULL ? -1 : 0;
}

/* Whatever a case leaves, nothing leaks and nothing is freed twice. */
static int tear_down(void **state)
{
    fold_free(*state);
    return items_alive == 0 ? 0 : -1;
}

static void add(struct fold *fold, size_t group, const char *key, int32_t partition, int64_t offset)
{
    assert_int_equal(fold_add(fold, group, key, item_new(partition, offset)), 0);
}

static void expect_batch(const struct fold_record *record, const int64_t *offsets, size_t count)
{
    const struct fold_item *item = record->batch;

    for (size_t i = 0; i < count; i++) {
        assert_non_null(item);
        assert_int_equal(item->offset, offsets[i]);
        item = item->next;
    }
    assert_null(item);
}

/* A read that ends without a rest. */
static void end_read(struct fold *fold, struct fold_record *record)
{
    fold_end(fold, record, 0);
    (void)fold_wake(fold, 0);
}

/* A record just read is not read again before its time, whatever arrives; then one read answers all of it. */
static void test_record_rests_after_a_read(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    struct fold_record *record = fold_take(fold, 0);
    fold_end(fold, record, 200);
    assert_int_equal(fold_records(fold), 0);
    add(fold, 0, "a", 0, 2);
    add(fold, 0, "a", 0, 3);
    assert_int_equal(fold_wake(fold, 199), 200);
    assert_null(fold_take(fold, 0));
    assert_int_equal(fold_wake(fold, 200), -1);
    record = fold_take(fold, 0);
    expect_batch(record, (const int64_t[]){2, 3}, 2);
    fold_end(fold, record, 400);
    /* Nothing came meanwhile: it is gone, and what comes later is read at once. */
    assert_int_equal(fold_wake(fold, 400), -1);
    add(fold, 0, "a", 0, 4);
    assert_non_null(fold_take(fold, 0));
}

/* Ten events of one record while it waits are answered by one read, in their order. */
static void test_waiting_notifications_fold_into_one_read(void **state)
{
    struct fold *fold = *state;
    static const int64_t offsets[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

    for (int64_t i = 0; i < 10; i++)
        add(fold, 0, "a", 0, i);
    assert_int_equal(fold_records(fold), 1);
    struct fold_record *record = fold_take(fold, 0);
    expect_batch(record, offsets, 10);
    assert_null(fold_take(fold, 0));
    end_read(fold, record);
    assert_int_equal(fold_records(fold), 0);
    assert_int_equal(items_alive, 0);
}

/* What arrives during a read is not answered by it, but all of it by the next one. */
static void test_arrivals_during_a_read_wait_for_the_next(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    struct fold_record *record = fold_take(fold, 0);
    add(fold, 0, "a", 0, 2);
    add(fold, 0, "a", 0, 3);
    expect_batch(record, (const int64_t[]){1}, 1);
    /* Not a second read beside the running one. */
    assert_null(fold_take(fold, 0));
    end_read(fold, record);
    record = fold_take(fold, 0);
    expect_batch(record, (const int64_t[]){2, 3}, 2);
    end_read(fold, record);
    assert_null(fold_take(fold, 0));
}

/* Records are taken in the order in which they were queued; one that is queued again goes to the end. */
static void test_records_are_taken_in_order(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    add(fold, 0, "b", 0, 2);
    struct fold_record *a = fold_take(fold, 0);
    assert_string_equal(a->key, "a");
    add(fold, 0, "a", 0, 3);
    add(fold, 0, "c", 0, 4);
    end_read(fold, a);
    assert_string_equal(fold_take(fold, 0)->key, "b");
    assert_string_equal(fold_take(fold, 0)->key, "c");
    assert_string_equal(fold_take(fold, 0)->key, "a");
}

/* A group that nobody takes from does not hold up another. */
static void test_groups_are_independent(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    add(fold, 1, "b", 0, 2);
    assert_int_equal(fold_queued(fold, 0), 1);
    assert_int_equal(fold_queued(fold, 1), 1);
    assert_string_equal(fold_take(fold, 1)->key, "b");
    assert_null(fold_take(fold, 1));
    assert_string_equal(fold_take(fold, 0)->key, "a");
}

/* A failed read is repeated not before its time, for the same notifications and those that came meanwhile. */
static void test_retry_waits_and_joins_what_came_meanwhile(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    struct fold_record *record = fold_take(fold, 0);
    record->retry.attempts = 1;
    fold_retry(fold, record, 500);
    add(fold, 0, "a", 0, 2);
    assert_int_equal(fold_wake(fold, 499), 500);
    assert_null(fold_take(fold, 0));
    assert_int_equal(fold_wake(fold, 500), -1);
    record = fold_take(fold, 0);
    assert_int_equal(record->retry.attempts, 1);
    expect_batch(record, (const int64_t[]){1, 2}, 2);
    end_read(fold, record);
    assert_int_equal(fold_records(fold), 0);
}

/* The earliest of several delayed records is the one to wake up for. */
static void test_wake_tells_the_next_time(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    add(fold, 0, "b", 0, 2);
    add(fold, 0, "c", 0, 3);
    fold_retry(fold, fold_take(fold, 0), 300);
    fold_retry(fold, fold_take(fold, 0), 100);
    fold_retry(fold, fold_take(fold, 0), 200);
    assert_int_equal(fold_wake(fold, 0), 100);
    assert_int_equal(fold_wake(fold, 150), 200);
    assert_string_equal(fold_take(fold, 0)->key, "b");
    assert_int_equal(fold_wake(fold, 300), -1);
    assert_int_equal(fold_queued(fold, 0), 2);
}

/* When a system lets us in again, its delayed records need not wait, and those of other systems still do. */
static void test_hurry_queues_one_group(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    add(fold, 0, "b", 0, 2);
    add(fold, 1, "c", 0, 3);
    fold_retry(fold, fold_take(fold, 0), 1000);
    fold_retry(fold, fold_take(fold, 0), 2000);
    fold_retry(fold, fold_take(fold, 1), 3000);
    fold_hurry(fold, 0);
    assert_int_equal(fold_queued(fold, 0), 2);
    assert_int_equal(fold_wake(fold, 0), 3000);
    assert_null(fold_take(fold, 1));
}

/* The attempts of one batch do not count for the next. */
static void test_attempts_begin_anew_after_an_answer(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 0, 1);
    struct fold_record *record = fold_take(fold, 0);
    record->retry.attempts = 7;
    add(fold, 0, "a", 0, 2);
    end_read(fold, record);
    assert_int_equal(fold_take(fold, 0)->retry.attempts, 0);
}

/* A partition that is taken away takes its notifications along, and only those, in every state. */
static void test_forget_releases_one_partition_only(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "queued", 1, 1);
    add(fold, 0, "reading", 1, 2);
    add(fold, 0, "delayed", 1, 3);
    fold_retry(fold, fold_take(fold, 0), 10);
    assert_int_equal(fold_wake(fold, 20), -1);
    struct fold_record *reading = fold_take(fold, 0);
    assert_string_equal(reading->key, "reading");
    add(fold, 0, "reading", 1, 4);
    add(fold, 0, "reading", 2, 5);
    add(fold, 0, "mixed", 1, 6);
    add(fold, 0, "mixed", 2, 7);
    add(fold, 0, "mixed", 1, 8);

    fold_forget(fold, 1);
    assert_int_equal(items_alive, 2);
    assert_int_equal(fold_records(fold), 2);
    assert_null(reading->batch);
    end_read(fold, reading);
    struct fold_record *mixed = fold_take(fold, 0);
    assert_string_equal(mixed->key, "mixed");
    expect_batch(mixed, (const int64_t[]){7}, 1);
    reading = fold_take(fold, 0);
    expect_batch(reading, (const int64_t[]){5}, 1);
    assert_null(fold_take(fold, 0));
}

/* After the last of several waiting ones was taken away, the next one to arrive still finds its place. */
static void test_arrival_after_forget_is_kept(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 2, 1);
    add(fold, 0, "a", 1, 2);
    fold_forget(fold, 1);
    add(fold, 0, "a", 2, 3);
    expect_batch(fold_take(fold, 0), (const int64_t[]){1, 3}, 2);
}

/* A read whose notifications were all taken away is not repeated. */
static void test_retry_without_batch_ends(void **state)
{
    struct fold *fold = *state;

    add(fold, 0, "a", 1, 1);
    struct fold_record *record = fold_take(fold, 0);
    fold_forget(fold, 1);
    fold_retry(fold, record, 10);
    assert_int_equal(fold_records(fold), 0);
    assert_int_equal(fold_wake(fold, 20), -1);
}

/* Many records are all found again, each once. */
static void test_many_records_keep_apart(void **state)
{
    enum { RECORDS = 5000 };
    struct fold *fold = *state;
    char key[48];

    for (int64_t round = 0; round < 2; round++) {
        for (int64_t i = 0; i < RECORDS; i++) {
            (void)snprintf(key, sizeof(key), "partner-center/%lld", (long long)i);
            add(fold, 0, key, 0, round * RECORDS + i);
        }
    }
    assert_int_equal(fold_records(fold), RECORDS);
    for (int64_t i = 0; i < RECORDS; i++) {
        struct fold_record *record = fold_take(fold, 0);
        expect_batch(record, (const int64_t[]){i, RECORDS + i}, 2);
        end_read(fold, record);
    }
    assert_int_equal(fold_records(fold), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_record_rests_after_a_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_waiting_notifications_fold_into_one_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arrivals_during_a_read_wait_for_the_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_records_are_taken_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_groups_are_independent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_retry_waits_and_joins_what_came_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wake_tells_the_next_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hurry_queues_one_group, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attempts_begin_anew_after_an_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forget_releases_one_partition_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arrival_after_forget_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_retry_without_batch_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_records_keep_apart, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
