#include "pusher/set_aside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kafka/enveloped.h"
#include "common/kafka/topics.h"
#include "common/messages/dead_letter.h"

enum { FIRST_PRINTABLE = 0x20, DELETE = 0x7f, C1_END = 0x9f, TIME_DIGITS = 3, MARKS = 2 };

#define MARK "redrive."

/* --- Reading ------------------------------------------------------------------------------------------------------ */

static bool is_printable(unsigned code_point)
{
    return code_point >= FIRST_PRINTABLE && (code_point < DELETE || code_point > C1_END);
}

/* Characters that could steer a terminal become '?'; text that is no UTF-8 keeps its ASCII. Cut to the room there is. */
static void copy_printable(const char *bytes, size_t length, char *out, size_t size)
{
    const bool is_text = utf8_is_valid(bytes, length, NULL);
    size_t written = 0;

    for (size_t at = 0; at < length;) {
        const size_t start = at;
        const unsigned code_point = is_text ? utf8_next(bytes, length, &at) : (unsigned char)bytes[at++];
        const bool is_kept = is_printable(code_point) && (is_text || code_point < DELETE);
        const size_t count = is_kept ? at - start : 1;

        if (written + count >= size)
            break;
        if (is_kept)
            memcpy(&out[written], &bytes[start], count);
        else
            out[written] = '?';
        written += count;
    }
    out[written] = '\0';
}

static void read_header(const struct kafka_message *message, const char *name, char *out, size_t size)
{
    size_t length = 0;
    const char *value = kafka_message_header(message, name, &length);

    copy_printable(value == NULL ? "" : value, value == NULL ? 0 : length, out, size);
}

static bool read_number(const struct kafka_message *message, const char *name, int64_t most, int64_t *ret_number)
{
    char text[SET_ASIDE_WORD_SIZE];
    unsigned long long number;

    read_header(message, name, text, sizeof(text));
    if (!text_parse_unsigned(text, (unsigned long long)most, &number))
        return false;
    *ret_number = (int64_t)number;
    return true;
}

static void read_headers(struct set_aside *letter)
{
    const struct kafka_message *message = &letter->message;
    struct envelope envelope;
    int64_t partition = 0;

    read_header(message, DEAD_LETTER_STAGE, letter->stage, sizeof(letter->stage));
    read_header(message, DEAD_LETTER_CODE, letter->code, sizeof(letter->code));
    read_header(message, DEAD_LETTER_MESSAGE, letter->reason, sizeof(letter->reason));
    read_header(message, DEAD_LETTER_ATTEMPTS, letter->attempts, sizeof(letter->attempts));
    read_header(message, DEAD_LETTER_TOPIC, letter->origin_topic, sizeof(letter->origin_topic));
    letter->has_origin = letter->origin_topic[0] != '\0' &&
                         read_number(message, DEAD_LETTER_PARTITION, INT32_MAX, &partition) &&
                         read_number(message, DEAD_LETTER_OFFSET, INT64_MAX, &letter->origin_offset);
    letter->origin_partition = (int32_t)partition;
    if (message->key != NULL)
        copy_printable(message->key, message->key_length, letter->key, sizeof(letter->key));
    if (kafka_message_get_envelope(message, &envelope))
        traceparent_trace_id(envelope.traceparent, letter->trace_id);
}

int set_aside_new(const struct kafka_message *letter, bool keeps_value, struct set_aside **ret_letter,
                  struct error *err)
{
    struct set_aside *made = calloc(1, sizeof(*made));
    struct kafka_message kept = *letter;

    if (made == NULL)
        return error_no_memory(err);
    made->has_value = letter->value != NULL;
    made->value_length = letter->value_length;
    if (!keeps_value) {
        kept.value = NULL;
        kept.value_length = 0;
    }
    made->bytes = kafka_message_copy(&kept, &made->message, &made->size);
    if (made->bytes == NULL) {
        free(made);
        return error_no_memory(err);
    }
    read_headers(made);
    *ret_letter = made;
    return 0;
}

void set_aside_free(struct set_aside *letter)
{
    if (letter == NULL)
        return;
    free(letter->bytes);
    free(letter);
}

/* --- Choosing ----------------------------------------------------------------------------------------------------- */

bool set_aside_read_place(const char *text, struct set_aside_place *ret_place)
{
    const char *slash = strchr(text, '/');
    char partition[SET_ASIDE_WORD_SIZE];
    unsigned long long numbers[2];

    if (slash == NULL || (size_t)(slash - text) >= sizeof(partition))
        return false;
    memcpy(partition, text, (size_t)(slash - text));
    partition[slash - text] = '\0';
    if (!text_parse_unsigned(partition, INT32_MAX, &numbers[0]) ||
        !text_parse_unsigned(slash + 1, INT64_MAX, &numbers[1]))
        return false;
    *ret_place = (struct set_aside_place){.partition = (int32_t)numbers[0], .offset = (int64_t)numbers[1]};
    return true;
}

/* A deal's messages have its key; a notification's key names a record: "dynamics-365/4d3c…". */
static bool is_of_deal(const struct set_aside *letter, const char *deal)
{
    const char *slash = strchr(letter->key, '/');
    const char *colon = strchr(deal, ':');

    if (strcmp(letter->key, deal) == 0)
        return true;
    return slash != NULL && strcmp(slash + 1, colon == NULL ? deal : colon + 1) == 0;
}

