#include "ingest/poll.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/retry.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/base/uuid.h"
#include "common/kafka/consumer.h"
#include "common/kafka/reader.h"
#include "common/kafka/topics.h"
#include "common/messages/cursor.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "ingest/poll_source.h"
#include "ingest/telling.h"

enum {
    CURSORS_PARTITION = 0, /* topic `cursors` has one */
    COMMIT_INTERVAL_MS = 1000,
    WINDOW = 1000,
    FIRST_DELAY_MS = 1000,
    DELAY_MAX_MS = 5 * 60 * 1000,
    PAGES_MAX = 10000 /* of one round; a listing that goes round in a circle ends here */
};

#define KEY(name_, member_) .name = (name_), .type = CONFIG_DURATION, .offset = offsetof(struct poll_settings, member_)
const struct config_key POLL_KEYS[] = {
    {KEY("interval", interval_ms), .default_text = "60s", .min = 100, .max = 86400000,
     .help = "How often each system is asked what has changed, for what webhooks have missed."},
    {KEY("engagement_interval", engagement_interval_ms), .default_text = "10m", .min = 100, .max = 86400000,
     .help = "How often open shared deals are read for what happened on Microsoft's side."},
    {KEY("overlap", overlap_ms), .default_text = "10m", .min = 0, .max = 86400000,
     .help = "How much of what was looked at already is looked at again: clocks and listings are not exact."},
    {KEY("first_window", first_window_ms), .default_text = "1d", .min = 0, .max = 2592000000,
     .help = "How far back a first round looks; what is older is for 'backfill'."},
    {.name = "child_rows_max",
     .type = CONFIG_INTEGER,
     .offset = offsetof(struct poll_settings, child_rows_max),
     .default_text = "100000",
     .min = 0,
     .max = 1000000,
     .help =
         "Rows of each of dynamics_365.child_tables of which it is remembered which opportunity they belong to; the "
         "deletion of another one, if its webhook is missed too, is not found. About 200 bytes each."},
};
const size_t POLL_KEY_COUNT = ARRAY_LENGTH(POLL_KEYS);
#undef KEY

/*
 *   RESTING -> ASKING -> TELLING (-> KEEPING) -> ASKING …   page after page
 *      ^                                      |
 *      |                                      +-> SAVING -> RESTING   all is told; the cursor is on its way
 *      +---------- any of them, after a failure
 */
enum round_state { RESTING, ASKING, TELLING, KEEPING, SAVING };

/* A source with its round under way. */
struct watch {
    struct poll *poll;
    struct poll_source source;
    enum round_state state;
    unsigned round; /* answers of an earlier round are of no interest */
    size_t untold;  /* notifications, or what is kept, under way */
    size_t pages, found;
    bool is_last_page;
    bool has_failed; /* one of them was not taken */
    struct retry_state retry;
    struct loop_timer *timer;
    struct series *rounds_metric, *failures_metric, *found_metric, *success_metric;
};

struct poll {
    struct loop *loop;
    const struct poll_settings *settings;
    struct producer *producer;
    struct consumer *consumer;
    struct reader *reader;
    char *instance;
    char *notifications;
    char *cursors_topic;
    json_t *cursors; /* {source: position}, of our sources */
    bool is_read;    /* the cursors are known */
    bool is_owner;
    bool is_stopped;
    void (*on_fatal)(void *arg, const struct error *err);
    void *arg;
    struct watch *watches; /* of a fixed place: callbacks hold on to them */
    size_t watch_count;
};

static void begin_round(struct watch *watch);
static void ask(struct watch *watch);
static void on_told(void *arg, const struct error *err);

static bool may_go_on(const struct poll *poll)
{
    return !poll->is_stopped && poll->is_owner && poll->is_read &&
           consumer_owns(poll->consumer, poll->cursors_topic, CURSORS_PARTITION);
}

/* --- Rounds ------------------------------------------------------------------------------------------------------- */

static void rest(struct watch *watch, int64_t delay_ms)
{
    watch->state = RESTING;
    watch->round++;
    loop_timer_set(watch->timer, delay_ms);
}

