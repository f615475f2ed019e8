#include "ingest/condition.h"

#include <stdio.h>

bool condition_allows(const struct condition *condition, int64_t now_ms, unsigned reading, unsigned limit)
{
    return now_ms >= condition->hold_until_ms && reading < (condition->is_paused ? 1 : limit);
}

bool condition_answered(struct condition *condition)
{
    bool was_paused = condition->is_paused;

    condition->failures = (struct retry_state){0};
    condition->hold_until_ms = 0;
    condition->is_paused = condition->is_blocked = false;
    return was_paused;
}

static void hold(struct condition *condition, int64_t until_ms)
{
    if (until_ms > condition->hold_until_ms)
        condition->hold_until_ms = until_ms;
}

static bool pause_until(struct condition *condition, const struct system_answer *answer, int64_t until_ms)
{
    bool is_blocked = answer->result == SYSTEM_BLOCKED;
    bool is_news = !condition->is_paused || is_blocked != condition->is_blocked;

    condition->is_paused = true;
    condition->is_blocked = is_blocked;
    (void)snprintf(condition->trouble, sizeof(condition->trouble), "%s", answer->error.code);
    hold(condition, until_ms);
    return is_news;
}

bool condition_failed(struct condition *condition, const struct condition_policy *policy,
                      const struct system_answer *answer, int64_t now_ms, uint32_t random, int64_t *ret_not_before_ms)
{
    int64_t until_ms = now_ms;
    bool is_news = false;

    if (answer->result == SYSTEM_BLOCKED) {
        *ret_not_before_ms = now_ms + policy->probe_interval_ms;
        return pause_until(condition, answer, *ret_not_before_ms);
    }
    if (condition->failures.attempts == 0)
        condition->failures.first_attempt_ms = now_ms;
    condition->failures.attempts++;
    if (condition->failures.attempts >= CONDITION_FAILURES_TO_PAUSE || condition->is_paused)
        is_news = pause_until(condition, answer,
                              retry_decide(&policy->back_off, &condition->failures, now_ms, -1, random).at_ms);
    /* What throttles one read throttles all: the limits are the account's. */
    if (answer->retry_after_ms > 0) {
        until_ms += answer->retry_after_ms < CONDITION_RETRY_AFTER_MAX_MS ? answer->retry_after_ms
                                                                          : CONDITION_RETRY_AFTER_MAX_MS;
        hold(condition, until_ms);
    }
    *ret_not_before_ms = until_ms;
    return is_news;
}

bool condition_hurry(struct condition *condition, int64_t now_ms)
{
    if (condition->is_blocked)
        condition->hold_until_ms = now_ms;
    return condition->is_blocked;
}
