/* Tells the topics what became of a record's notifications: a reading, that the record is gone, or dead letters.
 *
 * What one record's notifications come to is one publication: it has ended when the broker has taken each of its
 * messages, or one has failed. A reading that can never be sent (too large for the topic) is set aside instead. Repeats
 * nothing, finishes no offset: on_end tells the owner, who does. Owns its publications; the producer is borrowed, and
 * may still report to it after publisher_free(). Loop thread only. */
#ifndef TANDEM_INGEST_PUBLISHER_H
#define TANDEM_INGEST_PUBLISHER_H

#include "common/base/error.h"
#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/systems/system.h"
#include "ingest/fold.h"

struct publisher;

struct publisher_options {
    const struct kafka_settings *kafka;
    struct producer *producer;
    /* Exactly once per call below, now or later; `failure` NULL: all of it is on the broker, and `is_reading` says whether
     * it is the record as it stands, and not its absence or dead letters. Before, the record stays as it is, except that
     * its batch may be taken away. */
    void (*on_end)(void *arg, struct fold_record *record, bool is_reading, const struct error *failure);
    void *arg;
};

int publisher_new(const struct publisher_options *options, struct publisher **ret_publisher, struct error *err)
    TANDEM_MUST_CHECK;
/* Nothing ends any more. Accepts NULL. */
void publisher_free(struct publisher *publisher);

/* The record as it stands, for all its notifications. */
void publisher_tell_reading(struct publisher *publisher, struct fold_record *record,
                            const struct system_answer *answer);
/* The record is gone: each deal that has to know is told once; notifications that concern no deal are set aside. */
void publisher_tell_absence(struct publisher *publisher, struct fold_record *record,
                            const struct system_answer *answer);
/* All notifications of the record into the dead letters. */
void publisher_set_aside(struct publisher *publisher, struct fold_record *record, const struct error *reason);

#endif