static void fail_round(struct watch *watch, const struct system_page *page, const struct error *err)
{
    static const struct retry_policy policy = {.first_delay_ms = FIRST_DELAY_MS, .delay_max_ms = DELAY_MAX_MS};
    const int64_t now_ms = clock_monotonic_ms();
    int64_t retry_after_ms = page == NULL ? -1 : page->retry_after_ms;
    struct retry_decision decision;

    watch->source.type->abandon(&watch->source, page);
    watch->retry.attempts++;
    decision = retry_decide(&policy, &watch->retry, now_ms, retry_after_ms, random_u32());
    metric_add(watch->failures_metric, 1);
    log_warning("poll.failed", LOG_TEXT("source", watch->source.cursor),
                LOG_INTEGER("again_in_ms", decision.at_ms - now_ms), LOG_ERROR(err));
    rest(watch, decision.at_ms - now_ms);
}

static void end_round(struct watch *watch)
{
    const struct poll_settings *settings = watch->poll->settings;

    watch->retry = (struct retry_state){0};
    metric_add(watch->rounds_metric, 1);
    metric_set(watch->success_metric, timestamp_to_ms(clock_now()) / 1000);
    if (watch->found > 0)
        log_info("poll.found", LOG_TEXT("source", watch->source.cursor), LOG_INTEGER("records", watch->found));
    rest(watch, watch->source.type->is_slow ? settings->engagement_interval_ms : settings->interval_ms);
}

/* --- The cursor --------------------------------------------------------------------------------------------------- */

static void on_cursor_delivered(void *arg, const struct error *err)
{
    struct watch *watch = arg;

    if (watch->poll->is_stopped || watch->state != SAVING)
        return;
    if (err != NULL)
        fail_round(watch, NULL, err);
    else
        end_round(watch);
}

static void save(struct watch *watch)
{
    const char *position = watch->source.type->end(&watch->source);
    const char *known = json_text_of(watch->poll->cursors, watch->source.cursor);
    struct error err = ERROR_INIT;

    if (!watch->source.type->has_cursor || position == NULL || text_equal(position, known)) {
        end_round(watch);
        return;
    }
    if (!may_go_on(watch->poll)) {
        rest(watch, 0);
        return;
    }
    watch->state = SAVING;
    if (telling_send_cursor(watch->poll->producer, watch->poll->cursors_topic, watch->source.cursor, position,
                            watch->poll->instance, on_cursor_delivered, watch, &err) < 0)
        fail_round(watch, NULL, &err);
}

/* --- Telling ------------------------------------------------------------------------------------------------------ */

static bool has_taken_all(struct watch *watch)
{
    struct error err = ERROR_INIT;

    if (!watch->has_failed)
        return true;
    (void)error_set(&err, ERROR_TRANSIENT, "poll.not_told", "the brokers did not take all that is told");
    fail_round(watch, NULL, &err);
    return false;
}

static void go_on(struct watch *watch)
{
    if (watch->is_last_page)
        save(watch);
    else
        ask(watch);
}

static void page_is_kept(struct watch *watch)
{
    struct error err = ERROR_INIT;

    if (!has_taken_all(watch))
        return;
    if (watch->source.type->kept(&watch->source, &err) < 0)
        fail_round(watch, NULL, &err);
    else
        go_on(watch);
}

static int send_kept(void *arg, const char *name, const char *value, struct error *err)
{
    struct watch *watch = arg;
    struct poll *poll = watch->poll;
    char *key = text_format("%s/%s", watch->source.cursor, name);
    int status = key == NULL ? error_no_memory(err)
                             : telling_send_cursor(poll->producer, poll->cursors_topic, key, value, poll->instance,
                                                   on_told, watch, err);

    free(key);
    if (status == 0)
        watch->untold++;
    return status;
}

/* Only when all is told: what is forgotten before its news are in Kafka would never be told. */
static void page_is_told(struct watch *watch)
{
    struct error err = ERROR_INIT;

    if (!has_taken_all(watch))
        return;
    if (watch->source.type->keep == NULL) {
        go_on(watch);
        return;
    }
    if (!may_go_on(watch->poll)) {
        watch->source.type->abandon(&watch->source, NULL);
        rest(watch, 0);
        return;
    }
    watch->state = KEEPING;
    if (watch->source.type->keep(&watch->source, send_kept, watch, &err) < 0)
        fail_round(watch, NULL, &err);
    else if (watch->untold == 0)
        page_is_kept(watch);
}

