#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/answer.h"

/* Status by status, for a request without and with effect. */
static void test_status_table(void **state)
{
    (void)state;
    static const struct {
        long status;
        enum system_result reading, writing;
    } cases[] = {
        {200, SYSTEM_DONE, SYSTEM_DONE},         {201, SYSTEM_DONE, SYSTEM_DONE},
        {204, SYSTEM_DONE, SYSTEM_DONE},         {299, SYSTEM_DONE, SYSTEM_DONE},
        {302, SYSTEM_RETRY, SYSTEM_RETRY},       {304, SYSTEM_RETRY, SYSTEM_RETRY},
        {400, SYSTEM_REFUSED, SYSTEM_REFUSED},   {401, SYSTEM_BLOCKED, SYSTEM_BLOCKED},
        {403, SYSTEM_REFUSED, SYSTEM_REFUSED},   {404, SYSTEM_GONE, SYSTEM_GONE},
        {405, SYSTEM_REFUSED, SYSTEM_REFUSED},   {408, SYSTEM_RETRY, SYSTEM_RETRY},
        {409, SYSTEM_CONFLICT, SYSTEM_CONFLICT}, {410, SYSTEM_GONE, SYSTEM_GONE},
        {412, SYSTEM_CONFLICT, SYSTEM_CONFLICT}, {413, SYSTEM_REFUSED, SYSTEM_REFUSED},
        {422, SYSTEM_REFUSED, SYSTEM_REFUSED},   {423, SYSTEM_RETRY, SYSTEM_RETRY},
        {425, SYSTEM_RETRY, SYSTEM_RETRY},       {429, SYSTEM_RETRY, SYSTEM_RETRY},
        {500, SYSTEM_RETRY, SYSTEM_UNKNOWN},     {501, SYSTEM_REFUSED, SYSTEM_REFUSED},
        {502, SYSTEM_RETRY, SYSTEM_UNKNOWN},     {503, SYSTEM_RETRY, SYSTEM_RETRY},
        {504, SYSTEM_RETRY, SYSTEM_UNKNOWN},     {505, SYSTEM_REFUSED, SYSTEM_REFUSED},
        {509, SYSTEM_RETRY, SYSTEM_RETRY},       {599, SYSTEM_RETRY, SYSTEM_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (answer_of_status(cases[i].status, false) != cases[i].reading ||
            answer_of_status(cases[i].status, true) != cases[i].writing)
            fail_msg("status %ld: %d and %d", cases[i].status, (int)answer_of_status(cases[i].status, false),
                     (int)answer_of_status(cases[i].status, true));
    }
}

/* What may have arrived leaves a write unknown and a reading to be repeated; what was not sent did nothing. */
static void test_transport_table(void **state)
{
    (void)state;
    assert_int_equal(answer_of_transport(HTTP_NOT_SENT, false), SYSTEM_RETRY);
    assert_int_equal(answer_of_transport(HTTP_NOT_SENT, true), SYSTEM_RETRY);
    assert_int_equal(answer_of_transport(HTTP_UNKNOWN, false), SYSTEM_RETRY);
    assert_int_equal(answer_of_transport(HTTP_UNKNOWN, true), SYSTEM_UNKNOWN);
    assert_int_equal(answer_of_transport(HTTP_CANCELLED, false), SYSTEM_RETRY);
    assert_int_equal(answer_of_transport(HTTP_CANCELLED, true), SYSTEM_UNKNOWN);
}

/* The class decides what is done with the message: repeat, set aside, or tell a person. */
static void test_error_classes(void **state)
{
    (void)state;
    assert_int_equal(answer_error_class(SYSTEM_DONE), ERROR_NONE);
    assert_int_equal(answer_error_class(SYSTEM_CONFLICT), ERROR_TRANSIENT);
    assert_int_equal(answer_error_class(SYSTEM_GONE), ERROR_POISON);
    assert_int_equal(answer_error_class(SYSTEM_REFUSED), ERROR_POISON);
    assert_int_equal(answer_error_class(SYSTEM_RETRY), ERROR_TRANSIENT);
    assert_int_equal(answer_error_class(SYSTEM_UNKNOWN), ERROR_TRANSIENT);
    assert_int_equal(answer_error_class(SYSTEM_BLOCKED), ERROR_CONFIG);
}

static struct http_response with_body(const char *body)
{
    return (struct http_response){.result = HTTP_ANSWERED, .status = 200, .body = body, .body_length = strlen(body)};
}

/* Only a whole JSON object counts as an answer. */
static void test_bodies(void **state)
{
    (void)state;
    static const char *const useless[] = {"", "<html>sign in</html>", "[]", "\"text\"", "null", "{\"a\":1", "{}{}"};

    for (size_t i = 0; i < ARRAY_LENGTH(useless); i++) {
        struct http_response response = with_body(useless[i]);
        assert_null(answer_json(&response));
    }
    struct http_response response = with_body("{\"a\":1.50}");
    json_auto_t *json = answer_json(&response);
    assert_true(json_is_decimal(json_object_get(json, "a")));
}

/* A failure names step and status, keeps its code and says nothing of the body. */
static void test_failure_of_an_answer(void **state)
{
    (void)state;
    struct http_response response = with_body("{\"error\":{\"message\":\"Jane Doe\"}}");
    struct system_answer answer = {0};

    response.status = 400;
    answer_fail(&answer, &response, SYSTEM_REFUSED, "partner_center.refused", "change the referral", 0);
    assert_int_equal(answer.result, SYSTEM_REFUSED);
    assert_int_equal(answer.status, 400);
    assert_int_equal(answer.retry_after_ms, -1);
    assert_int_equal(answer.error.class, ERROR_POISON);
    assert_string_equal(answer.error.code, "partner_center.refused");
    assert_string_equal(answer.error.message, "change the referral: answered with HTTP status 400");
}

/* The service's own codes are told, inner ones too; what does not look like a code is not, nor is any message. */
static void test_failure_tells_the_service_codes(void **state)
{
    (void)state;
    static const struct {
        const char *body, *message;
    } cases[] = {
        {"{\"error\":{\"code\":\"0x80044331\",\"message\":\"Jane Doe is too long\"}}",
         "write: answered with HTTP status 400, the service's code 0x80044331"},
        {"{\"error\":{\"code\":\"invalidRequest\",\"innerError\":{\"code\":\"validationFailed\",\"message\":\"x\"}}}",
         "write: answered with HTTP status 400, the service's code invalidRequest/validationFailed"},
        {"{\"error\":{\"code\":\"\",\"innererror\":{\"code\":\"b\"}}}",
         "write: answered with HTTP status 400, the service's code b"},
        {"{\"error\":{\"code\":\"jane@fabrikam.example\"}}", "write: answered with HTTP status 400"},
        {"{\"error\":{\"code\":\"Jane Doe\"}}", "write: answered with HTTP status 400"},
        {"{\"error\":{\"code\":\"a123456789b123456789c123456789d123456789e123456789\"}}",
         "write: answered with HTTP status 400"},
        {"{\"error\":{\"code\":7}}", "write: answered with HTTP status 400"},
        {"{\"error\":\"invalid_grant\"}", "write: answered with HTTP status 400"},
        {"<html>", "write: answered with HTTP status 400"},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct http_response response = with_body(cases[i].body);
        struct system_answer answer = {0};

        response.status = 400;
        answer_fail(&answer, &response, SYSTEM_REFUSED, "x", "write", 0);
        assert_string_equal(answer.error.message, cases[i].message);
    }
}

/* What the service says the error is about is taken where it looks like a path, the innermost last; nothing that could be
 * a value. */
static void test_failure_tells_what_it_is_about(void **state)
{
    (void)state;
    static const struct {
        const char *body, *field;
    } cases[] = {
        {"{\"error\":{\"code\":\"a\",\"target\":\"customerProfile.team[0].email\"}}", "customerProfile.team[0].email"},
        {"{\"error\":{\"target\":\"referral\",\"innerError\":{\"target\":\"/details/dealValue\"}}}",
         "/details/dealValue"},
        {"{\"error\":{\"target\":\"name\",\"innerError\":{\"code\":\"b\"}}}", "name"},
        {"{\"error\":{\"target\":\"Jane Doe\"}}", ""},
        {"{\"error\":{\"target\":\"jane@fabrikam.example\"}}", ""},
        {"{\"error\":{\"target\":\"+49-30-1234567\"}}", ""},
        {"{\"error\":{\"target\":\"0301234567\"}}", ""},
        {"{\"error\":{\"target\":7}}", ""},
        {"{\"error\":{\"code\":\"a\"}}", ""},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct http_response response = with_body(cases[i].body);
        struct system_answer answer = {.field = "of an answer before"};

        response.status = 400;
        answer_fail(&answer, &response, SYSTEM_REFUSED, "x", "write", 0);
        assert_string_equal(answer.field, cases[i].field);
    }
    char body[256];
    (void)snprintf(body, sizeof(body), "{\"error\":{\"target\":\"%0150d\"}}", 0);
    memset(strchr(body, '0'), 'a', 150);
    struct http_response response = with_body(body);
    struct system_answer answer = {0};
    answer_fail(&answer, &response, SYSTEM_REFUSED, "x", "write", 0);
    assert_string_equal(answer.field, "");
}

/* A failure of the transport keeps the transport's code and gets the result's class. */
static void test_failure_of_the_transport(void **state)
{
    (void)state;
    struct http_response response = {.result = HTTP_UNKNOWN, .body = ""};
    struct system_answer answer = {0};

    (void)error_set(&response.error, ERROR_TRANSIENT, "http.timeout", "timed out");
    answer_fail(&answer, &response, SYSTEM_UNKNOWN, NULL, "write the CRM record", 0);
    assert_int_equal(answer.result, SYSTEM_UNKNOWN);
    assert_int_equal(answer.status, 0);
    assert_string_equal(answer.error.code, "http.timeout");
    assert_string_equal(answer.error.message, "write the CRM record: timed out");
    assert_int_equal(answer.error.class, ERROR_TRANSIENT);
}

/* Without a token: a person has to act, or it is tried again, or the request itself can never be sent. */
static void test_failure_before_the_request(void **state)
{
    (void)state;
    static const struct {
        enum error_class class;
        enum system_result result;
    } cases[] = {{ERROR_CONFIG, SYSTEM_BLOCKED}, {ERROR_TRANSIENT, SYSTEM_RETRY}, {ERROR_POISON, SYSTEM_REFUSED}};

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct system_answer answer = {0};
        struct error err = ERROR_INIT;
        (void)error_set(&err, cases[i].class, "token.some", "reason");
        answer_no_token(&answer, &err, "read the referral");
        assert_int_equal(answer.result, cases[i].result);
        assert_int_equal(answer.retry_after_ms, -1);
        assert_string_equal(answer.error.code, "token.some");
        assert_string_equal(answer.error.message, "read the referral: reason");
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
        cmocka_unit_test(test_status_table),
        cmocka_unit_test(test_transport_table),
        cmocka_unit_test(test_error_classes),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_failure_of_an_answer),
        cmocka_unit_test(test_failure_tells_the_service_codes),
        cmocka_unit_test(test_failure_tells_what_it_is_about),
        cmocka_unit_test(test_failure_of_the_transport),
        cmocka_unit_test(test_failure_before_the_request),
    };
    return cmocka_run_group_tests_name("answer", tests, set_up, NULL);
}
