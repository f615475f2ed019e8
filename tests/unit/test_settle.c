#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "tests/support/deals.h"

#define PARKED_MEMO "[{'name': 'memo', 'partner_center': 'p', 'crm': 'c', 'policy': 'manual', 'winner': 'nobody'}]"

/* Takes over new readings of both sides; NULL: none. */
static void both_change(struct scene *scene, int partner_center_version, const char *partner_center, int crm_version,
                        const char *crm)
{
    const char *const bodies[SIDE_COUNT] = {partner_center, crm};
    const int versions[SIDE_COUNT] = {partner_center_version, crm_version};
    struct error err = ERROR_INIT;

    for (int side = 0; side < SIDE_COUNT; side++) {
        struct deal_sight sight;
        if (bodies[side] == NULL)
            continue;
        json_t *documents = documents_of((enum side)side, versions[side], bodies[side]);
        assert_int_equal(deal_see(&scene->deal, scene->rules, (enum side)side, documents, &sight, &err), 0);
        json_decref(documents);
    }
}

struct wanted {
    const char *crm, *partner_center; /* writes */
    const char *conflicts;            /* NULL: none */
    const char *held_back;            /* NULL: nothing */
};

static void assert_settles(struct scene *scene, const struct wanted *wanted)
{
    struct settlement settlement;
    struct error err = ERROR_INIT;
    assert_int_equal(settlement_init(&settlement, &err), 0);
    assert_int_equal(settle_updates(&scene->deal, scene->rules, &settlement, &err), 0);
    assert_json_is(json_incref(settlement.write[SIDE_CRM]), wanted->crm == NULL ? "{}" : wanted->crm);
    assert_json_is(json_incref(settlement.write[SIDE_PARTNER_CENTER]),
                   wanted->partner_center == NULL ? "{}" : wanted->partner_center);
    assert_json_is(json_incref(settlement.conflicts), wanted->conflicts == NULL ? "[]" : wanted->conflicts);
    if (wanted->held_back == NULL)
        assert_null(settlement.held_back);
    else
        assert_string_equal(settlement.held_back == NULL ? "(nothing)" : settlement.held_back, wanted->held_back);
    settlement_done(&settlement);
}

static void assert_base(const struct scene *scene, const char *field, const char *partner_center, const char *crm)
{
    assert_json_is(json_incref(json_object_get(scene->deal.base[SIDE_PARTNER_CENTER], field)), partner_center);
    assert_json_is(json_incref(json_object_get(scene->deal.base[SIDE_CRM], field)), crm);
}

static void begin(struct scene *scene, const char *partner_center, const char *crm)
{
    scene_begin(scene, DEAL_RULES, REFERRAL);
    scene_agrees(scene, partner_center, crm);
}

/* The rule "moved": a side is held against its own base, so a text that was cut is no change. */
static void test_side_is_held_against_its_own_base(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'details': {'notes': 'a long text', 'dealValue': 1.005}}", "{'notes': 'a long t', 'value': 1}");
    assert_settles(&scene, &(struct wanted){0});
    both_change(&scene, 2, "{'details': {'notes': 'a long text', 'dealValue': 1.0050}, 'other': 1}", 0, NULL);
    assert_settles(&scene, &(struct wanted){0});
    scene_end(&scene);
}

/* One side moved: its value goes to the other, and only that. */
static void test_one_side_moved(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'city': 'A', 'details': {'notes': 'n'}}", "{'city': 'A', 'notes': 'n'}");
    both_change(&scene, 2, "{'city': 'A', 'details': {'notes': 'a long text'}}", 2, "{'city': 'B', 'notes': 'n'}");
    assert_settles(&scene, &(struct wanted){.crm = "{'notes': 'a long t'}", .partner_center = "{'city': 'B'}"});
    scene_end(&scene);
}

/* A field that is not written back does not count as moved there. */
static void test_change_on_a_side_that_is_not_read_back(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'name': 'a'}", "{'name': 'a'}");
    both_change(&scene, 2, NULL, 2, "{'name': 'changed by a seller'}");
    assert_settles(&scene, &(struct wanted){0});
    both_change(&scene, 2, "{'name': 'b'}", 0, NULL);
    assert_settles(&scene, &(struct wanted){.crm = "{'name': 'b'}"});
    scene_end(&scene);
}

