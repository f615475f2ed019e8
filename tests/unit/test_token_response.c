#include "common/http/token_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/attributes.h"
#include "common/base/json.h"
#include "common/base/text.h"

static int judge(long status, const char *body, struct token_grant_answer *ret_answer, struct error *err)
{
    error_clear(err);
    return token_response_judge(status, body, strlen(body), ret_answer, err);
}

struct refusal {
    long status;
    const char *body;
    enum error_class class;
    const char *code;
};

static void expect_refusals(const struct refusal *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct token_grant_answer answer = {0};
        struct error err = ERROR_INIT;
        if (judge(cases[i].status, cases[i].body, &answer, &err) == 0) {
            token_grant_answer_done(&answer);
            fail_msg("accepted: %s", cases[i].body);
        }
        if (err.class != cases[i].class || strcmp(err.code, cases[i].code) != 0)
            fail_msg("%s: %s %s", cases[i].body, error_class_name(err.class), err.code);
        assert_null(strstr(err.message, "SECRET"));
    }
}

/* Entra v2 gives numbers and no refresh token for client credentials. */
static void test_v2_answer_is_a_grant(void **state)
{
    (void)state;
    struct token_grant_answer answer = {0};
    struct error err = ERROR_INIT;
    assert_int_equal(
        judge(200, "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"ey.A_-~+/=\"}", &answer, &err),
        0);
    assert_string_equal(answer.access_token, "ey.A_-~+/=");
    assert_null(answer.refresh_token);
    assert_int_equal(answer.life_ms, 3599000);
    token_grant_answer_done(&answer);
}

/* Entra v1 gives every number as a string, and a new refresh token. */
static void test_v1_answer_is_a_grant(void **state)
{
    (void)state;
    struct token_grant_answer answer = {0};
    struct error err = ERROR_INIT;
    assert_int_equal(judge(200,
                           "{\"token_type\":\"bearer\",\"scope\":\"user_impersonation\",\"expires_in\":\"3600\","
                           "\"expires_on\":\"1709632127\",\"access_token\":\"A\",\"refresh_token\":\"R\"}",
                           &answer, &err),
                     0);
    assert_string_equal(answer.refresh_token, "R");
    assert_int_equal(answer.life_ms, 3600000);
    token_grant_answer_done(&answer);
}

/* Salesforce tells no life; a short one is assumed. */
static void test_absent_life_counts_as_short(void **state)
{
    (void)state;
    struct token_grant_answer answer = {0};
    struct error err = ERROR_INIT;
    assert_int_equal(judge(200, "{\"token_type\":\"Bearer\",\"access_token\":\"00D!AQ\"}", &answer, &err), 0);
    assert_int_equal(answer.life_ms, TOKEN_LIFE_DEFAULT_MS);
    token_grant_answer_done(&answer);
}

/* Ten years, and what would overflow in milliseconds, are cut to a day. */
static void test_long_life_is_cut_to_a_day(void **state)
{
    (void)state;
    static const char *const lives[] = {"86401", "315360000", "\"315360000\"", "9223372036854775807",
                                        "\"9223372036854775807\""};
    for (size_t i = 0; i < ARRAY_LENGTH(lives); i++) {
        char *body = text_format("{\"token_type\":\"Bearer\",\"access_token\":\"A\",\"expires_in\":%s}", lives[i]);
        struct token_grant_answer answer = {0};
        struct error err = ERROR_INIT;
        assert_int_equal(judge(200, body, &answer, &err), 0);
        assert_int_equal(answer.life_ms, 24 * 3600 * 1000);
        token_grant_answer_done(&answer);
        free(body);
    }
}

/* Lives that are no positive number of seconds make the answer unusable. */
static void test_wrong_life_is_refused(void **state)
{
    (void)state;
    static const char *const lives[] = {"0",
                                        "-1",
                                        "\"-1\"",
                                        "\"\"",
                                        "\"1h\"",
                                        "\"3600.5\"",
                                        "3600.5",
                                        "1e399",
                                        "true",
                                        "[]",
                                        "\" 5\"",
                                        "\"99999999999999999999\"",
                                        "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LENGTH(lives); i++) {
        char *body = text_format("{\"token_type\":\"Bearer\",\"access_token\":\"SECRET\",\"expires_in\":%s}", lives[i]);
        const struct refusal refusal = {200, body, ERROR_TRANSIENT, "token.bad_response"};
        expect_refusals(&refusal, 1);
        free(body);
    }
}

