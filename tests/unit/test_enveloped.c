#include "common/kafka/enveloped.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct envelope envelope = {
    .id = "id-1",
    .source = "/tandem/ingest",
    .type = MESSAGE_NOTIFICATION,
    .time = "2026-01-02T03:04:05.678Z",
    .subject = "4d3c",
    .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
};

/* What was put on a message is read from it again. */
static void test_envelope_survives_the_headers(void **state)
{
    struct kafka_message message = {0};
    struct envelope read = {0};
    size_t length;

    (void)state;
    kafka_message_set_envelope(&message, &envelope);
    assert_true(kafka_message_get_envelope(&message, &read));
    assert_string_equal(read.id, envelope.id);
    assert_string_equal(read.source, envelope.source);
    assert_string_equal(read.type, envelope.type);
    assert_string_equal(read.time, envelope.time);
    assert_string_equal(read.subject, envelope.subject);
    assert_string_equal(read.traceparent, envelope.traceparent);
    assert_memory_equal(kafka_message_header(&message, "ce_specversion", &length), "1.0", 3);
    assert_memory_equal(kafka_message_header(&message, "content-type", &length), "application/json", 16);
}

/* An attribute without a value makes no header and is read as empty. */
static void test_empty_attributes_are_left_out(void **state)
{
    struct envelope without = envelope;
    struct kafka_message message = {0};
    struct envelope read;
    size_t length;

    (void)state;
    without.traceparent[0] = '\0';
    kafka_message_set_envelope(&message, &without);
    assert_null(kafka_message_header(&message, "traceparent", &length));
    assert_true(kafka_message_get_envelope(&message, &read));
    assert_string_equal(read.traceparent, "");
}

/* A message without id or type is none of ours; the result is then not touched. */
static void test_foreign_message_has_no_envelope(void **state)
{
    char overlong[ENVELOPE_ID_SIZE];
    struct kafka_message message = {0};
    struct envelope read = envelope;

    (void)state;
    memset(overlong, 'x', sizeof(overlong));
    kafka_message_add_header(&message, "ce_type", MESSAGE_RECORD);
    assert_false(kafka_message_get_envelope(&message, &read));
    message.headers[message.header_count++] = (struct kafka_header){"ce_id", overlong, sizeof(overlong)};
    assert_false(kafka_message_get_envelope(&message, &read));
    message.headers[1] = (struct kafka_header){"ce_id", "a\0b", 3};
    assert_false(kafka_message_get_envelope(&message, &read));
    assert_string_equal(read.id, envelope.id);
    message.headers[1] = (struct kafka_header){"ce_id", "ab", 2};
    assert_true(kafka_message_get_envelope(&message, &read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelope_survives_the_headers),
        cmocka_unit_test(test_empty_attributes_are_left_out),
        cmocka_unit_test(test_foreign_message_has_no_envelope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
