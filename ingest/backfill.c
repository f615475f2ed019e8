#include "ingest/backfill.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/retry.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/kafka/reader.h"
#include "common/kafka/topics.h"
#include "common/messages/cursor.h"
#include "common/systems/dynamics365.h"
#include "common/systems/partner_center.h"
#include "ingest/backfill_display.h"
#include "ingest/backfill_pairing.h"
#include "ingest/backfill_progress.h"
#include "ingest/telling.h"

#define RECORD_TYPE       "opportunity"
#define POSITION_BEGUN    "begun"
#define POSITION_FINISHED "finished"

enum {
    CURSORS_PARTITION = 0, /* topic `cursors` has one */
    FIRST_DELAY_MS = 1000,
    DELAY_MAX_MS = 5 * 60 * 1000,
    ATTEMPTS_MAX = 10,
    PAGES_MAX = 100000, /* of one listing; one that goes round in a circle ends here */
    SAVE_INTERVAL_MS = 1000
};

/*
 *   READING_CURSOR -> LISTING_REFERRALS -> LISTING_ROWS -> LISTING_NEWEST -> SAVING -> TELLING -> SAVING …
 *          |                  (each page after page, again after a pause)               |
 *          +----------------------------------------------------------------------------+--> ENDED
 */
enum state { READING_CURSOR, LISTING_REFERRALS, LISTING_ROWS, LISTING_NEWEST, TELLING, SAVING, ENDED };

struct backfill {
    struct loop *loop;
    struct backfill_settings settings;
    struct backfill_request request;
    struct producer *producer;
    struct system *partner_center, *dynamics_365;
    struct backfill_display display;
    char *instance, *identifier_column, *notifications, *cursors_topic;
    const char *cursor; /* its key */
    struct reader *reader;
    struct loop_timer *timer; /* for the next step */
    struct loop_timer *ticker;
    enum state state;
    char *position, *reached_at; /* of earlier runs */
    struct pairing pairing;
    char *next; /* page to ask for; NULL: the first */
    size_t pages;
    struct retry_state retry;
    size_t deal, batch_end; /* next to be told; behind those under way */
    size_t unreported;      /* notifications under way */
    bool has_failed;        /* one of them was not taken */
    size_t told_before, told, total;
    int64_t began_ms; /* telling */
    int64_t due_ms;   /* next batch */
    int64_t saved_ms;
    char saving[PAIRING_POSITION_SIZE];
    bool is_saved; /* the position is that of `deal` */
    bool is_stopping, is_stopped;
    void (*on_done)(void *arg, const struct error *err);
    void *arg;
    void (*on_drained)(void *arg);
    void *drained_arg;
};

static void ask(struct backfill *backfill);

/* --- For people --------------------------------------------------------------------------------------------------- */

static struct backfill_progress progress_of(const struct backfill *backfill)
{
    const struct pairing *pairing = &backfill->pairing;
    struct backfill_progress progress = {.phase = BACKFILL_TELLING,
                                         .done = backfill->told_before + backfill->told,
                                         .done_before = backfill->told_before,
                                         .total = backfill->total,
                                         .elapsed_ms = clock_monotonic_ms() - backfill->began_ms};

    if (backfill->state == LISTING_REFERRALS || backfill->state == LISTING_ROWS || backfill->state == LISTING_NEWEST) {
        const bool are_rows = backfill->state == LISTING_ROWS;
        progress = (struct backfill_progress){
            .phase = are_rows ? BACKFILL_LISTING_ROWS : BACKFILL_LISTING_REFERRALS,
            .done = are_rows ? pairing->counts.listed_rows : pairing->referrals.count + pairing->newer_referrals.count};
    }
    return progress;
}

static void show(struct backfill *backfill)
{
    const struct backfill_progress progress = progress_of(backfill);

    backfill_display_show(&backfill->display, &progress);
}

/* The line of a phase stays when the next one begins. */
static void show_last(struct backfill *backfill)
{
    const struct backfill_progress progress = progress_of(backfill);

    backfill_display_keep(&backfill->display, &progress);
}

static void on_tick(void *arg)
{
    struct backfill *backfill = arg;

    show(backfill);
    loop_timer_set(backfill->ticker, backfill_display_interval_ms(&backfill->display));
}

static int print_table(struct backfill *backfill, struct error *err)
{
    return backfill_display_table(&backfill->display, &backfill->pairing, backfill->told_before + backfill->told,
                                  backfill->request.is_dry_run, err);
}

