#include "common/kafka/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/runtime/config_path.h"
#include "common/runtime/log.h"
#include "common/runtime/secret.h"

enum {
    ERRSTR_SIZE = 256,
    NUMBER_SIZE = 24,
    SOCKET_MS = 10000, /* socket.timeout.ms below */
    SECOND_MS = 1000,
    MINUTE_MS = 60 * 1000
};

const struct config_key KAFKA_KEYS[] = {
    {.name = "bootstrap_servers",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct kafka_settings, bootstrap_servers),
     .is_required = true,
     .help = "Comma-separated host:port of some of the brokers; the others are learnt from these."},
    {.name = "topic_prefix",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct kafka_settings, topic_prefix),
     .default_text = "tandem.",
     .help = "Begins the name of every topic, group and transaction; one per deployment."},
    {.name = "partitions",
     .type = CONFIG_INTEGER,
     .offset = offsetof(struct kafka_settings, partitions),
     .default_text = "12",
     .min = 1,
     .max = 1000,
     .help = "Partitions of every topic that is keyed by deal; bounds how many processes share the work, and cannot be "
             "changed once the topics exist."},
    {.name = "replication_factor",
     .type = CONFIG_INTEGER,
     .offset = offsetof(struct kafka_settings, replication_factor),
     .default_text = "3",
     .min = 1,
     .max = 15,
     .help = "Copies of every topic that is created; 3 survives the loss of a broker without losing an event."},
    {.name = "session_timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct kafka_settings, session_timeout_ms),
     .default_text = "10s",
     .min = 1 * SECOND_MS,
     .max = 5 * MINUTE_MS,
     .help = "A process that was not heard of for so long loses its partitions to the others."},
    {.name = "transaction_timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct kafka_settings, transaction_timeout_ms),
     .default_text = "10s",
     .min = 1 * SECOND_MS,
     .max = 15 * MINUTE_MS,
     .help =
         "The brokers end the transaction of a crashed mapper after so long; until then its readers wait. At most the "
         "brokers' transaction.max.timeout.ms."},
    {.name = "properties",
     .type = CONFIG_MAP,
     .offset = offsetof(struct kafka_settings, properties),
     .help = "Any property of librdkafka, such as security.protocol; passwords by file, as sasl.password.file. "
             "Paths begin with a slash."},
};
const size_t KAFKA_KEY_COUNT = ARRAY_LENGTH(KAFKA_KEYS);

/* --- Which properties are ours ------------------------------------------------------------------------------------ */

struct protected_property {
    const char *name;
    const char *reason;
};

static const struct protected_property PROTECTED[] = {
    {"acks", "an answered webhook must be on all in-sync replicas"},
    {"allow.auto.create.topics", "a misspelt topic must be an error"},
    {"auto.commit.enable", "only finished work is committed"},
    {"auto.commit.interval.ms", "only finished work is committed"},
    {"auto.offset.reset", "a missing offset must stop the process instead of skipping data"},
    {"bootstrap.servers", "it is the setting bootstrap_servers"},
    {"check.crcs", "damaged batches must be noticed"},
    {"client.id", "it is the setting instance"},
    {"debug", "debug lines may hold credentials and payloads"},
    {"enable.auto.commit", "only finished work is committed"},
    {"enable.auto.offset.store", "only finished work is committed"},
    {"enable.idempotence", "retries must neither duplicate nor reorder"},
    {"enable.partition.eof", "restoring state depends on it"},
    {"group.id", "it is fixed by the topic prefix and the program"},
    {"group.instance.id", "it is the setting instance"},
    {"group.protocol", "static membership and the range assignor need the classic protocol"},
    {"isolation.level", "records of aborted transactions must not be seen"},
    {"log.queue", "the log is ours"},
    {"max.in.flight", "it is fixed by measurement, and order depends on it"},
    {"max.in.flight.requests.per.connection", "it is fixed by measurement, and order depends on it"},
    {"message.send.max.retries", "the idempotent producer decides on it"},
    {"metadata.broker.list", "it is the setting bootstrap_servers"},
    {"partition.assignment.strategy", "topics of one deal must be assigned together"},
    {"partitioner", "a deal must stay on its partition"},
    {"request.required.acks", "an answered webhook must be on all in-sync replicas"},
    {"retries", "the idempotent producer decides on it"},
    {"session.timeout.ms", "it is the setting session_timeout"},
    {"test.mock.num.brokers", "it would replace the brokers"},
    {"transaction.timeout.ms", "it is the setting transaction_timeout"},
    {"transactional.id", "it is fixed by the topic prefix, the program and the instance"},
};

