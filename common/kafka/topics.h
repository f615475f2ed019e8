/* The topics of a deployment: creates what is missing, reports what differs, refuses what would lose data.
 *
 * One table holds name, partitions, cleanup policy, retention and the reason for each. Blocking admin calls with a
 * bounded time; used by `tandem-ingest topics` and by each program at start (verify only). */
#ifndef TANDEM_KAFKA_TOPICS_H
#define TANDEM_KAFKA_TOPICS_H

#include "common/base/text.h"
#include "common/kafka/client.h"

#define TOPIC_NOTIFICATIONS "notifications"
#define TOPIC_RECORDS       "records"
#define TOPIC_DECISIONS     "decisions"
#define TOPIC_OUTCOMES      "outcomes"
#define TOPIC_DEALS         "deals"
#define TOPIC_CURSORS       "cursors"
#define TOPIC_CREDENTIALS   "credentials"
#define TOPIC_DEAD_LETTERS  "dead-letters"

/* Creates missing topics; every topic's line and every difference goes to `report`. -1 when something differs that must
 * not (partition counts unequal, a compacted topic with delete) or the brokers do not answer. */
int topics_create(const struct kafka_settings *settings, int64_t timeout_ms, struct text *report, struct error *err)
    TANDEM_MUST_CHECK;
/* The same without creating: a missing topic is an error. What a restart does not mend is ERROR_FATAL
 * "kafka.topics_missing" or "kafka.topics_differ". */
int topics_verify(const struct kafka_settings *settings, int64_t timeout_ms, struct text *report, struct error *err)
    TANDEM_MUST_CHECK;

#endif
