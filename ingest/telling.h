/* What poll and backfill put into Kafka: notifications about records that were found by asking, and cursors.
 *
 * Each call sends one message; `on_delivered` says once whether it is durable, unless the call returned -1. The producer is
 * borrowed. Loop thread only. */
#ifndef TANDEM_INGEST_TELLING_H
#define TANDEM_INGEST_TELLING_H

#include "common/kafka/producer.h"
#include "common/messages/notification.h"

/* What is to be told of one record. */
struct telling_news {
    enum notification_origin origin;
    const char *system;      /* "partner-center", "dynamics-365" */
    const char *event;       /* "changed", "deleted", "shared", "listed" */
    const char *record_type; /* "referral", "related-referral", "opportunity" */
    const char *record_id;   /* in any case; one that is no UUID cannot be read by anybody */
    const char *occurred_at; /* RFC 3339 or NULL */
    const char *etag; /* of the version that was seen, where a reading of that version needs no repetition; NULL */
};

bool telling_is_readable(const struct telling_news *news);

/* `topic`, `cursors_topic`: with the prefix. `source`: of the message's envelope, "/tandem/ingest/poll". ERROR_POISON when
 * the news are not readable. */
int telling_send(struct producer *producer, const char *topic, const char *source, const struct telling_news *news,
                 producer_callback on_delivered, void *arg, struct error *err) TANDEM_MUST_CHECK;
/* `key`: of the cursor, "poll/…" or "backfill/…". `position` NULL: there is none any more, a tombstone. */
int telling_send_cursor(struct producer *producer, const char *cursors_topic, const char *key, const char *position,
                        const char *instance, producer_callback on_delivered, void *arg, struct error *err)
    TANDEM_MUST_CHECK;

#endif
