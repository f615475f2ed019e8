#include "mapper/settle_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/kafka/enveloped.h"
#include "common/kafka/producer.h"
#include "common/kafka/topics.h"
#include "common/messages/record.h"
#include "common/runtime/loop.h"
#include "mapper/deal_lookup.h"

#define INSTANCE "settle"

enum { ANSWER_MS = 15000, CLOSE_MS = 3000, TIME_DIGITS = 3 };

struct sending {
    struct loop *loop;
    struct error error; /* of the delivery */
    bool is_over;
};

static void on_delivered(void *arg, const struct error *err)
{
    struct sending *sending = arg;

    if (sending->is_over)
        return;
    sending->is_over = true;
    if (err != NULL)
        sending->error = *err;
    loop_stop(sending->loop);
}

static void on_late(void *arg)
{
    on_delivered(arg, &KAFKA_NO_ANSWER);
}

static int check(const struct rules *rules, const struct settle_request *request, struct error *err)
{
    const struct rule_field *field = rules_field(rules, request->field);
    const bool is_side =
        text_equal(request->take, side_name(SIDE_PARTNER_CENTER)) || text_equal(request->take, side_name(SIDE_CRM));
    const char *also = is_side ? "" : "; --take wants partner-center or crm";

    if (field == NULL)
        return error_set(err, ERROR_CONFIG, "settle.field", "the rules have no field '%s'%s", request->field, also);
    if (field->policy != POLICY_MANUAL)
        return error_set(err, ERROR_CONFIG, "settle.policy", "conflicts of '%s' are not left to a person%s",
                         request->field, also);
    return is_side ? 0 : error_set(err, ERROR_CONFIG, "settle.take", "--take wants partner-center or crm");
}

/* The deal as its last committed merge has left it: a conflict that stands in the audit stands there as well. */
static int check_deal(const struct kafka_settings *kafka, const struct settle_request *request, struct error *err)
{
    struct deal deal;
    int status = 0;

    if (deal_lookup(kafka, request->deal_key, &deal, err) < 0)
        return -1;
    if (json_object_get(deal.parked, request->field) == NULL)
        status = error_set(err, ERROR_CONFIG, "settle.not_parked",
                           "no conflict of '%s' waits to be settled in deal %.100s", request->field, deal.key);
    deal_done(&deal);
    return status;
}

static char *write_record(const struct settle_request *request, const char *now, size_t *ret_length, struct error *err)
{
    struct record record = {.kind = RECORD_SETTLE};
    char *value = NULL;

    if (text_assign(&record.deal_key, request->deal_key, err) == 0 &&
        text_assign(&record.field, request->field, err) == 0 && text_assign(&record.take, request->take, err) == 0 &&
        text_assign(&record.read_at, now, err) == 0)
        value = record_write(&record, ret_length);
    record_done(&record);
    if (value == NULL)
        (void)error_no_memory(err);
    return value;
}

static void fill_envelope(struct envelope *envelope, const struct settle_request *request, const char *now)
{
    uint8_t random[24];

    random_fill(random, sizeof(random));
    traceparent_new(random, envelope->traceparent);
    traceparent_trace_id(envelope->traceparent, envelope->id);
    (void)snprintf(envelope->source, sizeof(envelope->source), "/tandem/mapper/settle");
    (void)snprintf(envelope->type, sizeof(envelope->type), "%s", MESSAGE_RECORD);
    (void)snprintf(envelope->time, sizeof(envelope->time), "%s", now);
    (void)snprintf(envelope->subject, sizeof(envelope->subject), "%.*s", (int)sizeof(envelope->subject) - 1,
                   request->deal_key);
}

static int tell(struct sending *sending, const struct kafka_settings *kafka, const struct settle_request *request,
                const char *topic, struct error *err)
{
    static const char *const topics[] = {TOPIC_RECORDS, NULL};
    struct loop_timer *timer = loop_timer_new(sending->loop, on_late, sending);
    struct producer *producer = NULL;
    struct envelope envelope = {0};
    struct kafka_message message = {.topic = topic, .key = request->deal_key, .key_length = strlen(request->deal_key)};
    char now[TIMESTAMP_TEXT_SIZE];
    char *value = NULL;
    int status = -1;

    timestamp_format(clock_now(), TIME_DIGITS, now);
    value = write_record(request, now, &message.value_length, err);
    if (value == NULL)
        goto out;
    if (timer == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    message.value = value;
    fill_envelope(&envelope, request, now);
    kafka_message_set_envelope(&message, &envelope);
    if (producer_new(sending->loop, kafka, INSTANCE, topics, &producer, err) < 0 ||
        producer_send(producer, &message, on_delivered, sending, err) < 0)
        goto out;
    loop_timer_set(timer, ANSWER_MS);
    status = loop_run(sending->loop, err);
    sending->is_over = true; /* what is told from now on comes too late */
    if (status == 0 && sending->error.class != ERROR_NONE) {
        *err = sending->error;
        status = -1;
    }
out:
    producer_free(producer, CLOSE_MS);
    loop_timer_free(timer);
    free(value);
    return status;
}

int settle_command_run(const struct kafka_settings *kafka, const struct rules *rules,
                       const struct settle_request *request, struct error *err)
{
    struct sending sending = {0};
    char *topic;
    int status = -1;

    if (check(rules, request, err) < 0 || check_deal(kafka, request, err) < 0)
        return -1;
    topic = kafka_topic_name(kafka, TOPIC_RECORDS);
    if (topic == NULL)
        (void)error_no_memory(err);
    else if (loop_new(&sending.loop, err) == 0)
        status = tell(&sending, kafka, request, topic, err);
    loop_free(sending.loop);
    free(topic);
    return status;
}
