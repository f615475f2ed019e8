#include "common/kafka/transaction.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/kafka/blocking.h"
#include "common/kafka/committed.h"
#include "common/kafka/native.h"
#include "common/kafka/queue.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum {
    INIT_TIMEOUT_MS = 5000,
    METADATA_TIMEOUT_MS = 2000,
    FIRST_REPORT_WAIT_MS = 1000, /* before an abort */
    POLL_STEP_MS = 10,
    REPEAT_PAUSE_MS = 50, /* on the blocking thread, between two attempts */
    SEEK_ATTEMPTS_MAX = 40,
    ABORT_PAUSE_FIRST_MS = 20, /* before reading on, doubled with each abort in a row */
    ABORT_PAUSE_MAX_MS = 5000,
    TICK_MS = 500,
    CLOSE_WAIT_MS = 3000
};

/*
 *   STARTING -> IDLE -> OPEN -> COMMITTING -> IDLE
 *                        |          |
 *                        +----------+--> ABORTING -> IDLE
 *
 *   COMMITTING, ABORTING -> STARTING   a new producer is needed
 *   any -> ENDED                       fenced, or drained
 *
 * STARTING, COMMITTING and ABORTING last as long as a job on the blocking thread; the producer and what the reports
 * fill belong to that thread then. */
enum state { STARTING, IDLE, OPEN, COMMITTING, ABORTING, ENDED, STATE_COUNT };

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

struct input {
    char *topic;
    int32_t number;
    int64_t committed; /* where the next transaction begins; may be RD_KAFKA_OFFSET_BEGINNING */
    int64_t next;      /* behind the last message of the open transaction, -1: none */
};

/* Ends of one output topic, by partition; -1: nothing sent there. */
struct output {
    char *topic;
    int64_t *sent;      /* in the open transaction */
    int64_t *committed; /* by all transactions of this process */
    size_t count;
};

struct transaction_worker {
    struct loop *loop;
    const struct kafka_settings *settings;
    struct transaction_callbacks callbacks;
    void *arg;
    size_t records_max;
    int64_t time_max_ms;
    char *group_id;
    char *transactional_id;
    char *instance;
    enum state state;
    struct blocking *blocking;
    atomic_bool is_giving_up; /* tells a job not to repeat any more */

    rd_kafka_t *consumer;
    rd_kafka_queue_t *consumer_queue;
    struct queue_watch *consumer_watch;
    struct input *inputs;
    size_t input_count;
    size_t input_topic_count;
    struct committed_lookup *lookup;
    bool is_restored;   /* the owner has loaded the state of all inputs */
    bool has_to_revoke; /* once the transaction is over */
    bool is_lost;       /* and its offsets could not be committed any more */

    rd_kafka_t *producer;
    rd_kafka_queue_t *producer_queue;
    struct queue_watch *producer_watch;
    struct output *outputs;
    size_t output_count;
    size_t sent;    /* messages of the open transaction */
    size_t reports; /* of those, how many are told */
    unsigned connection_errors;
    size_t records;
    int64_t opened_us;
    struct loop_timer *time_limit;
    struct loop_timer *pause; /* after an abort; while it is set nothing is handed out */
    struct loop_timer *tick;
    unsigned aborts_in_row;

    rd_kafka_topic_partition_list_t *job_offsets; /* what the job commits or seeks to */
    struct error job_error;                       /* class NONE: the job succeeded */
    bool job_is_doubtful;                         /* a time-out or a reconnect happened on the way */
    struct error step_error;                      /* why the transaction is being aborted */

    bool is_closing;
    void (*on_drained)(void *arg);
    void *drain_arg;
    struct metric *transactions_metric;
    struct series *commit_series;
    struct series *records_series;
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

/* --- Inputs ------------------------------------------------------------------------------------------------------- */

static struct input *find_input(const struct transaction_worker *worker, const char *topic, int32_t number)
{
    for (size_t k = 0; k < worker->input_count; k++) {
        if (worker->inputs[k].number == number && strcmp(worker->inputs[k].topic, topic) == 0)
            return &worker->inputs[k];
    }
    return NULL;
}

static void free_inputs(struct transaction_worker *worker)
{
    for (size_t k = 0; k < worker->input_count; k++)
        free(worker->inputs[k].topic);
    free(worker->inputs);
    worker->inputs = NULL;
    worker->input_count = 0;
}

static rd_kafka_topic_partition_list_t *input_list(const struct transaction_worker *worker)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)worker->input_count);

    for (size_t k = 0; k < worker->input_count; k++)
        rd_kafka_topic_partition_list_add(list, worker->inputs[k].topic, worker->inputs[k].number)->offset =
            worker->inputs[k].committed;
    return list;
}

