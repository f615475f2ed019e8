#include "common/kafka/transaction.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/client.h"
#include "common/kafka/transaction_worker.h"
#include "common/runtime/log.h"

enum {
    ABORT_PAUSE_FIRST_MS = 20, /* before reading on, doubled with each abort in a row */
    ABORT_PAUSE_MAX_MS = 5000,
    TICK_MS = 500
};

struct state_row {
    const char *name;
    unsigned next; /* set of allowed next states */
};

static const struct state_row STATES[STATE_COUNT] = {
    [STARTING] = {"starting", 1 << IDLE | 1 << ENDED},
    [IDLE] = {"idle", 1 << OPEN | 1 << STARTING | 1 << ENDED},
    [OPEN] = {"open", 1 << COMMITTING | 1 << ABORTING | 1 << ENDED},
    [COMMITTING] = {"committing", 1 << IDLE | 1 << ABORTING | 1 << STARTING | 1 << ENDED},
    [ABORTING] = {"aborting", 1 << IDLE | 1 << STARTING | 1 << ENDED},
    [ENDED] = {"ended", 0},
};

static void move(struct transaction_worker *worker, enum state next)
{
    assert(STATES[worker->state].next & (1U << next));
    log_debug("kafka.transaction", LOG_TEXT("from", STATES[worker->state].name), LOG_TEXT("to", STATES[next].name));
    worker->state = next;
}

static void start_producer(struct transaction_worker *worker);
static void start_commit(struct transaction_worker *worker);
static void start_abort(struct transaction_worker *worker);
static void close_consumer(struct transaction_worker *worker);

static void end(struct transaction_worker *worker, const struct error *err)
{
    if (worker->state == ENDED)
        return;
    move(worker, ENDED);
    loop_timer_stop(worker->time_limit);
    loop_timer_stop(worker->pause);
    if (worker->is_closing)
        close_consumer(worker);
    else
        worker->callbacks.on_fatal(worker->arg, err);
}

/* --- Between the jobs: on the loop's thread ----------------------------------------------------------------------- */

static bool hands_out(const struct transaction_worker *worker)
{
    return (worker->state == IDLE || worker->state == OPEN) && !worker->is_closing;
}

static void run_job(struct transaction_worker *worker, void (*job)(void *arg), void (*done)(void *arg))
{
    struct error err = ERROR_INIT;

    if (blocking_run(worker->blocking, job, done, worker) < 0) {
        (void)error_no_memory(&err);
        err.class = ERROR_FATAL;
        end(worker, &err);
    }
}

static void drop_job_offsets(struct transaction_worker *worker)
{
    if (worker->job_offsets != NULL)
        rd_kafka_topic_partition_list_destroy(worker->job_offsets);
    worker->job_offsets = NULL;
}

static void release_producer_watch(struct transaction_worker *worker)
{
    queue_watch_free(worker->producer_watch);
    worker->producer_watch = NULL;
    if (worker->producer_queue != NULL)
        rd_kafka_queue_destroy(worker->producer_queue);
    worker->producer_queue = NULL;
}

static void finish_revoke(struct transaction_worker *worker)
{
    int32_t *numbers = calloc(worker->input_count + 1, sizeof(*numbers));
    size_t count = numbers != NULL ? transaction_inputs_numbers(worker, numbers) : 0;

    worker->has_to_revoke = false;
    worker->is_lost = false;
    worker->is_restored = false;
    transaction_inputs_free(worker);
    lag_watch(worker->lag, NULL);
    rd_kafka_assign(worker->consumer, NULL);
    if (count > 0)
        worker->callbacks.on_revoked(worker->arg, numbers, count);
    free(numbers);
}

/* The transaction is over and its outcome told: what waited for that comes now. */
static void go_on(struct transaction_worker *worker, bool needs_producer)
{
    if (worker->has_to_revoke)
        finish_revoke(worker);
    if (worker->is_closing) {
        move(worker, ENDED);
        close_consumer(worker);
    } else if (needs_producer) {
        move(worker, STARTING);
        start_producer(worker);
    } else {
        move(worker, IDLE);
        queue_watch_wake(worker->consumer_watch);
    }
}

static bool serve_producer(void *arg)
{
    struct transaction_worker *worker = arg;

    if (worker->state == IDLE || worker->state == OPEN)
        rd_kafka_poll(worker->producer, 0);
    return false;
}

