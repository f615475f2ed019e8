/* Between librdkafka's messages and ours.
 *
 * Internal to common/kafka. Any thread that may use the handle. */
#ifndef TANDEM_KAFKA_NATIVE_H
#define TANDEM_KAFKA_NATIVE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/kafka/message.h"

/* A view of `native`, valid as long as that is. Headers beyond KAFKA_HEADERS_MAX are left out. */
void native_read(const rd_kafka_message_t *native, struct kafka_message *ret_message);

/* Copies the message into the client's queue. `partition`: RD_KAFKA_PARTITION_UA lets the key decide. Returns
 * librdkafka's code; after RD_KAFKA_RESP_ERR_NO_ERROR exactly one delivery report with `opaque` follows. */
rd_kafka_resp_err_t native_produce(rd_kafka_t *client, const struct kafka_message *message, int32_t partition,
                                   void *opaque);

/* What came from a consumer in place of a message: fills `err` and returns true when the consumer cannot go on; false
 * for what librdkafka gets over by itself (`err` is then filled too, except at the end of a partition). */
bool native_is_fatal(rd_kafka_t *client, const rd_kafka_message_t *native, struct error *err);

/* rd_kafka_consumer_close() with an end to its waiting: a coordinator that is gone must not keep the process. What was
 * fetched and not taken yet is dropped. Blocks at most `wait_ms`; any thread, once nobody polls the consumer any more. */
void native_close_consumer(rd_kafka_t *consumer, int64_t wait_ms);

#endif
