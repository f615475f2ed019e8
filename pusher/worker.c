#include "pusher/worker.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/consumer.h"
#include "common/kafka/topics.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "pusher/audit.h"
#include "pusher/breaker.h"
#include "pusher/delivery.h"
#include "pusher/lane.h"
#include "pusher/letter.h"
#include "pusher/target.h"

enum { LANES_IDLE_MAX = 10000, CLOSE_MS = 3000, CHECK_MS = 100, BLOCKED_PAUSE_FIRST_MS = 2000 };

#define KEY(name_, type_, member_) .name = (name_), .type = (type_), .offset = offsetof(struct pusher_settings, member_)
const struct config_key PUSHER_KEYS[] = {
    {KEY("window", CONFIG_INTEGER, window), .default_text = "500", .min = 1, .max = 10000,
     .help = "Decisions of one partition under way or waiting at once; then the partition is paused."},
    {KEY("commit_interval", CONFIG_DURATION, commit_interval_ms), .default_text = "200ms", .min = 10, .max = 60000,
     .help = "How often the offsets of finished decisions are committed."},
    {KEY("concurrent_calls", CONFIG_INTEGER, concurrent_calls), .default_text = "16", .min = 1, .max = 200,
     .help = "Reads and writes under way at one system at once, of this process."},
    {KEY("pause_first", CONFIG_DURATION, pause_first_ms), .default_text = "500ms", .min = 1, .max = 60000,
     .help = "Longest first pause before a call is repeated; doubles with each failure in a row."},
    {KEY("pause_max", CONFIG_DURATION, pause_max_ms), .default_text = "60s", .min = 1, .max = 3600000,
     .help = "Longest pause before a call is repeated, or a failing system is tried again."},
    {KEY("blocked_pause_max", CONFIG_DURATION, blocked_pause_max_ms), .default_text = "5m", .min = 1, .max = 86400000,
     .help = "Longest pause before a system is tried again at which our account cannot work."},
    {KEY("retry_after_max", CONFIG_DURATION, retry_after_max_ms), .default_text = "30m", .min = 1000, .max = 86400000,
     .help = "Longest pause a system may ask for by Retry-After."},
    {KEY("failures_before_pause", CONFIG_INTEGER, failures_max), .default_text = "5", .min = 1, .max = 1000,
     .help = "Failures of a system in a row after which it is left alone for a while."},
    {KEY("refusals_before_pause", CONFIG_INTEGER, refusals_max), .default_text = "20", .min = 0, .max = 100000,
     .help =
         "Refused writes of different deals in a row after which the system is left alone instead of setting further "
         "decisions aside; 0: never."},
    {KEY("unexplained_before_refusal", CONFIG_INTEGER, unexplained_max), .default_text = "10", .min = 0, .max = 100000,
     .help =
         "Failures of one decision for which the system tells no reason (Dynamics 365: 0x80040216) after which it is "
         "set aside; 0: never. How many pass by themselves is unconfirmed."},
    {KEY("audit_noops", CONFIG_BOOLEAN, audits_noops), .default_text = "true",
     .help = "Decisions to do nothing get an audit row with their reason, too."},
};
const size_t PUSHER_KEY_COUNT = ARRAY_LENGTH(PUSHER_KEYS);
#undef KEY

struct worker {
    struct program *program;
    const struct pusher_settings *settings;
    struct producer *producer;
    struct consumer *consumer;
    struct audit *audit;
    struct lanes *lanes;
    struct target *targets[WORKER_SYSTEMS_MAX + 1];
    struct breaker_policy breaker_policy;
    struct delivery_ports ports;
    struct letter_ports letter_ports;
    char *outcomes_topic;
    char *dead_letters_topic;
    struct delivery *deliveries;
    struct loop_timer *check; /* readiness at the start, and gauges */
    bool is_draining;
    struct series *lanes_active;
    struct series *lanes_parked;
    struct series *lanes_queued;
};

/* --- Deliveries --------------------------------------------------------------------------------------------------- */