static void on_told(void *arg, const struct error *err)
{
    struct watch *watch = arg;

    watch->untold--;
    watch->has_failed = watch->has_failed || err != NULL;
    if (watch->poll->is_stopped || watch->untold > 0)
        return;
    if (watch->state == TELLING)
        page_is_told(watch);
    else if (watch->state == KEEPING)
        page_is_kept(watch);
}

static int tell(void *arg, const struct poll_news *news, struct error *err)
{
    struct watch *watch = arg;
    const struct telling_news told = {.origin = NOTIFICATION_POLL,
                                      .system = watch->source.type->system,
                                      .event = news->event,
                                      .record_type = news->record_type,
                                      .record_id = news->record_id,
                                      .occurred_at = news->occurred_at,
                                      .etag = news->etag};

    if (!telling_is_readable(&told))
        return 0;
    if (telling_send(watch->poll->producer, watch->poll->notifications, "/tandem/ingest/poll", &told, on_told, watch,
                     err) < 0)
        return -1;
    watch->untold++;
    watch->found++;
    metric_add(watch->found_metric, 1);
    return 0;
}

/* --- Asking ------------------------------------------------------------------------------------------------------- */

struct question {
    struct watch *watch;
    unsigned round;
};

static void on_page(void *arg, const struct system_page *page)
{
    struct question question = *(struct question *)arg;
    struct watch *watch = question.watch;
    struct error err = ERROR_INIT;
    bool is_over = false;

    free(arg);
    if (watch->poll->is_stopped || watch->state != ASKING || watch->round != question.round)
        return;
    if (!may_go_on(watch->poll)) {
        watch->source.type->abandon(&watch->source, NULL);
        rest(watch, 0);
        return;
    }
    if (page->result != SYSTEM_DONE) {
        fail_round(watch, page, &page->error);
        return;
    }
    watch->state = TELLING;
    if (text_assign(&watch->source.next, page->next, &err) < 0 ||
        watch->source.type->take(&watch->source, page, tell, watch, &is_over, &err) < 0) {
        fail_round(watch, NULL, &err);
        return;
    }
    watch->is_last_page = is_over || ++watch->pages >= PAGES_MAX;
    if (watch->untold == 0)
        page_is_told(watch);
}

static void ask(struct watch *watch)
{
    struct question *question = calloc(1, sizeof(*question));
    struct error err = ERROR_INIT;

    watch->state = ASKING;
    if (question == NULL) {
        (void)error_no_memory(&err);
        fail_round(watch, NULL, &err);
        return;
    }
    *question = (struct question){.watch = watch, .round = watch->round};
    if (watch->source.type->ask(&watch->source, on_page, question, &err) < 0) {
        free(question);
        fail_round(watch, NULL, &err);
    }
}

static void begin_round(struct watch *watch)
{
    const struct poll_source_type *type = watch->source.type;
    struct error err = ERROR_INIT;

    watch->pages = watch->found = 0;
    watch->has_failed = watch->is_last_page = false;
    if (text_assign(&watch->source.next, NULL, &err) < 0 ||
        type->begin(&watch->source, json_text_of(watch->poll->cursors, watch->source.cursor),
                    timestamp_to_ms(clock_now()), &err) < 0)
        fail_round(watch, NULL, &err);
    else
        ask(watch);
}

static void on_timer(void *arg)
{
    struct watch *watch = arg;

    /* Late reports of an earlier round's notifications have to be in before the count begins anew. */
    if (watch->untold > 0)
        loop_timer_set(watch->timer, FIRST_DELAY_MS);
    else if (may_go_on(watch->poll) && watch->state == RESTING)
        begin_round(watch);
}

/* --- Who polls ---------------------------------------------------------------------------------------------------- */

static void begin_all(struct poll *poll)
{
    if (!may_go_on(poll))
        return;
    log_info("poll.taken_over", LOG_TEXT("instance", poll->instance));
    for (size_t i = 0; i < poll->watch_count; i++) {
        if (poll->watches[i].state == RESTING)
            loop_timer_set(poll->watches[i].timer, 0);
    }
}

static void on_assigned(void *arg, const char *topic, int32_t partition)
{
    struct poll *poll = arg;

    (void)topic;
    if (partition != CURSORS_PARTITION)
        return;
    poll->is_owner = true;
    begin_all(poll);
}

