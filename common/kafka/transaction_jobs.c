#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/kafka/client.h"
#include "common/kafka/transaction_worker.h"

enum {
    INIT_TIMEOUT_MS = 5000,
    METADATA_TIMEOUT_MS = 2000,
    FIRST_REPORT_WAIT_MS = 1000, /* before an abort */
    REPEAT_PAUSE_MS = 50,        /* between two attempts */
    SEEK_ATTEMPTS_MAX = 40,
    CLOSE_WAIT_MS = 3000
};

static void pause_job(void)
{
    const struct timespec pause = {.tv_nsec = REPEAT_PAUSE_MS * 1000000L};

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static int take_or_succeed(struct error *err, rd_kafka_error_t *error, const char *what)
{
    return error != NULL ? kafka_error_take(err, error, what) : 0;
}

/* The first message to a topic whose metadata is unknown waits up to a second. What does not answer is no reason not to
 * begin. */
static void warm_metadata(const struct transaction_worker *worker)
{
    for (size_t k = 0; k < worker->output_count; k++) {
        rd_kafka_topic_t *topic = rd_kafka_topic_new(worker->producer, worker->outputs[k].topic, NULL);
        const struct rd_kafka_metadata *metadata;

        if (topic == NULL)
            continue;
        if (rd_kafka_metadata(worker->producer, 0, topic, &metadata, METADATA_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(topic);
    }
}

/* Fences whoever used the transactional id before and ends what he left open. */
void transaction_job_start(void *arg)
{
    struct transaction_worker *worker = arg;

    if (worker->producer != NULL)
        rd_kafka_destroy(worker->producer);
    worker->producer = NULL;
    error_clear(&worker->job_error);
    if (kafka_client_new(worker->settings, KAFKA_TRANSACTIONAL, worker->transactional_id, worker->instance,
                         transaction_outputs_prepare, worker, &worker->producer, &worker->job_error) < 0)
        return;
    while (take_or_succeed(&worker->job_error, rd_kafka_init_transactions(worker->producer, INIT_TIMEOUT_MS),
                           "init transactions") < 0) {
        if (worker->job_error.class != ERROR_TRANSIENT || atomic_load(&worker->is_giving_up))
            return;
        error_clear(&worker->job_error);
    }
    warm_metadata(worker);
}

static int flush_outputs(struct transaction_worker *worker, struct error *err)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(worker->producer, (int)worker->settings->transaction_timeout_ms);

    /* In front of the offsets, so that they are not sent while partitions are still being registered. */
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : kafka_error(err, code, "flush");
}

/* A retriable failure may be repeated with the very same arguments only. */
static int send_offsets(struct transaction_worker *worker, int64_t end_ms, struct error *err)
{
    rd_kafka_consumer_group_metadata_t *membership = rd_kafka_consumer_group_metadata(worker->consumer);
    int result;

    if (membership == NULL)
        return error_set(err, ERROR_ABORT, "kafka.rebalanced", "the consumer has no group membership");
    for (;;) {
        result = take_or_succeed(err,
                                 rd_kafka_send_offsets_to_transaction(worker->producer, worker->job_offsets, membership,
                                                                      (int)worker->settings->transaction_timeout_ms),
                                 "send offsets");
        if (result == 0 || err->class != ERROR_TRANSIENT || clock_monotonic_ms() >= end_ms)
            break;
        worker->job_is_doubtful = true;
        pause_job();
    }
    rd_kafka_consumer_group_metadata_destroy(membership);
    return result;
}

static int commit_transaction(struct transaction_worker *worker, int64_t end_ms, struct error *err)
{
    while (take_or_succeed(err, rd_kafka_commit_transaction(worker->producer, -1), "commit") < 0) {
        if (err->class != ERROR_TRANSIENT)
            return -1;
        worker->job_is_doubtful = true;
        if (clock_monotonic_ms() >= end_ms) {
            /* Nobody can tell whether it is committed; the next start reads it from the group's offsets. */
            err->class = ERROR_FATAL;
            return error_wrap(err, "outcome of the transaction unknown");
        }
        pause_job();
    }
    return 0;
}

void transaction_job_commit(void *arg)
{
    struct transaction_worker *worker = arg;
    unsigned errors_before = worker->connection_errors;
    int64_t end_ms = clock_monotonic_ms() + 2 * worker->settings->transaction_timeout_ms;

    error_clear(&worker->job_error);
    worker->job_is_doubtful = false;
    if (flush_outputs(worker, &worker->job_error) < 0 || send_offsets(worker, end_ms, &worker->job_error) < 0) {
        worker->job_is_doubtful = worker->job_is_doubtful || worker->job_error.class == ERROR_TRANSIENT;
        /* Not committed for certain, whatever the reason; only a dead client cannot even abort. */
        if (worker->job_error.class != ERROR_FATAL)
            worker->job_error.class = ERROR_ABORT;
        return;
    }
    if (commit_transaction(worker, end_ms, &worker->job_error) == 0)
        error_clear(&worker->job_error);
    rd_kafka_poll(worker->producer, 0);
    if (worker->connection_errors != errors_before)
        worker->job_is_doubtful = true;
}

/* A partition whose fetching is just being set up refuses to seek for a moment. */
static int seek_back(struct transaction_worker *worker, struct error *err)
{
    for (unsigned attempt = 0; attempt < SEEK_ATTEMPTS_MAX; attempt++) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_copy(worker->job_offsets);
        /* -1: before 2.1 any other time is taken a thousand times too short. */
        rd_kafka_error_t *error = rd_kafka_seek_partitions(worker->consumer, list, -1);
        rd_kafka_resp_err_t code = error != NULL ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

        for (int k = 0; k < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; k++)
            code = list->elems[k].err;
        if (error != NULL)
            rd_kafka_error_destroy(error);
        rd_kafka_topic_partition_list_destroy(list);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR || atomic_load(&worker->is_giving_up))
            return 0;
        (void)kafka_error(err, code, "seek to the committed offsets");
        pause_job();
    }
    err->class = ERROR_FATAL;
    return -1;
}

void transaction_job_abort(void *arg)
{
    struct transaction_worker *worker = arg;
    int64_t report_end_ms = clock_monotonic_ms() + FIRST_REPORT_WAIT_MS;
    int64_t end_ms = clock_monotonic_ms() + 2 * worker->settings->transaction_timeout_ms;

    error_clear(&worker->job_error);
    /* Aborting while the first partition is being registered can find the coordinator in a state that is fatal to the
     * client; a report shows that this is over. */
    while (worker->sent > 0 && worker->reports == 0 && clock_monotonic_ms() < report_end_ms)
        rd_kafka_poll(worker->producer, TRANSACTION_POLL_STEP_MS);
    while (take_or_succeed(&worker->job_error, rd_kafka_abort_transaction(worker->producer, -1), "abort") < 0) {
        worker->job_is_doubtful = true;
        if (worker->job_error.class != ERROR_TRANSIENT || clock_monotonic_ms() >= end_ms ||
            atomic_load(&worker->is_giving_up))
            break;
        error_clear(&worker->job_error);
        pause_job();
    }
    /* Whatever stopped the abort, the next producer's start ends the transaction; only being fenced is final. */
    if (strcmp(worker->job_error.code, "kafka.fenced") == 0)
        return;
    error_clear(&worker->job_error);
    if (worker->job_offsets->cnt > 0)
        (void)seek_back(worker, &worker->job_error);
}

void transaction_job_close(void *arg)
{
    struct transaction_worker *worker = arg;

    native_close_consumer(worker->consumer, CLOSE_WAIT_MS);
}
