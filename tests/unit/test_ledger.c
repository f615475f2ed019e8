#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/ledger.h"
#include "tests/support/deals.h"

#define ROW(city, notes) \
    "{'referral_id': '" REFERRAL "', 'sync': true, 'state': 1, 'city': '" city "', 'notes': '" notes "'}"

/* A deal whose city and notes were written to the CRM; the outcome, of version 2, is known at 00:02. */
static void begin(struct scene *scene)
{
    scene_begin(scene, DEAL_RULES, REFERRAL);
    scene_agrees(scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A', 'details': {'notes': 'n'}}",
                 "{'sync': true, 'state': 1, 'city': 'A', 'notes': 'n'}");
    reading_arrives(scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Shared', 'status': 'Active', 'city': 'B', 'details': {'notes': 'm'}, "
                    "'externalReferenceId': '" CRM_RECORD "'}");
    outcome_arrives(scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, ROW("B", "m")));
}

static void read_at(struct scene *scene, int version, const char *body, const char *at)
{
    json_t *documents = documents_of(SIDE_CRM, version, body);
    struct record record = {.kind = RECORD_READING,
                            .side = text_copy("crm"),
                            .record_id = text_copy(CRM_RECORD),
                            .read_at = text_copy(at),
                            .documents = documents};
    message_arrives(scene, &record);
}

/* Our own write that comes back is known by its values, field by field, once. */
static void test_echo_is_known_by_value(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    assert_int_equal(scene.effects.echoes, 0);
    read_at(&scene, 2, ROW("B", "m"), "2026-01-01T00:02:01Z");
    assert_int_equal(scene.effects.echoes, 2);
    assert_none(&scene, "echo");
    assert_null(scene.effects.decision.near_misses);
    read_at(&scene, 2, ROW("B", "m"), "2026-01-01T00:02:02Z");
    assert_int_equal(scene.effects.echoes, 0);
    scene_end(&scene);
}

/* An echo that overtakes its outcome counts too. */
static void test_echo_before_the_outcome(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    scene_agrees(&scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A'}",
                 "{'sync': true, 'state': 1, 'city': 'A', 'notes': 'n'}");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Shared', 'status': 'Active', 'city': 'B', 'externalReferenceId': '" CRM_RECORD "'}");
    reading_arrives(&scene, SIDE_CRM, 2, ROW("B", "n"));
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, ROW("B", "n")));
    assert_int_equal(scene.effects.echoes, 1);
    assert_null(scene.deal.ledger);
    scene_end(&scene);
}

/* Another value in a field soon after our write is a near miss, told with the decision it leads to. */
static void test_other_value_soon_after_is_a_near_miss(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    read_at(&scene, 3, ROW("C", "m"), "2026-01-01T00:02:30Z");
    assert_int_equal(scene.effects.echoes, 1);
    assert_writes(&scene, "partner-center", "{'city': 'C'}");
    assert_json_is(json_incref(scene.effects.decision.near_misses),
                   "[{'name': 'city', 'written': 'B', 'found': 'C', 'decision': '" REFERRAL "#1'}]");
    scene_end(&scene);
}

/* Later it is an edit like any other. */
static void test_other_value_later_is_an_edit(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    read_at(&scene, 3, ROW("C", "m"), "2026-01-01T00:03:01Z");
    assert_writes(&scene, "partner-center", "{'city': 'C'}");
    assert_null(scene.effects.decision.near_misses);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_is_known_by_value),
        cmocka_unit_test(test_echo_before_the_outcome),
        cmocka_unit_test(test_other_value_soon_after_is_a_near_miss),
        cmocka_unit_test(test_other_value_later_is_an_edit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
