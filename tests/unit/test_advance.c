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

static const char RULES[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "select: {partner_center: {type: [Shared]}, crm: {sync: true}}\n"
    "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
    "fields:\n"
    "  - {name: value, partner_center: details.dealValue, crm: value, to_crm: [{decimal: 2}],\n"
    "     to_partner_center: [{decimal: {scale: 2, minimum: 0.01}}], explain: Enter the estimated revenue.}\n"
    "  - {name: currency, partner_center: details.currency, crm: currency, transform: [currency],\n"
    "     explain: Choose a currency.}\n"
    "  - {name: notes, partner_center: details.notes, crm: notes}\n"
    "  - {name: city, partner_center: city, crm: city}\n";

#define HEAD "Not sent to Partner Center: "

#define REFERRAL_WITH(value, notes, city)                                                            \
    "{'type': 'Shared', 'status': 'Active', 'city': '" city "', 'externalReferenceId': '" CRM_RECORD \
    "', 'details': {'dealValue': " value ", 'currency': 'EUR', 'notes': '" notes "'}}"
#define ROW_WITH(value, currency, notes, city)                                                             \
    "{'sync': true, 'state': 1, 'referral_id': '" REFERRAL "', 'value': " value ", 'currency': '" currency \
    "', 'notes': '" notes "', 'city': '" city "'}"

static void begin(struct scene *scene)
{
    scene_begin(scene, RULES, REFERRAL);
    scene_agrees(scene, REFERRAL_WITH("10", "n", "A"), ROW_WITH("10", "EUR", "n", "A"));
}

/* The audit column alone is written, with exactly these words; once that is done the record shows `row`, and nothing
 * more is written. */
static void seller_is_told(struct scene *scene, const char *words, int version, const char *row)
{
    const struct decision *decision = &scene->effects.decision;

    assert_true(scene->effects.has_decision);
    assert_string_equal(decision->purpose, "explain");
    assert_string_equal(decision->target, "crm");
    assert_int_equal(json_object_size(decision->write), 1);
    assert_string_equal(json_text_of(decision->write, "audit"), words);
    assert_string_equal(decision->audit_text, words);
    outcome_arrives(scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, version, row));
    assert_silent(scene);
}

static void seller_hears_it_is_mended(struct scene *scene, int version, const char *row)
{
    assert_string_equal(scene->effects.decision.reason, "mended");
    seller_is_told(scene, "In order again: nothing of this record is missing or refused.", version, row);
    assert_null(scene->deal.explained);
}

/* -- problems of an edit ------------------------------------------------------------------------------------------- */

/* What is valid of an edit is sent; all that is not is told at once, once whatever is edited beside it, less when some of
 * it is mended, and taken back when all is. */
static void test_problems_of_an_edit_are_told_at_once(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "Euros", "m", "A"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm'}");
    assert_true(scene.effects.has_problem);
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "m", "A")));
    assert_string_equal(scene.effects.decision.reason, "unmappable");
    seller_is_told(&scene, HEAD "Enter the estimated revenue. Choose a currency.", 3, ROW_WITH("0", "Euros", "m", "A"));

    reading_arrives(&scene, SIDE_CRM, 4, ROW_WITH("0", "Euros", "o", "A"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'o'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 3, REFERRAL_WITH("10", "o", "A")));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 4, ROW_WITH("0", "Euros", "o", "A"));
    assert_none(&scene, "unmappable");

    reading_arrives(&scene, SIDE_CRM, 5, ROW_WITH("0", "EUR", "o", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 6, ROW_WITH("0", "EUR", "o", "A"));

    reading_arrives(&scene, SIDE_CRM, 7, ROW_WITH("12", "EUR", "o", "A"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 12}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 4, REFERRAL_WITH("12", "o", "A")));
    seller_hears_it_is_mended(&scene, 8, ROW_WITH("12", "EUR", "o", "A"));
    reading_arrives(&scene, SIDE_CRM, 8, ROW_WITH("12", "EUR", "o", "A"));
    assert_none(&scene, "echo");
    scene_end(&scene);
}

/* A problem that is taken back by the seller leaves nothing to send, and is taken back in the audit column as well. */
static void test_problem_that_is_undone_is_taken_back(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "EUR", "n", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 3, ROW_WITH("0", "EUR", "n", "A"));
    reading_arrives(&scene, SIDE_CRM, 4, ROW_WITH("10", "EUR", "n", "A"));
    seller_hears_it_is_mended(&scene, 5, ROW_WITH("10", "EUR", "n", "A"));
    /* The same mistake later is told anew. */
    reading_arrives(&scene, SIDE_CRM, 6, ROW_WITH("0", "EUR", "n", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 7, ROW_WITH("0", "EUR", "n", "A"));
    scene_end(&scene);
}

