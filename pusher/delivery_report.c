#include "pusher/delivery_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/kafka/dead_letter.h"
#include "common/kafka/enveloped.h"
#include "common/messages/outcome.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "pusher/delivery_state.h"

#define STAGE  "pusher"
#define SOURCE "/tandem/pusher"

static void send_letter(struct delivery *delivery);
static void close_outbox(struct delivery *delivery);

/* --- The outcome -------------------------------------------------------------------------------------------------- */

/* Everything in it is borrowed: it is only to be read. */
static struct outcome outcome_of(const struct delivery *delivery)
{
    const struct execution *execution = &delivery->execution;
    bool has_error = execution->error.class != ERROR_NONE;

    return (struct outcome){
        .decision_id = delivery->received.decision.id,
        .decision_number = delivery->received.decision.number,
        .deal_key = delivery->received.decision.deal_key,
        .result = execution->result,
        .target = delivery->received.decision.target,
        .system = delivery->received.decision.system,
        .record_type = delivery->received.decision.record_type,
        .record_id = execution->record_id != NULL ? execution->record_id : delivery->received.decision.record_id,
        .is_certain = execution->is_certain,
        .is_created = execution->is_created,
        .documents = json_array_size(execution->documents) > 0 ? execution->documents : NULL,
        .attempts = execution->attempts,
        .duration_ms = execution->duration_us / 1000,
        .status = execution->status,
        .error_class = has_error ? (char *)(uintptr_t)error_class_name(execution->error.class) : NULL,
        .error_code = has_error ? (char *)(uintptr_t)execution->error.code : NULL,
        .error_message = has_error ? (char *)(uintptr_t)execution->error.message : NULL,
        .error_field = has_error && execution->field[0] != '\0' ? (char *)(uintptr_t)execution->field : NULL,
        .started_at = (char *)(uintptr_t)delivery->started_at,
        .finished_at = (char *)(uintptr_t)delivery->finished_at,
    };
}

/* What was refused, or left out of what was applied. */
static bool is_for_a_person(int result, bool has_error)
{
    return result == OUTCOME_REFUSED || (result == OUTCOME_APPLIED && has_error);
}

static void count(const struct delivery *delivery)
{
    const struct execution *execution = &delivery->execution;
    const char *result = execute_result_name(execution->result);
    const char *const by_system[] = {delivery->received.decision.system, NULL};
    struct timestamp received, finished;

    metric_count(delivery->ports->decisions_metric,
                 delivery->received.decision.action == DECISION_CREATE ? "create" : "update", result, NULL, NULL);
    log_info("push.done", LOG_TEXT("deal_key", delivery->received.decision.deal_key),
             LOG_TEXT("decision_id", delivery->received.decision.id),
             LOG_TEXT("system", delivery->received.decision.system), LOG_TEXT("result", result),
             LOG_BOOLEAN("certain", execution->is_certain), LOG_BOOLEAN("was_in_doubt", execution->was_in_doubt),
             LOG_INTEGER("attempts", execution->attempts), LOG_INTEGER("status", execution->status),
             LOG_INTEGER("took_ms", execution->duration_us / 1000), LOG_TEXT("trace_id", delivery->received.trace_id),
             LOG_TEXT("error_code", execution->error.code));
    if (execution->result != OUTCOME_APPLIED)
        return;
    metric_observe_us(metrics_series(delivery->ports->write_metric, by_system), execution->duration_us);
    if (delivery->received.decision.received_at != NULL &&
        timestamp_parse(delivery->received.decision.received_at, false, &received) &&
        timestamp_parse(delivery->finished_at, false, &finished))
        metric_observe_ms(metrics_series(delivery->ports->whole_metric, by_system),
                          timestamp_to_ms(finished) - timestamp_to_ms(received));
}

int delivery_report_recall(struct delivery *delivery, const char *message, struct error *err)
{
    struct outcome outcome;

    if (outcome_read(message, strlen(message), &outcome, err) < 0)
        return -1;
    free(delivery->outcome);
    delivery->outcome = text_copy(message);
    delivery->is_refused = is_for_a_person(outcome.result, outcome.error_code != NULL);
    delivery->attempts = (unsigned)outcome.attempts;
    (void)snprintf(delivery->finished_at, sizeof(delivery->finished_at), "%s", outcome.finished_at);
    (void)error_set(&delivery->refusal, ERROR_POISON, "", "%s",
                    outcome.error_message == NULL ? "" : outcome.error_message);
    (void)snprintf(delivery->refusal.code, sizeof(delivery->refusal.code), "%s",
                   outcome.error_code == NULL ? "" : outcome.error_code);
    outcome_done(&outcome);
    return delivery->outcome == NULL ? error_no_memory(err) : 0;
}

