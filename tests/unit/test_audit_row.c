#include "pusher/audit_row.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/text.h"

static const struct audit_origin ORIGIN = {.topic = "tandem.decisions",
                                           .partition = 3,
                                           .offset = 42,
                                           .timestamp_ms = 1795219200123,
                                           .delivery = "00000000-0000-4000-8000-000000000001",
                                           .instance = "pusher-1",
                                           .trace_id = ""};

static const char DECISION[] =
    "{\"id\":\"d#7\",\"number\":7,\"deal_key\":\"d\",\"action\":\"update\",\"purpose\":\"close\","
    "\"reason\":\"changed\","
    "\"target\":\"crm\",\"system\":\"dynamics-365\",\"record_type\":\"opportunity\",\"record_id\":\"r\","
    "\"referral_id\":\"p\",\"fields\":[{\"name\":\"deal_value\",\"old\":1.50,\"new\":2,\"from\":2}],"
    "\"causes\":[{\"notification\":\"n\",\"origin\":\"webhook\",\"event\":\"e\","
    "\"received_at\":\"2026-11-21T04:00:00Z\","
    "\"occurred_at\":\"2026-11-21T03:59:59Z\"}],\"decided_at\":\"2026-11-21T04:00:01Z\","
    "\"received_at\":\"2026-11-21T04:00:00Z\"}";

static void read_decision(struct decision *decision)
{
    struct error err = ERROR_INIT;

    assert_int_equal(decision_read(DECISION, sizeof(DECISION) - 1, decision, &err), 0);
}

/* A row names the message it is about by coordinates and time, so that a repeat meets the same row. */
static void test_audit_row_names_its_message(void **state)
{
    json_auto_t *row = audit_row_published(&ORIGIN);

    (void)state;
    assert_string_equal(json_text_of(row, "topic"), "tandem.decisions");
    assert_int_equal(json_integer_of(row, "topic_partition", -1), 3);
    assert_int_equal(json_integer_of(row, "topic_offset", -1), 42);
    assert_string_equal(json_text_of(row, "message_time"), "2026-11-21T00:00:00.123Z");
    assert_string_equal(json_text_of(row, "phase"), "published");
    assert_null(json_object_get(row, "trace_id"));
}

/* The intent says what is about to happen, with direction and the time it began at its system. */
static void test_audit_row_intent_tells_the_decision(void **state)
{
    struct decision decision;
    json_t *row;

    (void)state;
    read_decision(&decision);
    row = audit_row_intent(&ORIGIN, &decision, "2026-11-21T04:00:02Z");
    assert_string_equal(json_text_of(row, "phase"), "intent");
    assert_string_equal(json_text_of(row, "direction"), "to-crm");
    assert_string_equal(json_text_of(row, "crm_system"), "dynamics-365");
    assert_string_equal(json_text_of(row, "action"), "update");
    assert_string_equal(json_text_of(row, "decision_id"), "d#7");
    assert_string_equal(json_text_of(row, "occurred_at"), "2026-11-21T03:59:59Z");
    assert_string_equal(json_text_of(row, "started_at"), "2026-11-21T04:00:02Z");
    assert_ptr_equal(json_object_get(row, "fields"), decision.fields);
    json_decref(row);
    decision_done(&decision);
}

/* Which CRM the deal is in stands in every row that tells it, also of a write at Partner Center. */
static void test_audit_row_names_the_crm_whatever_the_target(void **state)
{
    struct decision decision;
    json_t *row;

    (void)state;
    read_decision(&decision);
    free(decision.target);
    free(decision.system);
    decision.target = text_copy("partner-center");
    decision.system = text_copy("partner-center");
    decision.crm_system = text_copy("dynamics-365");
    row = audit_row_intent(&ORIGIN, &decision, "2026-11-21T04:00:02Z");
    assert_string_equal(json_text_of(row, "crm_system"), "dynamics-365");
    assert_string_equal(json_text_of(row, "system"), "partner-center");
    json_decref(row);
    decision_done(&decision);
}

/* The outcome adds what came of it and the message to publish; what is absent has no member. */
static void test_audit_row_outcome_tells_the_result(void **state)
{
    const struct outcome outcome = {.result = OUTCOME_REFUSED,
                                    .status = 400,
                                    .error_class = (char *)(uintptr_t) "poison",
                                    .error_code = (char *)(uintptr_t) "0x80040265",
                                    .duration_ms = 12};
    struct decision decision;
    json_t *row;

    (void)state;
    read_decision(&decision);
    row = audit_row_outcome(&ORIGIN, &decision, &outcome, "{}", 3, true);
    assert_string_equal(json_text_of(row, "phase"), "outcome");
    assert_string_equal(json_text_of(row, "result"), "refused");
    assert_string_equal(json_text_of(row, "error_code"), "0x80040265");
    assert_string_equal(json_text_of(row, "outbox"), "{}");
    assert_int_equal(json_integer_of(row, "calls", -1), 3);
    assert_true(json_flag_of(row, "was_in_doubt", false));
    assert_null(json_object_get(row, "error_message"));
    assert_null(json_object_get(row, "finished_at"));
    json_decref(row);
    decision_done(&decision);
}

/* A dead letter's row has no deal, only the reason. */
static void test_audit_row_dead_letter_tells_the_reason(void **state)
{
    struct error err = ERROR_INIT;
    json_t *row;

    (void)state;
    error_set(&err, ERROR_POISON, "message.malformed", "member 'id' is missing");
    row = audit_row_dead_letter(&ORIGIN, &err);
    assert_string_equal(json_text_of(row, "phase"), "dead-letter");
    assert_string_equal(json_text_of(row, "error_class"), "poison");
    assert_string_equal(json_text_of(row, "error_code"), "message.malformed");
    assert_null(json_object_get(row, "deal_key"));
    json_decref(row);
}

/* A time that is none would be refused by the database for ever, and is found before. */
static void test_audit_row_check_refuses_what_is_no_time(void **state)
{
    struct error err = ERROR_INIT;
    struct decision decision;
    char *decided_at;

    (void)state;
    read_decision(&decision);
    assert_int_equal(audit_row_check(&decision, &err), 0);
    decided_at = decision.decided_at;
    decision.decided_at = (char *)(uintptr_t) "yesterday";
    assert_int_equal(audit_row_check(&decision, &err), -1);
    assert_int_equal(err.class, ERROR_POISON);
    decision.decided_at = decided_at;
    json_object_set_new(json_array_get(decision.causes, 0), "occurred_at", json_string("2026-02-30T00:00:00Z"));
    assert_int_equal(audit_row_check(&decision, &err), -1);
    decision_done(&decision);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_audit_row_names_its_message),
        cmocka_unit_test(test_audit_row_intent_tells_the_decision),
        cmocka_unit_test(test_audit_row_names_the_crm_whatever_the_target),
        cmocka_unit_test(test_audit_row_outcome_tells_the_result),
        cmocka_unit_test(test_audit_row_dead_letter_tells_the_reason),
        cmocka_unit_test(test_audit_row_check_refuses_what_is_no_time),
    };

    json_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
