#include "common/kafka/topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/runtime/loop.h"

enum { CONFIGS_MAX = 8, NUMBER_SIZE = 24, ERRSTR_SIZE = 256, POLL_MS = 50 };

#define DAYS_30_MS "2592000000"
#define DAYS_90_MS "7776000000"
#define DAYS_7_MS  "604800000"
#define DAY_MS     "86400000"
#define HOUR_MS    "3600000"

struct topic_config {
    const char *name;
    const char *value;
    bool is_vital; /* another value loses data */
};

struct topic_row {
    const char *name;
    bool is_keyed_by_deal;                    /* partitions as configured; else one */
    struct topic_config configs[CONFIGS_MAX]; /* up to the first without a name */
};

/* A changelog is compacted only: "compact,delete" would forget deals. Its deletions stay readable for a week, so that a
 * store that is restored within that time does not miss one; nothing stays longer than a day behind a newer value,
 * which bounds how long deleted personal data live on. */
#define COMPACTED                                                                                                     \
    {"cleanup.policy", "compact", true}, {"min.cleanable.dirty.ratio", "0.1", false}, {"segment.ms", HOUR_MS, false}, \
        {"max.compaction.lag.ms", DAY_MS, false},                                                                     \
    {                                                                                                                 \
        "delete.retention.ms", DAYS_7_MS, false                                                                       \
    }

static const struct topic_row TOPICS[] = {
    {TOPIC_NOTIFICATIONS, true, {{"cleanup.policy", "delete", true}, {"retention.ms", DAYS_30_MS, false}}},
    {TOPIC_RECORDS, true, {{"cleanup.policy", "delete", true}, {"retention.ms", DAYS_30_MS, false}}},
    {TOPIC_DECISIONS, true, {{"cleanup.policy", "delete", true}, {"retention.ms", DAYS_30_MS, false}}},
    {TOPIC_OUTCOMES, true, {{"cleanup.policy", "delete", true}, {"retention.ms", DAYS_30_MS, false}}},
    {TOPIC_DEALS, true, {COMPACTED}},
    {TOPIC_CURSORS, false, {COMPACTED}},
    {TOPIC_CREDENTIALS, false, {COMPACTED}},
    {TOPIC_DEAD_LETTERS, false, {{"cleanup.policy", "delete", true}, {"retention.ms", DAYS_90_MS, false}}},
};

enum { TOPIC_COUNT = ARRAY_LENGTH(TOPICS) };

/* For all topics: as large as the clients may write (client.c), and an elected leader has every acknowledged record. */
static const struct topic_config COMMON[] = {
    {"max.message.bytes", "4194304", false},
    {"unclean.leader.election.enable", "false", false},
};

/* One run. */
struct check {
    const struct kafka_settings *settings;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    int64_t end_ms;
    struct text *report;
    char *names[TOPIC_COUNT];
    bool exists[TOPIC_COUNT];
    bool was_created[TOPIC_COUNT];
    bool differs[TOPIC_COUNT]; /* something was reported */
    char min_insync[NUMBER_SIZE];
    unsigned vital; /* differences that must not be */
    int broker_count;
    bool is_report_full;
};

static int wanted_partitions(const struct check *check, size_t k)
{
    return TOPICS[k].is_keyed_by_deal ? (int)check->settings->partitions : 1;
}

static int remaining_ms(const struct check *check)
{
    int64_t left_ms = check->end_ms - clock_monotonic_ms();

    return left_ms > 0 ? (int)left_ms : 0;
}

static void tell(struct check *check, size_t k, const char *what)
{
    if (text_appendf(check->report, "%s: %s\n", check->names[k], what) < 0)
        check->is_report_full = true;
}

