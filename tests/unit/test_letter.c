#include "pusher/letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/kafka/dead_letter.h"

static struct kafka_message set_aside(struct dead_letter *room, const char *stage, const char *key, const char *text)
{
    static const char value[] = "{}";
    const struct kafka_message original = {.topic = "tandem.records",
                                           .partition = 3,
                                           .offset = 17,
                                           .key = key,
                                           .key_length = strlen(key),
                                           .value = value,
                                           .value_length = sizeof(value) - 1};
    static struct error why; /* outlives the message */
    struct kafka_message message;

    (void)error_set(&why, ERROR_POISON, "rules.unmappable", "%s", text);
    dead_letter_message(room, &original, stage, &why, 1, "2026-11-21T04:00:00Z", &message);
    message.topic = "tandem.dead-letters";
    message.partition = 0;
    message.offset = 5;
    message.timestamp_ms = 1795219200123;
    return message;
}

/* The row says who set the message aside and why, of which deal it was and where it stands. */
static void test_row_tells_who_why_and_where(void **state)
{
    struct dead_letter room;
    struct kafka_message message;

    (void)state;
    message = set_aside(&room, "mapper", "6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11", "field 'stage': unknown word");
    json_auto_t *row = letter_row(&message, "pusher-1");
    assert_string_equal(json_text_of(row, "phase"), "dead-letter");
    assert_string_equal(json_text_of(row, "topic"), "tandem.dead-letters");
    assert_int_equal(json_integer_of(row, "topic_offset", -1), 5);
    assert_string_equal(json_text_of(row, "deal_key"), "6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11");
    assert_string_equal(json_text_of(row, "reason"), "mapper");
    assert_string_equal(json_text_of(row, "error_code"), "rules.unmappable");
    assert_string_equal(json_text_of(row, "error_message"), "field 'stage': unknown word");
    assert_string_equal(json_text_of(row, "detail"),
                        "set aside by mapper: topic tandem.records, partition 3, offset 17");
    assert_string_equal(json_text_of(row, "origin_topic"), "tandem.records");
    assert_int_equal(json_integer_of(row, "origin_partition", -1), 3);
    assert_int_equal(json_integer_of(row, "origin_offset", -1), 17);
}

/* Whatever stands in key and headers, the row can be written: a text that looks like an exact number is none. */
static void test_row_of_foreign_texts_can_be_written(void **state)
{
    static const char key[] = "\xEF\xB7\x90"
                              "deal",
                      stage[] = "\xEF\xB7\x90"
                                "7";
    struct dead_letter room;
    struct kafka_message message = set_aside(&room, stage, key, "\xEF\xB7\x90, \"phase\": \"none\"");
    json_auto_t *row = letter_row(&message, "pusher-1");
    size_t length = 0;
    char *written = json_write(row, false, &length);

    (void)state;
    assert_non_null(written);
    assert_string_equal(json_text_of(row, "deal_key"), "\xEF\xBF\xBD"
                                                       "deal");
    assert_string_equal(json_text_of(row, "reason"), "\xEF\xBF\xBD"
                                                     "7");
    assert_string_equal(json_text_of(row, "error_message"), "\xEF\xBF\xBD, \"phase\": \"none\"");
    free(written);
}

/* A validation event is no failure: a row of nothing to do. */
static void test_row_of_a_validation_event_is_no_failure(void **state)
{
    static const char code[] = DEAD_LETTER_CODE_TEST;
    struct dead_letter room;
    struct kafka_message message =
        set_aside(&room, "fetch", "partner-center/6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11", "x");

    (void)state;
    for (size_t i = 0; i < message.header_count; i++)
        if (strcmp(message.headers[i].name, DEAD_LETTER_CODE) == 0)
            message.headers[i] = (struct kafka_header){DEAD_LETTER_CODE, code, sizeof(code) - 1};
    json_auto_t *row = letter_row(&message, "pusher-1");
    assert_string_equal(json_text_of(row, "phase"), "none");
    assert_string_equal(json_text_of(row, "reason"), "test_event");
    assert_string_equal(json_text_of(row, "record_id"), "6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11");
    assert_null(json_object_get(row, "error_code"));
}

/* A notification's key names the record, not a deal. */
static void test_row_of_a_notification_names_the_record(void **state)
{
    struct dead_letter room;
    const struct kafka_message message =
        set_aside(&room, "fetch", "partner-center/6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11", "not visible");

    (void)state;
    json_auto_t *row = letter_row(&message, "pusher-1");
    assert_null(json_object_get(row, "deal_key"));
    assert_string_equal(json_text_of(row, "system"), "partner-center");
    assert_string_equal(json_text_of(row, "record_id"), "6f1c9a52-0b7e-4f3e-9a34-2d1f5f0c7a11");
}

/* The same letter read again is the same row; bytes that no row can hold are left out. */
static void test_row_is_the_same_again_and_always_storable(void **state)
{
    struct dead_letter room;
    struct kafka_message message = set_aside(&room, "serve", "\xff\xfe", "bad");

    (void)state;
    kafka_message_add_header(&message, "err.unknown", "\xff");
    json_auto_t *row = letter_row(&message, "pusher-1");
    json_auto_t *again = letter_row(&message, "pusher-1");
    assert_true(json_equal(row, again));
    assert_null(json_object_get(row, "deal_key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row_tells_who_why_and_where),
        cmocka_unit_test(test_row_of_a_notification_names_the_record),
        cmocka_unit_test(test_row_of_foreign_texts_can_be_written),
        cmocka_unit_test(test_row_of_a_validation_event_is_no_failure),
        cmocka_unit_test(test_row_is_the_same_again_and_always_storable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