/* Given as `<name>.file`, the path of a file that holds the value. */
static const char *const SECRETS[] = {
    "sasl.oauthbearer.client.secret", "sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password",
};

static const char *reason_of_refusal(const char *property)
{
    for (size_t k = 0; k < ARRAY_LENGTH(PROTECTED); k++) {
        if (strcmp(PROTECTED[k].name, property) == 0)
            return PROTECTED[k].reason;
    }
    for (size_t k = 0; k < ARRAY_LENGTH(SECRETS); k++) {
        if (strcmp(SECRETS[k], property) == 0)
            return "secrets are given by file: add .file to the name";
    }
    return NULL;
}

/* The secret that `property` names with ".file" behind it, else NULL. */
static const char *secret_of(const char *property)
{
    for (size_t k = 0; k < ARRAY_LENGTH(SECRETS); k++) {
        size_t length = strlen(SECRETS[k]);

        if (strncmp(SECRETS[k], property, length) == 0 && strcmp(property + length, ".file") == 0)
            return SECRETS[k];
    }
    return NULL;
}

/* Whose value is the path of a file. librdkafka would take a relative one from wherever the process was started. */
static bool names_file(const char *property)
{
    return (text_starts_with(property, "ssl.") && text_ends_with(property, ".location")) ||
           strcmp(property, "sasl.kerberos.keytab") == 0 || secret_of(property) != NULL;
}

static int check_file(const char *property, const char *path, struct position position, struct diagnostics *diagnostics)
{
    char fault[CONFIG_PATH_FAULT_SIZE];

    /* The certificates of authorities may be a directory, or whatever librdkafka finds. */
    if (!names_file(property) || (strcmp(property, "ssl.ca.location") == 0 && strcmp(path, "probe") == 0))
        return 0;
    if (path[0] != '/')
        return diagnostics_error(diagnostics, position, "'%s' takes a whole path, which begins with a slash", property);
    /* What is wrong with a secret's file is told with the secret. */
    if (secret_of(property) == NULL && config_path_check_readable(path, fault) < 0)
        return diagnostics_error(diagnostics, position, "'%s': %s %s", property, path, fault);
    return 0;
}

/* The place of a property in the file; the section's own when the node does not show it. */
static struct position position_of(const struct yaml_node *section, const char *property, bool of_value)
{
    const struct yaml_node *map = section != NULL ? yaml_get(section, "properties") : NULL;

    for (size_t k = 0; map != NULL && map->kind == YAML_MAPPING && k < map->count; k++) {
        if (text_equal(map->keys[k]->text, property))
            return of_value ? map->items[k]->position : map->keys[k]->position;
    }
    return section != NULL ? section->position : (struct position){0};
}

void kafka_settings_validate(const struct config_section *section, const struct yaml_node *node,
                             struct diagnostics *diagnostics)
{
    const struct kafka_settings *settings = section->target;
    rd_kafka_conf_t *scratch = rd_kafka_conf_new();

