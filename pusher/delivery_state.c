#include "pusher/delivery_state.h"

#include <assert.h>
#include <stdlib.h>

#include "common/runtime/log.h"

enum { STORE_PAUSE_MS = 500, MS_DIGITS = 3 };

#define NEXT(state) (1U << (state))
static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [DELIVERY_QUEUED] = {"queued", NEXT(DELIVERY_INTENT) | NEXT(DELIVERY_RECORDING) | NEXT(DELIVERY_OVER)},
    [DELIVERY_INTENT] = {"intent", NEXT(DELIVERY_TURN) | NEXT(DELIVERY_PAUSED) | NEXT(DELIVERY_RECORDING) |
                                       NEXT(DELIVERY_PUBLISHING) | NEXT(DELIVERY_OVER)},
    [DELIVERY_TURN] = {"turn", NEXT(DELIVERY_CALLING) | NEXT(DELIVERY_OVER)},
    [DELIVERY_CALLING] = {"calling",
                          NEXT(DELIVERY_TURN) | NEXT(DELIVERY_PAUSED) | NEXT(DELIVERY_RECORDING) | NEXT(DELIVERY_OVER)},
    [DELIVERY_PAUSED] = {"paused", NEXT(DELIVERY_TURN) | NEXT(DELIVERY_OVER)},
    [DELIVERY_RECORDING] = {"recording", NEXT(DELIVERY_PUBLISHING) | NEXT(DELIVERY_LETTER) | NEXT(DELIVERY_OVER)},
    [DELIVERY_PUBLISHING] = {"publishing", NEXT(DELIVERY_LETTER) | NEXT(DELIVERY_CLOSING) | NEXT(DELIVERY_OVER)},
    [DELIVERY_LETTER] = {"letter", NEXT(DELIVERY_CLOSING) | NEXT(DELIVERY_OVER)},
    [DELIVERY_CLOSING] = {"closing", NEXT(DELIVERY_OVER)},
    [DELIVERY_OVER] = {"over", 0},
};

void delivery_move(struct delivery *delivery, enum delivery_state state)
{
    assert((STATES[delivery->state].next & NEXT(state)) != 0);
    log_debug("delivery.state", LOG_TEXT("from", STATES[delivery->state].name), LOG_TEXT("to", STATES[state].name),
              LOG_TEXT("topic", delivery->received.message.topic),
              LOG_INTEGER("partition", delivery->received.message.partition),
              LOG_INTEGER("offset", delivery->received.message.offset));
    delivery->state = state;
}

void delivery_free(struct delivery *delivery)
{
    loop_timer_free(delivery->timer);
    if (delivery->is_executing)
        execution_done(&delivery->execution);
    received_done(&delivery->received);
    free(delivery->outcome);
    free(delivery);
}

void delivery_end(struct delivery *delivery, bool is_finished)
{
    delivery_move(delivery, DELIVERY_OVER);
    delivery->ports->on_over(delivery->ports->arg, delivery, is_finished);
    delivery_free(delivery);
}

bool delivery_is_gone(struct delivery *delivery)
{
    delivery->is_awaited = false;
    if (!delivery->is_abandoned)
        return false;
    delivery_free(delivery);
    return true;
}

struct audit_origin delivery_origin(const struct delivery *delivery)
{
    return (struct audit_origin){.topic = delivery->received.message.topic,
                                 .partition = delivery->received.message.partition,
                                 .offset = delivery->received.message.offset,
                                 .timestamp_ms = delivery->received.message.timestamp_ms,
                                 .delivery = delivery->id,
                                 .instance = delivery->ports->instance,
                                 .trace_id = delivery->received.trace_id};
}

void delivery_set_now(char out[static TIMESTAMP_TEXT_SIZE])
{
    (void)timestamp_format(clock_now(), MS_DIGITS, out);
}

void delivery_repeat_later(struct delivery *delivery, const struct error *err)
{
    log_warning("delivery.repeated", LOG_TEXT("state", STATES[delivery->state].name),
                LOG_TEXT("deal_key", delivery->received.decision.deal_key), LOG_ERROR(err));
    loop_timer_set(delivery->timer, STORE_PAUSE_MS);
}
