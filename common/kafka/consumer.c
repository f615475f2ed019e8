#include "common/kafka/consumer.h"

#include <stdlib.h>
#include <string.h>

#include "common/kafka/committed.h"
#include "common/kafka/lag.h"
#include "common/kafka/native.h"
#include "common/kafka/offsets.h"
#include "common/kafka/queue.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum {
    TICK_MS_MAX = 500,
    MS_PER_SECOND = 1000,
    REVOKE_COMMIT_MS = 1000 /* the loop waits so long for the last commit before the partitions go to another */
};

struct partition {
    char *topic;
    int32_t number;
    struct offsets *offsets;
    int64_t last_offset; /* last message handed out, -1: none yet */
    int64_t resume_from; /* where a successor would begin by what is committed; -1: at the beginning */
    /* Our own record of it: resuming what is not paused made librdkafka before 2.4 read everything again. */
    bool is_paused;
};

struct consumer {
    struct loop *loop;
    const struct kafka_settings *settings;
    struct consumer_callbacks callbacks;
    void *arg;
    size_t window;
    int64_t commit_interval_ms;
    char *group_id;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    struct queue_watch *watch;
    struct loop_timer *tick;
    struct partition *partitions;
    size_t partition_count;
    struct lag *lag;
    struct committed_lookup *lookup; /* partitions were given to us, their offsets are being asked for */
    bool is_assigned;
    bool is_paused; /* all of them, by the owner */
    bool is_stopped;
    bool has_failed;
    bool is_closing;
    bool is_committing;       /* a commit is under way */
    bool is_proof_committing; /* and it was sent after membership became doubtful */
    bool is_doubtful; /* we were asleep longer than the session lasts: a commit has to prove that we are a member */
    int64_t last_turn_ms;
    int64_t next_commit_ms;
    struct metric *consumed_metric;
    struct series *rebalance_series;
    struct series *unfinished_series;
    struct series *oldest_series;
};

/* --- Partitions --------------------------------------------------------------------------------------------------- */

static struct partition *find_partition(const struct consumer *consumer, const char *topic, int32_t number)
{
    for (size_t k = 0; k < consumer->partition_count; k++) {
        if (consumer->partitions[k].number == number && strcmp(consumer->partitions[k].topic, topic) == 0)
            return &consumer->partitions[k];
    }
    return NULL;
}

static void fail(struct consumer *consumer, const struct error *err)
{
    if (consumer->has_failed || consumer->is_closing)
        return;
    consumer->has_failed = true;
    consumer->is_stopped = true;
    consumer->callbacks.on_fatal(consumer->arg, err);
}

/* Pauses or resumes in librdkafka what is not yet so. */
static void set_paused(struct consumer *consumer, struct partition *partition, bool is_paused)
{
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code;

    if (partition->is_paused == is_paused)
        return;
    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, partition->topic, partition->number);
    code = is_paused ? rd_kafka_pause_partitions(consumer->client, list)
                     : rd_kafka_resume_partitions(consumer->client, list);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
        partition->is_paused = is_paused;
    rd_kafka_topic_partition_list_destroy(list);
}

/* Paused at the full window, resumed at half of it: each pause throws away what was fetched ahead. */
static void regulate(struct consumer *consumer, struct partition *partition)
{
    size_t unfinished = offsets_unfinished(partition->offsets);

    if (consumer->is_paused || consumer->is_stopped || unfinished >= consumer->window)
        set_paused(consumer, partition, true);
    else if (unfinished <= consumer->window / 2)
        set_paused(consumer, partition, false);
}

static void regulate_all(struct consumer *consumer)
{
    for (size_t k = 0; k < consumer->partition_count; k++)
        regulate(consumer, &consumer->partitions[k]);
}

static void free_partitions(struct partition *partitions, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        free(partitions[k].topic);
        offsets_free(partitions[k].offsets);
    }
    free(partitions);
}

/* --- Commits ------------------------------------------------------------------------------------------------------ */

static void note_committed(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    for (int k = 0; list != NULL && k < list->cnt; k++) {
        const rd_kafka_topic_partition_t *entry = &list->elems[k];
        struct partition *partition = find_partition(consumer, entry->topic, entry->partition);

        if (partition == NULL || entry->err != RD_KAFKA_RESP_ERR_NO_ERROR || entry->offset < 0)
            continue;
        offsets_committed(partition->offsets, entry->offset);
        if (entry->offset > partition->resume_from)
            partition->resume_from = entry->offset;
    }
}

