/* A message for topic `dead-letters`: the original byte for byte, with the reason in headers (messages/dead_letter.h).
 *
 * Reasons of an earlier time (a message that was driven again and failed again) give way to the new one. Pure, any
 * thread. */
#ifndef TANDEM_KAFKA_DEAD_LETTER_H
#define TANDEM_KAFKA_DEAD_LETTER_H

#include <stdint.h>

#include "common/base/error.h"
#include "common/kafka/message.h"
#include "common/messages/dead_letter.h"

enum {
    DEAD_LETTER_NUMBER_SIZE = 24,
    DEAD_LETTER_HEADERS = 10 /* most that are added; the original keeps KAFKA_HEADERS_MAX less these */
};

/* Room for what is made here; has to outlive the message. */
struct dead_letter {
    char partition[DEAD_LETTER_NUMBER_SIZE];
    char offset[DEAD_LETTER_NUMBER_SIZE];
    char attempts[DEAD_LETTER_NUMBER_SIZE];
};

/* `original` without a topic never was in one: then no coordinates are added; it may be NULL when there is none. `stage`, `err`, `time` (RFC 3339) and the
 * original are borrowed and have to outlive the message. ret_message->topic is set by the caller (ours is a full name). */
void dead_letter_message(struct dead_letter *dead_letter, const struct kafka_message *original, const char *stage,
                         const struct error *err, unsigned attempts, const char *time,
                         struct kafka_message *ret_message);

#endif