static void on_started(void *arg)
{
    struct transaction_worker *worker = arg;
    struct error err = worker->job_error;

    if (err.class == ERROR_NONE && !worker->is_closing) {
        worker->producer_queue = rd_kafka_queue_get_main(worker->producer);
        if (queue_watch_new(worker->loop, worker->producer_queue, serve_producer, worker, &worker->producer_watch,
                            &err) < 0)
            err.class = ERROR_FATAL;
    }
    if (worker->is_closing) {
        move(worker, ENDED);
        close_consumer(worker);
    } else if (err.class != ERROR_NONE) {
        end(worker, &err);
    } else {
        go_on(worker, false);
    }
}

static void start_producer(struct transaction_worker *worker)
{
    release_producer_watch(worker);
    run_job(worker, transaction_job_start, on_started);
}

static void on_commit_done(void *arg)
{
    struct transaction_worker *worker = arg;

    drop_job_offsets(worker);
    if (worker->job_error.class == ERROR_FATAL) {
        end(worker, &worker->job_error);
        return;
    }
    if (worker->job_error.class != ERROR_NONE) {
        worker->step_error = worker->job_error;
        start_abort(worker);
        return;
    }
    transaction_inputs_settle(worker, true);
    worker->aborts_in_row = 0;
    metric_count(worker->transactions_metric, "committed", NULL, NULL, NULL);
    metric_add(worker->records_series, (int64_t)worker->records);
    metric_observe_us(worker->commit_series, clock_monotonic_us() - worker->opened_us);
    transaction_outputs_settle(worker, true);
    worker->callbacks.on_commit(worker->arg);
    /* A delayed end of this transaction could end a later one of the same producer epoch; a new producer has a new
     * epoch. */
    go_on(worker, worker->job_is_doubtful);
}

static void start_commit(struct transaction_worker *worker)
{
    move(worker, COMMITTING);
    loop_timer_stop(worker->time_limit);
    worker->job_offsets = transaction_inputs_read(worker);
    run_job(worker, transaction_job_commit, on_commit_done);
}

static void on_abort_done(void *arg)
{
    struct transaction_worker *worker = arg;
    int64_t pause_ms = ABORT_PAUSE_FIRST_MS;

    drop_job_offsets(worker);
    transaction_inputs_settle(worker, false);
    transaction_outputs_settle(worker, false);
    metric_count(worker->transactions_metric, "aborted", NULL, NULL, NULL);
    worker->callbacks.on_abort(worker->arg);
    if (worker->job_error.class != ERROR_NONE) {
        end(worker, &worker->job_error);
        return;
    }
    if (worker->step_error.class == ERROR_FATAL || worker->step_error.class == ERROR_CONFIG) {
        end(worker, &worker->step_error);
        return;
    }
    for (unsigned k = 0; k < worker->aborts_in_row && pause_ms < ABORT_PAUSE_MAX_MS; k++)
        pause_ms *= 2;
    worker->aborts_in_row++;
    if (!worker->is_closing)
        loop_timer_set(worker->pause, pause_ms < ABORT_PAUSE_MAX_MS ? pause_ms : ABORT_PAUSE_MAX_MS);
    go_on(worker, worker->job_is_doubtful);
}

/* `step_error` tells why. */
static void start_abort(struct transaction_worker *worker)
{
    log_warning("kafka.transaction_aborted", LOG_ERROR(&worker->step_error), LOG_INTEGER("records", worker->records),
                LOG_INTEGER("aborts_in_row", worker->aborts_in_row));
    if (worker->state == OPEN)
        worker->job_is_doubtful = false;
    move(worker, ABORTING);
    loop_timer_stop(worker->time_limit);
    worker->job_offsets =
        worker->has_to_revoke ? rd_kafka_topic_partition_list_new(1) : transaction_inputs_committed(worker);
    run_job(worker, transaction_job_abort, on_abort_done);
}

static void on_time_limit(void *arg)
{
    struct transaction_worker *worker = arg;

    if (worker->state == OPEN)
        start_commit(worker);
}

static void on_pause_over(void *arg)
{
    struct transaction_worker *worker = arg;

    queue_watch_wake(worker->consumer_watch);
}

/* --- The group ---------------------------------------------------------------------------------------------------- */

static void end_lookup(struct transaction_worker *worker)
{
    committed_lookup_free(worker->lookup);
    worker->lookup = NULL;
}

