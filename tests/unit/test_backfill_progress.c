#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "ingest/backfill_progress.h"

static const char *text_of(const struct backfill_progress *progress, unsigned width)
{
    static char copy[512];
    struct text text;

    text_init(&text, sizeof(copy) - 1);
    assert_int_equal(backfill_progress_text(progress, width, &text), 0);
    memcpy(copy, text_string(&text), text.length + 1);
    text_done(&text);
    return copy;
}

/* 100 % means that all is done, and nothing to do is all. */
static void test_percent_is_whole_only_at_the_end(void **state)
{
    struct backfill_progress progress = {.phase = BACKFILL_TELLING, .done = 999999, .total = 1000000};

    (void)state;
    assert_int_equal(backfill_percent(&progress), 99);
    progress.done = progress.total;
    assert_int_equal(backfill_percent(&progress), 100);
    progress = (struct backfill_progress){.phase = BACKFILL_TELLING};
    assert_int_equal(backfill_percent(&progress), 100);
}

/* The speed is that of this run: what earlier runs have told took no time of it. */
static void test_time_left_follows_from_this_runs_speed(void **state)
{
    struct backfill_progress progress = {
        .phase = BACKFILL_TELLING, .done = 60, .done_before = 50, .total = 100, .elapsed_ms = 2000};

    (void)state;
    assert_int_equal(backfill_left_ms(&progress), 8000);
    progress.done = 50;
    assert_int_equal(backfill_left_ms(&progress), -1);
    progress.done = 100;
    assert_int_equal(backfill_left_ms(&progress), 0);
}

/* A bar where there is room, and the same line without one where there is none. */
static void test_line_has_a_bar_if_there_is_room(void **state)
{
    const struct backfill_progress progress = {
        .phase = BACKFILL_TELLING, .done = 50, .total = 200, .elapsed_ms = 100000};
    const struct backfill_progress done = {.phase = BACKFILL_TELLING, .done = 200, .total = 200, .elapsed_ms = 400000};

    (void)state;
    assert_string_equal(text_of(&progress, 80), "[#####---------------] 25 %, 50 of 200 records told, 5 min left");
    assert_string_equal(text_of(&progress, 0), "25 %, 50 of 200 records told, 5 min left");
    assert_string_equal(text_of(&done, 0), "100 %, 200 of 200 records told");
    assert_true(strlen(text_of(&progress, 72)) <= 72);
    assert_true(strlen(text_of(&progress, 400)) <= 110);
}

/* While it is not known how many there are, they are counted. */
static void test_listing_shows_a_count(void **state)
{
    const struct backfill_progress referrals = {.phase = BACKFILL_LISTING_REFERRALS, .done = 300};
    const struct backfill_progress rows = {.phase = BACKFILL_LISTING_ROWS, .done = 2000};

    (void)state;
    assert_string_equal(text_of(&referrals, 80), "Partner Center: 300 referrals listed");
    assert_string_equal(text_of(&rows, 80), "Dynamics 365: 2000 opportunities listed");
}

/* Batches and pauses together keep the limit, at its ends as well. */
static void test_pace_keeps_the_limit(void **state)
{
    (void)state;
    assert_int_equal(backfill_batch(1), 1);
    assert_int_equal(backfill_batch(50), 10);
    assert_int_equal(backfill_batch(1000), 100);
    assert_int_equal(backfill_pause_ms(1, 1), 1000);
    assert_int_equal(backfill_pause_ms(1, 2), 2000);
    assert_int_equal(backfill_pause_ms(1000, 100), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percent_is_whole_only_at_the_end),
        cmocka_unit_test(test_time_left_follows_from_this_runs_speed),
        cmocka_unit_test(test_line_has_a_bar_if_there_is_room),
        cmocka_unit_test(test_listing_shows_a_count),
        cmocka_unit_test(test_pace_keeps_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