static void on_committed(rd_kafka_t *client, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                         void *opaque)
{
    struct consumer *consumer = opaque;
    struct error err = ERROR_INIT;

    (void)client;
    consumer->is_committing = false;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_committed(consumer, list);
        if (consumer->is_proof_committing)
            consumer->is_doubtful = false;
    } else if (code != RD_KAFKA_RESP_ERR__NO_OFFSET) {
        /* What was not committed is tried again at the next interval; who is no member any more learns it by a
         * rebalance or a fatal error. */
        (void)kafka_error(&err, code, "commit");
        log_warning("kafka.commit_failed", LOG_ERROR(&err));
        if (err.class != ERROR_TRANSIENT)
            consumer->is_doubtful = true;
    }
    consumer->is_proof_committing = false;
}

/* What may be committed; with `for_proof` also what has been committed already. NULL when there is nothing. */
static rd_kafka_topic_partition_list_t *committable(const struct consumer *consumer, bool for_proof)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)consumer->partition_count);

    for (size_t k = 0; k < consumer->partition_count; k++) {
        const struct partition *partition = &consumer->partitions[k];
        int64_t offset = offsets_to_commit(partition->offsets);

        if (offset < 0 && for_proof)
            offset = partition->resume_from;
        if (offset >= 0)
            rd_kafka_topic_partition_list_add(list, partition->topic, partition->number)->offset = offset;
    }
    if (list->cnt == 0) {
        rd_kafka_topic_partition_list_destroy(list);
        return NULL;
    }
    return list;
}

static void commit_soon(struct consumer *consumer)
{
    rd_kafka_topic_partition_list_t *list;

    if (consumer->is_committing)
        return;
    list = committable(consumer, consumer->is_doubtful);
    if (list == NULL)
        return;
    if (rd_kafka_commit(consumer->client, list, 1) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        consumer->is_committing = true;
        consumer->is_proof_committing = consumer->is_doubtful;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* Waits for the answer, but no longer than `wait_ms`: what is not committed will be read again. */
static void commit_now(struct consumer *consumer, int64_t wait_ms)
{
    rd_kafka_topic_partition_list_t *list = committable(consumer, false);
    rd_kafka_queue_t *answers;
    rd_kafka_event_t *event = NULL;

    if (list == NULL)
        return;
    answers = rd_kafka_queue_new(consumer->client);
    if (rd_kafka_commit_queue(consumer->client, list, answers, NULL, NULL) == RD_KAFKA_RESP_ERR_NO_ERROR)
        event = rd_kafka_queue_poll(answers, (int)wait_ms);
    if (event != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR)
        note_committed(consumer, rd_kafka_event_topic_partition_list(event));
    else
        log_warning("kafka.last_commit_failed",
                    LOG_TEXT("reason", event != NULL ? rd_kafka_err2name(rd_kafka_event_error(event)) : "no answer"),
                    LOG_INTEGER("partitions", list->cnt));
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(answers);
    rd_kafka_topic_partition_list_destroy(list);
}

/* --- The group ---------------------------------------------------------------------------------------------------- */

static void end_lookup(struct consumer *consumer)
{
    committed_lookup_free(consumer->lookup);
    consumer->lookup = NULL;
}

static int make_partitions(const struct consumer *consumer, const rd_kafka_topic_partition_list_t *starts,
                           struct partition **ret_partitions, struct error *err)
{
    struct partition *partitions = calloc((size_t)starts->cnt + 1, sizeof(*partitions));

    if (partitions == NULL)
        return error_no_memory(err);
    for (int k = 0; k < starts->cnt; k++) {
        const rd_kafka_topic_partition_t *start = &starts->elems[k];

        if (start->partition >= consumer->settings->partitions) {
            free_partitions(partitions, (size_t)k);
            return error_set(err, ERROR_FATAL, "kafka.partitions_changed",
                             "topic %s has a partition %d, but the configuration says that there are %lld",
                             start->topic, (int)start->partition, (long long)consumer->settings->partitions);
        }
        partitions[k].topic = text_copy(start->topic);
        partitions[k].number = start->partition;
        partitions[k].offsets = offsets_new();
        partitions[k].last_offset = -1;
        partitions[k].resume_from = start->offset >= 0 ? start->offset : -1;
        if (partitions[k].topic == NULL || partitions[k].offsets == NULL) {
            free_partitions(partitions, (size_t)k + 1);
            return error_no_memory(err);
        }
    }
    *ret_partitions = partitions;
    return 0;
}

static void on_starts_found(void *arg, const rd_kafka_topic_partition_list_t *starts, const struct error *err)
{
    struct consumer *consumer = arg;
    struct error failure = ERROR_INIT;
    rd_kafka_resp_err_t code;

    if (starts == NULL) {
        end_lookup(consumer);
        fail(consumer, err);
        return;
    }
    if (make_partitions(consumer, starts, &consumer->partitions, &failure) < 0) {
        end_lookup(consumer);
        fail(consumer, &failure);
        return;
    }
    consumer->partition_count = (size_t)starts->cnt;
    code = rd_kafka_assign(consumer->client, starts);
    end_lookup(consumer);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)kafka_error(&failure, code, "assign");
        fail(consumer, &failure);
        return;
    }
    consumer->is_assigned = true;
    lag_watch(consumer->lag, starts);
    /* A new generation has just let us in. */
    consumer->is_doubtful = false;
    regulate_all(consumer);
    for (size_t k = 0; consumer->callbacks.on_assigned != NULL && k < consumer->partition_count; k++)
        consumer->callbacks.on_assigned(consumer->arg, consumer->partitions[k].topic, consumer->partitions[k].number);
    log_info("kafka.assigned", LOG_TEXT("group", consumer->group_id),
             LOG_INTEGER("partitions", consumer->partition_count));
}

