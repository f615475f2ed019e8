#include "pusher/execute.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

static const char *const RESULT_NAMES[] = {
    [OUTCOME_APPLIED] = "applied", [OUTCOME_CONFLICT] = "conflict",     [OUTCOME_REFUSED] = "refused",
    [OUTCOME_GONE] = "gone",       [OUTCOME_SUPERSEDED] = "superseded",
};

/* How the record is looked at. A create learns its record's id by the key. */
static enum execute_call looking(const struct execution *execution)
{
    return execution->decision->action == DECISION_CREATE ? EXECUTE_FIND : EXECUTE_READ;
}

/* How the decision is repeated. */
static enum execute_call repeating(const struct execution *execution)
{
    return execution->is_in_doubt && execution->decision->action == DECISION_CREATE ? EXECUTE_FIND : EXECUTE_WRITE;
}

static enum execute_next call(struct execution *execution, enum execute_call next)
{
    execution->call = next;
    if (next == EXECUTE_WRITE)
        execution->attempts++;
    return EXECUTE_CALL;
}

static enum execute_next pause(struct execution *execution, enum execute_call next, enum execute_next how)
{
    (void)call(execution, next);
    execution->failures++;
    return how;
}

/* What the last write made, if it made anything, shows in lists by then. */
static enum execute_next settle(struct execution *execution, enum execute_call next)
{
    execution->settling_left_ms = execution->settling_ms;
    return pause(execution, next, EXECUTE_PAUSE);
}

static void take_error(struct execution *execution, const struct system_answer *answer)
{
    execution->error = answer->error;
    memcpy(execution->field, answer->field, SYSTEM_FIELD_SIZE);
}

static enum execute_next finish(struct execution *execution, enum outcome_result result, bool is_certain)
{
    execution->call = EXECUTE_NOTHING;
    execution->result = (int)result;
    execution->is_certain = is_certain;
    if (result == OUTCOME_APPLIED)
        execution->error = (struct error)ERROR_INIT;
    return EXECUTE_FINISHED;
}

enum execute_next execution_init(struct execution *execution, const struct decision *decision, bool is_in_doubt,
                                 int64_t settling_ms, unsigned unexplained_max)
{
    memset(execution, 0, sizeof(*execution));
    execution->decision = decision;
    execution->is_in_doubt = is_in_doubt;
    execution->settling_ms = settling_ms;
    execution->unexplained_max = unexplained_max;
    execution->retry_after_ms = -1;
    if (repeating(execution) == EXECUTE_FIND && settling_ms > 0)
        return settle(execution, EXECUTE_FIND);
    return call(execution, repeating(execution));
}

void execution_done(struct execution *execution)
{
    json_decref(execution->documents);
    free(execution->record_id);
    execution->documents = NULL;
    execution->record_id = NULL;
}

/* Without memory for it the outcome says less, and the record is read again by whoever needs it. */
static void keep_record(struct execution *execution, const struct system_answer *answer)
{
    if (answer->record_id != NULL) {
        free(execution->record_id);
        execution->record_id = text_copy(answer->record_id);
    }
    if (answer->documents != NULL) {
        json_decref(execution->documents);
        execution->documents = json_deep_copy(answer->documents);
    }
}

static enum execute_next take_write(struct execution *execution, const struct system_answer *answer,
                                    enum system_result result)
{
    switch (result) {
    case SYSTEM_DONE:
        execution->is_created = answer->is_created;
        (void)finish(execution, OUTCOME_APPLIED, answer->is_certain);
        execution->error = answer->error; /* what was left out */
        return EXECUTE_FINISHED;
    case SYSTEM_CONFLICT:
        return call(execution, looking(execution));
    case SYSTEM_GONE:
        return finish(execution, OUTCOME_GONE, false);
    case SYSTEM_REFUSED:
        execution->was_refused = true;
        if (execution->decision->action == DECISION_CREATE && !execution->is_in_doubt)
            return finish(execution, OUTCOME_REFUSED, false);
        return call(execution, looking(execution));
    case SYSTEM_UNKNOWN:
        execution->is_in_doubt = true;
        execution->looks = 0;
        return settle(execution, repeating(execution));
    case SYSTEM_RETRY:
        return pause(execution, repeating(execution), EXECUTE_PAUSE);
    case SYSTEM_BLOCKED:
        break;
    }
    return pause(execution, repeating(execution), EXECUTE_PAUSE_TARGET);
}

/* It was begun by an attempt of ours, and waits for the rest. */
static bool is_to_be_finished(struct execution *execution, const struct system_answer *answer)
{
    return execution->is_in_doubt && answer->is_unfinished && !execution->was_refused &&
           (!execution->was_conflict || ++execution->rounds < EXECUTE_ROUNDS_MAX);
}

static enum execute_next judge(struct execution *execution, bool shows, bool is_certain)
{
    if (execution->is_in_doubt && shows) {
        execution->was_in_doubt = true;
        execution->is_created = execution->decision->action == DECISION_CREATE;
        return finish(execution, OUTCOME_APPLIED, is_certain);
    }
    if (execution->error.class == ERROR_NONE)
        (void)error_set(&execution->error, ERROR_TRANSIENT, "pusher.exists", "the record to create exists already");
    return finish(execution, execution->was_refused ? OUTCOME_REFUSED : OUTCOME_CONFLICT, false);
}

