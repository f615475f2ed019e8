/* One outside system as the deliveries share it: who may call it now, in order, with its circuit breaker.
 *
 * Bounds the calls under way and holds all of them back while the breaker is open; then lets one through to try. Does
 * not make the calls. Borrows the system. Loop thread only. */
#ifndef TANDEM_PUSHER_TARGET_H
#define TANDEM_PUSHER_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/runtime/loop.h"
#include "common/systems/system.h"
#include "pusher/breaker.h"

struct target;

/* A call that waits for its turn, or is under way. Embedded in what makes the call. */
struct turn {
    struct turn *next;
    bool is_waiting;
    void (*on_turn)(void *arg); /* now: make the call, then target_leave() */
    void *arg;
};

/* `policy` is borrowed. `concurrent_max`: calls under way at once. */
int target_new(struct loop *loop, struct system *system, const struct breaker_policy *policy, unsigned concurrent_max,
               struct target **ret_target, struct error *err) TANDEM_MUST_CHECK;
void target_free(struct target *target); /* when nothing waits any more; accepts NULL */

struct system *target_system(const struct target *target);
/* on_turn comes once, perhaps from inside. */
void target_enter(struct target *target, struct turn *turn);
/* It does not want the turn any more. */
void target_cancel(struct target *target, struct turn *turn);
/* The call has ended with this answer; NULL: it was not made. Returns what the answer counts as (breaker_note()). */
enum system_result target_leave(struct target *target, const struct system_answer *answer, bool is_write,
                                const char *deal_key);
/* Why a person has to act, NULL when nobody has to: an unreachable system is waited for. */
const char *target_trouble(const struct target *target);

#endif
