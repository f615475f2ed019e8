#include "pusher/delivery.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/kafka/dead_letter.h"
#include "common/kafka/enveloped.h"
#include "common/messages/outcome.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "pusher/audit_row.h"
#include "pusher/execute.h"
#include "pusher/received.h"

enum { STORE_PAUSE_MS = 500, MS_DIGITS = 3 };

#define STAGE  "pusher"
#define SOURCE "/tandem/pusher"

enum delivery_state { QUEUED, INTENT, TURN, CALLING, PAUSED, RECORDING, PUBLISHING, LETTER, CLOSING, OVER };

#define NEXT(state) (1U << (state))
static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [QUEUED] = {"queued", NEXT(INTENT) | NEXT(RECORDING) | NEXT(OVER)},
    [INTENT] = {"intent", NEXT(TURN) | NEXT(PAUSED) | NEXT(RECORDING) | NEXT(PUBLISHING) | NEXT(OVER)},
    [TURN] = {"turn", NEXT(CALLING) | NEXT(OVER)},
    [CALLING] = {"calling", NEXT(TURN) | NEXT(PAUSED) | NEXT(RECORDING) | NEXT(OVER)},
    [PAUSED] = {"paused", NEXT(TURN) | NEXT(OVER)},
    [RECORDING] = {"recording", NEXT(PUBLISHING) | NEXT(LETTER) | NEXT(OVER)},
    [PUBLISHING] = {"publishing", NEXT(LETTER) | NEXT(CLOSING) | NEXT(OVER)},
    [LETTER] = {"letter", NEXT(CLOSING) | NEXT(OVER)},
    [CLOSING] = {"closing", NEXT(OVER)},
    [OVER] = {"over", 0},
};

struct delivery {
    const struct delivery_ports *ports;
    enum delivery_state state;
    struct delivery *previous; /* of the worker's list */
    struct delivery *next;
    struct lane_item item;
    struct turn turn;
    struct target *target;
    struct loop_timer *timer;
    struct received received;
    char id[UUID_TEXT_SIZE];
    bool is_executing; /* `execution` is initialised */
    struct execution execution;
    char started_at[TIMESTAMP_TEXT_SIZE];
    char finished_at[TIMESTAMP_TEXT_SIZE];
    char *outcome; /* as it is published */
    bool is_refused;
    struct error refusal;
    unsigned attempts;
    bool is_unrecorded; /* the audit cannot hold it */
    bool is_awaited;    /* a callback of somebody else will come */
    bool is_abandoned;
    bool is_draining;
};

static void take_turn(void *arg);
static void publish(struct delivery *delivery);
static void send_letter(struct delivery *delivery);
static void close_outbox(struct delivery *delivery);
static void record(struct delivery *delivery);

static void move(struct delivery *delivery, enum delivery_state state)
{
    assert((STATES[delivery->state].next & NEXT(state)) != 0);
    log_debug("delivery.state", LOG_TEXT("from", STATES[delivery->state].name), LOG_TEXT("to", STATES[state].name),
              LOG_TEXT("topic", delivery->received.message.topic),
              LOG_INTEGER("partition", delivery->received.message.partition),
              LOG_INTEGER("offset", delivery->received.message.offset));
    delivery->state = state;
}

static void delivery_free(struct delivery *delivery)
{
    loop_timer_free(delivery->timer);
    if (delivery->is_executing)
        execution_done(&delivery->execution);
    received_done(&delivery->received);
    free(delivery->outcome);
    free(delivery);
}

static void end(struct delivery *delivery, bool is_finished)
{
    move(delivery, OVER);
    delivery->ports->on_over(delivery->ports->arg, delivery, is_finished);
    delivery_free(delivery);
}

/* A callback has come. True: the delivery was abandoned meanwhile, and is gone. */
static bool is_over(struct delivery *delivery)
{
    delivery->is_awaited = false;
    if (!delivery->is_abandoned)
        return false;
    delivery_free(delivery);
    return true;
}

static struct audit_origin origin_of(const struct delivery *delivery)
{
    return (struct audit_origin){.topic = delivery->received.message.topic,
                                 .partition = delivery->received.message.partition,
                                 .offset = delivery->received.message.offset,
                                 .timestamp_ms = delivery->received.message.timestamp_ms,
                                 .delivery = delivery->id,
                                 .instance = delivery->ports->instance,
                                 .trace_id = delivery->received.trace_id};
}