static void take_assignment(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    struct error err = ERROR_INIT;

    if (list->cnt == 0) {
        rd_kafka_assign(consumer->client, list);
        consumer->is_assigned = true;
        consumer->is_doubtful = false;
        log_info("kafka.assigned", LOG_TEXT("group", consumer->group_id), LOG_INTEGER("partitions", 0));
        return;
    }
    /* Assigning may come later than this event: until then librdkafka keeps the membership and reads nothing. */
    if (committed_lookup_new(consumer->loop, consumer->client, consumer->group_id, list, on_starts_found, consumer,
                             &consumer->lookup, &err) < 0)
        fail(consumer, &err);
}

static void give_up_partitions(struct consumer *consumer, bool is_lost)
{
    struct partition *partitions = consumer->partitions;
    size_t count = consumer->partition_count;

    if (!is_lost)
        commit_now(consumer, REVOKE_COMMIT_MS);
    consumer->partitions = NULL;
    consumer->partition_count = 0;
    consumer->is_assigned = false;
    lag_watch(consumer->lag, NULL);
    rd_kafka_assign(consumer->client, NULL);
    for (size_t k = 0; consumer->callbacks.on_revoked != NULL && k < count; k++)
        consumer->callbacks.on_revoked(consumer->arg, partitions[k].topic, partitions[k].number);
    free_partitions(partitions, count);
}

/* From inside rd_kafka_consumer_poll(), so on the loop's thread. */
static void on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                         void *opaque)
{
    struct consumer *consumer = opaque;
    bool is_lost = rd_kafka_assignment_lost(client) != 0;

    metric_add(consumer->rebalance_series, 1);
    end_lookup(consumer);
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !consumer->is_closing) {
        take_assignment(consumer, list);
        return;
    }
    log_info("kafka.revoked", LOG_TEXT("group", consumer->group_id), LOG_BOOLEAN("lost", is_lost),
             LOG_INTEGER("partitions", consumer->partition_count));
    give_up_partitions(consumer, is_lost || code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS);
}

static void on_client_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct consumer *consumer = opaque;
    char text[512];

    (void)reason;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        struct error err = ERROR_INIT;

        (void)kafka_error(&err, rd_kafka_fatal_error(client, text, sizeof(text)), "consumer");
        err.class = ERROR_FATAL;
        fail(consumer, &err);
    }
}

static void prepare(rd_kafka_conf_t *conf, void *arg)
{
    rd_kafka_conf_set_opaque(conf, arg);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_committed);
    rd_kafka_conf_set_error_cb(conf, on_client_error);
}

/* --- Messages ----------------------------------------------------------------------------------------------------- */

static void hand_out(struct consumer *consumer, const rd_kafka_message_t *native)
{
    struct kafka_message message;
    struct partition *partition;
    struct error err = ERROR_INIT;

    if (consumer->is_stopped)
        return;
    native_read(native, &message);
    partition = find_partition(consumer, message.topic, message.partition);
    /* A message that was handed out already may come again after a fetch was repeated. */
    if (partition == NULL || message.offset <= partition->last_offset)
        return;
    if (offsets_begin(partition->offsets, message.offset, message.timestamp_ms) < 0) {
        (void)error_no_memory(&err);
        fail(consumer, &err);
        return;
    }
    partition->last_offset = message.offset;
    if (partition->resume_from < 0)
        partition->resume_from = message.offset;
    metric_count(consumer->consumed_metric, message.topic, NULL, NULL, NULL);
    if (offsets_unfinished(partition->offsets) >= consumer->window)
        regulate(consumer, partition);
    consumer->callbacks.on_message(consumer->arg, &message);
}

