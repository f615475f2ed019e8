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

static void side_read_at(struct scene *scene, enum side side, json_t *documents, const char *at)
{
    struct record record = {.kind = RECORD_READING,
                            .side = text_copy(side_name(side)),
                            .record_id = text_copy(side == SIDE_CRM ? CRM_RECORD : REFERRAL),
                            .read_at = text_copy(at),
                            .documents = documents};
    message_arrives(scene, &record);
}

static void read_at(struct scene *scene, int version, const char *body, const char *at)
{
    side_read_at(scene, SIDE_CRM, documents_of(SIDE_CRM, version, body), at);
}

static void assert_near_misses(const struct scene *scene, const char *wanted)
{
    assert_json_is(json_incref(scene->effects.decision.near_misses), wanted);
}

static json_t *referral(int version, const char *city)
{
    json_t *documents = documents_of(SIDE_PARTNER_CENTER, version, "{'type': 'Shared', 'status': 'Active'}");
    json_t *body = json_object_get(json_array_get(documents, 0), "body");
    assert_int_equal(json_object_set_new(body, "city", json_string(city)), 0);
    assert_int_equal(json_object_set_new(body, "externalReferenceId", json_string(CRM_RECORD)), 0);
    return documents;
}

/* A deal whose city goes to Partner Center; there is no outcome yet. */
static void begin_to_partner_center(struct scene *scene)
{
    scene_begin(scene, DEAL_RULES, REFERRAL);
    scene_agrees(scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A'}",
                 "{'sync': true, 'state': 1, 'city': 'A', 'notes': 'n'}");
    reading_arrives(scene, SIDE_CRM, 2, ROW("B", "n"));
    assert_writes(scene, "partner-center", "{'city': 'B'}");
}

/* A deal whose city was written to the CRM at 00:02, as version 2, and whose notes were at `second_at`, as version 3. */
static void begin_with_two_writes(struct scene *scene, const char *second_at)
{
    scene_begin(scene, DEAL_RULES, REFERRAL);
    scene_agrees(scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A', 'details': {'notes': 'n'}}",
                 "{'sync': true, 'state': 1, 'city': 'A', 'notes': 'n'}");
    reading_arrives(scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Shared', 'status': 'Active', 'city': 'B', 'details': {'notes': 'n'}, "
                    "'externalReferenceId': '" CRM_RECORD "'}");
    outcome_arrives(scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, ROW("B", "n")));
    reading_arrives(scene, SIDE_PARTNER_CENTER, 3,
                    "{'type': 'Shared', 'status': 'Active', 'city': 'B', 'details': {'notes': 'm'}, "
                    "'externalReferenceId': '" CRM_RECORD "'}");
    assert_writes(scene, "crm", "{'notes': 'm'}");
    scene->finished_at = second_at;
    outcome_arrives(scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 3, ROW("B", "m")));
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

/* Our own document, older than our write, says nothing of it beside a newer one of Microsoft's. */
static void test_older_document_beside_a_newer_one_says_nothing(void **state)
{
    (void)state;
    struct scene scene;
    begin_to_partner_center(&scene);
    outcome_arrives(&scene, OUTCOME_APPLIED, true, referral(3, "B"));
    json_t *documents = referral(1, "A");
    add_microsofts(documents, 4, "{'status': 'Active'}");
    side_read_at(&scene, SIDE_PARTNER_CENTER, documents, "2026-01-01T00:02:10Z");
    assert_int_equal(scene.effects.echoes, 0);
    assert_null(scene.effects.decision.near_misses);
    side_read_at(&scene, SIDE_PARTNER_CENTER, referral(3, "B"), "2026-01-01T00:02:20Z");
    assert_int_equal(scene.effects.echoes, 1);
    assert_null(scene.deal.ledger);
    scene_end(&scene);
}

