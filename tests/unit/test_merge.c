#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "tests/support/deals.h"

#define LINKED_REFERRAL "'type': 'Shared', 'status': 'Active', 'externalReferenceId': '" CRM_RECORD "'"
#define LINKED_ROW      "'referral_id': '" REFERRAL "', 'sync': true, 'state': 1"

/* An Active deal both sides of which are in agreement. */
static void begin(struct scene *scene)
{
    scene_begin(scene, DEAL_RULES, REFERRAL);
    scene_agrees(scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A', 'details': {'notes': 'n'}}",
                 "{'sync': true, 'state': 1, 'city': 'A', 'notes': 'n'}");
}

/* -- rules of the merge -------------------------------------------------------------------------------------------- */

/* A change leads to one decision, with what is changed, what is expected and what caused it. */
static void test_change_leads_to_one_decision(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'a long text'}}");
    assert_writes(&scene, "crm", "{'city': 'B', 'notes': 'a long t'}");
    const struct decision *decision = &scene.effects.decision;
    assert_string_equal(decision->id, REFERRAL "#1");
    assert_int_equal(decision->number, 1);
    assert_int_equal(decision->action, DECISION_UPDATE);
    assert_string_equal(decision->reason, "partner_center_changed");
    assert_string_equal(decision->system, "dynamics-365");
    assert_string_equal(decision->record_type, "opportunity");
    assert_string_equal(decision->record_id, CRM_RECORD);
    assert_string_equal(decision->expected_version, "1");
    assert_string_equal(decision->expected_etag, "W/\"1\"");
    assert_string_equal(decision->audit_column, "audit");
    assert_string_equal(decision->rules_version, scene.rules->version);
    assert_string_equal(decision->decided_at, "2026-01-01T00:01:00Z");
    assert_string_equal(decision->received_at, "2026-01-01T00:00:59Z");
    assert_int_equal(json_array_size(decision->causes), 1);
    assert_json_is(json_incref(decision->fields),
                   "[{'name': 'notes', 'old': 'n', 'new': 'a long t', 'from': 'a long text'},"
                   " {'name': 'city', 'old': 'A', 'new': 'B', 'from': 'B'}]");
    scene_end(&scene);
}

/* The rule "order": what is older than known leads to nothing, with its reason. */
static void test_older_record_leads_to_nothing(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 3, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n', 'other': 1}");
    assert_none(&scene, "unchanged");
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'Z', 'notes': 'n'}");
    assert_none(&scene, "older");
    scene_end(&scene);
}

/* The rule "wait": records that arrive while a decision is under way are noted, and merged with its outcome. */
static void test_records_wait_for_the_outcome(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    assert_writes(&scene, "crm", "{'city': 'B'}");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'm'}}");
    assert_none(&scene, "waiting");
    assert_string_equal(scene.effects.decision.detail, REFERRAL "#1");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'B', 'notes': 'n'}"));
    assert_writes(&scene, "crm", "{'notes': 'm'}");
    assert_string_equal(scene.effects.decision.id, REFERRAL "#2");
    assert_string_equal(scene.effects.decision.expected_version, "2");
    assert_int_equal(json_array_size(scene.effects.decision.causes), 1); /* those of the record that waited */
    scene_end(&scene);
}

/* Our own write that comes back is told as such once its outcome is known and nothing is under way; before, it waits. */
static void test_echo_that_overtakes_the_outcome_waits(void **state)
{
    static const char *const row = "{" LINKED_ROW ", 'city': 'B', 'notes': 'n'}";
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    assert_writes(&scene, "crm", "{'city': 'B'}");
    reading_arrives(&scene, SIDE_CRM, 2, row);
    assert_none(&scene, "waiting");
    assert_string_equal(scene.effects.decision.detail, REFERRAL "#1");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, row));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, row);
    assert_none(&scene, "echo");
    assert_string_equal(scene.effects.decision.detail, REFERRAL "#1");

    /* While the next is under way, the detail names that one. */
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'm'}}");
    assert_writes(&scene, "crm", "{'notes': 'm'}");
    reading_arrives(&scene, SIDE_CRM, 2, row);
    assert_none(&scene, "waiting");
    assert_string_equal(scene.effects.decision.detail, REFERRAL "#2");
    scene_end(&scene);
}

