#include "mapper/deal_lookup.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/reader.h"
#include "common/kafka/topics.h"
#include "common/runtime/loop.h"

#define INSTANCE "deal-lookup"

enum {
    TOPICS_TIMEOUT_MS = 10000,
    TOPICS_REPORT_MAX = 64 * 1024,
    ANSWER_MS = 60000, /* without any message */
    KEYS_MAX = 3       /* an opportunity's key, its referral's, and one more */
};

struct lookup {
    struct loop *loop;
    struct loop_timer *timer;
    const char *key;
    char *value; /* the newest of the key; NULL: none, or a tombstone */
    size_t length;
    struct error error;
    bool is_over;
};

static void end(struct lookup *lookup, const struct error *err)
{
    if (lookup->is_over)
        return;
    lookup->is_over = true;
    if (err != NULL)
        lookup->error = *err;
    loop_stop(lookup->loop);
}

static void on_message(void *arg, const struct kafka_message *message)
{
    struct lookup *lookup = arg;
    struct error err = ERROR_INIT;

    loop_timer_set(lookup->timer, ANSWER_MS);
    if (message->key == NULL || message->key_length != strlen(lookup->key) ||
        memcmp(message->key, lookup->key, message->key_length) != 0)
        return;
    free(lookup->value);
    lookup->value = message->value != NULL ? text_copy_n(message->value, message->value_length) : NULL;
    lookup->length = message->value_length;
    if (message->value != NULL && lookup->value == NULL) {
        (void)error_no_memory(&err);
        end(lookup, &err);
    }
}

static void on_end(void *arg, int32_t partition, int64_t next_offset)
{
    (void)partition;
    (void)next_offset;
    end(arg, NULL);
}

static void on_failed(void *arg, const struct error *err)
{
    end(arg, err);
}

static void on_late(void *arg)
{
    end(arg, &KAFKA_NO_ANSWER);
}

/* The producers' partitioner (client.h), which looks at nothing but the key. */
static int32_t partition_of(const struct kafka_settings *kafka, const char *key)
{
    return rd_kafka_msg_partitioner_murmur2(NULL, key, strlen(key), (int32_t)kafka->partitions, NULL, NULL);
}

/* *ret_value: free(); NULL when there is no such key. */
static int read_state(const struct kafka_settings *kafka, const char *key, char **ret_value, size_t *ret_length,
                      struct error *err)
{
    static const struct reader_callbacks callbacks = {
        .on_message = on_message, .on_end = on_end, .on_failed = on_failed};
    struct lookup lookup = {.key = key};
    struct reader *reader = NULL;
    int status = -1;

    if (loop_new(&lookup.loop, err) < 0)
        return -1;
    lookup.timer = loop_timer_new(lookup.loop, on_late, &lookup);
    if (lookup.timer == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (reader_new(lookup.loop, kafka, TOPIC_DEALS, INSTANCE, &callbacks, &lookup, &reader, err) < 0 ||
        reader_add(reader, partition_of(kafka, key), -1, false, err) < 0)
        goto out;
    loop_timer_set(lookup.timer, ANSWER_MS);
    status = loop_run(lookup.loop, err);
    if (status == 0 && lookup.error.class != ERROR_NONE) {
        *err = lookup.error;
        status = -1;
    }
    if (status == 0) {
        *ret_value = lookup.value;
        *ret_length = lookup.length;
        lookup.value = NULL;
    }
out:
    reader_free(reader);
    loop_timer_free(lookup.timer);
    loop_free(lookup.loop);
    free(lookup.value);
    return status;
}

static int look_up(const struct kafka_settings *kafka, const char *key, struct deal *ret_deal, struct error *err)
{
    char *value = NULL;
    size_t length = 0;
    int status;

    if (read_state(kafka, key, &value, &length, err) < 0)
        return error_wrap(err, "topic %s%s", kafka->topic_prefix, TOPIC_DEALS);
    if (value == NULL)
        return error_set(err, ERROR_CONFIG, "deal.unknown", "there is no deal '%.100s'", key);
    status = deal_read(value, length, ret_deal, err);
    free(value);
    return status;
}

/* With another number of partitions the deal would be looked for where it is not. */
static int verify_topics(const struct kafka_settings *kafka, struct error *err)
{
    struct text report;
    int status;

    text_init(&report, TOPICS_REPORT_MAX);
    status = topics_verify(kafka, TOPICS_TIMEOUT_MS, &report, err);
    text_done(&report);
    return status;
}

int deal_lookup(const struct kafka_settings *kafka, const char *key, struct deal *ret_deal, struct error *err)
{
    struct deal deal;

    if (verify_topics(kafka, err) < 0 || look_up(kafka, key, &deal, err) < 0)
        return -1;
    for (size_t keys = 1; deal.alias != NULL && keys < KEYS_MAX; keys++) {
        struct deal next;
        const int status = look_up(kafka, deal.alias, &next, err);

        deal_done(&deal);
        if (status < 0)
            return -1;
        deal = next;
    }
    *ret_deal = deal;
    return 0;
}
