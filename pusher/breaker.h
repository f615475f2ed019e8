/* Circuit breaker of one outside system: when to leave it alone, and how to find out that it is back.
 *
 *            failures in a row, Retry-After,         pause over
 *            blocked, refusals en masse          (one call goes through)
 *   CLOSED ------------------------------> OPEN -----------------------> PROBING
 *      ^                                    ^  failed: longer pause          |
 *      |                                    +--------------------------------+
 *      +-------------------------------- answered ---------------------------+
 *
 * BLOCKED means that the account as a whole cannot work (sign-in, permission): it is OPEN with longer pauses, and a
 * person is told. Refusals of many different deals in a row with no success between them mean the same: the fault is
 * then not in the deals, and setting all of them aside would be the worse damage.
 * Pure: time and random numbers are arguments, milliseconds are of a monotonic clock. */
#ifndef TANDEM_PUSHER_BREAKER_H
#define TANDEM_PUSHER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attributes.h"
#include "common/base/retry.h"
#include "common/base/uuid.h"
#include "common/systems/system.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_PROBING };

enum breaker_reason {
    BREAKER_NO_REASON,
    BREAKER_FAILING, /* failures in a row */
    BREAKER_TOLD,    /* it asked to be left alone (Retry-After) */
    BREAKER_ACCOUNT, /* SYSTEM_BLOCKED */
    BREAKER_REFUSING /* refusals en masse */
};

struct breaker_policy {
    unsigned failures_max;      /* in a row, then it opens */
    unsigned refusals_max;      /* of different deals in a row, then it opens; 0: never */
    struct retry_policy pauses; /* attempts and time unbounded */
    struct retry_policy blocked_pauses;
    int64_t told_max_ms; /* longest pause a system may ask for */
};

struct breaker {
    const struct breaker_policy *policy; /* borrowed */
    enum breaker_state state;
    enum breaker_reason reason;
    unsigned failures;                  /* in a row, while closed */
    unsigned refusals;                  /* in a row */
    char refused_deal[SHA256_HEX_SIZE]; /* digest of the last one's key, so that one deal counts once */
    struct retry_state pauses;          /* probes that failed in a row */
    int64_t probe_at_ms;
};

void breaker_init(struct breaker *breaker, const struct breaker_policy *policy);
/* May a call be made now? While OPEN and due, the one that is told yes is the probe: its answer must be noted. */
bool breaker_admits(struct breaker *breaker, int64_t now_ms);
/* The answer of a call that was admitted. Returns what it counts as: a refused write is SYSTEM_BLOCKED while the system
 * refuses en masse. Reads say nothing about that: they may work where writes are not permitted. */
enum system_result breaker_note(struct breaker *breaker, const struct system_answer *answer, bool is_write,
                                const char *deal_key, int64_t now_ms, uint32_t random);
/* The call that was admitted was not made after all. */
void breaker_release(struct breaker *breaker);

const char *breaker_state_name(enum breaker_state state);
/* For people, and /readyz; NULL when closed. */
const char *breaker_trouble(const struct breaker *breaker);

#endif