/* --- The end ------------------------------------------------------------------------------------------------------ */

static void end(struct backfill *backfill, const struct error *err)
{
    if (backfill->state == ENDED)
        return;
    backfill_display_clear(&backfill->display);
    backfill->state = ENDED;
    loop_timer_stop(backfill->timer);
    loop_timer_stop(backfill->ticker);
    backfill->on_done(backfill->arg, err);
    if (backfill->on_drained != NULL)
        backfill->on_drained(backfill->drained_arg);
}

static void interrupt(struct backfill *backfill)
{
    struct error err = ERROR_INIT;

    if (backfill->total == 0)
        (void)error_set(&err, ERROR_TRANSIENT, "backfill.interrupted", "stopped before anything was told");
    else
        (void)error_set(&err, ERROR_TRANSIENT, "backfill.interrupted",
                        "stopped after %zu of %zu records; run it again to go on",
                        backfill->told_before + backfill->told, backfill->total);
    end(backfill, &err);
}

/* The step under way is repeated after a pause, so many times. */
static void repeat(struct backfill *backfill, int64_t retry_after_ms, const struct error *err)
{
    static const struct retry_policy policy = {
        .first_delay_ms = FIRST_DELAY_MS, .delay_max_ms = DELAY_MAX_MS, .attempts_max = ATTEMPTS_MAX};
    const int64_t now_ms = clock_monotonic_ms();
    struct retry_decision decision;
    char *text;

    if (backfill->is_stopping) {
        interrupt(backfill);
        return;
    }
    if (backfill->retry.attempts == 0)
        backfill->retry.first_attempt_ms = now_ms;
    backfill->retry.attempts++;
    decision = retry_decide(&policy, &backfill->retry, now_ms, retry_after_ms, random_u32());
    if (!decision.should_retry) {
        end(backfill, err);
        return;
    }
    text = text_format("%s; again in %lld s", err->message, (long long)(decision.at_ms - now_ms + 999) / 1000);
    if (text != NULL)
        backfill_display_say(&backfill->display, text);
    free(text);
    loop_timer_set(backfill->timer, decision.at_ms - now_ms);
}

/* --- The position ------------------------------------------------------------------------------------------------- */

static void rest_until_due(struct backfill *backfill)
{
    const int64_t left_ms = backfill->due_ms - clock_monotonic_ms();

    backfill->state = TELLING;
    loop_timer_set(backfill->timer, left_ms > 0 ? left_ms : 0);
}

static void finish(struct backfill *backfill)
{
    struct error err = ERROR_INIT;

    show_last(backfill);
    end(backfill, print_table(backfill, &err) < 0 ? &err : NULL);
}

static void on_saved(void *arg, const struct error *err)
{
    struct backfill *backfill = arg;

    if (backfill->is_stopped || backfill->state != SAVING)
        return;
    if (err != NULL) {
        repeat(backfill, -1, err);
        return;
    }
    backfill->retry = (struct retry_state){0};
    backfill->is_saved = true;
    backfill->saved_ms = clock_monotonic_ms();
    if (text_equal(backfill->saving, POSITION_FINISHED))
        finish(backfill);
    else if (backfill->is_stopping)
        interrupt(backfill);
    else
        rest_until_due(backfill);
}

static void send_position(struct backfill *backfill)
{
    struct error err = ERROR_INIT;

    if (telling_send_cursor(backfill->producer, backfill->cursors_topic, backfill->cursor, backfill->saving,
                            backfill->instance, on_saved, backfill, &err) < 0)
        repeat(backfill, -1, &err);
}

static void save(struct backfill *backfill, const char *position)
{
    backfill->state = SAVING;
    (void)snprintf(backfill->saving, sizeof(backfill->saving), "%s", position);
    send_position(backfill);
}

/* Everything before `deal` is in Kafka. */
static void save_reached(struct backfill *backfill)
{
    char position[PAIRING_POSITION_SIZE];

    if (backfill->deal == backfill->pairing.deal_count) {
        save(backfill, POSITION_FINISHED);
    } else if (backfill->deal == 0) {
        save(backfill, POSITION_BEGUN);
    } else {
        pairing_position(&backfill->pairing.deals[backfill->deal - 1], position);
        save(backfill, position);
    }
}

/* --- Telling ------------------------------------------------------------------------------------------------------ */

