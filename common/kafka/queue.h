/* A librdkafka queue as an event of the loop.
 *
 * librdkafka writes to a file descriptor when the queue stops being empty; `serve` then takes what is there, in bounded
 * turns, so that a busy queue does not keep other events waiting. Internal to common/kafka; loop thread only. */
#ifndef TANDEM_KAFKA_QUEUE_H
#define TANDEM_KAFKA_QUEUE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/runtime/loop.h"

enum {
    QUEUE_TURN_EVENTS_MAX = 256, /* of one turn, so that the loop stays responsive */
    QUEUE_TURN_US_MAX = 2000
};

struct queue_watch;

/* `serve` returns true when there may be more: it is called again in the next turn of the loop. `queue` is borrowed and
 * must outlive the watch. */
int queue_watch_new(struct loop *loop, rd_kafka_queue_t *queue, bool (*serve)(void *arg), void *arg,
                    struct queue_watch **ret_watch, struct error *err) TANDEM_MUST_CHECK;
/* Has `serve` called in the next turn, whatever the queue says. */
void queue_watch_wake(struct queue_watch *watch);
/* Accepts NULL. From inside `serve` only if that then returns false. */
void queue_watch_free(struct queue_watch *watch);

/* A turn's budget. */
struct queue_turn {
    int64_t end_us;
    unsigned events;
};
struct queue_turn queue_turn_begin(void);
/* Counts one event; false when the turn is over. */
bool queue_turn_goes_on(struct queue_turn *turn);

#endif