/* A token that could end a header line or hide characters never gets as far as a header. */
static void test_token_with_foreign_characters_is_refused(void **state)
{
    (void)state;
    static const char *const tokens[] = {"\"\"",
                                         "\"SECRET\\r\\nX: y\"",
                                         "\"SECRET\\n\"",
                                         "\"SECRET a\"",
                                         "\"SECRET\\t\"",
                                         "\"SECRET\\u0001\"",
                                         "\"SECRET\\u007f\"",
                                         "\"SECRET\xC3\xA4\"",
                                         "\"SECRET\\u0000\"",
                                         "7",
                                         "[\"SECRET\"]",
                                         "{}",
                                         "1.5"};
    for (size_t i = 0; i < ARRAY_LENGTH(tokens); i++) {
        char *access = text_format("{\"token_type\":\"Bearer\",\"access_token\":%s}", tokens[i]);
        char *refresh =
            text_format("{\"token_type\":\"Bearer\",\"access_token\":\"A\",\"refresh_token\":%s}", tokens[i]);
        const struct refusal refusals[] = {{200, access, ERROR_TRANSIENT, "token.bad_response"},
                                           {200, refresh, ERROR_TRANSIENT, "token.bad_response"}};
        expect_refusals(refusals, ARRAY_LENGTH(refusals));
        free(access);
        free(refresh);
    }
}

/* A token of 16 KiB is accepted; one byte more, and 64 KiB, are not. */
static void test_token_length_is_bounded(void **state)
{
    (void)state;
    static const int lengths[] = {TOKEN_MAX_BYTES, TOKEN_MAX_BYTES + 1, 65536};
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        char *token = calloc(1, (size_t)lengths[i] + 1);
        assert_non_null(token);
        memset(token, 'a', (size_t)lengths[i]);
        char *body = text_format("{\"token_type\":\"Bearer\",\"access_token\":\"%s\"}", token);
        struct token_grant_answer answer = {0};
        struct error err = ERROR_INIT;
        int result = judge(200, body, &answer, &err);
        assert_int_equal(result, lengths[i] <= TOKEN_MAX_BYTES ? 0 : -1);
        if (result == 0)
            token_grant_answer_done(&answer);
        else
            assert_string_equal(err.code, "token.bad_response");
        free(body);
        free(token);
    }
}

/* Status 200 with anything that is not a Bearer grant is no grant. */
static void test_other_success_bodies_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {200, "", ERROR_TRANSIENT, "token.bad_response"},
        {200, "<html>SECRET</html>", ERROR_TRANSIENT, "token.bad_response"},
        {200, "[]", ERROR_TRANSIENT, "token.bad_response"},
        {200, "\"SECRET\"", ERROR_TRANSIENT, "token.bad_response"},
        {200, "{}", ERROR_TRANSIENT, "token.bad_response"},
        {200, "{\"token_type\":\"Bearer\"}", ERROR_TRANSIENT, "token.bad_response"},
        {200, "{\"token_type\":\"Bearer\",\"access_token\":null}", ERROR_TRANSIENT, "token.bad_response"},
        {200, "{\"access_token\":\"SECRET\"}", ERROR_TRANSIENT, "token.bad_response"},
        {200, "{\"token_type\":\"pop\",\"access_token\":\"SECRET\"}", ERROR_TRANSIENT, "token.bad_response"},
        {200, "{\"token_type\":\"Bearer\",\"access_token\":\"SECRET\"", ERROR_TRANSIENT, "token.bad_response"},
        {200, "{\"token_type\":\"Bearer\",\"access_token\":\"A\",\"access_token\":\"SECRET\"}", ERROR_TRANSIENT,
         "token.bad_response"},
        {200, "{\"error\":\"invalid_grant\"}", ERROR_TRANSIENT, "token.bad_response"},
    };
    expect_refusals(cases, ARRAY_LENGTH(cases));
}

