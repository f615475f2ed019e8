#include "ingest/publisher.h"

#include <stdlib.h>

#include "common/base/json.h"
#include "common/kafka/dead_letter.h"
#include "common/kafka/topics.h"
#include "common/runtime/log.h"
#include "common/runtime/loop.h"
#include "common/runtime/metrics.h"
#include "ingest/arrival.h"
#include "ingest/reading.h"

struct publication {
    struct publisher *publisher; /* NULL: freed meanwhile */
    struct fold_record *record;
    unsigned outstanding;
    bool is_open;    /* more may be added: not to be ended */
    bool is_reading; /* the record as it stands */
    bool is_letters; /* all of it goes to the dead letters */
    bool has_failed;
    struct error failure; /* the first one */
    struct publication *previous, *next;
};

struct publisher {
    struct producer *producer;
    void (*on_end)(void *arg, struct fold_record *record, bool is_reading, const struct error *failure);
    void *arg;
    char *records_topic, *dead_letters_topic;
    struct publication *publications;
    struct metric *letters_metric;
};

/* --- Publications ------------------------------------------------------------------------------------------------- */

static struct publication *publication_new(struct publisher *publisher, struct fold_record *record)
{
    struct publication *publication = calloc(1, sizeof(*publication));

    if (publication == NULL)
        return NULL;
    publication->publisher = publisher;
    publication->record = record;
    publication->is_open = true;
    publication->next = publisher->publications;
    if (publication->next != NULL)
        publication->next->previous = publication;
    publisher->publications = publication;
    return publication;
}

static void publication_free(struct publication *publication)
{
    struct publisher *publisher = publication->publisher;

    if (publication->previous != NULL)
        publication->previous->next = publication->next;
    else
        publisher->publications = publication->next;
    if (publication->next != NULL)
        publication->next->previous = publication->previous;
    free(publication);
}

static void fail_publication(struct publication *publication, const struct error *err)
{
    if (!publication->has_failed)
        publication->failure = *err;
    publication->has_failed = true;
}

static void end_publication(struct publication *publication)
{
    struct publisher *publisher = publication->publisher;
    struct fold_record *record = publication->record;
    struct error failure = publication->failure;
    bool has_failed = publication->has_failed, is_reading = publication->is_reading;
    /* A reading that is too large for the topic will be so the next time. */
    bool is_hopeless = failure.class == ERROR_POISON && !publication->is_letters && record->batch != NULL;

    publication_free(publication);
    if (is_hopeless)
        publisher_set_aside(publisher, record, &failure);
    else
        publisher->on_end(publisher->arg, record, is_reading, has_failed ? &failure : NULL);
}

static void on_told(void *arg, const struct error *err)
{
    struct publication *publication = arg;

    publication->outstanding--;
    if (publication->publisher == NULL) {
        if (publication->outstanding == 0)
            free(publication);
        return;
    }
    if (err != NULL)
        fail_publication(publication, err);
    if (publication->outstanding == 0 && !publication->is_open)
        end_publication(publication);
}

static void close_publication(struct publication *publication)
{
    publication->is_open = false;
    if (publication->outstanding == 0)
        end_publication(publication);
}

static void send_message(struct publication *publication, const struct kafka_message *message)
{
    struct error err = ERROR_INIT;

    if (producer_send(publication->publisher->producer, message, on_told, publication, &err) < 0)
        fail_publication(publication, &err);
    else
        publication->outstanding++;
}

static void send_letter(struct publication *publication, const struct arrival *arrival, const struct error *reason)
{
    struct publisher *publisher = publication->publisher;
    struct dead_letter room;
    struct kafka_message message;
    char now[TIMESTAMP_TEXT_SIZE];

    dead_letter_message(&room, &arrival->original, "fetch", reason, publication->record->retry.attempts + 1,
                        timestamp_format(clock_now(), 3, now), &message);
    message.topic = publisher->dead_letters_topic;
    if (!arrival_is_test(arrival)) {
        metric_count(publisher->letters_metric, reason->code, NULL, NULL, NULL);
        log_warning("fetch.set_aside", LOG_TEXT("source", arrival->notification.source),
                    LOG_TEXT("record_id", arrival->notification.record_id),
                    LOG_INTEGER("partition", arrival->item.partition), LOG_INTEGER("offset", arrival->item.offset),
                    LOG_ERROR(reason));
    }
    send_message(publication, &message);
}

