/* The envelope of a message as Kafka headers: CloudEvents' Kafka binding, binary mode, and the W3C trace.
 *
 * Pure, any thread. */
#ifndef TANDEM_KAFKA_ENVELOPED_H
#define TANDEM_KAFKA_ENVELOPED_H

#include <stdbool.h>

#include "common/base/attributes.h"
#include "common/kafka/message.h"
#include "common/messages/envelope.h"

/* Adds the headers and `content-type: application/json`. Empty attributes are left out. The envelope is borrowed: it has
 * to outlive the message. */
void kafka_message_set_envelope(struct kafka_message *message, const struct envelope *envelope);
/* Copies the attributes that are there and fit; the others become "". False when id or type is missing: then the message
 * is none of ours. */
bool kafka_message_get_envelope(const struct kafka_message *message, struct envelope *ret_envelope) TANDEM_MUST_CHECK;

#endif
