#include "common/kafka/message.h"

#include <stdlib.h>
#include <string.h>

const char *kafka_message_header(const struct kafka_message *message, const char *name, size_t *ret_length)
{
    for (size_t k = 0; k < message->header_count; k++) {
        if (strcmp(message->headers[k].name, name) != 0)
            continue;
        if (message->headers[k].value != NULL)
            *ret_length = message->headers[k].length;
        return message->headers[k].value;
    }
    return NULL;
}

void kafka_message_add_header(struct kafka_message *message, const char *name, const char *value)
{
    if (value == NULL || message->header_count == KAFKA_HEADERS_MAX)
        return;
    message->headers[message->header_count++] =
        (struct kafka_header){.name = name, .value = value, .length = strlen(value)};
}

static char *put(char **at, const void *bytes, size_t length)
{
    char *start = *at;

    if (length > 0)
        memcpy(start, bytes, length);
    start[length] = '\0';
    *at += length + 1;
    return start;
}

char *kafka_message_copy(const struct kafka_message *message, struct kafka_message *ret_message, size_t *ret_size)
{
    size_t size = strlen(message->topic) + 1 + message->key_length + 1 + message->value_length + 1;
    struct kafka_message copy = *message;
    char *bytes, *at;

    for (size_t i = 0; i < message->header_count; i++)
        size += strlen(message->headers[i].name) + 1 + message->headers[i].length + 1;
    bytes = malloc(size);
    if (bytes == NULL)
        return NULL;
    at = bytes;
    copy.topic = put(&at, message->topic, strlen(message->topic));
    if (message->key != NULL)
        copy.key = put(&at, message->key, message->key_length);
    if (message->value != NULL)
        copy.value = put(&at, message->value, message->value_length);
    for (size_t i = 0; i < message->header_count; i++) {
        const struct kafka_header *header = &message->headers[i];
        copy.headers[i].name = put(&at, header->name, strlen(header->name));
        if (header->value != NULL)
            copy.headers[i].value = put(&at, header->value, header->length);
    }
    *ret_message = copy;
    if (ret_size != NULL)
        *ret_size = size;
    return bytes;
}
