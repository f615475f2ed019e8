#include "pusher/breaker.h"

#include <string.h>

#include "common/base/text.h"

static const char *const STATE_NAMES[] = {
    [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_PROBING] = "probing"};

static const char *const TROUBLES[] = {
    [BREAKER_FAILING] = "it fails; tried again after a pause",
    [BREAKER_TOLD] = "it asked to be left alone for a while",
    [BREAKER_ACCOUNT] = "our account cannot work there: check sign-in, licence and permissions",
    [BREAKER_REFUSING] = "it refuses the writes of one deal after the other: check permissions, tables and rules",
};

void breaker_init(struct breaker *breaker, const struct breaker_policy *policy)
{
    memset(breaker, 0, sizeof(*breaker));
    breaker->policy = policy;
}

bool breaker_admits(struct breaker *breaker, int64_t now_ms)
{
    if (breaker->state == BREAKER_OPEN && now_ms >= breaker->probe_at_ms) {
        breaker->state = BREAKER_PROBING;
        return true;
    }
    return breaker->state == BREAKER_CLOSED;
}

void breaker_release(struct breaker *breaker)
{
    if (breaker->state == BREAKER_PROBING)
        breaker->state = BREAKER_OPEN;
}

static void close_breaker(struct breaker *breaker)
{
    breaker->state = BREAKER_CLOSED;
    breaker->reason = BREAKER_NO_REASON;
    breaker->failures = 0;
    breaker->pauses = (struct retry_state){0};
}

static void open_breaker(struct breaker *breaker, enum breaker_reason reason, int64_t retry_after_ms, int64_t now_ms,
                         uint32_t random)
{
    bool is_blocked = reason == BREAKER_ACCOUNT || reason == BREAKER_REFUSING;
    struct retry_policy policy = is_blocked ? breaker->policy->blocked_pauses : breaker->policy->pauses;
    struct retry_state pauses = {.attempts = 1, .first_attempt_ms = now_ms};

    if (breaker->state != BREAKER_OPEN)
        breaker->pauses.attempts++;
    if (reason == BREAKER_TOLD)
        policy.delay_max_ms = breaker->policy->told_max_ms;
    else
        pauses.attempts = breaker->pauses.attempts;
    int64_t until_ms = retry_decide(&policy, &pauses, now_ms, retry_after_ms, random).at_ms;
    /* Answers to calls that were under way when it opened shorten no pause. */
    if (breaker->state != BREAKER_OPEN || until_ms > breaker->probe_at_ms)
        breaker->probe_at_ms = until_ms;
    breaker->state = BREAKER_OPEN;
    breaker->reason = reason;
}

static void note_failure(struct breaker *breaker, const struct system_answer *answer, int64_t now_ms, uint32_t random)
{
    if (answer->retry_after_ms >= 0) {
        open_breaker(breaker, BREAKER_TOLD, answer->retry_after_ms, now_ms, random);
        return;
    }
    if (breaker->state == BREAKER_OPEN)
        return;
    breaker->failures++;
    if (breaker->state == BREAKER_PROBING || breaker->failures >= breaker->policy->failures_max)
        open_breaker(breaker, breaker->reason == BREAKER_NO_REASON ? BREAKER_FAILING : breaker->reason, -1, now_ms,
                     random);
}

/* Counts a deal once, however often it is refused in a row. */
static bool refuses_en_masse(struct breaker *breaker, const char *deal_key)
{
    char digest[SHA256_HEX_SIZE];

    if (breaker->policy->refusals_max == 0)
        return false;
    if (sha256_hex(deal_key, strlen(deal_key), digest) != NULL && !text_equal(digest, breaker->refused_deal)) {
        memcpy(breaker->refused_deal, digest, sizeof(digest));
        if (breaker->refusals <= breaker->policy->refusals_max)
            breaker->refusals++;
    }
    return breaker->refusals > breaker->policy->refusals_max;
}

/* Ours, not the system's: it was not asked. */
static bool is_of_our_making(const struct system_answer *answer)
{
    static const char *const CODES[] = {"http.held_back", "http.queue_full", "http.closing", "out_of_memory"};

    for (size_t i = 0; i < ARRAY_LENGTH(CODES); i++)
        if (answer->result == SYSTEM_RETRY && text_equal(answer->error.code, CODES[i]))
            return true;
    return false;
}

enum system_result breaker_note(struct breaker *breaker, const struct system_answer *answer, bool is_write,
                                const char *deal_key, int64_t now_ms, uint32_t random)
{
    if (is_of_our_making(answer)) {
        breaker_release(breaker);
        return answer->result;
    }
    switch (answer->result) {
    case SYSTEM_RETRY:
    case SYSTEM_UNKNOWN:
        note_failure(breaker, answer, now_ms, random);
        return answer->result;
    case SYSTEM_BLOCKED:
        open_breaker(breaker, BREAKER_ACCOUNT, answer->retry_after_ms, now_ms, random);
        return answer->result;
    case SYSTEM_REFUSED:
        if (is_write && refuses_en_masse(breaker, deal_key)) {
            open_breaker(breaker, BREAKER_REFUSING, answer->retry_after_ms, now_ms, random);
            return SYSTEM_BLOCKED;
        }
        break;
    case SYSTEM_DONE:
        if (is_write) {
            breaker->refusals = 0;
            breaker->refused_deal[0] = '\0';
        }
        break;
    case SYSTEM_CONFLICT:
    case SYSTEM_GONE:
        break;
    }
    /* An answer to a call from before the pause does not end it, nor does a read prove that writes are taken again. */
    if (breaker->state == BREAKER_PROBING && breaker->reason == BREAKER_REFUSING && !is_write)
        breaker->state = BREAKER_OPEN;
    else if (breaker->state != BREAKER_OPEN)
        close_breaker(breaker);
    return answer->result;
}

const char *breaker_state_name(enum breaker_state state)
{
    return STATE_NAMES[state];
}

const char *breaker_trouble(const struct breaker *breaker)
{
    return breaker->state == BREAKER_CLOSED ? NULL : TROUBLES[breaker->reason];
}
