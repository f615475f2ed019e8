#include "common/kafka/producer.h"

#include <stdlib.h>
#include <string.h>

#include "common/kafka/blocking.h"
#include "common/kafka/native.h"
#include "common/kafka/queue.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum {
    PROBE_TIMEOUT_MS = 500,    /* of one metadata request, off the loop */
    PROBE_INTERVAL_MS = 200,   /* between two while the brokers do not answer */
    UPKEEP_INTERVAL_MS = 1000, /* replacing what failed, freeing what was replaced */
    PURGED_WAIT_MS = 5000,     /* for the reports of a purged handle, which come at once */
    CLOSE_TURN_MS = 50
};

struct client_handle;

/* One message on its way. */
struct delivery {
    struct client_handle *handle;
    producer_callback on_delivered; /* may be NULL */
    void *arg;
    struct delivery *previous, *next;
};

/* A librdkafka client and what belongs to it. A failed one is retired: it ends what it has under way, is destroyed on
 * its own thread and then freed, while its successor works. */
struct client_handle {
    struct producer *producer;
    rd_kafka_t *client;
    rd_kafka_topic_t **topics; /* parallel to producer->topics; hold their metadata in the client's cache */
    rd_kafka_queue_t *queue;
    struct queue_watch *watch;
    struct blocking *blocking;
    struct delivery *deliveries;
    size_t outstanding;
    struct queue_turn turn;
    bool has_more;
    bool has_failed; /* fatal state: to be replaced */
    bool is_closing; /* no turns any more: serve everything */
    bool is_probing; /* the thread asks for metadata */
    bool probe_ok;   /* written by the thread while is_probing */
    bool is_reachable;
    bool is_destroyed;
    int64_t retired_ms;
    struct client_handle *next; /* retired ones */
};

struct producer {
    struct loop *loop;
    const struct kafka_settings *settings;
    char *instance;
    char **topics; /* full names */
    size_t topic_count;
    struct client_handle *current; /* NULL: could not be made, tried again */
    struct client_handle *retired;
    struct loop_timer *upkeep;
    struct loop_timer *probe;
    bool is_closing;
    struct metric *deliveries_metric;
    struct series *latency_series;
    struct series *recreated_series;
};

/* --- Deliveries --------------------------------------------------------------------------------------------------- */

static void link_delivery(struct client_handle *handle, struct delivery *delivery)
{
    delivery->handle = handle;
    delivery->next = handle->deliveries;
    if (delivery->next != NULL)
        delivery->next->previous = delivery;
    handle->deliveries = delivery;
    handle->outstanding++;
}

static void unlink_delivery(struct delivery *delivery)
{
    if (delivery->previous != NULL)
        delivery->previous->next = delivery->next;
    else
        delivery->handle->deliveries = delivery->next;
    if (delivery->next != NULL)
        delivery->next->previous = delivery->previous;
    delivery->handle->outstanding--;
}

static void end_delivery(struct delivery *delivery, const struct error *err)
{
    struct producer *producer = delivery->handle->producer;

    unlink_delivery(delivery);
    metric_count(producer->deliveries_metric, err != NULL ? err->code : "ok", NULL, NULL, NULL);
    if (delivery->on_delivered != NULL)
        delivery->on_delivered(delivery->arg, err);
    free(delivery);
}

/* Exactly once per message that producev() took (librdkafka, INTRODUCTION.md, "Producer message delivery"). */
static void on_report(rd_kafka_t *client, const rd_kafka_message_t *native, void *opaque)
{
    struct client_handle *handle = opaque;
    struct delivery *delivery = native->_private;
    struct error err = ERROR_INIT;

    /* An error may come with a message that is on all replicas all the same, and the report says so. */
    if (native->err != RD_KAFKA_RESP_ERR_NO_ERROR && rd_kafka_message_status(native) != RD_KAFKA_MSG_STATUS_PERSISTED) {
        (void)kafka_error(&err, native->err, "delivery");
        end_delivery(delivery, &err);
    } else {
        metric_observe_us(handle->producer->latency_series, rd_kafka_message_latency(native));
        end_delivery(delivery, NULL);
    }
    if (!handle->is_closing && !queue_turn_goes_on(&handle->turn)) {
        handle->has_more = true;
        rd_kafka_yield(client);
    }
}