/* The rule "agree": both sides came to the same by themselves; that is the new base and nothing is written. */
static void test_sides_agree_by_themselves(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'details': {'notes': 'n', 'dealValue': 1}}", "{'notes': 'n', 'value': 1}");
    both_change(&scene, 2, "{'details': {'notes': 'another text', 'dealValue': '2.004'}}", 2,
                "{'notes': 'another ', 'value': 2.0}");
    assert_settles(&scene, &(struct wanted){0});
    assert_base(&scene, "notes", "'another text'", "'another '");
    assert_base(&scene, "value", "'2.004'", "2");
    scene_end(&scene);
}

/* The rule "metadata": what is written is already what the target can hold, and no write comes of less. */
static void test_values_fit_the_target_before_they_are_compared(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'details': {'dealValue': 1}}", "{'value': 1}");
    both_change(&scene, 2, "{'details': {'dealValue': 1.001}}", 0, NULL);
    assert_settles(&scene, &(struct wanted){0});
    assert_base(&scene, "value", "1.001", "1");
    both_change(&scene, 3, "{'details': {'dealValue': 2.005}}", 0, NULL);
    assert_settles(&scene, &(struct wanted){.crm = "{'value': 2}"});
    scene_end(&scene);
}

/* Both moved: Partner Center, or the CRM, by the field's policy. */
static void test_policies_of_one_side(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'city': 'A', 'details': {'notes': 'n'}}", "{'city': 'A', 'notes': 'n'}");
    both_change(&scene, 2, "{'city': 'P', 'details': {'notes': 'p'}}", 2, "{'city': 'C', 'notes': 'c'}");
    assert_settles(&scene,
                   &(struct wanted){.crm = "{'notes': 'p'}",
                                    .partner_center = "{'city': 'C'}",
                                    .conflicts = "[{'name': 'notes', 'partner_center': 'p', 'crm': 'c',"
                                                 " 'policy': 'partner-center', 'winner': 'partner-center'},"
                                                 " {'name': 'city', 'partner_center': 'P', 'crm': 'C', 'policy': 'crm',"
                                                 " 'winner': 'crm'}]"});
    scene_end(&scene);
}

/* Both moved under latest: the later record; at the same time Partner Center. */
static void test_policy_latest(void **state)
{
    (void)state;
    static const struct {
        int partner_center, crm;
        const char *winner;
    } rows[] = {{2, 3, "crm"}, {3, 2, "partner-center"}, {2, 2, "partner-center"}};
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct scene scene;
        const bool is_crm = strcmp(rows[i].winner, "crm") == 0;
        begin(&scene, "{'details': {'dealValue': 1}}", "{'value': 1}");
        both_change(&scene, rows[i].partner_center, "{'details': {'dealValue': 2}}", rows[i].crm, "{'value': 3}");
        assert_settles(&scene,
                       &(struct wanted){.crm = is_crm ? NULL : "{'value': 2}",
                                        .partner_center = is_crm ? "{'details.dealValue': 3}" : NULL,
                                        .conflicts = is_crm ? "[{'name': 'value', 'partner_center': 2, 'crm': 3,"
                                                              " 'policy': 'latest', 'winner': 'crm'}]"
                                                            : "[{'name': 'value', 'partner_center': 2, 'crm': 3,"
                                                              " 'policy': 'latest', 'winner': 'partner-center'}]"});
        scene_end(&scene);
    }
}

/* Both moved under manual: nothing is written, both values are kept, until one side takes its change back. */
static void test_policy_manual(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'memo': 'm'}", "{'memo': 'm'}");
    both_change(&scene, 2, "{'memo': 'p'}", 2, "{'memo': 'c'}");
    assert_settles(&scene, &(struct wanted){.held_back = "manual", .conflicts = PARKED_MEMO});
    assert_json_is(json_incref(scene.deal.parked), "{'memo': {'partner_center': 'p', 'crm': 'c'}}");
    both_change(&scene, 3, "{'memo': 'p'}", 0, NULL); /* the same again is not told again */
    assert_settles(&scene, &(struct wanted){.held_back = "manual"});
    both_change(&scene, 4, "{'memo': 'm'}", 0, NULL);
    assert_settles(&scene, &(struct wanted){.partner_center = "{'memo': 'c'}"});
    assert_json_is(json_incref(scene.deal.parked), "{}");
    scene_end(&scene);
}