/* Words that only a person can settle stop the source; the description never shows. */
static void test_final_words_need_a_person(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {400, "{\"error\":\"invalid_grant\",\"error_description\":\"SECRET\"}", ERROR_CONFIG, "token.sign_in_needed"},
        {401, "{\"error\":\"invalid_client\"}", ERROR_CONFIG, "token.sign_in_needed"},
        {400, "{\"error\":\"interaction_required\"}", ERROR_CONFIG, "token.sign_in_needed"},
        {400, "{\"error\":\"invalid_scope\"}", ERROR_CONFIG, "token.refused"},
        {400, "{\"error\":\"unauthorized_client\"}", ERROR_CONFIG, "token.refused"},
    };
    expect_refusals(cases, ARRAY_LENGTH(cases));
}

/* Overload, faults, redirects and unknown words pass; a final word does not count beside 429 or 5xx. */
static void test_other_refusals_pass(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {429, "{\"error\":\"invalid_grant\"}", ERROR_TRANSIENT, "token.unavailable"},
        {500, "{\"error\":\"invalid_client\"}", ERROR_TRANSIENT, "token.unavailable"},
        {503, "", ERROR_TRANSIENT, "token.unavailable"},
        {302, "", ERROR_TRANSIENT, "token.unavailable"},
        {400, "{\"error\":\"temporarily_unavailable\"}", ERROR_TRANSIENT, "token.unavailable"},
        {400, "{\"error\":\"SECRET\"}", ERROR_TRANSIENT, "token.unavailable"},
        {403, "<html>SECRET</html>", ERROR_TRANSIENT, "token.unavailable"},
        {400, "[\"invalid_grant\"]", ERROR_TRANSIENT, "token.unavailable"},
        {400, "{\"error\":[\"invalid_grant\"]}", ERROR_TRANSIENT, "token.unavailable"},
        {204, "", ERROR_TRANSIENT, "token.unavailable"},
    };
    expect_refusals(cases, ARRAY_LENGTH(cases));
}

/* The message names Entra's number, which its documentation explains. */
static void test_refusal_tells_the_number(void **state)
{
    (void)state;
    struct token_grant_answer answer = {0};
    struct error err = ERROR_INIT;
    assert_int_equal(judge(400, "{\"error\":\"invalid_grant\",\"error_codes\":[700082]}", &answer, &err), -1);
    assert_non_null(strstr(err.message, "AADSTS700082"));
}

/* Renewal comes between 70 and 80 % of the life, whatever the random number. */
static void test_renewal_comes_before_four_fifths(void **state)
{
    (void)state;
    assert_int_equal(token_renewal_ms(3600000, 0), 2880000);
    assert_int_equal(token_renewal_ms(3600000, UINT32_MAX), 2520001);
    assert_true(token_renewal_ms(1000, UINT32_MAX) >= 700);
    assert_true(token_renewal_ms(TOKEN_LIFE_MAX_MS, 0x80000000U) == 64800000);
}

/* A token is handed out until 10 s before its end, a short one until a tenth before. */
static void test_use_ends_before_the_life(void **state)
{
    (void)state;
    assert_int_equal(token_use_ms(3600000), 3590000);
    assert_int_equal(token_use_ms(2000), 1800);
}

static int setup(void **state)
{
    (void)state;
    json_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v2_answer_is_a_grant),
        cmocka_unit_test(test_v1_answer_is_a_grant),
        cmocka_unit_test(test_absent_life_counts_as_short),
        cmocka_unit_test(test_long_life_is_cut_to_a_day),
        cmocka_unit_test(test_wrong_life_is_refused),
        cmocka_unit_test(test_token_with_foreign_characters_is_refused),
        cmocka_unit_test(test_token_length_is_bounded),
        cmocka_unit_test(test_other_success_bodies_are_refused),
        cmocka_unit_test(test_final_words_need_a_person),
        cmocka_unit_test(test_other_refusals_pass),
        cmocka_unit_test(test_refusal_tells_the_number),
        cmocka_unit_test(test_renewal_comes_before_four_fifths),
        cmocka_unit_test(test_use_ends_before_the_life),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