static void fail(struct worker *worker, const struct error *err)
{
    program_fail(worker->program, exit_status_of(err), err);
}

static void on_over(void *arg, struct delivery *delivery, bool is_finished)
{
    struct worker *worker = arg;
    const struct kafka_message *message = delivery_message(delivery);
    struct lane_item *next = lanes_remove(worker->lanes, delivery_item(delivery));

    delivery_unlink(&worker->deliveries, delivery);
    if (is_finished && worker->consumer != NULL)
        consumer_finish(worker->consumer, message->topic, message->partition, message->offset);
    /* One that was given up blocks its lane: those behind it must not overtake it. They are given up in the same breath
     * (partition revoked, program draining). */
    if (next != NULL && is_finished && !worker->is_draining)
        delivery_begin(delivery_of(next));
    if (worker->is_draining && worker->deliveries == NULL)
        program_drained(worker->program);
}

static void on_letter_over(void *arg, const char *topic, int32_t partition, int64_t offset)
{
    struct worker *worker = arg;

    if (worker->consumer != NULL)
        consumer_finish(worker->consumer, topic, partition, offset);
}

static void on_message(void *arg, const struct kafka_message *message)
{
    struct worker *worker = arg;
    struct delivery *delivery;
    struct error err = ERROR_INIT;
    bool is_first = true;

    if (strcmp(message->topic, worker->dead_letters_topic) == 0) {
        if (letter_take(&worker->letter_ports, message, &err) < 0)
            fail(worker, &err);
        return;
    }
    if (delivery_new(&worker->ports, message, &delivery, &err) < 0) {
        fail(worker, &err);
        return;
    }
    delivery_link(&worker->deliveries, delivery);
    if (delivery_key(delivery) != NULL &&
        lanes_add(worker->lanes, delivery_key(delivery), delivery_item(delivery), &is_first, &err) < 0) {
        delivery_abandon(delivery);
        fail(worker, &err);
        return;
    }
    if (is_first)
        delivery_begin(delivery);
}

static void on_revoked(void *arg, const char *topic, int32_t partition)
{
    struct worker *worker = arg;
    struct delivery *next;

    for (struct delivery *delivery = worker->deliveries; delivery != NULL; delivery = next) {
        const struct kafka_message *message = delivery_message(delivery);

        next = delivery_next(delivery);
        if (message->partition != partition || strcmp(message->topic, topic) != 0)
            continue;
        lane_forget_numbers(delivery_item(delivery));
        delivery_abandon(delivery);
    }
    lanes_forget_idle(worker->lanes);
}

static void on_fatal(void *arg, const struct error *err)
{
    fail(arg, err);
}

static void on_audit_up(void *arg, bool is_up)
{
    struct worker *worker = arg;

    if (worker->consumer == NULL)
        return;
    if (is_up)
        consumer_resume(worker->consumer);
    else
        consumer_pause(worker->consumer);
}

static struct target *find_target(void *arg, const char *system)
{
    struct worker *worker = arg;

    for (size_t i = 0; worker->targets[i] != NULL; i++)
        if (text_equal(target_system(worker->targets[i])->operations->name, system))
            return worker->targets[i];
    return NULL;
}

static bool owns(void *arg, const char *topic, int32_t partition)
{
    const struct worker *worker = arg;

    return worker->consumer != NULL && consumer_owns(worker->consumer, topic, partition);
}

/* --- Readiness ---------------------------------------------------------------------------------------------------- */

static const char *database_trouble(void *arg)
{
    const struct worker *worker = arg;

    return audit_trouble(worker->audit);
}

static bool is_kafka_ready(void *arg)
{
    const struct worker *worker = arg;

    return worker->consumer != NULL && consumer_is_assigned(worker->consumer) && producer_is_ready(worker->producer);
}

static const char *trouble_of_target(void *arg)
{
    return target_trouble(arg);
}