/* Parked values that meet are settled. */
static void test_parked_values_that_meet(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'memo': 'm'}", "{'memo': 'm'}");
    both_change(&scene, 2, "{'memo': 'p'}", 2, "{'memo': 'c'}");
    assert_settles(&scene, &(struct wanted){.held_back = "manual", .conflicts = PARKED_MEMO});
    both_change(&scene, 0, NULL, 3, "{'memo': 'p'}");
    assert_settles(&scene, &(struct wanted){.conflicts = "[{'name': 'memo', 'partner_center': 'p', 'crm': 'p', "
                                                         "'policy': 'manual', 'winner': 'both'}]"});
    assert_json_is(json_incref(scene.deal.parked), "{}");
    assert_base(&scene, "memo", "'p'", "'p'");
    scene_end(&scene);
}

/* A null of Partner Center is unknown: it deletes nothing. A cleared column of the CRM is a value. */
static void test_null_of_partner_center_deletes_nothing(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'city': 'A', 'memo': 'm'}", "{'city': 'A', 'memo': 'm'}");
    both_change(&scene, 2, "{'city': null}", 2, "{'city': 'A', 'memo': null}");
    assert_settles(&scene, &(struct wanted){.partner_center = "{'memo': null}"});
    scene_end(&scene);
}

/* The empty text is a value on both sides, and not the same as null. */
static void test_empty_text_is_a_value(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'city': 'A', 'memo': 'm'}", "{'city': 'A', 'memo': 'm'}");
    both_change(&scene, 2, "{'city': '', 'memo': 'm'}", 2, "{'city': 'A', 'memo': ''}");
    assert_settles(&scene, &(struct wanted){.crm = "{'city': ''}", .partner_center = "{'memo': ''}"});
    scene_end(&scene);
}

/* Without a base every value that says something is a change; null says nothing. */
static void test_records_that_meet_without_a_base(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    both_change(&scene, 1, "{'city': 'A', 'details': {'notes': 'same'}}", 1,
                "{'city': null, 'notes': 'same', 'value': 5}");
    assert_settles(&scene, &(struct wanted){.crm = "{'city': 'A'}", .partner_center = "{'details.dealValue': 5}"});
    assert_base(&scene, "notes", "'same'", "'same'");
    scene_end(&scene);
}

/* Closed at Partner Center is final: its values go to the CRM, the CRM's are held back. */
static void test_closed_referral_is_final(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'status': 'Active', 'city': 'A', 'memo': 'm'}", "{'state': 1, 'city': 'A', 'memo': 'm'}");
    both_change(&scene, 2, "{'status': 'Closed', 'city': 'P', 'memo': 'm'}", 2,
                "{'state': 1, 'city': 'C', 'memo': 'c'}");
    assert_settles(&scene, &(struct wanted){.crm = "{'state': 2, 'city': 'P'}",
                                            .conflicts = "[{'name': 'city', 'partner_center': 'P', 'crm': 'C',"
                                                         " 'policy': 'closed', 'winner': 'partner-center'}]",
                                            .held_back = "partner_center_closed"});
    scene_end(&scene);
}

/* A CRM record that was reopened does not reopen the referral. */
static void test_nothing_reopens_a_referral(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'status': 'Closed'}", "{'state': 2}");
    both_change(&scene, 0, NULL, 2, "{'state': 1}");
    assert_settles(&scene, &(struct wanted){.held_back = "partner_center_closed"});
    scene_end(&scene);
}

/* A closed CRM record is not written; that it was closed goes to Partner Center. */
static void test_closed_crm_record_is_not_written(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'status': 'Active', 'city': 'A'}", "{'state': 1, 'city': 'A'}");
    both_change(&scene, 2, "{'status': 'Active', 'city': 'P'}", 2, "{'state': 2, 'city': 'A'}");
    assert_settles(&scene, &(struct wanted){.partner_center = "{'status': 'Closed'}", .held_back = "crm_closed"});
    scene_end(&scene);
}

