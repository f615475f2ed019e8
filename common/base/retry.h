/* When to try again: exponential back-off with full jitter, Retry-After, and a bound on attempts and time.
 *
 * A pure decision; the caller owns clock, random numbers and timer. Does not classify errors (the systems do). */
#ifndef TANDEM_BASE_RETRY_H
#define TANDEM_BASE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct retry_policy {
    int64_t first_delay_ms; /* upper bound of the first pause */
    int64_t delay_max_ms;   /* upper bound of every pause; also caps Retry-After */
    unsigned attempts_max;  /* 0: no bound */
    int64_t time_max_ms;    /* since the first attempt; 0: no bound */
};

struct retry_state {
    unsigned attempts;        /* finished attempts, all failed */
    int64_t first_attempt_ms; /* monotonic */
};

struct retry_decision {
    bool should_retry; /* false: give up */
    int64_t at_ms;     /* monotonic, never before now */
};

/* `retry_after_ms`: what the peer asked for, -1 if nothing; the pause is then never shorter than that (up to the cap).
 * `random`: uniform 32 bits. */
struct retry_decision retry_decide(const struct retry_policy *policy, const struct retry_state *state, int64_t now_ms,
                                   int64_t retry_after_ms, uint32_t random);

/* Value of a Retry-After header (RFC 9110 10.2.3: seconds or an HTTP date): ms from `now_epoch_ms`, at least 0;
 * -1 when absent or malformed. */
int64_t retry_after_parse(const char *value, int64_t now_epoch_ms);

#endif
