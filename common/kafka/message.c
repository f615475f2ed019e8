#include "common/kafka/message.h"

#include <string.h>

const char *kafka_message_header(const struct kafka_message *message, const char *name, size_t *ret_length)
{
    for (size_t k = 0; k < message->header_count; k++) {
        if (strcmp(message->headers[k].name, name) != 0)
            continue;
        if (message->headers[k].value)
            *ret_length = message->headers[k].length;
        return message->headers[k].value;
    }
    return NULL;
}

void kafka_message_add_header(struct kafka_message *message, const char *name, const char *value)
{
    if (!value || message->header_count == KAFKA_HEADERS_MAX)
        return;
    message->headers[message->header_count++] =
        (struct kafka_header){.name = name, .value = value, .length = strlen(value)};
}
