#include "mapper/worker.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/dead_letter.h"
#include "common/kafka/enveloped.h"
#include "common/kafka/topics.h"
#include "common/kafka/transaction.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "mapper/changelog.h"
#include "mapper/deal_cache.h"
#include "mapper/step.h"
#include "mapper/store.h"
#include "mapper/worker_metrics.h"

#define GROUP "mapper"
#define STAGE "mapper"

enum {
    KIB = 1024,
    START_TIMEOUT_MS = 3000, /* of one attempt to reach the brokers */
    START_PAUSE_MS = 500,
    LOCK_PAUSE_MS = 100,  /* before the store is tried again that another process holds */
    LOCK_WAIT_MS = 15000, /* a predecessor that was told to stop has ended by then (drain_deadline) */
    ATTEMPTS_OF_DEADLY = CRASH_MARK_DEATHS_MAX + 1
};

const struct config_key MAPPER_KEYS[] = {
    {.name = "rules",
     .type = CONFIG_PATH,
     .offset = offsetof(struct mapper_settings, rules),
     .is_required = true,
     .help = "The rule file: who takes part and how fields are mapped. Its content is read anew on SIGHUP."},
    {.name = "store_directory",
     .type = CONFIG_DIRECTORY,
     .offset = offsetof(struct mapper_settings, store_directory),
     .default_text = "/var/lib/tandem/mapper",
     .help = "Holds the local copy of the deals' state, one directory per process; when it is lost, the state is read "
             "from Kafka again."},
    {.name = "store_size",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct mapper_settings, store_size),
     .default_text = "1GiB",
     .min = 1 * KIB * KIB,
     .max = (int64_t)256 * KIB * KIB * KIB,
     .help = "Address space reserved for the local copy; only what is used takes room on the disk, and it is doubled "
             "when it is used up."},
    {.name = "commit_records",
     .type = CONFIG_INTEGER,
     .offset = offsetof(struct mapper_settings, commit_records),
     .default_text = "500",
     .min = 1,
     .max = 10000,
     .help = "Most messages of one transaction. It ends earlier when no message is waiting."},
    {.name = "commit_interval",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct mapper_settings, commit_interval_ms),
     .default_text = "100ms",
     .min = 1,
     .max = 5000,
     .help = "Longest time a transaction stays open while messages keep coming; well below transaction_timeout."},
    {.name = "cache_deals",
     .type = CONFIG_INTEGER,
     .offset = offsetof(struct mapper_settings, cache_deals),
     .default_text = "2000",
     .min = 0,
     .max = 1000000,
     .help = "Deals kept decoded in memory between transactions, each some 50 KiB."},
};
const size_t MAPPER_KEY_COUNT = ARRAY_LENGTH(MAPPER_KEYS);

static const char *const INPUT_TOPICS[] = {TOPIC_RECORDS, TOPIC_OUTCOMES, NULL};
static const char *const OUTPUT_TOPICS[] = {TOPIC_DECISIONS, TOPIC_RECORDS,      TOPIC_NOTIFICATIONS,
                                            TOPIC_DEALS,     TOPIC_DEAD_LETTERS, NULL};

enum { OUTPUT_TOPIC_COUNT = ARRAY_LENGTH(OUTPUT_TOPICS) - 1 };

struct worker {
    struct program *program;
    struct loop *loop;
    const struct kafka_settings *kafka;
    const struct mapper_settings *settings;
    struct rules *rules;
    char *full_names[OUTPUT_TOPIC_COUNT]; /* parallel to OUTPUT_TOPICS */
    char *identity;                       /* of the topic `deals`; NULL until the brokers have answered */
    struct loop_timer *start;
    struct transaction_worker *transaction; /* NULL until then */
    struct store *store;                    /* NULL until then; before we are in the group */
    struct loop_timer *open;
    int64_t open_until_ms;
    struct changelog *changelog;
    struct deal_cache *cache;
    int32_t *partitions;
    size_t partition_count;
    bool is_restored;
    bool has_failed;
    bool is_draining;
    struct worker_metrics metrics;
};

static void fail(struct worker *worker, const struct error *err)
{
    worker->has_failed = true;
    program_fail(worker->program, exit_status_of(err), err);
}

static const char *full_name(const struct worker *worker, const char *topic)
{
    size_t k = 0;

    while (k + 1 < OUTPUT_TOPIC_COUNT && strcmp(OUTPUT_TOPICS[k], topic) != 0)
        k++;
    return worker->full_names[k];
}

