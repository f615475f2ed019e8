#include "common/base/retry.h"

#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"

/* First pause doubled per failed attempt, up to the cap. */
static int64_t pause_bound(const struct retry_policy *policy, unsigned attempts)
{
    int64_t cap = policy->delay_max_ms > 0 ? policy->delay_max_ms : 0;
    int64_t bound = policy->first_delay_ms > 0 ? policy->first_delay_ms : 0;
    for (unsigned i = 1; i < attempts && bound > 0 && bound < cap; i++)
        bound = bound > cap / 2 ? cap : bound * 2;
    return bound < cap ? bound : cap;
}

/* Full jitter: uniform between 0 and the bound, so that workers that failed together do not come back together. */
static int64_t jitter(int64_t bound, uint32_t random)
{
    uint64_t high = (uint64_t)bound >> 32;
    uint64_t low = (uint64_t)bound & 0xFFFFFFFFU;
    return (int64_t)(high * random + (low * random >> 32));
}

struct retry_decision retry_decide(const struct retry_policy *policy, const struct retry_state *state, int64_t now_ms,
                                   int64_t retry_after_ms, uint32_t random)
{
    struct retry_decision decision = {.should_retry = false, .at_ms = now_ms};
    if (policy->attempts_max > 0 && state->attempts >= policy->attempts_max)
        return decision;

    int64_t pause = jitter(pause_bound(policy, state->attempts), random);
    if (retry_after_ms > pause)
        pause = retry_after_ms < policy->delay_max_ms ? retry_after_ms : policy->delay_max_ms;
    if (pause < 0)
        pause = 0;
    int64_t at_ms = now_ms > INT64_MAX - pause ? INT64_MAX : now_ms + pause;

    /* An attempt that would start after the bound is not waited for. */
    if (policy->time_max_ms > 0 && at_ms - state->first_attempt_ms > policy->time_max_ms)
        return decision;
    decision.should_retry = true;
    decision.at_ms = at_ms;
    return decision;
}

int64_t retry_after_parse(const char *value, int64_t now_epoch_ms)
{
    if (value == NULL)
        return -1;

    /* Longest valid value: an HTTP date of 29 characters. */
    char trimmed[40];
    value += strspn(value, " \t");
    size_t length = strnlen(value, sizeof(trimmed));
    while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t'))
        length--;
    if (length == 0 || length >= sizeof(trimmed))
        return -1;
    memcpy(trimmed, value, length);
    trimmed[length] = '\0';

    unsigned long long seconds;
    if (text_parse_unsigned(trimmed, INT64_MAX / 1000, &seconds))
        return (int64_t)seconds * 1000;

    struct timestamp at;
    if (!timestamp_parse_http(trimmed, &at))
        return -1;
    int64_t at_ms = timestamp_to_ms(at);
    if (at_ms <= now_epoch_ms)
        return 0;
    return now_epoch_ms < 0 && at_ms > INT64_MAX + now_epoch_ms ? INT64_MAX : at_ms - now_epoch_ms;
}
