#include "mapper/step.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/kafka/topics.h"
#include "mapper/store.h"

#define SOURCE "/tandem/mapper"

/* --- Reading ------------------------------------------------------------------------------------------------------ */

static bool header_is(const struct kafka_message *message, const char *name, const char *expected)
{
    size_t length = 0;
    const char *value = kafka_message_header(message, name, &length);

    /* A message without envelope is taken by its content; one of another type or version is not ours to guess at. */
    return value == NULL || (length == strlen(expected) && memcmp(value, expected, length) == 0);
}

static void take_traceparent(const struct kafka_message *message, char out[static TRACEPARENT_SIZE])
{
    size_t length = 0;
    const char *value = kafka_message_header(message, "traceparent", &length);

    out[0] = '\0';
    if (value != NULL && length < TRACEPARENT_SIZE) {
        memcpy(out, value, length);
        out[length] = '\0';
    }
}

static int check_key(const struct kafka_message *message, const char *deal_key, struct error *err)
{
    size_t length = strlen(deal_key);

    if (length > STORE_KEY_MAX)
        return error_set(err, ERROR_POISON, "message.malformed", "the deal key has %zu bytes, more than %d", length,
                         STORE_KEY_MAX);
    if (message->key_length != length || memcmp(message->key, deal_key, length) != 0)
        return error_set(err, ERROR_POISON, "message.foreign_key", "the message's key is not its deal key");
    return 0;
}

int step_read(const struct kafka_message *message, enum step_kind kind, struct step_input *ret_input, struct error *err)
{
    const char *type = kind == STEP_RECORD ? MESSAGE_RECORD : MESSAGE_OUTCOME;

    *ret_input = (struct step_input){.kind = kind};
    if (message->key == NULL || message->key_length == 0)
        return error_set(err, ERROR_POISON, "message.no_key", "the message has no key");
    if (message->value == NULL)
        return error_set(err, ERROR_POISON, "message.no_value", "the message has no value");
    if (!header_is(message, "ce_type", type))
        return error_set(err, ERROR_POISON, "message.unexpected_type", "the message's ce_type is not %s", type);
    if (kind == STEP_RECORD) {
        if (record_read(message->value, message->value_length, &ret_input->record, err) < 0)
            return -1;
        ret_input->deal_key = ret_input->record.deal_key;
        ret_input->time = ret_input->record.read_at;
    } else {
        if (outcome_read(message->value, message->value_length, &ret_input->outcome, err) < 0)
            return -1;
        ret_input->deal_key = ret_input->outcome.deal_key;
        ret_input->time = ret_input->outcome.finished_at;
    }
    take_traceparent(message, ret_input->traceparent);
    if (check_key(message, ret_input->deal_key, err) < 0) {
        step_input_done(ret_input);
        return -1;
    }
    return 0;
}

void step_input_done(struct step_input *input)
{
    record_done(&input->record);
    outcome_done(&input->outcome);
    input->deal_key = NULL;
    input->time = NULL;
}

/* --- Writing ------------------------------------------------------------------------------------------------------ */

struct writing {
    const struct kafka_message *message;
    const struct step_input *input;
    struct step_result *result;
};

/* Of what a message gives rise to besides a decision: the same when it is read again. */
static int derive_id(const struct kafka_message *message, const char *topic, char out[static ENVELOPE_ID_SIZE],
                     struct error *err)
{
    char *seed =
        text_format("%s/%" PRId32 "/%" PRId64 "/%s", message->topic, message->partition, message->offset, topic);
    char digest[SHA256_HEX_SIZE];
    int result = 0;

    if (seed == NULL || sha256_hex(seed, strlen(seed), digest) == NULL)
        result = error_no_memory(err);
    else
        (void)snprintf(out, ENVELOPE_ID_SIZE, "%s", digest);
    free(seed);
    return result;
}

/* The decision's own id; one that is too long for the envelope stands there as its digest. */
static int decision_envelope_id(const char *id, char out[static ENVELOPE_ID_SIZE], struct error *err)
{
    char digest[SHA256_HEX_SIZE];
    size_t length = strlen(id);

    if (length >= ENVELOPE_ID_SIZE && sha256_hex(id, length, digest) == NULL)
        return error_no_memory(err);
    (void)snprintf(out, ENVELOPE_ID_SIZE, "%s", length < ENVELOPE_ID_SIZE ? id : digest);
    return 0;
}

