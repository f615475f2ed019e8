#include "common/kafka/offsets.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int set_up(void **state)
{
    *state = offsets_new();
    return *state != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    offsets_free(*state);
    return 0;
}

static void begin(struct offsets *offsets, int64_t first, int64_t last)
{
    for (int64_t offset = first; offset <= last; offset++)
        assert_int_equal(offsets_begin(offsets, offset, 0), 0);
}

/* Nothing was delivered, so nothing may be committed. */
static void test_nothing_to_commit_at_first(void **state)
{
    assert_int_equal(offsets_to_commit(*state), -1);
    assert_int_equal(offsets_unfinished(*state), 0);
}

/* The offset behind the last finished message is where a successor begins. */
static void test_finished_in_order_moves_on(void **state)
{
    begin(*state, 5, 7);
    offsets_finish(*state, 5);
    assert_int_equal(offsets_to_commit(*state), 6);
    offsets_finish(*state, 6);
    assert_int_equal(offsets_to_commit(*state), 7);
    assert_int_equal(offsets_unfinished(*state), 1);
}

/* The lowest unfinished message holds back all that are finished behind it. */
static void test_lowest_unfinished_holds_back(void **state)
{
    begin(*state, 0, 9);
    for (int64_t offset = 1; offset <= 9; offset++)
        offsets_finish(*state, offset);
    assert_int_equal(offsets_to_commit(*state), -1);
    assert_int_equal(offsets_unfinished(*state), 1);
    offsets_finish(*state, 0);
    assert_int_equal(offsets_to_commit(*state), 10);
}

/* Control records leave holes; the message behind a hole follows the one before it. */
static void test_holes_do_not_hold_back(void **state)
{
    begin(*state, 3, 3);
    begin(*state, 7, 7);
    begin(*state, 20, 20);
    offsets_finish(*state, 3);
    offsets_finish(*state, 7);
    assert_int_equal(offsets_to_commit(*state), 8);
    offsets_finish(*state, 20);
    assert_int_equal(offsets_to_commit(*state), 21);
}

/* What has been committed is not committed again until something moves. */
static void test_committed_is_not_offered_again(void **state)
{
    begin(*state, 0, 1);
    offsets_finish(*state, 0);
    offsets_committed(*state, 1);
    assert_int_equal(offsets_to_commit(*state), -1);
    offsets_finish(*state, 1);
    assert_int_equal(offsets_to_commit(*state), 2);
    /* A late answer to an earlier commit takes nothing back. */
    offsets_committed(*state, 2);
    offsets_committed(*state, 1);
    assert_int_equal(offsets_to_commit(*state), -1);
}

/* A redelivered message may end twice, or after its partition was taken away. */
static void test_unknown_and_repeated_ends_are_ignored(void **state)
{
    offsets_finish(*state, 4);
    begin(*state, 4, 6);
    offsets_finish(*state, 5);
    offsets_finish(*state, 5);
    offsets_finish(*state, 99);
    offsets_finish(*state, 3);
    assert_int_equal(offsets_unfinished(*state), 2);
    assert_int_equal(offsets_to_commit(*state), -1);
}

/* The lowest unfinished message is told with the time it was written, whatever is finished behind it. */
static void test_first_unfinished_is_told(void **state)
{
    int64_t offset = -1;
    int64_t written_ms = -1;

    assert_false(offsets_first_unfinished(*state, &offset, &written_ms));
    assert_int_equal(offset, -1);
    for (int64_t k = 10; k < 13; k++)
        assert_int_equal(offsets_begin(*state, k, 1000 * k), 0);
    offsets_finish(*state, 11);
    assert_true(offsets_first_unfinished(*state, &offset, &written_ms));
    assert_int_equal(offset, 10);
    assert_int_equal(written_ms, 10000);
    offsets_finish(*state, 10);
    assert_true(offsets_first_unfinished(*state, &offset, &written_ms));
    assert_int_equal(offset, 12);
    assert_int_equal(written_ms, 12000);
    offsets_finish(*state, 12);
    assert_false(offsets_first_unfinished(*state, &offset, &written_ms));
}

/* Against a plain list of flags, with ends in random order and holes, and the ring growing and wrapping. */
static void test_agrees_with_a_plain_list(void **state)
{
    enum { COUNT = 5000, WINDOW = 300 };
    static int64_t offset_of[COUNT];
    static unsigned char is_finished[COUNT];
    uint32_t random = 12345;
    int64_t offset = 0;
    size_t begun = 0;
    size_t lowest = 0;

    while (lowest < COUNT) {
        random = random * 1664525U + 1013904223U;
        if (begun < COUNT && begun - lowest < WINDOW && (random >> 16) % 3 != 0) {
            offset += 1 + (random >> 24) % 4;
            offset_of[begun] = offset;
            assert_int_equal(offsets_begin(*state, offset, 0), 0);
            begun++;
        } else if (begun > lowest) {
            size_t k = lowest + (random >> 8) % (begun - lowest);

            is_finished[k] = 1;
            offsets_finish(*state, offset_of[k]);
        }
        while (lowest < begun && is_finished[lowest])
            lowest++;
        assert_int_equal(offsets_to_commit(*state), lowest == 0 ? -1 : offset_of[lowest - 1] + 1);
    }
    assert_int_equal(offsets_unfinished(*state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_to_commit_at_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finished_in_order_moves_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lowest_unfinished_holds_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_holes_do_not_hold_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_committed_is_not_offered_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_and_repeated_ends_are_ignored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_first_unfinished_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_agrees_with_a_plain_list, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
