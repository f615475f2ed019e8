#include "pusher/received.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/attributes.h"
#include "common/base/json.h"

#define HEAD \
    "{\"id\":\"d#1\",\"number\":1,\"deal_key\":\"d\",\"reason\":\"changed\",\"decided_at\":\"2026-11-21T04:00:00Z\","
#define WORK \
    "\"target\":\"crm\",\"system\":\"dynamics-365\",\"record_type\":\"opportunity\",\"write\":{\"name\":\"x\"},"

static const struct {
    const char *value;
    const char *code; /* NULL: readable */
} CASES[] = {
    {HEAD "\"action\":\"none\"}", NULL},
    {HEAD WORK "\"action\":\"update\",\"record_id\":\"r\"}", NULL},
    {HEAD WORK "\"action\":\"create\",\"create_key\":{\"k\":\"v\"}}", NULL},
    {HEAD WORK "\"action\":\"update\"}", "message.malformed"},
    {HEAD WORK "\"action\":\"create\"}", "message.malformed"},
    {HEAD WORK "\"action\":\"create\",\"create_key\":{\"k\":\"v\",\"l\":\"w\"}}", "message.malformed"},
    {HEAD "\"action\":\"update\",\"record_id\":\"r\"}", "message.malformed"},
    {HEAD "\"action\":\"delete\"}", "message.malformed"},
    {HEAD "\"action\":\"none\",\"received_at\":\"soon\"}", "message.malformed"},
    {"[]", "message.malformed"},
    {"", "message.malformed"},
};

static struct kafka_message message_of(const char *key, const char *value)
{
    return (struct kafka_message){.topic = "tandem.decisions",
                                  .partition = 3,
                                  .offset = 42,
                                  .key = key,
                                  .key_length = key == NULL ? 0 : strlen(key),
                                  .value = value,
                                  .value_length = value == NULL ? 0 : strlen(value)};
}

static void take(struct received *received, const struct kafka_message *message)
{
    struct error err = ERROR_INIT;

    assert_int_equal(received_take(received, message, &err), 0);
}

/* What can be carried out is readable, everything else says why not. */
static void test_received_tells_what_can_be_carried_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        const struct kafka_message message = message_of("d", CASES[i].value);
        struct received received;

        take(&received, &message);
        assert_string_equal(received.unreadable.code, CASES[i].code == NULL ? "" : CASES[i].code);
        assert_int_equal(received.is_readable, CASES[i].code == NULL);
        received_done(&received);
    }
}

/* A tombstone, a missing key and another deal's key are no work of this lane. */
static void test_received_refuses_tombstones_and_foreign_keys(void **state)
{
    const struct kafka_message tombstone = message_of("d", NULL);
    const struct kafka_message foreign = message_of("e", CASES[0].value);
    const struct kafka_message keyless = message_of(NULL, CASES[0].value);
    struct received received;

    (void)state;
    take(&received, &tombstone);
    assert_string_equal(received.unreadable.code, "message.malformed");
    received_done(&received);
    take(&received, &foreign);
    assert_string_equal(received.unreadable.code, "message.foreign_key");
    received_done(&received);
    take(&received, &keyless);
    assert_string_equal(received.unreadable.code, "message.foreign_key");
    received_done(&received);
}

/* The envelope's version decides before the content; its trace is kept. */
static void test_received_keeps_the_trace_and_refuses_other_types(void **state)
{
    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    struct kafka_message message = message_of("d", CASES[0].value);
    struct received received;

    (void)state;
    kafka_message_add_header(&message, "ce_id", "1");
    kafka_message_add_header(&message, "traceparent", trace);
    kafka_message_add_header(&message, "ce_type", MESSAGE_DECISION);
    take(&received, &message);
    assert_true(received.is_readable);
    assert_string_equal(received.traceparent, trace);
    assert_string_equal(received.trace_id, "0af7651916cd43dd8448eb211c80319c");
    received_done(&received);
    message.headers[2].value = "tandem.decision.v2";
    message.headers[2].length = strlen(message.headers[2].value);
    take(&received, &message);
    assert_string_equal(received.unreadable.code, "message.other_type");
    received_done(&received);
}

/* The copy stands on its own when the original is gone. */
static void test_received_copies_the_message(void **state)
{
    char key[] = "d";
    char value[] = "not JSON";
    char header[] = "something";
    struct kafka_message message = message_of(key, value);
    struct received received;

    (void)state;
    kafka_message_add_header(&message, "name", header);
    take(&received, &message);
    memset(key, 'x', sizeof(key) - 1);
    memset(value, 'x', sizeof(value) - 1);
    memset(header, 'x', sizeof(header) - 1);
    assert_string_equal(received.message.key, "d");
    assert_string_equal(received.message.value, "not JSON");
    assert_string_equal(received.message.headers[0].value, "something");
    assert_int_equal(received.message.offset, 42);
    received_done(&received);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_received_tells_what_can_be_carried_out),
        cmocka_unit_test(test_received_refuses_tombstones_and_foreign_keys),
        cmocka_unit_test(test_received_keeps_the_trace_and_refuses_other_types),
        cmocka_unit_test(test_received_copies_the_message),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