/* Takes over `key` and `value` (NULL: out of memory), also on failure. `id`: NULL derives it. */
static int add_message(struct writing *writing, const char *topic, const char *type, const char *id, bool is_of_deal,
                       char *key, char *value, size_t length, struct error *err)
{
    struct step_result *result = writing->result;
    struct step_message *message = &result->messages[result->message_count];

    *message =
        (struct step_message){.topic = topic, .is_of_deal = is_of_deal, .key = key, .value = value, .length = length};
    result->message_count++;
    if (key == NULL || value == NULL)
        return error_no_memory(err);
    if (length > STEP_VALUE_MAX)
        return error_set(err, ERROR_POISON, "message.too_large", "what it leads to in '%s' has %zu bytes, more than %d",
                         topic, length, STEP_VALUE_MAX);
    if ((id != NULL ? decision_envelope_id(id, message->envelope.id, err)
                    : derive_id(writing->message, topic, message->envelope.id, err)) < 0)
        return -1;
    (void)snprintf(message->envelope.source, sizeof(message->envelope.source), "%s", SOURCE);
    (void)snprintf(message->envelope.type, sizeof(message->envelope.type), "%s", type);
    (void)snprintf(message->envelope.time, sizeof(message->envelope.time), "%s", writing->input->time);
    (void)snprintf(message->envelope.subject, sizeof(message->envelope.subject), "%s", key);
    traceparent_derive(writing->input->traceparent, message->envelope.id, message->envelope.traceparent);
    return 0;
}

static int add_effects(struct writing *writing, struct error *err)
{
    const struct merge_effects *effects = &writing->result->effects;
    size_t length = 0;
    char *value;

    if (effects->has_decision) {
        value = decision_write(&effects->decision, &length);
        if (add_message(writing, TOPIC_DECISIONS, MESSAGE_DECISION, effects->decision.id, true,
                        text_copy(effects->decision.deal_key), value, length, err) < 0)
            return -1;
    }
    if (effects->has_record) {
        value = record_write(&effects->record, &length);
        if (add_message(writing, TOPIC_RECORDS, MESSAGE_RECORD, NULL, false, text_copy(effects->record.deal_key), value,
                        length, err) < 0)
            return -1;
    }
    if (effects->has_notification) {
        value = notification_write(&effects->notification, &length);
        if (add_message(writing, TOPIC_NOTIFICATIONS, MESSAGE_NOTIFICATION, NULL, false,
                        notification_key(&effects->notification), value, length, err) < 0)
            return -1;
    }
    return 0;
}

static int add_state(struct writing *writing, const struct deal *deal, const char *known, size_t known_length,
                     struct error *err)
{
    size_t length = 0;
    char *state = deal_write(deal, &length);

    if (state == NULL)
        return error_no_memory(err);
    if (known != NULL && length == known_length && memcmp(state, known, length) == 0) {
        free(state);
        return 0;
    }
    writing->result->state = state;
    writing->result->state_length = length;
    return add_message(writing, TOPIC_DEALS, MESSAGE_DEAL, NULL, true, text_copy(deal->key), text_copy_n(state, length),
                       length, err);
}

int step_merge(struct deal *deal, const char *known, size_t known_length, const struct rules *rules,
               const struct kafka_message *message, const struct step_input *input, struct step_result *ret_result,
               struct error *err)
{
    const struct merge_context context = {
        .rules = rules, .topic = message->topic, .partition = message->partition, .offset = message->offset};
    struct writing writing = {.message = message, .input = input, .result = ret_result};
    int status;

    *ret_result = (struct step_result){0};
    status = input->kind == STEP_RECORD ? merge_record(deal, &context, &input->record, &ret_result->effects, err)
                                        : merge_outcome(deal, &context, &input->outcome, &ret_result->effects, err);
    if (status < 0)
        return -1;
    if (add_effects(&writing, err) < 0 || add_state(&writing, deal, known, known_length, err) < 0) {
        step_result_done(ret_result);
        return -1;
    }
    return 0;
}

void step_result_done(struct step_result *result)
{
    merge_effects_done(&result->effects);
    for (size_t k = 0; k < result->message_count; k++) {
        free(result->messages[k].key);
        free(result->messages[k].value);
    }
    free(result->state);
    *result = (struct step_result){0};
}
