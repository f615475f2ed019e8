/* At-least-once group consumer: hands messages to the loop, commits what is finished.
 *
 * Assignor `range`, static membership, read_committed, no automatic commits, start at the beginning only where the group
 * has no offset at all, otherwise a missing offset stops the process (retention passed us: data was lost and a person
 * must know). Per partition at most `window` messages are unfinished; then it is paused until half of them are done.
 * Commits at an interval, on revoke and on close. Loop thread only. */
#ifndef TANDEM_KAFKA_CONSUMER_H
#define TANDEM_KAFKA_CONSUMER_H

#include "common/kafka/client.h"
#include "common/kafka/message.h"
#include "common/runtime/loop.h"

struct consumer;

struct consumer_callbacks {
    /* Borrowed for the call. The work is over when consumer_finish() is called for it, now or later. */
    void (*on_message)(void *arg, const struct kafka_message *message);
    /* Partitions were taken away: forget their work; consumer_finish() for it is ignored. May be NULL. */
    void (*on_revoked)(void *arg, const char *topic, int32_t partition);
    void (*on_assigned)(void *arg, const char *topic, int32_t partition); /* may be NULL */
    /* Cannot go on (fenced, authorisation, offset out of range, topic gone). */
    void (*on_fatal)(void *arg, const struct error *err);
};

struct consumer_settings {
    const char *group; /* without the prefix: "fetch", "pusher" */
    const char *instance;
    const char *const *topics;  /* short names, NULL-terminated */
    size_t window;              /* unfinished messages per partition: 1,000 */
    int64_t commit_interval_ms; /* 200 */
};

int consumer_new(struct loop *loop, const struct kafka_settings *settings, const struct consumer_settings *options,
                 const struct consumer_callbacks *callbacks, void *arg, struct consumer **ret_consumer,
                 struct error *err) TANDEM_MUST_CHECK;
void consumer_finish(struct consumer *consumer, const char *topic, int32_t partition, int64_t offset);
/* Is this partition still ours (assigned, session alive)? For the check right before a write to the outside. */
bool consumer_owns(const struct consumer *consumer, const char *topic, int32_t partition);
void consumer_pause(struct consumer *consumer); /* all partitions, e.g. while the database is away; keeps polling */
void consumer_resume(struct consumer *consumer);
bool consumer_is_assigned(const struct consumer *consumer); /* the group has settled, even if we got nothing */
size_t consumer_unfinished(const struct consumer *consumer);
/* Stops taking messages; on_message comes no more. */
void consumer_stop(struct consumer *consumer);
/* Commits and leaves; blocks at most `close_ms`. Accepts NULL. */
void consumer_free(struct consumer *consumer, int64_t close_ms);

#endif