/* What the transaction has read. Tracked here: librdkafka's own position is invalid after a seek and outdated in a
 * rebalance. */
static rd_kafka_topic_partition_list_t *read_offsets(const struct transaction_worker *worker)
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
static size_t input_numbers(const struct transaction_worker *worker, int32_t *numbers)
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

static void set_paused(struct transaction_worker *worker, bool is_paused)
{
    rd_kafka_topic_partition_list_t *list = input_list(worker);

    if (is_paused)
        rd_kafka_pause_partitions(worker->consumer, list);
    else
        rd_kafka_resume_partitions(worker->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* --- Outputs ------------------------------------------------------------------------------------------------------ */

static struct output *find_output(const struct transaction_worker *worker, const char *topic)
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

    if (!sent || !committed) {
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
static void settle_outputs(struct transaction_worker *worker, bool is_committed)
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
    output = find_output(worker, rd_kafka_topic_name(native->rkt));
    if (!output || ((size_t)native->partition >= output->count && make_room(output, (size_t)native->partition + 1) < 0))
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

static void prepare_producer(rd_kafka_conf_t *conf, void *arg)
{
    rd_kafka_conf_set_opaque(conf, arg);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_conf_set_error_cb(conf, on_producer_error);
}

static bool serve_producer(void *arg)
{
    struct transaction_worker *worker = arg;

    if (worker->state == IDLE || worker->state == OPEN)
        rd_kafka_poll(worker->producer, 0);
    return false;
}

/* --- Jobs: on the blocking thread --------------------------------------------------------------------------------- */

static void pause_job(void)
{
    const struct timespec pause = {.tv_nsec = REPEAT_PAUSE_MS * 1000000L};

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static int take_or_succeed(struct error *err, rd_kafka_error_t *error, const char *what)
{
    return error ? kafka_error_take(err, error, what) : 0;
}

/* The first message to a topic whose metadata is unknown waits up to a second. What does not answer is no reason not to
 * begin. */
static void warm_metadata(const struct transaction_worker *worker)
{
    for (size_t k = 0; k < worker->output_count; k++) {
        rd_kafka_topic_t *topic = rd_kafka_topic_new(worker->producer, worker->outputs[k].topic, NULL);
        const struct rd_kafka_metadata *metadata;

        if (!topic)
            continue;
        if (rd_kafka_metadata(worker->producer, 0, topic, &metadata, METADATA_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(topic);
    }
}

/* Fences whoever used the transactional id before and ends what he left open. */
static void start_job(void *arg)
{
    struct transaction_worker *worker = arg;

    if (worker->producer)
        rd_kafka_destroy(worker->producer);
    worker->producer = NULL;
    error_clear(&worker->job_error);
    if (kafka_client_new(worker->settings, KAFKA_TRANSACTIONAL, worker->transactional_id, worker->instance,
                         prepare_producer, worker, &worker->producer, &worker->job_error) < 0)
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

    if (!membership)
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

static void commit_job(void *arg)
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
        rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

        for (int k = 0; k < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; k++)
            code = list->elems[k].err;
        if (error)
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

static void abort_job(void *arg)
{
    struct transaction_worker *worker = arg;
    int64_t report_end_ms = clock_monotonic_ms() + FIRST_REPORT_WAIT_MS;
    int64_t end_ms = clock_monotonic_ms() + 2 * worker->settings->transaction_timeout_ms;

    error_clear(&worker->job_error);
    /* Aborting while the first partition is being registered can find the coordinator in a state that is fatal to the
     * client; a report shows that this is over. */
    while (worker->sent > 0 && worker->reports == 0 && clock_monotonic_ms() < report_end_ms)
        rd_kafka_poll(worker->producer, POLL_STEP_MS);
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

static void close_job(void *arg)
{
    struct transaction_worker *worker = arg;

    native_close_consumer(worker->consumer, CLOSE_WAIT_MS);
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
    if (worker->job_offsets)
        rd_kafka_topic_partition_list_destroy(worker->job_offsets);
    worker->job_offsets = NULL;
}

static void release_producer_watch(struct transaction_worker *worker)
{
    queue_watch_free(worker->producer_watch);
    worker->producer_watch = NULL;
    if (worker->producer_queue)
        rd_kafka_queue_destroy(worker->producer_queue);
    worker->producer_queue = NULL;
}

static void finish_revoke(struct transaction_worker *worker)
{
    int32_t *numbers = calloc(worker->input_count + 1, sizeof(*numbers));
    size_t count = numbers ? input_numbers(worker, numbers) : 0;

    worker->has_to_revoke = false;
    worker->is_lost = false;
    worker->is_restored = false;
    free_inputs(worker);
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
    run_job(worker, start_job, on_started);
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
    for (size_t k = 0; k < worker->input_count; k++) {
        if (worker->inputs[k].next >= 0)
            worker->inputs[k].committed = worker->inputs[k].next;
        worker->inputs[k].next = -1;
    }
    worker->aborts_in_row = 0;
    metric_count(worker->transactions_metric, "committed", NULL, NULL, NULL);
    metric_add(worker->records_series, (int64_t)worker->records);
    metric_observe_us(worker->commit_series, clock_monotonic_us() - worker->opened_us);
    settle_outputs(worker, true);
    worker->callbacks.on_commit(worker->arg);
    /* A delayed end of this transaction could end a later one of the same producer epoch; a new producer has a new
     * epoch. */
    go_on(worker, worker->job_is_doubtful);
}

static void start_commit(struct transaction_worker *worker)
{
    move(worker, COMMITTING);
    loop_timer_stop(worker->time_limit);
    worker->job_offsets = read_offsets(worker);
    run_job(worker, commit_job, on_commit_done);
}

static void on_abort_done(void *arg)
{
    struct transaction_worker *worker = arg;
    int64_t pause_ms = ABORT_PAUSE_FIRST_MS;

    drop_job_offsets(worker);
    for (size_t k = 0; k < worker->input_count; k++)
        worker->inputs[k].next = -1;
    settle_outputs(worker, false);
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
    worker->job_offsets = worker->has_to_revoke ? rd_kafka_topic_partition_list_new(1) : input_list(worker);
    run_job(worker, abort_job, on_abort_done);
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

static int make_inputs(struct transaction_worker *worker, const rd_kafka_topic_partition_list_t *starts,
                       struct error *err)
{
    worker->inputs = calloc((size_t)starts->cnt + 1, sizeof(*worker->inputs));
    if (!worker->inputs)
        return error_no_memory(err);
    for (int k = 0; k < starts->cnt; k++) {
        struct input *input = &worker->inputs[k];

        input->topic = text_copy(starts->elems[k].topic);
        if (!input->topic)
            return error_no_memory(err);
        worker->input_count++;
        input->number = starts->elems[k].partition;
        input->committed = starts->elems[k].offset;
        input->next = -1;
    }
    return 0;
}

static void on_starts_found(void *arg, const rd_kafka_topic_partition_list_t *starts, const struct error *err)
{
    struct transaction_worker *worker = arg;
    struct error failure = ERROR_INIT;
    int32_t *numbers = NULL;
    size_t count;

    if (!starts) {
        failure = *err;
        goto out;
    }
    if (make_inputs(worker, starts, &failure) < 0)
        goto out;
    numbers = calloc(worker->input_count + 1, sizeof(*numbers));
    if (!numbers) {
        (void)error_no_memory(&failure);
        goto out;
    }
    count = input_numbers(worker, numbers);
    if (check_inputs(worker, numbers, count, &failure) < 0)
        goto out;
    rd_kafka_assign(worker->consumer, starts);
    /* Membership goes on while the owner restores, but nothing is read. */
    set_paused(worker, true);
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

    if (take_or_succeed(&err, rd_kafka_begin_transaction(worker->producer), "begin") < 0) {
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
    input = find_input(worker, message.topic, message.partition);
    /* A message that was handed out already may come again after a fetch was repeated. */
    if (!input || message.offset < input->next || message.offset < input->committed)
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

        if (!native) {
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

/* --- The interface ------------------------------------------------------------------------------------------------ */

static int make_outputs(struct transaction_worker *worker, const char *const *topics, struct error *err)
{
    size_t count = 0;

    while (topics[count])
        count++;
    worker->outputs = calloc(count + 1, sizeof(*worker->outputs));
    if (!worker->outputs)
        return error_no_memory(err);
    for (; worker->output_count < count; worker->output_count++) {
        struct output *output = &worker->outputs[worker->output_count];

        output->topic = kafka_topic_name(worker->settings, topics[worker->output_count]);
        if (!output->topic)
            return error_no_memory(err);
    }
    return 0;
}

static int make_consumer(struct transaction_worker *worker, const char *const *topics, struct error *err)
{
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code;

    if (kafka_client_new(worker->settings, KAFKA_CONSUMER, worker->group_id, worker->instance, prepare_consumer, worker,
                         &worker->consumer, err) < 0)
        return -1;
    rd_kafka_poll_set_consumer(worker->consumer);
    worker->consumer_queue = rd_kafka_queue_get_consumer(worker->consumer);
    if (queue_watch_new(worker->loop, worker->consumer_queue, serve_consumer, worker, &worker->consumer_watch, err) < 0)
        return -1;
    list = rd_kafka_topic_partition_list_new(2);
    for (; topics[worker->input_topic_count]; worker->input_topic_count++) {
        char *name = kafka_topic_name(worker->settings, topics[worker->input_topic_count]);

        if (!name) {
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

    if (!worker)
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
    if (!worker->group_id || !worker->transactional_id || !worker->instance || !worker->time_limit || !worker->pause ||
        !worker->tick) {
        (void)error_no_memory(err);
        goto out;
    }
    if (blocking_new(loop, &worker->blocking, err) < 0 || make_outputs(worker, options->output_topics, err) < 0 ||
        make_consumer(worker, options->input_topics, err) < 0)
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
    set_paused(worker, false);
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
        rd_kafka_poll(worker->producer, POLL_STEP_MS);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        worker->sent++;
        return 0;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        (void)kafka_error(err, rd_kafka_fatal_error(worker->producer, text, sizeof(text)), message->topic);
        if (err)
            err->class = ERROR_FATAL;
        return -1;
    }
    return kafka_error(err, code, message->topic);
}

int64_t transaction_committed_end(const struct transaction_worker *worker, const char *topic, int32_t partition)
{
    const struct output *output = find_output(worker, topic);

    return output && partition >= 0 && (size_t)partition < output->count ? output->committed[partition] : -1;
}

static void on_consumer_closed(void *arg)
{
    struct transaction_worker *worker = arg;

    if (worker->on_drained)
        worker->on_drained(worker->drain_arg);
}

static void close_consumer(struct transaction_worker *worker)
{
    end_lookup(worker);
    if (blocking_run(worker->blocking, close_job, on_consumer_closed, worker) < 0)
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
    if (!worker)
        return;
    worker->is_closing = true;
    atomic_store(&worker->is_giving_up, true);
    blocking_free(worker->blocking);
    loop_timer_free(worker->time_limit);
    loop_timer_free(worker->pause);
    loop_timer_free(worker->tick);
    end_lookup(worker);
    drop_job_offsets(worker);
    queue_watch_free(worker->consumer_watch);
    release_producer_watch(worker);
    if (worker->consumer_queue)
        rd_kafka_queue_destroy(worker->consumer_queue);
    if (worker->producer)
        rd_kafka_destroy(worker->producer);
    if (worker->consumer)
        rd_kafka_destroy_flags(worker->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free_inputs(worker);
    for (size_t k = 0; k < worker->output_count; k++) {
        free(worker->outputs[k].topic);
        free(worker->outputs[k].sent);
        free(worker->outputs[k].committed);
    }
    free(worker->outputs);
    free(worker->group_id);
    free(worker->transactional_id);
    free(worker->instance);
    free(worker);
}
