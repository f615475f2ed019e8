#include "ingest/reading.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/kafka/enveloped.h"

#define REFERRAL "0f8fad5b-d9cb-469f-a165-70867728950e"

struct wanted {
    const char *source, *record_type, *event, *deal_key;
    int64_t offset;
};

static struct arrival *arrive(const struct wanted *wanted)
{
    char *value = text_format("{\"source\":\"%s\",\"origin\":\"webhook\",\"event\":\"%s\",\"record_type\":\"%s\","
                              "\"record_id\":\"" REFERRAL "\",\"received_at\":\"2026-11-21T04:00:00Z\"%s%s%s}",
                              wanted->source, wanted->event, wanted->record_type,
                              wanted->deal_key == NULL ? "" : ",\"deal_key\":\"",
                              wanted->deal_key == NULL ? "" : wanted->deal_key, wanted->deal_key == NULL ? "" : "\"");
    char *id = text_format("id-%lld", (long long)wanted->offset);
    struct envelope envelope = {.type = MESSAGE_NOTIFICATION};
    struct kafka_message message = {.topic = "t.notifications", .partition = 3, .offset = wanted->offset};
    struct arrival *arrival;

    assert_non_null(value);
    assert_non_null(id);
    memcpy(envelope.id, id, strlen(id) + 1);
    message.value = value;
    message.value_length = strlen(value);
    kafka_message_set_envelope(&message, &envelope);
    arrival = arrival_new(&message);
    assert_non_null(arrival);
    free(value);
    free(id);
    return arrival;
}

static const struct system_answer NOT_FOUND = {
    .result = SYSTEM_GONE, .status = 404, .error = {.class = ERROR_POISON, .code = "partner_center.not_found"}};

static void expect_gone_key(const char *source, const char *type, const char *deal_key,
                            const struct system_answer *answer, const char *expected)
{
    struct arrival *arrival = arrive(&(struct wanted){source, type, "updated", deal_key, 1});
    char *key = NULL;

    assert_int_equal(reading_gone_key(arrival, answer, &key), 0);
    if (expected == NULL)
        assert_null(key);
    else
        assert_string_equal(key, expected);
    free(key);
    arrival_free(arrival);
}

/* Who is told that a record is gone: the asker, the referral's own key, or the CRM record's; else nobody can be told. */
static void test_gone_key_follows_the_asker_then_the_record(void **state)
{
    static const struct system_answer foreign = {
        .result = SYSTEM_GONE, .error = {.class = ERROR_POISON, .code = "partner_center.no_own_referral"}};

    (void)state;
    expect_gone_key("partner-center", "referral", NULL, &NOT_FOUND, REFERRAL);
    expect_gone_key("partner-center", "referral", "crm:7", &NOT_FOUND, "crm:7");
    expect_gone_key("partner-center", "referral", NULL, &foreign, NULL);
    expect_gone_key("partner-center", "related-referral", NULL, &NOT_FOUND, NULL);
    expect_gone_key("partner-center", "related-referral", "crm:7", &NOT_FOUND, "crm:7");
    expect_gone_key("dynamics-365", "opportunity", NULL, &NOT_FOUND, "crm:" REFERRAL);
}

/* What is asked for is a related referral only when nobody knows better. */
static void test_record_type_is_the_more_certain_one(void **state)
{
    struct arrival *related = arrive(&(struct wanted){"partner-center", "related-referral", "updated", NULL, 1});
    struct arrival *own = arrive(&(struct wanted){"partner-center", "referral", "updated", NULL, 2});

    (void)state;
    assert_string_equal(reading_record_type(&related->item), "related-referral");
    related->item.next = &own->item;
    assert_string_equal(reading_record_type(&related->item), "referral");
    arrival_free(related);
    arrival_free(own);
}

static void read_versioned(const struct arrival *arrival, const char *version, struct reading *ret_reading)
{
    json_auto_t *documents =
        json_pack("[{s:s, s:s, s:s, s:{}}]", "role", "own", "id", REFERRAL, "version", version, "body");
    const struct system_answer answer = {
        .result = SYSTEM_DONE, .documents = documents, .record_id = REFERRAL, .deal_key = REFERRAL};
    const struct reading_context context = {.batch = &arrival->item, .read_at = timestamp_from_ms(1000)};
    struct error err = ERROR_INIT;

    assert_int_equal(reading_of_answer(&context, &answer, ret_reading, &err), 0);
}

/* The same version for the same reason has the same id; another version has another. */
static void test_id_depends_on_what_was_seen_and_why(void **state)
{
    struct arrival *arrival = arrive(&(struct wanted){"partner-center", "referral", "updated", NULL, 1});
    struct arrival *later = arrive(&(struct wanted){"partner-center", "referral", "updated", NULL, 2});
    struct reading first, again, newer, other;

    (void)state;
    read_versioned(arrival, "1", &first);
    read_versioned(arrival, "1", &again);
    read_versioned(arrival, "2", &newer);
    read_versioned(later, "1", &other);
    assert_string_equal(first.envelope.id, again.envelope.id);
    assert_string_not_equal(first.envelope.id, newer.envelope.id);
    assert_string_not_equal(first.envelope.id, other.envelope.id);
    assert_string_equal(first.key, REFERRAL);
    reading_done(&first);
    reading_done(&again);
    reading_done(&newer);
    reading_done(&other);
    arrival_free(arrival);
    arrival_free(later);
}

/* A record that was deleted is told as deleted, and only to those whose notifications ask for it under that key. */
static void test_absence_names_reason_and_causes_of_its_key(void **state)
{
    struct arrival *deleted = arrive(&(struct wanted){"dynamics-365", "opportunity", "Delete", NULL, 1});
    struct arrival *asked = arrive(&(struct wanted){"dynamics-365", "opportunity", "requested", "crm:7", 2});
    const struct reading_context context = {.batch = &deleted->item};
    struct reading reading;
    struct error err = ERROR_INIT;
    json_auto_t *value = NULL;
    struct json_fault fault;

    (void)state;
    deleted->item.next = &asked->item;
    assert_int_equal(reading_of_absence(&context, &NOT_FOUND, "crm:7", &reading, &err), 0);
    assert_int_equal(json_read(reading.value, reading.value_length, &JSON_LIMITS_OWN, &value, &fault), 0);
    assert_string_equal(json_text_of(value, "reason"), "deleted");
    assert_string_equal(json_text_of(value, "side"), "crm");
    assert_int_equal(json_array_size(json_object_get(value, "causes")), 1);
    assert_string_equal(json_string_value(json_at(value, "causes.0.notification", false)), "id-2");
    reading_done(&reading);
    arrival_free(deleted);
    arrival_free(asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gone_key_follows_the_asker_then_the_record),
        cmocka_unit_test(test_record_type_is_the_more_certain_one),
        cmocka_unit_test(test_id_depends_on_what_was_seen_and_why),
        cmocka_unit_test(test_absence_names_reason_and_causes_of_its_key),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