/* Somebody may have written since an uncertain outcome's write: what it shows is not called ours. */
static void test_reading_after_an_uncertain_outcome_is_unchanged(void **state)
{
    static const char *const row = "{" LINKED_ROW ", 'city': 'B', 'notes': 'n'}";
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    outcome_arrives(&scene, OUTCOME_APPLIED, false, documents_of(SIDE_CRM, 2, row));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, row);
    assert_none(&scene, "unchanged");
    scene_end(&scene);
}

/* The rule "image": what the target made of our value is its base, and does not travel back. */
static void test_what_the_target_made_of_our_value_stays_there(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B ', 'details': {'notes': 'n'}}");
    assert_writes(&scene, "crm", "{'city': 'B '}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'b', 'notes': 'n'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'b', 'notes': 'n'}");
    assert_none(&scene, "echo");
    assert_string_equal(scene.effects.decision.detail, REFERRAL "#1");
    scene_end(&scene);
}

/* An edit that was read before our write's outcome arrived is not taken for the image of our value. */
static void test_edit_known_before_the_outcome_is_kept(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    reading_arrives(&scene, SIDE_CRM, 3, "{" LINKED_ROW ", 'city': 'C', 'notes': 'n'}");
    assert_none(&scene, "waiting");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'B', 'notes': 'n'}"));
    assert_writes(&scene, "partner-center", "{'city': 'C'}");
    assert_int_equal(json_array_size(scene.effects.decision.conflicts), 0);
    /* And version 3 is nobody's echo. */
    reading_arrives(&scene, SIDE_CRM, 3, "{" LINKED_ROW ", 'city': 'C', 'notes': 'n'}");
    assert_null(json_object_get(deal_document(&scene.deal, SIDE_CRM), "written_by"));
    scene_end(&scene);
}

/* The rule "uncertain": where somebody may have written since, our value is the base and theirs an edit. */
static void test_uncertain_outcome_keeps_a_later_edit(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    outcome_arrives(&scene, OUTCOME_APPLIED, false,
                    documents_of(SIDE_CRM, 3, "{" LINKED_ROW ", 'city': 'C', 'notes': 'n'}"));
    assert_writes(&scene, "partner-center", "{'city': 'C'}");
    scene_end(&scene);
}

/* After a conflict the merge goes on at once with the record as it stands. */
static void test_conflict_merges_at_once(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    outcome_arrives(&scene, OUTCOME_CONFLICT, false,
                    documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'A', 'notes': 'm'}"));
    assert_writes(&scene, "crm", "{'city': 'B'}");
    assert_string_equal(scene.effects.decision.expected_version, "2");
    scene_end(&scene);
}

