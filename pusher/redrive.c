#include "pusher/redrive.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/kafka/producer.h"
#include "common/kafka/reader.h"
#include "common/kafka/topics.h"
#include "common/messages/dead_letter.h"
#include "common/runtime/loop.h"
#include "pusher/redrive_audit.h"

#define INSTANCE "redrive"

enum {
    ANSWER_MS = 20000, /* without any message or delivery report */
    CLOSE_MS = 3000,
    KEPT_BYTES_MAX = 256 << 20, /* of letters at once */
    PRINTED_BYTES_MAX = 16 << 20,
    TIME_DIGITS = 3
};

struct run {
    const struct kafka_settings *kafka;
    const struct redrive_request *request;
    struct set_aside_selection selection; /* the request's, with what the audit knows of its deal */
    char *deal_names[REDRIVE_NAMES_MAX];
    FILE *out;
    struct loop *loop;
    struct loop_timer *timer;
    struct reader *reader;
    struct producer *producer;
    struct redrive_audit *audit; /* NULL: when letters were driven again is not known */
    struct set_aside *first, *last;
    size_t count;
    size_t bytes;
    size_t left_out; /* beyond the limit */
    size_t driven_before;
    size_t driven;
    size_t failures;
    char name[SET_ASIDE_NAME_SIZE]; /* of the letter that is being driven */
    char time[TIMESTAMP_TEXT_SIZE];
    struct error error;
    bool is_there[SET_ASIDE_PLACES_MAX]; /* of the letters that were named, in their order */
    bool is_over;
};

static void end(struct run *run, const struct error *err)
{
    if (run->is_over)
        return;
    run->is_over = true;
    if (err != NULL)
        run->error = *err;
    loop_stop(run->loop);
}

static void on_late(void *arg)
{
    end(arg, &KAFKA_NO_ANSWER);
}

/* --- The letters that are meant ----------------------------------------------------------------------------------- */

static void drop_first(struct run *run)
{
    struct set_aside *letter = run->first;

    run->first = letter->next;
    if (run->first == NULL)
        run->last = NULL;
    run->count--;
    run->bytes -= letter->size;
    set_aside_free(letter);
}

static void keep(struct run *run, struct set_aside *letter)
{
    if (run->last == NULL)
        run->first = letter;
    else
        run->last->next = letter;
    run->last = letter;
    run->count++;
    run->bytes += letter->size;
}

/* The oldest are driven first, so that the next call goes on behind them; shown are the newest. */
static void take(struct run *run, struct set_aside *letter)
{
    if (run->request->drives && (run->count == run->request->limit || run->bytes + letter->size > KEPT_BYTES_MAX)) {
        run->left_out++;
        set_aside_free(letter);
        return;
    }
    keep(run, letter);
    while (run->count > run->request->limit || (run->bytes > KEPT_BYTES_MAX && run->count > 1)) {
        drop_first(run);
        run->left_out++;
    }
}

static bool is_hindered(struct run *run, const struct set_aside *letter)
{
    const char *hindrance = set_aside_hindrance(letter, run->kafka->topic_prefix);

    if (hindrance == NULL)
        return false;
    (void)fprintf(run->out, "%" PRId32 "/%" PRId64 ": cannot be driven again: %s\n", letter->message.partition,
                  letter->message.offset, hindrance);
    run->failures++;
    return true;
}

static void note_place(struct run *run, const struct set_aside *letter)
{
    const struct set_aside_selection *selection = &run->selection;

    for (size_t i = 0; i < selection->place_count; i++)
        run->is_there[i] |= selection->places[i].partition == letter->message.partition &&
                            selection->places[i].offset == letter->message.offset;
}

/* Of the letters that were named by their places. */
static void name_absent(struct run *run)
{
    const struct set_aside_selection *selection = &run->selection;

    for (size_t i = 0; i < selection->place_count; i++) {
        if (run->is_there[i])
            continue;
        (void)fprintf(run->out, "%" PRId32 "/%" PRId64 ": there is no such letter\n", selection->places[i].partition,
                      selection->places[i].offset);
        run->failures++;
    }
}

