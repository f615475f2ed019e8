/* The calls of a delivery to its target: each in its turn, paused and repeated until the execution is finished.
 *
 * Internal to a delivery (delivery_state.h). What comes after which answer is decided by the execution (execute.h),
 * when a call may leave by the target (target.h); here the call is made and its answer handed on. Loop thread only. */
#ifndef TANDEM_PUSHER_DELIVERY_CALLS_H
#define TANDEM_PUSHER_DELIVERY_CALLS_H

#include "pusher/execute.h"

struct delivery;

/* Once, before the first turn. */
void delivery_calls_init(struct delivery *delivery);
/* The call of its execution, as soon as the target lets it. Ends the delivery unfinished when the program ends. */
void delivery_calls_enter(struct delivery *delivery);

/* What the execution says comes next. */
void delivery_calls_go_on(struct delivery *delivery, enum execute_next next);

#endif
