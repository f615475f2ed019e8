/* Reads a compacted topic up to its end, by the exact rule: high watermark first (read_uncommitted), then read committed
 * until a partition-end event stands at or behind it. And follows it afterwards if asked.
 *
 * For restoring state (deals), for credentials and for cursors. Offsets are sparse and are never counted. Loop thread
 * only; reading happens in bounded turns so that the loop stays responsive. */
#ifndef TANDEM_KAFKA_READER_H
#define TANDEM_KAFKA_READER_H

#include "common/kafka/client.h"
#include "common/kafka/message.h"
#include "common/runtime/loop.h"

struct reader;

struct reader_callbacks {
    void (*on_message)(void *arg, const struct kafka_message *message); /* tombstones included */
    /* The partition has been read to the end that was asked for; `next_offset` is where to go on. */
    void (*on_end)(void *arg, int32_t partition, int64_t next_offset);
    void (*on_failed)(void *arg, const struct error *err);
};

int reader_new(struct loop *loop, const struct kafka_settings *settings, const char *topic, const char *instance,
               const struct reader_callbacks *callbacks, void *arg, struct reader **ret_reader, struct error *err)
    TANDEM_MUST_CHECK;
/* `from`: offset to begin at, or -1 for the beginning. Outside the log it fails with "kafka.offset_out_of_range" (the
 * caller drops its cache and begins anew). `follow`: go on after the end. */
int reader_add(struct reader *reader, int32_t partition, int64_t from, bool follow, struct error *err)
    TANDEM_MUST_CHECK;
void reader_remove(struct reader *reader, int32_t partition);
void reader_free(struct reader *reader); /* accepts NULL */

#endif
