#include "pusher/received.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/kafka/enveloped.h"
#include "common/messages/dead_letter.h"
#include "pusher/audit_row.h"

/* What is written to the outside must be complete, whoever made the message. */
static int check_work(const struct decision *decision, struct error *err)
{
    const char *missing = NULL;

    if (decision->action == DECISION_NONE)
        return 0;
    if (decision->target == NULL)
        missing = "target";
    else if (decision->system == NULL)
        missing = "system";
    else if (decision->record_type == NULL)
        missing = "record_type";
    else if (decision->write == NULL)
        missing = "write";
    else if (decision->action == DECISION_UPDATE && decision->record_id == NULL)
        missing = "record_id";
    else if (decision->action == DECISION_CREATE && json_object_size(decision->create_key) != 1)
        missing = "create_key";
    if (missing != NULL)
        return error_set(err, ERROR_POISON, "message.malformed", "member '%s' is missing", missing);
    return 0;
}

static int read_decision(struct received *received, struct error *err)
{
    const struct kafka_message *message = &received->message;
    struct envelope envelope;

    if (kafka_message_get_envelope(message, &envelope)) {
        memcpy(received->traceparent, envelope.traceparent, sizeof(received->traceparent));
        traceparent_trace_id(envelope.traceparent, received->trace_id);
        if (!text_equal(envelope.type, MESSAGE_DECISION))
            return error_set(err, ERROR_POISON, "message.other_type", "the message is none of %s", MESSAGE_DECISION);
    }
    if (decision_read(message->value, message->value_length, &received->decision, err) < 0)
        return -1;
    if (check_work(&received->decision, err) < 0 || audit_row_check(&received->decision, err) < 0)
        return -1;
    /* Another key would have put it into another lane, perhaps at another worker. */
    if (!text_equal(message->key, received->decision.deal_key))
        return error_set(err, ERROR_POISON, "message.foreign_key", "the key is not that of the decision's deal");
    return 0;
}

int received_take(struct received *received, const struct kafka_message *message, struct error *err)
{
    size_t length;

    memset(received, 0, sizeof(*received));
    received->bytes = kafka_message_copy(message, &received->message, NULL);
    if (received->bytes == NULL)
        return error_no_memory(err);
    received->is_redriven = kafka_message_header(&received->message, REDRIVE_LETTER, &length) != NULL;
    received->is_readable = read_decision(received, &received->unreadable) == 0;
    if (!received->is_readable && received->unreadable.class != ERROR_POISON) {
        *err = received->unreadable;
        received_done(received);
        return -1;
    }
    return 0;
}

void received_done(struct received *received)
{
    decision_done(&received->decision);
    free(received->bytes);
    received->bytes = NULL;
}
