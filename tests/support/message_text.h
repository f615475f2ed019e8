/* A Kafka message written as text, for fuzz targets: a corpus that people can read.
 *
 *     ce_type: tandem.decision.v1        headers, one a line; without a colon it has no value
 *     redrive.letter
 *                                        an empty line
 *     deal-1                             the key; without a line there is none
 *     {"id": …}                          the value: what is left; without a line end before it there is none
 *
 * Pure; the caller's thread. Ends the process when out of memory. */
#ifndef TANDEM_TESTS_MESSAGE_TEXT_H
#define TANDEM_TESTS_MESSAGE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "common/kafka/message.h"

struct message_text {
    struct kafka_message message; /* offset 17 of partition 3 of topic tandem.decisions */
    char *names;                  /* of its headers */
    char *bytes;                  /* the rest */
};

void message_text_read(const uint8_t *data, size_t size, struct message_text *ret_text);
void message_text_done(struct message_text *text);

#endif