/* A bounded number of times; a fresh record lets it begin again. */
static void test_conflicts_are_bounded(void **state)
{
    (void)state;
    struct scene scene;
    int round = 0;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    while (scene.effects.has_decision && round < 50) {
        round++;
        outcome_arrives(&scene, OUTCOME_CONFLICT, false,
                        documents_of(SIDE_CRM, 1 + round, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n'}"));
    }
    assert_int_equal(round, MERGE_CONFLICT_ROUNDS_MAX + 1);
    assert_true(scene.effects.has_problem); /* somebody has to know of the change that waits */
    assert_string_equal(scene.effects.problem.code, "merge.conflict_rounds");
    reading_arrives(&scene, SIDE_CRM, 30, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n', 'other': 1}");
    assert_writes(&scene, "crm", "{'city': 'B'}");
    scene_end(&scene);
}

/* Both sides have to be written: the CRM first, its outcome brings the other. */
static void test_one_side_after_the_other(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'A', 'details': {'notes': 'm'}}");
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'C', 'notes': 'n'}");
    assert_none(&scene, "waiting");
    outcome_arrives(&scene, OUTCOME_CONFLICT, false,
                    documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'C', 'notes': 'n'}"));
    assert_writes(&scene, "crm", "{'notes': 'm'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 3, "{" LINKED_ROW ", 'city': 'C', 'notes': 'm'}"));
    assert_writes(&scene, "partner-center", "{'city': 'C'}");
    assert_string_equal(scene.effects.decision.reason, "crm_changed");
    assert_string_equal(scene.effects.decision.system, "partner-center");
    assert_string_equal(scene.effects.decision.record_id, REFERRAL);
    assert_null(scene.effects.decision.audit_column);
    scene_end(&scene);
}

/* What Partner Center says of a closed deal is left out of the audit column where it is too long to stand there. */
static void test_closed_deal_says_what_fits(void **state)
{
    enum { LONG = 700 };
    static const char body[] =
        "{'type': 'Shared', 'status': 'Closed', 'substatus': '%s', 'statusReason': '%s', 'city': 'A',"
        " 'externalReferenceId': '" CRM_RECORD "'}";
    (void)state;
    char many[LONG + 1] = "";
    memset(many, 'x', LONG);
    for (int k = 0; k < 2; k++) {
        struct scene scene;
        scene_begin(&scene, DEAL_RULES, REFERRAL);
        scene_agrees(&scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A'}",
                     "{'sync': true, 'state': 1, 'city': 'A'}");
        char *closed = text_format(body, k == 0 ? many : "Lost", k == 0 ? "late" : many);
        reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, closed);
        free(closed);
        assert_string_equal(scene.effects.decision.audit_text,
                            k == 0 ? "Closed in Partner Center" : "Closed in Partner Center: Lost");
        scene_end(&scene);
    }
}

/* What a seller was told before stays below the new line, as far as the column has room; a closed deal says how and why. */
static void test_former_audit_text_is_kept(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    scene_agrees(&scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A'}",
                 "{'sync': true, 'state': 1, 'city': 'A', 'audit': 'Microsoft: Closed / Declined [k#1]'}");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B'}");
    assert_string_equal(scene.effects.decision.audit_text, "Updated from Partner Center");
    assert_string_equal(scene.effects.decision.audit_former, "Microsoft: Closed / Declined [k#1]");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'B', 'audit': 'x'}"));
    scene.rules->audit_length = 10;
    reading_arrives(
        &scene, SIDE_PARTNER_CENTER, 3,
        "{'type': 'Shared', 'status': 'Closed', 'substatus': 'Lost', 'statusReason': 'too late', 'city': 'B', "
        "'externalReferenceId': '" CRM_RECORD "'}");
    assert_string_equal(scene.effects.decision.audit_text, "Closed in Partner Center: Lost (too late)");
    assert_null(scene.effects.decision.audit_former);
    scene_end(&scene);
}

/* Each conflict is told with the write that settles it, once. */
static void test_conflicts_go_with_the_write_that_settles_them(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'P', 'details': {'notes': 'p'}}");
    outcome_arrives(&scene, OUTCOME_CONFLICT, false,
                    documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'C', 'notes': 'c'}"));
    assert_writes(&scene, "crm", "{'notes': 'p'}");
    assert_json_is(json_incref(scene.effects.decision.conflicts),
                   "[{'name': 'notes', 'partner_center': 'p', 'crm': 'c', 'policy': 'partner-center', "
                   "'winner': 'partner-center'}]");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 3, "{" LINKED_ROW ", 'city': 'C', 'notes': 'p'}"));
    assert_writes(&scene, "partner-center", "{'city': 'C'}");
    assert_json_is(json_incref(scene.effects.decision.conflicts),
                   "[{'name': 'city', 'partner_center': 'P', 'crm': 'C', 'policy': 'crm', 'winner': 'crm'}]");
    scene_end(&scene);
}

/* Values that waited for a person and meet in an outcome are told, with a reason, though nothing follows. */
static void test_parked_values_that_meet_in_an_outcome_are_told(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{" LINKED_REFERRAL ", 'city': 'A', 'details': {'notes': 'n'}, 'memo': 'p'}");
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n', 'memo': 'c'}");
    outcome_arrives(&scene, OUTCOME_CONFLICT, false,
                    documents_of(SIDE_CRM, 3, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n', 'memo': 'c'}"));
    assert_none(&scene, "manual");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 4,
                    "{" LINKED_REFERRAL ", 'city': 'A', 'details': {'notes': 'x'}, 'memo': 'p'}");
    assert_writes(&scene, "crm", "{'notes': 'x'}");
    assert_string_equal(scene.effects.decision.reason,
                        "partner_center_changed"); /* the conflict is not settled by it */
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 5, "{" LINKED_ROW ", 'city': 'A', 'notes': 'x', 'memo': 'p'}"));
    assert_none(&scene, "unchanged");
    assert_true(scene.effects.decision.is_notable);
    assert_json_is(json_incref(scene.effects.decision.conflicts),
                   "[{'name': 'memo', 'partner_center': 'p', 'crm': 'p', 'policy': 'manual', 'winner': 'both'}]");
    scene_end(&scene);
}