    for (size_t k = 0; k < settings->properties.count; k++) {
        const char *name = settings->properties.keys[k];
        const char *reason = reason_of_refusal(name);
        /* librdkafka's text repeats the value, which may be a secret under a wrong name; so it is not shown. */
        char unused[ERRSTR_SIZE];

        if (reason != NULL) {
            (void)diagnostics_error(diagnostics, position_of(node, name, false), "'%s' cannot be set here: %s", name,
                                    reason);
            continue;
        }
        if (check_file(name, settings->properties.values[k], position_of(node, name, true), diagnostics) < 0)
            continue;
        if (secret_of(name) != NULL) {
            struct secret secret;
            struct error err = ERROR_INIT;

            if (secret_from_file(settings->properties.values[k], &secret, &err) < 0)
                (void)diagnostics_error(diagnostics, position_of(node, name, true), "%s", err.message);
            else
                secret_done(&secret);
            continue;
        }
        switch (rd_kafka_conf_set(scratch, name, settings->properties.values[k], unused, sizeof(unused))) {
        case RD_KAFKA_CONF_OK:
            break;
        case RD_KAFKA_CONF_UNKNOWN:
            (void)diagnostics_error(diagnostics, position_of(node, name, false), "librdkafka has no property '%s'",
                                    name);
            break;
        case RD_KAFKA_CONF_INVALID:
            (void)diagnostics_error(diagnostics, position_of(node, name, true), "not a valid value for '%s'", name);
            break;
        }
    }
    rd_kafka_conf_destroy(scratch);
}

/* --- Making a client ---------------------------------------------------------------------------------------------- */

enum {
    ROLE_PRODUCES = 1 << KAFKA_PRODUCER | 1 << KAFKA_TRANSACTIONAL,
    ROLE_CONSUMES = 1 << KAFKA_CONSUMER | 1 << KAFKA_READER,
    ROLE_ALL = ROLE_PRODUCES | ROLE_CONSUMES | 1 << KAFKA_ADMIN
};

struct role_property {
    unsigned roles;
    const char *name;
    const char *value;
};

/* Starting values, which the configuration may change. */
static const struct role_property DEFAULTS[] = {
    {ROLE_ALL, "socket.nagle.disable", "true"},
    {ROLE_ALL, "socket.keepalive.enable", "true"},
    /* Finds dead peers; longer than any request of ours is answered in. */
    {ROLE_ALL, "socket.timeout.ms", "10000"},
    {ROLE_ALL, "reconnect.backoff.ms", "50"},
    {ROLE_ALL, "reconnect.backoff.max.ms", "1000"},
    /* The largest record is a document with all its related ones; the topics have the same bound (topics.c). */
    {ROLE_ALL, "message.max.bytes", "4194304"},
    {ROLE_PRODUCES, "queue.buffering.max.messages", "20000"},
    {ROLE_PRODUCES, "queue.buffering.max.kbytes", "65536"},
    /* Batches gather while a request is out. */
    {ROLE_PRODUCES, "linger.ms", "0"},
    {1 << KAFKA_PRODUCER, "message.timeout.ms", "30000"},
    {ROLE_CONSUMES, "queued.max.messages.kbytes", "16384"},
    {ROLE_CONSUMES, "fetch.max.bytes", "8388608"},
    {ROLE_CONSUMES, "fetch.queue.backoff.ms", "10"},
    /* A partition that is resumed waits for the request that is out, which the broker holds back for so long when there
     * is nothing new elsewhere. */
    {ROLE_CONSUMES, "fetch.wait.max.ms", "50"},
    {ROLE_CONSUMES, "fetch.error.backoff.ms", "100"},
};

/* What the promises depend on; set last. */
static const struct role_property FIXED[] = {
    {ROLE_ALL, "allow.auto.create.topics", "false"},
    {ROLE_PRODUCES, "enable.idempotence", "true"},
    {ROLE_PRODUCES, "acks", "all"},
    {ROLE_PRODUCES, "max.in.flight", "2"},
    {ROLE_PRODUCES, "partitioner", "murmur2_random"},
    /* After EndTxn the broker answers CONCURRENT_TRANSACTIONS for a moment, and the client waits this long. */
    {1 << KAFKA_TRANSACTIONAL, "retry.backoff.ms", "1"},
    {ROLE_CONSUMES, "enable.auto.commit", "false"},
    {ROLE_CONSUMES, "enable.auto.offset.store", "false"},
    {ROLE_CONSUMES, "isolation.level", "read_committed"},
    {ROLE_CONSUMES, "auto.offset.reset", "error"},
    {ROLE_CONSUMES, "check.crcs", "true"},
    {1 << KAFKA_CONSUMER, "partition.assignment.strategy", "range"},
    {1 << KAFKA_CONSUMER, "enable.partition.eof", "false"},
    {1 << KAFKA_READER, "enable.partition.eof", "true"},
};

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *err)
{
    char unused[ERRSTR_SIZE];

    if (rd_kafka_conf_set(conf, name, value, unused, sizeof(unused)) != RD_KAFKA_CONF_OK)
        return error_set(err, ERROR_CONFIG, "kafka.bad_property", "librdkafka refuses the value of '%s'", name);
    return 0;
}