/* A change from Partner Center puts its own line over what was told: what still holds is told again, once. */
static void test_problem_that_is_covered_is_told_again(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "EUR", "n", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 3, ROW_WITH("0", "EUR", "n", "A"));
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "n", "B"));
    assert_writes(&scene, "crm", "{'city': 'B'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 4, ROW_WITH("0", "EUR", "n", "B")));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 5, ROW_WITH("0", "EUR", "n", "B"));
    scene_end(&scene);
}

/* A change from Partner Center that does not reach the record, because the seller has mended the problem meanwhile, does not
 * come over what was told: that is taken back. */
static void test_problem_that_is_mended_under_a_write_is_taken_back(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "EUR", "n", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 3, ROW_WITH("0", "EUR", "n", "A"));
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "n", "B"));
    assert_writes(&scene, "crm", "{'city': 'B'}");
    outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents_of(SIDE_CRM, 4, ROW_WITH("10", "EUR", "n", "B")));
    seller_hears_it_is_mended(&scene, 5, ROW_WITH("10", "EUR", "n", "B"));
    scene_end(&scene);
}

/* -- refusals ------------------------------------------------------------------------------------------------------ */

/* Why Partner Center has refused an update is told once, in our words, together with what was not sent at all; the next
 * attempt that is refused is told as well; and what goes through in the end takes it back. */
static void test_refused_update_is_told_with_the_problems(void **state)
{
#define REFUSED HEAD "Enter the estimated revenue. Partner Center does not take the notes. Shorten them."
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "EUR", "long", "A"));
    for (int version = 3; version < 6; version += 2) {
        assert_writes(&scene, "partner-center",
                      version == 3 ? "{'details.notes': 'long'}" : "{'details.notes': 'lon'}");
        refusal_arrives(&scene, "partner_center.refused", "details.notes",
                        documents_of(SIDE_PARTNER_CENTER, 1, REFERRAL_WITH("10", "n", "A")));
        assert_string_equal(scene.effects.decision.reason, "refused_before");
        seller_is_told(&scene, REFUSED, version,
                       version == 3 ? ROW_WITH("0", "EUR", "long", "A") : ROW_WITH("0", "EUR", "lon", "A"));
        reading_arrives(&scene, SIDE_CRM, version,
                        version == 3 ? ROW_WITH("0", "EUR", "long", "A") : ROW_WITH("0", "EUR", "lon", "A"));
        assert_none(&scene, "refused_before");
        reading_arrives(&scene, SIDE_CRM, version + 1,
                        version == 3 ? ROW_WITH("0", "EUR", "lon", "A") : ROW_WITH("10", "EUR", "lo", "A"));
    }
    assert_writes(&scene, "partner-center", "{'details.notes': 'lo'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "lo", "A")));
    seller_hears_it_is_mended(&scene, 7, ROW_WITH("10", "EUR", "lo", "A"));
    scene_end(&scene);
#undef REFUSED
}

/* What the CRM has refused does not hold up what goes to Partner Center; both sides' troubles stand in one text. */
static void test_refusal_of_one_side_does_not_hold_up_the_other(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "n", "Long"));
    assert_writes(&scene, "crm", "{'city': 'Long'}");
    refusal_arrives(&scene, "dynamics_365.too_long", NULL, documents_of(SIDE_CRM, 1, ROW_WITH("10", "EUR", "n", "A")));
#define TOLD                                                                                                           \
    "Not written to this record: There are too many characters in city. Shorten the value in Partner Center, or have " \
    "the column made longer."
    seller_is_told(&scene, TOLD, 2, ROW_WITH("10", "EUR", "n", "A"));
    reading_arrives(&scene, SIDE_CRM, 3, ROW_WITH("0", "EUR", "m", "A"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm'}");
    refusal_arrives(&scene, "partner_center.forbidden", NULL,
                    documents_of(SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "n", "Long")));
    seller_is_told(&scene,
                   HEAD "Enter the estimated revenue. Partner Center does not permit this to the account Tandem works "
                        "with. Ask your administrator, who finds the deal's story in Tandem's audit under " REFERRAL
                        ". " TOLD,
                   4, ROW_WITH("0", "EUR", "m", "A"));
#undef TOLD
    scene_end(&scene);
}