/* An outcome of a decision that is not under way is a reading, no more. */
static void test_late_outcome_is_a_reading(void **state)
{
    (void)state;
    struct scene scene;
    struct error err = ERROR_INIT;
    begin(&scene);
    struct outcome outcome = {.decision_id = text_copy(REFERRAL "#77"),
                              .deal_key = text_copy(REFERRAL),
                              .result = OUTCOME_APPLIED,
                              .is_certain = true,
                              .target = text_copy("crm"),
                              .finished_at = text_copy("2026-01-01T00:02:00Z"),
                              .documents = documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'C', 'notes': 'n'}")};
    const struct merge_context context = {.rules = scene.rules, .topic = "outcomes"};
    assert_int_equal(merge_outcome(&scene.deal, &context, &outcome, &scene.effects, &err), 0);
    assert_silent(&scene);
    assert_string_equal(json_text_of(deal_values(&scene.deal, SIDE_CRM), "city"), "C");
    assert_string_equal(json_text_of(scene.deal.base[SIDE_CRM], "city"), "A");
    outcome_done(&outcome);
    scene_end(&scene);
}

/* -- refusals ------------------------------------------------------------------------------------------------------ */

#define REFUSED_ROW "{" LINKED_ROW ", 'city': 'A', 'notes': 'n'}"

/* The audit column alone is written, with these words, and once that is done nothing more. */
static void seller_is_told(struct scene *scene, const char *words, int version, const char *row)
{
    const struct decision *decision = &scene->effects.decision;

    assert_true(scene->effects.has_decision);
    assert_string_equal(decision->purpose, "explain");
    assert_string_equal(decision->target, "crm");
    assert_int_equal(json_object_size(decision->write), 1);
    if (strstr(decision->audit_text, words) == NULL)
        fail_msg("the seller is told \"%s\"", decision->audit_text);
    outcome_arrives(scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, version, row));
    assert_silent(scene);
}

/* What the target has refused is not sent again, until it would be something else. */
static void test_refused_write_is_not_repeated(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    outcome_arrives(&scene, OUTCOME_REFUSED, false,
                    documents_of(SIDE_CRM, 1, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n'}"));
    seller_is_told(&scene, "Not written to this record: The value of city was refused (too_long).", 2, REFUSED_ROW);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3,
                    "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}, 'o': 1}");
    assert_none(&scene, "refused_before");
    assert_non_null(strstr(scene.effects.decision.detail, "(too_long)"));
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 4, "{" LINKED_REFERRAL ", 'city': 'D', 'details': {'notes': 'n'}}");
    assert_writes(&scene, "crm", "{'city': 'D'}");
    scene_end(&scene);
}

/* Decision 1 was refused; a person has driven it again, and the pusher hands it back. */
static void redriven_arrives(struct scene *scene)
{
    struct outcome outcome = {.decision_id = text_copy(REFERRAL "#1"),
                              .deal_key = text_copy(REFERRAL),
                              .result = OUTCOME_SUPERSEDED,
                              .target = text_copy("crm"),
                              .finished_at = text_copy("2026-01-01T00:02:00Z")};
    const struct merge_context context = {.rules = scene->rules, .topic = "outcomes"};
    struct error err = ERROR_INIT;

    merge_effects_done(&scene->effects);
    assert_int_equal(merge_outcome(&scene->deal, &context, &outcome, &scene->effects, &err), 0);
    outcome_done(&outcome);
}

