#include "common/kafka/reader.h"

#include <stdlib.h>

#include "common/kafka/native.h"
#include "common/kafka/queue.h"
#include "common/runtime/log.h"

enum { END_REQUEST_TIMEOUT_MS = 5000, END_REPEAT_DELAY_MS = 100, ERRSTR_SIZE = 256 };

struct reader_partition {
    int32_t number;
    int64_t from; /* -1: the beginning */
    int64_t end;  /* high watermark when it was asked for; -1: not known yet */
    bool follows;
    bool has_ended;
    struct reader_partition *next;
};

struct reader {
    struct loop *loop;
    struct reader_callbacks callbacks;
    void *arg;
    char *topic_name;
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *messages;
    struct queue_watch *messages_watch;
    rd_kafka_queue_t *answers;
    struct queue_watch *answers_watch;
    struct loop_timer *repeat;
    struct reader_partition *partitions;
    bool has_failed;
    bool is_serving; /* a callback of the owner may be running */
    bool is_freed;   /* by it: done when it has returned */
};

static struct reader_partition *find_partition(const struct reader *reader, int32_t number)
{
    struct reader_partition *partition = reader->partitions;

    while (partition != NULL && partition->number != number)
        partition = partition->next;
    return partition;
}

static void fail(struct reader *reader, const struct error *err)
{
    if (reader->has_failed || reader->is_freed)
        return;
    reader->has_failed = true;
    reader->callbacks.on_failed(reader->arg, err);
}

/* --- Where the partitions end ------------------------------------------------------------------------------------- */

/* Asked read_uncommitted: the mark that ends the last transaction may not be in this partition yet, and what lies
 * before it must not be missed. */
static void ask_end(struct reader *reader, int32_t number)
{
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(reader->client, RD_KAFKA_ADMIN_OP_LISTOFFSETS);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    char unused[ERRSTR_SIZE];
    rd_kafka_error_t *refused;

    (void)rd_kafka_AdminOptions_set_request_timeout(options, END_REQUEST_TIMEOUT_MS, unused, sizeof(unused));
    refused = rd_kafka_AdminOptions_set_isolation_level(options, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED);
    if (refused != NULL)
        rd_kafka_error_destroy(refused);
    rd_kafka_topic_partition_list_add(list, reader->topic_name, number)->offset = RD_KAFKA_OFFSET_SPEC_LATEST;
    rd_kafka_ListOffsets(reader->client, list, options, reader->answers);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_AdminOptions_destroy(options);
}

static void ask_again(void *arg)
{
    struct reader *reader = arg;

    for (const struct reader_partition *partition = reader->partitions; partition; partition = partition->next) {
        if (partition->end < 0)
            ask_end(reader, partition->number);
    }
}

static void start(struct reader *reader, struct reader_partition *partition, int64_t end)
{
    int64_t from = partition->from >= 0 ? partition->from : RD_KAFKA_OFFSET_BEGINNING;
    struct error err = ERROR_INIT;

    partition->end = end;
    if (rd_kafka_consume_start_queue(reader->topic, partition->number, from, reader->messages) != 0) {
        (void)kafka_error(&err, rd_kafka_last_error(), reader->topic_name);
        fail(reader, &err);
    }
}

static void take_end(struct reader *reader, rd_kafka_event_t *event)
{
    const rd_kafka_ListOffsets_result_t *result = rd_kafka_event_ListOffsets_result(event);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const rd_kafka_ListOffsetsResultInfo_t **infos;
    const rd_kafka_topic_partition_t *found = NULL;
    struct reader_partition *partition;
    struct error err = ERROR_INIT;
    size_t count = 0;

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        infos = rd_kafka_ListOffsets_result_infos(result, &count);
        if (count == 1) {
            found = rd_kafka_ListOffsetsResultInfo_topic_partition(infos[0]);
            code = found->err;
        } else {
            code = RD_KAFKA_RESP_ERR__BAD_MSG;
        }
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR || found == NULL) {
        (void)kafka_error(&err, code, reader->topic_name);
        if (err.class == ERROR_TRANSIENT)
            loop_timer_set(reader->repeat, END_REPEAT_DELAY_MS);
        else
            fail(reader, &err);
        return;
    }
    partition = find_partition(reader, found->partition);
    /* It may have been taken out meanwhile, or asked about twice. */
    if (partition != NULL && partition->end < 0)
        start(reader, partition, found->offset);
}

/* --- Messages ----------------------------------------------------------------------------------------------------- */

static void take_partition_end(struct reader *reader, int32_t number, int64_t offset)
{
    struct reader_partition *partition = find_partition(reader, number);

    /* At an open transaction the partition ends earlier for us than it does in truth: then wait for the next end. */
    if (partition == NULL || partition->has_ended || partition->end < 0 || offset < partition->end)
        return;
    partition->has_ended = true;
    if (!partition->follows)
        (void)rd_kafka_consume_stop(reader->topic, number);
    reader->callbacks.on_end(reader->arg, number, offset);
}