/* The other party's newer document in the outcome does not make the echo that came before it be awaited again. */
static void test_echo_before_an_outcome_with_a_newer_other_document(void **state)
{
    (void)state;
    struct scene scene;
    begin_to_partner_center(&scene);
    side_read_at(&scene, SIDE_PARTNER_CENTER, referral(3, "B"), "2026-01-01T00:01:59Z");
    json_t *documents = referral(3, "B");
    add_microsofts(documents, 4, "{'status': 'Active'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents);
    assert_int_equal(scene.effects.echoes, 1);
    assert_null(scene.deal.ledger);
    scene_end(&scene);
}

/* Where the versions do not say which came first, a reading made before our write says nothing of it. */
static void test_reading_made_before_the_write_says_nothing(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    read_at(&scene, 2, ROW("A", "m"), "2026-01-01T00:01:59Z");
    assert_int_equal(scene.effects.echoes, 0);
    assert_null(scene.effects.decision.near_misses);
    read_at(&scene, 2, ROW("B", "m"), "2026-01-01T00:02:01Z");
    assert_int_equal(scene.effects.echoes, 2);
    scene_end(&scene);
}

/* As it is where they do not say, and the reading was made after it. */
static void test_other_content_of_the_same_version_is_a_near_miss(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    read_at(&scene, 2, ROW("C", "m"), "2026-01-01T00:02:00Z");
    assert_int_equal(scene.effects.echoes, 1);
    assert_near_misses(&scene, "[{'name': 'city', 'written': 'B', 'found': 'C', 'decision': '" REFERRAL "#1'}]");
    scene_end(&scene);
}

/* A newer version came after our write, though the clock of who read it be behind that of who wrote. */
static void test_newer_version_counts_by_whatever_clock(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    read_at(&scene, 3, ROW("C", "m"), "2026-01-01T00:01:30Z");
    assert_int_equal(scene.effects.echoes, 1);
    assert_near_misses(&scene, "[{'name': 'city', 'written': 'B', 'found': 'C', 'decision': '" REFERRAL "#1'}]");
    scene_end(&scene);
}

/* Two writes of different fields before a reading: it answers for both. */
static void test_writes_before_a_reading_add_up(void **state)
{
    (void)state;
    struct scene scene;
    begin_with_two_writes(&scene, "2026-01-01T00:02:05Z");
    read_at(&scene, 2, ROW("B", "n"), "2026-01-01T00:02:06Z");
    assert_int_equal(scene.effects.echoes, 0);
    read_at(&scene, 3, ROW("B", "m"), "2026-01-01T00:02:07Z");
    assert_int_equal(scene.effects.echoes, 2);
    assert_null(scene.deal.ledger);
    scene_end(&scene);
}

/* A near miss names the write of its own field. */
static void test_near_miss_names_the_write_of_its_field(void **state)
{
    (void)state;
    struct scene scene;
    begin_with_two_writes(&scene, "2026-01-01T00:02:05Z");
    read_at(&scene, 4, ROW("C", "m"), "2026-01-01T00:02:10Z");
    assert_int_equal(scene.effects.echoes, 1);
    assert_near_misses(&scene, "[{'name': 'city', 'written': 'B', 'found': 'C', 'decision': '" REFERRAL "#1'}]");
    scene_end(&scene);
}

/* Each field's window begins with its own write. */
static void test_window_is_that_of_the_field(void **state)
{
    (void)state;
    struct scene scene;
    begin_with_two_writes(&scene, "2026-01-01T00:02:50Z");
    read_at(&scene, 4, ROW("C", "o"), "2026-01-01T00:03:10Z");
    assert_near_misses(&scene, "[{'name': 'notes', 'written': 'm', 'found': 'o', 'decision': '" REFERRAL "#2'}]");
    assert_null(scene.deal.ledger);
    scene_end(&scene);
}

/* The field written twice before a reading shows the later value, and is counted once. */
static void test_later_write_of_a_field_replaces_the_earlier(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3,
                    "{'type': 'Shared', 'status': 'Active', 'city': 'C', 'details': {'notes': 'm'}, "
                    "'externalReferenceId': '" CRM_RECORD "'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 3, ROW("C", "m")));
    assert_json_is(json_incref(json_object_get(json_object_get(scene.deal.ledger, "crm"), "city")),
                   "{'value': 'C', 'decision': '" REFERRAL "#2', 'at': '2026-01-01T00:02:00Z'}");
    read_at(&scene, 3, ROW("C", "m"), "2026-01-01T00:02:10Z");
    assert_int_equal(scene.effects.echoes, 2);
    assert_null(scene.effects.decision.near_misses);
    scene_end(&scene);
}

/* Fields that the rules have lost do not pile up. */
static void test_write_drops_what_the_rules_have_lost(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    scene_agrees(&scene, "{'type': 'Shared', 'status': 'Active', 'city': 'A'}",
                 "{'sync': true, 'state': 1, 'city': 'A', 'notes': 'n'}");
    scene.deal.ledger = json_of("{'crm': {'lost': {'value': 'x', 'decision': '" REFERRAL "#9', "
                                "'at': '2026-01-01T00:00:00Z'}}}");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Shared', 'status': 'Active', 'city': 'B', 'externalReferenceId': '" CRM_RECORD "'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, ROW("B", "n")));
    assert_json_is(json_incref(scene.deal.ledger),
                   "{'crm': {'city': {'value': 'B', 'decision': '" REFERRAL "#1', 'at': '2026-01-01T00:02:00Z'}}}");
    scene_end(&scene);
}

/* An edit that is read before our write's outcome arrives is no echo but a near miss, told with what the outcome leads to. */
static void test_edit_known_before_the_outcome_is_a_near_miss(void **state)
{
    (void)state;
    struct scene scene;
    begin_to_partner_center(&scene);
    side_read_at(&scene, SIDE_PARTNER_CENTER, referral(4, "C"), "2026-01-01T00:01:59Z");
    assert_none(&scene, "waiting");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, referral(3, "B"));
    assert_int_equal(scene.effects.echoes, 0);
    assert_writes(&scene, "crm", "{'city': 'C'}");
    assert_near_misses(&scene, "[{'name': 'city', 'written': 'B', 'found': 'C', 'decision': '" REFERRAL "#1'}]");
    side_read_at(&scene, SIDE_PARTNER_CENTER, referral(4, "C"), "2026-01-01T00:02:01Z");
    assert_null(scene.effects.decision.near_misses);
    scene_end(&scene);
}