static void set_now(char out[static TIMESTAMP_TEXT_SIZE])
{
    (void)timestamp_format(clock_now(), MS_DIGITS, out);
}

/* Our own stores (topic, database, memory) refuse for the moment: the same step again, a little later. */
static void repeat_later(struct delivery *delivery, const struct error *err)
{
    log_warning("delivery.repeated", LOG_TEXT("state", STATES[delivery->state].name),
                LOG_TEXT("deal_key", delivery->received.decision.deal_key), LOG_ERROR(err));
    loop_timer_set(delivery->timer, STORE_PAUSE_MS);
}

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
        .started_at = (char *)(uintptr_t)delivery->started_at,
        .finished_at = (char *)(uintptr_t)delivery->finished_at,
    };
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

/* It ended before, but its outcome is not known to be published: as it was recorded. */
static int recall(struct delivery *delivery, const char *message, struct error *err)
{
    struct outcome outcome;

    if (outcome_read(message, strlen(message), &outcome, err) < 0)
        return -1;
    free(delivery->outcome);
    delivery->outcome = text_copy(message);
    delivery->is_refused = outcome.result == OUTCOME_REFUSED;
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

    if (is_over(delivery))
        return;
    if (receipt == NULL && err->class != ERROR_POISON) {
        end(delivery, false); /* the program ends */
        return;
    }
    if (receipt == NULL)
        delivery->is_unrecorded = true;
    if (!delivery->received.is_readable) {
        move(delivery, LETTER);
        send_letter(delivery);
    } else if (delivery->received.decision.action == DECISION_NONE) {
        end(delivery, true);
    } else if (receipt != NULL && receipt->state == AUDIT_CLOSED && receipt->message == NULL) {
        end(delivery, true); /* another worker has recorded and published it meanwhile */
    } else if (receipt != NULL && receipt->state == AUDIT_CLOSED && recall(delivery, receipt->message, &failure) < 0) {
        repeat_later(delivery, &failure);
    } else {
        count(delivery);
        move(delivery, PUBLISHING);
        publish(delivery);
    }
}

static json_t *row_of(const struct delivery *delivery)
{
    const struct audit_origin origin = origin_of(delivery);
    struct outcome outcome;

    if (!delivery->received.is_readable)
        return audit_row_dead_letter(&origin, &delivery->received.unreadable);
    if (delivery->received.decision.action == DECISION_NONE)
        return audit_row_none(&origin, &delivery->received.decision);
    outcome = outcome_of(delivery);
    return audit_row_outcome(&origin, &delivery->received.decision, &outcome, delivery->outcome,
                             delivery->execution.calls, delivery->execution.was_in_doubt);
}

/* What it came to is known; now it is to be kept. */
static void record(struct delivery *delivery)
{
    struct error err = ERROR_INIT;

    if (delivery->is_executing && delivery->outcome == NULL) {
        struct outcome outcome;
        size_t length;

        if (delivery->finished_at[0] == '\0')
            set_now(delivery->finished_at);
        delivery->attempts = delivery->execution.attempts;
        delivery->is_refused = delivery->execution.result == OUTCOME_REFUSED;
        delivery->refusal = delivery->execution.error;
        outcome = outcome_of(delivery);
        delivery->outcome = outcome_write(&outcome, &length);
        if (delivery->outcome == NULL) {
            (void)error_no_memory(&err);
            repeat_later(delivery, &err);
            return;
        }
    }
    if (audit_append(delivery->ports->audit, row_of(delivery), on_recorded, delivery, &err) < 0)
        repeat_later(delivery, &err);
    else
        delivery->is_awaited = true;
}

/* --- Publishing --------------------------------------------------------------------------------------------------- */

static void on_published(void *arg, const struct error *err)
{
    struct delivery *delivery = arg;

    if (is_over(delivery))
        return;
    if (err != NULL) {
        repeat_later(delivery, err);
        return;
    }
    if (delivery->is_refused) {
        move(delivery, LETTER);
        send_letter(delivery);
        return;
    }
    move(delivery, CLOSING);
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
        repeat_later(delivery, &err);
}

static void on_letter_sent(void *arg, const struct error *err)
{
    struct delivery *delivery = arg;

    if (is_over(delivery))
        return;
    if (err != NULL) {
        repeat_later(delivery, err);
        return;
    }
    if (!delivery->received.is_readable) {
        end(delivery, true);
        return;
    }
    move(delivery, CLOSING);
    close_outbox(delivery);
}

