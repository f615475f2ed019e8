#include "common/kafka/native.h"

#include "common/kafka/client.h"
#include "common/runtime/loop.h"

enum { FATAL_TEXT_SIZE = 256, CLOSE_TURN_MS = 50 };

static void read_headers(const rd_kafka_message_t *native, struct kafka_message *message)
{
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t length;

    if (rd_kafka_message_headers(native, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    while (message->header_count < KAFKA_HEADERS_MAX &&
           rd_kafka_header_get_all(headers, message->header_count, &name, &value, &length) ==
               RD_KAFKA_RESP_ERR_NO_ERROR) {
        message->headers[message->header_count] =
            (struct kafka_header){.name = name, .value = value, .length = value != NULL ? length : 0};
        message->header_count++;
    }
}

void native_read(const rd_kafka_message_t *native, struct kafka_message *ret_message)
{
    int64_t timestamp_ms = rd_kafka_message_timestamp(native, NULL);

    ret_message->topic = native->rkt != NULL ? rd_kafka_topic_name(native->rkt) : "";
    ret_message->partition = native->partition;
    ret_message->offset = native->offset;
    ret_message->timestamp_ms = timestamp_ms < 0 ? 0 : timestamp_ms;
    ret_message->key = native->key;
    ret_message->key_length = native->key != NULL ? native->key_len : 0;
    ret_message->value = native->payload;
    ret_message->value_length = native->payload != NULL ? native->len : 0;
    ret_message->header_count = 0;
    read_headers(native, ret_message);
}

/* NULL when out of memory. */
static rd_kafka_headers_t *write_headers(const struct kafka_message *message)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(message->header_count);

    for (size_t k = 0; headers != NULL && k < message->header_count; k++) {
        const struct kafka_header *header = &message->headers[k];

        if (rd_kafka_header_add(headers, header->name, -1, header->value, (ssize_t)header->length) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_headers_destroy(headers);
            headers = NULL;
        }
    }
    return headers;
}

rd_kafka_resp_err_t native_produce(rd_kafka_t *client, const struct kafka_message *message, int32_t partition,
                                   void *opaque)
{
    rd_kafka_headers_t *headers = write_headers(message);
    rd_kafka_resp_err_t code;

    if (headers == NULL)
        return RD_KAFKA_RESP_ERR__QUEUE_FULL;
    /* The macros around these arguments are statement expressions, which ISO C does not know. producev, not produceva:
     * before 2.12 that one frees the headers twice when the partition does not exist. */
    code = rd_kafka_producev(client, RD_KAFKA_VTYPE_TOPIC, message->topic, RD_KAFKA_VTYPE_PARTITION, partition,
                             RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_MSG_F_COPY, RD_KAFKA_VTYPE_KEY, message->key,
                             message->key_length, RD_KAFKA_VTYPE_VALUE, message->value, message->value_length,
                             RD_KAFKA_VTYPE_HEADERS, headers, RD_KAFKA_VTYPE_OPAQUE, opaque, RD_KAFKA_VTYPE_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return code;
}

bool native_is_fatal(rd_kafka_t *client, const rd_kafka_message_t *native, struct error *err)
{
    rd_kafka_resp_err_t code = native->err;
    char text[FATAL_TEXT_SIZE];

    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return false;
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        code = rd_kafka_fatal_error(client, text, sizeof(text));
    (void)kafka_error(err, code, native->rkt != NULL ? rd_kafka_topic_name(native->rkt) : "consumer");
    if (native->rkt != NULL)
        (void)error_wrap(err, "partition %d", (int)native->partition);
    if (native->err == RD_KAFKA_RESP_ERR__FATAL)
        err->class = ERROR_FATAL;
    /* Rebalances resolve themselves, and so does this: after too long a pause between two polls librdkafka leaves the
     * group and joins it again. */
    return err->class != ERROR_TRANSIENT && err->class != ERROR_ABORT && code != RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED;
}

void native_close_consumer(rd_kafka_t *consumer, int64_t wait_ms)
{
    int64_t end_ms = clock_monotonic_ms() + wait_ms;
    rd_kafka_queue_t *last_events = rd_kafka_queue_new(consumer);
    rd_kafka_error_t *refused = rd_kafka_consumer_close_queue(consumer, last_events);

    if (refused != NULL)
        rd_kafka_error_destroy(refused);
    while (refused == NULL && !rd_kafka_consumer_closed(consumer) && clock_monotonic_ms() < end_ms) {
        /* Events, not callbacks: fetched messages come this way, too, and rd_kafka_queue_poll_callback() aborts the
         * process when it meets one. */
        rd_kafka_event_t *event = rd_kafka_queue_poll(last_events, CLOSE_TURN_MS);

        if (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            rd_kafka_assign(consumer, NULL);
        if (event != NULL)
            rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(last_events);
}
