#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/partner_center_referral.h"
#include "tests/support/parse.h"

/* Status first; the body's code only where a status has several meanings; unknown codes are a refusal. */
static void test_error_table(void **state)
{
    (void)state;
    static const struct {
        long status;
        const char *code;
        bool has_effect;
        enum system_result result;
        const char *word;
    } cases[] = {
        {400, "invalidRequest", true, SYSTEM_REFUSED, "partner_center.refused"},
        {400, "INVALIDREQUEST", true, SYSTEM_REFUSED, "partner_center.refused"},
        {400, "preconditionFailed", true, SYSTEM_CONFLICT, "partner_center.conflict"},
        {400, "resourceModified", true, SYSTEM_CONFLICT, "partner_center.conflict"},
        {400, "itemNotFound", true, SYSTEM_GONE, "partner_center.not_found"},
        {400, "serviceNotAvailable", true, SYSTEM_RETRY, "partner_center.unavailable"},
        {400, "unauthenticated", true, SYSTEM_BLOCKED, "partner_center.sign_in"},
        {400, "unAuthorized", true, SYSTEM_BLOCKED, "partner_center.sign_in"},
        {400, "generalException", true, SYSTEM_REFUSED, "partner_center.refused"},
        {400, "neverHeardOf", true, SYSTEM_REFUSED, "partner_center.refused"},
        {400, NULL, true, SYSTEM_REFUSED, "partner_center.refused"},
        {401, "unauthenticated", false, SYSTEM_BLOCKED, "partner_center.sign_in"},
        {403, "accessDenied", false, SYSTEM_REFUSED, "partner_center.forbidden"},
        {403, "insufficient_claims", false, SYSTEM_BLOCKED, "partner_center.sign_in"},
        {403, NULL, false, SYSTEM_REFUSED, "partner_center.forbidden"},
        {404, "itemNotFound", false, SYSTEM_GONE, "partner_center.not_found"},
        {404, "invalidRequest", false, SYSTEM_GONE, "partner_center.not_found"},
        {409, NULL, true, SYSTEM_CONFLICT, "partner_center.conflict"},
        {412, "invalidRequest", true, SYSTEM_CONFLICT, "partner_center.conflict"},
        {423, NULL, true, SYSTEM_RETRY, "partner_center.unavailable"},
        {429, NULL, true, SYSTEM_RETRY, "partner_center.unavailable"},
        {500, "generalException", true, SYSTEM_UNKNOWN, "partner_center.unknown_outcome"},
        {500, "generalException", false, SYSTEM_RETRY, "partner_center.unavailable"},
        {503, "serviceNotAvailable", true, SYSTEM_RETRY, "partner_center.unavailable"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *body = cases[i].code == NULL ? NULL : json_pack("{s:{s:s}}", "error", "code", cases[i].code);
        const char *word = NULL;
        enum system_result result = referral_classify(cases[i].status, body, cases[i].has_effect, &word);
        if (result != cases[i].result || strcmp(word, cases[i].word) != 0)
            fail_msg("%ld %s: %d %s", cases[i].status, cases[i].code == NULL ? "-" : cases[i].code, (int)result, word);
    }
}

/* Microsoft's side is told by its owner, whatever the case of names and words. */
static void test_owner_and_type(void **state)
{
    (void)state;
    json_auto_t *microsofts = parse("{\"OrganizationId\":\"MSFT\",\"Type\":\"shared\"}");
    json_auto_t *ours = parse("{\"organizationId\":\"org-1\",\"type\":\"Independent\"}");
    json_auto_t *empty = parse("{}");

    assert_true(referral_is_microsofts(microsofts));
    assert_true(referral_is_shared(microsofts));
    assert_false(referral_is_microsofts(ours));
    assert_false(referral_is_shared(ours));
    assert_false(referral_is_microsofts(empty));
    assert_false(referral_is_shared(empty));
}

/* A document is the referral with its id in lower case, its time as version, and its eTag as the service wrote it. */
static void test_document(void **state)
{
    (void)state;
    json_auto_t *referral = parse("{\"id\":\"6F1C9A52-0B7E-4F3E-9A34-2D1F5F0C7A11\",\"eTag\":\"\\\"01\\\"\","
                                  "\"updatedDateTime\":\"2026-02-23T02:05:23.2931817Z\"}");
    json_auto_t *document = referral_document("own", referral);

    assert_string_equal(json_text_of(document, "id"), "6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11");
    assert_string_equal(json_text_of(document, "role"), "own");
    assert_string_equal(json_text_of(document, "version"), "2026-02-23T02:05:23.2931817Z");
    assert_string_equal(json_text_of(document, "changed_at"), "2026-02-23T02:05:23.2931817Z");
    assert_string_equal(json_text_of(document, "etag"), "\"01\"");
    assert_ptr_equal(json_object_get(document, "body"), referral);
}

/* Ours is the wanted one, else the one of our organisation, else the only one that is not Microsoft's. */
static void test_own_referral(void **state)
{
    (void)state;
    static const struct {
        const char *referrals, *wanted, *organization, *expected;
    } cases[] = {
        {"[{\"id\":\"m\",\"organizationId\":\"msft\"},{\"id\":\"a\",\"organizationId\":\"o\"}]", NULL, NULL, "a"},
        {"[{\"id\":\"m\",\"organizationId\":\"msft\"},{\"id\":\"a\",\"organizationId\":\"o\"}]", "m", NULL, "a"},
        {"[{\"id\":\"b\",\"organizationId\":\"p\"},{\"id\":\"a\",\"organizationId\":\"o\"}]", "A", NULL, "a"},
        {"[{\"id\":\"b\",\"organizationId\":\"p\"},{\"id\":\"a\",\"organizationId\":\"o\"}]", NULL, "O", "a"},
        {"[{\"id\":\"b\",\"organizationId\":\"p\"},{\"id\":\"a\",\"organizationId\":\"o\"}]", NULL, NULL, NULL},
        {"[{\"id\":\"b\",\"organizationId\":\"p\"}]", NULL, "o", NULL},
        {"[{\"id\":\"m\",\"organizationId\":\"msft\"}]", "m", NULL, NULL},
        {"[]", "a", "o", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *referrals = parse(cases[i].referrals);
        const char *id = json_text_of(referral_own_of(referrals, cases[i].wanted, cases[i].organization), "id");
        if (cases[i].expected == NULL)
            assert_null(id);
        else
            assert_string_equal(id, cases[i].expected);
    }
}

static void assert_patch(const char *write, enum referral_number_form form, const char *expected)
{
    json_auto_t *json = parse(write);
    struct error err = ERROR_INIT;
    size_t length;
    char *patch = referral_patch(json, form, &length, &err);

    assert_non_null(patch);
    assert_int_equal(length, strlen(patch));
    assert_string_equal(patch, expected);
    free(patch);
}

/* A change is replace operations in the service's order, whatever the order of the decision. */
static void test_patch(void **state)
{
    (void)state;
    assert_patch("{\"substatus\":\"Won\",\"status\":\"Closed\",\"details.notes\":null,\"externalReferenceId\":\"x\","
                 "\"details.dealValue\":10000.50}",
                 REFERRAL_NUMBER,
                 "[{\"op\":\"replace\",\"path\":\"/externalReferenceId\",\"value\":\"x\"},"
                 "{\"op\":\"replace\",\"path\":\"/details/dealValue\",\"value\":10000.5},"
                 "{\"op\":\"replace\",\"path\":\"/details/notes\",\"value\":null},"
                 "{\"op\":\"replace\",\"path\":\"/status\",\"value\":\"Closed\"},"
                 "{\"op\":\"replace\",\"path\":\"/substatus\",\"value\":\"Won\"}]");
    assert_patch("{\"team\":[{\"email\":\"a@example.com\"}]}", REFERRAL_TEXT,
                 "[{\"op\":\"replace\",\"path\":\"/team\",\"value\":[{\"email\":\"a@example.com\"}]}]");
}

/* Deal values can be written as text; nothing else is. */
static void test_patch_with_deal_value_as_text(void **state)
{
    (void)state;
    assert_patch("{\"details.dealValue\":10000.50}", REFERRAL_TEXT,
                 "[{\"op\":\"replace\",\"path\":\"/details/dealValue\",\"value\":\"10000.5\"}]");
    assert_patch("{\"details.dealValue\":7,\"salesStage\":20}", REFERRAL_TEXT,
                 "[{\"op\":\"replace\",\"path\":\"/salesStage\",\"value\":20},"
                 "{\"op\":\"replace\",\"path\":\"/details/dealValue\",\"value\":\"7\"}]");
}

/* A path that cannot be patched, or no change at all, is the rules' mistake. */
static void test_patch_that_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *write, *code;
    } cases[] = {
        {"{\"customerProfile.name\":\"x\"}", "partner_center.path"},
        {"{\"status\":\"Closed\",\"id\":\"x\"}", "partner_center.path"},
        {"{\"name\":\"x\"}", "partner_center.path"},
        {"{}", "partner_center.no_change"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        struct error err = ERROR_INIT;
        size_t length;
        char *patch = referral_patch(write, REFERRAL_NUMBER, &length, &err);
        assert_null(patch);
        assert_int_equal(err.class, ERROR_POISON);
        assert_string_equal(err.code, cases[i].code);
    }
}

static void assert_creation(const char *write, const char *key, enum referral_number_form form, const char *expected)
{
    json_auto_t *paths = parse(write);
    json_auto_t *id = parse(key);
    json_auto_t *wanted = parse(expected);
    struct error err = ERROR_INIT;
    size_t length;
    char *body = referral_creation(paths, id, form, &length, &err);

    assert_non_null(body);
    assert_int_equal(length, strlen(body));
    json_auto_t *made = parse(body);
    if (!json_same(made, wanted))
        fail_msg("%s", body);
    free(body);
}

/* A new referral is the paths as nested members without the nulls, and its key whatever the rules say of it. */
static void test_creation(void **state)
{
    (void)state;
    assert_creation(
        "{\"name\":\"x\",\"details.dealValue\":10000.50,\"details.requirements.solutions\":[{\"id\":\"S\"}],"
        "\"customerProfile.address.country\":\"GB\",\"details.notes\":null,\"campaignId\":null}",
        "{\"externalReferenceId\":\"crm-1\"}", REFERRAL_NUMBER,
        "{\"name\":\"x\",\"details\":{\"dealValue\":10000.5,\"requirements\":{\"solutions\":[{\"id\":\"S\"}]}},"
        "\"customerProfile\":{\"address\":{\"country\":\"GB\"}},\"externalReferenceId\":\"crm-1\"}");
    assert_creation("{\"details\":null,\"details.dealValue\":7,\"engagementId\":\"other\"}", "{\"engagementId\":\"e\"}",
                    REFERRAL_TEXT, "{\"details\":{\"dealValue\":\"7\"},\"engagementId\":\"e\"}");
    assert_creation("{}", "{\"engagementId\":\"e\"}", REFERRAL_NUMBER, "{\"engagementId\":\"e\"}");
}

/* What is nested leaves the decision's own values as they were. */
static void test_creation_does_not_change_the_decision(void **state)
{
    (void)state;
    static const char text[] = "{\"team\":[{\"email\":\"a@example.com\"}],\"details.notes\":\"n\"}";
    json_auto_t *write = parse(text);
    json_auto_t *before = parse(text);
    json_auto_t *key = parse("{\"externalReferenceId\":\"c\"}");
    struct error err = ERROR_INIT;
    size_t length;

    free(referral_creation(write, key, REFERRAL_NUMBER, &length, &err));
    assert_true(json_same(write, before));
}

/* A path that hides another, or is none of a referral, is the rules' mistake. */
static void test_creation_that_cannot_be(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{\"details\":{\"notes\":\"a\"},\"details.dealValue\":1}",
        "{\"details.dealValue\":1,\"details\":\"a\"}",
        "{\"\":1}",
        "{\".a\":1}",
        "{\"a.\":1}",
        "{\"a..b\":1}",
        "{\"team[].email\":1}",
        "{\"details{notes}\":1}",
        "{\"status@label\":\"x\"}",
    };
    json_auto_t *key = parse("{\"externalReferenceId\":\"c\"}");

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i]);
        struct error err = ERROR_INIT;
        size_t length;
        char *body = referral_creation(write, key, REFERRAL_NUMBER, &length, &err);
        if (body != NULL)
            fail_msg("%s", body);
        assert_int_equal(err.class, ERROR_POISON);
        assert_string_equal(err.code, "partner_center.path");
    }
}