static int set_number(rd_kafka_conf_t *conf, const char *name, int64_t value, struct error *err)
{
    char text[NUMBER_SIZE];

    (void)snprintf(text, sizeof(text), "%lld", (long long)value);
    return set(conf, name, text, err);
}

static int set_table(rd_kafka_conf_t *conf, const struct role_property *table, size_t count, enum kafka_role role,
                     struct error *err)
{
    for (size_t k = 0; k < count; k++) {
        if ((table[k].roles & (1U << role)) && set(conf, table[k].name, table[k].value, err) < 0)
            return -1;
    }
    return 0;
}

static int set_secret(rd_kafka_conf_t *conf, const char *name, const char *path, struct error *err)
{
    struct secret secret;
    int status;

    if (secret_from_file(path, &secret, err) < 0)
        return -1;
    status = set(conf, name, secret.bytes, err);
    secret_done(&secret);
    return status;
}

static int set_configured(rd_kafka_conf_t *conf, const struct config_map *properties, struct error *err)
{
    for (size_t k = 0; k < properties->count; k++) {
        const char *name = properties->keys[k];
        const char *secret = secret_of(name);
        const char *reason = reason_of_refusal(name);

        if (reason != NULL)
            return error_set(err, ERROR_CONFIG, "kafka.bad_property", "'%s' cannot be set: %s", name, reason);
        if ((secret != NULL ? set_secret(conf, secret, properties->values[k], err)
                            : set(conf, name, properties->values[k], err)) < 0)
            return -1;
    }
    return 0;
}

static int set_role(rd_kafka_conf_t *conf, const struct kafka_settings *settings, enum kafka_role role,
                    const char *identity, const char *instance, struct error *err)
{
    if (set(conf, "bootstrap.servers", settings->bootstrap_servers, err) < 0 ||
        set(conf, "client.id", instance != NULL ? instance : "tandem", err) < 0)
        return -1;
    if (role == KAFKA_TRANSACTIONAL) {
        int64_t timeout_ms = settings->transaction_timeout_ms;

        /* Neither a message nor a request may outlive its transaction: librdkafka refuses longer time-outs. */
        return set(conf, "transactional.id", identity, err) < 0 ||
                       set_number(conf, "transaction.timeout.ms", timeout_ms, err) < 0 ||
                       set_number(conf, "message.timeout.ms", timeout_ms, err) < 0 ||
                       set_number(conf, "socket.timeout.ms", timeout_ms < SOCKET_MS ? timeout_ms : SOCKET_MS, err) < 0
                   ? -1
                   : 0;
    }
    if (role == KAFKA_CONSUMER) {
        if (set(conf, "group.id", identity, err) < 0 ||
            (instance != NULL && set(conf, "group.instance.id", instance, err) < 0))
            return -1;
        return set_number(conf, "session.timeout.ms", settings->session_timeout_ms, err) < 0 ||
                       set_number(conf, "heartbeat.interval.ms", settings->session_timeout_ms / 4, err) < 0
                   ? -1
                   : 0;
    }
    return 0;
}

/* librdkafka's own lines; they name brokers, topics and groups, never payloads (debug is refused above). Any thread. */
static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    (void)client;
    /* syslog levels: 0 to 3 are errors, 4 is a warning. Lost connections are normal life and come back by themselves;
     * what matters reaches us as an error of a call. */
    if (level <= 4)
        log_warning("kafka.client", LOG_TEXT("facility", facility), LOG_TEXT("text", text));
    else
        log_debug("kafka.client", LOG_TEXT("facility", facility), LOG_TEXT("text", text));
}

