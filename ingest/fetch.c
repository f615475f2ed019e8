#include "ingest/fetch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/kafka/consumer.h"
#include "common/kafka/topics.h"
#include "common/messages/dead_letter.h"
#include "common/messages/record.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "ingest/arrival.h"
#include "ingest/condition.h"
#include "ingest/fold.h"
#include "ingest/publisher.h"
#include "ingest/reading.h"
#include "ingest/versions.h"

enum {
    COMMIT_INTERVAL_MS = 200,
    LETTERS_MAX = 16 /* dead letters of unreadable notifications under way */
};

#define KEY(name_, type_, member_) .name = (name_), .type = (type_), .offset = offsetof(struct fetch_settings, member_)
const struct config_key FETCH_KEYS[] = {
    {KEY("concurrent_reads", CONFIG_INTEGER, concurrent_max), .default_text = "8", .min = 1, .max = 256,
     .help = "Records being read at once at each system."},
    {KEY("window", CONFIG_INTEGER, window), .default_text = "1000", .min = 1, .max = 10000,
     .help = "Notifications per partition that may wait for their read; then the partition is paused."},
    {KEY("read_interval", CONFIG_DURATION, read_interval_ms), .default_text = "200ms", .min = 0, .max = 60000,
     .help = "How long a record is not read again after a reading; what comes in meanwhile is answered by one read."},
    {KEY("first_retry_delay", CONFIG_DURATION, first_delay_ms), .default_text = "500ms", .min = 10, .max = 60000,
     .help = "Longest pause before a failed read is repeated for the first time; doubled each time, with jitter."},
    {KEY("longest_retry_delay", CONFIG_DURATION, delay_max_ms), .default_text = "60s", .min = 100, .max = 3600000,
     .help = "Longest pause before a failed read is repeated."},
    {KEY("probe_interval", CONFIG_DURATION, probe_interval_ms), .default_text = "30s", .min = 100, .max = 3600000,
     .help = "How often a system is tried that does not let us in (sign-in, licence, permission)."},
    {KEY("unexplained_before_refusal", CONFIG_INTEGER, unexplained_max), .default_text = "10", .min = 0, .max = 100000,
     .help =
         "Failures of one record's read for which the system tells no reason (Dynamics 365: 0x80040216) after which "
         "its notifications are set aside; 0: never. How many pass by themselves is unconfirmed."},
};
const size_t FETCH_KEY_COUNT = ARRAY_LENGTH(FETCH_KEYS);
#undef KEY

/* One system, or (without one) the dead letters of unreadable notifications; its index is its group in the fold. */
struct lane {
    struct system *system;
    const char *name;
    unsigned busy;    /* records under way: being read or told */
    unsigned reading; /* being read */
    struct condition condition;
    struct series *paused;
};

struct fetch {
    struct loop *loop;
    struct fetch_settings settings;
    struct publisher *publisher;
    struct consumer *consumer;
    void (*on_fatal)(void *arg, const struct error *err);
    void *arg;
    struct fold *fold;
    struct versions versions;
    struct lane lanes[FETCH_SYSTEMS_MAX + 1];
    size_t lane_count; /* the last one is for dead letters */
    struct loop_timer *timer;
    size_t busy; /* records under way: being read or told */
    bool is_stopped;
    void (*on_drained)(void *arg);
    void *drained_arg;
    struct metric *notifications_metric, *reads_metric, *duration_metric, *paused_metric;
    struct series *folded, *known, *waiting, *tests;
};

/* What was asked for; ends with the read. */
struct inquiry {
    struct fetch *fetch;
    struct fold_record *record;
};

static size_t batch_count(const struct fold_record *record)
{
    size_t count = 0;

    for (const struct fold_item *item = record->batch; item != NULL; item = item->next)
        count++;
    return count;
}

static struct lane *lane_of(struct fetch *fetch, const struct fold_record *record)
{
    return &fetch->lanes[record->group];
}

static struct retry_policy back_off_of(const struct fetch *fetch)
{
    return (struct retry_policy){.first_delay_ms = fetch->settings.first_delay_ms,
                                 .delay_max_ms = fetch->settings.delay_max_ms};
}

static void pump_soon(struct fetch *fetch)
{
    loop_timer_set(fetch->timer, 0);
}

/* --- Ends of a record's work -------------------------------------------------------------------------------------- */

static void left_off(struct fetch *fetch, struct lane *lane)
{
    lane->busy--;
    fetch->busy--;
    pump_soon(fetch);
}