/* What both sides changed when the CRM record was closed can only be had at Partner Center, whatever the policy. */
static void test_closed_crm_record_wins(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'status': 'Active', 'details': {'notes': 'n'}, 'memo': 'm'}",
          "{'state': 1, 'notes': 'n', 'memo': 'm'}");
    both_change(&scene, 2, "{'status': 'Active', 'details': {'notes': 'p'}, 'memo': 'p'}", 2,
                "{'state': 2, 'notes': 'c', 'memo': 'c'}");
    assert_settles(&scene, &(struct wanted){.partner_center = "{'details.notes': 'c', 'memo': 'c', 'status': 'Closed'}",
                                            .conflicts = "[{'name': 'notes', 'partner_center': 'p', 'crm': 'c',"
                                                         " 'policy': 'closed', 'winner': 'crm'},"
                                                         " {'name': 'memo', 'partner_center': 'p', 'crm': 'c',"
                                                         " 'policy': 'closed', 'winner': 'crm'}]"});
    scene_end(&scene);
}

/* Nothing leaves the CRM while the seller's switch is off; what Partner Center has goes on coming. */
static void test_switch_holds_back_the_crm(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'city': 'A', 'name': 'a'}", "{'city': 'A', 'name': 'a', 'sync': true}");
    scene.rules->sync_off = SYNC_OFF_HOLD;
    both_change(&scene, 2, "{'city': 'A', 'name': 'b'}", 2, "{'city': 'C', 'name': 'a', 'sync': false}");
    assert_settles(&scene, &(struct wanted){.crm = "{'name': 'b'}", .held_back = "sync_off"});
    both_change(&scene, 0, NULL, 3, "{'city': 'C', 'name': 'b', 'sync': true}");
    assert_settles(&scene, &(struct wanted){.partner_center = "{'city': 'C'}"});
    scene_end(&scene);
}

/* Where the rules pause a deal whose switch is off, neither side is written. */
static void test_switch_pauses_both_sides(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'city': 'A', 'name': 'a'}", "{'city': 'A', 'name': 'a', 'sync': true}");
    both_change(&scene, 2, "{'city': 'A', 'name': 'b'}", 2, "{'city': 'C', 'name': 'a', 'sync': false}");
    assert_settles(&scene, &(struct wanted){.held_back = "sync_off"});
    both_change(&scene, 0, NULL, 3, "{'city': 'C', 'name': 'a', 'sync': true}");
    assert_settles(&scene, &(struct wanted){.crm = "{'name': 'b'}", .partner_center = "{'city': 'C'}"});
    scene_end(&scene);
}

/* A row that says leave writes nothing, and the sides have settled with it. */
static void test_leave_settles_the_field(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, "{'status': 'Active'}", "{'state': 1}");
    both_change(&scene, 2, "{'status': 'New'}", 0, NULL);
    assert_settles(&scene, &(struct wanted){0});
    assert_base(&scene, "stage", "'New'", "1");
    scene_end(&scene);
}

/* Records that meet only now: a value that leaves the other side alone goes with what stands there, so a deal that is on
 * hold stays so; not with a closed record, which has to be heard of. */
static void test_leave_goes_with_an_open_record_met_only_now(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    both_change(&scene, 1, "{'status': 'Active'}", 1, "{'state': 3}");
    assert_settles(&scene, &(struct wanted){0});
    assert_base(&scene, "stage", "'Active'", "3");
    both_change(&scene, 0, NULL, 2, "{'state': 1}");
    assert_settles(&scene, &(struct wanted){0});
    scene_end(&scene);

    scene_begin(&scene, DEAL_RULES, REFERRAL);
    both_change(&scene, 1, "{'status': 'Closed'}", 1, "{'state': 3}");
    assert_settles(&scene, &(struct wanted){.crm = "{'state': 2}",
                                            .conflicts = "[{'name': 'stage', 'partner_center': 'Closed', 'crm': 3,"
                                                         " 'policy': 'closed', 'winner': 'partner-center'}]"});
    scene_end(&scene);

    /* Once they have met, a change is a change. */
    begin(&scene, "{'status': 'New'}", "{'state': 3}");
    both_change(&scene, 2, "{'status': 'Active'}", 0, NULL);
    assert_settles(&scene, &(struct wanted){.crm = "{'state': 1}"});
    scene_end(&scene);
}

