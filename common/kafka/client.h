/* Kafka settings and the making of client handles, so that the rules of safe use cannot be forgotten.
 *
 * Every handle of the project is made here from the settings plus the fixed properties of its role. A property that a
 * promise depends on cannot be overridden from the configuration (an error at start tells which); any other librdkafka
 * property can. Also maps librdkafka's errors to classes, in one table. Main thread at start. */
#ifndef TANDEM_KAFKA_CLIENT_H
#define TANDEM_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/runtime/config.h"

struct kafka_settings {
    char *bootstrap_servers;
    char *topic_prefix; /* "tandem." ; one per deployment */
    int64_t partitions; /* of records, decisions, outcomes, deals: 12 */
    int64_t replication_factor;
    int64_t session_timeout_ms;     /* 10 s */
    int64_t transaction_timeout_ms; /* 10 s */
    struct config_map properties;   /* any librdkafka property */
};
extern const struct config_key KAFKA_KEYS[];
extern const size_t KAFKA_KEY_COUNT;
/* config_section.validate: refuses properties that are ours to set. */
void kafka_settings_validate(const struct config_section *section, const struct yaml_node *node,
                             struct diagnostics *diagnostics);

enum kafka_role {
    KAFKA_PRODUCER,      /* idempotent, acks=all */
    KAFKA_TRANSACTIONAL, /* producer of one transactional.id */
    KAFKA_CONSUMER,      /* group member, read_committed, offsets by hand */
    KAFKA_READER,        /* assigned by hand, read_committed, partition end events */
    KAFKA_ADMIN
};

/* `identity`: transactional.id of KAFKA_TRANSACTIONAL, group.id of KAFKA_CONSUMER, else NULL.
 * `instance`: group.instance.id of a consumer and part of client.id. `prepare` may add callbacks to the conf. */
int kafka_client_new(const struct kafka_settings *settings, enum kafka_role role, const char *identity,
                     const char *instance, void (*prepare)(rd_kafka_conf_t *conf, void *arg), void *arg,
                     rd_kafka_t **ret_client, struct error *err) TANDEM_MUST_CHECK;

/* prefix + name; free(). */
char *kafka_topic_name(const struct kafka_settings *settings, const char *name);

/* For a command whose time is over. */
extern const struct error KAFKA_NO_ANSWER;

/* One table for all of librdkafka's codes. Returns -1. */
int kafka_error(struct error *err, rd_kafka_resp_err_t code, const char *what);
/* Decides in the order fatal, abort, retriable, else fatal; destroys `error`. Returns -1. */
int kafka_error_take(struct error *err, rd_kafka_error_t *error, const char *what);

#endif
