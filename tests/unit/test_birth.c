#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "mapper/birth.h"
#include "tests/support/deals.h"

#define CRM_KEY "crm:" CRM_RECORD

static const char BIRTH_RULES[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "select: {partner_center: {type: [Shared, Independent]}, crm: {sync: true}}\n"
    "closed: {partner_center: {status: [Closed]}, crm: {state: [2]}}\n"
    "invitation: {crm: {help: [demo]}, write: {target: [{type: BusinessProfileLocation, id: msft}]}}\n"
    "unanswered: {partner_center: {status: [New]}, substitute: {substatus: {Lost: Declined}},\n"
    "             write: {statusReason: Declined by the seller}}\n"
    "fields:\n"
    "  - {name: title, partner_center: name, crm: name, direction: to-crm, to_crm: [check_mark]}\n"
    "  - {name: new_title, partner_center: name, crm: name, direction: to-partner-center, on: create,\n"
    "     to_partner_center: [check_mark]}\n"
    "  - {name: value, partner_center: details.dealValue, crm: value, required: to-partner-center, conflict: latest,\n"
    "     explain: Enter the estimated revenue.}\n"
    "  - {name: day, partner_center: details.day, crm: day, required: to-partner-center,\n"
    "     explain: Enter a day.}\n"
    "  - {name: stage, partner_center: [status, substatus], crm: [state, reason], on: update, table: stages}\n"
    "  - {name: link, partner_center: id, crm: link, direction: to-crm}\n"
    "  - {name: help, partner_center: inviteContext.assistanceRequestCode, crm: help,\n"
    "     direction: to-partner-center, on: invite}\n"
    "  - {name: contact, partner_center: customerProfile.contact, crm: contact, direction: to-partner-center,\n"
    "     on: invite, required: to-partner-center, explain: Choose a contact.}\n"
    "tables:\n"
    "  stages:\n"
    "    partner_center: [status, substatus]\n"
    "    crm: [state, reason]\n"
    "    rows:\n"
    "      - {partner_center: [Active, Accepted], crm: [0, 1]}\n"
    "      - {partner_center: [New, Pending], crm: [0, 2], direction: to-crm}\n"
    "      - {partner_center: leave, crm: [0, 2]}\n"
    "      - {partner_center: [Closed, Won], crm: [1, 3]}\n"
    "      - {partner_center: [Closed, Lost], crm: [2, 5]}\n"
    "      - {partner_center: [Closed, Declined], crm: [2, 4], direction: to-crm}\n";

#define WHOLE_ROW "'sync': true, 'state': 0, 'reason': 1, 'name': 'Deal', 'value': 10, 'day': 'd'"
#define OUR_REFERRAL                                                                                                      \
    "'status': 'Active', 'substatus': 'Accepted', 'name': 'Deal', 'direction': 'Outgoing', 'details': {'dealValue': 10, " \
    "'day': 'd'}, 'externalReferenceId': '" CRM_RECORD "'"

static void begin(struct scene *scene)
{
    scene_begin(scene, BIRTH_RULES, CRM_KEY);
}

/* The state that was handed over, taken up under the referral's key in a scene of its own. */
static void take_up(struct scene *old, struct scene *scene)
{
    struct record handover = old->effects.record;
    assert_true(old->effects.has_record);
    assert_int_equal(handover.kind, RECORD_HANDOVER);
    assert_string_equal(handover.deal_key, REFERRAL);
    assert_string_equal(handover.from_key, CRM_KEY);
    scene_begin(scene, BIRTH_RULES, REFERRAL);
    old->effects.has_record = false;
    old->effects.record = (struct record){0};
    message_arrives(scene, &handover);
}

/* What the seller was told is taken back in the audit column, and nothing else is written. */
static void assert_mended(const struct scene *scene)
{
    assert_writes(scene, "crm", "{'audit': 'In order again: nothing of this record is missing or refused.'}");
    assert_string_equal(scene->effects.decision.purpose, "explain");
    assert_string_equal(scene->effects.decision.reason, "mended");
    assert_null(scene->deal.explained);
}

/* -- what is missing ----------------------------------------------------------------------------------------------- */

/* A record that lacks something is not sent: the seller is told all of it at once, in the rules' words, and once. */
static void test_what_is_missing_is_explained_once(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 1,
                    "{'sync': true, 'state': 0, 'name': 'Deal', 'help': 'demo', 'value': null, 'day': null}");
    const struct decision *decision = &scene.effects.decision;
    assert_writes(&scene, "crm",
                  "{'audit': 'Not sent to Partner Center: Enter the estimated revenue. Enter a day. "
                  "Choose a contact.'}");
    assert_string_equal(decision->purpose, "explain");
    assert_string_equal(decision->reason, "invalid");
    assert_false(scene.effects.has_problem);
    outcome_arrives(
        &scene, OUTCOME_APPLIED, true,
        documents_of(
            SIDE_CRM, 2,
            "{'sync': true, 'state': 0, 'name': 'Deal', 'help': 'demo', 'value': null, 'day': null, 'audit': 'x'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 3,
                    "{'sync': true, 'state': 0, 'name': 'Deal 2', 'help': 'demo', 'value': null, 'day': null}");
    assert_none(&scene, "invalid");
    /* One thing put right: what is left is told. */
    reading_arrives(&scene, SIDE_CRM, 4,
                    "{'sync': true, 'state': 0, 'name': 'Deal 2', 'help': 'demo', 'value': 5, 'day': 'd'}");
    assert_writes(&scene, "crm", "{'audit': 'Not sent to Partner Center: Choose a contact.'}");
    scene_end(&scene);
}

/* Nothing leaves the CRM unless the seller has switched it on, and nothing that is closed. */
static void test_only_what_is_switched_on_is_sent(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 1, "{'sync': false, 'state': 0, 'name': 'Deal', 'value': 10, 'day': 'd'}");
    assert_none(&scene, "sync_off");
    reading_arrives(&scene, SIDE_CRM, 2, "{'sync': null, 'state': 0, 'name': 'Deal', 'value': 10, 'day': 'd'}");
    assert_none(&scene, "not_selected");
    reading_arrives(&scene, SIDE_CRM, 3, "{'sync': true, 'state': 2, 'name': 'Deal', 'value': 10, 'day': 'd'}");
    assert_none(&scene, "crm_closed");
    reading_arrives(&scene, SIDE_CRM, 4, "{" WHOLE_ROW "}");
    assert_writes(&scene, "partner-center",
                  "{'name': 'Deal', 'details.dealValue': 10, 'details.day': 'd', 'externalReferenceId': '" CRM_RECORD
                  "'}");
    scene_end(&scene);
}

