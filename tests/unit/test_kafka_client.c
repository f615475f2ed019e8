#include "common/kafka/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/text.h"

static struct kafka_settings settings_with(char **keys, char **values, size_t count)
{
    static char servers[] = "127.0.0.1:1";
    static char prefix[] = "t.";

    return (struct kafka_settings){
        .bootstrap_servers = servers,
        .topic_prefix = prefix,
        .partitions = 12,
        .replication_factor = 3,
        .session_timeout_ms = 10000,
        .transaction_timeout_ms = 5000,
        .properties = {.keys = keys, .values = values, .count = count},
    };
}

static void assert_property(const rd_kafka_t *client, const char *name, const char *expected)
{
    char value[256];
    size_t size = sizeof(value);

    assert_int_equal(rd_kafka_conf_get(rd_kafka_conf((rd_kafka_t *)(uintptr_t)client), name, value, &size),
                     RD_KAFKA_CONF_OK);
    assert_string_equal(value, expected);
}

static rd_kafka_t *make(enum kafka_role role, const char *identity, char **keys, char **values, size_t count)
{
    struct kafka_settings settings = settings_with(keys, values, count);
    struct error err = ERROR_INIT;
    rd_kafka_t *client = NULL;

    if (kafka_client_new(&settings, role, identity, "one", NULL, NULL, &client, &err) < 0)
        fail_msg("%s: %s", err.code, err.message);
    return client;
}

/* A webhook is answered on the strength of these. */
static void test_producer_is_idempotent_and_ordered(void **state)
{
    rd_kafka_t *client = make(KAFKA_PRODUCER, NULL, NULL, NULL, 0);

    (void)state;
    assert_property(client, "enable.idempotence", "true");
    assert_property(client, "max.in.flight", "2");
    assert_property(client, "linger.ms", "0");
    assert_property(client, "allow.auto.create.topics", "false");
    assert_property(client, "socket.nagle.disable", "true");
    assert_property(client, "client.id", "one");
    rd_kafka_destroy(client);
}

/* Neither a message nor a request outlives its transaction, and the pause after a commit is short. */
static void test_transactional_producer_keeps_within_its_timeout(void **state)
{
    rd_kafka_t *client = make(KAFKA_TRANSACTIONAL, "t.mapper-one", NULL, NULL, 0);

    (void)state;
    assert_property(client, "transactional.id", "t.mapper-one");
    assert_property(client, "transaction.timeout.ms", "5000");
    assert_property(client, "socket.timeout.ms", "5000");
    assert_property(client, "retry.backoff.ms", "1");
    rd_kafka_destroy(client);
}

/* Nothing is committed, skipped or shown that should not be. */
static void test_consumer_commits_by_hand_and_reads_committed(void **state)
{
    rd_kafka_t *client = make(KAFKA_CONSUMER, "t.pusher", NULL, NULL, 0);

    (void)state;
    assert_property(client, "group.id", "t.pusher");
    assert_property(client, "group.instance.id", "one");
    assert_property(client, "enable.auto.commit", "false");
    assert_property(client, "enable.auto.offset.store", "false");
    assert_property(client, "isolation.level", "read_committed");
    assert_property(client, "partition.assignment.strategy", "range");
    assert_property(client, "check.crcs", "true");
    assert_property(client, "session.timeout.ms", "10000");
    rd_kafka_destroy(client);
}

/* Reaching the end of a partition is how a restore knows that it is complete. */
static void test_reader_tells_partition_ends(void **state)
{
    rd_kafka_t *client = make(KAFKA_READER, NULL, NULL, NULL, 0);

    (void)state;
    assert_property(client, "enable.partition.eof", "true");
    assert_property(client, "isolation.level", "read_committed");
    rd_kafka_destroy(client);
}

/* What no promise depends on is the operator's. */
static void test_other_properties_are_taken_over(void **state)
{
    char *keys[] = {(char[]){"linger.ms"}, (char[]){"compression.type"}};
    char *values[] = {(char[]){"7"}, (char[]){"lz4"}};
    rd_kafka_t *client = make(KAFKA_PRODUCER, NULL, keys, values, 2);

    (void)state;
    assert_property(client, "linger.ms", "7");
    rd_kafka_destroy(client);
}

