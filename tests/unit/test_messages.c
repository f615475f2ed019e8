#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"
#include "common/messages/cursor.h"
#include "common/messages/decision.h"
#include "common/messages/envelope.h"
#include "common/messages/notification.h"
#include "common/messages/outcome.h"
#include "common/messages/record.h"
#include "tests/support/allocation.h"

enum { SAMPLE_BYTES_MAX = 16384 };

union any_message {
    struct notification notification;
    struct record record;
    struct decision decision;
    struct outcome outcome;
    struct cursor cursor;
};

/* tests/cases/messages/<name>.json holds every member of its kind. */
static const struct kind {
    const char *name;
    const struct member *members;
    const size_t *count;
} kinds[] = {
    {"notification", NOTIFICATION_MEMBERS, &NOTIFICATION_MEMBER_COUNT},
    {"record", RECORD_MEMBERS, &RECORD_MEMBER_COUNT},
    {"decision", DECISION_MEMBERS, &DECISION_MEMBER_COUNT},
    {"outcome", OUTCOME_MEMBERS, &OUTCOME_MEMBER_COUNT},
    {"cursor", CURSOR_MEMBERS, &CURSOR_MEMBER_COUNT},
};

static json_t *sample_of(const struct kind *kind)
{
    char *path = text_format(TANDEM_SOURCE_DIR "/tests/cases/messages/%s.json", kind->name);
    char bytes[SAMPLE_BYTES_MAX];
    struct json_fault fault;
    json_t *json = NULL;

    assert_non_null(path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof(bytes), file);
    (void)fclose(file);
    free(path);
    assert_in_range(length, 1, sizeof(bytes) - 1);
    assert_int_equal(json_read(bytes, length, &JSON_LIMITS_OWN, &json, &fault), 0);
    return json;
}

static void assert_accepted(const struct kind *kind, const json_t *json)
{
    union any_message message;
    struct error err = ERROR_INIT;

    assert_int_equal(message_from_json(kind->members, *kind->count, json, &message, &err), 0);
    message_done(kind->members, *kind->count, &message);
}

/* Refused as malformed, with the member's name, and nothing is left in the message. */
static void assert_refused(const struct kind *kind, const json_t *json, const char *member_name)
{
    static const union any_message nothing;
    union any_message message = nothing;
    struct error err = ERROR_INIT;

    assert_int_equal(message_from_json(kind->members, *kind->count, json, &message, &err), -1);
    assert_int_equal(err.class, ERROR_POISON);
    assert_string_equal(err.code, "message.malformed");
    assert_non_null(strstr(err.message, member_name));
    assert_memory_equal(&message, &nothing, sizeof(message));
}

/* The samples are complete, and what is read from them is written again, value by value. */
static void test_every_member_survives_a_round_trip(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(kinds); k++) {
        const struct kind *kind = &kinds[k];
        json_auto_t *sample = sample_of(kind);
        union any_message message;
        struct error err = ERROR_INIT;
        struct json_fault fault;
        json_t *written = NULL;
        size_t length;

        assert_int_equal(json_object_size(sample), *kind->count);
        assert_int_equal(message_from_json(kind->members, *kind->count, sample, &message, &err), 0);
        char *bytes = message_write(kind->members, *kind->count, &message, &length);
        assert_non_null(bytes);
        assert_int_equal(json_read(bytes, length, &JSON_LIMITS_OWN, &written, &fault), 0);
        assert_true(json_same(sample, written));
        message_done(kind->members, *kind->count, &message);
        assert_int_equal(message_read(kind->members, *kind->count, bytes, length, &message, &err), 0);
        message_done(kind->members, *kind->count, &message);
        json_decref(written);
        free(bytes);
    }
}

/* Without a required member a message is refused, without any other it is read; null counts as absent. */
static void test_required_members_are_required(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(kinds); k++) {
        for (size_t i = 0; i < *kinds[k].count; i++) {
            const struct member *member = &kinds[k].members[i];
            json_auto_t *sample = sample_of(&kinds[k]);

            json_object_set_new(sample, member->name, json_null());
            if (member->is_required)
                assert_refused(&kinds[k], sample, member->name);
            else
                assert_accepted(&kinds[k], sample);
            json_object_del(sample, member->name);
            if (member->is_required)
                assert_refused(&kinds[k], sample, member->name);
            else
                assert_accepted(&kinds[k], sample);
        }
    }
}

