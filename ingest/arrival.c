#include "ingest/arrival.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/enveloped.h"

static const char *const PARTNER_CENTER_TYPES[] = {"referral", "related-referral", NULL};
static const char *const DYNAMICS_365_TYPES[] = {"opportunity", "lead", NULL};

static const struct {
    const char *source;
    const char *const *record_types;
} SOURCES[] = {
    {"partner-center", PARTNER_CENTER_TYPES},
    {"dynamics-365", DYNAMICS_365_TYPES},
};

static size_t bytes_of(const struct kafka_message *message)
{
    size_t count = strlen(message->topic) + 1 + message->key_length + message->value_length;

    for (size_t i = 0; i < message->header_count; i++)
        count += strlen(message->headers[i].name) + 1 + message->headers[i].length;
    return count;
}

static const char *put(char **at, const char *bytes, size_t count)
{
    char *place = *at;

    if (bytes == NULL)
        return NULL;
    if (count > 0)
        memcpy(place, bytes, count);
    *at += count;
    return place;
}

static int copy_message(struct arrival *arrival, const struct kafka_message *message)
{
    struct kafka_message *copy = &arrival->original;
    char *at = malloc(bytes_of(message));

    if (at == NULL)
        return -1;
    arrival->bytes = at;
    *copy = *message;
    copy->topic = put(&at, message->topic, strlen(message->topic) + 1);
    copy->key = put(&at, message->key, message->key_length);
    copy->value = put(&at, message->value, message->value_length);
    for (size_t i = 0; i < message->header_count; i++) {
        const struct kafka_header *header = &message->headers[i];
        copy->headers[i].name = put(&at, header->name, strlen(header->name) + 1);
        copy->headers[i].value = put(&at, header->value, header->length);
    }
    return 0;
}

bool arrival_is_test(const struct arrival *arrival)
{
    return text_equal(arrival->notification.record_type, "test");
}

/* Whether there is something to read. */
static void judge(struct arrival *arrival)
{
    const struct notification *notification = &arrival->notification;

    for (size_t i = 0; i < ARRAY_LENGTH(SOURCES); i++) {
        if (!text_equal(notification->source, SOURCES[i].source))
            continue;
        for (const char *const *type = SOURCES[i].record_types; *type != NULL; type++) {
            if (text_equal(notification->record_type, *type))
                return;
        }
        if (!arrival_is_test(arrival))
            (void)error_set(&arrival->problem, ERROR_POISON, "unknown_record_type",
                            "records of this type are not read from %s", SOURCES[i].source);
        return;
    }
    (void)error_set(&arrival->problem, ERROR_POISON, "unknown_source", "no such system is known");
}

struct arrival *arrival_new(const struct kafka_message *message)
{
    struct arrival *arrival = calloc(1, sizeof(*arrival));
    struct notification *notification;

    if (arrival == NULL || copy_message(arrival, message) < 0) {
        free(arrival);
        return NULL;
    }
    arrival->item.partition = message->partition;
    arrival->item.offset = message->offset;
    if (!kafka_message_get_envelope(message, &arrival->envelope))
        arrival->envelope = (struct envelope){.id = ""};
    notification = &arrival->notification;
    if (notification_read(message->value, message->value_length, notification, &arrival->problem) < 0) {
        if (arrival->problem.class == ERROR_POISON)
            return arrival;
        arrival_free(arrival);
        return NULL;
    }
    json_decref(notification->headers);
    notification->headers = NULL;
    free(notification->body);
    notification->body = NULL;
    /* Without an envelope the id is what the envelope's would have been. */
    if (arrival->envelope.id[0] == '\0') {
        char id[SHA256_HEX_SIZE];
        notification_id(notification, id);
        memcpy(arrival->envelope.id, id, sizeof(id));
    }
    judge(arrival);
    return arrival;
}

void arrival_free(struct arrival *arrival)
{
    if (arrival == NULL)
        return;
    notification_done(&arrival->notification);
    free(arrival->bytes);
    free(arrival);
}

struct arrival *arrival_of(struct fold_item *item)
{
    return (struct arrival *)item;
}

const struct arrival *arrival_of_const(const struct fold_item *item)
{
    return (const struct arrival *)item;
}
