#include "ingest/telling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/base/uuid.h"
#include "common/kafka/enveloped.h"
#include "common/messages/cursor.h"
#include "common/runtime/loop.h"

enum { TIME_DIGITS = 3 };

bool telling_is_readable(const struct telling_news *news)
{
    return news->record_id != NULL && uuid_is_valid(news->record_id, strlen(news->record_id));
}

static int fill_notification(const struct telling_news *news, struct notification *notification, struct error *err)
{
    char id[UUID_TEXT_SIZE], now[TIMESTAMP_TEXT_SIZE];

    timestamp_format(clock_now(), TIME_DIGITS, now);
    notification->origin = news->origin;
    if (text_assign(&notification->source, news->system, err) < 0 ||
        text_assign(&notification->event, news->event, err) < 0 ||
        text_assign(&notification->record_type, news->record_type, err) < 0 ||
        text_assign(&notification->record_id, uuid_normalise(news->record_id, id), err) < 0 ||
        text_assign(&notification->occurred_at, news->occurred_at, err) < 0 ||
        text_assign(&notification->etag, news->etag, err) < 0 || text_assign(&notification->received_at, now, err) < 0)
        return -1;
    return 0;
}

int telling_send(struct producer *producer, const char *topic, const char *source, const struct telling_news *news,
                 producer_callback on_delivered, void *arg, struct error *err)
{
    struct notification notification = {0};
    struct envelope envelope = {.type = MESSAGE_NOTIFICATION};
    struct kafka_message message = {.topic = topic};
    uint8_t random[24];
    char *key = NULL, *value = NULL;
    int status = -1;

    if (!telling_is_readable(news))
        return error_set(err, ERROR_POISON, "telling.no_id", "a record without an id that could be read");
    if (fill_notification(news, &notification, err) < 0)
        goto out;
    key = notification_key(&notification);
    value = notification_write(&notification, &message.value_length);
    if (key == NULL || value == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    random_fill(random, sizeof(random));
    traceparent_new(random, envelope.traceparent);
    notification_id(&notification, envelope.id);
    (void)snprintf(envelope.source, sizeof(envelope.source), "%s", source);
    (void)snprintf(envelope.time, sizeof(envelope.time), "%s", notification.received_at);
    (void)snprintf(envelope.subject, sizeof(envelope.subject), "%s", notification.record_id);
    message.key = key;
    message.key_length = strlen(key);
    message.value = value;
    kafka_message_set_envelope(&message, &envelope);
    status = producer_send(producer, &message, on_delivered, arg, err);
out:
    notification_done(&notification);
    free(key);
    free(value);
    return status;
}

int telling_send_cursor(struct producer *producer, const char *cursors_topic, const char *key, const char *position,
                        const char *instance, producer_callback on_delivered, void *arg, struct error *err)
{
    char now[TIMESTAMP_TEXT_SIZE];
    struct cursor cursor = {0};
    struct kafka_message message = {.topic = cursors_topic, .key = key, .key_length = strlen(key)};
    char *value = NULL;
    int status;

    if (position == NULL)
        return producer_send(producer, &message, on_delivered, arg, err);
    timestamp_format(clock_now(), TIME_DIGITS, now);
    if (text_assign(&cursor.source, key, err) == 0 && text_assign(&cursor.position, position, err) == 0 &&
        text_assign(&cursor.at, now, err) == 0 && text_assign(&cursor.instance, instance, err) == 0)
        value = cursor_write(&cursor, &message.value_length);
    cursor_done(&cursor);
    if (value == NULL)
        return error_no_memory(err);
    message.value = value;
    kafka_message_add_header(&message, "content-type", "application/json");
    status = producer_send(producer, &message, on_delivered, arg, err);
    free(value);
    return status;
}
