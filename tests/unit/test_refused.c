#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "common/base/attributes.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "tests/support/deals.h"

static const char RULES[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "select: {partner_center: {type: [Shared]}, crm: {sync: true}}\n"
    "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
    "unanswered: {partner_center: {status: [New]}, substitute: {substatus: {Won: Declined}},\n"
    "             write: {statusReason: Closed in the CRM}}\n"
    "fields:\n"
    "  - {name: stage, partner_center: [status, substatus], crm: [state, reason], table: stages,\n"
    "     on: {to-crm: [create, update], to-partner-center: [update]}}\n"
    "  - {name: value, partner_center: details.dealValue, crm: value, transform: [{decimal: 2}]}\n"
    "  - {name: notes, partner_center: details.notes, crm: notes}\n"
    "  - {name: city, partner_center: customerProfile.address.city, crm: city, conflict: crm}\n"
    "tables:\n"
    "  stages:\n"
    "    partner_center: [status, substatus]\n"
    "    crm: [state, reason]\n"
    "    rows:\n"
    "      - {partner_center: [Active, Accepted], crm: [1, 10]}\n"
    "      - {partner_center: [New, Pending], crm: [1, 10], direction: to-crm}\n"
    "      - {partner_center: [Closed, Won], crm: [2, 20]}\n"
    "      - {partner_center: [Closed, Declined], crm: [2, 30]}\n";

#define REFERRAL_OF(status, substatus, value, notes, city)                                                          \
    "{'type': 'Shared', 'status': '" status "', 'substatus': '" substatus "', 'externalReferenceId': '" CRM_RECORD  \
    "', 'customerProfile': {'address': {'city': '" city "'}}, 'details': {'dealValue': " value ", 'notes': '" notes \
    "'}}"
#define ACTIVE(value, notes, city) REFERRAL_OF("Active", "Accepted", value, notes, city)
#define ROW_IN(state, reason, value, notes, city)                                                             \
    "{'sync': true, 'state': " state ", 'reason': " reason ", 'referral_id': '" REFERRAL "', 'value': " value \
    ", 'notes': '" notes "', 'city': '" city "'}"
#define ROW(value, notes, city) ROW_IN("1", "10", value, notes, city)

#define HEAD     "Not sent to Partner Center: "
#define NO_CITY  "Partner Center does not take the customer's address. Correct it in the customer's record."
#define NO_NOTES "Partner Center does not take the notes. Shorten them."
#define NO_VALUE "Partner Center does not take the deal's value. Enter a number of more than zero."
#define NO_ROOM \
    "There are too many characters in city. Shorten the value in Partner Center, or have the column made longer."
#define CITY         "customerProfile.address.city"
#define CRM_TOO_LONG "dynamics_365.too_long"
#define NOT_TAKEN    "partner_center.refused"

static void begin(struct scene *scene)
{
    scene_begin(scene, RULES, REFERRAL);
    scene_agrees(scene, ACTIVE("10", "n", "A"), ROW("10", "n", "A"));
}

static void referral_takes_it(struct scene *scene, int version, const char *referral)
{
    outcome_arrives(scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, version, referral));
}

static void row_takes_it(struct scene *scene, int version, const char *row)
{
    outcome_arrives(scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, version, row));
}

static void referral_refuses(struct scene *scene, const char *field, const char *referral)
{
    refusal_arrives(scene, NOT_TAKEN, field, documents_of(SIDE_PARTNER_CENTER, 1, referral));
}

/* The audit column alone is written, with exactly these words; nothing follows. */
static void seller_is_told(struct scene *scene, const char *words, int version, const char *row)
{
    const struct decision *decision = &scene->effects.decision;

    assert_true(scene->effects.has_decision);
    assert_string_equal(decision->purpose, "explain");
    assert_string_equal(json_text_of(decision->write, "audit"), words);
    row_takes_it(scene, version, row);
    assert_silent(scene);
}

/* The seller has changed city and notes; Partner Center refuses the city, and the notes go without it. */
static void begin_without_city(struct scene *scene)
{
    begin(scene);
    reading_arrives(scene, SIDE_CRM, 2, ROW("10", "m", "B"));
    assert_writes(scene, "partner-center", "{'details.notes': 'm', '" CITY "': 'B'}");
    referral_refuses(scene, "/customerProfile/address/city", ACTIVE("10", "n", "A"));
    assert_writes(scene, "partner-center", "{'details.notes': 'm'}");
    referral_takes_it(scene, 2, ACTIVE("10", "m", "A"));
    seller_is_told(scene, HEAD NO_CITY, 3, ROW("10", "m", "B"));
}

/* What is refused of an update is told once, the rest goes, now and with later edits; the refused field keeps its difference,
 * is tried again when it changes, and what was told is taken back when it is taken. */
