/* The mapper at work: messages in, what they lead to out, state and offsets along with them, in Kafka transactions.
 *
 * Each message goes through step.h, which is pure; here are the store, the transaction, dead letters, metrics and the
 * order of things. State of the open transaction stays in memory and reaches the store after the commit only. A message
 * that cannot be processed is set aside inside the transaction with its coordinates; the others go on. Loop thread. */
#ifndef TANDEM_MAPPER_WORKER_H
#define TANDEM_MAPPER_WORKER_H

#include "common/kafka/client.h"
#include "common/runtime/program.h"
#include "mapper/rules.h"

/* The section `mapper`. */
struct mapper_settings {
    char *rules; /* path of the rule file */
    char *store_directory;
    int64_t store_size; /* bytes */
    int64_t commit_records;
    int64_t commit_interval_ms;
    int64_t cache_deals;
};
extern const struct config_key MAPPER_KEYS[];
extern const size_t MAPPER_KEY_COUNT;

struct worker;

/* Takes over `rules`, also on failure. Both settings are borrowed for good. Begins at once: brokers that do not answer
 * yet are waited for, and what cannot be survived ends the program. */
int worker_new(struct program *program, const struct kafka_settings *kafka, const struct mapper_settings *settings,
               struct rules *rules, struct worker **ret_worker, struct error *err) TANDEM_MUST_CHECK;
/* From the next message on. Takes over `rules`. */
void worker_set_rules(struct worker *worker, struct rules *rules);
/* Finishes the open transaction and calls program_drained(). */
void worker_drain(struct worker *worker);
void worker_free(struct worker *worker); /* accepts NULL */

#endif