static void tell_difference(struct check *check, size_t k, const struct topic_config *wanted, const char *value)
{
    check->differs[k] = true;
    if (wanted->is_vital)
        check->vital++;
    if (text_appendf(check->report, "%s: %s: %s is %s, expected %s\n", check->names[k],
                     wanted->is_vital ? "error" : "warning", wanted->name, value, wanted->value) < 0)
        check->is_report_full = true;
}

/* --- What is there ------------------------------------------------------------------------------------------------ */

static void compare_layout(struct check *check, size_t k, const struct rd_kafka_metadata_topic *topic)
{
    char wanted[NUMBER_SIZE];
    char found[NUMBER_SIZE];

    if (topic->partition_cnt != wanted_partitions(check, k)) {
        (void)snprintf(wanted, sizeof(wanted), "%d", wanted_partitions(check, k));
        (void)snprintf(found, sizeof(found), "%d", topic->partition_cnt);
        tell_difference(check, k, &(struct topic_config){"partitions", wanted, true}, found);
    }
    if (topic->partition_cnt > 0 && topic->partitions[0].replica_cnt != (int)check->settings->replication_factor) {
        (void)snprintf(wanted, sizeof(wanted), "%lld", (long long)check->settings->replication_factor);
        (void)snprintf(found, sizeof(found), "%d", topic->partitions[0].replica_cnt);
        tell_difference(check, k, &(struct topic_config){"replication factor", wanted, false}, found);
    }
}

/* Sets `exists`; with `compares` also reports partitions and replicas. */
static int look(struct check *check, bool compares, struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(check->client, 1, NULL, &metadata, remaining_ms(check));

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_error(err, code, "list of topics");
    check->broker_count = metadata->broker_cnt;
    for (size_t k = 0; k < TOPIC_COUNT; k++) {
        check->exists[k] = false;
        for (int j = 0; j < metadata->topic_cnt; j++) {
            const struct rd_kafka_metadata_topic *topic = &metadata->topics[j];

            if (strcmp(topic->topic, check->names[k]) != 0 || topic->err != RD_KAFKA_RESP_ERR_NO_ERROR)
                continue;
            check->exists[k] = true;
            if (compares)
                compare_layout(check, k, topic);
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return 0;
}

/* The answer to an admin request, NULL with the error when it does not come. */
static rd_kafka_event_t *await(struct check *check, const char *what, struct error *err)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(check->queue, remaining_ms(check));
    rd_kafka_resp_err_t code = event != NULL ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return event;
    (void)kafka_error(err, code, what);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    return NULL;
}

static rd_kafka_AdminOptions_t *options_for(const struct check *check, rd_kafka_admin_op_t operation)
{
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(check->client, operation);
    char unused[ERRSTR_SIZE];

    (void)rd_kafka_AdminOptions_set_request_timeout(options, remaining_ms(check), unused, sizeof(unused));
    return options;
}

static void compare_config(struct check *check, size_t k, const struct topic_config *wanted,
                           const rd_kafka_ConfigEntry_t **entries, size_t count)
{
    for (size_t j = 0; j < count; j++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[j]);

        if (strcmp(rd_kafka_ConfigEntry_name(entries[j]), wanted->name) != 0)
            continue;
        if (value == NULL || strcmp(value, wanted->value) != 0)
            tell_difference(check, k, wanted, value != NULL ? value : "not set");
        return;
    }
    tell_difference(check, k, wanted, "not set");
}

static void compare_configs(struct check *check, size_t k, const rd_kafka_ConfigResource_t *resource)
{
    size_t count;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);

    for (size_t j = 0; j < CONFIGS_MAX && TOPICS[k].configs[j].name != NULL; j++)
        compare_config(check, k, &TOPICS[k].configs[j], entries, count);
    for (size_t j = 0; j < ARRAY_LENGTH(COMMON); j++)
        compare_config(check, k, &COMMON[j], entries, count);
    compare_config(check, k, &(struct topic_config){"min.insync.replicas", check->min_insync, false}, entries, count);
}

