/* Exactly-once worker: consumes topics, hands every message to a pure step, and commits what the step produced together
 * with the input offsets in one Kafka transaction.
 *
 *   IDLE -> OPEN -> COMMITTING -> IDLE          OPEN|COMMITTING -> ABORTING -> IDLE      any -> FENCED (end)
 *
 * Commits when the input queue is empty, else after `records_max` messages or `time_max_ms`. Blocking calls of
 * librdkafka (init, flush, send offsets, commit, abort, seek) run on one thread of its own and report back to the loop;
 * meanwhile no message is handed out. After an abort the inputs are read again from the committed offsets, and on_abort
 * tells the owner to drop what it held for the transaction. Group metadata is fetched anew for each transaction.
 * All callbacks on the loop's thread. */
#ifndef TANDEM_KAFKA_TRANSACTION_H
#define TANDEM_KAFKA_TRANSACTION_H

#include "common/kafka/client.h"
#include "common/kafka/message.h"
#include "common/runtime/loop.h"

struct transaction_worker;

struct transaction_callbacks {
    /* Produces by transaction_send(). 0, or -1 with the error: POISON cannot happen here (the step sets such messages
     * aside itself), anything else aborts. */
    int (*on_message)(void *arg, const struct kafka_message *message, struct error *err);
    void (*on_commit)(void *arg); /* durable: make the overlay permanent */
    void (*on_abort)(void *arg);  /* drop the overlay */
    /* These partitions (equal numbers in all input topics) are ours from now on; call transaction_restored() when their
     * state is loaded; messages come only then. A restore must not begin before this call: the previous owner's
     * transactions are decided by then. */
    void (*on_assigned)(void *arg, const int32_t *partitions, size_t count);
    void (*on_revoked)(void *arg, const int32_t *partitions, size_t count);
    void (*on_fatal)(void *arg, const struct error *err);
};

struct transaction_settings {
    const char *group;               /* "mapper" */
    const char *instance;            /* also names the transactional.id: group-instance */
    const char *const *input_topics; /* short names, NULL-terminated, equally partitioned */
    const char *const *output_topics;
    size_t records_max;  /* 500 */
    int64_t time_max_ms; /* 100 */
};

int transaction_worker_new(struct loop *loop, const struct kafka_settings *settings,
                           const struct transaction_settings *options, const struct transaction_callbacks *callbacks,
                           void *arg, struct transaction_worker **ret_worker, struct error *err) TANDEM_MUST_CHECK;
void transaction_restored(struct transaction_worker *worker);
/* Within on_message only. The message joins the open transaction; output to partition `partition` of the topic (the
 * input's own, so that everything of a deal stays on one number), or -1 for the key's. A full queue is waited for. */
int transaction_send(struct transaction_worker *worker, const struct kafka_message *message, int32_t partition,
                     struct error *err) TANDEM_MUST_CHECK;
/* Where the last message sent to (topic, partition) by a committed transaction stands: its offset + 1, or -1. */
int64_t transaction_committed_end(const struct transaction_worker *worker, const char *topic, int32_t partition);
/* Finishes the open transaction, leaves the group, calls `done`. */
void transaction_worker_drain(struct transaction_worker *worker, void (*done)(void *arg), void *arg);
void transaction_worker_free(struct transaction_worker *worker); /* accepts NULL */

#endif
