/* One thread for librdkafka's blocking calls, so that the loop never waits.
 *
 * Jobs run one after the other in the order given; when a job has run, its `done` runs on the loop's thread. What a job
 * touches belongs to that thread until then. Internal to common/kafka; functions on the loop's thread. */
#ifndef TANDEM_KAFKA_BLOCKING_H
#define TANDEM_KAFKA_BLOCKING_H

#include "common/runtime/loop.h"

struct blocking;

int blocking_new(struct loop *loop, struct blocking **ret_blocking, struct error *err) TANDEM_MUST_CHECK;
/* -1: out of memory, neither will be called. `done` may be NULL. */
int blocking_run(struct blocking *blocking, void (*job)(void *arg), void (*done)(void *arg), void *arg)
    TANDEM_MUST_CHECK;
/* Waits for the jobs given so far; a `done` that has not run yet will not. Accepts NULL; not from inside a `done`. */
void blocking_free(struct blocking *blocking);

#endif
