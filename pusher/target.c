#include "pusher/target.h"

#include <stdlib.h>
#include <string.h>

#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

struct target {
    struct system *system;
    struct breaker breaker;
    struct loop_timer *timer; /* until the breaker lets a call through */
    struct turn *first;
    struct turn *last;
    unsigned concurrent_max;
    unsigned under_way;
    bool is_serving;
    struct metric *state_metric;
    struct metric *calls_metric;
};

static const char *const RESULT_NAMES[] = {
    [SYSTEM_DONE] = "done",       [SYSTEM_CONFLICT] = "conflict", [SYSTEM_GONE] = "gone",
    [SYSTEM_REFUSED] = "refused", [SYSTEM_RETRY] = "retry",       [SYSTEM_UNKNOWN] = "unknown",
    [SYSTEM_BLOCKED] = "blocked",
};

static const char *name_of(const struct target *target)
{
    return target->system->operations->name;
}

/* --- Turns -------------------------------------------------------------------------------------------------------- */

/* Nobody to let through, or no room: then whoever comes, or goes, looks again. */
static void wait_for_probe(struct target *target)
{
    int64_t wait_ms = target->breaker.probe_at_ms - clock_monotonic_ms();

    if (target->breaker.state == BREAKER_OPEN && target->first != NULL && target->under_way < target->concurrent_max)
        loop_timer_set(target->timer, wait_ms > 0 ? wait_ms : 0);
}

/* A turn may end inside its own callback; the loop then goes on here instead of growing the stack. */
static void serve(struct target *target)
{
    if (target->is_serving)
        return;
    target->is_serving = true;
    while (target->first != NULL && target->under_way < target->concurrent_max &&
           breaker_admits(&target->breaker, clock_monotonic_ms())) {
        struct turn *turn = target->first;

        target->first = turn->next;
        if (target->first == NULL)
            target->last = NULL;
        turn->next = NULL;
        turn->is_waiting = false;
        target->under_way++;
        turn->on_turn(turn->arg);
    }
    target->is_serving = false;
    wait_for_probe(target);
}

static void on_timer(void *arg)
{
    serve(arg);
}

void target_enter(struct target *target, struct turn *turn)
{
    turn->next = NULL;
    turn->is_waiting = true;
    if (target->last != NULL)
        target->last->next = turn;
    else
        target->first = turn;
    target->last = turn;
    serve(target);
}

void target_cancel(struct target *target, struct turn *turn)
{
    struct turn *before = NULL;

    if (!turn->is_waiting)
        return;
    for (struct turn *each = target->first; each != turn; each = each->next)
        before = each;
    if (before != NULL)
        before->next = turn->next;
    else
        target->first = turn->next;
    if (target->last == turn)
        target->last = before;
    turn->next = NULL;
    turn->is_waiting = false;
}

/* --- Answers ------------------------------------------------------------------------------------------------------ */

static void show_state(struct target *target, enum breaker_state before)
{
    for (enum breaker_state state = BREAKER_CLOSED; state <= BREAKER_PROBING; state++)
        metric_set(metrics_series(target->state_metric,
                                  (const char *const[]){name_of(target), breaker_state_name(state), NULL}),
                   state == target->breaker.state ? 1 : 0);
    if (before == BREAKER_CLOSED && target->breaker.state != BREAKER_CLOSED)
        log_warning("target.paused", LOG_TEXT("system", name_of(target)),
                    LOG_TEXT("reason", breaker_trouble(&target->breaker)),
                    LOG_INTEGER("pause_ms", target->breaker.probe_at_ms - clock_monotonic_ms()));
    if (before != BREAKER_CLOSED && target->breaker.state == BREAKER_CLOSED)
        log_info("target.resumed", LOG_TEXT("system", name_of(target)));
}

enum system_result target_leave(struct target *target, const struct system_answer *answer, bool is_write,
                                const char *deal_key)
{
    enum breaker_state before = target->breaker.state;
    enum system_result result = SYSTEM_RETRY;

    target->under_way--;
    if (answer == NULL) {
        breaker_release(&target->breaker);
    } else {
        result = breaker_note(&target->breaker, answer, is_write, deal_key, clock_monotonic_ms(), random_u32());
        metric_count(target->calls_metric, name_of(target), is_write ? "write" : "read", RESULT_NAMES[result], NULL);
        if (result != SYSTEM_DONE)
            log_info("target.answer", LOG_TEXT("system", name_of(target)), LOG_TEXT("result", RESULT_NAMES[result]),
                     LOG_BOOLEAN("write", is_write), LOG_TEXT("deal_key", deal_key),
                     LOG_INTEGER("status", answer->status), LOG_ERROR(&answer->error));
    }
    show_state(target, before);
    /* In a turn of the loop of its own, so that the caller has taken its answer before others begin. */
    loop_timer_set(target->timer, 0);
    return result;
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

int target_new(struct loop *loop, struct system *system, const struct breaker_policy *policy, unsigned concurrent_max,
               struct target **ret_target, struct error *err)
{
    struct target *target = calloc(1, sizeof(*target));

    if (target == NULL)
        return error_no_memory(err);
    target->system = system;
    target->concurrent_max = concurrent_max;
    breaker_init(&target->breaker, policy);
    target->state_metric = metrics_declare(METRIC_GAUGE, "tandem_pusher_breaker", "system,state",
                                           "State of the circuit breaker: 1 for the one it is in.");
    target->calls_metric = metrics_declare(METRIC_COUNTER, "tandem_pusher_calls_total", "system,kind,result",
                                           "Operations asked of the system, by what came of them.");
    target->timer = loop_timer_new(loop, on_timer, target);
    if (target->timer == NULL) {
        free(target);
        return error_no_memory(err);
    }
    show_state(target, BREAKER_CLOSED);
    *ret_target = target;
    return 0;
}

void target_free(struct target *target)
{
    if (target == NULL)
        return;
    loop_timer_free(target->timer);
    free(target);
}

struct system *target_system(const struct target *target)
{
    return target->system;
}

const char *target_trouble(const struct target *target)
{
    const char *trouble = target->system->operations->trouble(target->system);

    if (trouble != NULL)
        return trouble;
    if (target->breaker.reason == BREAKER_ACCOUNT || target->breaker.reason == BREAKER_REFUSING)
        return breaker_trouble(&target->breaker);
    return NULL;
}
