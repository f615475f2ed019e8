#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/transaction_worker.h"

struct input *transaction_input_find(const struct transaction_worker *worker, const char *topic, int32_t number)
{
    for (size_t k = 0; k < worker->input_count; k++) {
        if (worker->inputs[k].number == number && strcmp(worker->inputs[k].topic, topic) == 0)
            return &worker->inputs[k];
    }
    return NULL;
}

void transaction_inputs_free(struct transaction_worker *worker)
{
    for (size_t k = 0; k < worker->input_count; k++)
        free(worker->inputs[k].topic);
    free(worker->inputs);
    worker->inputs = NULL;
    worker->input_count = 0;
}

rd_kafka_topic_partition_list_t *transaction_inputs_committed(const struct transaction_worker *worker)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)worker->input_count);

    for (size_t k = 0; k < worker->input_count; k++)
        rd_kafka_topic_partition_list_add(list, worker->inputs[k].topic, worker->inputs[k].number)->offset =
            worker->inputs[k].committed;
    return list;
}

/* What the transaction has read. Tracked here: librdkafka's own position is invalid after a seek and outdated in a
 * rebalance. */
rd_kafka_topic_partition_list_t *transaction_inputs_read(const struct transaction_worker *worker)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)worker->input_count);

    for (size_t k = 0; k < worker->input_count; k++) {
        if (worker->inputs[k].next >= 0)
            rd_kafka_topic_partition_list_add(list, worker->inputs[k].topic, worker->inputs[k].number)->offset =
                worker->inputs[k].next;
    }
    return list;
}

/* The different partition numbers, in `numbers` of room for all inputs; returns how many. */
size_t transaction_inputs_numbers(const struct transaction_worker *worker, int32_t *numbers)
{
    size_t count = 0;

    for (size_t k = 0; k < worker->input_count; k++) {
        size_t j = 0;

        while (j < count && numbers[j] != worker->inputs[k].number)
            j++;
        if (j == count)
            numbers[count++] = worker->inputs[k].number;
    }
    return count;
}

void transaction_inputs_pause(struct transaction_worker *worker, bool is_paused)
{
    rd_kafka_topic_partition_list_t *list = transaction_inputs_committed(worker);

    if (is_paused)
        rd_kafka_pause_partitions(worker->consumer, list);
    else
        rd_kafka_resume_partitions(worker->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
}

void transaction_inputs_settle(struct transaction_worker *worker, bool is_committed)
{
    for (size_t k = 0; k < worker->input_count; k++) {
        if (is_committed && worker->inputs[k].next >= 0)
            worker->inputs[k].committed = worker->inputs[k].next;
        worker->inputs[k].next = -1;
    }
}

/* The topics of a deal are read together, so each number has to be there for every one of them. */
static int check_inputs(const struct transaction_worker *worker, const int32_t *numbers, size_t count,
                        struct error *err)
{
    for (size_t k = 0; k < count; k++) {
        size_t topics = 0;

        for (size_t j = 0; j < worker->input_count; j++) {
            if (worker->inputs[j].number == numbers[k])
                topics++;
        }
        if (topics != worker->input_topic_count || numbers[k] >= worker->settings->partitions)
            return error_set(err, ERROR_FATAL, "kafka.partitions_changed",
                             "partition %d is there in %zu of %zu input topics; the configuration says that each has "
                             "%lld partitions",
                             (int)numbers[k], topics, worker->input_topic_count,
                             (long long)worker->settings->partitions);
    }
    return 0;
}

static int take_starts(struct transaction_worker *worker, const rd_kafka_topic_partition_list_t *starts,
                       struct error *err)
{
    worker->inputs = calloc((size_t)starts->cnt + 1, sizeof(*worker->inputs));
    if (worker->inputs == NULL)
        return error_no_memory(err);
    for (int k = 0; k < starts->cnt; k++) {
        struct input *input = &worker->inputs[k];

        input->topic = text_copy(starts->elems[k].topic);
        if (input->topic == NULL)
            return error_no_memory(err);
        worker->input_count++;
        input->number = starts->elems[k].partition;
        input->committed = starts->elems[k].offset;
        input->next = -1;
    }
    return 0;
}

int transaction_inputs_make(struct transaction_worker *worker, const rd_kafka_topic_partition_list_t *starts,
                            struct error *err)
{
    int32_t *numbers;
    int status;

    if (take_starts(worker, starts, err) < 0)
        return -1;
    numbers = calloc(worker->input_count + 1, sizeof(*numbers));
    if (numbers == NULL)
        return error_no_memory(err);
    status = check_inputs(worker, numbers, transaction_inputs_numbers(worker, numbers), err);
    free(numbers);
    return status;
}
