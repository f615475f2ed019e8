/* A message of `decisions` as it was received: a copy that lasts, and the decision it holds.
 *
 * Tells what cannot be carried out whatever the target says: no decision, one with members missing, one under the key
 * of another deal, or of a version from the future. Pure. Owns everything; received_done(). */
#ifndef TANDEM_PUSHER_RECEIVED_H
#define TANDEM_PUSHER_RECEIVED_H

#include <stdbool.h>

#include "common/base/error.h"
#include "common/kafka/message.h"
#include "common/messages/decision.h"
#include "common/messages/envelope.h"

enum { TRACE_ID_SIZE = 33 };

struct received {
    char *bytes; /* topic, key, value and headers of the message */
    struct kafka_message message;
    char traceparent[TRACEPARENT_SIZE]; /* "" when there is none */
    char trace_id[TRACE_ID_SIZE];
    bool is_redriven; /* a person has driven it again after it was set aside */
    bool is_readable; /* `decision` can be carried out; otherwise `unreadable` says why not */
    struct decision decision;
    struct error unreadable;
};

/* -1: out of memory; nothing is held then. */
int received_take(struct received *received, const struct kafka_message *message, struct error *err) TANDEM_MUST_CHECK;
void received_done(struct received *received);

#endif