static void test_other_fields_go_without_the_refused_one(void **state)
{
    (void)state;
    struct scene scene;
    begin_without_city(&scene);
    assert_string_equal(json_text_of(scene.deal.base[SIDE_PARTNER_CENTER], "city"), "A");
    assert_string_equal(json_text_of(scene.deal.base[SIDE_CRM], "city"), "A");
    assert_string_equal(json_text_of(scene.deal.base[SIDE_CRM], "notes"), "m");
    reading_arrives(&scene, SIDE_CRM, 3, ROW("10", "m", "B"));
    assert_none(&scene, "refused_before");
    for (int edit = 0; edit < 3; edit++) {
        const int version = 4 + edit;
        reading_arrives(&scene, SIDE_CRM, version, edit % 2 == 0 ? ROW("11", "m", "B") : ROW("12", "m", "B"));
        assert_writes(&scene, "partner-center",
                      edit % 2 == 0 ? "{'details.dealValue': 11}" : "{'details.dealValue': 12}");
        referral_takes_it(&scene, 3 + edit, edit % 2 == 0 ? ACTIVE("11", "m", "A") : ACTIVE("12", "m", "A"));
        assert_silent(&scene);
    }
    reading_arrives(&scene, SIDE_CRM, 7, ROW("11", "m", "C"));
    assert_writes(&scene, "partner-center", "{'" CITY "': 'C'}");
    referral_takes_it(&scene, 6, ACTIVE("11", "m", "C"));
    seller_is_told(&scene, "In order again: nothing of this record is missing or refused.", 8, ROW("11", "m", "C"));
    assert_null(scene.deal.refused_fields);
    scene_end(&scene);
}

/* The same holds of what the CRM refuses; the line of a write that goes through comes over the words, which are told again. */
static void test_crm_gets_the_rest_as_well(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, ACTIVE("10", "m", "Long"));
    assert_writes(&scene, "crm", "{'notes': 'm', 'city': 'Long'}");
    refusal_arrives(&scene, CRM_TOO_LONG, "city", documents_of(SIDE_CRM, 1, ROW("10", "n", "A")));
    assert_writes(&scene, "crm", "{'notes': 'm'}");
    row_takes_it(&scene, 2, ROW("10", "m", "A"));
    seller_is_told(&scene, "Not written to this record: " NO_ROOM, 3, ROW("10", "m", "A"));
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, ACTIVE("11", "m", "Long"));
    assert_writes(&scene, "crm", "{'value': 11}");
    row_takes_it(&scene, 4, ROW("11", "m", "A"));
    seller_is_told(&scene, "Not written to this record: " NO_ROOM, 5, ROW("11", "m", "A"));
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 4, ACTIVE("11", "m", "Lo"));
    assert_writes(&scene, "crm", "{'city': 'Lo'}");
    row_takes_it(&scene, 6, ROW("11", "m", "Lo"));
    assert_silent(&scene);
    scene_end(&scene);
}

