#include "ingest/secrets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* During a rotation both secrets are right, and nothing else is. */
static void test_either_secret_matches(void **state)
{
    (void)state;
    assert_true(secret_matches("first", "first", "second"));
    assert_true(secret_matches("second", "first", "second"));
    assert_false(secret_matches("third", "first", "second"));
    assert_false(secret_matches("firs", "first", "second"));
    assert_false(secret_matches("first ", "first", "second"));
    assert_false(secret_matches("FIRST", "first", "second"));
}

/* A secret that is not there matches nothing, not even nothing. */
static void test_absent_secret_matches_nothing(void **state)
{
    (void)state;
    assert_true(secret_matches("first", "first", NULL));
    assert_true(secret_matches("second", NULL, "second"));
    assert_false(secret_matches("", "first", NULL));
    assert_false(secret_matches(NULL, "first", NULL));
    assert_false(secret_matches(NULL, NULL, NULL));
    assert_false(secret_matches("", NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_either_secret_matches),
        cmocka_unit_test(test_absent_secret_matches_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