static void on_check(void *arg)
{
    struct worker *worker = arg;

    metric_set(worker->lanes_active, (int64_t)lanes_active(worker->lanes));
    metric_set(worker->lanes_parked, (int64_t)lanes_parked(worker->lanes));
    metric_set(worker->lanes_queued, (int64_t)lanes_queued(worker->lanes));
    if (is_kafka_ready(worker))
        program_set_ready(worker->program);
    loop_timer_set(worker->check, CHECK_MS);
}

/* --- Making ------------------------------------------------------------------------------------------------------- */

static void set_policies(struct worker *worker)
{
    const struct pusher_settings *settings = worker->settings;
    const struct retry_policy pauses = {.first_delay_ms = settings->pause_first_ms,
                                        .delay_max_ms = settings->pause_max_ms};

    worker->breaker_policy = (struct breaker_policy){
        .failures_max = (unsigned)settings->failures_max,
        .refusals_max = (unsigned)settings->refusals_max,
        .pauses = pauses,
        .blocked_pauses = {.first_delay_ms = BLOCKED_PAUSE_FIRST_MS, .delay_max_ms = settings->blocked_pause_max_ms},
        .told_max_ms = settings->retry_after_max_ms};
    worker->ports.pauses = pauses;
    worker->ports.unexplained_max = (unsigned)settings->unexplained_max;
}

static void set_metrics(struct worker *worker)
{
    struct metric *lanes = metrics_declare(METRIC_GAUGE, "tandem_pusher_lanes", "state",
                                           "Deals with decisions under way, those among them that wait to repeat a "
                                           "call, and decisions waiting behind others of their deal.");

    worker->lanes_active = metrics_series(lanes, (const char *const[]){"active", NULL});
    worker->lanes_parked = metrics_series(lanes, (const char *const[]){"parked", NULL});
    worker->lanes_queued = metrics_series(lanes, (const char *const[]){"queued", NULL});
    worker->ports.decisions_metric = metrics_declare(METRIC_COUNTER, "tandem_pusher_decisions_total", "action,result",
                                                     "Decisions carried out, by what came of them.");
    worker->ports.missing_metric =
        metrics_declare(METRIC_COUNTER, "tandem_pusher_missing_decisions_total", "",
                        "Decisions missing between two of a deal, by their numbers. Not 0: the topic has lost some, or "
                        "they were set aside.");
    /* Told from the start: an alarm on a series that is not there does not go off. */
    metric_add(metrics_series(worker->ports.missing_metric, (const char *const[]){NULL}), 0);
    worker->ports.write_metric = metrics_declare(METRIC_HISTOGRAM, "tandem_pusher_write_seconds", "system",
                                                 "The target's own time for a write that was applied.");
    worker->ports.whole_metric =
        metrics_declare(METRIC_HISTOGRAM, "tandem_pusher_webhook_to_write_seconds", "system",
                        "From the first cause's arrival to the end of the write that was applied.");
}

static int make_targets(struct worker *worker, struct system *const *systems, struct error *err)
{
    for (size_t i = 0; systems[i] != NULL && i < WORKER_SYSTEMS_MAX; i++) {
        if (target_new(program_loop(worker->program), systems[i], &worker->breaker_policy,
                       (unsigned)worker->settings->concurrent_calls, &worker->targets[i], err) < 0)
            return -1;
        program_add_trouble(worker->program, systems[i]->operations->name, trouble_of_target, worker->targets[i]);
    }
    return 0;
}

static void set_ports(struct worker *worker)
{
    worker->ports.loop = program_loop(worker->program);
    worker->ports.audit = worker->audit;
    worker->ports.producer = worker->producer;
    worker->ports.lanes = worker->lanes;
    worker->ports.outcomes_topic = worker->outcomes_topic;
    worker->ports.dead_letters_topic = worker->dead_letters_topic;
    worker->ports.instance = program_instance(worker->program);
    worker->ports.records_none = worker->settings->audits_noops;
    worker->ports.find_target = find_target;
    worker->ports.owns = owns;
    worker->ports.on_over = on_over;
    worker->ports.arg = worker;
    worker->letter_ports = (struct letter_ports){.audit = worker->audit,
                                                 .instance = program_instance(worker->program),
                                                 .on_over = on_letter_over,
                                                 .arg = worker};
}

