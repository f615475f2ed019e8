#include "ingest/webhook_dynamics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"

#define ROW   "b7c1f0a4-3d52-4f0e-8a61-2f9e0d7c5e11"
#define OURS  "6d0f7c1e-52b9-4e0a-9d38-71c4e2a95b10"
#define OTHER "6d0f7c1e-52b9-4e0a-9d38-71c4e2a95b11"
/* With what stands in a body besides. */
#define CONTEXT(message, table, id, date, organization)                                                             \
    "{\"Depth\":1,\"InputParameters\":[{\"key\":\"Target\",\"value\":{\"Attributes\":[{\"key\":\"estimatedvalue\"," \
    "\"value\":{\"Value\":210000.0}}]}}],\"MessageName\":" message ",\"OperationCreatedOn\":" date                  \
    ",\"OrganizationId\":\"" organization "\",\"ParentContext\":{\"ParentContext\":{\"MessageName\":\"Win\"}},"     \
    "\"PrimaryEntityId\":" id ",\"PrimaryEntityName\":" table "}"
#define MESSAGE "\"Update\""
#define TABLE   "\"opportunity\""
#define ID      "\"" ROW "\""
#define DATE    "\"\\/Date(1778073646000)\\/\""

static const struct dynamics_organization any_organization = {0};

struct outcome_case {
    const char *body;
    enum webhook_outcome outcome;
    int status;
    const char *code;
};

static const struct outcome_case outcome_cases[] = {
    {CONTEXT(MESSAGE, TABLE, ID, DATE, OURS), WEBHOOK_NOTIFICATION, 202, "accepted"},
    {CONTEXT("\"Delete\"", "\"lead\"", ID, "null", OURS), WEBHOOK_NOTIFICATION, 202, "accepted"},
    {CONTEXT(MESSAGE, TABLE, ID, "\"\\/Date(1778073646000-0700)\\/\"", OURS), WEBHOOK_NOTIFICATION, 202, "accepted"},
    {CONTEXT("null", TABLE, ID, DATE, OURS), WEBHOOK_REFUSED, 422, "schema"},
    {CONTEXT("\"\"", TABLE, ID, DATE, OURS), WEBHOOK_REFUSED, 422, "schema"},
    {CONTEXT("\"Up date\"", TABLE, ID, DATE, OURS), WEBHOOK_REFUSED, 422, "schema"},
    {CONTEXT(MESSAGE, "7", ID, DATE, OURS), WEBHOOK_REFUSED, 422, "schema"},
    {CONTEXT(MESSAGE, "\"../lead\"", ID, DATE, OURS), WEBHOOK_REFUSED, 422, "schema"},
    {CONTEXT(MESSAGE, TABLE, "\"7\"", DATE, OURS), WEBHOOK_REFUSED, 422, "schema"},
    {CONTEXT(MESSAGE, TABLE, "\"00000000-0000-0000-0000-000000000000\"", DATE, OURS), WEBHOOK_REFUSED, 422, "schema"},
    {CONTEXT(MESSAGE, TABLE, ID, "\"2026-01-01\"", OURS), WEBHOOK_SET_ASIDE, 202, "bad_date"},
    {CONTEXT(MESSAGE, TABLE, ID, "7", OURS), WEBHOOK_SET_ASIDE, 202, "bad_date"},
    {"[]", WEBHOOK_REFUSED, 422, "schema"},
    {"{}", WEBHOOK_REFUSED, 422, "schema"},
    {"", WEBHOOK_REFUSED, 400, "invalid_json"},
};

/* Each body has one outcome. */
static void test_body_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(outcome_cases); i++) {
        const struct outcome_case *c = &outcome_cases[i];
        struct webhook_result result =
            webhook_dynamics_read(c->body, strlen(c->body), &any_organization, NULL, NULL, "2026-01-02T03:04:05Z");
        if (result.outcome != c->outcome || result.status != c->status || strcmp(result.code, c->code) != 0)
            fail_msg("%s: outcome %d, %d %s", c->body, (int)result.outcome, result.status, result.code);
        webhook_result_done(&result);
    }
}