static void begin_refused(struct scene *scene)
{
    begin(scene);
    reading_arrives(scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B ', 'details': {'notes': 'n'}}");
    outcome_arrives(scene, OUTCOME_REFUSED, false,
                    documents_of(SIDE_CRM, 1, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n'}"));
    seller_is_told(scene, "(too_long)", 2, REFUSED_ROW);
}

/* A refused write that is driven again is decided anew, once, from both records as they are. */
static void test_refused_write_driven_again_is_decided_anew(void **state)
{
    struct scene scene;

    (void)state;
    begin_refused(&scene);
    redriven_arrives(&scene);
    assert_writes(&scene, "crm", "{'city': 'B '}");
    assert_string_equal(scene.effects.decision.id, REFERRAL "#3");
    redriven_arrives(&scene);
    assert_silent(&scene);
    scene_end(&scene);
}

/* What was refused and is no longer wanted is not written when it is driven again: nothing goes back in time. What the
 * seller was told is taken back. */
static void test_driven_again_writes_nothing_old(void **state)
{
    struct scene scene;

    (void)state;
    begin_refused(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, "{" LINKED_REFERRAL ", 'city': 'A', 'details': {'notes': 'n'}}");
    assert_string_equal(scene.effects.decision.reason, "mended");
    seller_is_told(&scene, "In order again", 3, REFUSED_ROW);
    redriven_arrives(&scene);
    if (scene.effects.has_decision)
        assert_none(&scene, "unchanged");
    assert_int_equal(json_object_size(scene.deal.refused), 0);
    scene_end(&scene);
}

/* Of two that were refused one after the other only what is wanted now is written. */
static void test_driven_again_writes_the_newest(void **state)
{
    struct scene scene;

    (void)state;
    begin_refused(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, "{" LINKED_REFERRAL ", 'city': 'C', 'details': {'notes': 'n'}}");
    outcome_arrives(&scene, OUTCOME_REFUSED, false,
                    documents_of(SIDE_CRM, 1, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n'}"));
    redriven_arrives(&scene);
    assert_silent(&scene);
    assert_int_equal(json_object_size(scene.deal.refused), 1);
    scene_end(&scene);
}

/* Two writes that are both refused do not take turns for ever. */
static void test_two_refused_writes_come_to_rest(void **state)
{
    (void)state;
    struct scene scene;
    int rounds = 0;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Shared', 'status': 'Active', 'city': 'A', 'details': {'notes': 'n'}}");
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'C', 'notes': 'n'}");
    while (scene.deal.pending != NULL && rounds < 20) {
        rounds++;
        outcome_arrives(&scene, OUTCOME_REFUSED, false,
                        documents_of(SIDE_PARTNER_CENTER, 2,
                                     "{'type': 'Shared', 'status': 'Active', 'city': 'A', 'details': {'notes': 'n'}}"));
    }
    assert_int_equal(rounds, 3); /* the link, the change, and telling the seller */
    scene_end(&scene);
}

/* A value that cannot be mapped is set aside with the message; the rest of the record goes on. */
static void test_problem_does_not_stop_the_rest(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Shared', 'status': 'Engaged', 'externalReferenceId': '" CRM_RECORD
                    "', 'city': 'B', 'details': {'notes': 'n'}}");
    assert_true(scene.effects.has_problem);
    assert_string_equal(scene.effects.problem.code, "rules.unmappable");
    assert_writes(&scene, "crm", "{'city': 'B'}");
    scene_end(&scene);
}

/* -- birth of a deal ----------------------------------------------------------------------------------------------- */

/* A new referral becomes a CRM record by its alternate key, and then names it. */
static void test_new_referral_is_created_then_linked(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Shared', 'status': 'Active', 'name': 'a', 'tag': 't'}");
    assert_writes(&scene, "crm", "{'name': 'a', 'tag': 't', 'origin': 'web', 'referral_id': '" REFERRAL "'}");
    assert_int_equal(scene.effects.decision.action, DECISION_CREATE);
    assert_json_is(json_incref(scene.effects.decision.create_key), "{'referral_id': '" REFERRAL "'}");
    assert_null(scene.effects.decision.record_id);
    assert_null(scene.effects.decision.expected_version);
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 1, "{'referral_id': '" REFERRAL "', 'name': 'a', 'tag': 't', 'state': 1}"));
    assert_writes(&scene, "partner-center", "{'externalReferenceId': '" CRM_RECORD "'}");
    assert_string_equal(scene.effects.decision.purpose, "link");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'name': 'a', 'tag': 't'}"));
    assert_silent(&scene);
    assert_null(scene.deal.pending);
    scene_end(&scene);
}

/* A creation that is refused has made no record of the deal, whatever record the refusal shows. */
static void test_record_shown_by_a_refused_creation_is_not_the_deals(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Shared', 'status': 'Active', 'name': 'a', 'tag': 't'}");
    assert_int_equal(scene.effects.decision.action, DECISION_CREATE);
    outcome_arrives(&scene, OUTCOME_REFUSED, false, documents_of(SIDE_CRM, 1, "{" LINKED_ROW ", 'name': 'a'}"));
    assert_silent(&scene);
    assert_null(scene.deal.id[SIDE_CRM]);
    assert_null(deal_document(&scene.deal, SIDE_CRM));
    scene_end(&scene);
}

