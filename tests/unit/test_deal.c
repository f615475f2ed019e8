#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "tests/support/deals.h"

/* `documents` is released. */
static enum deal_news see(struct scene *scene, enum side side, json_t *documents)
{
    struct error err = ERROR_INIT;
    struct deal_sight sight;
    assert_int_equal(deal_see(&scene->deal, scene->rules, side, documents, &sight, &err), 0);
    json_decref(documents);
    return sight.news;
}

static json_t *versioned(const char *version, const char *name)
{
    json_t *body = json_pack("{s:s}", "name", name);
    return json_pack("[o]", record_document("crm", CRM_RECORD, version, NULL, NULL, body));
}

static void assert_name(const struct scene *scene, const char *name)
{
    assert_string_equal(json_text_of(deal_values(&scene->deal, SIDE_CRM), "name"), name);
}

/* The rule "order": a version that is not newer changes nothing. */
static void test_older_versions_are_ignored(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("5", "five")), DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("4", "four")), DEAL_OLDER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("5", "five")), DEAL_SAME);
    assert_name(&scene, "five");
    assert_int_equal(see(&scene, SIDE_CRM, versioned("6", "six")), DEAL_NEWER);
    assert_name(&scene, "six");
    scene_end(&scene);
}

/* Versions are numbers where they can be, not texts: 10 comes after 9, whatever the number of digits. */
static void test_versions_compare_as_numbers(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("9", "nine")), DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("10", "ten")), DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("9007199254740993", "a")), DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("9007199254740992", "b")), DEAL_OLDER);
    assert_name(&scene, "a");
    scene_end(&scene);
}

/* Times compare as times: with other digits, another offset, or none. */
static void test_versions_compare_as_times(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("2026-01-01T00:00:00.1Z", "a")), DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("2026-01-01T00:00:00.09Z", "b")), DEAL_OLDER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("2026-01-01T01:00:00+01:00", "c")), DEAL_OLDER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("2026-01-01T00:00:00.1000000", "a")), DEAL_SAME);
    assert_int_equal(see(&scene, SIDE_CRM, versioned("2026-01-01T00:00:00.1000001Z", "d")), DEAL_NEWER);
    assert_name(&scene, "d");
    scene_end(&scene);
}

/* The same time with other content counts as newer; the order of members is no content. */
static void test_same_version_with_other_content_is_newer(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    assert_int_equal(see(&scene, SIDE_CRM, documents_of(SIDE_CRM, 1, "{'name': 'a', 'notes': 'n'}")), DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, documents_of(SIDE_CRM, 1, "{'notes': 'n', 'name': 'a'}")), DEAL_SAME);
    assert_int_equal(see(&scene, SIDE_CRM, documents_of(SIDE_CRM, 1, "{'notes': 'n', 'name': 'b'}")), DEAL_NEWER);
    assert_name(&scene, "b");
    scene_end(&scene);
}

/* What the rules do not read is no content either: a write's answer and a reading differ in annotations. */
static void test_same_version_with_other_annotations_is_the_same(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    json_t *answer = json_pack("{s:s, s:s}", "name", "five", "@odata.context", "$metadata#opportunities/$entity");
    assert_int_equal(see(&scene, SIDE_CRM, versioned("5", "five")), DEAL_NEWER);
    assert_int_equal(
        see(&scene, SIDE_CRM, json_pack("[o]", record_document("crm", CRM_RECORD, "5", NULL, NULL, answer))),
        DEAL_SAME);
    scene_end(&scene);
}

/* The same version may tell more than what is known of it: it is learnt, and is no news. */
static void test_same_version_may_tell_more(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    json_t *more = json_pack("{s:s, s:s}", "name", "five", "city", "A");
    assert_int_equal(see(&scene, SIDE_CRM, versioned("5", "five")), DEAL_NEWER);
    (void)json_object_del(deal_values(&scene.deal, SIDE_CRM), "city"); /* as if the answer had not shown it */
    assert_int_equal(see(&scene, SIDE_CRM, json_pack("[o]", record_document("crm", CRM_RECORD, "5", NULL, NULL, more))),
                     DEAL_SAME);
    assert_string_equal(json_text_of(deal_values(&scene.deal, SIDE_CRM), "city"), "A");
    scene_end(&scene);
}