/* A value that cannot be mapped is told once, stops only its field, and is forgotten when it can be. */
static void test_unmappable_value_stops_its_field_only(void **state)
{
    (void)state;
    struct scene scene;
    struct settlement settlement;
    struct error err = ERROR_INIT;
    begin(&scene, "{'status': 'Active', 'city': 'A'}", "{'state': 1, 'city': 'A'}");
    both_change(&scene, 2, "{'status': 'Engaged', 'city': 'B'}", 0, NULL);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(settlement_init(&settlement, &err), 0);
        assert_int_equal(settle_updates(&scene.deal, scene.rules, &settlement, &err), 0);
        assert_int_equal(settlement.has_problem, round == 0);
        if (round == 0) {
            assert_string_equal(settlement.problem.code, "rules.unmappable");
            assert_string_equal(settlement.problem.message,
                                "field 'stage' (status): a text of 7 characters is not in the table 'stages'");
        }
        assert_string_equal(settlement.held_back, "unmappable");
        assert_json_is(json_incref(settlement.write[SIDE_CRM]), "{'city': 'B'}");
        settlement_done(&settlement);
    }
    assert_int_equal(json_object_size(scene.deal.problems), 1);
    both_change(&scene, 3, "{'status': 'Closed', 'city': 'B'}", 0, NULL);
    assert_settles(&scene, &(struct wanted){.crm = "{'state': 2, 'city': 'B'}"});
    assert_json_is(json_incref(scene.deal.problems), "{}");
    scene_end(&scene);
}

static void assert_creation(struct scene *scene, const char *write, const char *problem)
{
    struct settlement settlement;
    struct error err = ERROR_INIT;
    assert_int_equal(settlement_init(&settlement, &err), 0);
    assert_int_equal(settle_creation(&scene->deal, scene->rules, SIDE_CRM, SETTLE_CREATE, &settlement, &err), 0);
    assert_int_equal(settlement.has_problem, problem != NULL);
    if (problem != NULL)
        assert_string_equal(settlement.problem.message, problem);
    assert_json_is(json_incref(settlement.write[SIDE_CRM]), write);
    assert_json_is(json_incref(settlement.write[SIDE_PARTNER_CENTER]), "{}");
    settlement_done(&settlement);
}

/* What is known is written, a default where it is not, and no nulls; fields of updates are left out. */
static void test_creation_writes_what_is_known(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    both_change(&scene, 1,
                "{'name': 'a', 'status': 'Active', 'tag': 't', 'city': null, 'details': {'dealValue': '5.50'}}", 0,
                NULL);
    assert_creation(&scene, "{'name': 'a', 'value': 5.5, 'tag': 't', 'origin': 'web'}", NULL);
    scene_end(&scene);
}

/* A required field without a value, or one that cannot be mapped, is told. */
static void test_creation_needs_its_required_fields(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    both_change(&scene, 1, "{'name': 'a'}", 0, NULL);
    assert_creation(&scene, "{'name': 'a', 'origin': 'web'}",
                    "field 'tag' is needed to create the record and has no value");
    both_change(&scene, 2, "{'tag': 't', 'details': {'dealValue': 'lots'}}", 0, NULL);
    assert_creation(&scene, "{'tag': 't', 'origin': 'web'}",
                    "field 'value' (details.dealValue): a text of 4 characters is not a number");
    scene_end(&scene);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_side_is_held_against_its_own_base),
        cmocka_unit_test(test_one_side_moved),
        cmocka_unit_test(test_change_on_a_side_that_is_not_read_back),
        cmocka_unit_test(test_sides_agree_by_themselves),
        cmocka_unit_test(test_values_fit_the_target_before_they_are_compared),
        cmocka_unit_test(test_policies_of_one_side),
        cmocka_unit_test(test_policy_latest),
        cmocka_unit_test(test_policy_manual),
        cmocka_unit_test(test_parked_values_that_meet),
        cmocka_unit_test(test_null_of_partner_center_deletes_nothing),
        cmocka_unit_test(test_empty_text_is_a_value),
        cmocka_unit_test(test_records_that_meet_without_a_base),
        cmocka_unit_test(test_closed_referral_is_final),
        cmocka_unit_test(test_nothing_reopens_a_referral),
        cmocka_unit_test(test_closed_crm_record_is_not_written),
        cmocka_unit_test(test_closed_crm_record_wins),
        cmocka_unit_test(test_switch_holds_back_the_crm),
        cmocka_unit_test(test_switch_pauses_both_sides),
        cmocka_unit_test(test_leave_settles_the_field),
        cmocka_unit_test(test_leave_goes_with_an_open_record_met_only_now),
        cmocka_unit_test(test_unmappable_value_stops_its_field_only),
        cmocka_unit_test(test_creation_writes_what_is_known),
        cmocka_unit_test(test_creation_needs_its_required_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