static void batch_is_told(struct backfill *backfill)
{
    struct error err = ERROR_INIT;

    if (backfill->has_failed) {
        (void)error_set(&err, ERROR_TRANSIENT, "backfill.not_told", "the brokers did not take all notifications");
        repeat(backfill, -1, &err);
        return;
    }
    backfill->retry = (struct retry_state){0};
    backfill->told += pairing_records_between(&backfill->pairing, backfill->deal, backfill->batch_end);
    backfill->deal = backfill->batch_end;
    backfill->is_saved = false;
    if (backfill->is_stopping || backfill->deal == backfill->pairing.deal_count ||
        clock_monotonic_ms() - backfill->saved_ms >= SAVE_INTERVAL_MS)
        save_reached(backfill);
    else
        rest_until_due(backfill);
}

static void on_told(void *arg, const struct error *err)
{
    struct backfill *backfill = arg;

    backfill->unreported--;
    backfill->has_failed = backfill->has_failed || err != NULL;
    if (!backfill->is_stopped && backfill->state == TELLING && backfill->unreported == 0)
        batch_is_told(backfill);
}

static int tell(struct backfill *backfill, const struct pairing_record *record, bool is_referral, struct error *err)
{
    char changed_at[TIMESTAMP_TEXT_SIZE];
    const struct telling_news news = {
        .origin = NOTIFICATION_BACKFILL,
        .system = (is_referral ? backfill->partner_center : backfill->dynamics_365)->operations->name,
        .event = "listed",
        .record_type = is_referral ? "referral" : RECORD_TYPE,
        .record_id = record->id,
        .occurred_at =
            record->changed_ms < 0 ? NULL : timestamp_format(timestamp_from_ms(record->changed_ms), 3, changed_at)};

    if (telling_send(backfill->producer, backfill->notifications, "/tandem/ingest/backfill", &news, on_told, backfill,
                     err) < 0)
        return -1;
    backfill->unreported++;
    return 0;
}

static int tell_deal(struct backfill *backfill, const struct pairing_deal *deal, struct error *err)
{
    if (deal->referral != NULL && tell(backfill, deal->referral, true, err) < 0)
        return -1;
    return deal->row == NULL ? 0 : tell(backfill, deal->row, false, err);
}

/* After a failure the same deals once more. */
static void tell_batch(struct backfill *backfill)
{
    const struct pairing *pairing = &backfill->pairing;
    const size_t most = backfill_batch(backfill->settings.per_second);
    struct error err = ERROR_INIT;
    size_t records = 0;

    backfill->state = TELLING;
    backfill->has_failed = false;
    backfill->batch_end = backfill->deal;
    while (records < most && backfill->batch_end < pairing->deal_count) {
        if (tell_deal(backfill, &pairing->deals[backfill->batch_end], &err) < 0) {
            backfill->has_failed = true;
            break;
        }
        records += pairing_records_between(pairing, backfill->batch_end, backfill->batch_end + 1);
        backfill->batch_end++;
    }
    backfill->due_ms = clock_monotonic_ms() + backfill_pause_ms(backfill->settings.per_second, records);
    if (backfill->unreported == 0)
        batch_is_told(backfill);
}

static void begin_telling(struct backfill *backfill)
{
    const struct pairing *pairing = &backfill->pairing;

    if (!backfill->request.begins_again && backfill->position != NULL)
        backfill->deal = pairing_behind(pairing, backfill->position);
    backfill->total = pairing_records_between(pairing, 0, pairing->deal_count);
    backfill->told_before = pairing_records_between(pairing, 0, backfill->deal);
    backfill->began_ms = backfill->due_ms = clock_monotonic_ms();
    if (backfill->told_before > 0)
        backfill_display_say(&backfill->display, "going on where an earlier run has stopped");
    save_reached(backfill);
}

/* --- Listing ------------------------------------------------------------------------------------------------------ */

static void decide(struct backfill *backfill)
{
    struct error err = ERROR_INIT;

    if (pairing_decide(&backfill->pairing, backfill->request.linked_only, &err) < 0 ||
        backfill_report_write(&backfill->pairing, backfill->request.report_path, backfill->request.is_dry_run, &err) <
            0) {
        end(backfill, &err);
    } else if (backfill->request.is_dry_run) {
        end(backfill, print_table(backfill, &err) < 0 ? &err : NULL);
    } else {
        begin_telling(backfill);
    }
}