/* A document without a version cannot be older. */
static void test_document_without_version_is_newer(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    assert_int_equal(see(&scene, SIDE_CRM, versioned(NULL, "a")), DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, versioned(NULL, "b")), DEAL_NEWER);
    assert_name(&scene, "b");
    scene_end(&scene);
}

/* Each document of a record has its own version: an old one of ours beside a new one of Microsoft's. */
static void test_documents_are_judged_one_by_one(void **state)
{
    (void)state;
    struct scene scene;
    json_t *documents;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    documents = documents_of(SIDE_PARTNER_CENTER, 5, "{'name': 'five'}");
    add_microsofts(documents, 5, "{'status': 'New', 'name': 'theirs'}");
    assert_int_equal(see(&scene, SIDE_PARTNER_CENTER, documents), DEAL_NEWER);
    documents = documents_of(SIDE_PARTNER_CENTER, 4, "{'name': 'four'}");
    add_microsofts(documents, 6, "{'status': 'Active', 'name': 'theirs'}");
    assert_int_equal(see(&scene, SIDE_PARTNER_CENTER, documents), DEAL_NEWER);
    const json_t *values = deal_values(&scene.deal, SIDE_PARTNER_CENTER);
    assert_string_equal(json_text_of(values, "name"), "five");
    assert_string_equal(json_text_of(values, "microsoft.status"), "Active");
    assert_string_equal(json_text_of(deal_document(&scene.deal, SIDE_PARTNER_CENTER), "role"), "own");
    assert_string_equal(deal_changed_at(&scene.deal, SIDE_PARTNER_CENTER), "2026-01-01T00:00:05Z");
    scene_end(&scene);
}

/* Another partner's referral of the engagement says nothing about us or Microsoft. */
static void test_other_partners_referral_is_not_read(void **state)
{
    (void)state;
    struct scene scene;
    json_t *documents = documents_of(SIDE_PARTNER_CENTER, 1, "{'name': 'ours'}");
    assert_int_equal(json_array_append_new(documents, record_document("related", "x", "1", NULL, NULL,
                                                                      json_of("{'organizationId': 'other',"
                                                                              " 'status': 'Closed'}"))),
                     0);
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    assert_int_equal(see(&scene, SIDE_PARTNER_CENTER, documents), DEAL_NEWER);
    const json_t *values = deal_values(&scene.deal, SIDE_PARTNER_CENTER);
    assert_null(json_object_get(values, "microsoft.status"));
    assert_true(json_is_null(json_object_get(values, "status")));
    scene_end(&scene);
}

/* Paths are read into the depth, at Partner Center without regard to case; what is not there is null; numbers stay exact. */
static void test_values_are_read_by_path(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    (void)see(&scene, SIDE_PARTNER_CENTER,
              documents_of(SIDE_PARTNER_CENTER, 1, "{'Details': {'DealValue': 0.30000000000000004}, 'notes': 1}"));
    const json_t *values = deal_values(&scene.deal, SIDE_PARTNER_CENTER);
    assert_json_is(json_incref(json_object_get(values, "details.dealValue")), "0.30000000000000004");
    assert_true(json_is_null(json_object_get(values, "details.notes")));
    assert_null(json_object_get(values, "notes")); /* no path of the rules */
    scene_end(&scene);
}

