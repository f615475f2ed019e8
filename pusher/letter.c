#include "pusher/letter.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/kafka/enveloped.h"
#include "common/messages/dead_letter.h"
#include "common/runtime/log.h"
#include "pusher/audit_row.h"

/* Of the ids of taking-ups, which are the same for the same letter (RFC 9562, version 5). */
#define NAMESPACE "7b0f4a36-5d5e-4f0c-9a53-0b3f7a4f21c9"

struct letter {
    const struct letter_ports *ports;
    char *topic;
    int32_t partition;
    int64_t offset;
};

static void letter_free(struct letter *letter)
{
    free(letter->topic);
    free(letter);
}

/* --- The row ------------------------------------------------------------------------------------------------------ */

/* A header's text; NULL when it is not there or is no text that a row could hold. free() */
static char *header_text(const struct kafka_message *message, const char *name)
{
    size_t length = 0;
    const char *value = kafka_message_header(message, name, &length);

    if (value == NULL || memchr(value, '\0', length) != NULL || !utf8_is_valid(value, length, NULL))
        return NULL;
    return text_copy_n(value, length);
}

static char *key_text(const struct kafka_message *message)
{
    if (message->key == NULL || message->key_length == 0 || memchr(message->key, '\0', message->key_length) != NULL ||
        !utf8_is_valid(message->key, message->key_length, NULL))
        return NULL;
    return text_copy_n(message->key, message->key_length);
}

static int set_text(json_t *row, const char *column, const char *text)
{
    return text == NULL ? 0 : json_object_set_new(row, column, json_text_new(text, strlen(text)));
}

static int set_header(json_t *row, const char *column, const struct kafka_message *message, const char *header)
{
    char *text = header_text(message, header);
    int status = set_text(row, column, text);

    free(text);
    return status;
}

/* A deal's key; or, where a notification was set aside, its system and the record's id ("partner-center/4d3c…"). */
static int set_key(json_t *row, const struct kafka_message *message)
{
    char *key = key_text(message);
    char *slash = key == NULL ? NULL : strchr(key, '/');
    int status;

    if (slash == NULL) {
        status = set_text(row, "deal_key", key);
    } else {
        *slash = '\0';
        status = set_text(row, "system", key) < 0 ? -1 : set_text(row, "record_id", slash + 1);
    }
    free(key);
    return status;
}

/* "set aside by mapper: topic tandem.records, partition 3, offset 17" */
static int set_detail(json_t *row, const struct kafka_message *message)
{
    char *stage = header_text(message, DEAD_LETTER_STAGE), *topic = header_text(message, DEAD_LETTER_TOPIC);
    char *partition = header_text(message, DEAD_LETTER_PARTITION), *offset = header_text(message, DEAD_LETTER_OFFSET);
    char *detail = topic == NULL ? text_format("set aside by %s", stage == NULL ? "an unknown program" : stage)
                                 : text_format("set aside by %s: topic %s, partition %s, offset %s",
                                               stage == NULL ? "an unknown program" : stage, topic,
                                               partition == NULL ? "?" : partition, offset == NULL ? "?" : offset);
    int status = detail == NULL ? -1 : set_text(row, "detail", detail);

    free(detail);
    free(offset);
    free(partition);
    free(topic);
    free(stage);
    return status;
}

static int set_origin(json_t *row, const struct kafka_message *message)
{
    static const struct {
        const char *column, *header;
    } NUMBERS[] = {{"origin_partition", DEAD_LETTER_PARTITION}, {"origin_offset", DEAD_LETTER_OFFSET}};

    if (set_header(row, "origin_topic", message, DEAD_LETTER_TOPIC) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LENGTH(NUMBERS); i++) {
        char *text = header_text(message, NUMBERS[i].header);
        unsigned long long number;
        int status = 0;

        if (text != NULL && text_parse_unsigned(text, i == 0 ? INT32_MAX : INT64_MAX, &number))
            status = json_object_set_new(row, NUMBERS[i].column, json_integer((json_int_t)number));
        free(text);
        if (status < 0)
            return -1;
    }
    return 0;
}

