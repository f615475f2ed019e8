/* One message of `decisions` on its way: from its taking-up to the point where its offset may be committed.
 *
 *   decision   QUEUED --> INTENT --> TURN <--> CALLING <--> PAUSED
 *                            | (settling: PAUSED) |
 *                            |                 RECORDING --> PUBLISHING (--> LETTER) --> CLOSING --> finished
 *                            \-- has ended before: ----------^ or finished
 *   none       RECORDING --> finished
 *   unreadable RECORDING --> LETTER --> finished
 *
 * Order of durability: intent row, calls, outcome row with the outcome in the outbox, outcome in its topic (a refusal
 * in the dead letters, too), outbox emptied, offset. A crash between any two of them repeats the message; it then finds
 * in the audit how far it had come, and an outcome that was recorded is published again as it was, without a call.
 * Loop thread only. */
#ifndef TANDEM_PUSHER_DELIVERY_H
#define TANDEM_PUSHER_DELIVERY_H

#include <stdbool.h>

#include "common/base/retry.h"
#include "common/kafka/message.h"
#include "common/kafka/producer.h"
#include "common/runtime/loop.h"
#include "pusher/audit.h"
#include "pusher/lane.h"
#include "pusher/target.h"

struct delivery;
struct metric;

/* What deliveries work with; outlives them. */
struct delivery_ports {
    struct loop *loop;
    struct audit *audit;
    struct producer *producer;
    struct lanes *lanes;
    const char *outcomes_topic; /* full names */
    const char *dead_letters_topic;
    const char *instance;
    struct retry_policy pauses; /* between calls of one decision, unbounded in attempts and time */
    unsigned unexplained_max;   /* as in execution_init() */
    bool records_none;          /* decisions to do nothing get a row, too */
    struct metric *decisions_metric;
    struct metric *missing_metric;
    struct metric *write_metric;
    struct metric *whole_metric;
    struct target *(*find_target)(void *arg, const char *system); /* NULL: not configured */
    bool (*owns)(void *arg, const char *topic, int32_t partition);
    /* It is over: `is_finished`: the offset may be committed; false: it was abandoned. Frees nothing by itself; the
     * delivery is freed after the call. */
    void (*on_over)(void *arg, struct delivery *delivery, bool is_finished);
    void *arg;
};

/* Copies the message. Then delivery_key() tells its lane. */
int delivery_new(const struct delivery_ports *ports, const struct kafka_message *message,
                 struct delivery **ret_delivery, struct error *err) TANDEM_MUST_CHECK;
/* The deal whose lane it belongs to; NULL: it needs no lane (nothing is written to the outside). */
const char *delivery_key(const struct delivery *delivery);
struct lane_item *delivery_item(struct delivery *delivery);
struct delivery *delivery_of(struct lane_item *item);
const struct kafka_message *delivery_message(const struct delivery *delivery);
/* Once, when its lane lets it. on_over may come from inside. */
void delivery_begin(struct delivery *delivery);
/* The partition goes to another worker: no further call leaves, nothing is recorded. on_over comes from inside. */
void delivery_abandon(struct delivery *delivery);
/* The program ends: a call under way may end and its outcome is brought home, nothing else is begun. */
void delivery_drain(struct delivery *delivery);

/* For the worker's list. */
struct delivery *delivery_next(const struct delivery *delivery);
void delivery_link(struct delivery **list, struct delivery *delivery);
void delivery_unlink(struct delivery **list, struct delivery *delivery);

#endif