/* Whether this JSON value is of the member's type. */
static bool fits(enum member_kind kind, const json_t *value)
{
    switch (kind) {
    case MEMBER_TEXT:
        return json_is_string(value) && !json_is_decimal(value);
    case MEMBER_INTEGER:
        return json_is_integer(value);
    case MEMBER_BOOLEAN:
        return json_is_boolean(value);
    case MEMBER_WORD:
        return false; /* no value below is a known word */
    case MEMBER_OBJECT:
        return json_is_object(value);
    case MEMBER_ARRAY:
        return json_is_array(value);
    }
    return false;
}

/* A value of another type is refused for every member of every kind; a number with a fraction is no text. */
static void test_types_are_checked(void **state)
{
    (void)state;
    static const char values[] = "[\"a word\", 7, 7.5, true, {\"a\": 1}, [1]]";
    struct json_fault fault;
    json_auto_t *list = NULL;

    assert_int_equal(json_read(values, strlen(values), &JSON_LIMITS_OWN, &list, &fault), 0);
    for (size_t k = 0; k < ARRAY_LENGTH(kinds); k++) {
        for (size_t i = 0; i < *kinds[k].count; i++) {
            const struct member *member = &kinds[k].members[i];
            json_auto_t *sample = sample_of(&kinds[k]);
            for (size_t v = 0; v < json_array_size(list); v++) {
                json_t *value = json_array_get(list, v);
                json_object_set(sample, member->name, value);
                if (fits(member->kind, value))
                    assert_accepted(&kinds[k], sample);
                else
                    assert_refused(&kinds[k], sample, member->name);
            }
        }
    }
}

/* An empty text says nothing where a text is required, and is a text where none is. */
static void test_empty_texts(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(kinds); k++) {
        for (size_t i = 0; i < *kinds[k].count; i++) {
            const struct member *member = &kinds[k].members[i];
            json_auto_t *sample = sample_of(&kinds[k]);
            if (member->kind != MEMBER_TEXT)
                continue;
            json_object_set_new(sample, member->name, json_string(""));
            if (member->is_required)
                assert_refused(&kinds[k], sample, member->name);
            else
                assert_accepted(&kinds[k], sample);
        }
    }
}

/* Every word of a table is read as its index and written as itself. */
static void test_words(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(kinds); k++) {
        for (size_t i = 0; i < *kinds[k].count; i++) {
            const struct member *member = &kinds[k].members[i];
            json_auto_t *sample = sample_of(&kinds[k]);
            for (int w = 0; member->kind == MEMBER_WORD && member->words[w] != NULL; w++) {
                union any_message message;
                struct error err = ERROR_INIT;
                json_object_set_new(sample, member->name, json_string(member->words[w]));
                assert_int_equal(message_from_json(kinds[k].members, *kinds[k].count, sample, &message, &err), 0);
                assert_int_equal(*(const int *)(const void *)((const char *)&message + member->offset), w);
                json_auto_t *written = message_to_json(kinds[k].members, *kinds[k].count, &message);
                assert_string_equal(json_text_of(written, member->name), member->words[w]);
                message_done(kinds[k].members, *kinds[k].count, &message);
            }
        }
    }
}

/* The words stand for the enumerators they are named after. */
static void test_words_match_the_enumerators(void **state)
{
    (void)state;
    static const struct {
        const struct kind *kind;
        const char *member, *word;
        int value;
    } cases[] = {
        {&kinds[0], "origin", "webhook", NOTIFICATION_WEBHOOK},
        {&kinds[0], "origin", "poll", NOTIFICATION_POLL},
        {&kinds[0], "origin", "backfill", NOTIFICATION_BACKFILL},
        {&kinds[0], "origin", "mapper", NOTIFICATION_MAPPER},
        {&kinds[1], "kind", "reading", RECORD_READING},
        {&kinds[1], "kind", "gone", RECORD_GONE},
        {&kinds[1], "kind", "handover", RECORD_HANDOVER},
        {&kinds[1], "kind", "found", RECORD_FOUND},
        {&kinds[2], "action", "none", DECISION_NONE},
        {&kinds[2], "action", "create", DECISION_CREATE},
        {&kinds[2], "action", "update", DECISION_UPDATE},
        {&kinds[3], "result", "applied", OUTCOME_APPLIED},
        {&kinds[3], "result", "conflict", OUTCOME_CONFLICT},
        {&kinds[3], "result", "refused", OUTCOME_REFUSED},
        {&kinds[3], "result", "gone", OUTCOME_GONE},
        {&kinds[3], "result", "superseded", OUTCOME_SUPERSEDED},
    };
    for (size_t c = 0; c < ARRAY_LENGTH(cases); c++) {
        for (size_t i = 0; i < *cases[c].kind->count; i++) {
            if (strcmp(cases[c].kind->members[i].name, cases[c].member) == 0)
                assert_string_equal(cases[c].kind->members[i].words[cases[c].value], cases[c].word);
        }
    }
}

