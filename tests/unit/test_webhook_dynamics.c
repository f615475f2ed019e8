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
        const struct dynamics_organization organization = {.id = cases[i].id, .host = cases[i].host};
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

#define CHILD_ROW           "0a7c1f0a-3d52-4f0e-8a61-2f9e0d7c5e99"
#define MEMBER(name, value) "{\"key\":\"" name "\",\"value\":" value "}"
#define REFERENCE(id, table) \
    "{\"__type\":\"EntityReference:x\",\"Id\":\"" id "\",\"LogicalName\":\"" table "\",\"Name\":null}"
#define PARENT             MEMBER("msft_opportunityid", REFERENCE("B7C1F0A4-3D52-4F0E-8A61-2F9E0D7C5E11", "opportunity"))
#define PRICE              MEMBER("msft_price", "{\"Value\":1.0}")
#define ENTITY(attributes) "{\"Attributes\":[" attributes "]}"
#define TARGET(attributes) MEMBER("Target", ENTITY(attributes))
#define IMAGE(attributes)  MEMBER("parent", ENTITY(attributes))
#define PRIMARY_NAME       MEMBER("AsynchronousStepPrimaryName", ENTITY(MEMBER("msft_name", "\"x\"")))
#define CHILD(message, parameters, before, after)                                                       \
    "{\"InputParameters\":" parameters ",\"MessageName\":\"" message "\",\"OrganizationId\":\"" OURS    \
    "\",\"PostEntityImages\":" after ",\"PreEntityImages\":" before ",\"PrimaryEntityId\":\"" CHILD_ROW \
    "\",\"PrimaryEntityName\":\"msft_microsoftsolution\"}"

static char *child_table_names[] = {(char *)(uintptr_t) "msft_microsoftsolution"};
static char *child_table_columns[] = {(char *)(uintptr_t) "msft_opportunityid"};
static const struct config_map child_tables = {.keys = child_table_names, .values = child_table_columns, .count = 1};

/* A change of a child row is told as one of its opportunity, wherever the body names it. */
static void test_child_row_is_told_as_its_opportunity(void **state)
{
    static const char *const bodies[] = {
        CHILD("Create", "[" TARGET(PRICE "," PARENT) "]", "[]", "[]"),
        CHILD("Update", "[" TARGET(PARENT) "]", "null", "null"),
        CHILD("Update", "[" TARGET(PRICE) "]", "[]", "[" PRIMARY_NAME "," IMAGE(PARENT) "]"),
        CHILD("Update", "[" TARGET(MEMBER("msft_opportunityid", "null")) "]", "[" IMAGE(PARENT) "]", "[" IMAGE("") "]"),
        CHILD("Delete", "[" MEMBER("Target", REFERENCE(CHILD_ROW, "msft_microsoftsolution")) "]", "[" IMAGE(PARENT) "]",
              "[]"),
    };
    const struct dynamics_organization organization = {.child_tables = &child_tables};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++) {
        struct webhook_result result =
            webhook_dynamics_read(bodies[i], strlen(bodies[i]), &organization, NULL, NULL, "2026-01-02T03:04:05Z");
        if (result.outcome != WEBHOOK_NOTIFICATION)
            fail_msg("%s: outcome %d, %s", bodies[i], (int)result.outcome, result.code);
        assert_string_equal(result.notification.record_type, "opportunity");
        assert_string_equal(result.notification.record_id, ROW);
        /* Never "Delete": the opportunity is still there. */
        assert_true(text_starts_with(result.notification.event, "msft_microsoftsolution."));
        assert_string_equal(result.notification.body, bodies[i]);
        webhook_result_done(&result);
    }
}

/* A child row after its move is the new opportunity's. */
static void test_moved_child_row_is_told_to_where_it_went(void **state)
{
    static const char body[] =
        CHILD("Update", "[" TARGET(PRICE) "]",
              "[" IMAGE(MEMBER("msft_opportunityid", REFERENCE(OTHER, "opportunity"))) "]", "[" IMAGE(PARENT) "]");
    const struct dynamics_organization organization = {.child_tables = &child_tables};
    struct webhook_result result =
        webhook_dynamics_read(body, strlen(body), &organization, NULL, NULL, "2026-01-02T03:04:05Z");

    (void)state;
    assert_string_equal(result.notification.record_id, ROW);
    webhook_result_done(&result);
}

/* What belongs to no opportunity is ignored; what does not say what it belongs to is not lost silently. */
static void test_child_row_without_opportunity(void **state)
{
    static const struct outcome_case cases[] = {
        {CHILD("Create", "[" TARGET(PRICE) "]", "[]", "[]"), WEBHOOK_IGNORED, 202, "ignored"},
        {CHILD("Update", "[" TARGET(PRICE) "]", "[" IMAGE("") "]", "[" IMAGE(PRICE) "]"), WEBHOOK_IGNORED, 202,
         "ignored"},
        {CHILD("Create", "[" TARGET(MEMBER("msft_opportunityid", REFERENCE(ROW, "lead"))) "]", "[]", "[]"),
         WEBHOOK_IGNORED, 202, "ignored"},
        {CHILD("Update", "[" TARGET(PRICE) "]", "[]", "[]"), WEBHOOK_SET_ASIDE, 202, "no_parent"},
        {CHILD("Update", "[" TARGET(PRICE) "]", "[]", "[" PRIMARY_NAME "]"), WEBHOOK_SET_ASIDE, 202, "no_parent"},
        {CHILD("Delete", "[]", "[]", "[]"), WEBHOOK_SET_ASIDE, 202, "no_parent"},
        {CHILD("Create", "null", "null", "null"), WEBHOOK_SET_ASIDE, 202, "no_parent"},
        {CHILD("Create", "7", "{}", "\"x\""), WEBHOOK_SET_ASIDE, 202, "no_parent"},
        {CHILD("Create", "[" TARGET(MEMBER("msft_opportunityid", REFERENCE("x", "opportunity"))) "]", "[]", "[]"),
         WEBHOOK_REFUSED, 422, "schema"},
    };
    const struct dynamics_organization organization = {.child_tables = &child_tables};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct outcome_case *c = &cases[i];
        struct webhook_result result =
            webhook_dynamics_read(c->body, strlen(c->body), &organization, NULL, NULL, "2026-01-02T03:04:05Z");
        if (result.outcome != c->outcome || result.status != c->status || strcmp(result.code, c->code) != 0)
            fail_msg("%s: outcome %d, %d %s", c->body, (int)result.outcome, result.status, result.code);
        webhook_result_done(&result);
    }
}

/* A table that is not configured as a child's is told as it is. */
static void test_other_tables_are_no_children(void **state)
{
    static const char body[] = CHILD("Create", "[" TARGET(PARENT) "]", "[]", "[]");
    struct webhook_result result =
        webhook_dynamics_read(body, strlen(body), &any_organization, NULL, NULL, "2026-01-02T03:04:05Z");

    (void)state;
    assert_string_equal(result.notification.record_type, "msft_microsoftsolution");
    assert_string_equal(result.notification.record_id, CHILD_ROW);
    webhook_result_done(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_is_judged),
        cmocka_unit_test(test_context_becomes_a_notification),
        cmocka_unit_test(test_cut_body_is_enough),
        cmocka_unit_test(test_other_organisation_is_refused),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_child_row_is_told_as_its_opportunity),
        cmocka_unit_test(test_moved_child_row_is_told_to_where_it_went),
        cmocka_unit_test(test_child_row_without_opportunity),
        cmocka_unit_test(test_other_tables_are_no_children),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