static int compare_all_configs(struct check *check, struct error *err)
{
    rd_kafka_ConfigResource_t *wanted[TOPIC_COUNT];
    const rd_kafka_ConfigResource_t **resources;
    rd_kafka_AdminOptions_t *options = options_for(check, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_event_t *event;
    size_t count = 0;
    int result = 0;

    for (size_t k = 0; k < TOPIC_COUNT; k++) {
        if (check->exists[k])
            wanted[count++] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, check->names[k]);
    }
    if (count > 0)
        rd_kafka_DescribeConfigs(check->client, wanted, count, options, check->queue);
    rd_kafka_ConfigResource_destroy_array(wanted, count);
    rd_kafka_AdminOptions_destroy(options);
    if (count == 0)
        return 0;
    event = await(check, "configuration of the topics", err);
    if (event == NULL)
        return -1;
    resources = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
    for (size_t j = 0; j < count && result == 0; j++) {
        const char *name = rd_kafka_ConfigResource_name(resources[j]);

        if (rd_kafka_ConfigResource_error(resources[j]) != RD_KAFKA_RESP_ERR_NO_ERROR)
            result = kafka_error(err, rd_kafka_ConfigResource_error(resources[j]), name);
        for (size_t k = 0; k < TOPIC_COUNT && result == 0; k++) {
            if (strcmp(check->names[k], name) == 0)
                compare_configs(check, k, resources[j]);
        }
    }
    rd_kafka_event_destroy(event);
    return result;
}

/* --- Creating ----------------------------------------------------------------------------------------------------- */

static rd_kafka_NewTopic_t *describe_new(const struct check *check, size_t k)
{
    char unused[ERRSTR_SIZE];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
        check->names[k], wanted_partitions(check, k), (int)check->settings->replication_factor, unused, sizeof(unused));

    if (topic == NULL)
        return NULL;
    for (size_t j = 0; j < CONFIGS_MAX && TOPICS[k].configs[j].name != NULL; j++)
        (void)rd_kafka_NewTopic_set_config(topic, TOPICS[k].configs[j].name, TOPICS[k].configs[j].value);
    for (size_t j = 0; j < ARRAY_LENGTH(COMMON); j++)
        (void)rd_kafka_NewTopic_set_config(topic, COMMON[j].name, COMMON[j].value);
    (void)rd_kafka_NewTopic_set_config(topic, "min.insync.replicas", check->min_insync);
    return topic;
}

/* The broker's own words do not say what to do about it. */
static int refuse_replication(const struct check *check, const char *name, struct error *err)
{
    return error_set(
        err, ERROR_CONFIG, "kafka.replication_factor",
        "%s: kafka.replication_factor is %lld, but the cluster has %d broker%s; set it to %d at most (with 1 "
        "the loss of a broker loses events), or start more brokers",
        name, (long long)check->settings->replication_factor, check->broker_count, check->broker_count == 1 ? "" : "s",
        check->broker_count);
}

static int take_created(struct check *check, rd_kafka_event_t *event, struct error *err)
{
    size_t count;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);

    for (size_t j = 0; j < count; j++) {
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[j]);
        const char *name = rd_kafka_topic_result_name(results[j]);

        /* Somebody else may have created it a moment ago. */
        if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            continue;
        if (code == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR)
            return refuse_replication(check, name, err);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return kafka_error(err, code, name);
        for (size_t k = 0; k < TOPIC_COUNT; k++) {
            if (strcmp(check->names[k], name) == 0)
                check->was_created[k] = true;
        }
    }
    return 0;
}

static bool all_exist(const struct check *check)
{
    for (size_t k = 0; k < TOPIC_COUNT; k++) {
        if (!check->exists[k])
            return false;
    }
    return true;
}