/* A write to one side does not bring up what the other has refused; a CRM that permits nothing is not told so itself. */
static void test_refusal_outlasts_a_write_to_the_other_side(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "n", "B"));
    refusal_arrives(&scene, "dynamics_365.privilege", NULL, documents_of(SIDE_CRM, 1, ROW_WITH("10", "EUR", "n", "A")));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("10", "EUR", "m", "A"));
    assert_writes(&scene, "partner-center", "{'details.notes': 'm'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 3, REFERRAL_WITH("10", "m", "B")));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 3, ROW_WITH("10", "EUR", "m", "A"));
    assert_none(&scene, "refused_before");
    assert_non_null(strstr(scene.effects.decision.detail, "does not permit this"));
    scene_end(&scene);
}

/* What was refused of a referral that nobody has answered is sent again, once, when it is accepted. */
static void test_what_was_refused_before_the_acceptance_is_sent_after_it(void **state)
{
#define NEW_REFERRAL                                                                                        \
    "{'type': 'Shared', 'status': 'New', 'city': 'A', 'externalReferenceId': '" CRM_RECORD "', 'details': " \
    "{'dealValue': 10, 'currency': 'EUR', 'notes': 'n'}}"
    (void)state;
    struct scene scene;
    scene_begin(&scene, RULES, REFERRAL);
    scene_agrees(&scene, NEW_REFERRAL, ROW_WITH("10", "EUR", "n", "A"));
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("11", "EUR", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    refusal_arrives(&scene, "partner_center.refused", NULL, documents_of(SIDE_PARTNER_CENTER, 1, NEW_REFERRAL));
    assert_string_equal(scene.effects.decision.purpose, "explain");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 3, ROW_WITH("11", "EUR", "n", "A")));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    refusal_arrives(&scene, "partner_center.refused", NULL,
                    documents_of(SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("10", "n", "A")));
    if (scene.effects.has_decision)
        assert_string_equal(scene.effects.decision.purpose, "explain");
    scene_end(&scene);
#undef NEW_REFERRAL
}

/* A refusal because the deal was closed meanwhile is told as that: it is final, whatever the code says. */
static void test_refusal_of_a_closed_deal_is_told_as_final(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("11", "EUR", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    refusal_arrives(&scene, "partner_center.refused", NULL,
                    documents_of(SIDE_PARTNER_CENTER, 2,
                                 "{'type': 'Shared', 'status': 'Closed', 'city': 'A', 'externalReferenceId': "
                                 "'" CRM_RECORD "', 'details': {'dealValue': 10, 'currency': 'EUR', 'notes': 'n'}}"));
    seller_is_told(&scene,
                   "The deal is closed in Partner Center, which is final. Changes of this record are not sent; make a "
                   "new opportunity to go on.",
                   3, ROW_WITH("11", "EUR", "n", "A"));
    scene_end(&scene);
}

/* An edit that comes between keeps the words out of the column: they are told again, and so is that all is in order. */
static void test_words_that_were_not_written_are_told_again(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "EUR", "n", "A"));
    outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents_of(SIDE_CRM, 3, ROW_WITH("0", "EUR", "n", "A")));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 4, ROW_WITH("0", "EUR", "n", "A"));
    reading_arrives(&scene, SIDE_CRM, 5, ROW_WITH("10", "EUR", "n", "A"));
    assert_string_equal(scene.effects.decision.reason, "mended");
    outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents_of(SIDE_CRM, 6, ROW_WITH("10", "EUR", "n", "A")));
    seller_hears_it_is_mended(&scene, 7, ROW_WITH("10", "EUR", "n", "A"));
    scene_end(&scene);
}

/* A record that is gone before it takes the words is told when it comes back. */
static void test_words_for_a_record_that_is_gone_are_told_when_it_is_back(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "EUR", "n", "A"));
    outcome_arrives(&scene, OUTCOME_GONE, false, NULL);
    assert_null(scene.deal.explained);
    reading_arrives(&scene, SIDE_CRM, 3, ROW_WITH("0", "EUR", "n", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 4, ROW_WITH("0", "EUR", "n", "A"));
    scene_end(&scene);
}

