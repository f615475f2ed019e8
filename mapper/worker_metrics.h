/* What the mapper counts of its messages and deals. Loop thread only. */
#ifndef TANDEM_MAPPER_WORKER_METRICS_H
#define TANDEM_MAPPER_WORKER_METRICS_H

#include <stdint.h>

#include "mapper/merge.h"

struct worker_metrics {
    struct metric *messages;
    struct metric *decisions;
    struct metric *conflicts;
    struct metric *dead_letters;
    struct metric *near_misses;
    struct metric *rules;
    struct series *echoes;
    struct series *echoed_fields;
    struct series *requests;
    struct series *deals;
    struct series *store_bytes;
    struct series *store_write;
    struct series *restore;
    struct series *partitions;
};

void worker_metrics_declare(struct worker_metrics *metrics);
/* `kind`: "record", "outcome"; `result`: "merged", "set_aside". */
void worker_metrics_message(const struct worker_metrics *metrics, const char *kind, const char *result);
void worker_metrics_effects(const struct worker_metrics *metrics, const struct merge_effects *effects);
/* The version of the rules in force has the value 1, the one before it 0. */
void worker_metrics_rules(const struct worker_metrics *metrics, const char *before, const char *version);

#endif