/* Fields that are refused one after the other are all left out, and told in one text; the last of them is a whole write. */
static void test_several_refused_fields_come_to_rest(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW("11", "m", "B"));
    referral_refuses(&scene, CITY, ACTIVE("10", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11, 'details.notes': 'm'}");
    referral_refuses(&scene, "details.dealValue", ACTIVE("10", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm'}");
    referral_refuses(&scene, "details.notes", ACTIVE("10", "n", "A"));
    seller_is_told(&scene, HEAD NO_VALUE " " NO_CITY " " NO_NOTES, 3, ROW("11", "m", "B"));
    reading_arrives(&scene, SIDE_CRM, 3, ROW("11", "m", "B"));
    assert_none(&scene, "refused_before");
    scene_end(&scene);
}

/* A refusal that names nothing, or nothing of the write, is that of the whole: not sent again until it is another one. */
static void test_refusal_of_nothing_in_the_write_is_that_of_the_whole(void **state)
{
    static const char *const named[] = {NULL, "referral", "externalReferenceId", "customerProfile", "details.currency"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(named); i++) {
        struct scene scene;
        begin(&scene);
        reading_arrives(&scene, SIDE_CRM, 2, ROW("10", "m", "B"));
        referral_refuses(&scene, named[i], ACTIVE("10", "n", "A"));
        assert_string_equal(scene.effects.decision.purpose, "explain");
        row_takes_it(&scene, 3, ROW("10", "m", "B"));
        assert_silent(&scene);
        reading_arrives(&scene, SIDE_CRM, 4, ROW("11", "m", "B"));
        assert_writes(&scene, "partner-center", "{'details.dealValue': 11, 'details.notes': 'm', '" CITY "': 'B'}");
        scene_end(&scene);
    }
}

/* A field that was refused alone goes once more with the next edit, which may be what it lacked; refused again it is left
 * out, also after that edit has been taken. */
static void test_field_refused_alone_is_tried_once_with_others(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW("10", "n", "B"));
    referral_refuses(&scene, CITY, ACTIVE("10", "n", "A"));
    seller_is_told(&scene, HEAD NO_CITY, 3, ROW("10", "n", "B"));
    reading_arrives(&scene, SIDE_CRM, 4, ROW("10", "m", "B"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm', '" CITY "': 'B'}");
    referral_refuses(&scene, CITY, ACTIVE("10", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm'}");
    referral_takes_it(&scene, 2, ACTIVE("10", "m", "A"));
    seller_is_told(&scene, HEAD NO_CITY, 5, ROW("10", "m", "B"));
    scene_end(&scene);
}

/* A deal is closed, whatever else is refused. */
static void test_closing_is_not_held_up(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_IN("2", "20", "10", "n", "B"));
    assert_writes(&scene, "partner-center", "{'status': 'Closed', 'substatus': 'Won', '" CITY "': 'B'}");
    referral_refuses(&scene, CITY, ACTIVE("10", "n", "A"));
    assert_writes(&scene, "partner-center", "{'status': 'Closed', 'substatus': 'Won'}");
    scene_end(&scene);

    begin_without_city(&scene);
    reading_arrives(&scene, SIDE_CRM, 4, ROW_IN("2", "20", "10", "m", "B"));
    assert_writes(&scene, "partner-center", "{'status': 'Closed', 'substatus': 'Won'}");
    scene_end(&scene);
}

/* A step that is refused goes as a whole, and the rest is written. */
static void test_refused_step_does_not_hold_up_the_rest(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_IN("2", "20", "10", "m", "A"));
    assert_writes(&scene, "partner-center", "{'status': 'Closed', 'substatus': 'Won', 'details.notes': 'm'}");
    referral_refuses(&scene, "/substatus", ACTIVE("10", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm'}");
    scene_end(&scene);
}

/* A decline is one thing: no part of it goes without the other. */
static void test_decline_stays_whole(void **state)
{
#define NEW_REFERRAL REFERRAL_OF("New", "Pending", "10", "n", "A")
    (void)state;
    struct scene scene;
    scene_begin(&scene, RULES, REFERRAL);
    scene_agrees(&scene, NEW_REFERRAL, ROW("10", "n", "A"));
    reading_arrives(&scene, SIDE_CRM, 2, ROW_IN("2", "20", "10", "n", "A"));
    assert_writes(&scene, "partner-center",
                  "{'status': 'Closed', 'substatus': 'Declined', 'statusReason': 'Closed in the CRM'}");
    referral_refuses(&scene, "status", NEW_REFERRAL);
    assert_string_equal(scene.effects.decision.purpose, "explain");
    assert_null(scene.deal.refused_fields);
    scene_end(&scene);
#undef NEW_REFERRAL
}

/* A refusal holds for the rules and the status of the referral under which it came. */
static void test_refused_field_is_tried_again_under_other_circumstances(void **state)
{
    struct error err = ERROR_INIT;
    struct scene scene;

    (void)state;
    begin_without_city(&scene);
    assert_int_equal(text_assign(&scene.rules->version, "other", &err), 0);
    reading_arrives(&scene, SIDE_CRM, 4, ROW("10", "m", "B"));
    assert_writes(&scene, "partner-center", "{'" CITY "': 'B'}");
    scene_end(&scene);

    scene_begin(&scene, RULES, REFERRAL);
    scene_agrees(&scene, REFERRAL_OF("New", "Pending", "10", "n", "A"), ROW("10", "n", "A"));
    reading_arrives(&scene, SIDE_CRM, 2, ROW("10", "m", "B"));
    referral_refuses(&scene, CITY, REFERRAL_OF("New", "Pending", "10", "n", "A"));
    referral_takes_it(&scene, 2, REFERRAL_OF("New", "Pending", "10", "m", "A"));
    seller_is_told(&scene, HEAD NO_CITY, 3, ROW("10", "m", "B"));
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, ACTIVE("10", "m", "A"));
    assert_writes(&scene, "partner-center", "{'" CITY "': 'B'}");
    scene_end(&scene);
}

/* What the seller has taken back is over, and is tried when it is entered again. */
static void test_refused_value_that_is_entered_again_is_tried_again(void **state)
{
    (void)state;
    struct scene scene;
    begin_without_city(&scene);
    reading_arrives(&scene, SIDE_CRM, 4, ROW("10", "m", "A"));
    seller_is_told(&scene, "In order again: nothing of this record is missing or refused.", 5, ROW("10", "m", "A"));
    assert_null(scene.deal.refused_fields);
    reading_arrives(&scene, SIDE_CRM, 6, ROW("10", "m", "B"));
    assert_writes(&scene, "partner-center", "{'" CITY "': 'B'}");
    scene_end(&scene);
}

/* A person drives the refused write again: of what it held the field that was left out is tried, once. */
static void test_driven_again_tries_the_field(void **state)
{
    struct scene scene;
    struct error err = ERROR_INIT;

    (void)state;
    begin_without_city(&scene);
    for (int time = 0; time < 2; time++) {
        struct outcome outcome = {.decision_id = text_copy(REFERRAL "#1"),
                                  .deal_key = text_copy(REFERRAL),
                                  .result = OUTCOME_SUPERSEDED,
                                  .target = text_copy("partner-center"),
                                  .finished_at = text_copy("2026-01-01T00:03:00Z")};
        const struct merge_context context = {.rules = scene.rules, .topic = "outcomes"};

        merge_effects_done(&scene.effects);
        assert_int_equal(merge_outcome(&scene.deal, &context, &outcome, &scene.effects, &err), 0);
        outcome_done(&outcome);
        if (time == 0)
            assert_writes(&scene, "partner-center", "{'" CITY "': 'B'}");
        else
            assert_silent(&scene);
    }
    scene_end(&scene);
}

/* The link goes with the other fields; what was refused of it is not tried again behind it. */
static void test_link_goes_without_the_refused_field(void **state)
{
#define UNLINKED(notes, city) \
    "{'sync': true, 'state': 1, 'reason': 10, 'value': 10, 'notes': '" notes "', 'city': '" city "'}"
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, UNLINKED("n", "A"));
    assert_writes(&scene, "crm", "{'referral_id': '" REFERRAL "'}");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, ACTIVE("10", "m", "Long"));
    outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents_of(SIDE_CRM, 3, UNLINKED("n", "A")));
    assert_writes(&scene, "crm", "{'notes': 'm', 'city': 'Long', 'referral_id': '" REFERRAL "'}");
    refusal_arrives(&scene, CRM_TOO_LONG, "city", documents_of(SIDE_CRM, 3, UNLINKED("n", "A")));
    assert_string_equal(scene.effects.decision.purpose, "link");
    assert_writes(&scene, "crm", "{'notes': 'm', 'referral_id': '" REFERRAL "'}");
    row_takes_it(&scene, 4, ROW("10", "m", "A"));
    seller_is_told(&scene, "Not written to this record: " NO_ROOM, 5, ROW("10", "m", "A"));
    scene_end(&scene);
#undef UNLINKED
}

/* A conflict over a field that is left out is not told as settled by the write of the others. */
static void test_conflict_of_the_refused_field_is_not_settled(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, ACTIVE("10", "n", "X"));
    outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents_of(SIDE_CRM, 2, ROW("10", "m", "B")));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm', '" CITY "': 'B'}");
    assert_int_equal(json_array_size(scene.effects.decision.conflicts), 1);
    refusal_arrives(&scene, NOT_TAKEN, CITY, documents_of(SIDE_PARTNER_CENTER, 2, ACTIVE("10", "n", "X")));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm'}");
    assert_int_equal(json_array_size(scene.effects.decision.conflicts), 0);
    assert_string_equal(scene.effects.decision.reason, "crm_changed");
    scene_end(&scene);
}