/* A closed record may take nothing: it is tried once. */
static void test_closed_record_is_told_once_at_most(void **state)
{
#define CLOSED_ROW                                         \
    "{'sync': true, 'state': 2, 'referral_id': '" REFERRAL \
    "', 'value': 11, 'currency': 'EUR', 'notes': 'n', 'city': 'A'}"
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, CLOSED_ROW);
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    refusal_arrives(&scene, "partner_center.refused", NULL,
                    documents_of(SIDE_PARTNER_CENTER, 1, REFERRAL_WITH("10", "n", "A")));
    assert_string_equal(scene.effects.decision.purpose, "explain");
    outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents_of(SIDE_CRM, 2, CLOSED_ROW));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 3, CLOSED_ROW);
    assert_none(&scene, "refused_before");
    assert_non_null(strstr(scene.effects.decision.detail, "the deal's value"));
    scene_end(&scene);
#undef CLOSED_ROW
}

/* -- a referral that is not visible -------------------------------------------------------------------------------- */

/* The seller is told, then the deal rests; when it is visible again that is taken back. */
static void test_unseen_referral_is_told_and_rests(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    gone_arrives(&scene, SIDE_PARTNER_CENTER, "not_found");
    assert_string_equal(scene.effects.decision.purpose, "explain");
    assert_string_equal(scene.effects.decision.reason, "referral_gone");
    assert_non_null(strstr(scene.effects.decision.audit_text, "not visible in Partner Center any more"));
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, ROW_WITH("10", "EUR", "n", "A")));
    assert_none(&scene, "referral_gone");
    assert_true(scene.effects.decision.is_notable);
    reading_arrives(&scene, SIDE_CRM, 3, ROW_WITH("10", "EUR", "n", "A"));
    assert_none(&scene, "referral_gone");
    assert_false(scene.effects.decision.is_notable);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, REFERRAL_WITH("10", "n", "A"));
    seller_hears_it_is_mended(&scene, 4, ROW_WITH("10", "EUR", "n", "A"));
    assert_null(scene.deal.rests);
    scene_end(&scene);
}

/* Where the CRM does not take the words, or synchronisation is off, the deal rests all the same. */
static void test_unseen_referral_rests_without_words(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    gone_arrives(&scene, SIDE_PARTNER_CENTER, "forbidden");
    refusal_arrives(&scene, "dynamics_365.privilege", NULL, documents_of(SIDE_CRM, 1, ROW_WITH("10", "EUR", "n", "A")));
    assert_none(&scene, "referral_gone");
    assert_string_equal(scene.deal.rests, "referral_gone");
    scene_end(&scene);

    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, "{'sync': false, 'state': 1, 'referral_id': '" REFERRAL "'}");
    assert_none(&scene, "sync_off");
    gone_arrives(&scene, SIDE_PARTNER_CENTER, "forbidden");
    assert_none(&scene, "referral_gone");
    scene_end(&scene);
}

/* A record that changes under every attempt to write the words does not keep the deal from resting, and it goes on as soon
 * as the referral is visible again. */
static void test_unseen_referral_rests_where_words_find_no_place(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    gone_arrives(&scene, SIDE_PARTNER_CENTER, "not_found");
    for (int round = 0; round <= MERGE_CONFLICT_ROUNDS_MAX; round++) {
        assert_string_equal(scene.effects.decision.purpose, "explain");
        outcome_arrives(&scene, OUTCOME_CONFLICT, false,
                        documents_of(SIDE_CRM, 2 + round, ROW_WITH("10", "EUR", "n", "A")));
    }
    assert_none(&scene, "referral_gone");
    assert_true(scene.effects.decision.is_notable);
    assert_null(scene.deal.pending);
    reading_arrives(&scene, SIDE_CRM, 20, ROW_WITH("11", "EUR", "n", "A"));
    assert_none(&scene, "referral_gone");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, REFERRAL_WITH("10", "n", "A"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    scene_end(&scene);
}

/* A write that finds no referral has it read once more, since Partner Center may show late what it has; only so often, and
 * never a CRM record, which is there or is not. */
static void test_write_that_finds_no_referral_has_it_read_again(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("11", "EUR", "n", "A"));
    for (int round = 0; round < MERGE_CONFLICT_ROUNDS_MAX; round++) {
        assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
        outcome_arrives(&scene, OUTCOME_GONE, false, NULL);
        assert_string_equal(scene.effects.decision.reason, "referral_gone");
        assert_true(scene.effects.has_notification);
        assert_string_equal(scene.effects.notification.record_id, REFERRAL);
        if (scene.deal.pending != NULL) /* the words */
            outcome_arrives(&scene, OUTCOME_APPLIED, true,
                            documents_of(SIDE_CRM, 3 + round, ROW_WITH("11", "EUR", "n", "A")));
        reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, REFERRAL_WITH("10", "n", "A"));
    }
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    outcome_arrives(&scene, OUTCOME_GONE, false, NULL);
    assert_false(scene.effects.has_notification);
    scene_end(&scene);

    begin(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2, REFERRAL_WITH("12", "n", "A"));
    outcome_arrives(&scene, OUTCOME_GONE, false, NULL);
    assert_none(&scene, "crm_gone");
    assert_false(scene.effects.has_notification);
    scene_end(&scene);
}