static enum execute_next take_absence(struct execution *execution)
{
    /* A record that is not visible any more is often refused first. */
    if (execution->decision->action != DECISION_CREATE)
        return finish(execution, OUTCOME_GONE, false);
    if (execution->was_refused)
        return finish(execution, OUTCOME_REFUSED, false);
    if (execution->was_conflict) {
        if (++execution->rounds >= EXECUTE_ROUNDS_MAX)
            return finish(execution, OUTCOME_CONFLICT, false);
        return settle(execution, EXECUTE_WRITE);
    }
    if (execution->settling_ms > 0 && ++execution->looks < EXECUTE_LOOKS)
        return settle(execution, EXECUTE_FIND);
    /* The doubt is settled: nothing was created. */
    return call(execution, EXECUTE_WRITE);
}

/* What the write was told stays the reason of a refusal, whatever the reading after it says. */
static enum execute_next take_reading(struct execution *execution, const struct system_answer *answer,
                                      enum system_result result, bool shows, bool is_certain)
{
    if ((result == SYSTEM_GONE || result == SYSTEM_REFUSED) && !execution->was_refused) {
        take_error(execution, answer);
        execution->status = answer->status;
    }
    switch (result) {
    case SYSTEM_DONE:
        if (is_to_be_finished(execution, answer))
            return call(execution, EXECUTE_WRITE);
        if (execution->is_in_doubt && shows)
            execution->status = answer->status;
        return judge(execution, shows, is_certain);
    case SYSTEM_GONE:
        return take_absence(execution);
    case SYSTEM_REFUSED:
        return finish(execution, OUTCOME_REFUSED, false);
    case SYSTEM_BLOCKED:
        return pause(execution, execution->call, EXECUTE_PAUSE_TARGET);
    case SYSTEM_CONFLICT:
    case SYSTEM_UNKNOWN:
    case SYSTEM_RETRY:
        break;
    }
    return pause(execution, execution->call, EXECUTE_PAUSE);
}

/* Has it failed without a reason as often as is borne? */
static bool is_given_up(struct execution *execution, const struct system_answer *answer, enum system_result result)
{
    if (!answer->is_unexplained || (result != SYSTEM_RETRY && result != SYSTEM_UNKNOWN))
        return false;
    execution->unexplained++;
    return execution->unexplained_max > 0 && execution->unexplained >= execution->unexplained_max;
}

static enum execute_next give_up(struct execution *execution, const struct system_answer *answer,
                                 enum system_result result)
{
    struct system_answer refused = *answer;

    refused.error.class = ERROR_POISON;
    (void)error_wrap(&refused.error, "given up after %u failures without a reason", execution->unexplained);
    if (execution->call == EXECUTE_WRITE && result == SYSTEM_UNKNOWN)
        execution->is_in_doubt = true;
    return execution_take(execution, &refused, SYSTEM_REFUSED, false, false);
}

enum execute_next execution_take(struct execution *execution, const struct system_answer *answer,
                                 enum system_result result, bool shows, bool is_certain)
{
    if (is_given_up(execution, answer, result))
        return give_up(execution, answer, result);
    execution->calls += answer->calls;
    execution->duration_us += answer->duration_us;
    execution->retry_after_ms = answer->retry_after_ms;
    execution->settling_left_ms = 0;
    /* A reading that only shows the record beside a refusal or a conflict does not hide what the write was told. */
    if (answer->status != 0 &&
        (execution->call == EXECUTE_WRITE || (!execution->was_refused && !execution->was_conflict)))
        execution->status = answer->status;
    if (result != SYSTEM_RETRY && result != SYSTEM_UNKNOWN && result != SYSTEM_BLOCKED)
        execution->failures = 0;
    keep_record(execution, answer);
    if (execution->call != EXECUTE_WRITE)
        return take_reading(execution, answer, result, shows, is_certain);
    take_error(execution, answer);
    execution->was_conflict = result == SYSTEM_CONFLICT;
    return take_write(execution, answer, result);
}

enum execute_next execution_fail(struct execution *execution, const struct error *err)
{
    const struct system_answer failed = {
        .result = err->class == ERROR_POISON ? SYSTEM_REFUSED : SYSTEM_RETRY, .retry_after_ms = -1, .error = *err};

    if (failed.result == SYSTEM_REFUSED) {
        execution->error = *err;
        execution->field[0] = '\0';
        return finish(execution, OUTCOME_REFUSED, false);
    }
    return execution_take(execution, &failed, failed.result, false, false);
}

void execution_supersede(struct execution *execution, bool is_redriven)
{
    if (is_redriven)
        (void)error_set(&execution->error, ERROR_POISON, "pusher.redriven",
                        "driven again: decided anew from both records as they are");
    else
        (void)error_set(&execution->error, ERROR_POISON, "pusher.superseded",
                        "a later decision of the deal was carried out already");
    (void)finish(execution, OUTCOME_SUPERSEDED, false);
}

const char *execute_result_name(int result)
{
    return RESULT_NAMES[result];
}