static bool header_is(const struct kafka_message *message, const char *name, const char *text)
{
    size_t length = 0;
    const char *value = kafka_message_header(message, name, &length);

    return value != NULL && length == strlen(text) && memcmp(value, text, length) == 0;
}

/* A validation event that has come through as far as it goes is no failure. */
static int set_test(json_t *row)
{
    static const char *const NOT_SAID[] = {"error_class", "error_code", "error_message"};

    for (size_t i = 0; i < ARRAY_LENGTH(NOT_SAID); i++)
        (void)json_object_del(row, NOT_SAID[i]);
    return json_object_set_new(row, "phase", json_string("none")) < 0 ||
                   json_object_set_new(row, "action", json_string("none")) < 0
               ? -1
               : json_object_set_new(row, "reason", json_string(DEAD_LETTER_CODE_TEST));
}

static char *delivery_id(const struct kafka_message *message, char out[static UUID_TEXT_SIZE])
{
    char *name = text_format("%s/%" PRId32 "/%" PRId64, message->topic, message->partition, message->offset);
    char *id = name == NULL ? NULL : uuid_from_name(NAMESPACE, name, strlen(name), out);

    free(name);
    return id;
}

json_t *letter_row(const struct kafka_message *message, const char *instance)
{
    struct envelope envelope = {0};
    char delivery[UUID_TEXT_SIZE], trace_id[33] = "";
    struct audit_origin origin = {.topic = message->topic,
                                  .partition = message->partition,
                                  .offset = message->offset,
                                  .timestamp_ms = message->timestamp_ms,
                                  .delivery = delivery,
                                  .instance = instance,
                                  .trace_id = trace_id};
    const struct error unknown = ERROR_INIT;
    json_t *row;

    if (delivery_id(message, delivery) == NULL)
        return NULL;
    if (kafka_message_get_envelope(message, &envelope))
        traceparent_trace_id(envelope.traceparent, trace_id);
    row = audit_row_dead_letter(&origin, &unknown);
    if (row != NULL && set_key(row, message) == 0 && set_detail(row, message) == 0 && set_origin(row, message) == 0 &&
        set_header(row, "reason", message, DEAD_LETTER_STAGE) == 0 &&
        set_header(row, "error_class", message, DEAD_LETTER_CLASS) == 0 &&
        set_header(row, "error_code", message, DEAD_LETTER_CODE) == 0 &&
        set_header(row, "error_message", message, DEAD_LETTER_MESSAGE) == 0 &&
        (!header_is(message, DEAD_LETTER_CODE, DEAD_LETTER_CODE_TEST) || set_test(row) == 0))
        return row;
    json_decref(row);
    return NULL;
}

/* --- On its way into the audit ------------------------------------------------------------------------------------ */

static void on_committed(void *arg, const struct audit_receipt *receipt, const struct error *err)
{
    struct letter *letter = arg;

    if (receipt == NULL && err->class != ERROR_POISON) {
        letter_free(letter); /* the audit ends; whoever reads the letter next tells of it */
        return;
    }
    if (receipt == NULL)
        log_error("letter.not_audited", LOG_TEXT("topic", letter->topic), LOG_INTEGER("partition", letter->partition),
                  LOG_INTEGER("offset", letter->offset), LOG_ERROR(err));
    letter->ports->on_over(letter->ports->arg, letter->topic, letter->partition, letter->offset);
    letter_free(letter);
}

static bool is_our_own(const struct kafka_message *message)
{
    return header_is(message, DEAD_LETTER_STAGE, "pusher");
}

int letter_take(const struct letter_ports *ports, const struct kafka_message *message, struct error *err)
{
    struct letter *letter;

    if (is_our_own(message)) {
        ports->on_over(ports->arg, message->topic, message->partition, message->offset);
        return 0;
    }
    letter = calloc(1, sizeof(*letter));
    if (letter == NULL)
        return error_no_memory(err);
    letter->ports = ports;
    letter->partition = message->partition;
    letter->offset = message->offset;
    letter->topic = text_copy(message->topic);
    if (letter->topic == NULL) {
        letter_free(letter);
        return error_no_memory(err);
    }
    if (audit_append(ports->audit, letter_row(message, ports->instance), on_committed, letter, err) < 0) {
        letter_free(letter);
        return -1;
    }
    return 0;
}