/* --- One handle --------------------------------------------------------------------------------------------------- */

static void on_client_error(rd_kafka_t *client, int code, const char *reason, void *opaque)
{
    struct client_handle *handle = opaque;
    struct producer *producer = handle->producer;
    char text[512];

    (void)reason;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(client, text, sizeof(text));

        log_error("kafka.producer_failed", LOG_TEXT("cause", rd_kafka_err2name(cause)), LOG_TEXT("reason", text),
                  LOG_INTEGER("outstanding", handle->outstanding));
        handle->has_failed = true;
        queue_watch_wake(handle->watch);
    } else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && handle->is_reachable && handle == producer->current) {
        log_warning("kafka.brokers_down", LOG_INTEGER("outstanding", handle->outstanding));
        handle->is_reachable = false;
        if (!producer->is_closing)
            loop_timer_set(producer->probe, PROBE_INTERVAL_MS);
    }
}

static void prepare(rd_kafka_conf_t *conf, void *arg)
{
    rd_kafka_conf_set_opaque(conf, arg);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_conf_set_error_cb(conf, on_client_error);
}

static void retire_failed(struct producer *producer);

static bool serve(void *arg)
{
    struct client_handle *handle = arg;

    handle->has_more = false;
    handle->turn = queue_turn_begin();
    rd_kafka_poll(handle->client, 0);
    if (handle->has_failed && handle == handle->producer->current && !handle->producer->is_closing)
        retire_failed(handle->producer);
    return handle->has_more;
}