/* --- One message -------------------------------------------------------------------------------------------------- */

/* In the open transaction, so that it is told exactly once. One that is too large with its reason goes without its
 * value: the coordinates in its headers still find it. */
static int set_aside(struct worker *worker, const struct kafka_message *message, const struct error *reason,
                     unsigned attempts, struct error *err)
{
    char time[TIMESTAMP_TEXT_SIZE];
    struct dead_letter room;
    struct kafka_message letter;

    /* The message's own time: a step that is repeated writes the same. */
    timestamp_format(timestamp_from_ms(message->timestamp_ms), 3, time);
    dead_letter_message(&room, message, STAGE, reason, attempts, time, &letter);
    letter.topic = full_name(worker, TOPIC_DEAD_LETTERS);
    log_warning("mapper.set_aside", LOG_TEXT("topic", message->topic), LOG_INTEGER("partition", message->partition),
                LOG_INTEGER("offset", message->offset), LOG_ERROR(reason));
    metric_count(worker->metrics.dead_letters, reason->code, NULL, NULL, NULL);
    if (transaction_send(worker->transaction, &letter, -1, err) == 0)
        return 0;
    if (err->class != ERROR_POISON)
        return -1;
    letter.value = NULL;
    letter.value_length = 0;
    error_clear(err);
    if (transaction_send(worker->transaction, &letter, -1, err) == 0)
        return 0;
    if (err->class == ERROR_POISON)
        err->class = ERROR_FATAL;
    return error_wrap(err, "dead letter");
}

static int send_messages(struct worker *worker, const struct kafka_message *cause, const struct step_result *result,
                         struct error *err)
{
    for (size_t k = 0; k < result->message_count; k++) {
        const struct step_message *message = &result->messages[k];
        struct kafka_message out = {.topic = full_name(worker, message->topic),
                                    .key = message->key,
                                    .key_length = strlen(message->key),
                                    .value = message->value,
                                    .value_length = message->length};

        kafka_message_set_envelope(&out, &message->envelope);
        if (transaction_send(worker->transaction, &out, message->is_of_deal ? cause->partition : -1, err) < 0) {
            /* Sizes were checked before (step.h), so a refusal now is no fault of this message alone. */
            if (err->class == ERROR_POISON)
                err->class = ERROR_FATAL;
            return -1;
        }
    }
    return 0;
}

/* From the overlay, the cache or the store, or a new one. */
static int find_deal(struct worker *worker, int32_t partition, const char *key, struct deal_entry **ret_entry,
                     struct error *err)
{
    char *bytes = NULL;
    size_t length = 0;

    *ret_entry = deal_cache_find(worker->cache, key);
    if (*ret_entry != NULL)
        return 0;
    if (store_get(worker->store, partition, key, strlen(key), &bytes, &length, err) < 0)
        return -1;
    return deal_cache_add(worker->cache, partition, key, bytes, length, ret_entry, err);
}

static int apply(struct worker *worker, const struct kafka_message *message, const struct step_input *input,
                 struct step_result *result, struct deal_entry *entry, struct error *err)
{
    if (step_merge(&entry->deal, entry->bytes, entry->length, worker->rules, message, input, result, err) < 0)
        return -1;
    if (send_messages(worker, message, result, err) < 0) {
        step_result_done(result);
        return -1;
    }
    if (result->state != NULL) {
        deal_cache_change(worker->cache, entry, result->state, result->state_length);
        result->state = NULL;
    }
    return 0;
}

static int merge_message(struct worker *worker, const struct kafka_message *message, enum step_kind kind,
                         struct error *err)
{
    struct step_input input;
    struct step_result result;
    struct deal_entry *entry;
    int status;

    if (step_read(message, kind, &input, err) < 0)
        return -1;
    status = find_deal(worker, message->partition, input.deal_key, &entry, err);
    if (status == 0) {
        status = apply(worker, message, &input, &result, entry, err);
        if (status < 0 && err->class == ERROR_POISON) {
            /* Other messages of the deal in this transaction stand. */
            struct error reason = *err;

            if (deal_entry_revert(entry, err) == 0)
                *err = reason;
        }
    }
    if (status == 0) {
        worker_metrics_effects(&worker->metrics, &result.effects);
        if (result.effects.has_problem)
            status = set_aside(worker, message, &result.effects.problem, 1, err);
        step_result_done(&result);
    }
    step_input_done(&input);
    return status;
}