/* A newer writer's members do not stop an older reader. */
static void test_unknown_members_are_ignored(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(kinds); k++) {
        json_auto_t *sample = sample_of(&kinds[k]);
        json_object_set_new(sample, "member_of_tomorrow", json_integer(1));
        assert_accepted(&kinds[k], sample);
    }
}

/* What is no JSON object, no JSON, or nothing at all is refused with the place, never with the text. */
static void test_what_is_no_message_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[]", "null", "7", "{", "{\"kind\":\"a\",\"kind\":\"b\"}", "{} {}"};
    static const struct record nothing;

    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct record record = nothing;
        struct error err = ERROR_INIT;
        assert_int_equal(record_read(texts[i], strlen(texts[i]), &record, &err), -1);
        assert_int_equal(err.class, ERROR_POISON);
        assert_string_equal(err.code, "message.malformed");
        assert_memory_equal(&record, &nothing, sizeof(record));
    }
    struct record record;
    struct error err = ERROR_INIT;
    assert_int_equal(record_read(NULL, 0, &record, &err), -1); /* a tombstone */
    assert_int_equal(err.class, ERROR_POISON);
}

/* Absent texts, objects and arrays are left out; numbers and flags are always there. */
static void test_absent_members_are_not_written(void **state)
{
    (void)state;
    char id[] = "key#1", key[] = "key", reason[] = "unchanged", time[] = "2026-01-01T00:00:00Z";
    struct decision decision = {.id = id, .number = 1, .deal_key = key, .reason = reason, .decided_at = time};
    size_t length;
    char *written = decision_write(&decision, &length);

    assert_non_null(written);
    assert_int_equal(length, strlen(written));
    assert_string_equal(written,
                        "{\"id\":\"key#1\",\"number\":1,\"deal_key\":\"key\",\"action\":\"none\","
                        "\"reason\":\"unchanged\",\"is_notable\":false,\"decided_at\":\"2026-01-01T00:00:00Z\","
                        "\"cause_partition\":0,\"cause_offset\":0}");
    free(written);
}

/* Numbers with a fraction pass through a message exactly. */
static void test_numbers_stay_exact(void **state)
{
    (void)state;
    static const char text[] = "{\"kind\":\"reading\",\"deal_key\":\"k\",\"read_at\":\"t\","
                               "\"documents\":[{\"body\":{\"value\":1234567890123456789.10}}]}";
    struct record record;
    struct error err = ERROR_INIT;
    size_t length;

    assert_int_equal(record_read(text, strlen(text), &record, &err), 0);
    char *written = record_write(&record, &length);
    assert_non_null(written);
    assert_non_null(strstr(written, "1234567890123456789.1}"));
    free(written);
    record_done(&record);
}

/* Whichever allocation fails, taking a message from JSON is transient and leaves nothing, writing gives NULL. */
static void test_every_failed_allocation_is_survived(void **state)
{
    (void)state;
    static const union any_message nothing;

    for (size_t k = 0; k < ARRAY_LENGTH(kinds); k++) {
        const struct kind *kind = &kinds[k];
        json_auto_t *sample = sample_of(kind);
        union any_message message = nothing;
        struct error err = ERROR_INIT;
        bool has_failed = true;

        for (unsigned n = 1; has_failed; n++) {
            allocation_fail_at(n);
            int result = message_from_json(kind->members, *kind->count, sample, &message, &err);
            has_failed = allocation_has_failed();
            allocation_fail_at(0);
            assert_int_equal(result, has_failed ? -1 : 0);
            if (result < 0) {
                assert_int_equal(err.class, ERROR_TRANSIENT);
                assert_memory_equal(&message, &nothing, sizeof(message));
            }
        }
        has_failed = true;
        for (unsigned n = 1; has_failed; n++) {
            allocation_fail_at(n);
            char *written = message_write(kind->members, *kind->count, &message, NULL);
            has_failed = allocation_has_failed();
            allocation_fail_at(0);
            assert_int_equal(written == NULL, has_failed);
            free(written);
        }
        message_done(kind->members, *kind->count, &message);
    }
}