int kafka_client_new(const struct kafka_settings *settings, enum kafka_role role, const char *identity,
                     const char *instance, void (*prepare)(rd_kafka_conf_t *conf, void *arg), void *arg,
                     rd_kafka_t **ret_client, struct error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_type_t type = (ROLE_CONSUMES & (1U << role)) ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER;
    rd_kafka_t *client;
    char reason[ERRSTR_SIZE];

    if (set_table(conf, DEFAULTS, ARRAY_LENGTH(DEFAULTS), role, err) < 0 ||
        set_configured(conf, &settings->properties, err) < 0 ||
        set_table(conf, FIXED, ARRAY_LENGTH(FIXED), role, err) < 0 ||
        set_role(conf, settings, role, identity, instance, err) < 0) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (prepare != NULL)
        prepare(conf, arg);
    client = rd_kafka_new(type, conf, reason, sizeof(reason));
    if (client == NULL) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, ERROR_CONFIG, "kafka.client", "librdkafka refuses the settings: %s", reason);
    }
    *ret_client = client;
    return 0;
}

char *kafka_topic_name(const struct kafka_settings *settings, const char *name)
{
    return text_format("%s%s", settings->topic_prefix, name);
}

/* --- Errors ------------------------------------------------------------------------------------------------------- */

struct error_row {
    rd_kafka_resp_err_t code;
    enum error_class class;
    const char *name;
};

