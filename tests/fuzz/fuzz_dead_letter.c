/* The headers of a message, whoever wrote them: an envelope that is read is written as one that is read the same; a dead
 * letter is the original with the reason of the last time, once. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/dead_letter.h"
#include "common/kafka/enveloped.h"
#include "tests/support/message_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static bool same_bytes(const char *one, size_t one_length, const char *other, size_t other_length)
{
    if (one == NULL || other == NULL)
        return one == other;
    return one_length == other_length && memcmp(one, other, one_length) == 0;
}

static bool same_header(const struct kafka_header *one, const struct kafka_header *other)
{
    return strcmp(one->name, other->name) == 0 && same_bytes(one->value, one->length, other->value, other->length);
}

static void check_envelope(const struct kafka_message *message)
{
    struct kafka_message written = {0};
    struct envelope envelope, again;
    char trace_id[33];

    if (!kafka_message_get_envelope(message, &envelope))
        return;
    require(envelope.id[0] != '\0' && envelope.type[0] != '\0');
    traceparent_trace_id(envelope.traceparent, trace_id);
    require(trace_id[0] == '\0' || strlen(trace_id) == 32);
    kafka_message_set_envelope(&written, &envelope);
    require(kafka_message_get_envelope(&written, &again));
    require(strcmp(envelope.id, again.id) == 0 && strcmp(envelope.source, again.source) == 0 &&
            strcmp(envelope.type, again.type) == 0 && strcmp(envelope.time, again.time) == 0 &&
            strcmp(envelope.subject, again.subject) == 0 && strcmp(envelope.traceparent, again.traceparent) == 0);
}

static void check_copy(const struct kafka_message *message)
{
    struct kafka_message copy;
    size_t size = 0;
    char *bytes = kafka_message_copy(message, &copy, &size);

    require(bytes != NULL && strcmp(copy.topic, message->topic) == 0);
    require(same_bytes(copy.key, copy.key_length, message->key, message->key_length));
    require(same_bytes(copy.value, copy.value_length, message->value, message->value_length));
    require(copy.header_count == message->header_count);
    for (size_t i = 0; i < copy.header_count; i++)
        require(same_header(&copy.headers[i], &message->headers[i]));
    free(bytes);
}

/* The original's headers come first and in their order, those of an earlier time left out; then the reason, each header
 * once. */
static void check_letter(const struct kafka_message *original, const struct kafka_message *letter)
{
    size_t kept = 0;

    require(letter->header_count <= KAFKA_HEADERS_MAX);
    require(same_bytes(letter->key, letter->key_length, original->key, original->key_length));
    require(same_bytes(letter->value, letter->value_length, original->value, original->value_length));
    for (size_t i = 0; i < original->header_count; i++) {
        if (text_starts_with(original->headers[i].name, DEAD_LETTER_PREFIX))
            continue;
        if (kept == KAFKA_HEADERS_MAX - DEAD_LETTER_HEADERS)
            break;
        require(kept < letter->header_count && same_header(&letter->headers[kept], &original->headers[i]));
        kept++;
    }
    require(letter->header_count == kept + DEAD_LETTER_HEADERS);
    for (size_t i = kept; i < letter->header_count; i++) {
        require(text_starts_with(letter->headers[i].name, DEAD_LETTER_PREFIX));
        for (size_t k = kept; k < i; k++)
            require(strcmp(letter->headers[i].name, letter->headers[k].name) != 0);
    }
}

static void check_dead_letter(const struct kafka_message *original)
{
    struct dead_letter room, room_again;
    struct kafka_message letter, again;
    struct error err = ERROR_INIT;
    const char *code;
    size_t length = 0;

    (void)error_set(&err, ERROR_POISON, "message.malformed", "member 'id' is missing");
    dead_letter_message(&room, original, "mapper", &err, 1, "2026-11-21T04:00:00Z", &letter);
    check_letter(original, &letter);

    /* Set aside once more: only the last reason counts. */
    letter.topic = "tandem.dead-letters";
    letter.offset = 4;
    (void)error_set(&err, ERROR_POISON, "message.other", "something else");
    dead_letter_message(&room_again, &letter, "pusher", &err, 2, "2026-11-21T05:00:00Z", &again);
    check_letter(&letter, &again);
    require(again.header_count == letter.header_count);
    code = kafka_message_header(&again, DEAD_LETTER_CODE, &length);
    require(same_bytes(code, length, err.code, strlen(err.code)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_text text;

    message_text_read(data, size, &text);
    check_envelope(&text.message);
    check_copy(&text.message);
    check_dead_letter(&text.message);
    message_text_done(&text);
    return 0;
}