static int take(struct backfill *backfill, const json_t *documents, bool *ret_is_over, struct error *err)
{
    *ret_is_over = false;
    if (backfill->state == LISTING_REFERRALS)
        return pairing_add_referrals(&backfill->pairing, documents, err);
    if (backfill->state == LISTING_ROWS)
        return pairing_add_rows(&backfill->pairing, documents, err);
    return pairing_add_newer_referrals(&backfill->pairing, documents, ret_is_over, err);
}

static int begin_listing(struct backfill *backfill, enum state state, struct error *err)
{
    backfill->state = state;
    backfill->pages = 0;
    return text_assign(&backfill->next, NULL, err);
}

/* What has been made at Partner Center while the rows were listed is listed last: a row that names it is no finding. */
static void end_listing(struct backfill *backfill)
{
    struct error err = ERROR_INIT;
    int status = 0;

    if (backfill->state == LISTING_NEWEST) {
        decide(backfill);
        return;
    }
    show_last(backfill);
    if (backfill->state == LISTING_REFERRALS)
        status = pairing_seal_referrals(&backfill->pairing, &err);
    else
        status = pairing_seal_rows(&backfill->pairing, &err);
    if (status == 0)
        status = begin_listing(backfill, backfill->state == LISTING_REFERRALS ? LISTING_ROWS : LISTING_NEWEST, &err);
    if (status < 0)
        end(backfill, &err);
    else
        ask(backfill);
}

static void on_page(void *arg, const struct system_page *page)
{
    struct backfill *backfill = arg;
    struct error err = ERROR_INIT;
    bool is_over = false;

    if (backfill->is_stopped || backfill->state == ENDED)
        return;
    if (page->result != SYSTEM_DONE) {
        err = page->error;
        (void)error_wrap(&err, backfill->state == LISTING_ROWS ? "Dynamics 365" : "Partner Center");
        if (page->result == SYSTEM_RETRY)
            repeat(backfill, page->retry_after_ms, &err);
        else
            end(backfill, &err);
        return;
    }
    backfill->retry = (struct retry_state){0};
    if (take(backfill, page->documents, &is_over, &err) < 0 || text_assign(&backfill->next, page->next, &err) < 0) {
        end(backfill, &err);
    } else if (is_over || page->next == NULL) {
        end_listing(backfill);
    } else if (++backfill->pages >= PAGES_MAX) {
        (void)error_set(&err, ERROR_FATAL, "backfill.endless", "the listing does not end");
        end(backfill, &err);
    } else {
        ask(backfill);
    }
}

/* By the time of their creation, which never changes: no referral moves to a page that was read already. */
static void ask(struct backfill *backfill)
{
    const char *const columns[] = {backfill->settings.sync_column, NULL};
    const struct dynamics_365_listing rows = {
        .entity = RECORD_TYPE, .columns = columns, .page_rows = (unsigned)backfill->settings.page_rows};
    struct error err = ERROR_INIT;
    int status;

    if (backfill->state == LISTING_ROWS)
        status = dynamics_365_list(backfill->dynamics_365, &rows, backfill->next, on_page, backfill, &err);
    else
        status = partner_center_list(backfill->partner_center, PARTNER_CENTER_CREATED, backfill->next, on_page,
                                     backfill, &err);
    if (status == 0)
        return;
    if (err.class == ERROR_TRANSIENT)
        repeat(backfill, -1, &err);
    else
        end(backfill, &err);
}

/* --- The cursor --------------------------------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
    struct backfill *backfill = arg;

    switch (backfill->state) {
    case LISTING_REFERRALS:
    case LISTING_ROWS:
    case LISTING_NEWEST:
        ask(backfill);
        break;
    case TELLING:
        tell_batch(backfill);
        break;
    case SAVING:
        send_position(backfill);
        break;
    case READING_CURSOR:
    case ENDED:
        break;
    }
}

static void on_cursor(void *arg, const struct kafka_message *message)
{
    struct backfill *backfill = arg;
    struct cursor cursor;
    struct error err = ERROR_INIT;

    if (message->key == NULL || message->value == NULL || message->key_length != strlen(backfill->cursor) ||
        memcmp(message->key, backfill->cursor, message->key_length) != 0)
        return;
    if (cursor_read(message->value, message->value_length, &cursor, &err) < 0)
        return; /* written by nobody of us; what is told twice does no harm */
    if (text_assign(&backfill->position, cursor.position, &err) < 0 ||
        text_assign(&backfill->reached_at, cursor.at, &err) < 0)
        end(backfill, &err);
    cursor_done(&cursor);
}

