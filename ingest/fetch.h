/* The role "fetch": turns notifications into readings of the records they are about.
 *
 * Consumes `notifications`; folds what is about one record (fold.h); reads the record at its system with one read under
 * way per record and a bounded number per system; writes what it found to `records` under the deal's key (reading.h).
 * An offset is finished only after the message is in `records` or in `dead-letters`, so replays are possible and
 * harmless. What the poller has found is not read where that very version was told already (versions.h). What fails for
 * now is repeated without end; a system that throttles, fails or does not let us in is paused as a whole and tried with
 * single reads, while the others go on.
 *
 *     answer                       what becomes of the notifications
 *     done                         reading
 *     gone                         gone, told to the asking deal or under the record's own key; a related referral of
 *                                  an unknown engagement: dead letter "not_visible"
 *     refused                      dead letter
 *     conflict, retry, unknown     again, with back-off and not before Retry-After; without a reason only so often,
 *                                  then dead letter
 *     blocked                      again; the system is paused and probed
 *
 * Producer, settings and systems are borrowed; systems have to be freed before fetch_free() and after fetch_stop().
 * Loop thread only. */
#ifndef TANDEM_INGEST_FETCH_H
#define TANDEM_INGEST_FETCH_H

#include <stdbool.h>
#include <stddef.h>

#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "common/systems/system.h"

enum { FETCH_SYSTEMS_MAX = 4 };

struct fetch_settings {
    int64_t concurrent_max;   /* reads under way per system */
    int64_t window;           /* unfinished notifications per partition */
    int64_t read_interval_ms; /* between two reads of one record */
    int64_t first_delay_ms;   /* back-off */
    int64_t delay_max_ms;
    int64_t probe_interval_ms; /* of a system that does not let us in */
    int64_t unexplained_max;   /* failures without a reason of one reading; 0: no bound */
};
extern const struct config_key FETCH_KEYS[];
extern const size_t FETCH_KEY_COUNT;

struct fetch;

struct fetch_options {
    const struct kafka_settings *kafka;
    const struct fetch_settings *settings;
    const char *instance;
    struct producer *producer;
    struct system *const *systems; /* told apart by their operations' names; the array is copied */
    size_t system_count;
    /* The consumer cannot go on, or memory has run out. */
    void (*on_fatal)(void *arg, const struct error *err);
    void *arg;
};

int fetch_new(struct loop *loop, const struct fetch_options *options, struct fetch **ret_fetch, struct error *err)
    TANDEM_MUST_CHECK;
/* The group has settled and this instance has its partitions, if only none. */
bool fetch_is_assigned(const struct fetch *fetch);
/* Why this system is paused, for readiness and people; NULL when it is not. */
const char *fetch_trouble(const struct fetch *fetch, size_t system);
/* Something changed for the better (new credentials): paused systems are tried at once. */
void fetch_probe(struct fetch *fetch);
/* No new reads. */
void fetch_stop(struct fetch *fetch);
/* The same, and `on_drained` once the reads under way are told; never from inside the call. */
void fetch_drain(struct fetch *fetch, void (*on_drained)(void *arg), void *arg);
/* Commits and leaves the group; blocks at most `close_ms`. Accepts NULL. */
void fetch_free(struct fetch *fetch, int64_t close_ms);

#endif