static int work_on(struct worker *worker, const struct kafka_message *message, struct error *err)
{
    const bool is_record = strcmp(message->topic, full_name(worker, TOPIC_RECORDS)) == 0;
    const char *kind = is_record ? "record" : "outcome";
    struct crash_mark *mark = store_crash_mark(worker->store);
    struct error reason = ERROR_INIT;
    int status;

    if (crash_mark_is_deadly(mark, message->topic, message->partition, message->offset)) {
        error_set(&reason, ERROR_POISON, "mapper.crashed", "the process died %d times in a row on this message",
                  CRASH_MARK_DEATHS_MAX);
        worker_metrics_message(&worker->metrics, kind, "set_aside");
        return set_aside(worker, message, &reason, ATTEMPTS_OF_DEADLY, err);
    }
    crash_mark_begin(mark, message->topic, message->partition, message->offset);
    status = merge_message(worker, message, is_record ? STEP_RECORD : STEP_OUTCOME, &reason);
    crash_mark_end(mark);
    if (status == 0) {
        worker_metrics_message(&worker->metrics, kind, "merged");
        return 0;
    }
    if (reason.class == ERROR_POISON) {
        worker_metrics_message(&worker->metrics, kind, "set_aside");
        return set_aside(worker, message, &reason, 1, err);
    }
    *err = reason;
    return -1;
}

static int on_message(void *arg, const struct kafka_message *message, struct error *err)
{
    struct worker *worker = arg;

    /* The program is ending because of it; what is read until then is read again by the next. */
    if (worker->has_failed)
        return error_set(err, ERROR_FATAL, "mapper.failed", "the mapper has failed");
    return work_on(worker, message, err);
}

/* --- The ends of a transaction ------------------------------------------------------------------------------------ */

struct merging {
    struct store_change *changes;
    size_t change_count;
    struct store_position *positions;
    size_t position_count;
};

static int take_change(void *arg, const struct deal_entry *entry)
{
    struct merging *merging = arg;
    size_t k = 0;

    merging->changes[merging->change_count++] = (struct store_change){.partition = entry->partition,
                                                                      .key = entry->key,
                                                                      .key_length = strlen(entry->key),
                                                                      .value = entry->bytes,
                                                                      .value_length = entry->length};
    while (k < merging->position_count && merging->positions[k].partition != entry->partition)
        k++;
    if (k == merging->position_count)
        merging->positions[merging->position_count++] = (struct store_position){.partition = entry->partition};
    return 0;
}

/* A partition whose end was not told keeps its offset, from which the same deals are read again. */
static void find_ends(const struct worker *worker, struct merging *merging)
{
    size_t kept = 0;

    for (size_t k = 0; k < merging->position_count; k++) {
        struct store_position position = merging->positions[k];

        position.offset =
            transaction_committed_end(worker->transaction, full_name(worker, TOPIC_DEALS), position.partition);
        if (position.offset >= 0)
            merging->positions[kept++] = position;
    }
    merging->position_count = kept;
}

static int write_committed(struct worker *worker, struct error *err)
{
    size_t count = deal_cache_changed_count(worker->cache);
    struct merging merging = {.changes = calloc(count, sizeof(struct store_change)),
                              .positions = calloc(count, sizeof(struct store_position))};
    int status = -1;

    if (merging.changes == NULL || merging.positions == NULL) {
        error_no_memory(err);
    } else {
        deal_cache_for_changed(worker->cache, take_change, &merging);
        find_ends(worker, &merging);
        status = store_write(worker->store, merging.changes, merging.change_count, merging.positions,
                             merging.position_count, err);
    }
    free(merging.changes);
    free(merging.positions);
    return status;
}

static void on_commit(void *arg)
{
    struct worker *worker = arg;
    int64_t begin_us = clock_monotonic_us();
    struct error err = ERROR_INIT;

    if (deal_cache_changed_count(worker->cache) == 0)
        return;
    if (write_committed(worker, &err) < 0) {
        fail(worker, &err);
        return;
    }
    deal_cache_settle(worker->cache);
    metric_observe_us(worker->metrics.store_write, clock_monotonic_us() - begin_us);
    metric_set(worker->metrics.deals, store_count(worker->store));
    metric_set(worker->metrics.store_bytes, store_bytes(worker->store));
}

static void on_abort(void *arg)
{
    struct worker *worker = arg;

    deal_cache_clear(worker->cache);
}

/* --- Partitions --------------------------------------------------------------------------------------------------- */

static void begin_restore(struct worker *worker)
{
    struct error err = ERROR_INIT;

    if (changelog_restore(worker->changelog, worker->partitions, worker->partition_count, &err) < 0)
        fail(worker, &err);
}

