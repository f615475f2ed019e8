#include "common/base/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"

static const uint8_t KEY[SEAL_KEY_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t NONCE[SEAL_NONCE_SIZE] = {9, 8, 7};

static char *close_text(const char *context, const char *plain)
{
    struct error err = ERROR_INIT;
    char *sealed = NULL;

    assert_int_equal(seal_close(KEY, NONCE, context, plain, strlen(plain), &sealed, &err), 0);
    return sealed;
}

static void expect_refused(const uint8_t *key, const char *context, const char *sealed, const char *code)
{
    struct error err = ERROR_INIT;
    char *plain = NULL;
    size_t length = 0;

    assert_int_equal(seal_open(key, context, sealed, &plain, &length, &err), -1);
    assert_string_equal(err.code, code);
    assert_null(plain);
}

/* What was sealed comes out again, NUL-terminated and with its length, also when it is empty. */
static void test_opens_what_was_sealed(void **state)
{
    static const char *const plains[] = {"", "a", "0.AXEA-refresh-token_with.dots", "with \"quotes\" and \xC3\xA4"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(plains); i++) {
        struct error err = ERROR_INIT;
        char *sealed = close_text("credentials/a", plains[i]);
        char *plain = NULL;
        size_t length = 99;

        assert_int_equal(seal_open(KEY, "credentials/a", sealed, &plain, &length, &err), 0);
        assert_string_equal(plain, plains[i]);
        assert_int_equal(length, strlen(plains[i]));
        free(plain);
        free(sealed);
    }
}

/* AES-256-GCM as others do it: case 13 of McGrew and Viega's test vectors, an empty text under a key of zeros. */
static void test_agrees_with_a_published_vector(void **state)
{
    static const uint8_t zero_key[SEAL_KEY_SIZE] = {0};
    static const uint8_t zero_nonce[SEAL_NONCE_SIZE] = {0};
    struct error err = ERROR_INIT;
    char *sealed = NULL;

    (void)state;
    assert_int_equal(seal_close(zero_key, zero_nonce, "", "", 0, &sealed, &err), 0);
    assert_string_equal(sealed, "AAAAAAAAAAAAAAAAUw+K+8dFNrmpY7TxxMtziw==");
    free(sealed);
}

/* Neither the secret nor the context can be read in the sealed text. */
static void test_hides_what_it_seals(void **state)
{
    char *sealed = close_text("context", "secret-secret-secret");

    (void)state;
    assert_null(strstr(sealed, "secret"));
    assert_null(strstr(sealed, "context"));
    free(sealed);
}

/* Another key opens nothing and says so. */
static void test_other_key_is_refused(void **state)
{
    uint8_t other[SEAL_KEY_SIZE];
    char *sealed = close_text("credentials/a", "secret");

    (void)state;
    for (size_t i = 0; i < SEAL_KEY_SIZE; i++) {
        memcpy(other, KEY, sizeof(other));
        other[i] ^= 0x10;
        expect_refused(other, "credentials/a", sealed, "seal.wrong_key");
    }
    free(sealed);
}

/* What was sealed for one account does not open as another's. */
static void test_other_context_is_refused(void **state)
{
    char *sealed = close_text("credentials/a", "secret");

    (void)state;
    expect_refused(KEY, "credentials/b", sealed, "seal.wrong_key");
    expect_refused(KEY, "", sealed, "seal.wrong_key");
    free(sealed);
}

/* Any change of any character is noticed. */
static void test_every_changed_character_is_noticed(void **state)
{
    char *sealed = close_text("credentials/a", "a secret of 21 bytes.");
    size_t length = strlen(sealed);

    (void)state;
    for (size_t i = 0; i < length; i++) {
        struct error err = ERROR_INIT;
        char kept = sealed[i];
        char *plain = NULL;
        size_t count = 0;

        sealed[i] = kept == 'A' ? 'B' : 'A';
        assert_int_equal(seal_open(KEY, "credentials/a", sealed, &plain, &count, &err), -1);
        sealed[i] = kept;
    }
    free(sealed);
}

/* What is no sealed text at all is told apart from a wrong key. */
static void test_malformed_texts_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "x",
        "====",
        "AAAA",
        "AAAA AAAA",
        "not base64 at all!",
        "AAAAAAAAAAAAAAAAUw+K+8dFNrmpY7Txxzg6iw=",
        "AAAAAAAAAAAAAAAAUw+K+8dFNrmpY7Txxzg6==",
        "AAAAAAAAAAAAAAAAUw+K+8dF=rmpY7Txxzg6iw==",
        "AAAAAAAAAAAAAAAAUw-K_8dFNrmpY7Txxzg6iw==",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        expect_refused(KEY, "", texts[i], "seal.malformed");
}

/* More than the limit is not sealed. */
static void test_too_much_is_refused(void **state)
{
    struct error err = ERROR_INIT;
    char *plain = calloc(1, SEAL_PLAIN_MAX_BYTES + 1);
    char *sealed = NULL;

    (void)state;
    assert_non_null(plain);
    assert_int_equal(seal_close(KEY, NONCE, "", plain, SEAL_PLAIN_MAX_BYTES + 1, &sealed, &err), -1);
    assert_string_equal(err.code, "seal.too_large");
    free(plain);
}

/* Keys are read as hexadecimal digits of either case and as base64. */
static void test_reads_keys_in_both_forms(void **state)
{
    static const char *const texts[] = {
        "0102030405060708000000000000000000000000000000000000000000ABcdEf",
        "AQIDBAUGBwgAAAAAAAAAAAAAAAAAAAAAAAAAAACrze8=",
    };
    static const uint8_t wanted[SEAL_KEY_SIZE] = {
        1, 2, 3, 4, 5, 6, 7, 8, [29] = 0xAB, [30] = 0xCD, [31] = 0xEF,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct error err = ERROR_INIT;
        uint8_t key[SEAL_KEY_SIZE];

        assert_int_equal(seal_key_parse(texts[i], key, &err), 0);
        assert_memory_equal(key, wanted, sizeof(wanted));
    }
}

/* Everything else is no key, and the message does not repeat it. */
static void test_refuses_other_keys(void **state)
{
    static const char *const texts[] = {
        "",
        "secret",
        "010203040506070800000000000000000000000000000000000000000000000",
        "01020304050607080000000000000000000000000000000000000000000000zz",
        "AQIDBAUGBwgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
        "AQIDBAUGBwgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AQIDBAUGBwgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct error err = ERROR_INIT;
        uint8_t key[SEAL_KEY_SIZE];

        assert_int_equal(seal_key_parse(texts[i], key, &err), -1);
        assert_string_equal(err.code, "seal.bad_key");
        assert_true(texts[i][0] == '\0' || strstr(err.message, texts[i]) == NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_what_was_sealed),       cmocka_unit_test(test_agrees_with_a_published_vector),
        cmocka_unit_test(test_hides_what_it_seals),         cmocka_unit_test(test_other_key_is_refused),
        cmocka_unit_test(test_other_context_is_refused),    cmocka_unit_test(test_every_changed_character_is_noticed),
        cmocka_unit_test(test_malformed_texts_are_refused), cmocka_unit_test(test_too_much_is_refused),
        cmocka_unit_test(test_reads_keys_in_both_forms),    cmocka_unit_test(test_refuses_other_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