/* What the CRM puts into a new record by itself is no change of a seller's. */
static void test_values_a_created_record_begins_with_do_not_travel(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{" LINKED_REFERRAL ", 'tag': 't'}");
    assert_none(&scene, "waiting_for_partner");
    scene_end(&scene);

    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Shared', 'status': 'Active', 'tag': 't'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 1,
                                 "{'referral_id': '" REFERRAL
                                 "', 'tag': 't', 'state': 1, 'city': 'somewhere', 'value': 0}"));
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'tag': 't'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'tag': 't', 'city': 'elsewhere', 'value': 0}");
    assert_writes(&scene, "partner-center", "{'city': 'elsewhere'}");
    scene_end(&scene);
}

/* Only referrals that the rules select are taken up. */
static void test_referral_that_is_not_selected(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Independent', 'status': 'Active', 'tag': 't'}");
    assert_none(&scene, "not_selected");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{'type': 'Shared', 'status': 'Closed', 'tag': 't'}");
    assert_none(&scene, "not_selected");
    scene_end(&scene);
}

/* Without a value the CRM needs nothing is created, and it is told once. */
static void test_incomplete_referral_is_not_created(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Shared', 'status': 'Active'}");
    assert_none(&scene, "invalid");
    assert_true(scene.effects.has_problem);
    assert_string_equal(scene.effects.problem.code, "rules.required");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{'type': 'Shared', 'status': 'Active', 'name': 'x'}");
    assert_none(&scene, "invalid");
    assert_false(scene.effects.has_problem);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, "{'type': 'Shared', 'status': 'Active', 'tag': 't'}");
    assert_int_equal(scene.effects.decision.action, DECISION_CREATE);
    scene_end(&scene);
}

/* A referral that names its CRM record is not new: the record is asked for, and its own key is told. */
static void test_referral_that_names_its_partner_creates_nothing(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{" LINKED_REFERRAL ", 'tag': 't'}");
    assert_none(&scene, "waiting_for_partner");
    assert_true(scene.effects.has_notification);
    assert_string_equal(scene.effects.notification.record_id, CRM_RECORD);
    assert_string_equal(scene.effects.notification.source, "dynamics-365");
    assert_string_equal(scene.effects.notification.deal_key, REFERRAL);
    assert_true(scene.effects.has_record);
    assert_int_equal(scene.effects.record.kind, RECORD_FOUND);
    assert_string_equal(scene.effects.record.deal_key, "crm:" CRM_RECORD);
    assert_string_equal(scene.effects.record.record_id, REFERRAL);
    scene_end(&scene);
}

/* A name that is no id of this CRM leads nowhere, and says so. */
static void test_referral_that_names_something_else(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1,
                    "{'type': 'Shared', 'status': 'Active', 'externalReferenceId': 'our no. 5', 'tag': 't'}");
    assert_none(&scene, "waiting_for_partner");
    assert_false(scene.effects.has_notification || scene.effects.has_record);
    scene_end(&scene);
}

/* A CRM record that names a referral is not new either. */
static void test_crm_record_that_names_its_partner_asks_for_it(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_CRM, 1, "{" LINKED_ROW "}");
    assert_none(&scene, "waiting_for_partner");
    assert_true(scene.effects.has_notification);
    assert_string_equal(scene.effects.notification.record_id, REFERRAL);
    assert_string_equal(scene.effects.notification.source, "partner-center");
    scene_end(&scene);
}

/* A second record with the same identifier is told and not looked at. */
static void test_second_record_of_the_same_identifier(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    record_arrives(
        &scene, SIDE_CRM,
        json_pack("[o]", record_document("crm", STRANGER, "9", NULL, NULL, json_of("{" LINKED_ROW ", 'city': 'Z'}"))));
    assert_none(&scene, "ambiguous");
    assert_true(scene.effects.has_problem);
    assert_string_equal(scene.effects.problem.code, "identity.two_records");
    assert_string_equal(json_text_of(deal_values(&scene.deal, SIDE_CRM), "city"), "A");
    scene_end(&scene);
}

