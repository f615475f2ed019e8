#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "mapper/trial.h"
#include "tests/support/deals.h"

static const char RULES[] = "version: 1\n"
                            "crm: dynamics-365\n"
                            "record: opportunity\n"
                            "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
                            "select: {partner_center: {type: [Shared]}, crm: {sync: true}}\n"
                            "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
                            "fields:\n"
                            "  - {name: value, partner_center: details.dealValue, crm: value}\n"
                            "  - {name: notes, partner_center: details.notes, crm: notes}\n";

#define REFERRAL_WITH(value)                                                                           \
    "{'id': '" REFERRAL "', 'type': 'Shared', 'status': 'Active', 'externalReferenceId': '" CRM_RECORD \
    "', 'details': "                                                                                   \
    "{'dealValue': " value "}}"
#define ROW_WITH(value) \
    "{'opportunityid': '" CRM_RECORD "', 'sync': true, 'state': 1, 'referral_id': '" REFERRAL "', 'value': " value "}"

static void begin(struct scene *scene)
{
    scene_begin(scene, RULES, REFERRAL);
    scene_agrees(scene, REFERRAL_WITH("10"), ROW_WITH("10"));
}

/* The trial of the scene's deal and these two records decides at first what the deal then decides by itself when it reads
 * the record of `side`. */
static void assert_foretells(struct scene *scene, const char *referral, const char *row, enum side side)
{
    const struct decision *decision = &scene->effects.decision;
    struct trial_input input = {.now = {[SIDE_PARTNER_CENTER] = json_of(referral), [SIDE_CRM] = json_of(row)},
                                .deal = &scene->deal};
    json_t *steps = NULL;
    struct error err;

    assert_int_equal(trial_run(scene->rules, &input, &steps, &err), 0);
    reading_arrives(scene, side, 9, side == SIDE_CRM ? row : referral);
    assert_true(scene->effects.has_decision);
    assert_int_equal(decision->action, DECISION_UPDATE);
    const json_t *shown = json_object_get(json_array_get(steps, 0), "decision");
    assert_string_equal(json_text_of(shown, "target"), decision->target);
    assert_string_equal(json_text_of(shown, "reason"), decision->reason);
    assert_true(json_equal(json_object_get(shown, "write"), decision->write));
    json_decref(steps);
    for (int one = 0; one < SIDE_COUNT; one++)
        json_decref(input.now[one]);
}

/* A deal that rests because a record of it was not there goes on with the record that is given. */
static void test_record_that_is_given_is_there(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    gone_arrives(&scene, SIDE_PARTNER_CENTER, "not_found");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, ROW_WITH("10")));
    assert_string_equal(scene.deal.rests, "referral_gone");
    assert_foretells(&scene, REFERRAL_WITH("12"), ROW_WITH("10"), SIDE_PARTNER_CENTER);
    scene_end(&scene);

    begin(&scene);
    gone_arrives(&scene, SIDE_CRM, "forbidden");
    assert_string_equal(scene.deal.rests, "crm_gone");
    assert_foretells(&scene, REFERRAL_WITH("10"), ROW_WITH("12"), SIDE_CRM);
    scene_end(&scene);
}

/* A deal that waits for a fresh record, because its target changed faster than it could be written, goes on with those given. */
static void test_given_records_are_fresh(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("12"));
    for (int round = 0; round <= MERGE_CONFLICT_ROUNDS_MAX; round++) {
        assert_writes(&scene, "crm", "{'value': 12}");
        outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents_of(SIDE_CRM, 1, ROW_WITH("10")));
    }
    assert_null(scene.deal.pending);
    assert_foretells(&scene, REFERRAL_WITH("13"), ROW_WITH("10"), SIDE_PARTNER_CENTER);
    scene_end(&scene);
}

/* What was refused of the deal is left out of what is foretold, as the deal leaves it out. */
static void test_refused_field_is_left_out(void **state)
{
#define NOTED_REFERRAL(value)                                                                          \
    "{'id': '" REFERRAL "', 'type': 'Shared', 'status': 'Active', 'externalReferenceId': '" CRM_RECORD \
    "', 'details': {'dealValue': " value ", 'notes': 'n'}}"
#define NOTED_ROW(value, notes)                                                                                    \
    "{'opportunityid': '" CRM_RECORD "', 'sync': true, 'state': 1, 'referral_id': '" REFERRAL "', 'value': " value \
    ", 'notes': '" notes "'}"
    (void)state;
    struct scene scene;
    scene_begin(&scene, RULES, REFERRAL);
    scene_agrees(&scene, NOTED_REFERRAL("10"), NOTED_ROW("10", "n"));
    reading_arrives(&scene, SIDE_CRM, 2, NOTED_ROW("11", "m"));
    refusal_arrives(&scene, "partner_center.refused", "details.notes",
                    documents_of(SIDE_PARTNER_CENTER, 1, NOTED_REFERRAL("10")));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 2, NOTED_REFERRAL("11")));
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 3, NOTED_ROW("11", "m")));
    assert_null(scene.deal.pending);
    assert_foretells(&scene, NOTED_REFERRAL("11"), NOTED_ROW("12", "m"), SIDE_CRM);
    assert_writes(&scene, "partner-center", "{'details.dealValue': 12}");
    scene_end(&scene);
#undef NOTED_REFERRAL
#undef NOTED_ROW
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_that_is_given_is_there),
        cmocka_unit_test(test_given_records_are_fresh),
        cmocka_unit_test(test_refused_field_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
