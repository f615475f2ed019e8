/* Whatever is accepted as a message is written as a message that is read as the same one; what is refused is poison and
 * leaves nothing behind. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/messages/decision.h"
#include "common/messages/envelope.h"
#include "common/messages/notification.h"
#include "common/messages/outcome.h"
#include "common/messages/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

union any_message {
    struct notification notification;
    struct record record;
    struct decision decision;
    struct outcome outcome;
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_kind(const struct member *members, size_t count, const char *bytes, size_t size)
{
    static const union any_message nothing;
    union any_message message = nothing;
    struct error err = ERROR_INIT;
    size_t length, length_again;

    if (message_read(members, count, bytes, size, &message, &err) < 0) {
        require(err.class == ERROR_POISON && strcmp(err.code, "message.malformed") == 0);
        require(memcmp(&message, &nothing, sizeof(message)) == 0);
        return;
    }
    char *written = message_write(members, count, &message, &length);
    require(written != NULL);
    message_done(members, count, &message);
    require(message_read(members, count, written, length, &message, &err) == 0);
    char *again = message_write(members, count, &message, &length_again);
    require(again != NULL && length == length_again && memcmp(written, again, length) == 0);
    message_done(members, count, &message);
    free(written);
    free(again);
}

static void check_identity(const char *bytes, size_t size)
{
    struct notification notification;
    struct error err = ERROR_INIT;
    char id[SHA256_HEX_SIZE], again[SHA256_HEX_SIZE];

    if (notification_read(bytes, size, &notification, &err) < 0)
        return;
    notification_id(&notification, id);
    notification_id(&notification, again);
    require(strlen(id) == SHA256_HEX_SIZE - 1 && strcmp(id, again) == 0);
    char *key = notification_key(&notification);
    require(key != NULL && text_starts_with(key, notification.source) && text_ends_with(key, notification.record_id));
    free(key);
    notification_done(&notification);
}

static void check_trace(const char *bytes, size_t size)
{
    static const uint8_t random[8] = {1};
    char *parent = text_copy_n(bytes, size);
    char next[TRACEPARENT_SIZE], trace_id[33], next_trace_id[33];

    require(parent != NULL);
    traceparent_trace_id(parent, trace_id);
    traceparent_continue(parent, random, next);
    traceparent_trace_id(next, next_trace_id);
    require(strlen(next) == TRACEPARENT_SIZE - 1 && next_trace_id[0] != '\0');
    require(trace_id[0] == '\0' || strcmp(trace_id, next_trace_id) == 0);
    free(parent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;

    check_kind(NOTIFICATION_MEMBERS, NOTIFICATION_MEMBER_COUNT, bytes, size);
    check_kind(RECORD_MEMBERS, RECORD_MEMBER_COUNT, bytes, size);
    check_kind(DECISION_MEMBERS, DECISION_MEMBER_COUNT, bytes, size);
    check_kind(OUTCOME_MEMBERS, OUTCOME_MEMBER_COUNT, bytes, size);
    check_identity(bytes, size);
    check_trace(bytes, size);
    return 0;
}
