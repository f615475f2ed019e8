#include "ingest/reading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/kafka/enveloped.h"
#include "common/messages/record.h"

enum { ID_TEXT_MAX = 1 << 20 };

static const char *const ORIGINS[] = {"webhook", "poll", "backfill", "mapper"};

/* Also the order of the topic: what happened first came first, unless somebody's clock says otherwise. */
static json_t *cause_of(const struct arrival *arrival)
{
    const struct notification *notification = &arrival->notification;

    return json_pack("{s:s, s:s, s:s, s:s, s:s?}", "notification", arrival->envelope.id, "origin",
                     ORIGINS[notification->origin], "event", notification->event, "received_at",
                     notification->received_at, "occurred_at", notification->occurred_at);
}

static bool concerns(const struct arrival *arrival, const struct system_answer *answer, const char *gone_key)
{
    char *key = NULL;
    bool is_same;

    if (gone_key == NULL)
        return true;
    if (reading_gone_key(arrival, answer, &key) < 0)
        return false;
    is_same = text_equal(key, gone_key);
    free(key);
    return is_same;
}

/* `gone_key`: only those that belong to it; NULL: all. *ret_first: the earliest of them. */
static json_t *causes_of(const struct fold_item *batch, const struct system_answer *answer, const char *gone_key,
                         const struct arrival **ret_first)
{
    json_t *causes = json_array();

    *ret_first = NULL;
    for (const struct fold_item *item = batch; item != NULL && causes != NULL; item = item->next) {
        const struct arrival *arrival = arrival_of_const(item);
        if (!concerns(arrival, answer, gone_key))
            continue;
        if (*ret_first == NULL)
            *ret_first = arrival;
        if (json_array_append_new(causes, cause_of(arrival)) < 0) {
            json_decref(causes);
            causes = NULL;
        }
    }
    return causes;
}

/* The same content for the same reason has the same id, so that a repetition is recognisable: system, record, what was
 * seen of it in which version, and the first notification. */
static int identify(const struct record *record, const struct arrival *first, char out[static SHA256_HEX_SIZE])
{
    struct text text;
    bool is_whole;

    text_init(&text, ID_TEXT_MAX);
    is_whole = text_appendf(&text, "%s\n%s\n%s\n%s\n%s\n", record->system, record->record_type, record->record_id,
                            record->reason == NULL ? "" : record->reason, first->envelope.id) == 0;
    for (size_t i = 0; is_whole && i < json_array_size(record->documents); i++) {
        const json_t *document = json_array_get(record->documents, i);
        const char *version = json_text_of(document, "version");
        const char *etag = json_text_of(document, "etag");
        is_whole = text_appendf(&text, "%s\n%s\n%s\n%s\n", json_text_of(document, "role"), json_text_of(document, "id"),
                                version == NULL ? "" : version, etag == NULL ? "" : etag) == 0;
    }
    is_whole = is_whole && sha256_hex(text_string(&text), text.length, out) != NULL;
    text_done(&text);
    return is_whole ? 0 : -1;
}

static int seal(const struct reading_context *context, const struct record *record, const struct arrival *first,
                struct reading *ret_reading)
{
    struct reading reading = {0};
    struct envelope *envelope = &reading.envelope;
    char id[SHA256_HEX_SIZE];

    if (identify(record, first, id) < 0)
        return -1;
    memcpy(envelope->id, id, sizeof(id));
    (void)snprintf(envelope->source, sizeof(envelope->source), "/tandem/ingest/fetch");
    (void)snprintf(envelope->type, sizeof(envelope->type), MESSAGE_RECORD);
    (void)snprintf(envelope->time, sizeof(envelope->time), "%s", record->read_at);
    (void)snprintf(envelope->subject, sizeof(envelope->subject), "%s", record->deal_key);
    traceparent_continue(first->envelope.traceparent, context->random, envelope->traceparent);
    reading.key = text_copy(record->deal_key);
    reading.value = record_write(record, &reading.value_length);
    if (reading.key == NULL || reading.value == NULL) {
        reading_done(&reading);
        return -1;
    }
    *ret_reading = reading;
    return 0;
}