static void give(struct scene *scene, struct record *record)
{
    const struct merge_context context = {.rules = scene->rules, .topic = "records"};
    struct error err = ERROR_INIT;
    merge_effects_done(&scene->effects);
    assert_int_equal(merge_record(&scene->deal, &context, record, &scene->effects, &err), 0);
}

/* A deal that began in the CRM hands its state to its referral's key and leaves an alias, which forwards what comes. */
static void test_deal_is_handed_over_to_its_referral(void **state)
{
    (void)state;
    struct scene old, new;
    scene_begin(&old, DEAL_RULES, "crm:" CRM_RECORD);
    reading_arrives(&old, SIDE_CRM, 1, "{'sync': true, 'state': 1, 'city': 'A'}");
    struct record found = {.kind = RECORD_FOUND,
                           .deal_key = text_copy("crm:" CRM_RECORD),
                           .record_id = text_copy(REFERRAL),
                           .read_at = text_copy("2026-01-01T00:01:00Z")};
    give(&old, &found);
    record_done(&found);
    assert_true(old.effects.has_record);
    assert_int_equal(old.effects.record.kind, RECORD_HANDOVER);
    assert_string_equal(old.effects.record.deal_key, REFERRAL);
    assert_string_equal(old.effects.record.from_key, "crm:" CRM_RECORD);
    assert_string_equal(old.deal.alias, REFERRAL);
    assert_null(old.deal.seen[SIDE_CRM]);

    scene_begin(&new, DEAL_RULES, REFERRAL);
    reading_arrives(&new, SIDE_PARTNER_CENTER, 1, "{" LINKED_REFERRAL ", 'city': 'A', 'tag': 't'}");
    give(&new, &old.effects.record);
    assert_string_equal(new.deal.id[SIDE_CRM], CRM_RECORD);
    assert_int_equal(new.effects.decision.action, DECISION_UPDATE);
    assert_writes(&new, "crm", "{'referral_id': '" REFERRAL "'}");

    reading_arrives(&old, SIDE_CRM, 2, "{'sync': true, 'state': 1, 'city': 'B'}");
    assert_false(old.effects.has_decision);
    assert_true(old.effects.has_record);
    assert_int_equal(old.effects.record.kind, RECORD_READING);
    assert_string_equal(old.effects.record.deal_key, REFERRAL);
    scene_end(&old);
    scene_end(&new);
}

/* The referral's id is written to the CRM record that lacks it; the CRM's id to a referral that is not closed. */
static void test_links_are_completed(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{" LINKED_REFERRAL ", 'tag': 't'}");
    reading_arrives(&scene, SIDE_CRM, 1, "{'sync': true, 'state': 1, 'tag': 't'}");
    assert_writes(&scene, "crm", "{'referral_id': '" REFERRAL "'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, "{" LINKED_ROW ", 'tag': 't'}"));
    assert_silent(&scene);
    scene_end(&scene);
}

/* With acceptance: a referral nobody has answered is not given the CRM's id. */
static void test_link_that_waits_for_acceptance(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    scene.rules->link_waits_for_acceptance = true;
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Shared', 'status': 'New', 'tag': 't'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 1, "{'referral_id': '" REFERRAL "', 'tag': 't', 'state': 0}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{'type': 'Shared', 'status': 'Active', 'tag': 't'}");
    assert_writes(&scene, "partner-center", "{'externalReferenceId': '" CRM_RECORD "'}");
    scene_end(&scene);
}

/* Applied, but its record could not be read: it is asked for, once, and nothing else is written before it is known. */
static void test_applied_but_unseen_is_asked_for(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    outcome_arrives(&scene, OUTCOME_APPLIED, false, NULL);
    assert_silent(&scene);
    assert_true(scene.effects.has_notification);
    assert_string_equal(scene.effects.notification.record_id, CRM_RECORD);
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'B', 'notes': 'n'}");
    assert_none(&scene, "unchanged");
    scene_end(&scene);

    scene_begin(&scene, DEAL_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Shared', 'status': 'Active', 'tag': 't'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, false, NULL);
    assert_silent(&scene);
    assert_true(scene.effects.has_notification);
    scene_end(&scene);
}

/* A record that is gone stops the deal; when it is seen again, the deal goes on. */
static void test_gone_record_stops_the_deal(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    gone_arrives(&scene, SIDE_CRM, "deleted");
    assert_none(&scene, "crm_gone");
    assert_string_equal(scene.effects.decision.detail, "deleted");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'B', 'details': {'notes': 'n'}}");
    assert_none(&scene, "crm_gone");
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n'}");
    assert_writes(&scene, "crm", "{'city': 'B'}");
    outcome_arrives(&scene, OUTCOME_GONE, false, NULL);
    assert_none(&scene, "crm_gone");
    assert_true(scene.effects.decision.is_notable);
    assert_string_equal(scene.deal.gone[SIDE_CRM], "not_found");
    /* An old reading, late or driven again, brings nothing back; the last known version does: it was hidden. */
    reading_arrives(&scene, SIDE_CRM, 1, "{" LINKED_ROW ", 'city': 'Old', 'notes': 'n'}");
    assert_none(&scene, "crm_gone");
    reading_arrives(&scene, SIDE_CRM, 2, "{" LINKED_ROW ", 'city': 'A', 'notes': 'n'}");
    assert_writes(&scene, "crm", "{'city': 'B'}");
    scene_end(&scene);
}

