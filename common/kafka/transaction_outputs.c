#include <stdlib.h>
#include <string.h>

#include "common/kafka/client.h"
#include "common/kafka/transaction_worker.h"

int transaction_outputs_make(struct transaction_worker *worker, const char *const *topics, struct error *err)
{
    size_t count = 0;

    while (topics[count] != NULL)
        count++;
    worker->outputs = calloc(count + 1, sizeof(*worker->outputs));
    if (worker->outputs == NULL)
        return error_no_memory(err);
    for (; worker->output_count < count; worker->output_count++) {
        struct output *output = &worker->outputs[worker->output_count];

        output->topic = kafka_topic_name(worker->settings, topics[worker->output_count]);
        if (output->topic == NULL)
            return error_no_memory(err);
    }
    return 0;
}

void transaction_outputs_free(struct transaction_worker *worker)
{
    for (size_t k = 0; k < worker->output_count; k++) {
        free(worker->outputs[k].topic);
        free(worker->outputs[k].sent);
        free(worker->outputs[k].committed);
    }
    free(worker->outputs);
}

struct output *transaction_output_find(const struct transaction_worker *worker, const char *topic)
{
    for (size_t k = 0; k < worker->output_count; k++) {
        if (strcmp(worker->outputs[k].topic, topic) == 0)
            return &worker->outputs[k];
    }
    return NULL;
}

static int make_room(struct output *output, size_t count)
{
    int64_t *sent = calloc(count, sizeof(*sent));
    int64_t *committed = calloc(count, sizeof(*committed));

    if (sent == NULL || committed == NULL) {
        free(sent);
        free(committed);
        return -1;
    }
    for (size_t k = 0; k < count; k++) {
        sent[k] = k < output->count ? output->sent[k] : -1;
        committed[k] = k < output->count ? output->committed[k] : -1;
    }
    free(output->sent);
    free(output->committed);
    output->sent = sent;
    output->committed = committed;
    output->count = count;
    return 0;
}

/* The transaction is over: what it sent counts, or does not. */
void transaction_outputs_settle(struct transaction_worker *worker, bool is_committed)
{
    for (size_t k = 0; k < worker->output_count; k++) {
        struct output *output = &worker->outputs[k];

        for (size_t j = 0; j < output->count; j++) {
            if (is_committed && output->sent[j] > output->committed[j])
                output->committed[j] = output->sent[j];
            output->sent[j] = -1;
        }
    }
    worker->sent = 0;
    worker->reports = 0;
    worker->records = 0;
}

/* On the thread that polls the producer: the loop's while a transaction is open, the blocking one during a job. */
static void on_report(rd_kafka_t *client, const rd_kafka_message_t *native, void *opaque)
{
    struct transaction_worker *worker = opaque;
    struct output *output;

    (void)client;
    worker->reports++;
    /* A failed message fails the transaction; the commit tells. */
    if (native->err != RD_KAFKA_RESP_ERR_NO_ERROR || native->partition < 0)
        return;
    output = transaction_output_find(worker, rd_kafka_topic_name(native->rkt));
    if (output == NULL ||
        ((size_t)native->partition >= output->count && make_room(output, (size_t)native->partition + 1) < 0))
        return;
    if (native->offset + 1 > output->sent[native->partition])
        output->sent[native->partition] = native->offset + 1;
}

static void on_producer_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct transaction_worker *worker = opaque;

    (void)client;
    (void)reason;
    if (code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
        code == RD_KAFKA_RESP_ERR__TIMED_OUT)
        worker->connection_errors++;
}

void transaction_outputs_prepare(rd_kafka_conf_t *conf, void *arg)
{
    rd_kafka_conf_set_opaque(conf, arg);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_conf_set_error_cb(conf, on_producer_error);
}
