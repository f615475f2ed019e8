/* Where a group has to begin reading partitions it was just given.
 *
 * Asks for the committed offsets that no open transaction can still move (an owner must not begin before its
 * predecessor's transactions are decided), repeats while one is open or the brokers do not answer, and turns "none
 * committed" into the beginning of the log. Internal to common/kafka; loop thread only, never blocks. */
#ifndef TANDEM_KAFKA_COMMITTED_H
#define TANDEM_KAFKA_COMMITTED_H

#include <librdkafka/rdkafka.h>

#include "common/runtime/loop.h"

struct committed_lookup;

/* `starts`: the partitions with the offsets to begin at, borrowed for the call; NULL when it failed for good (`err`).
 * The lookup may be freed inside. */
typedef void (*committed_callback)(void *arg, const rd_kafka_topic_partition_list_t *starts, const struct error *err);

int committed_lookup_new(struct loop *loop, rd_kafka_t *client, const char *group_id,
                         const rd_kafka_topic_partition_list_t *partitions, committed_callback on_found, void *arg,
                         struct committed_lookup **ret_lookup, struct error *err) TANDEM_MUST_CHECK;
void committed_lookup_free(struct committed_lookup *lookup); /* accepts NULL; the callback comes no more */

#endif