static void on_revoked(void *arg, const char *topic, int32_t partition)
{
    struct poll *poll = arg;

    (void)topic;
    if (partition != CURSORS_PARTITION)
        return;
    poll->is_owner = false;
    for (size_t i = 0; i < poll->watch_count; i++) {
        struct watch *watch = &poll->watches[i];
        watch->source.type->abandon(&watch->source, NULL);
        loop_timer_stop(watch->timer);
        watch->state = RESTING;
        watch->round++;
    }
}

/* Only to know who owns the topic; what it says is read by the reader. */
static void on_owned_message(void *arg, const struct kafka_message *message)
{
    struct poll *poll = arg;

    consumer_finish(poll->consumer, message->topic, message->partition, message->offset);
}

static void on_fatal(void *arg, const struct error *err)
{
    struct poll *poll = arg;

    poll->on_fatal(poll->arg, err);
}

/* What a source keeps below its cursor: the name of the entry. NULL: the key is not of that kind. */
static const char *entry_of(const struct poll_source *source, const char *key)
{
    const size_t length = strlen(source->cursor);

    if (source->type->learn == NULL || !text_starts_with(key, source->cursor) || key[length] != '/')
        return NULL;
    return uuid_is_valid(key + length + 1, strlen(key + length + 1)) ? key + length + 1 : NULL;
}

/* `position` NULL: there is none any more. What is not of our sources is passed over. */
static int take_cursor(struct poll *poll, const char *key, const char *position, struct error *err)
{
    for (size_t i = 0; i < poll->watch_count; i++) {
        struct poll_source *source = &poll->watches[i].source;
        const char *entry = entry_of(source, key);
        if (entry != NULL)
            return source->type->learn(source, entry, position, err);
        if (position != NULL && text_equal(key, source->cursor))
            return json_object_set_new(poll->cursors, key, json_string(position)) < 0 ? error_no_memory(err) : 0;
    }
    return 0;
}

static void on_cursor(void *arg, const struct kafka_message *message)
{
    struct poll *poll = arg;
    struct cursor cursor = {0};
    struct error err = ERROR_INIT;
    char *key = NULL;

    if (message->key == NULL)
        return;
    if (message->value != NULL && cursor_read(message->value, message->value_length, &cursor, &err) < 0) {
        log_warning("poll.cursor_unreadable", LOG_INTEGER("offset", message->offset), LOG_ERROR(&err));
        return;
    }
    key = text_copy_n(message->key, message->key_length);
    if (key == NULL)
        (void)error_no_memory(&err);
    if (key == NULL || take_cursor(poll, key, cursor.position, &err) < 0)
        poll->on_fatal(poll->arg, &err);
    free(key);
    cursor_done(&cursor);
}

