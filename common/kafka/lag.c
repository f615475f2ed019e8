#include "common/kafka/lag.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/client.h"
#include "common/kafka/queue.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum { INTERVAL_MS = 2000, REQUEST_TIMEOUT_MS = 5000, ERRSTR_SIZE = 256, NUMBER_SIZE = 16 };

struct watched {
    char *topic;
    int32_t number;
    struct series *series;
    int64_t shown; /* our part of the series' value */
};

struct lag {
    rd_kafka_t *client;
    char *group;
    rd_kafka_queue_t *queue;
    struct queue_watch *watch;
    struct loop_timer *next;
    lag_unfinished_callback first_unfinished;
    void *arg;
    struct metric *metric;
    struct watched *partitions;
    size_t partition_count;
    bool is_asking; /* one question is under way at a time */
};

/* By difference: a series that several partitions share holds their sum. */
static void show(struct watched *partition, int64_t value)
{
    metric_add(partition->series, value - partition->shown);
    partition->shown = value;
}

static void forget_partitions(struct lag *lag)
{
    for (size_t k = 0; k < lag->partition_count; k++) {
        show(&lag->partitions[k], 0);
        free(lag->partitions[k].topic);
    }
    free(lag->partitions);
    lag->partitions = NULL;
    lag->partition_count = 0;
}

/* Ends are read_uncommitted unless an option says otherwise. */
static void ask(void *arg)
{
    struct lag *lag = arg;
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_AdminOptions_t *options;
    char unused[ERRSTR_SIZE];

    if (lag->is_asking || lag->partition_count == 0)
        return;
    list = rd_kafka_topic_partition_list_new((int)lag->partition_count);
    for (size_t k = 0; k < lag->partition_count; k++)
        rd_kafka_topic_partition_list_add(list, lag->partitions[k].topic, lag->partitions[k].number)->offset =
            RD_KAFKA_OFFSET_SPEC_LATEST;
    options = rd_kafka_AdminOptions_new(lag->client, RD_KAFKA_ADMIN_OP_LISTOFFSETS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_TIMEOUT_MS, unused, sizeof(unused));
    rd_kafka_ListOffsets(lag->client, list, options, lag->queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_topic_partition_list_destroy(list);
    lag->is_asking = true;
}

static struct watched *find(const struct lag *lag, const char *topic, int32_t number)
{
    for (size_t k = 0; k < lag->partition_count; k++) {
        if (lag->partitions[k].number == number && strcmp(lag->partitions[k].topic, topic) == 0)
            return &lag->partitions[k];
    }
    return NULL;
}

static void take_end(struct lag *lag, const rd_kafka_topic_partition_t *end)
{
    struct watched *partition = find(lag, end->topic, end->partition);
    int64_t unfinished;

    /* An answer may speak of partitions that were given away since the question. */
    if (partition == NULL || end->err != RD_KAFKA_RESP_ERR_NO_ERROR || end->offset < 0)
        return;
    unfinished = lag->first_unfinished(lag->arg, end->topic, end->partition);
    /* The reader may have gone past an end that was true when the broker told it. */
    if (unfinished >= 0)
        show(partition, end->offset > unfinished ? end->offset - unfinished : 0);
}

static void take_answer(struct lag *lag, rd_kafka_event_t *event)
{
    const rd_kafka_ListOffsets_result_t *result = rd_kafka_event_ListOffsets_result(event);
    const rd_kafka_ListOffsetsResultInfo_t **infos;
    size_t count = 0;

    if (result == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        log_debug("kafka.lag_not_known", LOG_TEXT("reason", rd_kafka_err2name(rd_kafka_event_error(event))));
        return;
    }
    infos = rd_kafka_ListOffsets_result_infos(result, &count);
    for (size_t k = 0; k < count; k++)
        take_end(lag, rd_kafka_ListOffsetsResultInfo_topic_partition(infos[k]));
}

static bool serve(void *arg)
{
    struct lag *lag = arg;
    rd_kafka_event_t *event = rd_kafka_queue_poll(lag->queue, 0);

    if (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_LISTOFFSETS_RESULT) {
        lag->is_asking = false;
        take_answer(lag, event);
        loop_timer_set(lag->next, INTERVAL_MS);
    }
    if (event != NULL)
        rd_kafka_event_destroy(event);
    return false;
}

int lag_new(struct loop *loop, rd_kafka_t *client, const char *group, lag_unfinished_callback first_unfinished,
            void *arg, struct lag **ret_lag, struct error *err)
{
    struct lag *lag = calloc(1, sizeof(*lag));

    if (lag == NULL)
        return error_no_memory(err);
    lag->client = client;
    lag->first_unfinished = first_unfinished;
    lag->arg = arg;
    lag->metric = metrics_declare(METRIC_GAUGE, "tandem_kafka_lag", "group,topic,partition",
                                  "Offsets up to the end of a partition whose work is not finished.");
    lag->group = text_copy(group);
    lag->queue = rd_kafka_queue_new(client);
    lag->next = loop_timer_new(loop, ask, lag);
    if (lag->group == NULL || lag->queue == NULL || lag->next == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (queue_watch_new(loop, lag->queue, serve, lag, &lag->watch, err) < 0)
        goto out;
    *ret_lag = lag;
    return 0;
out:
    lag_free(lag);
    return -1;
}

void lag_watch(struct lag *lag, const rd_kafka_topic_partition_list_t *partitions)
{
    forget_partitions(lag);
    lag->partitions = partitions != NULL ? calloc((size_t)partitions->cnt + 1, sizeof(*lag->partitions)) : NULL;
    if (lag->partitions == NULL)
        return;
    for (int k = 0; k < partitions->cnt; k++) {
        const rd_kafka_topic_partition_t *entry = &partitions->elems[k];
        char number[NUMBER_SIZE];
        char *topic = text_copy(entry->topic);

        if (topic == NULL)
            continue;
        (void)snprintf(number, sizeof(number), "%d", (int)entry->partition);
        lag->partitions[lag->partition_count++] = (struct watched){
            .topic = topic,
            .number = entry->partition,
            .series = metrics_series(lag->metric, (const char *const[]){lag->group, topic, number, NULL})};
    }
    ask(lag);
}

void lag_free(struct lag *lag)
{
    if (lag == NULL)
        return;
    forget_partitions(lag);
    loop_timer_free(lag->next);
    queue_watch_free(lag->watch);
    if (lag->queue != NULL)
        rd_kafka_queue_destroy(lag->queue);
    free(lag->group);
    free(lag);
}

int64_t lag_position(rd_kafka_t *client, const char *topic, int32_t partition, int64_t at_least)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    int64_t position = at_least;

    rd_kafka_topic_partition_list_add(list, topic, partition);
    if (rd_kafka_position(client, list) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[0].offset > at_least)
        position = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return position;
}