/* Table, row, message and time of the change are taken over; the body stays as it came. */
static void test_context_becomes_a_notification(void **state)
{
    static const char body[] = CONTEXT(MESSAGE, TABLE, "\"B7C1F0A4-3D52-4F0E-8A61-2F9E0D7C5E11\"", DATE, OURS);
    struct webhook_result result = webhook_dynamics_read(body, strlen(body), &any_organization, NULL,
                                                         json_pack("{s:s}", "a", "b"), "2026-01-02T03:04:05Z");
    const struct notification *made = &result.notification;

    (void)state;
    assert_string_equal(made->source, "dynamics-365");
    assert_string_equal(made->event, "Update");
    assert_string_equal(made->record_type, "opportunity");
    assert_string_equal(made->record_id, ROW);
    assert_string_equal(made->occurred_at, "2026-05-06T13:20:46.000Z");
    assert_string_equal(made->body, body);
    assert_string_equal(json_text_of(made->headers, "a"), "b");
    webhook_result_done(&result);
}

/* A body that Dataverse has cut still says which row it is about. */
static void test_cut_body_is_enough(void **state)
{
    static const char body[] = "{\"InputParameters\":null,\"MessageName\":\"Update\",\"OrganizationId\":\"" OURS
                               "\",\"PostEntityImages\":null,"
                               "\"PrimaryEntityId\":\"" ROW "\",\"PrimaryEntityName\":\"opportunity\"}";
    struct webhook_result result =
        webhook_dynamics_read(body, strlen(body), &any_organization, NULL, NULL, "2026-01-02T03:04:05Z");

    (void)state;
    assert_int_equal(result.outcome, WEBHOOK_NOTIFICATION);
    assert_null(result.notification.occurred_at);
    webhook_result_done(&result);
}

/* What another organisation sends is refused, whichever of the two places says so. */
static void test_other_organisation_is_refused(void **state)
{
    static const struct {
        const char *id;
        const char *host;
        const char *header;
        bool is_ours;
    } cases[] = {
        {NULL, NULL, NULL, true},
        {OURS, NULL, NULL, true},
        {"6D0F7C1E-52B9-4E0A-9D38-71C4E2A95B10", NULL, NULL, true},
        {OTHER, NULL, NULL, false},
        {NULL, "nordlicht.crm4.dynamics.com", "Nordlicht.crm4.dynamics.com", true},
        {OURS, "nordlicht.crm4.dynamics.com", "other.crm4.dynamics.com", false},
        {OURS, "nordlicht.crm4.dynamics.com", NULL, false},
    };
    static const char body[] = CONTEXT(MESSAGE, TABLE, ID, DATE, OURS);

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct dynamics_organization organization = {cases[i].id, cases[i].host};
        struct webhook_result result =
            webhook_dynamics_read(body, strlen(body), &organization, cases[i].header, NULL, "2026-01-02T03:04:05Z");
        assert_int_equal(result.outcome, cases[i].is_ours ? WEBHOOK_NOTIFICATION : WEBHOOK_REFUSED);
        if (!cases[i].is_ours) {
            assert_int_equal(result.status, 422);
            assert_string_equal(result.code, "wrong_organization");
        }
        webhook_result_done(&result);
    }
}

/* Contexts within contexts are bounded by depth, not walked. */
static void test_nesting_is_bounded(void **state)
{
    struct text text;

    (void)state;
    text_init(&text, 1024 * 1024);
    for (size_t i = 0; i < 70; i++)
        assert_int_equal(text_append(&text, "{\"ParentContext\":"), 0);
    assert_int_equal(text_append(&text, "null"), 0);
    for (size_t i = 0; i < 70; i++)
        assert_int_equal(text_append(&text, "}"), 0);
    struct webhook_result result =
        webhook_dynamics_read(text_string(&text), text.length, &any_organization, NULL, NULL, "2026-01-02T03:04:05Z");
    assert_int_equal(result.status, 400);
    assert_string_equal(result.code, "too_deep");
    text_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_is_judged),     cmocka_unit_test(test_context_becomes_a_notification),
        cmocka_unit_test(test_cut_body_is_enough), cmocka_unit_test(test_other_organisation_is_refused),
        cmocka_unit_test(test_nesting_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