static int create_missing(struct check *check, struct error *err)
{
    rd_kafka_NewTopic_t *topics[TOPIC_COUNT];
    rd_kafka_AdminOptions_t *options;
    rd_kafka_event_t *event;
    size_t count = 0;
    int result;

    for (size_t k = 0; k < TOPIC_COUNT; k++) {
        if (check->exists[k])
            continue;
        topics[count] = describe_new(check, k);
        if (topics[count] == NULL) {
            rd_kafka_NewTopic_destroy_array(topics, count);
            return error_set(err, ERROR_CONFIG, "kafka.topic_settings", "%s cannot be described", check->names[k]);
        }
        count++;
    }
    if (count == 0)
        return 0;
    options = options_for(check, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_CreateTopics(check->client, topics, count, options, check->queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy_array(topics, count);
    event = await(check, "creating topics", err);
    if (event == NULL)
        return -1;
    result = take_created(check, event, err);
    rd_kafka_event_destroy(event);
    /* It takes a moment until every broker knows of them. */
    while (result == 0 && !all_exist(check)) {
        rd_kafka_poll(check->client, POLL_MS);
        result = remaining_ms(check) == 0
                     ? error_set(err, ERROR_TRANSIENT, "kafka.timeout", "the created topics do not appear")
                     : look(check, false, err);
    }
    return result;
}

/* --- The interface ------------------------------------------------------------------------------------------------ */

static int sum_up(struct check *check, struct error *err)
{
    size_t missing = 0;

    for (size_t k = 0; k < TOPIC_COUNT; k++) {
        if (!check->exists[k]) {
            missing++;
            tell(check, k, "error: missing");
        } else if (check->was_created[k]) {
            tell(check, k, "created");
        } else if (!check->differs[k]) {
            tell(check, k, "ok");
        }
    }
    if (check->is_report_full)
        return error_no_memory(err);
    if (missing > 0)
        return error_set(err, ERROR_FATAL, "kafka.topics_missing",
                         "%zu of %d topics are missing; tandem-ingest topics --create makes them", missing,
                         (int)TOPIC_COUNT);
    if (check->vital > 0)
        return error_set(err, ERROR_FATAL, "kafka.topics_differ",
                         "the topics are not as they must be in %u respects; tandem-ingest topics shows them",
                         check->vital);
    return 0;
}

static int run(const struct kafka_settings *settings, int64_t timeout_ms, bool creates, struct text *report,
               struct error *err)
{
    struct check check = {.settings = settings, .report = report, .end_ms = clock_monotonic_ms() + timeout_ms};
    int64_t min_insync = settings->replication_factor < 2 ? settings->replication_factor : 2;
    int result = -1;

    (void)snprintf(check.min_insync, sizeof(check.min_insync), "%lld", (long long)min_insync);
    for (size_t k = 0; k < TOPIC_COUNT; k++) {
        check.names[k] = kafka_topic_name(settings, TOPICS[k].name);
        if (check.names[k] == NULL) {
            (void)error_no_memory(err);
            goto out;
        }
    }
    if (kafka_client_new(settings, KAFKA_ADMIN, NULL, NULL, NULL, NULL, &check.client, err) < 0)
        goto out;
    check.queue = rd_kafka_queue_new(check.client);
    if (look(&check, false, err) < 0 || (creates && create_missing(&check, err) < 0) || look(&check, true, err) < 0 ||
        compare_all_configs(&check, err) < 0)
        goto out;
    result = sum_up(&check, err);
out:
    if (check.queue != NULL)
        rd_kafka_queue_destroy(check.queue);
    if (check.client != NULL)
        rd_kafka_destroy(check.client);
    for (size_t k = 0; k < TOPIC_COUNT; k++)
        free(check.names[k]);
    return result;
}

int topics_create(const struct kafka_settings *settings, int64_t timeout_ms, struct text *report, struct error *err)
{
    return run(settings, timeout_ms, true, report, err);
}

int topics_verify(const struct kafka_settings *settings, int64_t timeout_ms, struct text *report, struct error *err)
{
    return run(settings, timeout_ms, false, report, err);
}
