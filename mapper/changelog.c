#include "mapper/changelog.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/reader.h"
#include "common/kafka/topics.h"
#include "common/runtime/log.h"

enum { BATCH_CHANGES = 1000, BATCH_BYTES = 4 * 1024 * 1024 };

/* --- The topic's identity ----------------------------------------------------------------------------------------- */

static int take_topic_id(rd_kafka_event_t *event, const char *topic, char **ret_id, struct error *err)
{
    const rd_kafka_DescribeTopics_result_t *result = rd_kafka_event_DescribeTopics_result(event);
    const rd_kafka_TopicDescription_t **descriptions;
    const rd_kafka_error_t *refused;
    size_t count = 0;

    if (result == NULL)
        return kafka_error(err, rd_kafka_event_error(event), topic);
    descriptions = rd_kafka_DescribeTopics_result_topics(result, &count);
    if (count != 1)
        return kafka_error(err, RD_KAFKA_RESP_ERR__BAD_MSG, topic);
    refused = rd_kafka_TopicDescription_error(descriptions[0]);
    if (refused != NULL && rd_kafka_error_code(refused) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_error(err, rd_kafka_error_code(refused), topic);
    *ret_id = text_copy(rd_kafka_Uuid_base64str(rd_kafka_TopicDescription_topic_id(descriptions[0])));
    return *ret_id != NULL ? 0 : error_no_memory(err);
}

static int ask_topic_id(rd_kafka_t *client, const char *topic, int64_t timeout_ms, char **ret_id, struct error *err)
{
    const char *names[] = {topic};
    rd_kafka_TopicCollection_t *topics = rd_kafka_TopicCollection_of_topic_names(names, 1);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
    rd_kafka_queue_t *answers = rd_kafka_queue_new(client);
    char unused[128];
    rd_kafka_event_t *event;
    int result;

    (void)rd_kafka_AdminOptions_set_request_timeout(options, (int)timeout_ms, unused, sizeof(unused));
    rd_kafka_DescribeTopics(client, topics, options, answers);
    event = rd_kafka_queue_poll(answers, (int)timeout_ms);
    if (event == NULL)
        result = kafka_error(err, RD_KAFKA_RESP_ERR__TIMED_OUT, topic);
    else if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        result = kafka_error(err, rd_kafka_event_error(event), topic);
    else
        result = take_topic_id(event, topic, ret_id, err);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(answers);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_TopicCollection_destroy(topics);
    return result;
}

int changelog_identity(const struct kafka_settings *settings, int64_t timeout_ms, char **ret_identity,
                       struct error *err)
{
    char *topic = kafka_topic_name(settings, TOPIC_DEALS);
    rd_kafka_t *client = NULL;
    char *cluster = NULL;
    char *id = NULL;
    char *identity;
    int result = -1;

    if (topic == NULL) {
        error_no_memory(err);
        goto out;
    }
    if (kafka_client_new(settings, KAFKA_ADMIN, NULL, "identity", NULL, NULL, &client, err) < 0)
        goto out;
    cluster = rd_kafka_clusterid(client, (int)timeout_ms);
    if (cluster == NULL) {
        kafka_error(err, RD_KAFKA_RESP_ERR__TIMED_OUT, "cluster id");
        goto out;
    }
    if (ask_topic_id(client, topic, timeout_ms, &id, err) < 0)
        goto out;
    identity = text_format("%s/%s/%s", cluster, topic, id);
    if (identity == NULL) {
        error_no_memory(err);
        goto out;
    }
    *ret_identity = identity;
    result = 0;
out:
    if (cluster != NULL)
        rd_kafka_mem_free(client, cluster);
    if (client != NULL)
        rd_kafka_destroy(client);
    free(topic);
    free(id);
    return result;
}

/* --- Restoring ---------------------------------------------------------------------------------------------------- */

struct copy {
    char *key;
    char *value;
};

struct changelog {
    struct loop *loop;
    const struct kafka_settings *settings;
    char *instance;
    struct store *store;
    struct changelog_callbacks callbacks;
    void *arg;
    struct reader *reader;
    struct loop_timer *finish; /* outside of the reader's own callback */
    int32_t *partitions;
    size_t partition_count;
    size_t left; /* partitions not at their end yet */
    bool is_repeated;
    struct error failure;
    int64_t began_ms;
    int64_t deals;

    /* Copies of messages that are not in the store yet, and the offset behind the last of each partition. */
    struct store_change changes[BATCH_CHANGES];
    struct copy copies[BATCH_CHANGES]; /* what they point to */
    size_t change_count;
    size_t change_bytes;
    struct store_position *positions; /* parallel to partitions; -1: nothing new */
};

static void drop_batch(struct changelog *changelog)
{
    for (size_t k = 0; k < changelog->change_count; k++) {
        free(changelog->copies[k].key);
        free(changelog->copies[k].value);
    }
    changelog->change_count = 0;
    changelog->change_bytes = 0;
    for (size_t k = 0; k < changelog->partition_count; k++)
        changelog->positions[k].offset = -1;
}

static int write_batch(struct changelog *changelog, struct error *err)
{
    struct store_position positions[64];
    size_t written = 0;
    size_t k = 0;

    if (store_write(changelog->store, changelog->changes, changelog->change_count, NULL, 0, err) < 0)
        return -1;
    /* Offsets after what they speak of. */
    while (k < changelog->partition_count) {
        for (written = 0; k < changelog->partition_count && written < ARRAY_LENGTH(positions); k++) {
            if (changelog->positions[k].offset >= 0)
                positions[written++] = changelog->positions[k];
        }
        if (written > 0 && store_write(changelog->store, NULL, 0, positions, written, err) < 0)
            return -1;
    }
    drop_batch(changelog);
    return 0;
}

static void end_soon(struct changelog *changelog, const struct error *failure)
{
    if (failure != NULL && changelog->failure.class == ERROR_NONE)
        changelog->failure = *failure;
    if (!loop_timer_is_set(changelog->finish))
        loop_timer_set(changelog->finish, 0);
}

static void set_position(struct changelog *changelog, int32_t partition, int64_t offset)
{
    for (size_t k = 0; k < changelog->partition_count; k++) {
        if (changelog->positions[k].partition == partition)
            changelog->positions[k].offset = offset;
    }
}

static void on_message(void *arg, const struct kafka_message *message)
{
    struct changelog *changelog = arg;
    struct copy *copy = &changelog->copies[changelog->change_count];
    struct error err = ERROR_INIT;

    if (changelog->failure.class != ERROR_NONE)
        return;
    set_position(changelog, message->partition, message->offset + 1);
    /* Nothing that was written by a mapper; it must not stop the others. */
    if (message->key == NULL || message->key_length == 0 || message->key_length > STORE_KEY_MAX)
        return;
    copy->key = text_copy_n(message->key, message->key_length);
    copy->value = message->value != NULL ? text_copy_n(message->value, message->value_length) : NULL;
    changelog->changes[changelog->change_count] = (struct store_change){.partition = message->partition,
                                                                        .key = copy->key,
                                                                        .key_length = message->key_length,
                                                                        .value = copy->value,
                                                                        .value_length = message->value_length};
    changelog->change_count++;
    changelog->change_bytes += message->value_length;
    changelog->deals++;
    if (copy->key == NULL || (message->value != NULL && copy->value == NULL)) {
        error_no_memory(&err);
        end_soon(changelog, &err);
    } else if ((changelog->change_count == BATCH_CHANGES || changelog->change_bytes >= BATCH_BYTES) &&
               write_batch(changelog, &err) < 0) {
        end_soon(changelog, &err);
    }
}

static void on_end(void *arg, int32_t partition, int64_t next_offset)
{
    struct changelog *changelog = arg;
    struct error err = ERROR_INIT;

    if (changelog->failure.class != ERROR_NONE)
        return;
    set_position(changelog, partition, next_offset);
    changelog->left--;
    if (changelog->left > 0)
        return;
    if (write_batch(changelog, &err) < 0)
        end_soon(changelog, &err);
    else
        end_soon(changelog, NULL);
}

static void on_failed(void *arg, const struct error *err)
{
    struct changelog *changelog = arg;

    end_soon(changelog, err);
}

static void release_reader(struct changelog *changelog)
{
    reader_free(changelog->reader);
    changelog->reader = NULL;
    drop_batch(changelog);
}

static int begin(struct changelog *changelog, struct error *err)
{
    static const struct reader_callbacks callbacks = {
        .on_message = on_message, .on_end = on_end, .on_failed = on_failed};
    int64_t offset;

    error_clear(&changelog->failure);
    changelog->left = changelog->partition_count;
    if (changelog->left == 0) {
        end_soon(changelog, NULL);
        return 0;
    }
    if (reader_new(changelog->loop, changelog->settings, TOPIC_DEALS, changelog->instance, &callbacks, changelog,
                   &changelog->reader, err) < 0)
        return -1;
    for (size_t k = 0; k < changelog->partition_count; k++) {
        if (store_position(changelog->store, changelog->partitions[k], &offset, err) < 0 ||
            reader_add(changelog->reader, changelog->partitions[k], offset, false, err) < 0)
            return -1;
    }
    return 0;
}

/* The log does not go back to where the store stands: whatever the store holds of these partitions is read anew. */
static int begin_from_the_beginning(struct changelog *changelog, struct error *err)
{
    log_warning("mapper.store_partitions_dropped", LOG_TEXT("reason", "offset_out_of_range"),
                LOG_INTEGER("partitions", changelog->partition_count));
    changelog->is_repeated = true;
    for (size_t k = 0; k < changelog->partition_count; k++) {
        if (store_drop_partition(changelog->store, changelog->partitions[k], err) < 0)
            return -1;
    }
    return begin(changelog, err);
}

static void on_finish(void *arg)
{
    struct changelog *changelog = arg;
    struct error failure = changelog->failure;
    struct error err = ERROR_INIT;

    release_reader(changelog);
    if (failure.class == ERROR_NONE) {
        changelog->callbacks.on_restored(changelog->arg, changelog->deals, clock_monotonic_ms() - changelog->began_ms);
    } else if (strcmp(failure.code, "kafka.offset_out_of_range") != 0 || changelog->is_repeated) {
        changelog->callbacks.on_failed(changelog->arg, &failure);
    } else if (begin_from_the_beginning(changelog, &err) < 0) {
        release_reader(changelog);
        changelog->callbacks.on_failed(changelog->arg, &err);
    }
}

int changelog_new(struct loop *loop, const struct kafka_settings *settings, const char *instance, struct store *store,
                  const struct changelog_callbacks *callbacks, void *arg, struct changelog **ret_changelog,
                  struct error *err)
{
    struct changelog *changelog = calloc(1, sizeof(*changelog));

    if (changelog == NULL)
        return error_no_memory(err);
    changelog->loop = loop;
    changelog->settings = settings;
    changelog->store = store;
    changelog->callbacks = *callbacks;
    changelog->arg = arg;
    changelog->instance = text_copy(instance);
    changelog->finish = loop_timer_new(loop, on_finish, changelog);
    if (changelog->instance == NULL || changelog->finish == NULL) {
        changelog_free(changelog);
        return error_no_memory(err);
    }
    *ret_changelog = changelog;
    return 0;
}

int changelog_restore(struct changelog *changelog, const int32_t *partitions, size_t count, struct error *err)
{
    changelog_stop(changelog);
    changelog->partitions = calloc(count + 1, sizeof(*changelog->partitions));
    changelog->positions = calloc(count + 1, sizeof(*changelog->positions));
    if (changelog->partitions == NULL || changelog->positions == NULL)
        return error_no_memory(err);
    for (size_t k = 0; k < count; k++) {
        changelog->partitions[k] = partitions[k];
        changelog->positions[k] = (struct store_position){.partition = partitions[k], .offset = -1};
    }
    changelog->partition_count = count;
    changelog->is_repeated = false;
    changelog->began_ms = clock_monotonic_ms();
    changelog->deals = 0;
    return begin(changelog, err);
}

void changelog_stop(struct changelog *changelog)
{
    loop_timer_stop(changelog->finish);
    release_reader(changelog);
    free(changelog->partitions);
    free(changelog->positions);
    changelog->partitions = NULL;
    changelog->positions = NULL;
    changelog->partition_count = 0;
}

void changelog_free(struct changelog *changelog)
{
    if (changelog == NULL)
        return;
    if (changelog->finish != NULL)
        changelog_stop(changelog);
    loop_timer_free(changelog->finish);
    free(changelog->instance);
    free(changelog);
}
