/* Producer of acknowledged messages: idempotent, acks=all, every message's fate is told exactly once.
 *
 * A fatal state of the client (sequence desynchronised, fenced) fails what is under way and replaces the handle in
 * process. Never blocks. Loop thread only. */
#ifndef TANDEM_KAFKA_PRODUCER_H
#define TANDEM_KAFKA_PRODUCER_H

#include "common/kafka/client.h"
#include "common/kafka/message.h"
#include "common/runtime/loop.h"

struct producer;

/* `err` is NULL when the message is durable; otherwise it may or may not be (never count on either). */
typedef void (*producer_callback)(void *arg, const struct error *err);

/* Warms the metadata of `topics` (short names, NULL-terminated) so that the first message does not wait. */
int producer_new(struct loop *loop, const struct kafka_settings *settings, const char *instance,
                 const char *const *topics, struct producer **ret_producer, struct error *err) TANDEM_MUST_CHECK;
/* Copies the message. 0: the callback will come, later; -1 (ERROR_TRANSIENT "kafka.queue_full", too large …): it will
 * not. `on_delivered` may be NULL only if the caller has another way to know. */
int producer_send(struct producer *producer, const struct kafka_message *message, producer_callback on_delivered,
                  void *arg, struct error *err) TANDEM_MUST_CHECK;
size_t producer_outstanding(const struct producer *producer);
/* Brokers reachable and the topics known. */
bool producer_is_ready(const struct producer *producer);
/* Fails what is left (callbacks come before it returns), then frees. Accepts NULL. Blocks at most `flush_ms`. */
void producer_free(struct producer *producer, int64_t flush_ms);

#endif