/* The referral of a CRM record is the one of ours that names it: of duplicates an open one, and of those the oldest. */
static void test_referral_that_names_a_record(void **state)
{
    (void)state;
    static const struct {
        const char *referrals, *organization, *expected;
    } cases[] = {
        {"[{\"id\":\"a\",\"externalReferenceId\":\"other\"},{\"id\":\"b\",\"ExternalReferenceId\":\"CRM-1\"}]", NULL,
         "b"},
        {"[{\"id\":\"a\",\"externalReferenceId\":null},{\"id\":\"b\"}]", NULL, NULL},
        {"[{\"id\":\"a\",\"externalReferenceId\":\"crm-1\",\"organizationId\":\"msft\"}]", NULL, NULL},
        {"[{\"id\":\"a\",\"externalReferenceId\":\"crm-1\",\"organizationId\":\"them\"},"
         "{\"id\":\"b\",\"externalReferenceId\":\"crm-1\",\"organizationId\":\"US\"}]",
         "us", "b"},
        {"[{\"id\":\"a\",\"externalReferenceId\":\"crm-1\",\"createdDateTime\":\"2026-03-02T00:00:00Z\"},"
         "{\"id\":\"b\",\"externalReferenceId\":\"crm-1\",\"createdDateTime\":\"2026-03-01T00:00:00.1234567Z\"}]",
         NULL, "b"},
        {"[{\"id\":\"a\",\"externalReferenceId\":\"crm-1\",\"createdDateTime\":\"2026-03-02T00:00:00Z\"},"
         "{\"id\":\"b\",\"externalReferenceId\":\"crm-1\",\"createdDateTime\":\"2026-03-01T00:00:00Z\","
         "\"status\":\"Closed\"}]",
         NULL, "a"},
        {"[{\"id\":\"a\",\"externalReferenceId\":\"crm-1\",\"createdDateTime\":\"2026-03-01T00:00:00Z\","
         "\"status\":\"closed\"},{\"id\":\"b\",\"externalReferenceId\":\"crm-1\"}]",
         NULL, "b"},
        {"[]", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *referrals = parse(cases[i].referrals);
        const char *id = json_text_of(referral_naming(referrals, "crm-1", cases[i].organization), "id");
        if (cases[i].expected == NULL)
            assert_null(id);
        else
            assert_string_equal(id, cases[i].expected);
    }
}

/* Of a link to the next page its query is used; one without leads nowhere, and that is not the end of the list. */
static void test_next_query(void **state)
{
    (void)state;
    static const struct {
        const char *page;
        int status;
        const char *query;
    } cases[] = {
        {"{\"value\":[]}", 0, NULL},
        {"{\"@odata.nextLink\":null}", 0, NULL},
        {"{\"@odata.nextLink\":\"http://elsewhere.example/v1.0/referrals?$skiptoken=a%2Bb&x=1\"}", 0,
         "$skiptoken=a%2Bb&x=1"},
        {"{\"@odata.nextLink\":\"http://elsewhere.example/v1.0/referrals\"}", -1, NULL},
        {"{\"@odata.nextLink\":\"http://elsewhere.example/v1.0/referrals?\"}", -1, NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *page = parse(cases[i].page);
        const char *query = NULL;
        assert_int_equal(referral_next_query(page, &query), cases[i].status);
        if (cases[i].query == NULL)
            assert_null(query);
        else
            assert_string_equal(query, cases[i].query);
    }
}

/* A link longer than any the service writes is none. */
static void test_next_query_is_bounded(void **state)
{
    (void)state;
    char link[REFERRAL_QUERY_BYTES_MAX + 4];
    const char *query;

    memset(link, 'a', sizeof(link));
    link[0] = '?';
    for (size_t length = REFERRAL_QUERY_BYTES_MAX; length <= REFERRAL_QUERY_BYTES_MAX + 1; length++) {
        json_auto_t *page = json_pack("{s:s%}", "@odata.nextLink", link, length + 1);
        assert_int_equal(referral_next_query(page, &query), length > REFERRAL_QUERY_BYTES_MAX ? -1 : 0);
    }
}

/* A decision shows when every value stands, however the service writes numbers and times. */
static void test_shows(void **state)
{
    (void)state;
    static const char referral[] =
        "{\"Status\":\"Closed\",\"details\":{\"dealValue\":\"12500.50\",\"closingDateTime\":\"2026-09-30T00:00:00."
        "0000000Z\",\"notes\":null},\"team\":[{\"email\":\"a@example.com\",\"contactPreference\":{\"locale\":\"en-us\"},"
        "\"price\":\"1.50\"},"
        "{\"email\":\"b@example.com\"}],\"number\":5}";
    static const struct {
        const char *write;
        bool shows;
    } cases[] = {
        {"{\"status\":\"Closed\"}", true},
        {"{\"status\":\"Active\"}", false},
        {"{\"details.dealValue\":12500.5}", true},
        {"{\"details.dealValue\":\"12500.50\"}", true},
        {"{\"details.dealValue\":12500.51}", false},
        {"{\"details.closingDateTime\":\"2026-09-30T00:00:00Z\"}", true},
        {"{\"details.closingDateTime\":\"2026-09-30T00:00:01Z\"}", false},
        {"{\"details.notes\":null}", true},
        {"{\"details.notes\":\"\"}", false},
        {"{\"campaignId\":null}", true},
        {"{\"campaignId\":\"c\"}", false},
        {"{\"team\":[{\"email\":\"a@example.com\",\"price\":1.5,\"title\":null},{\"email\":\"b@example.com\"}]}", true},
        {"{\"team\":[{\"email\":\"b@example.com\"},{\"email\":\"a@example.com\"}]}", false},
        {"{\"team\":[{\"email\":\"a@example.com\"},{\"email\":\"b@example.com\",\"title\":\"CIO\"}]}", false},
        {"{\"team\":[{\"email\":\"a@example.com\"}]}", false},
        {"{\"team\":[]}", false},
        {"{\"team\":null}", false},
        {"{\"number\":\"5\"}", false},
        {"{\"status\":\"Closed\",\"details.dealValue\":1}", false},
        {"{}", true},
    };
    json_auto_t *stands = parse(referral);

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        json_auto_t *write = parse(cases[i].write);
        if (referral_shows(stands, write) != cases[i].shows)
            fail_msg("%s", cases[i].write);
    }
}

static int set_up(void **state)
{
    (void)state;
    json_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_table),
        cmocka_unit_test(test_owner_and_type),
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_own_referral),
        cmocka_unit_test(test_patch),
        cmocka_unit_test(test_patch_with_deal_value_as_text),
        cmocka_unit_test(test_patch_that_cannot_be),
        cmocka_unit_test(test_creation),
        cmocka_unit_test(test_creation_does_not_change_the_decision),
        cmocka_unit_test(test_creation_that_cannot_be),
        cmocka_unit_test(test_referral_that_names_a_record),
        cmocka_unit_test(test_next_query),
        cmocka_unit_test(test_next_query_is_bounded),
        cmocka_unit_test(test_shows),
    };
    return cmocka_run_group_tests_name("partner_center_referral", tests, set_up, NULL);
}