/* -- the chain ----------------------------------------------------------------------------------------------------- */

/* Created, handed over with the agreed values, then one write to the CRM: identifier, link and check mark together. */
static void test_record_becomes_a_referral(void **state)
{
    (void)state;
    struct scene crm, scene;
    begin(&crm);
    reading_arrives(&crm, SIDE_CRM, 1, "{" WHOLE_ROW "}");
    const struct decision *decision = &crm.effects.decision;
    assert_int_equal(decision->action, DECISION_CREATE);
    assert_string_equal(decision->record_type, "referral");
    assert_json_is(json_incref(decision->create_key), "{'externalReferenceId': '" CRM_RECORD "'}");
    outcome_arrives(&crm, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 1, "{" OUR_REFERRAL "}"));
    assert_false(crm.effects.has_decision);
    assert_string_equal(crm.deal.alias, REFERRAL);

    take_up(&crm, &scene);
    assert_string_equal(scene.deal.id[SIDE_CRM], CRM_RECORD);
    assert_string_equal(scene.deal.engagement_id, ENGAGEMENT);
    assert_writes(&scene, "crm",
                  "{'referral_id': '" REFERRAL "', 'link': '" REFERRAL "', 'name': '\xe2\x9c\x94 Deal'}");
    assert_string_equal(scene.effects.decision.purpose, "link");
    assert_false(scene.effects.has_record); /* the old key knows */
    outcome_arrives(
        &scene, OUTCOME_APPLIED, true,
        documents_of(SIDE_CRM, 2, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'link': '" REFERRAL "'}"));
    assert_silent(&scene);
    scene_end(&scene);
    scene_end(&crm);
}

/* A seller's edit while the creation was under way is a change of the CRM, not a conflict. */
static void test_edit_during_creation_is_sent_afterwards(void **state)
{
    (void)state;
    struct scene crm, scene;
    begin(&crm);
    reading_arrives(&crm, SIDE_CRM, 1, "{" WHOLE_ROW "}");
    reading_arrives(&crm, SIDE_CRM, 2,
                    "{'sync': true, 'state': 0, 'reason': 1, 'name': 'Deal', 'value': 11, 'day': 'd'}");
    assert_none(&crm, "waiting");
    outcome_arrives(&crm, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 1, "{" OUR_REFERRAL "}"));
    take_up(&crm, &scene);
    assert_string_equal(scene.effects.decision.purpose, "link");
    outcome_arrives(
        &scene, OUTCOME_APPLIED, true,
        documents_of(SIDE_CRM, 3,
                     "{'sync': true, 'state': 0, 'reason': 1, 'name': '\xe2\x9c\x94 Deal', 'value': 11, 'day': 'd', "
                     "'referral_id': '" REFERRAL "', 'link': '" REFERRAL "'}"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 11}");
    assert_int_equal(json_array_size(scene.effects.decision.conflicts), 0);
    scene_end(&scene);
    scene_end(&crm);
}

/* The answer to the creation may be lost while the referral's own record is read: it tells the CRM record's key. */
static void test_referral_that_is_found_ends_the_wait(void **state)
{
    (void)state;
    struct scene crm, scene;
    begin(&crm);
    reading_arrives(&crm, SIDE_CRM, 1, "{" WHOLE_ROW "}");
    found_arrives(&crm, REFERRAL);
    assert_null(crm.deal.pending);
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{'status': 'Active', 'substatus': 'Accepted', 'name': 'Deal', 'direction': 'Outgoing', "
                    "'details': {'dealValue': 12, 'day': 'd'}, 'externalReferenceId': '" CRM_RECORD "'}");
    assert_true(scene.effects.has_record);
    assert_int_equal(scene.effects.record.kind, RECORD_FOUND);
    assert_string_equal(scene.effects.record.deal_key, CRM_KEY);
    struct record handover = crm.effects.record;
    crm.effects.record = (struct record){0};
    crm.effects.has_record = false;
    message_arrives(&scene, &handover);
    /* Partner Center's edit of the value came after what was sent. */
    assert_writes(&scene, "crm",
                  "{'referral_id': '" REFERRAL "', 'link': '" REFERRAL "', 'name': '\xe2\x9c\x94 Deal', 'value': 12}");
    assert_int_equal(json_array_size(scene.effects.decision.conflicts), 0);
    scene_end(&scene);
    scene_end(&crm);
}