static void on_starts_found(void *arg, const rd_kafka_topic_partition_list_t *starts, const struct error *err)
{
    struct transaction_worker *worker = arg;
    struct error failure = ERROR_INIT;
    int32_t *numbers = NULL;
    size_t count;

    if (starts == NULL) {
        failure = *err;
        goto out;
    }
    if (transaction_inputs_make(worker, starts, &failure) < 0)
        goto out;
    numbers = calloc(worker->input_count + 1, sizeof(*numbers));
    if (numbers == NULL) {
        (void)error_no_memory(&failure);
        goto out;
    }
    count = transaction_inputs_numbers(worker, numbers);
    rd_kafka_assign(worker->consumer, starts);
    /* Membership goes on while the owner restores, but nothing is read. */
    transaction_inputs_pause(worker, true);
    lag_watch(worker->lag, starts);
    log_info("kafka.assigned", LOG_TEXT("group", worker->group_id), LOG_INTEGER("partitions", count));
    worker->callbacks.on_assigned(worker->arg, numbers, count);
out:
    free(numbers);
    end_lookup(worker);
    if (failure.class != ERROR_NONE)
        end(worker, &failure);
}

static void take_assignment(struct transaction_worker *worker, const rd_kafka_topic_partition_list_t *list)
{
    struct error err = ERROR_INIT;

    if (list->cnt == 0) {
        rd_kafka_assign(worker->consumer, list);
        worker->callbacks.on_assigned(worker->arg, NULL, 0);
    } else if (committed_lookup_new(worker->loop, worker->consumer, worker->group_id, list, on_starts_found, worker,
                                    &worker->lookup, &err) < 0) {
        end(worker, &err);
    }
}

/* From inside rd_kafka_consumer_poll() on the loop's thread, which happens in IDLE and OPEN only; and from inside
 * rd_kafka_consumer_close() on the blocking one. */
static void on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                         void *opaque)
{
    struct transaction_worker *worker = opaque;

    if (worker->is_closing) {
        rd_kafka_assign(client, NULL);
        return;
    }
    end_lookup(worker);
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        take_assignment(worker, list);
        return;
    }
    worker->is_lost = rd_kafka_assignment_lost(client) || code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS;
    log_info("kafka.revoked", LOG_TEXT("group", worker->group_id), LOG_BOOLEAN("lost", worker->is_lost),
             LOG_INTEGER("partitions", worker->input_count));
    /* librdkafka waits with rejoining until rd_kafka_assign(NULL), so the transaction can be finished first. */
    worker->has_to_revoke = true;
    if (worker->state == OPEN && worker->is_lost) {
        error_clear(&worker->step_error);
        (void)error_set(&worker->step_error, ERROR_ABORT, "kafka.rebalanced", "the partitions were lost");
        start_abort(worker);
    } else if (worker->state == OPEN) {
        start_commit(worker);
    } else {
        finish_revoke(worker);
    }
}

static void prepare_consumer(rd_kafka_conf_t *conf, void *arg)
{
    rd_kafka_conf_set_opaque(conf, arg);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
}

/* --- Messages ----------------------------------------------------------------------------------------------------- */

static int open_transaction(struct transaction_worker *worker)
{
    struct error err = ERROR_INIT;
    rd_kafka_error_t *refused;

    refused = rd_kafka_begin_transaction(worker->producer);
    if (refused != NULL) {
        (void)kafka_error_take(&err, refused, "begin");
        err.class = ERROR_FATAL;
        end(worker, &err);
        return -1;
    }
    move(worker, OPEN);
    worker->opened_us = clock_monotonic_us();
    worker->records = 0;
    error_clear(&worker->step_error);
    loop_timer_set(worker->time_limit, worker->time_max_ms);
    return 0;
}

static void take_message(struct transaction_worker *worker, const rd_kafka_message_t *native)
{
    struct kafka_message message;
    struct input *input;

    native_read(native, &message);
    input = transaction_input_find(worker, message.topic, message.partition);
    /* A message that was handed out already may come again after a fetch was repeated. */
    if (input == NULL || message.offset < input->next || message.offset < input->committed)
        return;
    if (worker->state == IDLE && open_transaction(worker) < 0)
        return;
    if (worker->callbacks.on_message(worker->arg, &message, &worker->step_error) < 0) {
        start_abort(worker);
        return;
    }
    input->next = message.offset + 1;
    worker->records++;
    if (worker->records >= worker->records_max)
        start_commit(worker);
}

