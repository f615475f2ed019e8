#include "pusher/audit_row.h"

#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "pusher/execute.h"

enum { MS_DIGITS = 3 };

static const char *const ACTION_NAMES[] = {
    [DECISION_NONE] = "none", [DECISION_CREATE] = "create", [DECISION_UPDATE] = "update"};

static int check_time(const char *name, const char *time, struct error *err)
{
    struct timestamp parsed;

    if (time == NULL || timestamp_parse(time, false, &parsed))
        return 0;
    return error_set(err, ERROR_POISON, "message.malformed", "member '%s' is not a time", name);
}

int audit_row_check(const struct decision *decision, struct error *err)
{
    if (check_time("decided_at", decision->decided_at, err) < 0 ||
        check_time("received_at", decision->received_at, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(decision->causes); i++)
        if (check_time("occurred_at", json_text_of(json_array_get(decision->causes, i), "occurred_at"), err) < 0)
            return -1;
    return 0;
}

/* --- Members: all return false when out of memory ----------------------------------------------------------------- */

static bool set(json_t *row, const char *column, json_t *value)
{
    return json_object_set_new(row, column, value) == 0;
}

static bool set_text(json_t *row, const char *column, const char *text)
{
    return text == NULL || set(row, column, json_text_new(text, strlen(text)));
}

static bool set_integer(json_t *row, const char *column, int64_t number)
{
    return set(row, column, json_integer(number));
}

static bool set_json(json_t *row, const char *column, json_t *value)
{
    return value == NULL || json_object_set(row, column, value) == 0;
}

/* The system's events come oldest first. */
static const char *first_occurrence(const json_t *causes)
{
    for (size_t i = 0; i < json_array_size(causes); i++) {
        const char *time = json_text_of(json_array_get(causes, i), "occurred_at");
        if (time != NULL)
            return time;
    }
    return NULL;
}

static const char *direction_of(const struct decision *decision)
{
    if (decision->target == NULL)
        return NULL;
    return strcmp(decision->target, "crm") == 0 ? "to-crm" : "to-partner-center";
}

static bool set_origin(json_t *row, const struct audit_origin *origin, const char *phase)
{
    char time[TIMESTAMP_TEXT_SIZE];

    return set_text(row, "phase", phase) && set_text(row, "topic", origin->topic) &&
           set_integer(row, "topic_partition", origin->partition) && set_integer(row, "topic_offset", origin->offset) &&
           set_text(row, "message_time", timestamp_format(timestamp_from_ms(origin->timestamp_ms), MS_DIGITS, time)) &&
           set_text(row, "delivery", origin->delivery) && set_text(row, "instance", origin->instance) &&
           (origin->trace_id[0] == '\0' || set_text(row, "trace_id", origin->trace_id));
}

static bool set_decision(json_t *row, const struct decision *decision)
{
    const char *system = decision->system;
    /* Decisions of a mapper that does not tell it yet. */
    const char *crm = decision->crm_system != NULL          ? decision->crm_system
                      : text_equal(decision->target, "crm") ? system
                                                            : NULL;

    return set_text(row, "deal_key", decision->deal_key) && set_text(row, "referral_id", decision->referral_id) &&
           set_text(row, "crm_system", crm) && set_text(row, "crm_id", decision->crm_id) &&
           set_text(row, "decision_id", decision->id) && set_integer(row, "decision_number", decision->number) &&
           set_text(row, "direction", direction_of(decision)) && set_text(row, "target", decision->target) &&
           set_text(row, "system", system) && set_text(row, "record_type", decision->record_type) &&
           set_text(row, "record_id", decision->record_id) && set_text(row, "action", ACTION_NAMES[decision->action]) &&
           set_text(row, "purpose", decision->purpose) && set_text(row, "reason", decision->reason) &&
           set_text(row, "detail", decision->detail) && set_json(row, "fields", decision->fields) &&
           set_json(row, "conflicts", decision->conflicts) && set_json(row, "near_misses", decision->near_misses) &&
           set_json(row, "causes", decision->causes) && set_text(row, "rules_version", decision->rules_version) &&
           set_text(row, "received_at", decision->received_at) &&
           set_text(row, "occurred_at", first_occurrence(decision->causes)) &&
           set_text(row, "decided_at", decision->decided_at);
}

static bool set_outcome(json_t *row, const struct outcome *outcome)
{
    return set_text(row, "result", execute_result_name(outcome->result)) &&
           set_text(row, "record_id", outcome->record_id) && set_integer(row, "status", outcome->status) &&
           set(row, "is_certain", json_boolean(outcome->is_certain)) &&
           set_text(row, "error_class", outcome->error_class) && set_text(row, "error_code", outcome->error_code) &&
           set_text(row, "error_message", outcome->error_message) && set_text(row, "started_at", outcome->started_at) &&
           set_text(row, "finished_at", outcome->finished_at) && set_integer(row, "duration_ms", outcome->duration_ms);
}

static json_t *row_or_nothing(json_t *row, bool is_complete)
{
    if (is_complete)
        return row;
    json_decref(row);
    return NULL;
}

json_t *audit_row_intent(const struct audit_origin *origin, const struct decision *decision, const char *started_at)
{
    json_t *row = json_object();

    return row_or_nothing(row, set_origin(row, origin, "intent") && set_decision(row, decision) &&
                                   set_text(row, "started_at", started_at));
}

json_t *audit_row_outcome(const struct audit_origin *origin, const struct decision *decision,
                          const struct outcome *outcome, const char *message, int64_t calls, bool was_in_doubt)
{
    json_t *row = json_object();

    return row_or_nothing(row, set_origin(row, origin, "outcome") && set_decision(row, decision) &&
                                   set_outcome(row, outcome) && set_integer(row, "calls", calls) &&
                                   set(row, "was_in_doubt", json_boolean(was_in_doubt)) &&
                                   set_text(row, "outbox", message));
}

json_t *audit_row_none(const struct audit_origin *origin, const struct decision *decision)
{
    json_t *row = json_object();

    return row_or_nothing(row, set_origin(row, origin, "none") && set_decision(row, decision));
}

json_t *audit_row_dead_letter(const struct audit_origin *origin, const struct error *err)
{
    json_t *row = json_object();

    return row_or_nothing(
        row, set_origin(row, origin, "dead-letter") && set_text(row, "error_class", error_class_name(err->class)) &&
                 set_text(row, "error_code", err->code) && set_text(row, "error_message", err->message));
}

json_t *audit_row_published(const struct audit_origin *origin)
{
    json_t *row = json_object();

    return row_or_nothing(row, set_origin(row, origin, "published"));
}