static void on_recorded(void *arg, const struct audit_receipt *receipt, const struct error *err)
{
    struct delivery *delivery = arg;
    struct error failure = ERROR_INIT;

    if (delivery_is_gone(delivery))
        return;
    if (receipt == NULL && err->class != ERROR_POISON) {
        delivery_end(delivery, false); /* the program ends */
        return;
    }
    if (receipt == NULL)
        delivery->is_unrecorded = true;
    if (!delivery->received.is_readable) {
        delivery_move(delivery, DELIVERY_LETTER);
        send_letter(delivery);
    } else if (delivery->received.decision.action == DECISION_NONE) {
        delivery_end(delivery, true);
    } else if (receipt != NULL && receipt->state == AUDIT_CLOSED && receipt->message == NULL) {
        delivery_end(delivery, true); /* another worker has recorded and published it meanwhile */
    } else if (receipt != NULL && receipt->state == AUDIT_CLOSED &&
               delivery_report_recall(delivery, receipt->message, &failure) < 0) {
        delivery_repeat_later(delivery, &failure);
    } else {
        count(delivery);
        delivery_report_publish(delivery);
    }
}

static json_t *row_of(const struct delivery *delivery)
{
    const struct audit_origin origin = delivery_origin(delivery);
    struct outcome outcome;

    if (!delivery->received.is_readable)
        return audit_row_dead_letter(&origin, &delivery->received.unreadable);
    if (delivery->received.decision.action == DECISION_NONE)
        return audit_row_none(&origin, &delivery->received.decision);
    outcome = outcome_of(delivery);
    return audit_row_outcome(&origin, &delivery->received.decision, &outcome, delivery->outcome,
                             delivery->execution.calls, delivery->execution.was_in_doubt);
}

static void record(struct delivery *delivery)
{
    struct error err = ERROR_INIT;

    if (delivery->is_executing && delivery->outcome == NULL) {
        struct outcome outcome;
        size_t length;

        if (delivery->finished_at[0] == '\0')
            delivery_set_now(delivery->finished_at);
        delivery->attempts = delivery->execution.attempts;
        delivery->is_refused =
            is_for_a_person(delivery->execution.result, delivery->execution.error.class != ERROR_NONE);
        delivery->refusal = delivery->execution.error;
        outcome = outcome_of(delivery);
        delivery->outcome = outcome_write(&outcome, &length);
        if (delivery->outcome == NULL) {
            (void)error_no_memory(&err);
            delivery_repeat_later(delivery, &err);
            return;
        }
    }
    if (audit_append(delivery->ports->audit, row_of(delivery), on_recorded, delivery, &err) < 0)
        delivery_repeat_later(delivery, &err);
    else
        delivery->is_awaited = true;
}

/* --- Publishing --------------------------------------------------------------------------------------------------- */

static void on_published(void *arg, const struct error *err)
{
    struct delivery *delivery = arg;

    if (delivery_is_gone(delivery))
        return;
    if (err != NULL) {
        delivery_repeat_later(delivery, err);
        return;
    }
    if (delivery->is_refused) {
        delivery_move(delivery, DELIVERY_LETTER);
        send_letter(delivery);
        return;
    }
    delivery_move(delivery, DELIVERY_CLOSING);
    close_outbox(delivery);
}

/* A record too large for a message: the mapper is told the result, and has the record read again. */
static int drop_documents(struct delivery *delivery, struct error *err)
{
    json_auto_t *outcome = NULL;
    struct json_fault fault;
    char *text = NULL;

    if (json_read(delivery->outcome, strlen(delivery->outcome), &JSON_LIMITS_OWN, &outcome, &fault) == 0 &&
        json_object_del(outcome, "documents") == 0)
        text = json_write(outcome, false, NULL);
    if (text == NULL)
        return error_wrap(err, "the outcome cannot be made smaller");
    log_warning("push.outcome_cut", LOG_TEXT("deal_key", delivery->received.decision.deal_key), LOG_ERROR(err));
    free(delivery->outcome);
    delivery->outcome = text;
    return 0;
}

/* The same for every repeat: readers recognise a re-sent outcome by it. */
static void set_outcome_id(const struct delivery *delivery, char out[static SHA256_HEX_SIZE])
{
    char *seed = text_format("%s/%d/%lld/%lld/%s", delivery->received.message.topic,
                             delivery->received.message.partition, (long long)delivery->received.message.offset,
                             (long long)delivery->received.message.timestamp_ms, delivery->received.decision.id);

    if (seed == NULL || sha256_hex(seed, strlen(seed), out) == NULL)
        memcpy(out, delivery->id, UUID_TEXT_SIZE);
    free(seed);
}

