#include "ingest/refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct told {
    struct refusal_kind kinds[REFUSAL_KINDS_MAX + 1];
    uint64_t repeats[REFUSAL_KINDS_MAX + 1];
    size_t count;
};

static void tell(void *arg, const struct refusal_kind *kind, uint64_t repeats)
{
    struct told *told = arg;

    assert_true(told->count <= REFUSAL_KINDS_MAX);
    told->kinds[told->count] = *kind;
    told->repeats[told->count] = repeats;
    told->count++;
}

static struct told close_interval(struct refusals *refusals)
{
    struct told told = {.count = 0};

    refusals_close(refusals, tell, &told);
    return told;
}

static bool note(struct refusals *refusals, int status, const char *code, const char *detail)
{
    const struct refusal_kind kind = {.route = "partner-center", .status = status, .code = code, .detail = detail};

    return refusals_note(refusals, &kind);
}

/* The first of a kind is told at once and needs no further line. */
static void test_first_of_a_kind_is_told_at_once(void **state)
{
    struct refusals refusals = {.count = 0};

    (void)state;
    assert_true(note(&refusals, 401, "signature_invalid", "mismatch"));
    assert_int_equal(close_interval(&refusals).count, 0);
}

/* However many follow come to one line that says how many. */
static void test_further_ones_are_counted(void **state)
{
    struct refusals refusals = {.count = 0};
    struct told told;

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(note(&refusals, 401, "signature_invalid", "mismatch"), i == 0);
    told = close_interval(&refusals);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.repeats[0], 999);
    assert_int_equal(told.kinds[0].status, 401);
    assert_string_equal(told.kinds[0].code, "signature_invalid");
    assert_string_equal(told.kinds[0].detail, "mismatch");
}

/* Status, code, detail and route tell kinds apart; equal texts need not be the same pointer. */
static void test_kinds_differ_by_every_member(void **state)
{
    struct refusals refusals = {.count = 0};
    const struct refusal_kind elsewhere = {.route = "other", .status = 400, .code = "a", .detail = "x"};
    char code[] = "a";

    (void)state;
    assert_true(note(&refusals, 400, "a", "x"));
    assert_true(note(&refusals, 401, "a", "x"));
    assert_true(note(&refusals, 400, "b", "x"));
    assert_true(note(&refusals, 400, "a", "y"));
    assert_true(note(&refusals, 400, "a", NULL));
    assert_true(refusals_note(&refusals, &elsewhere));
    assert_false(note(&refusals, 400, code, "x"));
    assert_false(note(&refusals, 400, "a", NULL));
    assert_int_equal(close_interval(&refusals).count, 2);
}

/* After the end of an interval the first of a kind is told again, and counts begin at nothing. */
static void test_interval_begins_anew(void **state)
{
    struct refusals refusals = {.count = 0};

    (void)state;
    (void)note(&refusals, 400, "a", NULL);
    (void)note(&refusals, 400, "a", NULL);
    assert_int_equal(close_interval(&refusals).count, 1);
    assert_int_equal(close_interval(&refusals).count, 0);
    assert_true(note(&refusals, 400, "a", NULL));
    assert_false(note(&refusals, 400, "a", NULL));
    assert_int_equal(close_interval(&refusals).repeats[0], 1);
}

/* More kinds than there is room for cost no more lines, and none is lost from the count. */
static void test_kinds_are_bounded(void **state)
{
    struct refusals refusals = {.count = 0};
    struct told told;
    int told_at_once = 0;

    (void)state;
    for (int status = 0; status < 1000; status++)
        told_at_once += note(&refusals, status, "a", NULL);
    assert_int_equal(told_at_once, REFUSAL_KINDS_MAX - 1);
    told = close_interval(&refusals);
    assert_int_equal(told.count, 1);
    assert_string_equal(told.kinds[0].code, "other");
    assert_int_equal(told.repeats[0], 1000 - (REFUSAL_KINDS_MAX - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_of_a_kind_is_told_at_once),
        cmocka_unit_test(test_further_ones_are_counted),
        cmocka_unit_test(test_kinds_differ_by_every_member),
        cmocka_unit_test(test_interval_begins_anew),
        cmocka_unit_test(test_kinds_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
