#include "pusher/delivery_calls.h"

#include "common/base/retry.h"
#include "common/runtime/loop.h"
#include "pusher/delivery_report.h"
#include "pusher/delivery_state.h"

static bool may_send(void *arg)
{
    const struct delivery *delivery = arg;

    return !delivery->is_abandoned && delivery->ports->owns(delivery->ports->arg, delivery->received.message.topic,
                                                            delivery->received.message.partition);
}

void delivery_calls_enter(struct delivery *delivery)
{
    if (delivery->is_draining) {
        delivery_end(delivery, false);
        return;
    }
    delivery_move(delivery, DELIVERY_TURN);
    target_enter(delivery->target, &delivery->turn);
}

static void finish_calls(struct delivery *delivery)
{
    if (delivery->execution.result != OUTCOME_SUPERSEDED)
        lane_note_executed(&delivery->item, delivery->received.decision.number);
    delivery_report_begin(delivery);
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

void delivery_calls_go_on(struct delivery *delivery, enum execute_next next)
{
    lanes_park(delivery->ports->lanes, &delivery->item, next == EXECUTE_PAUSE || next == EXECUTE_PAUSE_TARGET);
    if (next == EXECUTE_FINISHED) {
        finish_calls(delivery);
    } else if (next == EXECUTE_PAUSE && !delivery->is_draining) {
        delivery_move(delivery, DELIVERY_PAUSED);
        loop_timer_set(delivery->timer, pause_of(delivery));
    } else {
        delivery_calls_enter(delivery);
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

    if (delivery_is_gone(delivery))
        return;
    delivery_calls_go_on(delivery, execution_take(&delivery->execution, answer, result, shows, is_certain));
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

    delivery_move(delivery, DELIVERY_CALLING);
    if (make_call(delivery, &err) == 0) {
        delivery->is_awaited = true;
        return;
    }
    (void)target_leave(delivery->target, NULL, false, delivery->received.decision.deal_key);
    delivery_calls_go_on(delivery, execution_fail(&delivery->execution, &err));
}

void delivery_calls_init(struct delivery *delivery)
{
    delivery->turn = (struct turn){.on_turn = take_turn, .arg = delivery};
}