/* What is remembered survives the deal's being stored. */
static void test_refused_fields_are_stored(void **state)
{
    struct scene scene;
    struct deal restored;
    struct error err = ERROR_INIT;
    size_t length = 0;
    char *bytes;

    (void)state;
    begin_without_city(&scene);
    bytes = deal_write(&scene.deal, &length);
    assert_non_null(bytes);
    assert_int_equal(deal_read(bytes, length, &restored, &err), 0);
    free(bytes);
    deal_done(&scene.deal);
    scene.deal = restored;
    reading_arrives(&scene, SIDE_CRM, 4, ROW("11", "m", "B"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    scene_end(&scene);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_fields_go_without_the_refused_one),
        cmocka_unit_test(test_crm_gets_the_rest_as_well),
        cmocka_unit_test(test_several_refused_fields_come_to_rest),
        cmocka_unit_test(test_refusal_of_nothing_in_the_write_is_that_of_the_whole),
        cmocka_unit_test(test_field_refused_alone_is_tried_once_with_others),
        cmocka_unit_test(test_closing_is_not_held_up),
        cmocka_unit_test(test_refused_step_does_not_hold_up_the_rest),
        cmocka_unit_test(test_decline_stays_whole),
        cmocka_unit_test(test_refused_field_is_tried_again_under_other_circumstances),
        cmocka_unit_test(test_refused_value_that_is_entered_again_is_tried_again),
        cmocka_unit_test(test_driven_again_tries_the_field),
        cmocka_unit_test(test_link_goes_without_the_refused_field),
        cmocka_unit_test(test_conflict_of_the_refused_field_is_not_settled),
        cmocka_unit_test(test_refused_fields_are_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