static void send_reading(struct publication *publication, struct reading *reading)
{
    struct kafka_message message;

    reading_message(reading, &message);
    message.topic = publication->publisher->records_topic;
    send_message(publication, &message);
    reading_done(reading);
}

/* --- What is told ------------------------------------------------------------------------------------------------- */

static void end_without_memory(struct publisher *publisher, struct fold_record *record)
{
    struct error err = ERROR_INIT;

    (void)error_no_memory(&err);
    publisher->on_end(publisher->arg, record, false, &err);
}

void publisher_set_aside(struct publisher *publisher, struct fold_record *record, const struct error *reason)
{
    struct publication *publication = publication_new(publisher, record);

    if (publication == NULL) {
        end_without_memory(publisher, record);
        return;
    }
    publication->is_letters = true;
    for (const struct fold_item *item = record->batch; item != NULL; item = item->next)
        send_letter(publication, arrival_of_const(item), reason);
    close_publication(publication);
}

static struct reading_context context_of(const struct fold_record *record)
{
    struct reading_context context = {.batch = record->batch, .read_at = clock_now()};

    random_fill(context.random, sizeof(context.random));
    return context;
}

void publisher_tell_reading(struct publisher *publisher, struct fold_record *record, const struct system_answer *answer)
{
    const struct reading_context context = context_of(record);
    struct publication *publication = publication_new(publisher, record);
    struct reading reading;
    struct error err = ERROR_INIT;

    if (publication == NULL) {
        end_without_memory(publisher, record);
        return;
    }
    publication->is_reading = true;
    if (reading_of_answer(&context, answer, &reading, &err) < 0)
        fail_publication(publication, &err);
    else
        send_reading(publication, &reading);
    close_publication(publication);
}

void publisher_tell_absence(struct publisher *publisher, struct fold_record *record, const struct system_answer *answer)
{
    const struct reading_context context = context_of(record);
    struct publication *publication = publication_new(publisher, record);
    json_auto_t *told = json_object();
    struct error not_visible = ERROR_INIT;
    struct error err = ERROR_INIT;

    if (publication == NULL) {
        end_without_memory(publisher, record);
        return;
    }
    (void)error_set(&not_visible, ERROR_POISON, "not_visible",
                    "another party's referral that we may not see, of an engagement that is not known");
    for (const struct fold_item *item = record->batch; item != NULL && !publication->has_failed; item = item->next) {
        const struct arrival *arrival = arrival_of_const(item);
        struct reading reading;
        char *key;
        if (told == NULL || reading_gone_key(arrival, answer, &key) < 0) {
            (void)error_no_memory(&err);
            fail_publication(publication, &err);
        } else if (key == NULL) {
            send_letter(publication, arrival, &not_visible);
        } else if (json_object_get(told, key) == NULL) {
            if (json_object_set_new(told, key, json_true()) < 0 ||
                reading_of_absence(&context, answer, key, &reading, &err) < 0) {
                (void)error_no_memory(&err);
                fail_publication(publication, &err);
            } else {
                send_reading(publication, &reading);
            }
            free(key);
        } else {
            free(key);
        }
    }
    close_publication(publication);
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

int publisher_new(const struct publisher_options *options, struct publisher **ret_publisher, struct error *err)
{
    struct publisher *publisher = calloc(1, sizeof(*publisher));

    if (publisher == NULL)
        return error_no_memory(err);
    publisher->producer = options->producer;
    publisher->on_end = options->on_end;
    publisher->arg = options->arg;
    publisher->letters_metric = metrics_declare(METRIC_COUNTER, "tandem_fetch_dead_letters_total", "reason",
                                                "Notifications that were set aside.");
    publisher->records_topic = kafka_topic_name(options->kafka, TOPIC_RECORDS);
    publisher->dead_letters_topic = kafka_topic_name(options->kafka, TOPIC_DEAD_LETTERS);
    if (publisher->records_topic == NULL || publisher->dead_letters_topic == NULL) {
        publisher_free(publisher);
        return error_no_memory(err);
    }
    *ret_publisher = publisher;
    return 0;
}

void publisher_free(struct publisher *publisher)
{
    if (publisher == NULL)
        return;
    while (publisher->publications != NULL) {
        struct publication *publication = publisher->publications;
        publisher->publications = publication->next;
        publication->publisher = NULL;
    }
    free(publisher->records_topic);
    free(publisher->dead_letters_topic);
    free(publisher);
}