static void send_letter(struct delivery *delivery)
{
    const struct error *reason = delivery->received.is_readable ? &delivery->refusal : &delivery->received.unreadable;
    struct dead_letter letter;
    struct kafka_message message;
    struct error err = ERROR_INIT;
    char now[TIMESTAMP_TEXT_SIZE];

    set_now(now);
    dead_letter_message(&letter, &delivery->received.message, STAGE, reason, delivery->attempts, now, &message);
    message.topic = delivery->ports->dead_letters_topic;
    if (producer_send(delivery->ports->producer, &message, on_letter_sent, delivery, &err) < 0) {
        repeat_later(delivery, &err);
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

    if (is_over(delivery))
        return;
    /* A row that cannot be stored has nothing in the outbox either. */
    end(delivery, receipt != NULL || err->class == ERROR_POISON);
}

static void close_outbox(struct delivery *delivery)
{
    const struct audit_origin origin = origin_of(delivery);
    struct error err = ERROR_INIT;

    if (delivery->is_unrecorded)
        end(delivery, true);
    else if (audit_append(delivery->ports->audit, audit_row_published(&origin), on_closed, delivery, &err) < 0)
        repeat_later(delivery, &err);
    else
        delivery->is_awaited = true;
}

/* --- Calls -------------------------------------------------------------------------------------------------------- */

static bool may_send(void *arg)
{
    const struct delivery *delivery = arg;

    return !delivery->is_abandoned && delivery->ports->owns(delivery->ports->arg, delivery->received.message.topic,
                                                            delivery->received.message.partition);
}

static void enter(struct delivery *delivery)
{
    if (delivery->is_draining) {
        end(delivery, false);
        return;
    }
    move(delivery, TURN);
    target_enter(delivery->target, &delivery->turn);
}

static void finish_calls(struct delivery *delivery)
{
    if (delivery->execution.result != OUTCOME_SUPERSEDED)
        lane_note_executed(&delivery->item, delivery->received.decision.number);
    move(delivery, RECORDING);
    record(delivery);
}

/* Settling is no courtesy to the target: no setting of pauses cuts it short. */
static int64_t pause_of(const struct delivery *delivery)
{
    const struct execution *execution = &delivery->execution;
    const struct retry_state state = {.attempts = execution->failures};
    const int64_t now_ms = clock_monotonic_ms();
    const int64_t pause_ms =
        retry_decide(&delivery->ports->pauses, &state, now_ms, execution->retry_after_ms, random_u32()).at_ms - now_ms;

    return pause_ms > execution->settling_left_ms ? pause_ms : execution->settling_left_ms;
}

static void go_on(struct delivery *delivery, enum execute_next next)
{
    lanes_park(delivery->ports->lanes, &delivery->item, next == EXECUTE_PAUSE || next == EXECUTE_PAUSE_TARGET);
    if (next == EXECUTE_FINISHED) {
        finish_calls(delivery);
    } else if (next == EXECUTE_PAUSE && !delivery->is_draining) {
        move(delivery, PAUSED);
        loop_timer_set(delivery->timer, pause_of(delivery));
    } else {
        enter(delivery);
    }
}

static void on_answer(void *arg, const struct system_answer *answer)
{
    struct delivery *delivery = arg;
    const struct system *system = target_system(delivery->target);
    bool is_certain = false;
    bool shows = answer->documents != NULL &&
                 system->operations->shows(system, answer->documents, &delivery->received.decision, &is_certain);
    enum system_result result = target_leave(delivery->target, answer, delivery->execution.call == EXECUTE_WRITE,
                                             delivery->received.decision.deal_key);

    if (is_over(delivery))
        return;
    go_on(delivery, execution_take(&delivery->execution, answer, result, shows, is_certain));
}

static int make_call(struct delivery *delivery, struct error *err)
{
    struct system *system = target_system(delivery->target);
    const struct decision *decision = &delivery->received.decision;
    const struct system_write write = {.decision = decision, .may_send = may_send, .may_send_arg = delivery};
    const char *record_id = delivery->execution.record_id != NULL ? delivery->execution.record_id : decision->record_id;

    switch (delivery->execution.call) {
    case EXECUTE_WRITE:
        return system->operations->write(system, &write, on_answer, delivery, err);
    case EXECUTE_READ:
        return system->operations->read(system, decision->record_type, record_id, on_answer, delivery, err);
    case EXECUTE_FIND:
        return system->operations->find(system, decision, on_answer, delivery, err);
    case EXECUTE_NOTHING:
        break;
    }
    return error_set(err, ERROR_POISON, "pusher.no_call", "nothing to call");
}

static void take_turn(void *arg)
{
    struct delivery *delivery = arg;
    struct error err = ERROR_INIT;

    move(delivery, CALLING);
    if (make_call(delivery, &err) == 0) {
        delivery->is_awaited = true;
        return;
    }
    (void)target_leave(delivery->target, NULL, false, delivery->received.decision.deal_key);
    go_on(delivery, execution_fail(&delivery->execution, &err));
}

/* --- Taking up ---------------------------------------------------------------------------------------------------- */

static void refuse(struct delivery *delivery, const struct error *err)
{
    if (!delivery->is_executing)
        (void)execution_init(&delivery->execution, &delivery->received.decision, false, 0,
                             delivery->ports->unexplained_max);
    delivery->is_executing = true;
    delivery->execution.attempts = 0;
    (void)execution_fail(&delivery->execution, err);
}

static int64_t settling_of(const struct delivery *delivery)
{
    const struct system *system = target_system(delivery->target);

    return system->operations->settling_ms == NULL
               ? 0
               : system->operations->settling_ms(system, &delivery->received.decision);
}

static void take_receipt(struct delivery *delivery, const struct audit_receipt *receipt)
{
    struct error err = ERROR_INIT;

    if (receipt->state != AUDIT_CLOSED) {
        const enum execute_next next =
            execution_init(&delivery->execution, &delivery->received.decision, receipt->state == AUDIT_OPEN,
                           settling_of(delivery), delivery->ports->unexplained_max);
        delivery->is_executing = true;
        if (receipt->state == AUDIT_OPEN)
            log_info("push.taken_over", LOG_TEXT("deal_key", delivery->received.decision.deal_key),
                     LOG_TEXT("decision_id", delivery->received.decision.id), LOG_INTEGER("attempt", receipt->attempt),
                     LOG_INTEGER("settling_ms", delivery->execution.settling_left_ms));
        go_on(delivery, next);
    } else if (receipt->message == NULL) {
        end(delivery, true);
    } else if (recall(delivery, receipt->message, &err) < 0) {
        repeat_later(delivery, &err); /* nothing is lost: it stays in the outbox */
    } else {
        lane_note_executed(&delivery->item, delivery->received.decision.number);
        move(delivery, PUBLISHING);
        publish(delivery);
    }
}

static void on_intent(void *arg, const struct audit_receipt *receipt, const struct error *err)
{
    struct delivery *delivery = arg;

    if (is_over(delivery))
        return;
    if (receipt != NULL) {
        take_receipt(delivery, receipt);
    } else if (err->class != ERROR_POISON) {
        end(delivery, false); /* the program ends */
    } else {
        /* No write without a trace: what the audit cannot hold is not carried out. */
        refuse(delivery, err);
        move(delivery, RECORDING);
        record(delivery);
    }
}

static void intend(struct delivery *delivery)
{
    const struct audit_origin origin = origin_of(delivery);
    struct error err = ERROR_INIT;
    json_t *row = audit_row_intent(&origin, &delivery->received.decision, delivery->started_at);

    if (audit_append(delivery->ports->audit, row, on_intent, delivery, &err) < 0)
        repeat_later(delivery, &err);
    else
        delivery->is_awaited = true;
}

static void begin_work(struct delivery *delivery)
{
    struct error err = ERROR_INIT;

    set_now(delivery->started_at);
    delivery->target = delivery->ports->find_target(delivery->ports->arg, delivery->received.decision.system);
    if (lane_is_superseded(&delivery->item, delivery->received.decision.number)) {
        (void)execution_init(&delivery->execution, &delivery->received.decision, false, 0,
                             delivery->ports->unexplained_max);
        delivery->is_executing = true;
        delivery->execution.attempts = 0;
        execution_supersede(&delivery->execution);
        move(delivery, RECORDING);
        record(delivery);
    } else if (delivery->target == NULL) {
        (void)error_set(&err, ERROR_POISON, "pusher.no_such_system", "the target system is not configured here");
        refuse(delivery, &err);
        move(delivery, RECORDING);
        record(delivery);
    } else {
        move(delivery, INTENT);
        intend(delivery);
    }
}

void delivery_begin(struct delivery *delivery)
{
    if (!delivery->received.is_readable) {
        move(delivery, RECORDING);
        record(delivery);
    } else if (delivery->received.decision.action != DECISION_NONE) {
        begin_work(delivery);
    } else if (delivery->ports->records_none || delivery->received.decision.is_notable) {
        metric_count(delivery->ports->decisions_metric, "none", "none", NULL, NULL);
        move(delivery, RECORDING);
        record(delivery);
    } else {
        metric_count(delivery->ports->decisions_metric, "none", "none", NULL, NULL);
        end(delivery, true);
    }
}

static void on_timer(void *arg)
{
    struct delivery *delivery = arg;

    switch (delivery->state) {
    case PAUSED:
        enter(delivery);
        break;
    case INTENT:
        intend(delivery);
        break;
    case RECORDING:
        record(delivery);
        break;
    case PUBLISHING:
        publish(delivery);
        break;
    case LETTER:
        send_letter(delivery);
        break;
    case CLOSING:
        close_outbox(delivery);
        break;
    case QUEUED:
    case TURN:
    case CALLING:
    case OVER:
        break;
    }
}

/* --- Ending early ------------------------------------------------------------------------------------------------- */

void delivery_abandon(struct delivery *delivery)
{
    if (delivery->target != NULL)
        target_cancel(delivery->target, &delivery->turn);
    loop_timer_stop(delivery->timer);
    delivery->is_abandoned = true;
    delivery->ports->on_over(delivery->ports->arg, delivery, false);
    if (!delivery->is_awaited)
        delivery_free(delivery);
}

void delivery_drain(struct delivery *delivery)
{
    delivery->is_draining = true;
    switch (delivery->state) {
    case QUEUED:
    case INTENT:
    case TURN:
    case PAUSED:
        delivery_abandon(delivery);
        break;
    case CALLING:
    case RECORDING:
    case PUBLISHING:
    case LETTER:
    case CLOSING:
    case OVER:
        break;
    }
}

/* --- Making ------------------------------------------------------------------------------------------------------- */

int delivery_new(const struct delivery_ports *ports, const struct kafka_message *message,
                 struct delivery **ret_delivery, struct error *err)
{
    struct delivery *delivery = calloc(1, sizeof(*delivery));
    uint8_t random[16];

    if (delivery == NULL)
        return error_no_memory(err);
    delivery->ports = ports;
    delivery->turn = (struct turn){.on_turn = take_turn, .arg = delivery};
    delivery->timer = loop_timer_new(ports->loop, on_timer, delivery);
    if (delivery->timer == NULL) {
        delivery_free(delivery);
        return error_no_memory(err);
    }
    if (received_take(&delivery->received, message, err) < 0) {
        delivery_free(delivery);
        return -1;
    }
    random_fill(random, sizeof(random));
    (void)uuid_from_random(random, delivery->id);
    *ret_delivery = delivery;
    return 0;
}

const char *delivery_key(const struct delivery *delivery)
{
    return delivery->received.is_readable && delivery->received.decision.action != DECISION_NONE
               ? delivery->received.decision.deal_key
               : NULL;
}

struct lane_item *delivery_item(struct delivery *delivery)
{
    return &delivery->item;
}

struct delivery *delivery_of(struct lane_item *item)
{
    return (struct delivery *)(void *)((char *)item - offsetof(struct delivery, item));
}

const struct kafka_message *delivery_message(const struct delivery *delivery)
{
    return &delivery->received.message;
}

struct delivery *delivery_next(const struct delivery *delivery)
{
    return delivery->next;
}

void delivery_link(struct delivery **list, struct delivery *delivery)
{
    delivery->next = *list;
    if (*list != NULL)
        (*list)->previous = delivery;
    *list = delivery;
}

void delivery_unlink(struct delivery **list, struct delivery *delivery)
{
    if (delivery->previous != NULL)
        delivery->previous->next = delivery->next;
    else
        *list = delivery->next;
    if (delivery->next != NULL)
        delivery->next->previous = delivery->previous;
    delivery->previous = NULL;
    delivery->next = NULL;
}