static void end(struct fetch *fetch, struct fold_record *record)
{
    struct lane *lane = lane_of(fetch, record);

    for (const struct fold_item *item = record->batch; item != NULL; item = item->next) {
        const struct arrival *arrival = arrival_of_const(item);
        consumer_finish(fetch->consumer, arrival->original.topic, item->partition, item->offset);
    }
    fold_end(fetch->fold, record, clock_monotonic_ms() + fetch->settings.read_interval_ms);
    left_off(fetch, lane);
}

/* `not_before_ms`: monotonic, 0 for none. */
static void repeat(struct fetch *fetch, struct fold_record *record, int64_t not_before_ms)
{
    const struct retry_policy policy = back_off_of(fetch);
    struct lane *lane = lane_of(fetch, record);
    int64_t now_ms = clock_monotonic_ms();
    struct retry_decision decision;

    if (record->retry.attempts == 0)
        record->retry.first_attempt_ms = now_ms;
    record->retry.attempts++;
    decision = retry_decide(&policy, &record->retry, now_ms, -1, random_u32());
    fold_retry(fetch->fold, record, decision.at_ms > not_before_ms ? decision.at_ms : not_before_ms);
    left_off(fetch, lane);
}

static void on_published(void *arg, struct fold_record *record, bool is_reading, const struct error *failure)
{
    struct fetch *fetch = arg;

    if (failure != NULL || !is_reading)
        versions_note(&fetch->versions, record->key, NULL);
    if (failure == NULL) {
        end(fetch, record);
        return;
    }
    log_warning("fetch.not_told", LOG_TEXT("record", record->key), LOG_ERROR(failure));
    repeat(fetch, record, 0);
}

/* --- Reading ------------------------------------------------------------------------------------------------------ */

static const char *const RESULTS[] = {
    [SYSTEM_DONE] = "done",       [SYSTEM_CONFLICT] = "conflict", [SYSTEM_GONE] = "gone",
    [SYSTEM_REFUSED] = "refused", [SYSTEM_RETRY] = "retry",       [SYSTEM_UNKNOWN] = "unknown",
    [SYSTEM_BLOCKED] = "blocked",
};

static void note_answer(struct fetch *fetch, const struct lane *lane, const struct fold_record *record,
                        const struct system_answer *answer)
{
    const char *const labels[] = {lane->name, NULL};

    metric_count(fetch->reads_metric, lane->name, RESULTS[answer->result], NULL, NULL);
    metric_observe_us(metrics_series(fetch->duration_metric, labels), answer->duration_us);
    log_info("fetch.answered", LOG_TEXT("record", record->key), LOG_TEXT("result", RESULTS[answer->result]),
             LOG_INTEGER("status", answer->status), LOG_INTEGER("notifications", batch_count(record)),
             LOG_INTEGER("requests", answer->calls), LOG_INTEGER("took_ms", answer->duration_us / 1000),
             LOG_TEXT("error_code", answer->result == SYSTEM_DONE ? NULL : answer->error.code));
}

static void note_success(struct lane *lane)
{
    if (!condition_answered(&lane->condition))
        return;
    log_info("fetch.resumed", LOG_TEXT("system", lane->name));
    metric_set(lane->paused, 0);
}

/* Returns the time before which the read is not to be repeated. */
static int64_t note_failure(const struct fetch *fetch, struct lane *lane, const struct system_answer *answer)
{
    const struct condition_policy policy = {.back_off = back_off_of(fetch),
                                            .probe_interval_ms = fetch->settings.probe_interval_ms};
    int64_t not_before_ms;

    if (condition_failed(&lane->condition, &policy, answer, clock_monotonic_ms(), random_u32(), &not_before_ms)) {
        log_warning("fetch.paused", LOG_TEXT("system", lane->name),
                    LOG_BOOLEAN("blocked", answer->result == SYSTEM_BLOCKED), LOG_INTEGER("status", answer->status),
                    LOG_ERROR(&answer->error));
        metric_set(lane->paused, 1);
    }
    return not_before_ms;
}

static void tell_reading(struct fetch *fetch, struct fold_record *record, const struct system_answer *answer)
{
    const json_t *own = record_document_of(answer->documents, "own");
    const json_t *main_document = own != NULL ? own : record_document_of(answer->documents, "crm");

    metric_add(fetch->folded, (int64_t)batch_count(record) - 1);
    /* Nothing else of this record is looked at before it is durable. */
    versions_note(&fetch->versions, record->key, json_text_of(main_document, "etag"));
    publisher_tell_reading(fetch->publisher, record, answer);
}

/* Has its read failed without a reason as often as is borne? Then the reason lies in the record more likely than in its
 * system. */
