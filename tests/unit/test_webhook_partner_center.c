#include "ingest/webhook_partner_center.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"

#define ID       "8f14e45f-ceea-467f-9b1d-2f6c1a7d0101"
#define HOST     "api.partnercenter.microsoft.com"
#define REFERRAL "https://" HOST "/engagements/v1/referrals/" ID
#define DATE     "2024-03-07T14:03:11.0456789+00:00"
#define EVENT(name, uri, date)                                                                                 \
    "{\"EventName\":\"" name "\",\"ResourceUri\":\"" uri "\",\"ResourceName\":\"referral\",\"AuditUri\":null," \
    "\"ResourceChangeUtcDate\":\"" date "\"}"

static const char *const hosts[] = {HOST};
static const struct partner_center_events events = {.resource_hosts = hosts, .resource_host_count = 1};

static struct webhook_result read_body(const char *body)
{
    return webhook_partner_center_read(body, strlen(body), &events, json_pack("{s:s}", "user-agent", "x"),
                                       "2026-01-02T03:04:05Z");
}

struct outcome_case {
    const char *body;
    enum webhook_outcome outcome;
    int status;
    const char *code;
};

static const struct outcome_case outcome_cases[] = {
    {EVENT("referral-updated", REFERRAL, DATE), WEBHOOK_NOTIFICATION, 202, "accepted"},
    /* JSON: B46 to B55 */
    {"", WEBHOOK_REFUSED, 400, "invalid_json"},
    {" \n", WEBHOOK_REFUSED, 400, "invalid_json"},
    {"{\"EventName\":\"referral-updated\"", WEBHOOK_REFUSED, 400, "invalid_json"},
    {"{}x", WEBHOOK_REFUSED, 400, "invalid_json"},
    {"{}{}", WEBHOOK_REFUSED, 400, "invalid_json"},
    {"{/**/}", WEBHOOK_REFUSED, 400, "invalid_json"},
    {"{\"a\":NaN}", WEBHOOK_REFUSED, 400, "invalid_json"},
    {"1", WEBHOOK_REFUSED, 422, "schema"},
    {"[]", WEBHOOK_REFUSED, 422, "schema"},
    {"\"x\"", WEBHOOK_REFUSED, 422, "schema"},
    {"{\"a\":1,\"a\":1}", WEBHOOK_REFUSED, 400, "duplicate_key"},
    {"{\"a\":1,\"\\u0061\":1}", WEBHOOK_REFUSED, 400, "duplicate_key"},
    {"{\"a\":\"\xff\"}", WEBHOOK_REFUSED, 400, "invalid_utf8"},
    {"{\"a\":\"\xc0\x80\"}", WEBHOOK_REFUSED, 400, "invalid_utf8"},
    {"\xEF\xBB\xBF{}", WEBHOOK_REFUSED, 400, NULL},
    {"{\"a\":\"\\u0000\"}", WEBHOOK_REFUSED, 400, NULL},
    {"{\"\\u0000\":1}", WEBHOOK_REFUSED, 400, NULL},
    {"{\"a\":9223372036854775808}", WEBHOOK_REFUSED, 400, "number_range"},
    {"{\"a\":1e401}", WEBHOOK_REFUSED, 400, "number_range"},
    /* Schema: B58, B59 */
    {"{}", WEBHOOK_REFUSED, 422, "schema"},
    {"{\"ResourceUri\":\"" REFERRAL "\",\"ResourceChangeUtcDate\":\"" DATE "\"}", WEBHOOK_REFUSED, 422, "schema"},
    {"{\"EventName\":\"referral-updated\",\"ResourceChangeUtcDate\":\"" DATE "\"}", WEBHOOK_REFUSED, 422, "schema"},
    {"{\"EventName\":\"referral-updated\",\"ResourceUri\":\"" REFERRAL "\"}", WEBHOOK_REFUSED, 422, "schema"},
    {"{\"EventName\":null,\"ResourceUri\":\"" REFERRAL "\",\"ResourceChangeUtcDate\":\"" DATE "\"}", WEBHOOK_REFUSED,
     422, "schema"},
    {"{\"EventName\":7,\"ResourceUri\":\"" REFERRAL "\",\"ResourceChangeUtcDate\":\"" DATE "\"}", WEBHOOK_REFUSED, 422,
     "schema"},
    {"{\"EventName\":1.5,\"ResourceUri\":\"" REFERRAL "\",\"ResourceChangeUtcDate\":\"" DATE "\"}", WEBHOOK_REFUSED,
     422, "schema"},
    {EVENT("", REFERRAL, DATE), WEBHOOK_REFUSED, 422, "schema"},
    {"{\"EventName\":\"referral-updated\",\"ResourceUri\":[],\"ResourceChangeUtcDate\":\"" DATE "\"}", WEBHOOK_REFUSED,
     422, "schema"},
    {"{\"EventName\":\"referral-updated\",\"ResourceName\":{},\"ResourceUri\":\"" REFERRAL
     "\",\"ResourceChangeUtcDate\":\"" DATE "\"}",
     WEBHOOK_REFUSED, 422, "schema"},
    {"{\"EventName\":\"referral-updated\",\"More\":{\"a\":[1.5]},\"ResourceUri\":\"" REFERRAL
     "\",\"ResourceChangeUtcDate\":\"" DATE "\"}",
     WEBHOOK_NOTIFICATION, 202, "accepted"},
    /* Event names: B60, 1.3 */
    {EVENT("referral-deleted", REFERRAL, DATE), WEBHOOK_SET_ASIDE, 202, "unknown_event"},
    {EVENT("Referral-Updated", REFERRAL, DATE), WEBHOOK_SET_ASIDE, 202, "unknown_event"},
    {EVENT("invoice-ready", "https://x/y", "never"), WEBHOOK_IGNORED, 202, "ignored"},
    {EVENT("usagerecords-thresholdExceeded", "https://x/y", DATE), WEBHOOK_IGNORED, 202, "ignored"},
    /* Resources: B62 */
    {EVENT("referral-updated", "http://" HOST "/engagements/v1/referrals/" ID, DATE), WEBHOOK_SET_ASIDE, 202,
     "bad_resource"},
    {EVENT("referral-updated", "https://" HOST ".example/engagements/v1/referrals/" ID, DATE), WEBHOOK_SET_ASIDE, 202,
     "bad_resource"},
    {EVENT("referral-updated", "https://localhost:16722/engagements/v1/referrals/" ID, DATE), WEBHOOK_SET_ASIDE, 202,
     "bad_resource"},
    {EVENT("referral-updated", "https://a@" HOST "/engagements/v1/referrals/" ID, DATE), WEBHOOK_SET_ASIDE, 202,
     "bad_resource"},
    {EVENT("referral-updated", "https://" HOST ":443/engagements/v1/referrals/" ID, DATE), WEBHOOK_SET_ASIDE, 202,
     "bad_resource"},
    {EVENT("referral-updated", "https://" HOST "/engagements/v1/referrals/../" ID, DATE), WEBHOOK_SET_ASIDE, 202,
     "bad_resource"},
    {EVENT("referral-updated", REFERRAL "/", DATE), WEBHOOK_SET_ASIDE, 202, "bad_resource"},
    {EVENT("referral-updated", REFERRAL "?a", DATE), WEBHOOK_SET_ASIDE, 202, "bad_resource"},
    {EVENT("referral-updated", "https://" HOST "/engagements/v1/referrals/1", DATE), WEBHOOK_SET_ASIDE, 202,
     "bad_resource"},
    {EVENT("referral-updated", "", DATE), WEBHOOK_SET_ASIDE, 202, "bad_resource"},
    /* Dates: B63 */
    {EVENT("referral-updated", REFERRAL, ""), WEBHOOK_SET_ASIDE, 202, "bad_date"},
    {EVENT("referral-updated", REFERRAL, "2024-02-30T00:00:00Z"), WEBHOOK_SET_ASIDE, 202, "bad_date"},
    {EVENT("referral-updated", REFERRAL, "2016-12-31T23:59:60Z"), WEBHOOK_SET_ASIDE, 202, "bad_date"},
    {EVENT("referral-updated", REFERRAL, "2024-03-07T14:03:11"), WEBHOOK_SET_ASIDE, 202, "bad_date"},
    {EVENT("referral-updated", REFERRAL, "9999-12-31T23:59:59Z"), WEBHOOK_NOTIFICATION, 202, "accepted"},
    /* Test events: B61 */
    {EVENT("test-created", "http://" HOST "/webhooks/v1/registration/validationEvents/" ID, DATE), WEBHOOK_NOTIFICATION,
     202, "accepted"},
    {EVENT("test-created", "http://localhost:16722/v1/webhooks/registration/test", DATE), WEBHOOK_NOTIFICATION, 202,
     "accepted"},
};