/* A rest that is over is told though the CRM has refused the words that take the others back. */
static void test_rest_ends_where_words_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    for (int time = 0; time < 2; time++) {
        gone_arrives(&scene, SIDE_PARTNER_CENTER, "not_found");
        assert_string_equal(scene.effects.decision.purpose, "explain");
        outcome_arrives(&scene, OUTCOME_APPLIED, true,
                        documents_of(SIDE_CRM, 2 + time, ROW_WITH("10", "EUR", "n", "A")));
        assert_none(&scene, "referral_gone");
        reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, REFERRAL_WITH("10", "n", "A"));
        if (time == 0)
            refusal_arrives(&scene, "dynamics_365.privilege", NULL,
                            documents_of(SIDE_CRM, 2, ROW_WITH("10", "EUR", "n", "A")));
    }
    assert_none(&scene, "mended");
    assert_true(scene.effects.decision.is_notable);
    assert_null(scene.deal.rests);
    reading_arrives(&scene, SIDE_CRM, 4, ROW_WITH("10", "EUR", "n", "A"));
    assert_none(&scene, "unchanged");
    scene_end(&scene);
}

/* What is still wrong when the referral is visible again comes over the words that it is not; once it stands there, the deal
 * goes on without words. */
static void test_what_is_wrong_is_told_after_a_rest(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, ROW_WITH("0", "EUR", "n", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 3, ROW_WITH("0", "EUR", "n", "A"));
    gone_arrives(&scene, SIDE_PARTNER_CENTER, "not_found");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 4, ROW_WITH("0", "EUR", "n", "A")));
    assert_none(&scene, "referral_gone");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, REFERRAL_WITH("10", "n", "A"));
    seller_is_told(&scene, HEAD "Enter the estimated revenue.", 5, ROW_WITH("0", "EUR", "n", "A"));
    assert_null(scene.deal.rests);

    gone_arrives(&scene, SIDE_CRM, "forbidden");
    assert_none(&scene, "crm_gone");
    reading_arrives(&scene, SIDE_CRM, 5, ROW_WITH("0", "EUR", "n", "A"));
    assert_none(&scene, "resumed");
    assert_null(scene.deal.rests);
    scene_end(&scene);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problems_of_an_edit_are_told_at_once),
        cmocka_unit_test(test_problem_that_is_undone_is_taken_back),
        cmocka_unit_test(test_problem_that_is_covered_is_told_again),
        cmocka_unit_test(test_problem_that_is_mended_under_a_write_is_taken_back),
        cmocka_unit_test(test_refused_update_is_told_with_the_problems),
        cmocka_unit_test(test_refusal_of_one_side_does_not_hold_up_the_other),
        cmocka_unit_test(test_refusal_outlasts_a_write_to_the_other_side),
        cmocka_unit_test(test_what_was_refused_before_the_acceptance_is_sent_after_it),
        cmocka_unit_test(test_refusal_of_a_closed_deal_is_told_as_final),
        cmocka_unit_test(test_words_that_were_not_written_are_told_again),
        cmocka_unit_test(test_words_for_a_record_that_is_gone_are_told_when_it_is_back),
        cmocka_unit_test(test_closed_record_is_told_once_at_most),
        cmocka_unit_test(test_unseen_referral_is_told_and_rests),
        cmocka_unit_test(test_unseen_referral_rests_without_words),
        cmocka_unit_test(test_unseen_referral_rests_where_words_find_no_place),
        cmocka_unit_test(test_write_that_finds_no_referral_has_it_read_again),
        cmocka_unit_test(test_rest_ends_where_words_are_refused),
        cmocka_unit_test(test_what_is_wrong_is_told_after_a_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