static void take_message(struct reader *reader, const rd_kafka_message_t *native)
{
    struct kafka_message message;
    struct error err = ERROR_INIT;

    if (native->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        take_partition_end(reader, native->partition, native->offset);
    } else if (native->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (native_is_fatal(reader->client, native, &err))
            fail(reader, &err);
        else
            log_warning("kafka.reader_error", LOG_ERROR(&err));
    } else if (find_partition(reader, native->partition) != NULL) {
        native_read(native, &message);
        reader->callbacks.on_message(reader->arg, &message);
    }
}

/* --- Serving ------------------------------------------------------------------------------------------------------ */

static void release(struct reader *reader);

/* The owner's callbacks may call reader_free(), which then happens here. Returns whether the reader is still there. */
static bool end_serving(struct reader *reader)
{
    reader->is_serving = false;
    if (!reader->is_freed)
        return true;
    release(reader);
    return false;
}

static bool serve_answers(void *arg)
{
    struct reader *reader = arg;
    rd_kafka_event_t *event = rd_kafka_queue_poll(reader->answers, 0);

    if (event == NULL)
        return false;
    reader->is_serving = true;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LISTOFFSETS_RESULT)
        take_end(reader, event);
    rd_kafka_event_destroy(event);
    return end_serving(reader);
}

static bool serve_messages(void *arg)
{
    struct reader *reader = arg;
    struct queue_turn turn = queue_turn_begin();
    bool has_more = true;

    reader->is_serving = true;
    while (!reader->has_failed && !reader->is_freed) {
        rd_kafka_message_t *native = rd_kafka_consume_queue(reader->messages, 0);

        if (native == NULL) {
            has_more = false;
            break;
        }
        take_message(reader, native);
        rd_kafka_message_destroy(native);
        if (!queue_turn_goes_on(&turn))
            break;
    }
    has_more = has_more && !reader->has_failed;
    return end_serving(reader) && has_more;
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

int reader_new(struct loop *loop, const struct kafka_settings *settings, const char *topic, const char *instance,
               const struct reader_callbacks *callbacks, void *arg, struct reader **ret_reader, struct error *err)
{
    struct reader *reader = calloc(1, sizeof(*reader));

    if (reader == NULL)
        return error_no_memory(err);
    reader->loop = loop;
    reader->callbacks = *callbacks;
    reader->arg = arg;
    reader->topic_name = kafka_topic_name(settings, topic);
    reader->repeat = loop_timer_new(loop, ask_again, reader);
    if (reader->topic_name == NULL || reader->repeat == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (kafka_client_new(settings, KAFKA_READER, NULL, instance, NULL, NULL, &reader->client, err) < 0)
        goto out;
    reader->topic = rd_kafka_topic_new(reader->client, reader->topic_name, NULL);
    if (reader->topic == NULL) {
        (void)kafka_error(err, rd_kafka_last_error(), reader->topic_name);
        goto out;
    }
    reader->messages = rd_kafka_queue_new(reader->client);
    reader->answers = rd_kafka_queue_new(reader->client);
    if (queue_watch_new(loop, reader->messages, serve_messages, reader, &reader->messages_watch, err) < 0 ||
        queue_watch_new(loop, reader->answers, serve_answers, reader, &reader->answers_watch, err) < 0)
        goto out;
    *ret_reader = reader;
    return 0;
out:
    reader_free(reader);
    return -1;
}

int reader_add(struct reader *reader, int32_t partition, int64_t from, bool follow, struct error *err)
{
    struct reader_partition *added;

    if (find_partition(reader, partition) != NULL)
        return error_set(err, ERROR_FATAL, "kafka.unexpected", "partition %d is being read already", (int)partition);
    added = calloc(1, sizeof(*added));
    if (added == NULL)
        return error_no_memory(err);
    added->number = partition;
    added->from = from;
    added->end = -1;
    added->follows = follow;
    added->next = reader->partitions;
    reader->partitions = added;
    ask_end(reader, partition);
    return 0;
}

void reader_remove(struct reader *reader, int32_t partition)
{
    struct reader_partition **place = &reader->partitions;

    while (*place != NULL && (*place)->number != partition)
        place = &(*place)->next;
    if (*place != NULL) {
        struct reader_partition *removed = *place;

        *place = removed->next;
        if (removed->end >= 0 && (removed->follows || !removed->has_ended))
            (void)rd_kafka_consume_stop(reader->topic, partition);
        free(removed);
    }
}

static void release(struct reader *reader)
{
    while (reader->partitions != NULL)
        reader_remove(reader, reader->partitions->number);
    loop_timer_free(reader->repeat);
    queue_watch_free(reader->messages_watch);
    queue_watch_free(reader->answers_watch);
    if (reader->messages != NULL)
        rd_kafka_queue_destroy(reader->messages);
    if (reader->answers != NULL)
        rd_kafka_queue_destroy(reader->answers);
    if (reader->topic != NULL)
        rd_kafka_topic_destroy(reader->topic);
    if (reader->client != NULL)
        rd_kafka_destroy(reader->client);
    free(reader->topic_name);
    free(reader);
}

void reader_free(struct reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->is_serving)
        reader->is_freed = true;
    else
        release(reader);
}
