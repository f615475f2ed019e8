#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/error.h"
#include "common/base/text.h"

/* Setting an error tells class, code and message, and returns what the caller passes on. */
static void test_set_fills_all_fields(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    assert_int_equal(error_set(&err, ERROR_POISON, "record.malformed", "field %d of %s", 3, "deal"), -1);
    assert_int_equal(err.class, ERROR_POISON);
    assert_string_equal(err.code, "record.malformed");
    assert_string_equal(err.message, "field 3 of deal");
}

/* Each level puts its context before the message; code and class stay. */
static void test_wrap_prefixes_and_keeps_class(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_ABORT, "kafka.fenced", "producer fenced");
    assert_int_equal(error_wrap(&err, "commit"), -1);
    assert_int_equal(error_wrap(&err, "batch %d", 7), -1);
    assert_string_equal(err.message, "batch 7: commit: producer fenced");
    assert_string_equal(err.code, "kafka.fenced");
    assert_int_equal(err.class, ERROR_ABORT);
}

/* An error may be set anew from its own message. */
static void test_old_message_may_be_an_argument(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_TRANSIENT, "a", "inner");
    error_set(&err, ERROR_FATAL, err.code, "outer (%s)", err.message);
    assert_string_equal(err.message, "outer (inner)");
    error_wrap(&err, "%s", err.message);
    assert_string_equal(err.message, "outer (inner): outer (inner)");
}

/* A message that is too long is cut before a character, never inside one, wherever the cut falls. */
static void test_long_message_is_cut_at_a_character(void **state)
{
    (void)state;
    char filler[ERROR_MESSAGE_SIZE * 4 + 8];
    for (size_t lead = 0; lead < 4; lead++) {
        memset(filler, 'x', lead);
        for (size_t i = 0; i < ERROR_MESSAGE_SIZE; i++)
            memcpy(filler + lead + i * 4, "\xF0\x9F\x98\x80", 4);
        filler[lead + (ERROR_MESSAGE_SIZE - 1) * 4] = '\0';
        struct error err = ERROR_INIT;
        error_set(&err, ERROR_FATAL, "x", "%s", filler);
        size_t length = strlen(err.message);
        assert_true(utf8_is_valid(err.message, length, NULL));
        assert_true(length >= ERROR_MESSAGE_SIZE - 4 && length < ERROR_MESSAGE_SIZE);
        error_wrap(&err, "prefix");
        assert_true(utf8_is_valid(err.message, strlen(err.message), NULL));
    }
}

/* A code longer than its field is cut. */
static void test_long_code_is_cut(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_FATAL, "a.very.long.code.that.is.longer.than.the.field.for.it", "m");
    assert_int_equal(strlen(err.code), ERROR_CODE_SIZE - 1);
}

/* Callers that do not want to know may pass NULL. */
static void test_null_is_accepted(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERROR_FATAL, "x", "m"), -1);
    assert_int_equal(error_wrap(NULL, "m"), -1);
    assert_int_equal(error_no_memory(NULL), -1);
    error_clear(NULL);
}

/* Running out of memory is worth another try. */
static void test_no_memory_is_transient_and_clear_forgets(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    error_no_memory(&err);
    assert_int_equal(err.class, ERROR_TRANSIENT);
    assert_string_equal(err.code, "out_of_memory");
    error_clear(&err);
    assert_int_equal(err.class, ERROR_NONE);
    assert_string_equal(err.message, "");
}

/* Every class has a name, and so has a number that is none. */
static void test_classes_have_names(void **state)
{
    (void)state;
    assert_string_equal(error_class_name(ERROR_NONE), "none");
    assert_string_equal(error_class_name(ERROR_TRANSIENT), "transient");
    assert_string_equal(error_class_name(ERROR_POISON), "poison");
    assert_string_equal(error_class_name(ERROR_ABORT), "abort");
    assert_string_equal(error_class_name(ERROR_FATAL), "fatal");
    assert_string_equal(error_class_name(ERROR_CONFIG), "config");
    assert_string_equal(error_class_name((enum error_class)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_all_fields),
        cmocka_unit_test(test_wrap_prefixes_and_keeps_class),
        cmocka_unit_test(test_old_message_may_be_an_argument),
        cmocka_unit_test(test_long_message_is_cut_at_a_character),
        cmocka_unit_test(test_long_code_is_cut),
        cmocka_unit_test(test_null_is_accepted),
        cmocka_unit_test(test_no_memory_is_transient_and_clear_forgets),
        cmocka_unit_test(test_classes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