static bool serve_consumer(void *arg)
{
    struct transaction_worker *worker = arg;
    struct queue_turn turn = queue_turn_begin();

    while (hands_out(worker) && !loop_timer_is_set(worker->pause)) {
        rd_kafka_message_t *native = rd_kafka_consumer_poll(worker->consumer, 0);
        struct error err = ERROR_INIT;

        if (native == NULL) {
            if (worker->state == OPEN)
                start_commit(worker);
            return false;
        }
        if (native->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            /* A rebalance may have ended the transaction inside this very poll; its offsets are decided. */
            if (hands_out(worker) && worker->is_restored)
                take_message(worker, native);
        } else if (native_is_fatal(worker->consumer, native, &err)) {
            end(worker, &err);
        } else if (err.class != ERROR_NONE) {
            log_warning("kafka.consumer_error", LOG_ERROR(&err));
        }
        rd_kafka_message_destroy(native);
        if (!queue_turn_goes_on(&turn))
            return true;
    }
    return false;
}

static void on_tick(void *arg)
{
    struct transaction_worker *worker = arg;

    /* Polling also tells librdkafka that we are alive (max.poll.interval.ms). */
    queue_watch_wake(worker->consumer_watch);
    loop_timer_set(worker->tick, TICK_MS);
}

/* lag_unfinished_callback. After a commit everything that was handed out is finished, and what librdkafka went past
 * since is control records; what was handed out in an open or an aborted transaction is not. */