static void on_restored(void *arg, int64_t deals, int64_t duration_ms)
{
    struct worker *worker = arg;

    log_info("mapper.restored", LOG_INTEGER("partitions", worker->partition_count), LOG_INTEGER("deals_read", deals),
             LOG_INTEGER("deals", store_count(worker->store)), LOG_INTEGER("took_ms", duration_ms));
    metric_observe_ms(worker->metrics.restore, duration_ms);
    metric_set(worker->metrics.deals, store_count(worker->store));
    metric_set(worker->metrics.store_bytes, store_bytes(worker->store));
    worker->is_restored = true;
    transaction_restored(worker->transaction);
    program_set_ready(worker->program);
}

static void on_restore_failed(void *arg, const struct error *err)
{
    fail(arg, err);
}

static int take_store(struct worker *worker, struct error *err)
{
    static const struct changelog_callbacks callbacks = {.on_restored = on_restored, .on_failed = on_restore_failed};
    const char *dropped;

    if (store_identify(worker->store, worker->identity, err) < 0)
        return -1;
    dropped = store_dropped(worker->store);
    if (dropped != NULL && strcmp(dropped, "new") != 0)
        log_warning("mapper.store_dropped", LOG_TEXT("reason", dropped));
    log_info("mapper.store_opened", LOG_TEXT("directory", worker->settings->store_directory),
             LOG_INTEGER("deals", store_count(worker->store)), LOG_TEXT("dropped", dropped),
             LOG_BOOLEAN("after_crash", crash_mark_was_left(store_crash_mark(worker->store))));
    return changelog_new(worker->loop, worker->kafka, program_instance(worker->program), worker->store, &callbacks,
                         worker, &worker->changelog, err);
}

static void on_assigned(void *arg, const int32_t *partitions, size_t count)
{
    struct worker *worker = arg;
    struct error err = ERROR_INIT;

    free(worker->partitions);
    worker->partition_count = 0;
    worker->partitions = calloc(count + 1, sizeof(*partitions));
    if (worker->partitions == NULL) {
        error_no_memory(&err);
        fail(worker, &err);
        return;
    }
    if (count > 0)
        memcpy(worker->partitions, partitions, count * sizeof(*partitions));
    worker->partition_count = count;
    metric_set(worker->metrics.partitions, (int64_t)count);
    if (!worker->is_draining)
        begin_restore(worker);
}

static void on_revoked(void *arg, const int32_t *partitions, size_t count)
{
    struct worker *worker = arg;

    (void)partitions;
    (void)count;
    worker->is_restored = false;
    worker->partition_count = 0;
    metric_set(worker->metrics.partitions, 0);
    if (worker->changelog != NULL)
        changelog_stop(worker->changelog);
    deal_cache_clear(worker->cache);
}

static void on_fatal(void *arg, const struct error *err)
{
    fail(arg, err);
}

static bool is_ready(void *arg)
{
    const struct worker *worker = arg;

    return worker->is_restored;
}

/* --- Start and end ------------------------------------------------------------------------------------------------ */

static int join(struct worker *worker, struct error *err)
{
    static const struct transaction_callbacks callbacks = {.on_message = on_message,
                                                           .on_commit = on_commit,
                                                           .on_abort = on_abort,
                                                           .on_assigned = on_assigned,
                                                           .on_revoked = on_revoked,
                                                           .on_fatal = on_fatal};
    const struct transaction_settings options = {.group = GROUP,
                                                 .instance = program_instance(worker->program),
                                                 .input_topics = INPUT_TOPICS,
                                                 .output_topics = OUTPUT_TOPICS,
                                                 .records_max = (size_t)worker->settings->commit_records,
                                                 .time_max_ms = worker->settings->commit_interval_ms};

    return transaction_worker_new(worker->loop, worker->kafka, &options, &callbacks, worker, &worker->transaction, err);
}

/* Somebody who has the directory is at work with it: joining the group would take partitions from him that could not be
 * worked on here. He is waited for, as he may be about to end. */
static void wait_for_store(struct worker *worker, struct error *err)
{
    const char *directory = worker->settings->store_directory;
    int64_t now_ms = clock_monotonic_ms();

    if (worker->open_until_ms == 0) {
        worker->open_until_ms = now_ms + LOCK_WAIT_MS;
        log_warning("mapper.waiting_for_store", LOG_TEXT("directory", directory),
                    LOG_INTEGER("at_most_ms", LOCK_WAIT_MS),
                    LOG_TEXT("reason", "another process has it; each tandem-mapper needs a directory of its own"));
    }
    if (now_ms < worker->open_until_ms) {
        loop_timer_set(worker->open, LOCK_PAUSE_MS);
        return;
    }
    error_set(
        err, ERROR_CONFIG, "store.locked",
        "mapper.store_directory: %s is in use by another process; each tandem-mapper needs a directory of its own",
        directory);
    fail(worker, err);
}