static int join(struct worker *worker, const struct kafka_settings *kafka, struct error *err)
{
    static const struct consumer_callbacks callbacks = {
        .on_message = on_message, .on_revoked = on_revoked, .on_fatal = on_fatal};
    static const char *const topics[] = {TOPIC_DECISIONS, TOPIC_DEAD_LETTERS, NULL};
    const struct consumer_settings options = {.group = "pusher",
                                              .instance = program_instance(worker->program),
                                              .topics = topics,
                                              .window = (size_t)worker->settings->window,
                                              .commit_interval_ms = worker->settings->commit_interval_ms};

    if (consumer_new(program_loop(worker->program), kafka, &options, &callbacks, worker, &worker->consumer, err) < 0)
        return -1;
    if (!audit_is_up(worker->audit))
        consumer_pause(worker->consumer);
    return 0;
}

int worker_new(struct program *program, const struct kafka_settings *kafka, const struct postgres_settings *postgres,
               const struct pusher_settings *settings, struct producer *producer, struct system *const *systems,
               struct worker **ret_worker, struct error *err)
{
    static const struct audit_callbacks audit_callbacks = {.on_up = on_audit_up};
    struct worker *worker = calloc(1, sizeof(*worker));

    if (worker == NULL)
        return error_no_memory(err);
    worker->program = program;
    worker->settings = settings;
    worker->producer = producer;
    set_policies(worker);
    set_metrics(worker);
    worker->outcomes_topic = kafka_topic_name(kafka, TOPIC_OUTCOMES);
    worker->dead_letters_topic = kafka_topic_name(kafka, TOPIC_DEAD_LETTERS);
    worker->check = loop_timer_new(program_loop(program), on_check, worker);
    if (worker->outcomes_topic == NULL || worker->dead_letters_topic == NULL || worker->check == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (lanes_new(LANES_IDLE_MAX, &worker->lanes, err) < 0 || make_targets(worker, systems, err) < 0 ||
        audit_new(program_loop(program), postgres, &audit_callbacks, worker, &worker->audit, err) < 0)
        goto out;
    set_ports(worker);
    if (join(worker, kafka, err) < 0)
        goto out;
    program_add_trouble(program, "postgres", database_trouble, worker);
    program_add_readiness(program, "kafka", is_kafka_ready, worker);
    loop_timer_set(worker->check, 0);
    *ret_worker = worker;
    return 0;
out:
    worker_free(worker);
    return -1;
}

/* --- Ending ------------------------------------------------------------------------------------------------------- */

void worker_drain(struct worker *worker)
{
    struct delivery *next;

    consumer_stop(worker->consumer);
    loop_timer_stop(worker->check);
    for (struct delivery *delivery = worker->deliveries; delivery != NULL; delivery = next) {
        next = delivery_next(delivery);
        delivery_drain(delivery);
    }
    worker->is_draining = true;
    if (worker->deliveries == NULL)
        program_drained(worker->program);
}

static void abandon_all(struct worker *worker)
{
    struct delivery *next;

    worker->is_draining = false; /* there is nobody left to tell */
    for (struct delivery *delivery = worker->deliveries; delivery != NULL; delivery = next) {
        next = delivery_next(delivery);
        delivery_abandon(delivery);
    }
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL)
        return;
    abandon_all(worker);
    consumer_free(worker->consumer, CLOSE_MS);
    worker->consumer = NULL;
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    worker_stop(worker);
    audit_free(worker->audit);
    for (size_t i = 0; worker->targets[i] != NULL; i++)
        target_free(worker->targets[i]);
    lanes_free(worker->lanes);
    loop_timer_free(worker->check);
    free(worker->outcomes_topic);
    free(worker->dead_letters_topic);
    free(worker);
}