/* Microsoft is invited once, by a second creation with the engagement's id, before the CRM is told. */
static void test_microsoft_is_invited_once(void **state)
{
    (void)state;
    struct scene crm, scene;
    begin(&crm);
    reading_arrives(&crm, SIDE_CRM, 1, "{" WHOLE_ROW ", 'help': 'demo', 'contact': 'c'}");
    assert_writes(&crm, "partner-center",
                  "{'name': 'Deal', 'details.dealValue': 10, 'details.day': 'd', 'externalReferenceId': '" CRM_RECORD
                  "'}");
    outcome_arrives(&crm, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 1, "{" OUR_REFERRAL "}"));
    take_up(&crm, &scene);
    const struct decision *decision = &scene.effects.decision;
    assert_writes(&scene, "partner-center",
                  "{'name': 'Deal', 'details.dealValue': 10, 'details.day': 'd', 'externalReferenceId': '" CRM_RECORD
                  "', "
                  "'engagementId': '" ENGAGEMENT "', 'inviteContext.assistanceRequestCode': 'demo', "
                  "'customerProfile.contact': 'c', 'target': [{'type': 'BusinessProfileLocation', 'id': 'msft'}]}");
    assert_int_equal(decision->action, DECISION_CREATE);
    assert_string_equal(decision->record_type, BIRTH_INVITATION);
    assert_string_equal(decision->purpose, "invite");
    assert_json_is(json_incref(decision->create_key), "{'engagementId': '" ENGAGEMENT "'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 1, "{" OUR_REFERRAL "}"));
    assert_string_equal(scene.deal.id[SIDE_PARTNER_CENTER], REFERRAL);
    assert_string_equal(scene.effects.decision.purpose, "link");
    scene_end(&scene);
    scene_end(&crm);
}