/* Each body has one outcome (B46 to B63). */
static void test_body_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(outcome_cases); i++) {
        const struct outcome_case *c = &outcome_cases[i];
        struct webhook_result result = read_body(c->body);
        if (result.outcome != c->outcome || result.status != c->status ||
            (c->code != NULL && strcmp(result.code, c->code) != 0))
            fail_msg("%s: outcome %d, %d %s", c->body, (int)result.outcome, result.status, result.code);
        webhook_result_done(&result);
    }
}

/* A referral's event carries its id in lower case, the exact time, the body as it came and the headers. */
static void test_referral_becomes_a_notification(void **state)
{
    static const char body[] = EVENT("related-referral-updated",
                                     "https://" HOST "/engagements/v1/referrals/8F14E45F-CEEA-467F-9B1D-2F6C1A7D0101",
                                     "2024-03-07T20:03:11.0456789+06:00");
    struct webhook_result result = read_body(body);
    const struct notification *made = &result.notification;

    (void)state;
    assert_int_equal(result.outcome, WEBHOOK_NOTIFICATION);
    assert_string_equal(made->source, "partner-center");
    assert_int_equal(made->origin, NOTIFICATION_WEBHOOK);
    assert_string_equal(made->event, "related-referral-updated");
    assert_string_equal(made->record_type, "related-referral");
    assert_string_equal(made->record_id, ID);
    assert_string_equal(made->occurred_at, "2024-03-07T14:03:11.045678900Z");
    assert_string_equal(made->received_at, "2026-01-02T03:04:05Z");
    assert_string_equal(made->body, body);
    assert_string_equal(json_text_of(made->headers, "user-agent"), "x");
    assert_null(made->deal_key);
    webhook_result_done(&result);
}