/* There is nothing to drive in a validation event; it is only told of to somebody who names it. */
static bool is_passed_over(const struct run *run, const struct set_aside *letter)
{
    return run->request->drives && run->selection.place_count == 0 && strcmp(letter->code, DEAD_LETTER_CODE_TEST) == 0;
}

static void on_message(void *arg, const struct kafka_message *message)
{
    struct run *run = arg;
    struct set_aside *letter;
    struct error err = ERROR_INIT;

    loop_timer_set(run->timer, ANSWER_MS);
    if (run->is_over)
        return;
    if (set_aside_new(message, run->request->drives || run->request->with_value, &letter, &err) < 0) {
        end(run, &err);
        return;
    }
    note_place(run, letter);
    if (!set_aside_is_meant(letter, &run->selection) || is_passed_over(run, letter)) {
        set_aside_free(letter);
        return;
    }
    if (run->request->drives && redrive_audit_look_up(run->audit, letter, &err) < 0) {
        set_aside_free(letter);
        end(run, &err);
        return;
    }
    if (run->request->drives && letter->redriven_ms != 0 && !run->request->again) {
        run->driven_before++;
        set_aside_free(letter);
    } else if (run->request->drives && is_hindered(run, letter)) {
        set_aside_free(letter);
    } else {
        take(run, letter);
    }
}

static void on_read_failed(void *arg, const struct error *err)
{
    end(arg, err);
}

/* --- Showing ------------------------------------------------------------------------------------------------------ */

static void show(struct run *run, const struct set_aside *letter)
{
    struct text text;

    text_init(&text, PRINTED_BYTES_MAX);
    if (set_aside_print(letter, run->request->with_value, &text) == 0)
        (void)fputs(text_string(&text), run->out);
    else
        (void)fprintf(run->out, "%" PRId32 "/%" PRId64 "  too large to be shown\n", letter->message.partition,
                      letter->message.offset);
    text_done(&text);
}

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

static void show_all(struct run *run)
{
    struct error err = ERROR_INIT;

    for (struct set_aside *letter = run->first; letter != NULL; letter = letter->next) {
        if (run->audit != NULL && redrive_audit_look_up(run->audit, letter, &err) < 0) {
            end(run, &err);
            return;
        }
        show(run, letter);
    }
    (void)fprintf(run->out, "%zu letter%s\n", run->count, plural(run->count));
    if (run->left_out > 0)
        (void)fprintf(run->out, "%zu older one%s not shown: see --limit, --since\n", run->left_out,
                      plural(run->left_out));
}

/* --- Driving ------------------------------------------------------------------------------------------------------ */

static void drive_first(struct run *run);

static void sum_up(struct run *run)
{
    (void)fprintf(run->out, "%zu letter%s %s\n", run->driven, plural(run->driven),
                  run->request->is_dry_run ? "would be driven again" : "driven again");
    if (run->driven_before > 0)
        (void)fprintf(run->out, "%zu passed over: driven again before (--again drives them once more)\n",
                      run->driven_before);
    if (run->left_out > 0)
        (void)fprintf(run->out, "%zu more are meant: run the command again for them\n", run->left_out);
}

static void on_delivered(void *arg, const struct error *err)
{
    struct run *run = arg;
    struct set_aside *letter = run->first;
    struct error failure = ERROR_INIT;

    if (run->is_over)
        return;
    loop_timer_set(run->timer, ANSWER_MS);
    if (err != NULL) {
        failure = *err;
        (void)error_wrap(&failure, "%s", run->name);
        end(run, &failure);
        return;
    }
    if (redrive_audit_note(run->audit, letter, run->request->instance, &failure) < 0) {
        (void)error_wrap(&failure, "%s was driven again, but the audit does not say so", run->name);
        end(run, &failure);
        return;
    }
    (void)fprintf(run->out, "%" PRId32 "/%" PRId64 ": sent to %s\n", letter->message.partition, letter->message.offset,
                  letter->origin_topic);
    run->driven++;
    drop_first(run);
    drive_first(run);
}

