#include "common/kafka/committed.h"

#include <stdlib.h>

#include "common/kafka/client.h"
#include "common/kafka/queue.h"
#include "common/runtime/log.h"

enum { REQUEST_TIMEOUT_MS = 5000, REPEAT_DELAY_MS = 50, ERRSTR_SIZE = 256 };

struct committed_lookup {
    rd_kafka_t *client;
    rd_kafka_ListConsumerGroupOffsets_t *request;
    rd_kafka_queue_t *queue;
    struct queue_watch *watch;
    struct loop_timer *repeat;
    committed_callback on_found;
    void *arg;
};

static void ask(void *arg)
{
    struct committed_lookup *lookup = arg;
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(lookup->client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    char unused[ERRSTR_SIZE];
    rd_kafka_error_t *refused;

    (void)rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_TIMEOUT_MS, unused, sizeof(unused));
    refused = rd_kafka_AdminOptions_set_require_stable_offsets(options, 1);
    if (refused != NULL)
        rd_kafka_error_destroy(refused);
    rd_kafka_ListConsumerGroupOffsets(lookup->client, &lookup->request, 1, options, lookup->queue);
    rd_kafka_AdminOptions_destroy(options);
}

/* The first error of the answer, RD_KAFKA_RESP_ERR_NO_ERROR if it is complete. */
static rd_kafka_resp_err_t error_of(rd_kafka_event_t *event, const rd_kafka_topic_partition_list_t **ret_partitions)
{
    const rd_kafka_ListConsumerGroupOffsets_result_t *result = rd_kafka_event_ListConsumerGroupOffsets_result(event);
    const rd_kafka_topic_partition_list_t *partitions;
    const rd_kafka_group_result_t **groups;
    size_t count;

    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return rd_kafka_event_error(event);
    groups = rd_kafka_ListConsumerGroupOffsets_result_groups(result, &count);
    if (count != 1)
        return RD_KAFKA_RESP_ERR__BAD_MSG;
    if (rd_kafka_group_result_error(groups[0]) != NULL)
        return rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
    partitions = rd_kafka_group_result_partitions(groups[0]);
    for (int k = 0; k < partitions->cnt; k++) {
        if (partitions->elems[k].err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return partitions->elems[k].err;
    }
    *ret_partitions = partitions;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void answer(struct committed_lookup *lookup, rd_kafka_event_t *event)
{
    const rd_kafka_topic_partition_list_t *found = NULL;
    rd_kafka_topic_partition_list_t *starts;
    rd_kafka_resp_err_t code = error_of(event, &found);
    struct error err = ERROR_INIT;

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)kafka_error(&err, code, "committed offsets");
        if (err.class == ERROR_TRANSIENT) {
            log_debug("kafka.committed_repeat", LOG_ERROR(&err));
            loop_timer_set(lookup->repeat, REPEAT_DELAY_MS);
        } else {
            lookup->on_found(lookup->arg, NULL, &err);
        }
        return;
    }
    starts = rd_kafka_topic_partition_list_copy(found);
    for (int k = 0; k < starts->cnt; k++) {
        if (starts->elems[k].offset < 0)
            starts->elems[k].offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    lookup->on_found(lookup->arg, starts, NULL);
    rd_kafka_topic_partition_list_destroy(starts);
}

static bool serve(void *arg)
{
    struct committed_lookup *lookup = arg;
    rd_kafka_event_t *event = rd_kafka_queue_poll(lookup->queue, 0);

    /* One question is under way at a time, so there is one answer. */
    if (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT)
        answer(lookup, event);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    return false;
}

int committed_lookup_new(struct loop *loop, rd_kafka_t *client, const char *group_id,
                         const rd_kafka_topic_partition_list_t *partitions, committed_callback on_found, void *arg,
                         struct committed_lookup **ret_lookup, struct error *err)
{
    struct committed_lookup *lookup = calloc(1, sizeof(*lookup));

    if (lookup == NULL)
        return error_no_memory(err);
    lookup->client = client;
    lookup->on_found = on_found;
    lookup->arg = arg;
    lookup->request = rd_kafka_ListConsumerGroupOffsets_new(group_id, partitions);
    lookup->queue = rd_kafka_queue_new(client);
    lookup->repeat = loop_timer_new(loop, ask, lookup);
    if (lookup->request == NULL || lookup->queue == NULL || lookup->repeat == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (queue_watch_new(loop, lookup->queue, serve, lookup, &lookup->watch, err) < 0)
        goto out;
    ask(lookup);
    *ret_lookup = lookup;
    return 0;
out:
    committed_lookup_free(lookup);
    return -1;
}

void committed_lookup_free(struct committed_lookup *lookup)
{
    if (lookup == NULL)
        return;
    loop_timer_free(lookup->repeat);
    queue_watch_free(lookup->watch);
    if (lookup->queue != NULL)
        rd_kafka_queue_destroy(lookup->queue);
    if (lookup->request != NULL)
        rd_kafka_ListConsumerGroupOffsets_destroy(lookup->request);
    free(lookup);
}