static void take_error(struct consumer *consumer, const rd_kafka_message_t *native)
{
    struct error err = ERROR_INIT;

    if (native_is_fatal(consumer->client, native, &err))
        fail(consumer, &err);
    else if (err.class != ERROR_NONE)
        log_warning("kafka.consumer_error", LOG_ERROR(&err));
}

/* SIGSTOP, a frozen machine: whoever slept longer than the session lasts may have been replaced without knowing it. */
static void note_turn(struct consumer *consumer)
{
    int64_t now_ms = clock_monotonic_ms();

    if (now_ms - consumer->last_turn_ms >= consumer->settings->session_timeout_ms && consumer->partition_count > 0) {
        consumer->is_doubtful = true;
        consumer->is_proof_committing = false;
        log_warning("kafka.slept", LOG_INTEGER("ms", now_ms - consumer->last_turn_ms));
    }
    consumer->last_turn_ms = now_ms;
}

static bool serve(void *arg)
{
    struct consumer *consumer = arg;
    struct queue_turn turn = queue_turn_begin();
    rd_kafka_message_t *native;

    note_turn(consumer);
    do {
        native = rd_kafka_consumer_poll(consumer->client, 0);
        if (native == NULL)
            return false;
        if (native->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            hand_out(consumer, native);
        else
            take_error(consumer, native);
        rd_kafka_message_destroy(native);
    } while (queue_turn_goes_on(&turn));
    return true;
}

/* How long ago the oldest message that was handed out and is not finished was written; 0: there is none. */
static int64_t oldest_seconds(const struct consumer *consumer)
{
    int64_t now_ms = timestamp_to_ms(clock_now());
    int64_t oldest_ms = now_ms;

    for (size_t k = 0; k < consumer->partition_count; k++) {
        int64_t offset;
        int64_t written_ms;

        if (offsets_first_unfinished(consumer->partitions[k].offsets, &offset, &written_ms) && written_ms < oldest_ms)
            oldest_ms = written_ms;
    }
    return (now_ms - oldest_ms) / MS_PER_SECOND;
}

static void on_tick(void *arg)
{
    struct consumer *consumer = arg;
    int64_t now_ms = clock_monotonic_ms();
    int64_t tick_ms = consumer->commit_interval_ms < TICK_MS_MAX ? consumer->commit_interval_ms : TICK_MS_MAX;

    note_turn(consumer);
    if (now_ms >= consumer->next_commit_ms || consumer->is_doubtful) {
        consumer->next_commit_ms = now_ms + consumer->commit_interval_ms;
        commit_soon(consumer);
    }
    metric_set(consumer->unfinished_series, (int64_t)consumer_unfinished(consumer));
    metric_set(consumer->oldest_series, oldest_seconds(consumer));
    /* Polling also tells librdkafka that we are alive (max.poll.interval.ms). */
    queue_watch_wake(consumer->watch);
    loop_timer_set(consumer->tick, tick_ms);
}

/* lag_unfinished_callback. */
static int64_t first_unfinished(void *arg, const char *topic, int32_t number)
{
    const struct consumer *consumer = arg;
    const struct partition *partition = find_partition(consumer, topic, number);
    int64_t offset;
    int64_t written_ms;

    if (partition == NULL)
        return -1;
    if (offsets_first_unfinished(partition->offsets, &offset, &written_ms))
        return offset;
    return lag_position(consumer->client, topic, number, partition->resume_from > 0 ? partition->resume_from : 0);
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

static int subscribe(struct consumer *consumer, const char *const *topics, struct error *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    int result = 0;

    for (size_t k = 0; topics[k]; k++) {
        char *name = kafka_topic_name(consumer->settings, topics[k]);

        if (name == NULL) {
            result = error_no_memory(err);
            goto out;
        }
        rd_kafka_topic_partition_list_add(list, name, RD_KAFKA_PARTITION_UA);
        free(name);
    }
    code = rd_kafka_subscribe(consumer->client, list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        result = kafka_error(err, code, "subscribe");
out:
    rd_kafka_topic_partition_list_destroy(list);
    return result;
}

int consumer_new(struct loop *loop, const struct kafka_settings *settings, const struct consumer_settings *options,
                 const struct consumer_callbacks *callbacks, void *arg, struct consumer **ret_consumer,
                 struct error *err)
{
    struct consumer *consumer = calloc(1, sizeof(*consumer));

    if (consumer == NULL)
        return error_no_memory(err);
    consumer->loop = loop;
    consumer->settings = settings;
    consumer->callbacks = *callbacks;
    consumer->arg = arg;
    consumer->window = options->window > 0 ? options->window : 1;
    consumer->commit_interval_ms = options->commit_interval_ms;
    consumer->last_turn_ms = clock_monotonic_ms();
    consumer->consumed_metric =
        metrics_declare(METRIC_COUNTER, "tandem_kafka_consumed_total", "topic", "Messages handed out.");
    consumer->rebalance_series = metrics_series(metrics_declare(METRIC_COUNTER, "tandem_kafka_rebalances_total",
                                                                "group", "Times the group gave or took partitions."),
                                                (const char *const[]){options->group, NULL});
    consumer->unfinished_series = metrics_series(metrics_declare(METRIC_GAUGE, "tandem_kafka_unfinished", "group",
                                                                 "Messages handed out whose work is not done."),
                                                 (const char *const[]){options->group, NULL});
    consumer->oldest_series =
        metrics_series(metrics_declare(METRIC_GAUGE, "tandem_kafka_oldest_unfinished_seconds", "group",
                                       "Age of the oldest message handed out whose work is not done; 0: none."),
                       (const char *const[]){options->group, NULL});
    consumer->group_id = kafka_topic_name(settings, options->group);
    consumer->tick = loop_timer_new(loop, on_tick, consumer);
    if (consumer->group_id == NULL || consumer->tick == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (kafka_client_new(settings, KAFKA_CONSUMER, consumer->group_id, options->instance, prepare, consumer,
                         &consumer->client, err) < 0)
        goto out;
    rd_kafka_poll_set_consumer(consumer->client);
    consumer->queue = rd_kafka_queue_get_consumer(consumer->client);
    if (lag_new(loop, consumer->client, options->group, first_unfinished, consumer, &consumer->lag, err) < 0 ||
        queue_watch_new(loop, consumer->queue, serve, consumer, &consumer->watch, err) < 0 ||
        subscribe(consumer, options->topics, err) < 0)
        goto out;
    on_tick(consumer);
    *ret_consumer = consumer;
    return 0;
out:
    consumer_free(consumer, 0);
    return -1;
}

void consumer_finish(struct consumer *consumer, const char *topic, int32_t partition, int64_t offset)
{
    struct partition *found = find_partition(consumer, topic, partition);

    if (found == NULL)
        return;
    offsets_finish(found->offsets, offset);
    regulate(consumer, found);
}

bool consumer_owns(const struct consumer *consumer, const char *topic, int32_t partition)
{
    return find_partition(consumer, topic, partition) != NULL && !consumer->is_doubtful && !consumer->has_failed &&
           !rd_kafka_assignment_lost(consumer->client) &&
           clock_monotonic_ms() - consumer->last_turn_ms < consumer->settings->session_timeout_ms;
}

void consumer_pause(struct consumer *consumer)
{
    consumer->is_paused = true;
    regulate_all(consumer);
}

void consumer_resume(struct consumer *consumer)
{
    consumer->is_paused = false;
    regulate_all(consumer);
}

bool consumer_is_assigned(const struct consumer *consumer)
{
    return consumer->is_assigned;
}

size_t consumer_unfinished(const struct consumer *consumer)
{
    size_t count = 0;

    for (size_t k = 0; k < consumer->partition_count; k++)
        count += offsets_unfinished(consumer->partitions[k].offsets);
    return count;
}

void consumer_stop(struct consumer *consumer)
{
    consumer->is_stopped = true;
    regulate_all(consumer);
}

/* Leaves the group; a static member's partitions stay reserved for it until its session ends. */
static void leave(struct consumer *consumer, int64_t close_ms)
{
    commit_now(consumer, close_ms);
    native_close_consumer(consumer->client, close_ms);
}

void consumer_free(struct consumer *consumer, int64_t close_ms)
{
    if (consumer == NULL)
        return;
    consumer->is_closing = true;
    consumer->is_stopped = true;
    consumer->callbacks.on_revoked = NULL;
    loop_timer_free(consumer->tick);
    end_lookup(consumer);
    if (consumer->client != NULL && consumer->watch != NULL)
        leave(consumer, close_ms);
    lag_free(consumer->lag);
    queue_watch_free(consumer->watch);
    if (consumer->queue != NULL)
        rd_kafka_queue_destroy(consumer->queue);
    if (consumer->client != NULL)
        rd_kafka_destroy_flags(consumer->client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free_partitions(consumer->partitions, consumer->partition_count);
    free(consumer->group_id);
    free(consumer);
}