/* Microsoft's answer reaches the CRM even when our own referral has not changed. */
static void test_answer_of_microsoft(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    json_t *documents =
        documents_of(SIDE_PARTNER_CENTER, 2, "{" LINKED_REFERRAL ", 'city': 'A', 'details': {'notes': 'n'}}");
    add_microsofts(documents, 2, "{'status': 'Active'}");
    record_arrives(&scene, SIDE_PARTNER_CENTER, documents);
    assert_writes(&scene, "crm", "{'answer': 'Active'}");
    scene_end(&scene);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change_leads_to_one_decision),
        cmocka_unit_test(test_older_record_leads_to_nothing),
        cmocka_unit_test(test_records_wait_for_the_outcome),
        cmocka_unit_test(test_echo_that_overtakes_the_outcome_waits),
        cmocka_unit_test(test_reading_after_an_uncertain_outcome_is_unchanged),
        cmocka_unit_test(test_what_the_target_made_of_our_value_stays_there),
        cmocka_unit_test(test_edit_known_before_the_outcome_is_kept),
        cmocka_unit_test(test_uncertain_outcome_keeps_a_later_edit),
        cmocka_unit_test(test_conflict_merges_at_once),
        cmocka_unit_test(test_conflicts_are_bounded),
        cmocka_unit_test(test_one_side_after_the_other),
        cmocka_unit_test(test_closed_deal_says_what_fits),
        cmocka_unit_test(test_former_audit_text_is_kept),
        cmocka_unit_test(test_conflicts_go_with_the_write_that_settles_them),
        cmocka_unit_test(test_parked_values_that_meet_in_an_outcome_are_told),
        cmocka_unit_test(test_late_outcome_is_a_reading),
        cmocka_unit_test(test_refused_write_is_not_repeated),
        cmocka_unit_test(test_refused_write_driven_again_is_decided_anew),
        cmocka_unit_test(test_driven_again_writes_nothing_old),
        cmocka_unit_test(test_driven_again_writes_the_newest),
        cmocka_unit_test(test_two_refused_writes_come_to_rest),
        cmocka_unit_test(test_problem_does_not_stop_the_rest),
        cmocka_unit_test(test_new_referral_is_created_then_linked),
        cmocka_unit_test(test_record_shown_by_a_refused_creation_is_not_the_deals),
        cmocka_unit_test(test_values_a_created_record_begins_with_do_not_travel),
        cmocka_unit_test(test_referral_that_is_not_selected),
        cmocka_unit_test(test_incomplete_referral_is_not_created),
        cmocka_unit_test(test_referral_that_names_its_partner_creates_nothing),
        cmocka_unit_test(test_referral_that_names_something_else),
        cmocka_unit_test(test_crm_record_that_names_its_partner_asks_for_it),
        cmocka_unit_test(test_second_record_of_the_same_identifier),
        cmocka_unit_test(test_deal_is_handed_over_to_its_referral),
        cmocka_unit_test(test_links_are_completed),
        cmocka_unit_test(test_link_that_waits_for_acceptance),
        cmocka_unit_test(test_applied_but_unseen_is_asked_for),
        cmocka_unit_test(test_gone_record_stops_the_deal),
        cmocka_unit_test(test_answer_of_microsoft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
