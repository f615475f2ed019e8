#include "common/kafka/dead_letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_header(const struct kafka_message *message, const char *name, const char *wanted)
{
    size_t length;
    const char *value = kafka_message_header(message, name, &length);
    assert_non_null(value);
    assert_int_equal(length, strlen(wanted));
    assert_memory_equal(value, wanted, length);
}

static const struct error reason = {.class = ERROR_POISON, .code = "schema", .message = "no EventName"};

/* Key, value and headers stay as they were, and the reason and where it came from stand beside them. */
static void test_original_is_kept_with_reason_and_coordinates(void **state)
{
    struct kafka_message original = {.topic = "tandem.records",
                                     .partition = 3,
                                     .offset = 5000000000,
                                     .key = "k",
                                     .key_length = 1,
                                     .value = "a\0b",
                                     .value_length = 3};
    struct dead_letter room;
    struct kafka_message message;

    (void)state;
    kafka_message_add_header(&original, "ce_id", "7");
    dead_letter_message(&room, &original, "mapper", &reason, 4, "2026-01-02T03:04:05Z", &message);
    assert_null(message.topic);
    assert_int_equal(message.key_length, 1);
    assert_int_equal(message.value_length, 3);
    assert_memory_equal(message.value, "a\0b", 3);
    assert_header(&message, "ce_id", "7");
    assert_header(&message, DEAD_LETTER_TOPIC, "tandem.records");
    assert_header(&message, DEAD_LETTER_PARTITION, "3");
    assert_header(&message, DEAD_LETTER_OFFSET, "5000000000");
    assert_header(&message, DEAD_LETTER_STAGE, "mapper");
    assert_header(&message, DEAD_LETTER_CLASS, error_class_name(ERROR_POISON));
    assert_header(&message, DEAD_LETTER_CODE, "schema");
    assert_header(&message, DEAD_LETTER_MESSAGE, "no EventName");
    assert_header(&message, DEAD_LETTER_ATTEMPTS, "4");
    assert_header(&message, DEAD_LETTER_TIME, "2026-01-02T03:04:05Z");
    assert_int_equal(message.header_count, 1 + DEAD_LETTER_HEADERS);
}

/* What never was in a topic has no coordinates. */
static void test_request_has_no_coordinates(void **state)
{
    struct kafka_message original = {.value = "x", .value_length = 1};
    struct dead_letter room;
    struct kafka_message message;
    size_t length;

    (void)state;
    dead_letter_message(&room, &original, "serve", &reason, 1, "2026-01-02T03:04:05Z", &message);
    assert_null(kafka_message_header(&message, DEAD_LETTER_TOPIC, &length));
    assert_null(kafka_message_header(&message, DEAD_LETTER_OFFSET, &length));
    assert_header(&message, DEAD_LETTER_STAGE, "serve");
}

/* The reason of an earlier failure is replaced, and always has room. */
static void test_earlier_reason_gives_way(void **state)
{
    struct kafka_message original = {.topic = "tandem.records", .value = "x", .value_length = 1};
    struct dead_letter room;
    struct kafka_message message;

    (void)state;
    kafka_message_add_header(&original, DEAD_LETTER_CODE, "older");
    while (original.header_count < KAFKA_HEADERS_MAX)
        kafka_message_add_header(&original, "x", "y");
    dead_letter_message(&room, &original, "pusher", &reason, 1, "2026-01-02T03:04:05Z", &message);
    assert_header(&message, DEAD_LETTER_CODE, "schema");
    assert_header(&message, "x", "y");
    assert_int_equal(message.header_count, KAFKA_HEADERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_original_is_kept_with_reason_and_coordinates),
        cmocka_unit_test(test_request_has_no_coordinates),
        cmocka_unit_test(test_earlier_reason_gives_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
