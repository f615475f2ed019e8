/* What the `records` topic is told about a record that was asked for: its message, from the notifications and the
 * system's answer.
 *
 * Pure: time and random numbers are arguments. The message owns its texts: reading_done(). */
#ifndef TANDEM_INGEST_READING_H
#define TANDEM_INGEST_READING_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/kafka/message.h"
#include "common/messages/envelope.h"
#include "common/systems/system.h"
#include "ingest/arrival.h"

struct reading {
    char *key;
    char *value;
    size_t value_length;
    struct envelope envelope;
};

struct reading_context {
    const struct fold_item *batch; /* the notifications, in the order of their offsets; not empty */
    struct timestamp read_at;
    uint8_t random[8]; /* for the span */
};

/* The record type to ask for: "related-referral" only when no notification knows better. */
const char *reading_record_type(const struct fold_item *batch);

/* The record as it stands: kind reading, with all notifications as causes. */
int reading_of_answer(const struct reading_context *context, const struct system_answer *answer,
                      struct reading *ret_reading, struct error *err) TANDEM_MUST_CHECK;

/* Who has to know that the record is gone: the asking deal, else a referral's own key, else "crm:" + id. NULL for a
 * related referral nobody asked for: nobody can tell whose it is. *ret_key: free(). -1: out of memory. */
int reading_gone_key(const struct arrival *arrival, const struct system_answer *answer, char **ret_key)
    TANDEM_MUST_CHECK;
/* The record is gone: kind gone for `key`, caused by those of the notifications whose reading_gone_key() that is. */
int reading_of_absence(const struct reading_context *context, const struct system_answer *answer, const char *key,
                       struct reading *ret_reading, struct error *err) TANDEM_MUST_CHECK;

void reading_done(struct reading *reading);
/* A view, valid as long as the reading; the topic is the caller's to set. */
void reading_message(const struct reading *reading, struct kafka_message *ret_message);

#endif
