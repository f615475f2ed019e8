/* The pusher at work: decisions in, one lane per deal, calls to the targets, rows and outcomes out.
 *
 * Consumes `decisions` and hands each message to a delivery (delivery.h), which does the rest; here are the lanes, the
 * targets, who owns which partition, and what is done when the database is away (nothing is taken) or the program ends.
 * Loop thread only. */
#ifndef TANDEM_PUSHER_WORKER_H
#define TANDEM_PUSHER_WORKER_H

#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/runtime/program.h"
#include "common/systems/system.h"
#include "pusher/postgres.h"

/* The section `pusher`. */
struct pusher_settings {
    int64_t window;
    int64_t commit_interval_ms;
    int64_t concurrent_calls;
    int64_t pause_first_ms;
    int64_t pause_max_ms;
    int64_t blocked_pause_max_ms;
    int64_t retry_after_max_ms;
    int64_t failures_max;
    int64_t refusals_max;
    int64_t unexplained_max;
    bool audits_noops;
};
extern const struct config_key PUSHER_KEYS[];
extern const size_t PUSHER_KEY_COUNT;

enum { WORKER_SYSTEMS_MAX = 4 };

struct worker;

/* Settings, producer and systems are borrowed and outlive it; `systems` is NULL-terminated. Begins at once: brokers and
 * database that do not answer yet are waited for, and what cannot be survived ends the program. */
int worker_new(struct program *program, const struct kafka_settings *kafka, const struct postgres_settings *postgres,
               const struct pusher_settings *settings, struct producer *producer, struct system *const *systems,
               struct worker **ret_worker, struct error *err) TANDEM_MUST_CHECK;
/* Ends what is under way and calls program_drained(). */
void worker_drain(struct worker *worker);
/* In this order at the program's end: worker_stop() commits and leaves the group; then the systems and the producer are
 * freed, which end their calls; then worker_free(). Both accept NULL. */
void worker_stop(struct worker *worker);
void worker_free(struct worker *worker);

#endif