/* The store first, then the group. */
static void on_open(void *arg)
{
    struct worker *worker = arg;
    struct error err = ERROR_INIT;

    if (store_open(worker->settings->store_directory, worker->settings->store_size, &worker->store, &err) < 0) {
        if (err.class == ERROR_TRANSIENT)
            wait_for_store(worker, &err);
        else
            fail(worker, &err);
        return;
    }
    if (take_store(worker, &err) < 0 || join(worker, &err) < 0)
        fail(worker, &err);
}

static int look_at_topics(struct worker *worker, struct error *err)
{
    struct text report;
    int status;

    text_init(&report, 64 * (size_t)KIB);
    status = topics_verify(worker->kafka, START_TIMEOUT_MS, &report, err);
    text_done(&report);
    if (status < 0)
        return -1;
    return changelog_identity(worker->kafka, START_TIMEOUT_MS, &worker->identity, err);
}

/* Waits for the topics with short blocking attempts; nothing else is at work yet that it could hold up. */
static void on_start(void *arg)
{
    struct worker *worker = arg;
    struct error err = ERROR_INIT;

    if (look_at_topics(worker, &err) < 0) {
        if (err.class != ERROR_TRANSIENT) {
            fail(worker, &err);
            return;
        }
        log_warning("mapper.waiting_for_brokers", LOG_ERROR(&err));
        loop_timer_set(worker->start, START_PAUSE_MS);
        return;
    }
    on_open(worker);
}

int worker_new(struct program *program, const struct kafka_settings *kafka, const struct mapper_settings *settings,
               struct rules *rules, struct worker **ret_worker, struct error *err)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    if (worker == NULL) {
        rules_free(rules);
        return error_no_memory(err);
    }
    worker->program = program;
    worker->loop = program_loop(program);
    worker->kafka = kafka;
    worker->settings = settings;
    worker->rules = rules;
    worker_metrics_declare(&worker->metrics);
    worker_metrics_rules(&worker->metrics, NULL, rules->version);
    for (size_t k = 0; k < OUTPUT_TOPIC_COUNT; k++) {
        worker->full_names[k] = kafka_topic_name(kafka, OUTPUT_TOPICS[k]);
        if (worker->full_names[k] == NULL)
            goto no_memory;
    }
    worker->start = loop_timer_new(worker->loop, on_start, worker);
    worker->open = loop_timer_new(worker->loop, on_open, worker);
    if (worker->start == NULL || worker->open == NULL)
        goto no_memory;
    if (deal_cache_new((size_t)settings->cache_deals, &worker->cache, err) < 0) {
        worker_free(worker);
        return -1;
    }
    program_add_readiness(program, "state of the assigned partitions", is_ready, worker);
    loop_timer_set(worker->start, 0);
    *ret_worker = worker;
    return 0;
no_memory:
    worker_free(worker);
    return error_no_memory(err);
}

void worker_set_rules(struct worker *worker, struct rules *rules)
{
    if (strcmp(rules->version, worker->rules->version) != 0)
        worker_metrics_rules(&worker->metrics, worker->rules->version, rules->version);
    rules_free(worker->rules);
    worker->rules = rules;
}

static void on_drained(void *arg)
{
    struct worker *worker = arg;

    program_drained(worker->program);
}

void worker_drain(struct worker *worker)
{
    worker->is_draining = true;
    loop_timer_stop(worker->start);
    loop_timer_stop(worker->open);
    if (worker->changelog != NULL)
        changelog_stop(worker->changelog);
    if (worker->transaction != NULL)
        transaction_worker_drain(worker->transaction, on_drained, worker);
    else
        program_drained(worker->program);
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    transaction_worker_free(worker->transaction);
    changelog_free(worker->changelog);
    store_close(worker->store);
    loop_timer_free(worker->start);
    loop_timer_free(worker->open);
    deal_cache_free(worker->cache);
    rules_free(worker->rules);
    for (size_t k = 0; k < OUTPUT_TOPIC_COUNT; k++)
        free(worker->full_names[k]);
    free(worker->partitions);
    free(worker->identity);
    free(worker);
}
