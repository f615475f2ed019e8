#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/attributes.h"
#include "common/base/uuid.h"

/* Only the one text form is a UUID. */
static void test_validity(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_valid;
    } cases[] = {
        {"6ba7b810-9dad-11d1-80b4-00c04fd430c8", true},
        {"6BA7B810-9DAD-11D1-80B4-00C04FD430C8", true},
        {"00000000-0000-0000-0000-000000000000", true},
        {"6ba7b810-9dad-11d1-80b4-00c04fd430c", false},
        {"6ba7b810-9dad-11d1-80b4-00c04fd430c80", false},
        {"6ba7b8109dad-11d1-80b4-00c04fd430c8-", false},
        {"6ba7b810-9dad-11d1-80b4-00c04fd430cg", false},
        {"{6ba7b810-9dad-11d1-80b4-00c04fd430}", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_int_equal(uuid_is_valid(cases[i].text, strlen(cases[i].text)), cases[i].is_valid);
    assert_false(uuid_is_valid(NULL, 36));
}

/* Version and variant are set over the random bits. */
static void test_version_4(void **state)
{
    (void)state;
    uint8_t bytes[16];
    char text[UUID_TEXT_SIZE];
    memset(bytes, 0xFF, sizeof(bytes));
    assert_string_equal(uuid_from_random(bytes, text), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    memset(bytes, 0, sizeof(bytes));
    assert_string_equal(uuid_from_random(bytes, text), "00000000-0000-4000-8000-000000000000");
}

/* The example of RFC 9562 A.4; the namespace's case does not matter. */
static void test_version_5(void **state)
{
    (void)state;
    char text[UUID_TEXT_SIZE];
    assert_string_equal(uuid_from_name("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com", 15, text),
                        "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    assert_string_equal(uuid_from_name("6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "www.example.com", 15, text),
                        "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    assert_null(uuid_from_name("nonsense", "x", 1, text));
    assert_null(uuid_from_name(NULL, "x", 1, text));
}

/* Upper-case letters become lower-case ones. */
static void test_normalise(void **state)
{
    (void)state;
    char text[UUID_TEXT_SIZE];
    assert_string_equal(uuid_normalise("6BA7b810-9DAD-11D1-80B4-00C04FD430C8", text),
                        "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
}

/* The standard's own examples (FIPS 180-2 B). */
static void test_sha256(void **state)
{
    (void)state;
    char text[SHA256_HEX_SIZE];
    assert_string_equal(sha256_hex("abc", 3, text), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(sha256_hex("", 0, text), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_validity),  cmocka_unit_test(test_version_4), cmocka_unit_test(test_version_5),
        cmocka_unit_test(test_normalise), cmocka_unit_test(test_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