/* A document that shows no labels and no rows, such as a write's answer, leaves them as they were known. */
static void test_what_a_document_does_not_tell_stays(void **state)
{
    (void)state;
    static const char rules[] = "version: 1\n"
                                "crm: dynamics-365\n"
                                "record: opportunity\n"
                                "identity: {identifier: referral_id, sync: sync}\n"
                                "fields:\n"
                                "  - {name: a, partner_center: a, crm: help@label}\n"
                                "  - {name: b, partner_center: b, crm: \"rows[]{n}\", direction: to-partner-center,\n"
                                "     to_partner_center: {present: {yes: 1, no: 0}}}\n";
    struct scene scene;
    scene_begin(&scene, rules, REFERRAL);
    json_t *full = json_pack("{s:i, s:s, s:[{s:i}, {s:i}]}", "help", 4,
                             "help@OData.Community.Display.V1.FormattedValue", "Quotes", "rows", "n", 2, "n", 1);
    json_t *bare = json_pack("{s:i}", "help", 4);
    json_t *empty = json_pack("{s:n, s:[]}", "help", "rows");
    assert_int_equal(see(&scene, SIDE_CRM, json_pack("[o]", record_document("crm", CRM_RECORD, "1", NULL, NULL, full))),
                     DEAL_NEWER);
    assert_int_equal(see(&scene, SIDE_CRM, json_pack("[o]", record_document("crm", CRM_RECORD, "2", NULL, NULL, bare))),
                     DEAL_NEWER);
    const json_t *values = deal_values(&scene.deal, SIDE_CRM);
    assert_string_equal(json_text_of(values, "help@label"), "Quotes");
    assert_int_equal(json_integer_of(json_array_get(json_object_get(values, "rows[]{n}"), 0), "n", 0), 1);
    assert_int_equal(
        see(&scene, SIDE_CRM, json_pack("[o]", record_document("crm", CRM_RECORD, "3", NULL, NULL, empty))),
        DEAL_NEWER);
    values = deal_values(&scene.deal, SIDE_CRM);
    assert_true(json_is_null(json_object_get(values, "help@label")));
    assert_int_equal(json_array_size(json_object_get(values, "rows[]{n}")), 0);
    scene_end(&scene);
}

/* The state goes through the topic and comes back the same. */
static void test_state_is_written_and_read(void **state)
{
    (void)state;
    struct scene scene;
    struct deal back;
    struct error err = ERROR_INIT;
    size_t length;
    scene_begin(&scene, DEAL_RULES, REFERRAL);
    scene_agrees(&scene, "{'type': 'Shared', 'status': 'Active', 'name': 'a', 'details': {'dealValue': 1.10}}",
                 "{'name': 'a', 'value': 1.1, 'state': 1}");
    reading_arrives(
        &scene, SIDE_PARTNER_CENTER, 2,
        "{'type': 'Shared', 'status': 'Active', 'name': 'b', 'details': {'dealValue': 12345678901234567890.5},"
        " 'externalReferenceId': '" CRM_RECORD "'}");
    assert_non_null(scene.deal.pending);
    char *bytes = deal_write(&scene.deal, &length);
    assert_non_null(bytes);
    assert_int_equal(deal_read(bytes, length, &back, &err), 0);
    char *again = deal_write(&back, &length);
    assert_string_equal(bytes, again);
    assert_true(json_same(back.pending, scene.deal.pending));
    free(bytes);
    free(again);
    deal_done(&back);
    scene_end(&scene);
}

/* A state that is not one is told, not believed. */
static void test_malformed_state_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[]", "{}", "{\"key\": \"\", \"next_number\": 1}", "{\"key\": 5}"};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct deal deal;
        struct error err = ERROR_INIT;
        assert_int_equal(deal_read(texts[i], strlen(texts[i]), &deal, &err), -1);
        assert_int_equal(err.class, ERROR_POISON);
    }
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_older_versions_are_ignored),
        cmocka_unit_test(test_versions_compare_as_numbers),
        cmocka_unit_test(test_versions_compare_as_times),
        cmocka_unit_test(test_same_version_with_other_content_is_newer),
        cmocka_unit_test(test_same_version_with_other_annotations_is_the_same),
        cmocka_unit_test(test_same_version_may_tell_more),
        cmocka_unit_test(test_document_without_version_is_newer),
        cmocka_unit_test(test_documents_are_judged_one_by_one),
        cmocka_unit_test(test_other_partners_referral_is_not_read),
        cmocka_unit_test(test_values_are_read_by_path),
        cmocka_unit_test(test_what_a_document_does_not_tell_stays),
        cmocka_unit_test(test_state_is_written_and_read),
        cmocka_unit_test(test_malformed_state_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