static bool is_partner_center(const struct arrival *arrival)
{
    return text_equal(arrival->notification.source, "partner-center");
}

static int complete(const struct reading_context *context, const struct system_answer *answer, const char *gone_key,
                    struct record *record, struct reading *ret_reading, struct error *err)
{
    const struct arrival *first = NULL;
    json_auto_t *causes = causes_of(context->batch, answer, gone_key, &first);
    char read_at[TIMESTAMP_TEXT_SIZE];

    if (causes == NULL || first == NULL)
        return error_no_memory(err);
    record->side = (char *)(uintptr_t)(is_partner_center(first) ? "partner-center" : "crm");
    record->system = first->notification.source;
    record->read_at = timestamp_format(context->read_at, 3, read_at);
    record->causes = causes;
    if (seal(context, record, first, ret_reading) < 0)
        return error_no_memory(err);
    return 0;
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

const char *reading_record_type(const struct fold_item *batch)
{
    const char *type = NULL;

    for (const struct fold_item *item = batch; item != NULL; item = item->next) {
        type = arrival_of_const(item)->notification.record_type;
        if (strcmp(type, "related-referral") != 0)
            break;
    }
    return type;
}

/* The record borrows all its texts: it lives for one call. */
int reading_of_answer(const struct reading_context *context, const struct system_answer *answer,
                      struct reading *ret_reading, struct error *err)
{
    const struct arrival *first = arrival_of_const(context->batch);
    const char *type = is_partner_center(first) ? "referral" : first->notification.record_type;
    struct record record = {
        .kind = RECORD_READING,
        .deal_key = (char *)(uintptr_t)answer->deal_key,
        .record_type = (char *)(uintptr_t)type,
        .record_id = (char *)(uintptr_t)answer->record_id,
        .documents = (json_t *)(uintptr_t)answer->documents,
    };

    return complete(context, answer, NULL, &record, ret_reading, err);
}

int reading_gone_key(const struct arrival *arrival, const struct system_answer *answer, char **ret_key)
{
    const struct notification *notification = &arrival->notification;

    *ret_key = NULL;
    if (notification->deal_key != NULL) {
        *ret_key = text_copy(notification->deal_key);
    } else if (!is_partner_center(arrival)) {
        *ret_key = text_format("crm:%s", notification->record_id);
    } else if (text_equal(notification->record_type, "referral") &&
               !text_equal(answer->error.code, "partner_center.no_own_referral")) {
        *ret_key = text_copy(notification->record_id);
    } else {
        return 0;
    }
    return *ret_key == NULL ? -1 : 0;
}

static const char *reason_of(const struct fold_item *batch, const struct system_answer *answer)
{
    /* What was deleted and can be read no more is deleted; Dataverse says so in its event. */
    for (const struct fold_item *item = batch; item != NULL; item = item->next) {
        if (text_equal_ignoring_case(arrival_of_const(item)->notification.event, "Delete"))
            return "deleted";
    }
    return answer->status == 403 || text_ends_with(answer->error.code, ".forbidden") ? "forbidden" : "not_found";
}

int reading_of_absence(const struct reading_context *context, const struct system_answer *answer, const char *key,
                       struct reading *ret_reading, struct error *err)
{
    const struct arrival *first = arrival_of_const(context->batch);
    const char *type = is_partner_center(first) ? "referral" : first->notification.record_type;
    struct record record = {
        .kind = RECORD_GONE,
        .deal_key = (char *)(uintptr_t)key,
        .record_type = (char *)(uintptr_t)type,
        .record_id = first->notification.record_id,
        .reason = (char *)(uintptr_t)reason_of(context->batch, answer),
    };

    return complete(context, answer, key, &record, ret_reading, err);
}

void reading_done(struct reading *reading)
{
    free(reading->key);
    free(reading->value);
    reading->key = NULL;
    reading->value = NULL;
}

void reading_message(const struct reading *reading, struct kafka_message *ret_message)
{
    *ret_message = (struct kafka_message){.key = reading->key,
                                          .key_length = strlen(reading->key),
                                          .value = reading->value,
                                          .value_length = reading->value_length};
    kafka_message_set_envelope(ret_message, &reading->envelope);
}