static struct notification a_notification(void)
{
    static char source[] = "dynamics-365", event[] = "Update", type[] = "opportunity",
                id[] = "0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22", occurred[] = "2026-11-02T09:15:00Z",
                received[] = "2026-11-02T09:15:01Z";
    return (struct notification){.source = source,
                                 .event = event,
                                 .record_type = type,
                                 .record_id = id,
                                 .occurred_at = occurred,
                                 .received_at = received};
}

/* A notification's key is its record, whatever happened to it. */
static void test_notification_key(void **state)
{
    (void)state;
    struct notification notification = a_notification();
    char *key = notification_key(&notification);

    assert_string_equal(key, "dynamics-365/0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22");
    free(key);
}

/* The same event delivered again has the same id, whenever and however it arrived. */
static void test_notification_id_is_the_same_for_the_same_event(void **state)
{
    (void)state;
    char later[] = "2026-11-03T00:00:00Z", body[] = "{}";
    struct notification notification = a_notification();
    char first[SHA256_HEX_SIZE], again[SHA256_HEX_SIZE];

    notification_id(&notification, first);
    assert_int_equal(strlen(first), SHA256_HEX_SIZE - 1);
    notification.received_at = later;
    notification.origin = NOTIFICATION_POLL;
    notification.body = body;
    notification_id(&notification, again);
    assert_string_equal(first, again);
}

/* Any other source, event, type, record or time of change is another event; without that time it is the arrival. */
static void test_notification_id_differs_for_other_events(void **state)
{
    (void)state;
    char other[] = "other", long_event[10001];
    char first[SHA256_HEX_SIZE], second[SHA256_HEX_SIZE];

    for (int i = 0; i < 5; i++) {
        struct notification notification = a_notification();
        char **members[] = {&notification.source, &notification.event, &notification.record_type,
                            &notification.record_id, &notification.occurred_at};
        notification_id(&notification, first);
        *members[i] = other;
        notification_id(&notification, second);
        assert_string_not_equal(first, second);
    }
    struct notification notification = a_notification();
    notification.occurred_at = NULL;
    notification_id(&notification, first);
    notification.received_at = other;
    notification_id(&notification, second);
    assert_string_not_equal(first, second);

    memset(long_event, 'x', sizeof(long_event) - 1);
    long_event[sizeof(long_event) - 1] = '\0';
    notification.event = long_event;
    notification_id(&notification, first);
    notification.record_id = other;
    notification_id(&notification, second);
    assert_string_not_equal(first, second);
}

/* The parts of an id cannot be shifted against each other. */
static void test_notification_id_keeps_its_parts_apart(void **state)
{
    (void)state;
    char event_a[] = "a\nb", type_a[] = "c", event_b[] = "a", type_b[] = "b\nc";
    struct notification notification = a_notification();
    char first[SHA256_HEX_SIZE], second[SHA256_HEX_SIZE];

    notification.event = event_a;
    notification.record_type = type_a;
    notification_id(&notification, first);
    notification.event = event_b;
    notification.record_type = type_b;
    notification_id(&notification, second);
    assert_string_not_equal(first, second);
}

/* Texts of a document may be missing; its body is not copied. */
static void test_document_is_made_and_found(void **state)
{
    (void)state;
    json_auto_t *documents = json_array();
    json_t *body = json_pack("{s:i}", "a", 1);

    json_array_append_new(documents, record_document("related", "id-2", NULL, NULL, NULL, json_object()));
    json_array_append_new(documents, record_document("own", "id-1", "5", "2026-01-01T00:00:00Z", "\"e\"", body));
    json_array_append_new(documents, record_document("own", "id-3", NULL, NULL, NULL, json_object()));

    const json_t *own = record_document_of(documents, "own");
    assert_string_equal(json_text_of(own, "id"), "id-1");
    assert_string_equal(json_text_of(own, "version"), "5");
    assert_string_equal(json_text_of(own, "changed_at"), "2026-01-01T00:00:00Z");
    assert_string_equal(json_text_of(own, "etag"), "\"e\"");
    assert_ptr_equal(json_object_get(own, "body"), body);
    assert_true(json_is_null(json_object_get(record_document_of(documents, "related"), "etag")));
    assert_null(record_document_of(documents, "crm"));
    assert_null(record_document_of(NULL, "crm"));
}