/* What is not here is fatal, "kafka.unexpected". */
static const struct error_row ERRORS[] = {
    {RD_KAFKA_RESP_ERR__QUEUE_FULL, ERROR_TRANSIENT, "kafka.queue_full"},
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, ERROR_TRANSIENT, "kafka.timeout"},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, ERROR_TRANSIENT, "kafka.timeout"},
    {RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, ERROR_TRANSIENT, "kafka.timeout"},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, ERROR_TRANSIENT, "kafka.timeout"},
    {RD_KAFKA_RESP_ERR__TRANSPORT, ERROR_TRANSIENT, "kafka.unreachable"},
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ERROR_TRANSIENT, "kafka.unreachable"},
    {RD_KAFKA_RESP_ERR__RESOLVE, ERROR_TRANSIENT, "kafka.unreachable"},
    {RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, ERROR_TRANSIENT, "kafka.unreachable"},
    {RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, ERROR_TRANSIENT, "kafka.unreachable"},
    {RD_KAFKA_RESP_ERR__WAIT_COORD, ERROR_TRANSIENT, "kafka.no_coordinator"},
    {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, ERROR_TRANSIENT, "kafka.no_coordinator"},
    {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, ERROR_TRANSIENT, "kafka.no_coordinator"},
    {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, ERROR_TRANSIENT, "kafka.no_coordinator"},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, ERROR_TRANSIENT, "kafka.no_leader"},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, ERROR_TRANSIENT, "kafka.no_leader"},
    {RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, ERROR_TRANSIENT, "kafka.no_leader"},
    {RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, ERROR_TRANSIENT, "kafka.no_leader"},
    {RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE, ERROR_TRANSIENT, "kafka.no_leader"},
    {RD_KAFKA_RESP_ERR_NOT_CONTROLLER, ERROR_TRANSIENT, "kafka.no_controller"},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, ERROR_TRANSIENT, "kafka.not_enough_replicas"},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, ERROR_TRANSIENT, "kafka.not_enough_replicas"},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, ERROR_TRANSIENT, "kafka.storage"},
    {RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, ERROR_TRANSIENT, "kafka.transaction_open"},
    {RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, ERROR_TRANSIENT, "kafka.transaction_open"},
    {RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, ERROR_TRANSIENT, "kafka.throttled"},
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, ERROR_TRANSIENT, "kafka.given_up"},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, ERROR_TRANSIENT, "kafka.given_up"},
    {RD_KAFKA_RESP_ERR__DESTROY, ERROR_TRANSIENT, "kafka.given_up"},
    /* A client that has failed is replaced (producer.c): the next attempt is another's. */
    {RD_KAFKA_RESP_ERR__FATAL, ERROR_TRANSIENT, "kafka.client_replaced"},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, ERROR_TRANSIENT, "kafka.client_replaced"},
    {RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE, ERROR_TRANSIENT, "kafka.client_replaced"},

    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERROR_POISON, "kafka.message_too_large"},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, ERROR_POISON, "kafka.message_too_large"},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, ERROR_POISON, "kafka.message_refused"},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, ERROR_POISON, "kafka.message_refused"},

    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, ERROR_ABORT, "kafka.producer_forgotten"},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, ERROR_ABORT, "kafka.producer_forgotten"},
    {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, ERROR_ABORT, "kafka.rebalanced"},
    {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, ERROR_ABORT, "kafka.rebalanced"},
    {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, ERROR_ABORT, "kafka.rebalanced"},
    {RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST, ERROR_ABORT, "kafka.rebalanced"},
    {RD_KAFKA_RESP_ERR__STATE, ERROR_ABORT, "kafka.transaction_failed"},

    {RD_KAFKA_RESP_ERR__FENCED, ERROR_FATAL, "kafka.fenced"},
    {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, ERROR_FATAL, "kafka.fenced"},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, ERROR_FATAL, "kafka.fenced"},
    {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, ERROR_FATAL, "kafka.fenced"},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, ERROR_FATAL, "kafka.authentication"},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, ERROR_FATAL, "kafka.authentication"},
    {RD_KAFKA_RESP_ERR__SSL, ERROR_TRANSIENT, "kafka.tls"},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERROR_FATAL, "kafka.authorization"},
    {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, ERROR_FATAL, "kafka.authorization"},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, ERROR_FATAL, "kafka.authorization"},
    {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, ERROR_FATAL, "kafka.authorization"},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, ERROR_FATAL, "kafka.unknown_topic"},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, ERROR_FATAL, "kafka.unknown_topic"},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ERROR_FATAL, "kafka.unknown_topic"},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID, ERROR_FATAL, "kafka.unknown_topic"},
    {RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, ERROR_FATAL, "kafka.offset_out_of_range"},
    {RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, ERROR_FATAL, "kafka.offset_out_of_range"},
    {RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, ERROR_FATAL, "kafka.transaction_state"},
    {RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT, ERROR_CONFIG, "kafka.transaction_timeout"},
    {RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT, ERROR_CONFIG, "kafka.session_timeout"},
};

static const struct error_row *row_of(rd_kafka_resp_err_t code)
{
    static const struct error_row unexpected = {RD_KAFKA_RESP_ERR_UNKNOWN, ERROR_FATAL, "kafka.unexpected"};

    for (size_t k = 0; k < ARRAY_LENGTH(ERRORS); k++) {
        if (ERRORS[k].code == code)
            return &ERRORS[k];
    }
    return &unexpected;
}

const struct error KAFKA_NO_ANSWER = {
    .class = ERROR_TRANSIENT, .code = "kafka.timeout", .message = "the brokers do not answer"};

int kafka_error(struct error *err, rd_kafka_resp_err_t code, const char *what)
{
    const struct error_row *row = row_of(code);

    return error_set(err, row->class, row->name, "%s: %s", what, rd_kafka_err2str(code));
}

int kafka_error_take(struct error *err, rd_kafka_error_t *error, const char *what)
{
    const struct error_row *row = row_of(rd_kafka_error_code(error));
    enum error_class class = ERROR_FATAL;

    if (rd_kafka_error_is_fatal(error))
        class = ERROR_FATAL;
    else if (rd_kafka_error_txn_requires_abort(error))
        class = ERROR_ABORT;
    else if (rd_kafka_error_is_retriable(error))
        class = ERROR_TRANSIENT;
    (void)error_set(err, class, row->name, "%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return -1;
}