static bool is_of_selected_deal(const struct set_aside *letter, const struct set_aside_selection *selection)
{
    if (selection->deal == NULL || is_of_deal(letter, selection->deal))
        return true;
    for (size_t i = 0; i < selection->deal_name_count; i++)
        if (is_of_deal(letter, selection->deal_names[i]))
            return true;
    return false;
}

static bool is_at_a_place(const struct set_aside *letter, const struct set_aside_selection *selection)
{
    for (size_t i = 0; i < selection->place_count; i++)
        if (letter->message.partition == selection->places[i].partition &&
            letter->message.offset == selection->places[i].offset)
            return true;
    return selection->place_count == 0;
}

bool set_aside_is_meant(const struct set_aside *letter, const struct set_aside_selection *selection)
{
    return letter->message.timestamp_ms >= selection->since_ms && is_at_a_place(letter, selection) &&
           is_of_selected_deal(letter, selection) &&
           (selection->code == NULL || strcmp(letter->code, selection->code) == 0) &&
           (selection->stage == NULL || strcmp(letter->stage, selection->stage) == 0);
}

/* --- Driving again ------------------------------------------------------------------------------------------------ */

const char *set_aside_hindrance(const struct set_aside *letter, const char *prefix)
{
    static const char *const TOPICS[] = {TOPIC_NOTIFICATIONS, TOPIC_RECORDS, TOPIC_DECISIONS, TOPIC_OUTCOMES};

    if (strcmp(letter->code, DEAD_LETTER_CODE_TEST) == 0)
        return "a validation event: there is nothing to do";
    if (!letter->has_origin)
        return "a request that never was a message: its sender has to send it again, or the poll finds the record";
    for (size_t i = 0; i < ARRAY_LENGTH(TOPICS); i++)
        if (text_starts_with(letter->origin_topic, prefix) &&
            strcmp(letter->origin_topic + strlen(prefix), TOPICS[i]) == 0)
            return NULL;
    return "it came from no topic of this deployment";
}

char *set_aside_name(const struct set_aside *letter, char out[static SET_ASIDE_NAME_SIZE])
{
    (void)snprintf(out, SET_ASIDE_NAME_SIZE, "%s/%" PRId32 "/%" PRId64, letter->message.topic,
                   letter->message.partition, letter->message.offset);
    return out;
}

void set_aside_redrive(const struct set_aside *letter, const char *name, const char *time,
                       struct kafka_message *ret_message)
{
    const struct kafka_message *original = &letter->message;
    struct kafka_message message = {.topic = letter->origin_topic,
                                    .key = original->key,
                                    .key_length = original->key_length,
                                    .value = original->value,
                                    .value_length = original->value_length};

    /* The marks come before a header more: by them the pusher knows that it must not carry out an old decision. */
    for (size_t i = 0; i < original->header_count && message.header_count < KAFKA_HEADERS_MAX - MARKS; i++) {
        const struct kafka_header *header = &original->headers[i];
        if (!text_starts_with(header->name, DEAD_LETTER_PREFIX) && !text_starts_with(header->name, MARK))
            message.headers[message.header_count++] = *header;
    }
    kafka_message_add_header(&message, REDRIVE_LETTER, name);
    kafka_message_add_header(&message, REDRIVE_TIME, time);
    *ret_message = message;
}

/* --- For people --------------------------------------------------------------------------------------------------- */

static const char *or_none(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static int print_origin(const struct set_aside *letter, struct text *out)
{
    if (!letter->has_origin)
        return text_append(out, "  from no topic: a request that was set aside as it came\n");
    return text_appendf(out, "  from %s, partition %" PRId32 ", offset %" PRId64 "; attempts %s\n",
                        letter->origin_topic, letter->origin_partition, letter->origin_offset,
                        or_none(letter->attempts));
}

static int print_value(const struct set_aside *letter, struct text *out)
{
    const struct kafka_message *message = &letter->message;
    char *shown;
    int status;

    if (!letter->has_value)
        return text_append(out, "  value: none\n");
    shown = malloc(message->value_length + 1);
    if (shown == NULL)
        return -1;
    copy_printable(message->value, message->value_length, shown, message->value_length + 1);
    status = text_appendf(out, "  value: ") < 0 || text_append(out, shown) < 0 ? -1 : text_append_char(out, '\n');
    free(shown);
    return status;
}

int set_aside_print(const struct set_aside *letter, bool with_value, struct text *out)
{
    char time[TIMESTAMP_TEXT_SIZE], again[TIMESTAMP_TEXT_SIZE] = "";

    (void)timestamp_format(timestamp_from_ms(letter->message.timestamp_ms), TIME_DIGITS, time);
    if (letter->redriven_ms != 0)
        (void)timestamp_format(timestamp_from_ms(letter->redriven_ms), 0, again);
    if (text_appendf(out, "%" PRId32 "/%" PRId64 "  %s  %s  %s%s%s\n", letter->message.partition,
                     letter->message.offset, time, or_none(letter->stage), or_none(letter->code),
                     again[0] == '\0' ? "" : "  driven again ", again) < 0 ||
        text_appendf(out, "  %s\n", or_none(letter->reason)) < 0 ||
        text_appendf(out, "  key %s  trace %s  %zu bytes\n", or_none(letter->key), or_none(letter->trace_id),
                     letter->value_length) < 0 ||
        print_origin(letter, out) < 0)
        return -1;
    return with_value ? print_value(letter, out) : 0;
}
