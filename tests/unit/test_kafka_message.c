#include "common/kafka/message.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The first header of a name is the one that counts. */
static void test_header_is_found_by_name(void **state)
{
    struct kafka_message message = {0};
    size_t length = 0;

    (void)state;
    kafka_message_add_header(&message, "ce_id", "one");
    kafka_message_add_header(&message, "ce_type", "record");
    kafka_message_add_header(&message, "ce_id", "two");
    assert_memory_equal(kafka_message_header(&message, "ce_id", &length), "one", 3);
    assert_int_equal(length, 3);
    assert_int_equal(message.header_count, 3);
}

/* An absent header leaves the length alone. */
static void test_absent_header_is_null(void **state)
{
    struct kafka_message message = {0};
    size_t length = 77;

    (void)state;
    kafka_message_add_header(&message, "ce_id", "one");
    assert_null(kafka_message_header(&message, "ce", &length));
    assert_int_equal(length, 77);
}

/* A value that is not there adds no header, so callers need not ask first. */
static void test_header_without_value_is_not_added(void **state)
{
    struct kafka_message message = {0};

    (void)state;
    kafka_message_add_header(&message, "traceparent", NULL);
    assert_int_equal(message.header_count, 0);
}

/* There is room for so many and no more. */
static void test_headers_are_bounded(void **state)
{
    struct kafka_message message = {0};
    size_t length;

    (void)state;
    for (int k = 0; k < KAFKA_HEADERS_MAX; k++)
        kafka_message_add_header(&message, "a", "1");
    kafka_message_add_header(&message, "b", "2");
    assert_int_equal(message.header_count, KAFKA_HEADERS_MAX);
    assert_null(kafka_message_header(&message, "b", &length));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_is_found_by_name),
        cmocka_unit_test(test_absent_header_is_null),
        cmocka_unit_test(test_header_without_value_is_not_added),
        cmocka_unit_test(test_headers_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