static void on_cursor_known(void *arg, int32_t partition, int64_t next_offset)
{
    struct backfill *backfill = arg;
    const struct backfill_request *request = &backfill->request;
    struct error err = ERROR_INIT;

    (void)partition;
    (void)next_offset;
    if (backfill->state != READING_CURSOR)
        return;
    if (text_equal(backfill->position, POSITION_FINISHED) && !request->begins_again && !request->is_dry_run) {
        (void)fprintf(backfill->display.out,
                      "Already finished at %s; --again begins at the beginning, --dry-run only reports.\n",
                      backfill->reached_at);
        end(backfill, NULL);
        return;
    }
    loop_timer_set(backfill->ticker, backfill_display_interval_ms(&backfill->display));
    if (begin_listing(backfill, LISTING_REFERRALS, &err) < 0)
        end(backfill, &err);
    else
        ask(backfill);
}

static void on_cursor_failed(void *arg, const struct error *err)
{
    end(arg, err);
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

static int read_cursor(struct backfill *backfill, const struct backfill_options *options, struct error *err)
{
    static const struct reader_callbacks callbacks = {
        .on_message = on_cursor, .on_end = on_cursor_known, .on_failed = on_cursor_failed};

    if (reader_new(backfill->loop, options->kafka, TOPIC_CURSORS, options->instance, &callbacks, backfill,
                   &backfill->reader, err) < 0)
        return -1;
    return reader_add(backfill->reader, CURSORS_PARTITION, -1, false, err);
}

int backfill_new(struct loop *loop, const struct backfill_options *options, struct backfill **ret_backfill,
                 struct error *err)
{
    struct backfill *backfill = calloc(1, sizeof(*backfill));

    if (backfill == NULL)
        return error_no_memory(err);
    *backfill = (struct backfill){
        .loop = loop,
        .settings = *options->settings,
        .request = *options->request,
        .producer = options->producer,
        .partner_center = options->partner_center,
        .dynamics_365 = options->dynamics_365,
        .display = backfill_display_of(options->out, options->progress),
        .instance = text_copy(options->instance),
        .identifier_column = text_copy(options->identifier_column),
        .notifications = kafka_topic_name(options->kafka, TOPIC_NOTIFICATIONS),
        .cursors_topic = kafka_topic_name(options->kafka, TOPIC_CURSORS),
        .cursor = options->request->linked_only ? "backfill/linked" : "backfill/all",
        .timer = loop_timer_new(loop, on_timer, backfill),
        .ticker = loop_timer_new(loop, on_tick, backfill),
        .on_done = options->on_done,
        .arg = options->arg,
    };
    pairing_init(&backfill->pairing, (size_t)options->settings->records_max, backfill->identifier_column,
                 backfill->settings.sync_column);
    if (backfill->instance == NULL || backfill->identifier_column == NULL || backfill->notifications == NULL ||
        backfill->cursors_topic == NULL || backfill->timer == NULL || backfill->ticker == NULL) {
        (void)error_no_memory(err);
        goto failed;
    }
    if (read_cursor(backfill, options, err) < 0)
        goto failed;
    *ret_backfill = backfill;
    return 0;
failed:
    backfill_free(backfill);
    return error_wrap(err, "backfill");
}

void backfill_drain(struct backfill *backfill, void (*on_drained)(void *arg), void *arg)
{
    backfill->is_stopping = true;
    if (backfill->state == ENDED) {
        on_drained(arg);
        return;
    }
    backfill->on_drained = on_drained;
    backfill->drained_arg = arg;
    if (backfill->unreported > 0 || (backfill->state == SAVING && !loop_timer_is_set(backfill->timer)))
        return; /* the delivery reports go on from here */
    if (backfill->state == TELLING && !backfill->is_saved) {
        loop_timer_stop(backfill->timer);
        save_reached(backfill);
    } else {
        interrupt(backfill);
    }
}

void backfill_stop(struct backfill *backfill)
{
    backfill->is_stopped = true;
    loop_timer_stop(backfill->timer);
    loop_timer_stop(backfill->ticker);
}

void backfill_free(struct backfill *backfill)
{
    if (backfill == NULL)
        return;
    reader_free(backfill->reader);
    loop_timer_free(backfill->timer);
    loop_timer_free(backfill->ticker);
    pairing_done(&backfill->pairing);
    free(backfill->position);
    free(backfill->reached_at);
    free(backfill->next);
    free(backfill->instance);
    free(backfill->identifier_column);
    free(backfill->notifications);
    free(backfill->cursors_topic);
    free(backfill);
}
