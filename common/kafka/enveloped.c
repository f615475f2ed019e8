#include "common/kafka/enveloped.h"

#include <string.h>

static void add(struct kafka_message *message, const char *name, const char *value)
{
    if (*value != '\0')
        kafka_message_add_header(message, name, value);
}

void kafka_message_set_envelope(struct kafka_message *message, const struct envelope *envelope)
{
    kafka_message_add_header(message, "ce_specversion", "1.0");
    add(message, "ce_id", envelope->id);
    add(message, "ce_source", envelope->source);
    add(message, "ce_type", envelope->type);
    add(message, "ce_time", envelope->time);
    add(message, "ce_subject", envelope->subject);
    add(message, "traceparent", envelope->traceparent);
    kafka_message_add_header(message, "content-type", "application/json");
}

static void copy(const struct kafka_message *message, const char *name, char *out, size_t size)
{
    size_t length;
    const char *value = kafka_message_header(message, name, &length);
    if (value == NULL || length >= size || memchr(value, '\0', length) != NULL)
        length = 0;
    else
        memcpy(out, value, length);
    out[length] = '\0';
}

bool kafka_message_get_envelope(const struct kafka_message *message, struct envelope *ret_envelope)
{
    struct envelope envelope;
    copy(message, "ce_id", envelope.id, sizeof(envelope.id));
    copy(message, "ce_source", envelope.source, sizeof(envelope.source));
    copy(message, "ce_type", envelope.type, sizeof(envelope.type));
    copy(message, "ce_time", envelope.time, sizeof(envelope.time));
    copy(message, "ce_subject", envelope.subject, sizeof(envelope.subject));
    copy(message, "traceparent", envelope.traceparent, sizeof(envelope.traceparent));
    if (envelope.id[0] == '\0' || envelope.type[0] == '\0')
        return false;
    *ret_envelope = envelope;
    return true;
}