/* A private deal becomes a co-sell deal when the seller asks for help; one Microsoft is a party of is not invited again. */
static void test_help_upgrades_a_deal(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    scene_agrees(&scene, "{" OUR_REFERRAL "}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
    scene.deal.engagement_id = text_copy(ENGAGEMENT);
    reading_arrives(&scene, SIDE_CRM, 2, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo'}");
    assert_writes(&scene, "crm", "{'audit': 'Not sent to Partner Center: Choose a contact.'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 3, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 4,
                    "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'contact': 'c'}");
    assert_string_equal(scene.effects.decision.purpose, "invite");
    json_t *documents = documents_of(SIDE_PARTNER_CENTER, 2, "{" OUR_REFERRAL "}");
    add_microsofts(documents, 2, "{'status': 'New'}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents);
    assert_mended(&scene);
    outcome_arrives(
        &scene, OUTCOME_APPLIED, true,
        documents_of(SIDE_CRM, 5, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'contact': 'c'}"));
    assert_silent(&scene);
    /* What was written is Microsoft's referral: ours does not show it, and nobody is told of a near miss. */
    assert_null(json_object_get(scene.deal.ledger, "partner-center"));
    reading_arrives(&scene, SIDE_CRM, 6,
                    "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': null, 'contact': 'c'}");
    assert_none(&scene, "unchanged");
    reading_arrives(&scene, SIDE_CRM, 7,
                    "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'contact': 'c'}");
    assert_none(&scene, "unchanged");
    scene_end(&scene);
}

static const char VISIBILITY_RULES[] =
    "version: 1\n"
    "crm: dynamics-365\n"
    "record: opportunity\n"
    "identity: {identifier: referral_id, sync: sync, audit: audit}\n"
    "fields:\n"
    "  - {name: value, partner_center: value, crm: value}\n"
    "  - {name: consent, partner_center: shared, crm: [help, visible], direction: to-partner-center, on: [update],\n"
    "     to_partner_center: [{present: {yes: true, no: leave}}]}\n"
    "  - {name: visibility, partner_center: shared, crm: visible, direction: to-crm, when: {shared: [true]}}\n";

/* Sharing is never taken back: a seller's no is sent nowhere and nobody's yes is fought over, and other fields go on. */
static void test_sharing_is_never_taken_back(void **state)
{
    (void)state;
    struct scene scene;
#define ROW(value, help, visible) \
    "{'sync': true, 'referral_id': '" REFERRAL "', 'value': " value ", 'help': " help ", 'visible': " visible "}"
#define SHARED(value, shared) "{'externalReferenceId': '" CRM_RECORD "', 'value': " value ", 'shared': " shared "}"
    scene_begin(&scene, VISIBILITY_RULES, REFERRAL);
    scene_agrees(&scene, SHARED("1", "false"), ROW("1", "null", "false"));
    reading_arrives(&scene, SIDE_CRM, 2, ROW("1", "null", "true"));
    assert_writes(&scene, "partner-center", "{'shared': true}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 2, SHARED("1", "true")));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 3, ROW("1", "null", "false"));
    assert_none(&scene, "unchanged");
    reading_arrives(&scene, SIDE_CRM, 4, ROW("1", "'demo'", "false"));
    assert_none(&scene, "unchanged");
    reading_arrives(&scene, SIDE_CRM, 5, ROW("1", "null", "false"));
    assert_none(&scene, "unchanged");
    reading_arrives(&scene, SIDE_CRM, 6, ROW("2", "null", "false"));
    assert_writes(&scene, "partner-center", "{'value': 2}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 3, SHARED("2", "true")));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 4, SHARED("3", "true"));
    assert_writes(&scene, "crm", "{'value': 3}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 7, ROW("3", "null", "false")));
    assert_silent(&scene);
#undef SHARED
#undef ROW
    scene_end(&scene);
}

/* What an upgrade lacks is told once for each reason, taken back when help is not wanted any more, told again when it is
 * chosen anew, and holds nothing else up. */
static void test_what_an_upgrade_lacks_is_told_as_it_changes(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    scene_agrees(&scene, "{" OUR_REFERRAL "}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
    scene.deal.engagement_id = text_copy(ENGAGEMENT);
    for (int version = 2; version < 9; version += 5) {
        reading_arrives(&scene, SIDE_CRM, version, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo'}");
        assert_writes(&scene, "crm", "{'audit': 'Not sent to Partner Center: Choose a contact.'}");
        outcome_arrives(
            &scene, OUTCOME_APPLIED, true,
            documents_of(SIDE_CRM, version + 1, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo'}"));
        assert_silent(&scene);
        reading_arrives(&scene, SIDE_CRM, version + 2,
                        "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'other': 1}");
        assert_none(&scene, "unchanged");
        reading_arrives(&scene, SIDE_CRM, version + 3, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': null}");
        assert_mended(&scene);
        outcome_arrives(
            &scene, OUTCOME_APPLIED, true,
            documents_of(SIDE_CRM, version + 4, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': null}"));
        assert_silent(&scene);
    }
    scene_end(&scene);
}

/* A refused invitation is told to the seller, once; the deal goes on without it. */
static void test_refused_invitation_is_explained(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    scene_agrees(&scene, "{" OUR_REFERRAL "}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
    scene.deal.engagement_id = text_copy(ENGAGEMENT);
    reading_arrives(&scene, SIDE_CRM, 2,
                    "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'contact': 'c'}");
    assert_string_equal(scene.effects.decision.purpose, "invite");
    outcome_arrives(&scene, OUTCOME_REFUSED, false, NULL);
    assert_string_equal(scene.effects.decision.purpose, "explain");
    assert_non_null(strstr(scene.effects.decision.audit_text, "(too_long)"));
    outcome_arrives(
        &scene, OUTCOME_APPLIED, true,
        documents_of(SIDE_CRM, 3, "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'contact': 'c'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 4,
                    "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'contact': 'c', 'other': 1}");
    assert_none(&scene, "unchanged");
    scene_end(&scene);
}

/* What came over the words about the invitation and is over itself gives way to them again, once; the CRM that refuses
 * them is not asked twice. */
static void test_words_of_the_invitation_come_back(void **state)
{
#define ROW "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo'}"
    (void)state;
    struct scene scene;
    for (int k = 0; k < 2; k++) {
        scene_begin(&scene, BIRTH_RULES, REFERRAL);
        scene_agrees(&scene, "{" OUR_REFERRAL "}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
        scene.deal.engagement_id = text_copy(ENGAGEMENT);
        reading_arrives(&scene, SIDE_CRM, 2, ROW);
        outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 3, ROW));
        gone_arrives(&scene, SIDE_PARTNER_CENTER, "not_found");
        outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 4, ROW));
        assert_none(&scene, "referral_gone");
        reading_arrives(&scene, SIDE_PARTNER_CENTER, 5, "{" OUR_REFERRAL "}");
        assert_writes(&scene, "crm", "{'audit': 'Not sent to Partner Center: Choose a contact.'}");
        if (k == 0)
            outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 5, ROW));
        else
            refusal_arrives(&scene, "dynamics_365.privilege", NULL, documents_of(SIDE_CRM, 4, ROW));
        assert_silent(&scene);
        reading_arrives(&scene, SIDE_CRM, 6,
                        "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo', 'other': 1}");
        assert_none(&scene, "unchanged");
        scene_end(&scene);
    }
#undef ROW
}

/* Words about the invitation that found no record are told when it is back. */
static void test_words_of_the_invitation_wait_for_the_record(void **state)
{
#define ROW "{" WHOLE_ROW ", 'referral_id': '" REFERRAL "', 'help': 'demo'}"
    (void)state;
    struct scene scene;
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    scene_agrees(&scene, "{" OUR_REFERRAL "}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
    scene.deal.engagement_id = text_copy(ENGAGEMENT);
    reading_arrives(&scene, SIDE_CRM, 2, ROW);
    outcome_arrives(&scene, OUTCOME_GONE, false, NULL);
    reading_arrives(&scene, SIDE_CRM, 3, ROW);
    assert_writes(&scene, "crm", "{'audit': 'Not sent to Partner Center: Choose a contact.'}");
#undef ROW
    scene_end(&scene);
}

/* A refused creation is told to the seller once, and is not sent again as it was. */
static void test_refused_creation_is_explained(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene);
    reading_arrives(&scene, SIDE_CRM, 1, "{" WHOLE_ROW "}");
    outcome_arrives(&scene, OUTCOME_REFUSED, false, NULL);
    assert_string_equal(scene.effects.decision.purpose, "explain");
    assert_non_null(strstr(scene.effects.decision.audit_text, "(too_long)"));
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_CRM, 2, "{" WHOLE_ROW ", 'audit': 'x'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 2, "{" WHOLE_ROW ", 'audit': 'x'}");
    assert_none(&scene, "refused_before");
    reading_arrives(&scene, SIDE_CRM, 3,
                    "{'sync': true, 'state': 0, 'reason': 1, 'name': 'Deal', 'value': 9, 'day': 'd'}");
    assert_int_equal(scene.effects.decision.action, DECISION_CREATE);
    scene_end(&scene);
}

/* Leads are left out, what is known is taken, and what is neither is set aside once instead of guessing. */
static void test_every_kind_is_taken_left_out_or_set_aside(void **state)
{
    static const char rules[] =
        "version: 1\n"
        "crm: dynamics-365\n"
        "record: opportunity\n"
        "identity: {identifier: referral_id, sync: sync}\n"
        "select: {partner_center: {type: [Shared, Independent], qualification: [SalesQualified, None, null]}}\n"
        "leave_out:\n"
        "  - {type: [Independent], qualification: [Direct]}\n"
        "  - {type: [Independent], qualification: [SalesQualified], inviteContext.invitedBy.organizationId: [msft]}\n"
        "fields:\n"
        "  - {name: title, partner_center: name, crm: name, direction: to-crm}\n";
    struct scene scene;

    (void)state;
    scene_begin(&scene, rules, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'type': 'Independent', 'qualification': 'Direct', 'name': 'n'}");
    assert_none(&scene, "left_out");
    assert_false(scene.effects.has_problem);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                    "{'type': 'Independent', 'qualification': 'SalesQualified', 'name': 'n', "
                    "'inviteContext': {'invitedBy': {'organizationId': 'msft'}}}");
    assert_none(&scene, "left_out");
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 3, "{'type': 'Shared', 'qualification': 'Odd', 'name': 'n'}");
    assert_none(&scene, "not_selected");
    assert_true(scene.effects.has_problem);
    assert_string_equal(scene.effects.problem.code, "rules.unclassified");
    assert_non_null(strstr(scene.effects.problem.message, "Odd"));
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 4, "{'type': 'Shared', 'qualification': 'Odd', 'name': 'm'}");
    assert_none(&scene, "not_selected");
    assert_false(scene.effects.has_problem);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 5,
                    "{'type': 'Independent', 'qualification': 'SalesQualified', 'name': 'm'}");
    assert_int_equal(scene.effects.decision.action, DECISION_CREATE);
    scene_end(&scene);
}

/* Rows made with a new record rest, whatever the CRM calls what they point to; an older reading that shows fewer of them
 * does not count, and what the seller makes of them goes to Partner Center as a whole. */
static void test_rows_of_a_new_record_rest(void **state)
{
    static const char rules[] =
        "version: 1\n"
        "crm: dynamics-365\n"
        "record: opportunity\n"
        "identity: {identifier: referral_id, sync: sync}\n"
        "fields:\n"
        "  - {name: sold, partner_center: \"products[]{id,name}\", crm: \"rows[]{item.id,item.name}\",\n"
        "     direction: to-partner-center, to_partner_center: [{list: {members: {id: item.id, name: item.name}}}]}\n"
        "  - {name: sold_first, partner_center: \"products[]{id,name}\", crm: \"rows[]{item.id,item.name}\",\n"
        "     direction: to-crm, on: [create], to_crm: [{list: {members: {id: item.id, name: item.name}}}]}\n"
        "rows: {rows: {entity: my_row, parent: my_parent, lookups: {item: {entity: my_item, match: [id], create: true}}}}\n";
    static const char REFERRAL_NOW[] = "{'products': [{'id': 'a', 'name': 'A'}, {'id': 'b', 'name': 'B'}]}";
    static const char LINKED[] =
        "{'products': [{'id': 'a', 'name': 'A'}, {'id': 'b', 'name': 'B'}], 'externalReferenceId': '" CRM_RECORD "'}";
#define ROW_OF(rows)             "{'sync': true, 'referral_id': '" REFERRAL "', 'rows': [" rows "]}"
#define ITEM(id, name, quantity) "{'item': {'id': '" id "', 'name': '" name "'}, 'quantity': " quantity "}"
    struct scene scene;

    (void)state;
    scene_begin(&scene, rules, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, REFERRAL_NOW);
    assert_writes(
        &scene, "crm",
        "{'rows': [{'item.id': 'a', 'item.name': 'A'}, {'item.id': 'b', 'item.name': 'B'}], 'referral_id': '" REFERRAL
        "'}");
    assert_json_is(
        json_incref(scene.effects.decision.rows),
        "{'rows': {'entity': 'my_row', 'parent': 'my_parent', 'lookups': {'item': {'entity': 'my_item', 'match': "
        "['id'], 'create': true}}}}");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 2, ROW_OF(ITEM("b", "Box", "0") ", " ITEM("a", "A", "0"))));
    assert_string_equal(scene.effects.decision.purpose, "link");
    assert_null(scene.effects.decision.rows);
    outcome_arrives(&scene, OUTCOME_APPLIED, true, documents_of(SIDE_PARTNER_CENTER, 2, LINKED));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 1, ROW_OF(ITEM("a", "A", "0")));
    assert_none(&scene, "older");
    reading_arrives(&scene, SIDE_CRM, 2, ROW_OF(ITEM("a", "A", "0") ", " ITEM("b", "Box", "0")));
    assert_none(&scene, "echo");
    reading_arrives(&scene, SIDE_CRM, 2, ROW_OF(ITEM("b", "Box", "0")));
    assert_writes(&scene, "partner-center", "{'products': [{'id': 'b', 'name': 'Box'}]}");
    scene_end(&scene);
}

/* The answer to a creation shows less than a reading of the same version: what it did not show was nobody's choice. */
static void test_what_a_newborn_record_shows_later_does_not_travel(void **state)
{
    static const char rules[] = "version: 1\n"
                                "crm: dynamics-365\n"
                                "record: opportunity\n"
                                "identity: {identifier: referral_id, sync: sync}\n"
                                "fields:\n"
                                "  - {name: title, partner_center: name, crm: name}\n"
                                "  - {name: team, partner_center: \"team[]{email}\", crm: \"owner{mail}\",\n"
                                "     direction: to-partner-center,\n"
                                "     to_partner_center: [wrap, {list: {members: {email: mail}}}]}\n";
    struct scene scene;

    (void)state;
    scene_begin(&scene, rules, REFERRAL);
    reading_arrives(&scene, SIDE_PARTNER_CENTER, 1, "{'name': 'n', 'team': [{'email': 'a'}]}");
    assert_int_equal(scene.effects.decision.action, DECISION_CREATE);
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 1, "{'sync': true, 'name': 'n', 'referral_id': '" REFERRAL "'}"));
    assert_string_equal(scene.effects.decision.purpose, "link");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_PARTNER_CENTER, 2,
                                 "{'name': 'n', 'team': [{'email': 'a'}], 'externalReferenceId': '" CRM_RECORD "'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 1,
                    "{'sync': true, 'name': 'n', 'referral_id': '" REFERRAL "', 'owner': {'mail': 'robot'}}");
    assert_none(&scene, "echo");
    reading_arrives(&scene, SIDE_CRM, 2,
                    "{'sync': true, 'name': 'n', 'referral_id': '" REFERRAL "', 'owner': {'mail': 'seller'}}");
    assert_writes(&scene, "partner-center", "{'team': [{'email': 'seller'}]}");
    scene_end(&scene);
}

/* -- the end ------------------------------------------------------------------------------------------------------- */

/* A referral nobody has answered is declined by losing the CRM record; once accepted, it is lost. */
static void test_losing_the_unanswered_declines_it(void **state)
{
    (void)state;
    struct scene scene;
    for (int k = 0; k < 2; k++) {
        scene_begin(&scene, BIRTH_RULES, REFERRAL);
        scene_agrees(&scene,
                     k == 0 ? "{'status': 'New', 'substatus': 'Pending', 'direction': 'Incoming'}"
                            : "{'status': 'Active', 'substatus': 'Accepted', 'direction': 'Incoming'}",
                     k == 0 ? "{'sync': true, 'state': 0, 'reason': 2, 'link': '" REFERRAL "'}"
                            : "{'sync': true, 'state': 0, 'reason': 1, 'link': '" REFERRAL "'}");
        reading_arrives(&scene, SIDE_CRM, 2,
                        "{'sync': true, 'state': 2, 'reason': 5, 'link': '" REFERRAL "', 'referral_id': '" REFERRAL
                        "'}");
        assert_writes(&scene, "partner-center",
                      k == 0 ? "{'status': 'Closed', 'substatus': 'Declined', 'statusReason': 'Declined by the seller'}"
                             : "{'status': 'Closed', 'substatus': 'Lost'}");
        assert_string_equal(scene.effects.decision.purpose, k == 0 ? "decline" : "update");
        scene_end(&scene);
    }
}

/* An unanswered referral takes a decline alone; what the seller has changed besides is for nobody any more. */
static void test_decline_goes_alone(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    scene_agrees(&scene, "{'status': 'New', 'substatus': 'Pending', 'details': {'dealValue': 1}}",
                 "{'sync': true, 'state': 0, 'reason': 2, 'value': 1, 'link': '" REFERRAL "'}");
    reading_arrives(&scene, SIDE_CRM, 2,
                    "{'sync': true, 'state': 2, 'reason': 5, 'value': 2, 'link': '" REFERRAL
                    "', 'referral_id': '" REFERRAL "'}");
    assert_writes(&scene, "partner-center",
                  "{'status': 'Closed', 'substatus': 'Declined', 'statusReason': 'Declined by the seller'}");
    assert_string_equal(scene.effects.decision.purpose, "decline");
    assert_int_equal(json_array_size(scene.effects.decision.fields), 1);
    scene_end(&scene);
}

/* Closed is final: a reopened CRM record is explained once, not fought over. */
static void test_reopened_record_is_explained(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    scene_agrees(&scene, "{'status': 'Closed', 'substatus': 'Won'}",
                 "{'sync': true, 'state': 1, 'reason': 3, 'link': '" REFERRAL "'}");
    reading_arrives(&scene, SIDE_CRM, 2,
                    "{'sync': true, 'state': 0, 'reason': 1, 'link': '" REFERRAL "', 'referral_id': '" REFERRAL "'}");
    assert_string_equal(scene.effects.decision.purpose, "explain");
    assert_string_equal(scene.effects.decision.reason, "partner_center_closed");
    outcome_arrives(&scene, OUTCOME_APPLIED, true,
                    documents_of(SIDE_CRM, 3,
                                 "{'sync': true, 'state': 0, 'reason': 1, 'link': '" REFERRAL
                                 "', 'referral_id': '" REFERRAL "'}"));
    assert_silent(&scene);
    reading_arrives(&scene, SIDE_CRM, 4,
                    "{'sync': true, 'state': 0, 'reason': 2, 'link': '" REFERRAL "', 'referral_id': '" REFERRAL "'}");
    assert_none(&scene, "partner_center_closed");
    scene_end(&scene);
}

/* Switching synchronisation off is told when it happens, and so is switching it on again. */
static void test_switching_off_is_told_and_reversible(void **state)
{
    (void)state;
    struct scene scene;
    scene_begin(&scene, BIRTH_RULES, REFERRAL);
    scene_agrees(&scene, "{" OUR_REFERRAL "}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
#define ROW(sync, value)                                                                                             \
    "{'sync': " sync ", 'state': 0, 'reason': 1, 'name': 'Deal', 'value': " value ", 'day': 'd', 'link': '" REFERRAL \
    "', 'referral_id': '" REFERRAL "'}"
    reading_arrives(&scene, SIDE_CRM, 2, ROW("false", "10"));
    assert_none(&scene, "sync_off");
    assert_true(scene.effects.decision.is_notable);
    reading_arrives(&scene, SIDE_CRM, 3, ROW("false", "20"));
    assert_none(&scene, "sync_off");
    assert_false(scene.effects.decision.is_notable);
    reading_arrives(&scene, SIDE_CRM, 4, ROW("true", "20"));
    assert_writes(&scene, "partner-center", "{'details.dealValue': 20}");
    outcome_arrives(
        &scene, OUTCOME_APPLIED, true,
        documents_of(
            SIDE_PARTNER_CENTER, 2,
            "{'status': 'Active', 'substatus': 'Accepted', 'name': 'Deal', 'details': {'dealValue': 20, 'day': 'd'},"
            " 'externalReferenceId': '" CRM_RECORD "'}"));
    reading_arrives(&scene, SIDE_CRM, 5, ROW("false", "20"));
    assert_none(&scene, "sync_off");
    assert_true(scene.effects.decision.is_notable);
    reading_arrives(&scene, SIDE_CRM, 6, ROW("true", "20"));
    assert_none(&scene, "resumed");
    assert_true(scene.effects.decision.is_notable);
#undef ROW
    scene_end(&scene);
}

/* A closing whose second request is held up time and again meets what its first one wrote: that is no contest, however often,
 * and only others' changes count. */
static void test_own_beginning_is_no_conflict(void **state)
{
    (void)state;
    struct scene scene;
    for (int k = 0; k < 2; k++) {
        int rounds = 0;
        scene_begin(&scene, BIRTH_RULES, REFERRAL);
        scene_agrees(&scene, "{" OUR_REFERRAL "}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
        reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                        "{'status': 'Closed', 'substatus': 'Won', 'name': 'Deal', 'details': {'dealValue': 10, "
                        "'day': 'd'}, 'externalReferenceId': '" CRM_RECORD "'}");
        while (scene.deal.pending != NULL && rounds < 3 * MERGE_CONFLICT_ROUNDS_MAX) {
            json_t *documents = documents_of(SIDE_CRM, 2 + rounds++,
                                             "{" WHOLE_ROW ", 'link': '" REFERRAL "', 'referral_id': '" REFERRAL "'}");
            char *audit = text_format("Closed in Partner Center [%s]\nbefore",
                                      k == 0 ? json_text_of(scene.deal.pending, "id") : "another#1");
            assert_int_equal(
                json_object_set_new(json_object_get(json_array_get(documents, 0), "body"), "audit", json_string(audit)),
                0);
            free(audit);
            outcome_arrives(&scene, OUTCOME_CONFLICT, false, documents);
        }
        assert_int_equal(rounds, k == 0 ? 3 * MERGE_CONFLICT_ROUNDS_MAX : MERGE_CONFLICT_ROUNDS_MAX + 1);
        scene_end(&scene);
    }
}

/* A CRM record that is deleted rests, or is made anew, as the rules say; its id at Partner Center is then replaced. */
static void test_deleted_record_rests_or_is_made_anew(void **state)
{
    (void)state;
    struct scene scene;
    for (int k = 0; k < 2; k++) {
        scene_begin(&scene, BIRTH_RULES, REFERRAL);
        scene.rules->crm_deleted = k == 0 ? CRM_DELETED_KEEP : CRM_DELETED_RECREATE;
        scene_agrees(&scene, "{" OUR_REFERRAL ", 'type': 'Shared'}", "{" WHOLE_ROW ", 'link': '" REFERRAL "'}");
        gone_arrives(&scene, SIDE_CRM, "deleted");
        if (k == 0) {
            assert_none(&scene, "crm_gone");
            assert_true(scene.effects.decision.is_notable);
        } else {
            assert_int_equal(scene.effects.decision.action, DECISION_CREATE);
            assert_string_equal(scene.effects.decision.target, "crm");
            assert_null(scene.deal.id[SIDE_CRM]);
            /* It is told twice, by a webhook and by the poll: before the new one is there, and after. */
            gone_arrives(&scene, SIDE_CRM, "deleted");
            assert_none(&scene, "waiting");
            outcome_arrives(
                &scene, OUTCOME_APPLIED, true,
                of_record(
                    documents_of(SIDE_CRM, 1, "{" WHOLE_ROW ", 'link': '" REFERRAL "', 'referral_id': '" REFERRAL "'}"),
                    STRANGER));
            assert_writes(&scene, "partner-center", "{'externalReferenceId': '" STRANGER "'}");
            gone_arrives(&scene, SIDE_CRM, "deleted");
            assert_none(&scene, "waiting");
            assert_string_equal(scene.deal.id[SIDE_CRM], STRANGER);
            assert_null(scene.deal.gone[SIDE_CRM]);
        }
        scene_end(&scene);
    }
}

/* What the seller decides of a conflict kept open is written, and nothing else. */
static void test_person_settles_a_conflict(void **state)
{
    (void)state;
    struct scene scene;
    for (int k = 0; k < 2; k++) {
        scene_begin(&scene, DEAL_RULES, REFERRAL);
        scene_agrees(&scene, "{'type': 'Shared', 'status': 'Active', 'memo': 'm'}",
                     "{'sync': true, 'state': 1, 'memo': 'm'}");
        reading_arrives(&scene, SIDE_PARTNER_CENTER, 2,
                        "{'type': 'Shared', 'status': 'Active', 'memo': 'p', 'externalReferenceId': '" CRM_RECORD "'}");
        outcome_arrives(
            &scene, OUTCOME_CONFLICT, false,
            documents_of(SIDE_CRM, 2, "{'sync': true, 'state': 1, 'memo': 'c', 'referral_id': '" REFERRAL "'}"));
        assert_none(&scene, "manual");
        assert_true(scene.effects.decision.is_notable);
        assert_json_is(json_incref(scene.effects.decision.conflicts),
                       "[{'name': 'memo', 'partner_center': 'p', 'crm': 'c', 'policy': 'manual', 'winner': 'nobody'}]");
        settle_arrives(&scene, "memo", k == 0 ? "crm" : "partner-center");
        assert_writes(&scene, k == 0 ? "partner-center" : "crm", k == 0 ? "{'memo': 'c'}" : "{'memo': 'p'}");
        assert_string_equal(scene.effects.decision.reason, "settled_by_person");
        settle_arrives(&scene, "memo", "crm");
        assert_none(&scene, "not_parked");
        scene_end(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_missing_is_explained_once),
        cmocka_unit_test(test_only_what_is_switched_on_is_sent),
        cmocka_unit_test(test_record_becomes_a_referral),
        cmocka_unit_test(test_edit_during_creation_is_sent_afterwards),
        cmocka_unit_test(test_referral_that_is_found_ends_the_wait),
        cmocka_unit_test(test_microsoft_is_invited_once),
        cmocka_unit_test(test_help_upgrades_a_deal),
        cmocka_unit_test(test_what_an_upgrade_lacks_is_told_as_it_changes),
        cmocka_unit_test(test_refused_invitation_is_explained),
        cmocka_unit_test(test_words_of_the_invitation_come_back),
        cmocka_unit_test(test_words_of_the_invitation_wait_for_the_record),
        cmocka_unit_test(test_refused_creation_is_explained),
        cmocka_unit_test(test_rows_of_a_new_record_rest),
        cmocka_unit_test(test_sharing_is_never_taken_back),
        cmocka_unit_test(test_what_a_newborn_record_shows_later_does_not_travel),
        cmocka_unit_test(test_every_kind_is_taken_left_out_or_set_aside),
        cmocka_unit_test(test_losing_the_unanswered_declines_it),
        cmocka_unit_test(test_decline_goes_alone),
        cmocka_unit_test(test_reopened_record_is_explained),
        cmocka_unit_test(test_switching_off_is_told_and_reversible),
        cmocka_unit_test(test_own_beginning_is_no_conflict),
        cmocka_unit_test(test_deleted_record_rests_or_is_made_anew),
        cmocka_unit_test(test_person_settles_a_conflict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
