/* A notification as it came out of its topic, kept until its record has been read: what it says, and its bytes for the
 * case that it ends in the dead letters.
 *
 * Owns copies of everything. Pure, single thread. Begins with a struct fold_item, so that fold.h can queue it. */
#ifndef TANDEM_INGEST_ARRIVAL_H
#define TANDEM_INGEST_ARRIVAL_H

#include "common/base/error.h"
#include "common/kafka/message.h"
#include "common/messages/envelope.h"
#include "common/messages/notification.h"
#include "ingest/fold.h"

struct arrival {
    struct fold_item item; /* first */
    struct kafka_message original;
    struct notification notification; /* without headers and body, which are in `original`; empty with a problem */
    struct envelope envelope;         /* id "" when the message had none */
    struct error problem;             /* ERROR_NONE: it can be followed */
    char *bytes;                      /* what `original` points into */
};

/* Copies the message and reads it; a message that is not readable, or about nothing we read, has a `problem`
 * (ERROR_POISON: "message.malformed", "unknown_source", "unknown_record_type"). NULL: out of memory. */
struct arrival *arrival_new(const struct kafka_message *message);
void arrival_free(struct arrival *arrival); /* accepts NULL */

/* The arrival a queued item belongs to. */
struct arrival *arrival_of(struct fold_item *item);
const struct arrival *arrival_of_const(const struct fold_item *item);

/* A validation event: nothing is to be read. */
bool arrival_is_test(const struct arrival *arrival);

#endif