static void drive_first(struct run *run)
{
    struct kafka_message message;
    struct error err = ERROR_INIT;

    for (; run->request->is_dry_run && run->first != NULL; drop_first(run)) {
        show(run, run->first);
        (void)fprintf(run->out, "  would be sent to %s\n", run->first->origin_topic);
        run->driven++;
    }
    if (run->first == NULL) {
        sum_up(run);
        end(run, NULL);
        return;
    }
    (void)timestamp_format(clock_now(), TIME_DIGITS, run->time);
    set_aside_redrive(run->first, set_aside_name(run->first, run->name), run->time, &message);
    if (producer_send(run->producer, &message, on_delivered, run, &err) < 0) {
        (void)error_wrap(&err, "%s", run->name);
        end(run, &err);
    }
}

static void on_read(void *arg, int32_t partition, int64_t next_offset)
{
    struct run *run = arg;

    (void)partition;
    (void)next_offset;
    loop_timer_set(run->timer, ANSWER_MS);
    if (run->is_over)
        return;
    name_absent(run);
    if (run->request->drives) {
        drive_first(run);
    } else {
        show_all(run);
        end(run, NULL);
    }
}

/* --- The command -------------------------------------------------------------------------------------------------- */

/* Of the deal that is meant: a letter may name it by a key or by either record. */
static int learn_names(struct run *run, struct error *err)
{
    if (run->selection.deal == NULL)
        return 0;
    run->selection.deal_names = run->deal_names;
    return redrive_audit_names(run->audit, run->selection.deal, run->deal_names, &run->selection.deal_name_count, err);
}

static int open_audit(struct run *run, const struct postgres_settings *postgres, struct error *err)
{
    struct error failure = ERROR_INIT;

    if (redrive_audit_open(postgres, run->request->drives && !run->request->is_dry_run, &run->audit, &failure) == 0 &&
        learn_names(run, &failure) == 0)
        return 0;
    /* Nothing is driven without a row; but to look, at a time when the database is away, is worth it. */
    if (run->request->drives) {
        *err = failure;
        return -1;
    }
    redrive_audit_close(run->audit);
    run->audit = NULL;
    (void)fprintf(run->out, "which letters were driven again is not known%s: %s\n",
                  run->selection.deal == NULL ? "" : ", nor other names of the deal", failure.message);
    return 0;
}

static int work(struct run *run, struct error *err)
{
    static const struct reader_callbacks callbacks = {
        .on_message = on_message, .on_end = on_read, .on_failed = on_read_failed};
    static const char *const none[] = {NULL};

    if (run->request->drives && !run->request->is_dry_run &&
        producer_new(run->loop, run->kafka, INSTANCE, none, &run->producer, err) < 0)
        return -1;
    if (reader_new(run->loop, run->kafka, TOPIC_DEAD_LETTERS, INSTANCE, &callbacks, run, &run->reader, err) < 0 ||
        reader_add(run->reader, 0, -1, false, err) < 0)
        return -1;
    loop_timer_set(run->timer, ANSWER_MS);
    if (loop_run(run->loop, err) < 0)
        return -1;
    run->is_over = true; /* what is told from now on comes too late */
    if (run->error.class != ERROR_NONE) {
        *err = run->error;
        return -1;
    }
    return 0;
}

int redrive_run(const struct kafka_settings *kafka, const struct postgres_settings *postgres,
                const struct redrive_request *request, FILE *out, size_t *ret_failures, struct error *err)
{
    struct run run = {.kafka = kafka, .request = request, .selection = request->selection, .out = out};
    int status = -1;

    if (loop_new(&run.loop, err) < 0)
        return -1;
    run.timer = loop_timer_new(run.loop, on_late, &run);
    if (run.timer == NULL)
        (void)error_no_memory(err);
    else if (open_audit(&run, postgres, err) == 0)
        status = work(&run, err);
    reader_free(run.reader);
    producer_free(run.producer, CLOSE_MS);
    redrive_audit_close(run.audit);
    while (run.first != NULL)
        drop_first(&run);
    for (size_t i = 0; i < run.selection.deal_name_count; i++)
        free(run.deal_names[i]);
    loop_timer_free(run.timer);
    loop_free(run.loop);
    *ret_failures = run.failures;
    return status;
}