static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/* A new trace is the random bytes in the form of W3C Trace Context. */
static void test_traceparent_new(void **state)
{
    (void)state;
    uint8_t random[24];
    char out[TRACEPARENT_SIZE];

    for (uint8_t i = 0; i < sizeof(random); i++)
        random[i] = (uint8_t)(0xE8 + i);
    traceparent_new(random, out);
    assert_string_equal(out, "00-e8e9eaebecedeeeff0f1f2f3f4f5f6f7-f8f9fafbfcfdfeff-01");
}

/* The next span keeps the trace. */
static void test_traceparent_continue_keeps_the_trace(void **state)
{
    (void)state;
    static const uint8_t random[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    char out[TRACEPARENT_SIZE];

    traceparent_continue(parent, random, out);
    assert_string_equal(out, "00-0af7651916cd43dd8448eb211c80319c-0102030405060708-01");
}

/* What is no parent starts a trace of its own. */
static void test_traceparent_of_a_malformed_parent(void **state)
{
    (void)state;
    static const char *const malformed[] = {
        NULL,
        "",
        "00",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331--01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-zz",
    };
    static const uint8_t random[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    for (size_t i = 0; i < ARRAY_LENGTH(malformed); i++) {
        char out[TRACEPARENT_SIZE], trace_id[33], derived[TRACEPARENT_SIZE];
        traceparent_continue(malformed[i], random, out);
        assert_string_equal(out, "00-01020304050607080102030405060708-0102030405060708-01");
        traceparent_trace_id(malformed[i], trace_id);
        assert_string_equal(trace_id, "");
        traceparent_derive(malformed[i], "seed", derived);
        traceparent_trace_id(derived, trace_id);
        assert_int_equal(strlen(trace_id), 32);
    }
}

/* A derived span is the same for the same seed, another for another, and keeps the trace. */
static void test_traceparent_derive(void **state)
{
    (void)state;
    char first[TRACEPARENT_SIZE], again[TRACEPARENT_SIZE], other[TRACEPARENT_SIZE], trace_id[33];

    traceparent_derive(parent, "deal#1", first);
    traceparent_derive(parent, "deal#1", again);
    traceparent_derive(parent, "deal#2", other);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    traceparent_trace_id(first, trace_id);
    assert_string_equal(trace_id, "0af7651916cd43dd8448eb211c80319c");
    traceparent_trace_id(other, trace_id);
    assert_string_equal(trace_id, "0af7651916cd43dd8448eb211c80319c");
}

static int set_up(void **state)
{
    (void)state;
    json_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_member_survives_a_round_trip),
        cmocka_unit_test(test_required_members_are_required),
        cmocka_unit_test(test_types_are_checked),
        cmocka_unit_test(test_empty_texts),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_words_match_the_enumerators),
        cmocka_unit_test(test_unknown_members_are_ignored),
        cmocka_unit_test(test_what_is_no_message_is_refused),
        cmocka_unit_test(test_absent_members_are_not_written),
        cmocka_unit_test(test_numbers_stay_exact),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
        cmocka_unit_test(test_notification_key),
        cmocka_unit_test(test_notification_id_is_the_same_for_the_same_event),
        cmocka_unit_test(test_notification_id_differs_for_other_events),
        cmocka_unit_test(test_notification_id_keeps_its_parts_apart),
        cmocka_unit_test(test_document_is_made_and_found),
        cmocka_unit_test(test_traceparent_new),
        cmocka_unit_test(test_traceparent_continue_keeps_the_trace),
        cmocka_unit_test(test_traceparent_of_a_malformed_parent),
        cmocka_unit_test(test_traceparent_derive),
    };
    return cmocka_run_group_tests_name("messages", tests, set_up, NULL);
}