static bool is_given_up(const struct fetch *fetch, struct fold_record *record, const struct system_answer *answer)
{
    if (!answer->is_unexplained)
        return false;
    record->unexplained++;
    return fetch->settings.unexplained_max > 0 && record->unexplained >= (unsigned)fetch->settings.unexplained_max;
}

static void give_up(struct fetch *fetch, struct fold_record *record, const struct system_answer *answer)
{
    struct error reason = answer->error;

    reason.class = ERROR_POISON;
    (void)error_wrap(&reason, "given up after %u failures without a reason", record->unexplained);
    note_success(lane_of(fetch, record));
    if (record->batch == NULL)
        end(fetch, record);
    else
        publisher_set_aside(fetch->publisher, record, &reason);
}

static void take_answer(struct fetch *fetch, struct fold_record *record, const struct system_answer *answer)
{
    struct lane *lane = lane_of(fetch, record);

    note_answer(fetch, lane, record, answer);
    switch (answer->result) {
    case SYSTEM_DONE:
    case SYSTEM_GONE:
    case SYSTEM_REFUSED:
        note_success(lane);
        if (record->batch == NULL)
            end(fetch, record); /* the partition was taken away: another instance reads it */
        else if (answer->result == SYSTEM_DONE)
            tell_reading(fetch, record, answer);
        else if (answer->result == SYSTEM_GONE)
            publisher_tell_absence(fetch->publisher, record, answer);
        else
            publisher_set_aside(fetch->publisher, record, &answer->error);
        break;
    case SYSTEM_CONFLICT:
    case SYSTEM_RETRY:
    case SYSTEM_UNKNOWN:
    case SYSTEM_BLOCKED:
        if (is_given_up(fetch, record, answer))
            give_up(fetch, record, answer);
        else
            repeat(fetch, record, note_failure(fetch, lane, answer));
        break;
    }
}

static void on_answer(void *arg, const struct system_answer *answer)
{
    struct inquiry *inquiry = arg;
    struct fetch *fetch = inquiry->fetch;
    struct fold_record *record = inquiry->record;

    free(inquiry);
    lane_of(fetch, record)->reading--;
    take_answer(fetch, record, answer);
}

static void begin_read(struct fetch *fetch, struct lane *lane, struct fold_record *record)
{
    const struct arrival *first = arrival_of_const(record->batch);
    struct inquiry *inquiry = calloc(1, sizeof(*inquiry));
    struct error err = ERROR_INIT;

    if (inquiry == NULL) {
        repeat(fetch, record, 0);
        return;
    }
    inquiry->fetch = fetch;
    inquiry->record = record;
    lane->reading++;
    if (lane->system->operations->read(lane->system, reading_record_type(record->batch), first->notification.record_id,
                                       on_answer, inquiry, &err) == 0)
        return;
    lane->reading--;
    free(inquiry);
    log_warning("fetch.not_read", LOG_TEXT("record", record->key), LOG_ERROR(&err));
    if (err.class == ERROR_POISON)
        publisher_set_aside(fetch->publisher, record, &err);
    else
        repeat(fetch, record, 0);
}

static bool may_begin(const struct fetch *fetch, const struct lane *lane, int64_t now_ms)
{
    if (lane->system == NULL)
        return lane->busy < LETTERS_MAX;
    return condition_allows(&lane->condition, now_ms, lane->reading, (unsigned)fetch->settings.concurrent_max);
}

/* The poller has found it, and the very version was told already. */
static bool is_told(const struct fetch *fetch, const struct fold_record *record)
{
    for (const struct fold_item *item = record->batch; item != NULL; item = item->next) {
        const struct notification *notification = &arrival_of_const(item)->notification;
        if (notification->origin != NOTIFICATION_POLL ||
            !versions_is_told(&fetch->versions, record->key, notification->etag))
            return false;
    }
    return true;
}

static void begin(struct fetch *fetch, struct lane *lane, struct fold_record *record)
{
    lane->busy++;
    fetch->busy++;
    if (lane->system != NULL && is_told(fetch, record)) {
        metric_add(fetch->known, (int64_t)batch_count(record));
        log_info("fetch.known", LOG_TEXT("record", record->key), LOG_INTEGER("notifications", batch_count(record)));
        end(fetch, record);
    } else if (lane->system != NULL) {
        begin_read(fetch, lane, record);
    } else {
        publisher_set_aside(fetch->publisher, record, &arrival_of_const(record->batch)->problem);
    }
}