/* It is told where the outcome leads to nothing, too. */
static void test_edit_known_before_the_outcome_is_told_without_a_write(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    scene_agrees(&scene, "{'type': 'Shared', 'status': 'Active', 'name': 'A'}",
                 "{'sync': true, 'state': 1, 'name': 'A'}");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Shared', 'status': 'Active', 'name': 'B', 'externalReferenceId': '" CRM_RECORD "'}");
    assert_writes(&scene, "crm", "{'name': 'B'}");
    reading_arrives(&scene, SIDE_CRM, 3, "{'referral_id': '" REFERRAL "', 'sync': true, 'state': 1, 'name': 'C'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 2, "{'referral_id': '" REFERRAL "', 'state': 1, 'name': 'B'}"));
    assert_none(&scene, "unchanged");
    assert_true(scene.effects.decision.is_notable);
    assert_near_misses(&scene, "[{'name': 'name', 'written': 'B', 'found': 'C', 'decision': '" REFERRAL "#1'}]");
    scene_end(&scene);
}

/* A record made in place of a deleted one is not held to what was written to that. */
static void test_new_record_is_not_held_to_writes_to_the_deleted_one(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    assert_non_null(scene.deal.ledger);
    scene.rules->crm_deleted = CRM_DELETED_RECREATE;
    gone_arrives(&scene, SIDE_CRM, "deleted");
    assert_null(scene.deal.id[SIDE_CRM]);
    assert_null(scene.deal.ledger);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_is_known_by_value),
        cmocka_unit_test(test_echo_before_the_outcome),
        cmocka_unit_test(test_other_value_soon_after_is_a_near_miss),
        cmocka_unit_test(test_other_value_later_is_an_edit),
        cmocka_unit_test(test_older_document_beside_a_newer_one_says_nothing),
        cmocka_unit_test(test_echo_before_an_outcome_with_a_newer_other_document),
        cmocka_unit_test(test_reading_made_before_the_write_says_nothing),
        cmocka_unit_test(test_other_content_of_the_same_version_is_a_near_miss),
        cmocka_unit_test(test_newer_version_counts_by_whatever_clock),
        cmocka_unit_test(test_writes_before_a_reading_add_up),
        cmocka_unit_test(test_near_miss_names_the_write_of_its_field),
        cmocka_unit_test(test_window_is_that_of_the_field),
        cmocka_unit_test(test_later_write_of_a_field_replaces_the_earlier),
        cmocka_unit_test(test_write_drops_what_the_rules_have_lost),
        cmocka_unit_test(test_edit_known_before_the_outcome_is_a_near_miss),
        cmocka_unit_test(test_edit_known_before_the_outcome_is_told_without_a_write),
        cmocka_unit_test(test_new_record_is_not_held_to_writes_to_the_deleted_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
