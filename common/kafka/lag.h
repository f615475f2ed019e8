/* How far a group's reader is behind: the gauge tandem_kafka_lag of each partition that is assigned to this process.
 *
 * Counts the offsets from the first one whose work is not finished to the partition's end. The brokers are asked for
 * the ends at an interval: librdkafka's statistics stand still for a partition that is paused, which is when the figure
 * matters, and know nothing of offsets that a transaction commits. What an open transaction has written counts as well:
 * it is waiting, too. A partition that is given away is 0 from then on, so that the sum over all processes is the
 * group's. At most METRICS_SERIES_MAX partitions have a series of their own; the others are summed up in "other".
 *
 * Internal to common/kafka; loop thread only, never blocks. While the brokers do not answer the figures stay as they
 * are, and nothing else depends on them. */
#ifndef TANDEM_KAFKA_LAG_H
#define TANDEM_KAFKA_LAG_H

#include <librdkafka/rdkafka.h>

#include "common/runtime/loop.h"

struct lag;

/* The first offset of this partition whose work is not finished; -1: it is not ours (any more). */
typedef int64_t (*lag_unfinished_callback)(void *arg, const char *topic, int32_t partition);

/* `client` is borrowed and must outlive the lag. `group` is the label's value. */
int lag_new(struct loop *loop, rd_kafka_t *client, const char *group, lag_unfinished_callback first_unfinished,
            void *arg, struct lag **ret_lag, struct error *err) TANDEM_MUST_CHECK;
/* From now on these partitions, in place of the former ones; NULL: none. Out of memory they are not watched. */
void lag_watch(struct lag *lag, const rd_kafka_topic_partition_list_t *partitions);
void lag_free(struct lag *lag); /* accepts NULL */

/* Where the reader stands in a partition by librdkafka's account: behind everything that was handed out and behind the
 * control records that followed, which no message's offset tells. `at_least` where it has no account, after a seek. */
int64_t lag_position(rd_kafka_t *client, const char *topic, int32_t partition, int64_t at_least);

#endif
