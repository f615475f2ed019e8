#include "common/kafka/dead_letter.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/text.h"
#include "tandem_version.h"

static void keep_headers(const struct kafka_message *original, struct kafka_message *message)
{
    for (size_t i = 0; i < original->header_count && message->header_count < KAFKA_HEADERS_MAX - DEAD_LETTER_HEADERS;
         i++)
        if (!text_starts_with(original->headers[i].name, DEAD_LETTER_PREFIX))
            message->headers[message->header_count++] = original->headers[i];
}

void dead_letter_message(struct dead_letter *dead_letter, const struct kafka_message *original, const char *stage,
                         const struct error *err, unsigned attempts, const char *time,
                         struct kafka_message *ret_message)
{
    struct kafka_message message = {0};

    if (original != NULL) {
        message.key = original->key;
        message.key_length = original->key_length;
        message.value = original->value;
        message.value_length = original->value_length;
        keep_headers(original, &message);
    }
    if (original != NULL && original->topic != NULL) {
        snprintf(dead_letter->partition, sizeof(dead_letter->partition), "%" PRId32, original->partition);
        snprintf(dead_letter->offset, sizeof(dead_letter->offset), "%" PRId64, original->offset);
        kafka_message_add_header(&message, DEAD_LETTER_TOPIC, original->topic);
        kafka_message_add_header(&message, DEAD_LETTER_PARTITION, dead_letter->partition);
        kafka_message_add_header(&message, DEAD_LETTER_OFFSET, dead_letter->offset);
    }
    snprintf(dead_letter->attempts, sizeof(dead_letter->attempts), "%u", attempts);
    kafka_message_add_header(&message, DEAD_LETTER_STAGE, stage);
    kafka_message_add_header(&message, DEAD_LETTER_CLASS, error_class_name(err->class));
    kafka_message_add_header(&message, DEAD_LETTER_CODE, err->code);
    kafka_message_add_header(&message, DEAD_LETTER_MESSAGE, err->message);
    kafka_message_add_header(&message, DEAD_LETTER_ATTEMPTS, dead_letter->attempts);
    kafka_message_add_header(&message, DEAD_LETTER_TIME, time);
    kafka_message_add_header(&message, DEAD_LETTER_VERSION, TANDEM_VERSION);
    *ret_message = message;
}