static void on_cursors_read(void *arg, int32_t partition, int64_t next_offset)
{
    struct poll *poll = arg;

    (void)partition;
    (void)next_offset;
    poll->is_read = true;
    begin_all(poll);
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

/* `table`, `parent_column`: of a child table, else NULL. */
static int add_watch(struct poll *poll, const struct poll_source_type *type, struct system *system, const char *table,
                     const char *parent_column, struct error *err)
{
    struct watch *watch = &poll->watches[poll->watch_count];
    struct poll_source *source = &watch->source;

    if (poll_source_init(source, type, poll->settings, system, table, parent_column, err) < 0)
        return -1;
    watch->poll = poll;
    watch->timer = loop_timer_new(poll->loop, on_timer, watch);
    if (watch->timer == NULL) {
        poll_source_done(source);
        return error_no_memory(err);
    }
    const char *const labels[] = {source->cursor, NULL};
    watch->rounds_metric = metrics_series(
        metrics_declare(METRIC_COUNTER, "tandem_poll_rounds_total", "source", "Rounds of polling that ended."), labels);
    watch->failures_metric = metrics_series(
        metrics_declare(METRIC_COUNTER, "tandem_poll_failures_total", "source", "Rounds of polling that failed."),
        labels);
    watch->found_metric =
        metrics_series(metrics_declare(METRIC_COUNTER, "tandem_poll_found_total", "source",
                                       "Changes polling has told, whether webhooks had told them or not."),
                       labels);
    watch->success_metric = metrics_series(metrics_declare(METRIC_GAUGE, "tandem_poll_last_success_seconds", "source",
                                                           "When polling last ended a round, in seconds since 1970."),
                                           labels);
    poll->watch_count++;
    return 0;
}

static int add_child_watches(struct poll *poll, struct system *system, const struct config_map *tables,
                             struct error *err)
{
    for (size_t i = 0; i < tables->count; i++) {
        if (add_watch(poll, &POLL_DYNAMICS_365_CHILDREN, system, tables->keys[i], tables->values[i], err) < 0)
            return -1;
    }
    return 0;
}

static int add_watches(struct poll *poll, const struct poll_options *options, struct error *err)
{
    static const struct poll_source_type *const types[] = {&POLL_PARTNER_CENTER_CHANGES, &POLL_PARTNER_CENTER_SHARED,
                                                           &POLL_DYNAMICS_365_CHANGES};

    poll->watches =
        calloc(options->system_count * ARRAY_LENGTH(types) + options->child_tables->count, sizeof(*poll->watches));
    if (poll->watches == NULL)
        return error_no_memory(err);
    for (size_t i = 0; i < options->system_count; i++) {
        for (size_t k = 0; k < ARRAY_LENGTH(types); k++) {
            if (text_equal(options->systems[i]->operations->name, types[k]->system) &&
                add_watch(poll, types[k], options->systems[i], NULL, NULL, err) < 0)
                return -1;
        }
        if (text_equal(options->systems[i]->operations->name, POLL_DYNAMICS_365_CHILDREN.system) &&
            add_child_watches(poll, options->systems[i], options->child_tables, err) < 0)
            return -1;
    }
    return 0;
}

static int join(struct poll *poll, const struct poll_options *options, struct error *err)
{
    static const struct consumer_callbacks consumer_callbacks = {
        .on_message = on_owned_message, .on_revoked = on_revoked, .on_assigned = on_assigned, .on_fatal = on_fatal};
    static const struct reader_callbacks reader_callbacks = {
        .on_message = on_cursor, .on_end = on_cursors_read, .on_failed = on_fatal};
    static const char *const topics[] = {TOPIC_CURSORS, NULL};
    const struct consumer_settings consumer = {.group = "poll",
                                               .instance = options->instance,
                                               .topics = topics,
                                               .window = WINDOW,
                                               .commit_interval_ms = COMMIT_INTERVAL_MS};

    if (reader_new(poll->loop, options->kafka, TOPIC_CURSORS, options->instance, &reader_callbacks, poll, &poll->reader,
                   err) < 0 ||
        reader_add(poll->reader, CURSORS_PARTITION, -1, true, err) < 0)
        return -1;
    return consumer_new(poll->loop, options->kafka, &consumer, &consumer_callbacks, poll, &poll->consumer, err);
}

int poll_new(struct loop *loop, const struct poll_options *options, struct poll **ret_poll, struct error *err)
{
    struct poll *poll = calloc(1, sizeof(*poll));

    if (poll == NULL)
        return error_no_memory(err);
    poll->loop = loop;
    poll->settings = options->settings;
    poll->producer = options->producer;
    poll->on_fatal = options->on_fatal;
    poll->arg = options->arg;
    poll->cursors = json_object();
    poll->instance = text_copy(options->instance);
    poll->notifications = kafka_topic_name(options->kafka, TOPIC_NOTIFICATIONS);
    poll->cursors_topic = kafka_topic_name(options->kafka, TOPIC_CURSORS);
    if (poll->cursors == NULL || poll->instance == NULL || poll->notifications == NULL || poll->cursors_topic == NULL) {
        (void)error_no_memory(err);
        goto failed;
    }
    if (add_watches(poll, options, err) < 0 || join(poll, options, err) < 0)
        goto failed;
    *ret_poll = poll;
    return 0;
failed:
    poll_free(poll, 0);
    return error_wrap(err, "poll");
}

void poll_stop(struct poll *poll)
{
    poll->is_stopped = true;
    for (size_t i = 0; i < poll->watch_count; i++)
        loop_timer_stop(poll->watches[i].timer);
    consumer_stop(poll->consumer);
}

void poll_free(struct poll *poll, int64_t close_ms)
{
    if (poll == NULL)
        return;
    poll->is_stopped = true;
    consumer_free(poll->consumer, close_ms);
    reader_free(poll->reader);
    for (size_t i = 0; i < poll->watch_count; i++) {
        loop_timer_free(poll->watches[i].timer);
        poll_source_done(&poll->watches[i].source);
    }
    free(poll->watches);
    json_decref(poll->cursors);
    free(poll->instance);
    free(poll->notifications);
    free(poll->cursors_topic);
    free(poll);
}
