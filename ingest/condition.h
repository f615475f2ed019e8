/* The condition of one system that is read: whether a read may begin, and when.
 *
 *     good   --failures in a row, or blocked--> paused: one read at a time, with a hold after each failure
 *     paused --an answer----------------------> good
 *
 * A hold by itself (Retry-After) lets nothing begin before its time, and does not pause. Pure: no I/O, no clock; times
 * and random numbers are arguments. Does not know what is read, nor repeat it. Single thread. A zeroed struct is a good
 * condition. */
#ifndef TANDEM_INGEST_CONDITION_H
#define TANDEM_INGEST_CONDITION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/retry.h"
#include "common/systems/system.h"

enum {
    CONDITION_FAILURES_TO_PAUSE = 5,           /* in a row */
    CONDITION_RETRY_AFTER_MAX_MS = 15 * 60000, /* a longer wait is not believed */
    CONDITION_TROUBLE_SIZE = 192
};

struct condition_policy {
    struct retry_policy back_off; /* of the pause */
    int64_t probe_interval_ms;    /* while it does not let us in */
};

struct condition {
    int64_t hold_until_ms;                /* no read begins before */
    bool is_paused;                       /* one read at a time until one is answered */
    bool is_blocked;                      /* does not let us in */
    struct retry_state failures;          /* in a row */
    char trouble[CONDITION_TROUBLE_SIZE]; /* code of the error that paused it */
};

/* Whether another read may begin while `reading` are under way. */
bool condition_allows(const struct condition *condition, int64_t now_ms, unsigned reading, unsigned limit);
/* A read was answered. Returns whether that ended a pause. */
bool condition_answered(struct condition *condition);
/* A read failed (CONFLICT, RETRY, UNKNOWN, BLOCKED). *ret_not_before_ms: when that read may be repeated. Returns whether
 * it is news: paused, or for another reason than before. */
bool condition_failed(struct condition *condition, const struct condition_policy *policy,
                      const struct system_answer *answer, int64_t now_ms, uint32_t random, int64_t *ret_not_before_ms);
/* Something changed for the better: if it does not let us in, the next read may begin now. Returns whether so. */
bool condition_hurry(struct condition *condition, int64_t now_ms);

#endif