/* A property of ours is refused with the reason, an unknown one and a bad value likewise; values are never shown. */
static void test_bad_properties_are_reported(void **state)
{
    static const struct {
        const char *name, *value, *expected;
    } CASES[] = {
        {"acks", "1", "'acks' cannot be set here: an answered webhook must be on all in-sync replicas"},
        {"isolation.level", "read_uncommitted", "records of aborted transactions must not be seen"},
        {"sasl.password", "secret1", "secrets are given by file: add .file to the name"},
        {"lingr.ms", "secret1", "librdkafka has no property 'lingr.ms'"},
        {"linger.ms", "secret1", "not a valid value for 'linger.ms'"},
    };

    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(CASES); k++) {
        char *name = text_copy(CASES[k].name);
        char *value = text_copy(CASES[k].value);
        struct kafka_settings settings = settings_with(&name, &value, 1);
        struct config_section section = {.name = "kafka", .target = &settings};
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        struct error err = ERROR_INIT;
        rd_kafka_t *client = NULL;
        const char *message;

        kafka_settings_validate(&section, NULL, &diagnostics);
        assert_int_equal(diagnostics.error_count, 1);
        message = diagnostics_message(&diagnostics, 0, NULL);
        if (strstr(message, CASES[k].expected) == NULL)
            fail_msg("'%s' is not in '%s'", CASES[k].expected, message);
        assert_null(strstr(message, "secret1"));
        assert_int_equal(kafka_client_new(&settings, KAFKA_PRODUCER, NULL, "one", NULL, NULL, &client, &err), -1);
        assert_int_equal(err.class, ERROR_CONFIG);
        assert_null(strstr(err.message, "secret1"));
        diagnostics_done(&diagnostics);
        free(name);
        free(value);
    }
}

/* A secret comes from a file that only its owner has access to, without its last newline; the check of the configuration
 * looks at it already. */
static void assert_refused_by_check(struct kafka_settings *settings, const char *expected)
{
    struct config_section section = {.name = "kafka", .target = settings};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;

    kafka_settings_validate(&section, NULL, &diagnostics);
    assert_int_equal(diagnostics.error_count, 1);
    if (strstr(diagnostics_message(&diagnostics, 0, NULL), expected) == NULL)
        fail_msg("'%s' is not in '%s'", expected, diagnostics_message(&diagnostics, 0, NULL));
    diagnostics_done(&diagnostics);
}

static void test_secret_is_read_from_its_file(void **state)
{
    char path[] = "/tmp/tandem-test-kafka-client-XXXXXX";
    int fd = mkstemp(path);
    char *keys[] = {(char[]){"sasl.password.file"}};
    char *values[] = {path};
    struct kafka_settings settings = settings_with(keys, values, 1);
    struct error err = ERROR_INIT;
    rd_kafka_t *client;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "word\n", 5), 5);
    client = make(KAFKA_PRODUCER, NULL, keys, values, 1);
    assert_property(client, "sasl.password", "word");
    rd_kafka_destroy(client);
    assert_int_equal(fchmod(fd, 0640), 0);
    assert_int_equal(kafka_client_new(&settings, KAFKA_PRODUCER, NULL, "one", NULL, NULL, &client, &err), -1);
    assert_int_equal(err.class, ERROR_CONFIG);
    assert_refused_by_check(&settings, "is open to its group or to others");
    close(fd);
    unlink(path);
    assert_refused_by_check(&settings, "No such file");
}

/* The class decides what is done about an error. */
static void test_errors_have_their_class(void **state)
{
    static const struct {
        rd_kafka_resp_err_t code;
        enum error_class class;
        const char *name;
    } CASES[] = {
        {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, ERROR_TRANSIENT, "kafka.timeout"},
        {RD_KAFKA_RESP_ERR__QUEUE_FULL, ERROR_TRANSIENT, "kafka.queue_full"},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERROR_POISON, "kafka.message_too_large"},
        {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, ERROR_ABORT, "kafka.rebalanced"},
        {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, ERROR_ABORT, "kafka.producer_forgotten"},
        {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, ERROR_FATAL, "kafka.fenced"},
        {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, ERROR_FATAL, "kafka.fenced"},
        {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, ERROR_FATAL, "kafka.authorization"},
        {RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, ERROR_FATAL, "kafka.offset_out_of_range"},
        {RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, ERROR_FATAL, "kafka.unexpected"},
    };

    (void)state;
    for (size_t k = 0; k < ARRAY_LENGTH(CASES); k++) {
        struct error err = ERROR_INIT;

        assert_int_equal(kafka_error(&err, CASES[k].code, "test"), -1);
        assert_int_equal(err.class, CASES[k].class);
        assert_string_equal(err.code, CASES[k].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer_is_idempotent_and_ordered),
        cmocka_unit_test(test_transactional_producer_keeps_within_its_timeout),
        cmocka_unit_test(test_consumer_commits_by_hand_and_reads_committed),
        cmocka_unit_test(test_reader_tells_partition_ends),
        cmocka_unit_test(test_other_properties_are_taken_over),
        cmocka_unit_test(test_bad_properties_are_reported),
        cmocka_unit_test(test_secret_is_read_from_its_file),
        cmocka_unit_test(test_errors_have_their_class),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
