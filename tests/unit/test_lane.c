#include "pusher/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct lane_item items[4];

static int set_up(void **state)
{
    struct lanes *lanes = NULL;
    struct error err = ERROR_INIT;

    memset(items, 0, sizeof(items));
    if (lanes_new(2, &lanes, &err) < 0)
        return -1;
    *state = lanes;
    return 0;
}

static int tear_down(void **state)
{
    lanes_free(*state);
    return 0;
}

static bool add(struct lanes *lanes, const char *key, size_t item)
{
    struct error err = ERROR_INIT;
    bool is_first = false;

    assert_int_equal(lanes_add(lanes, key, &items[item], &is_first, &err), 0);
    return is_first;
}

/* Only the first of a deal may begin; the next one may when it has ended, and no other. */
static void test_lane_runs_one_at_a_time_in_order(void **state)
{
    struct lanes *lanes = *state;

    assert_true(add(lanes, "a", 0));
    assert_false(add(lanes, "a", 1));
    assert_false(add(lanes, "a", 2));
    assert_ptr_equal(lanes_remove(lanes, &items[0]), &items[1]);
    assert_ptr_equal(lanes_remove(lanes, &items[1]), &items[2]);
    assert_null(lanes_remove(lanes, &items[2]));
    assert_true(add(lanes, "a", 0));
}

/* A lane whose first waits to be repeated holds back its own followers and nobody else's. */
static void test_lane_keeps_order_while_first_is_parked(void **state)
{
    struct lanes *lanes = *state;

    assert_true(add(lanes, "a", 0));
    assert_false(add(lanes, "a", 1));
    lanes_park(lanes, &items[0], true);
    assert_int_equal(lanes_parked(lanes), 1);
    assert_true(add(lanes, "b", 2));
    assert_false(add(lanes, "a", 3));
    lanes_park(lanes, &items[0], false);
    assert_int_equal(lanes_parked(lanes), 0);
    assert_ptr_equal(lanes_remove(lanes, &items[0]), &items[1]);
}

/* Who is taken out of the middle lets nobody begin, and the order of the others stays. */
static void test_lane_removes_from_the_middle(void **state)
{
    struct lanes *lanes = *state;

    add(lanes, "a", 0);
    add(lanes, "a", 1);
    add(lanes, "a", 2);
    assert_null(lanes_remove(lanes, &items[1]));
    assert_int_equal(lanes_queued(lanes), 1);
    assert_null(lanes_remove(lanes, &items[2]));
    assert_false(add(lanes, "a", 3));
    assert_ptr_equal(lanes_remove(lanes, &items[0]), &items[3]);
}

/* Counts of lanes and waiting items follow what is added and removed, and end at zero. */
static void test_lane_counts_return_to_zero(void **state)
{
    struct lanes *lanes = *state;

    add(lanes, "a", 0);
    add(lanes, "a", 1);
    add(lanes, "b", 2);
    assert_int_equal(lanes_active(lanes), 2);
    assert_int_equal(lanes_queued(lanes), 1);
    lanes_park(lanes, &items[0], true);
    lanes_remove(lanes, &items[0]);
    lanes_remove(lanes, &items[1]);
    lanes_remove(lanes, &items[2]);
    assert_int_equal(lanes_active(lanes), 0);
    assert_int_equal(lanes_queued(lanes), 0);
    assert_int_equal(lanes_parked(lanes), 0);
    assert_null(lanes_remove(lanes, &items[2]));
}

/* A decision older than one carried out is superseded, also after the lane ran empty; the same one again is not. */
static void test_lane_recognises_an_older_decision(void **state)
{
    struct lanes *lanes = *state;

    add(lanes, "a", 0);
    assert_false(lane_is_superseded(&items[0], 7));
    lane_note_executed(&items[0], 7);
    lane_note_executed(&items[0], 6);
    lanes_remove(lanes, &items[0]);
    add(lanes, "a", 1);
    assert_true(lane_is_superseded(&items[1], 6));
    assert_false(lane_is_superseded(&items[1], 7));
    assert_false(lane_is_superseded(&items[1], 8));
    lane_forget_numbers(&items[1]);
    assert_false(lane_is_superseded(&items[1], 6));
}

/* A deal's decisions are numbered without a gap: what lies between two of them is missing. */
static void test_lane_tells_missing_decisions(void **state)
{
    struct lanes *lanes = *state;

    add(lanes, "a", 0);
    assert_int_equal(lane_note_taken(&items[0], 7), 0);
    assert_int_equal(lane_note_taken(&items[0], 7), 0);
    assert_int_equal(lane_note_taken(&items[0], 8), 0);
    assert_int_equal(lane_note_taken(&items[0], 11), 2);
    assert_int_equal(lane_note_taken(&items[0], 10), 0);
    assert_int_equal(lane_note_taken(&items[0], 12), 0);
    lane_forget_numbers(&items[0]);
    assert_int_equal(lane_note_taken(&items[0], 20), 0);
}

/* Empty lanes are remembered up to the limit, the longest unused is forgotten first. */
static void test_lane_forgets_the_oldest_idle(void **state)
{
    static const char *const KEYS[] = {"a", "b", "c"};
    struct lanes *lanes = *state;

    for (size_t i = 0; i < 3; i++) {
        add(lanes, KEYS[i], 0);
        lane_note_executed(&items[0], 9);
        lanes_remove(lanes, &items[0]);
    }
    add(lanes, "a", 0);
    add(lanes, "c", 1);
    assert_false(lane_is_superseded(&items[0], 1));
    assert_true(lane_is_superseded(&items[1], 1));
    lanes_forget_idle(lanes);
    add(lanes, "b", 2);
    assert_false(lane_is_superseded(&items[2], 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lane_runs_one_at_a_time_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lane_keeps_order_while_first_is_parked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lane_removes_from_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lane_counts_return_to_zero, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lane_recognises_an_older_decision, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lane_tells_missing_decisions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lane_forgets_the_oldest_idle, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