/* Begins what may begin, and sets the timer for what has to wait. */
static void pump(void *arg)
{
    struct fetch *fetch = arg;
    int64_t now_ms = clock_monotonic_ms();
    int64_t next_ms;

    if (fetch->is_stopped) {
        if (fetch->busy == 0 && fetch->on_drained != NULL) {
            void (*on_drained)(void *) = fetch->on_drained;
            fetch->on_drained = NULL;
            on_drained(fetch->drained_arg);
        }
        return;
    }
    next_ms = fold_wake(fetch->fold, now_ms);
    for (size_t i = 0; i < fetch->lane_count; i++) {
        struct lane *lane = &fetch->lanes[i];
        struct fold_record *record;
        while (may_begin(fetch, lane, now_ms) && (record = fold_take(fetch->fold, i)) != NULL)
            begin(fetch, lane, record);
        int64_t held_ms = lane->condition.hold_until_ms;
        if (held_ms > now_ms && fold_queued(fetch->fold, i) > 0 && (next_ms < 0 || held_ms < next_ms))
            next_ms = held_ms;
    }
    metric_set(fetch->waiting, (int64_t)(fold_records(fetch->fold) - fetch->busy));
    /* A record that failed at once wants a turn, too, and has set the timer to now. */
    if (next_ms >= 0 && !loop_timer_is_set(fetch->timer))
        loop_timer_set(fetch->timer, next_ms > now_ms ? next_ms - now_ms : 0);
}

/* --- Arriving ----------------------------------------------------------------------------------------------------- */

static void no_memory(struct fetch *fetch)
{
    struct error err = ERROR_INIT;

    (void)error_no_memory(&err);
    fetch->on_fatal(fetch->arg, &err);
}

static size_t lane_for(const struct fetch *fetch, struct arrival *arrival)
{
    size_t letters = fetch->lane_count - 1;

    if (arrival->problem.class != ERROR_NONE)
        return letters;
    for (size_t i = 0; i < letters; i++) {
        if (strcmp(fetch->lanes[i].name, arrival->notification.source) == 0)
            return i;
    }
    (void)error_set(&arrival->problem, ERROR_POISON, "unknown_source", "this system is not in the configuration");
    return letters;
}

static void note_test(struct fetch *fetch, const struct arrival *arrival)
{
    metric_add(fetch->tests, 1);
    log_info("webhook.test_received", LOG_TEXT("source", arrival->notification.source),
             LOG_TEXT("correlation_id", arrival->notification.record_id));
}

static void on_message(void *arg, const struct kafka_message *message)
{
    struct fetch *fetch = arg;
    struct arrival *arrival = arrival_new(message);
    size_t lane;
    char *key;

    if (arrival == NULL) {
        no_memory(fetch);
        return;
    }
    metric_count(fetch->notifications_metric,
                 arrival->problem.class == ERROR_NONE ? arrival->notification.source : "unreadable", NULL, NULL, NULL);
    if (arrival->problem.class == ERROR_NONE && arrival_is_test(arrival)) {
        note_test(fetch, arrival);
        /* There is nothing to read; the audit hears of it as of everything that was answered with 2xx. */
        (void)error_set(&arrival->problem, ERROR_POISON, DEAD_LETTER_CODE_TEST, "a validation event: nothing to do");
    }
    lane = lane_for(fetch, arrival);
    key = fetch->lanes[lane].system != NULL
              ? notification_key(&arrival->notification)
              : text_format("letter/%" PRId32 "/%" PRId64, message->partition, message->offset);
    if (key == NULL || fold_add(fetch->fold, lane, key, &arrival->item) < 0) {
        arrival_free(arrival);
        no_memory(fetch);
    }
    free(key);
    /* After this turn of the loop, so that what arrives together is read together. */
    pump_soon(fetch);
}

static void on_revoked(void *arg, const char *topic, int32_t partition)
{
    struct fetch *fetch = arg;

    (void)topic;
    fold_forget(fetch->fold, partition);
    versions_clear(&fetch->versions); /* another instance may tell that a record is gone */
}

static void on_consumer_fatal(void *arg, const struct error *err)
{
    struct fetch *fetch = arg;

    fetch->on_fatal(fetch->arg, err);
}

