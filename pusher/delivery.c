#include "pusher/delivery.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/base/uuid.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "pusher/audit_row.h"
#include "pusher/delivery_calls.h"
#include "pusher/delivery_report.h"
#include "pusher/delivery_state.h"

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
        delivery_calls_go_on(delivery, next);
    } else if (receipt->message == NULL) {
        delivery_end(delivery, true);
    } else if (delivery_report_recall(delivery, receipt->message, &err) < 0) {
        delivery_repeat_later(delivery, &err); /* nothing is lost: it stays in the outbox */
    } else {
        lane_note_executed(&delivery->item, delivery->received.decision.number);
        delivery_report_publish(delivery);
    }
}

static void on_intent(void *arg, const struct audit_receipt *receipt, const struct error *err)
{
    struct delivery *delivery = arg;

    if (delivery_is_gone(delivery))
        return;
    if (receipt != NULL) {
        take_receipt(delivery, receipt);
    } else if (err->class != ERROR_POISON) {
        delivery_end(delivery, false); /* the program ends */
    } else {
        /* No write without a trace: what the audit cannot hold is not carried out. */
        refuse(delivery, err);
        delivery_report_begin(delivery);
    }
}

static void intend(struct delivery *delivery)
{
    const struct audit_origin origin = delivery_origin(delivery);
    struct error err = ERROR_INIT;
    json_t *row = audit_row_intent(&origin, &delivery->received.decision, delivery->started_at);

    if (audit_append(delivery->ports->audit, row, on_intent, delivery, &err) < 0)
        delivery_repeat_later(delivery, &err);
    else
        delivery->is_awaited = true;
}

/* It is carried out all the same: it says what version it expects, so nothing is overwritten unseen. */
static void look_for_gap(struct delivery *delivery)
{
    const struct decision *decision = &delivery->received.decision;
    int64_t missing = lane_note_taken(&delivery->item, decision->number);

    if (missing == 0)
        return;
    metric_add(metrics_series(delivery->ports->missing_metric, (const char *const[]){NULL}), missing);
    log_warning("push.gap", LOG_TEXT("deal_key", decision->deal_key), LOG_TEXT("decision_id", decision->id),
                LOG_INTEGER("missing", missing), LOG_TEXT("trace_id", delivery->received.trace_id));
}

static void begin_work(struct delivery *delivery)
{
    struct error err = ERROR_INIT;

    if (!delivery->received.is_redriven) /* its number is an old one */
        look_for_gap(delivery);
    delivery_set_now(delivery->started_at);
    delivery->target = delivery->ports->find_target(delivery->ports->arg, delivery->received.decision.system);
    if (delivery->received.is_redriven || lane_is_superseded(&delivery->item, delivery->received.decision.number)) {
        (void)execution_init(&delivery->execution, &delivery->received.decision, false, 0,
                             delivery->ports->unexplained_max);
        delivery->is_executing = true;
        delivery->execution.attempts = 0;
        execution_supersede(&delivery->execution, delivery->received.is_redriven);
        delivery_report_begin(delivery);
    } else if (delivery->target == NULL) {
        (void)error_set(&err, ERROR_POISON, "pusher.no_such_system", "the target system is not configured here");
        refuse(delivery, &err);
        delivery_report_begin(delivery);
    } else {
        delivery_move(delivery, DELIVERY_INTENT);
        intend(delivery);
    }
}

void delivery_begin(struct delivery *delivery)
{
    if (!delivery->received.is_readable) {
        delivery_report_begin(delivery);
    } else if (delivery->received.decision.action != DECISION_NONE) {
        begin_work(delivery);
    } else if (delivery->ports->records_none || delivery->received.decision.is_notable) {
        metric_count(delivery->ports->decisions_metric, "none", "none", NULL, NULL);
        delivery_report_begin(delivery);
    } else {
        metric_count(delivery->ports->decisions_metric, "none", "none", NULL, NULL);
        delivery_end(delivery, true);
    }
}

static void on_timer(void *arg)
{
    struct delivery *delivery = arg;

    switch (delivery->state) {
    case DELIVERY_PAUSED:
        delivery_calls_enter(delivery);
        break;
    case DELIVERY_INTENT:
        intend(delivery);
        break;
    case DELIVERY_RECORDING:
    case DELIVERY_PUBLISHING:
    case DELIVERY_LETTER:
    case DELIVERY_CLOSING:
        delivery_report_repeat(delivery);
        break;
    case DELIVERY_QUEUED:
    case DELIVERY_TURN:
    case DELIVERY_CALLING:
    case DELIVERY_OVER:
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
    case DELIVERY_QUEUED:
    case DELIVERY_INTENT:
    case DELIVERY_TURN:
    case DELIVERY_PAUSED:
        delivery_abandon(delivery);
        break;
    case DELIVERY_CALLING:
    case DELIVERY_RECORDING:
    case DELIVERY_PUBLISHING:
    case DELIVERY_LETTER:
    case DELIVERY_CLOSING:
    case DELIVERY_OVER:
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
    delivery_calls_init(delivery);
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
