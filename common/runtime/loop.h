/* The event loop (libevent).
 *
 * One loop per process; everything here is called on its thread except loop_post(). Callbacks are short and never
 * block. The pure core gets randomness from here as an argument. */
#ifndef TANDEM_RUNTIME_LOOP_H
#define TANDEM_RUNTIME_LOOP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/runtime/clock.h"

struct loop;
struct loop_timer;

int loop_new(struct loop **ret_loop, struct error *err) TANDEM_MUST_CHECK;
void loop_free(struct loop *loop); /* accepts NULL */
struct event_base *loop_base(struct loop *loop);
/* Runs until loop_stop(). */
int loop_run(struct loop *loop, struct error *err) TANDEM_MUST_CHECK;
void loop_stop(struct loop *loop); /* after the current turn */

/* One-shot timer; free it when done with it (also from inside its callback). NULL when out of memory. */
struct loop_timer *loop_timer_new(struct loop *loop, void (*on_expire)(void *arg), void *arg);
void loop_timer_set(struct loop_timer *timer, int64_t delay_ms); /* starts or restarts */
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer); /* accepts NULL */

/* Runs `call` on the loop's thread soon; from any thread. -1 when out of memory. */
int loop_post(struct loop *loop, void (*call)(void *arg), void *arg) TANDEM_MUST_CHECK;

uint32_t random_u32(void);
void random_fill(void *bytes, size_t count);

#endif