static void free_item(struct fold_item *item)
{
    arrival_free(arrival_of(item));
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

static void declare_metrics(struct fetch *fetch)
{
    static const char *const none[] = {NULL};

    fetch->notifications_metric = metrics_declare(METRIC_COUNTER, "tandem_fetch_notifications_total", "source",
                                                  "Notifications taken from Kafka.");
    fetch->reads_metric = metrics_declare(METRIC_COUNTER, "tandem_fetch_reads_total", "system,result",
                                          "Reads of records at a system, by what came of them.");
    fetch->duration_metric = metrics_declare(METRIC_HISTOGRAM, "tandem_fetch_read_duration_seconds", "system",
                                             "Time of one read, from its first request to its last answer.");
    fetch->paused_metric = metrics_declare(METRIC_GAUGE, "tandem_fetch_paused", "system",
                                           "1 while a system is tried with single reads only.");
    fetch->folded = metrics_series(metrics_declare(METRIC_COUNTER, "tandem_fetch_folded_total", "",
                                                   "Notifications that were answered by the read for another one."),
                                   none);
    fetch->known = metrics_series(
        metrics_declare(METRIC_COUNTER, "tandem_fetch_known_total", "",
                        "Changes found by polling that were not read, since that version had been told already."),
        none);
    fetch->waiting = metrics_series(
        metrics_declare(METRIC_GAUGE, "tandem_fetch_waiting_records", "", "Records that wait for their read."), none);
    fetch->tests = metrics_series(
        metrics_declare(METRIC_COUNTER, "tandem_fetch_test_notifications_total", "", "Validation events received."),
        none);
}

static void open_lanes(struct fetch *fetch, const struct fetch_options *options)
{
    for (size_t i = 0; i < options->system_count; i++) {
        struct lane *lane = &fetch->lanes[i];
        const char *const labels[] = {options->systems[i]->operations->name, NULL};
        lane->system = options->systems[i];
        lane->name = labels[0];
        lane->paused = metrics_series(fetch->paused_metric, labels);
        metric_set(lane->paused, 0);
    }
    fetch->lane_count = options->system_count + 1;
    fetch->lanes[options->system_count].name = "dead-letters";
}

int fetch_new(struct loop *loop, const struct fetch_options *options, struct fetch **ret_fetch, struct error *err)
{
    static const char *const topics[] = {TOPIC_NOTIFICATIONS, NULL};
    static const struct consumer_callbacks callbacks = {
        .on_message = on_message, .on_revoked = on_revoked, .on_fatal = on_consumer_fatal};
    const struct consumer_settings consumer = {.group = "fetch",
                                               .instance = options->instance,
                                               .topics = topics,
                                               .window = (size_t)options->settings->window,
                                               .commit_interval_ms = COMMIT_INTERVAL_MS};
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    const struct publisher_options publisher = {
        .kafka = options->kafka, .producer = options->producer, .on_end = on_published, .arg = fetch};

    if (fetch == NULL)
        return error_no_memory(err);
    fetch->loop = loop;
    fetch->settings = *options->settings;
    fetch->on_fatal = options->on_fatal;
    fetch->arg = options->arg;
    declare_metrics(fetch);
    open_lanes(fetch, options);
    fetch->fold = fold_new(fetch->lane_count, free_item);
    fetch->timer = loop_timer_new(loop, pump, fetch);
    if (fetch->fold == NULL || fetch->timer == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (versions_init(&fetch->versions, err) < 0)
        goto out;
    if (publisher_new(&publisher, &fetch->publisher, err) < 0 ||
        consumer_new(loop, options->kafka, &consumer, &callbacks, fetch, &fetch->consumer, err) < 0)
        goto out;
    *ret_fetch = fetch;
    return 0;
out:
    fetch_free(fetch, 0);
    return error_wrap(err, "fetch");
}

bool fetch_is_assigned(const struct fetch *fetch)
{
    return consumer_is_assigned(fetch->consumer);
}

const char *fetch_trouble(const struct fetch *fetch, size_t system)
{
    const struct lane *lane = &fetch->lanes[system];

    return lane->condition.is_blocked ? lane->condition.trouble : NULL;
}

void fetch_probe(struct fetch *fetch)
{
    int64_t now_ms = clock_monotonic_ms();

    for (size_t i = 0; i < fetch->lane_count; i++) {
        if (condition_hurry(&fetch->lanes[i].condition, now_ms))
            fold_hurry(fetch->fold, i);
    }
    pump_soon(fetch);
}

void fetch_stop(struct fetch *fetch)
{
    if (!fetch->is_stopped)
        consumer_stop(fetch->consumer);
    fetch->is_stopped = true;
}

void fetch_drain(struct fetch *fetch, void (*on_drained)(void *arg), void *arg)
{
    fetch_stop(fetch);
    fetch->on_drained = on_drained;
    fetch->drained_arg = arg;
    pump_soon(fetch);
}

void fetch_free(struct fetch *fetch, int64_t close_ms)
{
    if (fetch == NULL)
        return;
    publisher_free(fetch->publisher);
    consumer_free(fetch->consumer, close_ms);
    fold_free(fetch->fold);
    versions_done(&fetch->versions);
    loop_timer_free(fetch->timer);
    free(fetch);
}