/* On the handle's thread. */
static void probe_topics(void *arg)
{
    struct client_handle *handle = arg;

    for (size_t k = 0; k < handle->producer->topic_count; k++) {
        const struct rd_kafka_metadata *metadata;
        bool is_known;

        if (rd_kafka_metadata(handle->client, 0, handle->topics[k], &metadata, PROBE_TIMEOUT_MS) !=
            RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        is_known = metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
                   metadata->topics[0].partition_cnt > 0;
        rd_kafka_metadata_destroy(metadata);
        if (!is_known)
            return;
    }
    handle->probe_ok = true;
}

static void on_probed(void *arg)
{
    struct client_handle *handle = arg;

    handle->is_probing = false;
    if (handle != handle->producer->current)
        return;
    if (handle->probe_ok) {
        if (!handle->is_reachable)
            log_info("kafka.producer_ready", LOG_INTEGER("topics", handle->producer->topic_count));
        handle->is_reachable = true;
    } else {
        loop_timer_set(handle->producer->probe, PROBE_INTERVAL_MS);
    }
}

static void start_probe(void *arg)
{
    struct producer *producer = arg;
    struct client_handle *handle = producer->current;

    if (handle == NULL || handle->is_probing)
        return;
    handle->is_probing = true;
    handle->probe_ok = false;
    if (blocking_run(handle->blocking, probe_topics, on_probed, handle) < 0) {
        handle->is_probing = false;
        loop_timer_set(producer->probe, PROBE_INTERVAL_MS);
    }
}

/* What can be let go of on the loop's thread; the client itself is left. */
static void release_watch(struct client_handle *handle)
{
    queue_watch_free(handle->watch);
    handle->watch = NULL;
    if (handle->queue != NULL)
        rd_kafka_queue_destroy(handle->queue);
    handle->queue = NULL;
}

/* Blocks until librdkafka's threads have ended. */
static void destroy_client(void *arg)
{
    struct client_handle *handle = arg;

    for (size_t k = 0; handle->topics != NULL && k < handle->producer->topic_count; k++) {
        if (handle->topics[k] != NULL)
            rd_kafka_topic_destroy(handle->topics[k]);
    }
    free(handle->topics);
    handle->topics = NULL;
    if (handle->client != NULL)
        rd_kafka_destroy(handle->client);
    handle->client = NULL;
}

static void on_destroyed(void *arg)
{
    struct client_handle *handle = arg;

    handle->is_destroyed = true;
}

/* Waits for the thread; afterwards nobody else knows the handle. */
static void free_handle(struct client_handle *handle)
{
    release_watch(handle);
    blocking_free(handle->blocking);
    destroy_client(handle);
    free(handle);
}

static int make_handle(struct producer *producer, struct client_handle **ret_handle, struct error *err)
{
    struct client_handle *handle = calloc(1, sizeof(*handle));

    if (handle == NULL)
        return error_no_memory(err);
    handle->producer = producer;
    handle->topics = calloc(producer->topic_count + 1, sizeof(rd_kafka_topic_t *));
    if (handle->topics == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (kafka_client_new(producer->settings, KAFKA_PRODUCER, NULL, producer->instance, prepare, handle, &handle->client,
                         err) < 0)
        goto out;
    for (size_t k = 0; k < producer->topic_count; k++) {
        handle->topics[k] = rd_kafka_topic_new(handle->client, producer->topics[k], NULL);
        if (handle->topics[k] == NULL) {
            (void)kafka_error(err, rd_kafka_last_error(), producer->topics[k]);
            goto out;
        }
    }
    handle->queue = rd_kafka_queue_get_main(handle->client);
    if (blocking_new(producer->loop, &handle->blocking, err) < 0 ||
        queue_watch_new(producer->loop, handle->queue, serve, handle, &handle->watch, err) < 0)
        goto out;
    *ret_handle = handle;
    return 0;
out:
    free_handle(handle);
    return -1;
}

/* --- Replacing ---------------------------------------------------------------------------------------------------- */

static void make_current(struct producer *producer)
{
    struct error err = ERROR_INIT;

    if (make_handle(producer, &producer->current, &err) < 0) {
        log_error("kafka.producer_not_made", LOG_ERROR(&err));
        return;
    }
    start_probe(producer);
}

static void retire_failed(struct producer *producer)
{
    struct client_handle *handle = producer->current;

    producer->current = NULL;
    handle->retired_ms = clock_monotonic_ms();
    handle->next = producer->retired;
    producer->retired = handle;
    rd_kafka_purge(handle->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    metric_add(producer->recreated_series, 1);
    make_current(producer);
}

/* For messages whose report did not come; afterwards there is none. */
static void fail_all(struct client_handle *handle)
{
    while (handle->deliveries != NULL) {
        struct error err = ERROR_INIT;

        (void)kafka_error(&err, RD_KAFKA_RESP_ERR__DESTROY, "delivery");
        end_delivery(handle->deliveries, &err);
    }
}

/* Ends a retired handle step by step; true when it can be freed. */
static bool advance_retired(struct client_handle *handle)
{
    if (handle->is_destroyed)
        return true;
    if (handle->watch == NULL || handle->is_probing)
        return false;
    if (handle->outstanding > 0 && clock_monotonic_ms() - handle->retired_ms < PURGED_WAIT_MS)
        return false;
    fail_all(handle);
    release_watch(handle);
    if (blocking_run(handle->blocking, destroy_client, on_destroyed, handle) < 0)
        return true; /* then freeing it here blocks for a moment */
    return false;
}

static void on_upkeep(void *arg)
{
    struct producer *producer = arg;
    struct client_handle **place = &producer->retired;

    while (*place != NULL) {
        struct client_handle *handle = *place;

        if (advance_retired(handle)) {
            *place = handle->next;
            free_handle(handle);
        } else {
            place = &handle->next;
        }
    }
    if (producer->current == NULL)
        make_current(producer);
    loop_timer_set(producer->upkeep, UPKEEP_INTERVAL_MS);
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

static int copy_topics(struct producer *producer, const char *const *topics, struct error *err)
{
    size_t count = 0;

    while (topics != NULL && topics[count] != NULL)
        count++;
    producer->topics = calloc(count + 1, sizeof(*producer->topics));
    if (producer->topics == NULL)
        return error_no_memory(err);
    for (; producer->topic_count < count; producer->topic_count++) {
        producer->topics[producer->topic_count] = kafka_topic_name(producer->settings, topics[producer->topic_count]);
        if (producer->topics[producer->topic_count] == NULL)
            return error_no_memory(err);
    }
    return 0;
}

int producer_new(struct loop *loop, const struct kafka_settings *settings, const char *instance,
                 const char *const *topics, struct producer **ret_producer, struct error *err)
{
    struct producer *producer = calloc(1, sizeof(*producer));

    if (producer == NULL)
        return error_no_memory(err);
    producer->loop = loop;
    producer->settings = settings;
    producer->deliveries_metric = metrics_declare(METRIC_COUNTER, "tandem_kafka_deliveries_total", "result",
                                                  "Messages by what became of them: ok, or the error's code.");
    producer->latency_series =
        metrics_series(metrics_declare(METRIC_HISTOGRAM, "tandem_kafka_delivery_seconds", "",
                                       "Time from taking a message to its acknowledgement by all replicas."),
                       (const char *const[]){NULL});
    producer->recreated_series =
        metrics_series(metrics_declare(METRIC_COUNTER, "tandem_kafka_producer_recreated_total", "",
                                       "Producers replaced after a fatal error of the client library."),
                       (const char *const[]){NULL});
    producer->instance = instance != NULL ? text_copy(instance) : NULL;
    producer->upkeep = loop_timer_new(loop, on_upkeep, producer);
    producer->probe = loop_timer_new(loop, start_probe, producer);
    if ((instance != NULL && producer->instance == NULL) || producer->upkeep == NULL || producer->probe == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (copy_topics(producer, topics, err) < 0 || make_handle(producer, &producer->current, err) < 0)
        goto out;
    start_probe(producer);
    loop_timer_set(producer->upkeep, UPKEEP_INTERVAL_MS);
    *ret_producer = producer;
    return 0;
out:
    producer_free(producer, 0);
    return -1;
}

int producer_send(struct producer *producer, const struct kafka_message *message, producer_callback on_delivered,
                  void *arg, struct error *err)
{
    struct client_handle *handle = producer->current;
    struct delivery *delivery;
    rd_kafka_resp_err_t code;

    if (handle == NULL || producer->is_closing)
        return error_set(err, ERROR_TRANSIENT, "kafka.client_replaced", "the producer is not there at the moment");
    delivery = calloc(1, sizeof(*delivery));
    if (delivery == NULL)
        return error_no_memory(err);
    delivery->on_delivered = on_delivered;
    delivery->arg = arg;
    link_delivery(handle, delivery);
    code = native_produce(handle->client, message, RD_KAFKA_PARTITION_UA, delivery);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    unlink_delivery(delivery);
    free(delivery);
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        handle->has_failed = true;
        queue_watch_wake(handle->watch);
    }
    return kafka_error(err, code, message->topic);
}

size_t producer_outstanding(const struct producer *producer)
{
    size_t count = producer->current != NULL ? producer->current->outstanding : 0;

    for (const struct client_handle *handle = producer->retired; handle; handle = handle->next)
        count += handle->outstanding;
    return count;
}

bool producer_is_ready(const struct producer *producer)
{
    return producer->current != NULL && producer->current->is_reachable && !producer->current->has_failed;
}

/* Every report is served before this returns, so that no callback is forgotten. */
static void close_handle(struct client_handle *handle, int64_t flush_ms)
{
    int64_t end_ms;

    handle->is_closing = true;
    if (handle->outstanding > 0 && flush_ms > 0)
        (void)rd_kafka_flush(handle->client, (int)flush_ms);
    if (handle->outstanding > 0) {
        rd_kafka_purge(handle->client,
                       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
        end_ms = clock_monotonic_ms() + UPKEEP_INTERVAL_MS;
        while (handle->outstanding > 0 && clock_monotonic_ms() < end_ms)
            rd_kafka_poll(handle->client, CLOSE_TURN_MS);
        fail_all(handle);
    }
    free_handle(handle);
}

void producer_free(struct producer *producer, int64_t flush_ms)
{
    if (producer == NULL)
        return;
    producer->is_closing = true;
    loop_timer_free(producer->upkeep);
    loop_timer_free(producer->probe);
    if (producer->current != NULL)
        close_handle(producer->current, flush_ms);
    while (producer->retired != NULL) {
        struct client_handle *handle = producer->retired;

        producer->retired = handle->next;
        fail_all(handle);
        free_handle(handle);
    }
    for (size_t k = 0; k < producer->topic_count; k++)
        free(producer->topics[k]);
    free(producer->topics);
    free(producer->instance);
    free(producer);
}