/* A test event is known by its correlation id, or else by the same made-up id each time. */
static void test_test_event_has_an_id(void **state)
{
    struct webhook_result result =
        read_body(EVENT("test-created", "http://" HOST "/webhooks/v1/registration/validationEvents/" ID, DATE));
    char first[64];

    (void)state;
    assert_string_equal(result.notification.record_type, "test");
    assert_string_equal(result.notification.record_id, ID);
    webhook_result_done(&result);

    result = read_body(EVENT("test-created", "http://localhost:1/test", DATE));
    assert_int_equal(strlen(result.notification.record_id), 36);
    memcpy(first, result.notification.record_id, 37);
    webhook_result_done(&result);
    result = read_body(EVENT("test-created", "http://localhost:1/test", DATE));
    assert_string_equal(result.notification.record_id, first);
    webhook_result_done(&result);
}

/* By setting, an unknown event is only acknowledged. */
static void test_unknown_event_may_be_ignored(void **state)
{
    static const char body[] = EVENT("galaxy-created", "https://x/y", DATE);
    struct partner_center_events ignoring = events;
    ignoring.ignore_unknown = true;
    struct webhook_result result =
        webhook_partner_center_read(body, strlen(body), &ignoring, NULL, "2026-01-02T03:04:05Z");

    (void)state;
    assert_int_equal(result.outcome, WEBHOOK_IGNORED);
    assert_int_equal(result.status, 202);
}

/* Depth, nodes and long texts are bounded (B50, B51, B57). */
static void test_costly_bodies_are_refused(void **state)
{
    static const struct {
        const char *unit;
        size_t count;
        int status;
        const char *code;
    } cases[] = {{"[", 33, 400, "too_deep"},
                 {"[", 200000, 400, "too_deep"},
                 {"{},", 80000, 422, "too_complex"},
                 {"0,", 100000, 422, "too_complex"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct text text;
        text_init(&text, 1024 * 1024);
        if (cases[i].unit[0] != '[')
            assert_int_equal(text_append(&text, "["), 0);
        for (size_t k = 0; k < cases[i].count; k++)
            assert_int_equal(text_append(&text, cases[i].unit), 0);
        struct webhook_result result = read_body(text_string(&text));
        assert_int_equal(result.status, cases[i].status);
        assert_string_equal(result.code, cases[i].code);
        text_done(&text);
    }
}

/* Only headers of the list are kept. */
static void test_headers_are_kept_by_list(void **state)
{
    static const char bytes[] =
        "POST /w HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Type: application/json\r\n"
        "Authorization: Signature secret\r\nX-Cosell-Webhook-Key: secret\r\nUser-Agent: \xff\r\n"
        "X-MS-Certificate-Url: https://a/b\r\n\r\n";
    struct request request;

    (void)state;
    request_init(&request, &REQUEST_LIMITS);
    (void)request_feed(&request, bytes, sizeof(bytes) - 1);
    assert_int_equal(request.state, REQUEST_AT_BODY);
    json_t *headers = webhook_headers(&request);
    assert_int_equal(json_object_size(headers), 2);
    assert_string_equal(json_text_of(headers, "content-type"), "application/json");
    assert_string_equal(json_text_of(headers, "x-ms-certificate-url"), "https://a/b");
    json_decref(headers);
    request_done(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_is_judged),
        cmocka_unit_test(test_referral_becomes_a_notification),
        cmocka_unit_test(test_test_event_has_an_id),
        cmocka_unit_test(test_unknown_event_may_be_ignored),
        cmocka_unit_test(test_costly_bodies_are_refused),
        cmocka_unit_test(test_headers_are_kept_by_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