static void publish(struct delivery *delivery)
{
    struct envelope envelope = {.source = SOURCE, .type = MESSAGE_OUTCOME};
    struct kafka_message message = {.topic = delivery->ports->outcomes_topic,
                                    .key = delivery->received.decision.deal_key,
                                    .key_length = strlen(delivery->received.decision.deal_key),
                                    .value = delivery->outcome,
                                    .value_length = strlen(delivery->outcome)};
    struct error err = ERROR_INIT;
    char id[SHA256_HEX_SIZE];

    set_outcome_id(delivery, id);
    (void)snprintf(envelope.id, sizeof(envelope.id), "%s", id);
    (void)snprintf(envelope.subject, sizeof(envelope.subject), "%s", delivery->received.decision.deal_key);
    (void)snprintf(envelope.time, sizeof(envelope.time), "%s", delivery->finished_at);
    traceparent_derive(delivery->received.traceparent, id, envelope.traceparent);
    kafka_message_set_envelope(&message, &envelope);
    if (producer_send(delivery->ports->producer, &message, on_published, delivery, &err) == 0)
        delivery->is_awaited = true;
    else if (err.class == ERROR_POISON && drop_documents(delivery, &err) == 0)
        publish(delivery);
    else
        delivery_repeat_later(delivery, &err);
}

static void on_letter_sent(void *arg, const struct error *err)
{
    struct delivery *delivery = arg;

    if (delivery_is_gone(delivery))
        return;
    if (err != NULL) {
        delivery_repeat_later(delivery, err);
        return;
    }
    if (!delivery->received.is_readable) {
        delivery_end(delivery, true);
        return;
    }
    delivery_move(delivery, DELIVERY_CLOSING);
    close_outbox(delivery);
}

static void send_letter(struct delivery *delivery)
{
    const struct error *reason = delivery->received.is_readable ? &delivery->refusal : &delivery->received.unreadable;
    struct dead_letter letter;
    struct kafka_message message;
    struct error err = ERROR_INIT;
    char now[TIMESTAMP_TEXT_SIZE];

    delivery_set_now(now);
    dead_letter_message(&letter, &delivery->received.message, STAGE, reason, delivery->attempts, now, &message);
    message.topic = delivery->ports->dead_letters_topic;
    if (producer_send(delivery->ports->producer, &message, on_letter_sent, delivery, &err) < 0) {
        delivery_repeat_later(delivery, &err);
        return;
    }
    delivery->is_awaited = true;
    log_warning("push.dead_letter", LOG_TEXT("deal_key", delivery->received.decision.deal_key),
                LOG_INTEGER("partition", delivery->received.message.partition),
                LOG_INTEGER("offset", delivery->received.message.offset), LOG_ERROR(reason));
}

static void on_closed(void *arg, const struct audit_receipt *receipt, const struct error *err)
{
    struct delivery *delivery = arg;

    if (delivery_is_gone(delivery))
        return;
    /* A row that cannot be stored has nothing in the outbox either. */
    delivery_end(delivery, receipt != NULL || err->class == ERROR_POISON);
}

static void close_outbox(struct delivery *delivery)
{
    const struct audit_origin origin = delivery_origin(delivery);
    struct error err = ERROR_INIT;

    if (delivery->is_unrecorded)
        delivery_end(delivery, true);
    else if (audit_append(delivery->ports->audit, audit_row_published(&origin), on_closed, delivery, &err) < 0)
        delivery_repeat_later(delivery, &err);
    else
        delivery->is_awaited = true;
}

void delivery_report_begin(struct delivery *delivery)
{
    delivery_move(delivery, DELIVERY_RECORDING);
    record(delivery);
}

void delivery_report_publish(struct delivery *delivery)
{
    delivery_move(delivery, DELIVERY_PUBLISHING);
    publish(delivery);
}

void delivery_report_repeat(struct delivery *delivery)
{
    switch (delivery->state) {
    case DELIVERY_RECORDING:
        record(delivery);
        break;
    case DELIVERY_PUBLISHING:
        publish(delivery);
        break;
    case DELIVERY_LETTER:
        send_letter(delivery);
        break;
    case DELIVERY_CLOSING:
        close_outbox(delivery);
        break;
    case DELIVERY_QUEUED:
    case DELIVERY_INTENT:
    case DELIVERY_TURN:
    case DELIVERY_CALLING:
    case DELIVERY_PAUSED:
    case DELIVERY_OVER:
        break;
    }
}
