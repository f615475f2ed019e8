/* Which versions count as told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "ingest/versions.h"

#define KEY "dynamics-365/0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22"

static void test_the_very_version_is_told_and_no_other(void **state)
{
    struct versions versions;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(versions_init(&versions, &err), 0);
    assert_false(versions_is_told(&versions, KEY, "W/\"1\""));
    versions_note(&versions, KEY, "W/\"1\"");
    assert_true(versions_is_told(&versions, KEY, "W/\"1\""));
    assert_false(versions_is_told(&versions, KEY, "W/\"2\""));
    assert_false(versions_is_told(&versions, KEY, NULL));
    assert_false(versions_is_told(&versions, "partner-center/another", "W/\"1\""));
    versions_note(&versions, KEY, "W/\"2\"");
    assert_false(versions_is_told(&versions, KEY, "W/\"1\""));
    assert_true(versions_is_told(&versions, KEY, "W/\"2\""));
    versions_done(&versions);
}

static void test_what_was_not_told_after_all_is_forgotten(void **state)
{
    struct versions versions;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(versions_init(&versions, &err), 0);
    versions_note(&versions, KEY, "W/\"1\"");
    versions_note(&versions, KEY, NULL);
    assert_false(versions_is_told(&versions, KEY, "W/\"1\""));
    versions_note(&versions, KEY, NULL); /* of a record never told */
    versions_note(&versions, KEY, "no \xff text");
    assert_false(versions_is_told(&versions, KEY, "no \xff text"));
    versions_done(&versions);
}

static void test_memory_has_an_end(void **state)
{
    struct versions versions;
    struct error err = ERROR_INIT;
    char key[32];
    (void)state;
    assert_int_equal(versions_init(&versions, &err), 0);
    for (int i = 0; i <= VERSIONS_MAX; i++) {
        (void)snprintf(key, sizeof(key), "%d", i);
        versions_note(&versions, key, "1");
        assert_true(versions_is_told(&versions, key, "1"));
        assert_true(json_object_size(versions.told) <= VERSIONS_MAX);
    }
    assert_false(versions_is_told(&versions, "0", "1"));
    versions_done(&versions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_very_version_is_told_and_no_other),
        cmocka_unit_test(test_what_was_not_told_after_all_is_forgotten),
        cmocka_unit_test(test_memory_has_an_end),
    };
    return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
