/* Role *serve*: takes webhooks and answers each one only when the broker has it.
 *
 *   head: host, path, method, type, quota -> body -> signature or secret -> JSON and schema -> Kafka -> answer
 *
 * A request is answered 2xx only from the delivery report of its message. What is authentic but no notification goes to
 * `dead-letters` before it is answered; what is not authentic leaves a counter and its part in a log line (refusals.h).
 * Nothing is parsed as JSON before it is authentic. Answers hold a code and the request's id, never anything of the
 * input.
 * Loop thread only. */
#ifndef TANDEM_INGEST_SERVE_H
#define TANDEM_INGEST_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/kafka/producer.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "ingest/certificates.h"

/* The section `ingest.serve`. */
struct serve_settings {
    char *listen;
    char *tls_certificate;
    char *tls_key;
    struct config_list hosts;

    bool partner_center;
    char *partner_center_path;
    struct config_list partner_center_resource_hosts;
    int unknown_events; /* 0: dead-letter, 1: ignore */

    char *dynamics_365_path;
    struct secret dynamics_365_secret; /* none: the path is not served */
    struct secret dynamics_365_secret_next;
    char *dynamics_365_secret_header;
    char *dynamics_365_organization_id;
    char *dynamics_365_organization;

    int64_t line_max_bytes;
    int64_t headers_max_bytes;
    int64_t header_max_bytes;
    int64_t header_count_max;
    int64_t body_max_bytes;
    int64_t dynamics_365_body_max_bytes;
    int64_t handshake_timeout_ms;
    int64_t header_timeout_ms;
    int64_t body_timeout_ms;
    int64_t body_rate_min;
    int64_t answer_timeout_ms;
    int64_t write_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t requests_per_connection;
    int64_t connections_max;
    int64_t connections_per_address_max;
    int64_t requests_max;
    int64_t requests_per_second; /* 0: no quota */
    int64_t refusals_interval_ms;
};
extern const struct config_key SERVE_KEYS[];
extern const size_t SERVE_KEY_COUNT;
/* config_section.validate */
void serve_settings_validate(const struct config_section *section, const struct yaml_node *node,
                             struct diagnostics *diagnostics);

/* Topics (short names, NULL-terminated) that the producer given to serve_new() has to know. */
extern const char *const SERVE_TOPICS[];

struct serve;

/* Listens when it returns. Everything given is borrowed. `child_tables`: of Dynamics 365, as in webhook_dynamics.h. */
int serve_new(struct loop *loop, const struct serve_settings *settings,
              const struct certificates_settings *certificates_settings, const struct config_map *child_tables,
              const struct kafka_settings *kafka, struct producer *producer, struct serve **ret_serve,
              struct error *err) TANDEM_MUST_CHECK;
/* After producer_free(), which ends what is under way. Accepts NULL. */
void serve_free(struct serve *serve);
int serve_port(const struct serve *serve);
/* The TLS files again; on failure the old ones stay and a warning is logged. */
void serve_reload(struct serve *serve);
/* Takes no more requests; the callback comes when the last one is answered. */
void serve_drain(struct serve *serve, void (*on_drained)(void *arg), void *arg);

#endif
