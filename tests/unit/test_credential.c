#include "common/systems/credential.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/text.h"

#define TOKEN "0.AXEA-refresh-token_with.dots"

static const uint8_t KEY[SEAL_KEY_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t OTHER_KEY[SEAL_KEY_SIZE] = {8, 7, 6, 5, 4, 3, 2, 1};
static const uint8_t NONCE[SEAL_NONCE_SIZE] = {9, 8, 7};

static char *write_credential(const char *account)
{
    json_auto_t *sign_ins = json_pack("[s, s]", "0123456789abcdef", "fedcba9876543210");
    char token[] = TOKEN, writer[] = "one";
    const struct credential credential = {.refresh_token = token, .sign_ins = sign_ins, .writer = writer, .number = 7};
    size_t length = 0;
    char *value = credential_write(KEY, NONCE, account, &credential, "2026-11-21T04:00:00.000Z", &length);

    assert_non_null(value);
    assert_int_equal(length, strlen(value));
    return value;
}

static void expect_refused(const uint8_t *key, const char *account, const char *value, const char *code)
{
    struct credential credential = {0};
    struct error err = ERROR_INIT;

    assert_int_equal(credential_read(key, account, value, strlen(value), &credential, &err), -1);
    assert_int_equal(err.class, ERROR_CONFIG);
    assert_string_equal(err.code, code);
    assert_non_null(strstr(err.message, account));
    assert_null(strstr(err.message, TOKEN));
    assert_null(credential.refresh_token);
}

/* A message whose sealed part holds `payload`. */
static char *seal_text(const char *payload)
{
    struct error err = ERROR_INIT;
    char *sealed = NULL, *value;

    assert_int_equal(seal_close(KEY, NONCE, "tandem.credential.v1/a", payload, strlen(payload), &sealed, &err), 0);
    value = text_format("{\"sealed\": \"%s\"}", sealed);
    assert_non_null(value);
    free(sealed);
    return value;
}

/* What was written is read again, and the message shows account and time but not the token. */
static void test_reads_what_was_written(void **state)
{
    char *value = write_credential("partner-center");
    struct credential credential = {0};
    struct error err = ERROR_INIT;

    (void)state;
    assert_null(strstr(value, TOKEN));
    assert_non_null(strstr(value, "\"account\":\"partner-center\""));
    assert_non_null(strstr(value, "\"saved_at\":\"2026-11-21T04:00:00.000Z\""));
    assert_int_equal(credential_read(KEY, "partner-center", value, strlen(value), &credential, &err), 0);
    assert_string_equal(credential.refresh_token, TOKEN);
    assert_string_equal(credential.writer, "one");
    assert_int_equal(credential.number, 7);
    assert_int_equal(json_array_size(credential.sign_ins), 2);
    credential_done(&credential);
    free(value);
}

/* Another key, and another account's token, are told as such. */
static void test_another_key_or_account_is_told(void **state)
{
    char *value = write_credential("partner-center");

    (void)state;
    expect_refused(OTHER_KEY, "partner-center", value, "credentials.wrong_key");
    expect_refused(KEY, "dynamics-365", value, "credentials.wrong_key");
    free(value);
}

/* What is no message of ours is refused, sealed with our key or not. */
static void test_what_is_not_ours_is_refused(void **state)
{
    static const char *const values[] = {"",
                                         "[]",
                                         "{}",
                                         "{\"sealed\": 5}",
                                         "{\"sealed\": \"\"}",
                                         "{\"sealed\": \"AAAA\"}",
                                         "{\"sealed\": \"not base64\"}"};
    static const char *const payloads[] = {"",
                                           "no JSON",
                                           "[]",
                                           "{\"sign_ins\": []}",
                                           "{\"refresh_token\": \"\", \"sign_ins\": []}",
                                           "{\"refresh_token\": 5, \"sign_ins\": []}",
                                           "{\"refresh_token\": \"" TOKEN "\"}",
                                           "{\"refresh_token\": \"" TOKEN "\", \"sign_ins\": \"x\"}"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        expect_refused(KEY, "a", values[i], "credentials.malformed");
    for (size_t i = 0; i < ARRAY_LENGTH(payloads); i++) {
        char *value = seal_text(payloads[i]);
        expect_refused(KEY, "a", value, "credentials.malformed");
        free(value);
    }
}

/* A message without writer and number is one of somebody else. */
static void test_writer_and_number_may_be_missing(void **state)
{
    char *value = seal_text("{\"refresh_token\": \"" TOKEN "\", \"sign_ins\": []}");
    struct credential credential = {0};
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(credential_read(KEY, "a", value, strlen(value), &credential, &err), 0);
    assert_null(credential.writer);
    assert_int_equal(credential.number, 0);
    credential_done(&credential);
    assert_null(credential.refresh_token);
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_was_written),
        cmocka_unit_test(test_another_key_or_account_is_told),
        cmocka_unit_test(test_what_is_not_ours_is_refused),
        cmocka_unit_test(test_writer_and_number_may_be_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