static int64_t first_unfinished(void *arg, const char *topic, int32_t number)
{
    const struct transaction_worker *worker = arg;
    const struct input *input = transaction_input_find(worker, topic, number);
    int64_t committed;

    if (input == NULL)
        return -1;
    committed = input->committed > 0 ? input->committed : 0;
    if (worker->state != IDLE || worker->aborts_in_row > 0)
        return committed;
    return lag_position(worker->consumer, topic, number, committed);
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

static int make_consumer(struct transaction_worker *worker, const char *group, const char *const *topics,
                         struct error *err)
{
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code;

    if (kafka_client_new(worker->settings, KAFKA_CONSUMER, worker->group_id, worker->instance, prepare_consumer, worker,
                         &worker->consumer, err) < 0)
        return -1;
    rd_kafka_poll_set_consumer(worker->consumer);
    worker->consumer_queue = rd_kafka_queue_get_consumer(worker->consumer);
    if (lag_new(worker->loop, worker->consumer, group, first_unfinished, worker, &worker->lag, err) < 0 ||
        queue_watch_new(worker->loop, worker->consumer_queue, serve_consumer, worker, &worker->consumer_watch, err) < 0)
        return -1;
    list = rd_kafka_topic_partition_list_new(2);
    for (; topics[worker->input_topic_count]; worker->input_topic_count++) {
        char *name = kafka_topic_name(worker->settings, topics[worker->input_topic_count]);

        if (name == NULL) {
            rd_kafka_topic_partition_list_destroy(list);
            return error_no_memory(err);
        }
        rd_kafka_topic_partition_list_add(list, name, RD_KAFKA_PARTITION_UA);
        free(name);
    }
    code = rd_kafka_subscribe(worker->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : kafka_error(err, code, "subscribe");
}

static void declare_metrics(struct transaction_worker *worker)
{
    static const char *const NO_LABELS[] = {NULL};

    worker->transactions_metric =
        metrics_declare(METRIC_COUNTER, "tandem_kafka_transactions_total", "result", "Transactions by how they ended.");
    worker->commit_series =
        metrics_series(metrics_declare(METRIC_HISTOGRAM, "tandem_kafka_transaction_seconds", "",
                                       "Time from the first message of a transaction to its commit."),
                       NO_LABELS);
    worker->records_series = metrics_series(metrics_declare(METRIC_COUNTER, "tandem_kafka_transaction_records_total",
                                                            "", "Messages read in committed transactions."),
                                            NO_LABELS);
}

int transaction_worker_new(struct loop *loop, const struct kafka_settings *settings,
                           const struct transaction_settings *options, const struct transaction_callbacks *callbacks,
                           void *arg, struct transaction_worker **ret_worker, struct error *err)
{
    struct transaction_worker *worker = calloc(1, sizeof(*worker));

    if (worker == NULL)
        return error_no_memory(err);
    worker->loop = loop;
    worker->settings = settings;
    worker->callbacks = *callbacks;
    worker->arg = arg;
    worker->records_max = options->records_max > 0 ? options->records_max : 1;
    worker->time_max_ms = options->time_max_ms;
    worker->state = STARTING;
    atomic_init(&worker->is_giving_up, false);
    declare_metrics(worker);
    worker->group_id = kafka_topic_name(settings, options->group);
    worker->transactional_id = text_format("%s%s-%s", settings->topic_prefix, options->group, options->instance);
    worker->instance = text_copy(options->instance);
    worker->time_limit = loop_timer_new(loop, on_time_limit, worker);
    worker->pause = loop_timer_new(loop, on_pause_over, worker);
    worker->tick = loop_timer_new(loop, on_tick, worker);
    if (worker->group_id == NULL || worker->transactional_id == NULL || worker->instance == NULL ||
        worker->time_limit == NULL || worker->pause == NULL || worker->tick == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (blocking_new(loop, &worker->blocking, err) < 0 ||
        transaction_outputs_make(worker, options->output_topics, err) < 0 ||
        make_consumer(worker, options->group, options->input_topics, err) < 0)
        goto out;
    start_producer(worker);
    on_tick(worker);
    *ret_worker = worker;
    return 0;
out:
    transaction_worker_free(worker);
    return -1;
}

void transaction_restored(struct transaction_worker *worker)
{
    if (worker->is_restored || worker->state == ENDED)
        return;
    worker->is_restored = true;
    transaction_inputs_pause(worker, false);
    queue_watch_wake(worker->consumer_watch);
}

int transaction_send(struct transaction_worker *worker, const struct kafka_message *message, int32_t partition,
                     struct error *err)
{
    int64_t end_ms = clock_monotonic_ms() + worker->settings->transaction_timeout_ms;
    rd_kafka_resp_err_t code;
    char text[512];

    assert(worker->state == OPEN);
    for (;;) {
        code = native_produce(worker->producer, message, partition >= 0 ? partition : RD_KAFKA_PARTITION_UA, NULL);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || clock_monotonic_ms() >= end_ms)
            break;
        rd_kafka_poll(worker->producer, TRANSACTION_POLL_STEP_MS);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        worker->sent++;
        return 0;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        (void)kafka_error(err, rd_kafka_fatal_error(worker->producer, text, sizeof(text)), message->topic);
        if (err != NULL)
            err->class = ERROR_FATAL;
        return -1;
    }
    return kafka_error(err, code, message->topic);
}

int64_t transaction_committed_end(const struct transaction_worker *worker, const char *topic, int32_t partition)
{
    const struct output *output = transaction_output_find(worker, topic);

    return output != NULL && partition >= 0 && (size_t)partition < output->count ? output->committed[partition] : -1;
}

static void on_consumer_closed(void *arg)
{
    struct transaction_worker *worker = arg;

    if (worker->on_drained != NULL)
        worker->on_drained(worker->drain_arg);
}

static void close_consumer(struct transaction_worker *worker)
{
    end_lookup(worker);
    if (blocking_run(worker->blocking, transaction_job_close, on_consumer_closed, worker) < 0)
        on_consumer_closed(worker);
}

void transaction_worker_drain(struct transaction_worker *worker, void (*done)(void *arg), void *arg)
{
    worker->on_drained = done;
    worker->drain_arg = arg;
    if (worker->is_closing)
        return;
    worker->is_closing = true;
    loop_timer_stop(worker->pause);
    switch (worker->state) {
    case OPEN:
        start_commit(worker);
        break;
    case IDLE:
        move(worker, ENDED);
        close_consumer(worker);
        break;
    case ENDED:
        close_consumer(worker);
        break;
    case STARTING:
        atomic_store(&worker->is_giving_up, true);
        break;
    default: /* the job's end leads on */
        break;
    }
}

void transaction_worker_free(struct transaction_worker *worker)
{
    if (worker == NULL)
        return;
    worker->is_closing = true;
    atomic_store(&worker->is_giving_up, true);
    blocking_free(worker->blocking);
    loop_timer_free(worker->time_limit);
    loop_timer_free(worker->pause);
    loop_timer_free(worker->tick);
    end_lookup(worker);
    lag_free(worker->lag);
    drop_job_offsets(worker);
    queue_watch_free(worker->consumer_watch);
    release_producer_watch(worker);
    if (worker->consumer_queue != NULL)
        rd_kafka_queue_destroy(worker->consumer_queue);
    if (worker->producer != NULL)
        rd_kafka_destroy(worker->producer);
    if (worker->consumer != NULL)
        rd_kafka_destroy_flags(worker->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    transaction_inputs_free(worker);
    transaction_outputs_free(worker);
    free(worker->group_id);
    free(worker->transactional_id);
    free(worker->instance);
    free(worker);
}
