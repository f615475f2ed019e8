/* How one decision is carried out: which call to the target comes next, and what came of it all.
 *
 *   update   WRITE --done--> APPLIED
 *              |  conflict, or refused after a doubt --> READ --shows it, and there was a doubt--> APPLIED
 *              |                                          \--------------------------------------> CONFLICT | REFUSED
 *              |  refused --> READ --> REFUSED          gone --> GONE
 *              \- retry, blocked, unknown (a doubt from now on) --> pause --> WRITE again
 *   create   the same, but it looks for the record by its key instead of reading it, and after a doubt looks before it
 *            writes again: FIND --none--> WRITE, FIND --shows it--> APPLIED, FIND --another's--> CONFLICT,
 *            FIND --begun and not finished--> WRITE
 *            Where a system's lists lag, it settles before it looks, and believes "none" only when it has been told so
 *            several times: settle --> FIND --none--> settle --> FIND --none--> … --> WRITE
 *
 * A doubt: an earlier call may have changed the record, in this process (an answer was lost) or in one that died (an
 * intent was left open). Repeating with the same expected version cannot overwrite anything; what the record shows then
 * tells whether the earlier call got through (design 4, rule 8).
 * Pure: no I/O, no clock. Never gives up on a target that is away; but a failure the target does not explain counts as a
 * refusal once it has come so often that it lies in the record more likely than in the target. Borrows the decision for
 * the execution's life. */
#ifndef TANDEM_PUSHER_EXECUTE_H
#define TANDEM_PUSHER_EXECUTE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/messages/decision.h"
#include "common/messages/outcome.h"
#include "common/systems/system.h"

enum {
    EXECUTE_ROUNDS_MAX =
        5,            /* a create that is told "exists", of a record that is then not found, or found unfinished */
    EXECUTE_LOOKS = 3 /* that have to find nothing before a create in doubt is repeated, where lists lag */
};

enum execute_call { EXECUTE_WRITE, EXECUTE_READ, EXECUTE_FIND, EXECUTE_NOTHING };

enum execute_next {
    EXECUTE_CALL,         /* make the call in `call` */
    EXECUTE_PAUSE,        /* make it after a pause, not before retry_after_ms and never before settling_left_ms */
    EXECUTE_PAUSE_TARGET, /* make it when the target as a whole works again */
    EXECUTE_FINISHED
};

struct execution {
    const struct decision *decision;
    enum execute_call call; /* the one to make, or under way */
    bool is_in_doubt;
    bool was_in_doubt; /* and the result had to be judged by reading */
    bool was_refused;  /* the reading is to judge a doubt, or to show the record beside the refusal */
    bool was_conflict; /* the last write met another version, or a record that exists */
    unsigned attempts; /* writes asked for */
    unsigned failures; /* pauses in a row, for their length */
    unsigned rounds;
    unsigned looks;           /* since the doubt, that found nothing */
    int64_t settling_ms;      /* by which the target's lists may lag */
    int64_t settling_left_ms; /* of it, before the call to make; 0: none */
    unsigned unexplained_max; /* 0: no bound */
    unsigned unexplained;     /* failures without a reason, of all calls */
    int64_t retry_after_ms;   /* -1: the target did not say */
    int64_t calls;            /* requests sent */
    int64_t duration_us;      /* of all calls together */
    long status; /* of the answer the result rests on: to a refused or conflicting write, not to the reading after */
    /* The result, once finished: */
    int result; /* enum outcome_result */
    bool is_certain;
    bool is_created;
    json_t *documents; /* owned; may be NULL */
    char *record_id;   /* owned; may be NULL */
    struct error error;
    char field[SYSTEM_FIELD_SIZE]; /* what the error is about, as the target says; "": it does not */
};

/* `is_in_doubt`: an earlier worker left its intent open. `settling_ms`: how long after a doubt a search may overlook what
 * was created (system.h). `unexplained_max`: failures without a reason (system_answer.is_unexplained) after which the
 * decision counts as refused; 0: no bound. The first call is in `call`: to be made now, or after a pause. */
enum execute_next execution_init(struct execution *execution, const struct decision *decision, bool is_in_doubt,
                                 int64_t settling_ms, unsigned unexplained_max);
/* Takes the answer to the call under way. `result`: what it counts as (breaker_note()). `shows` and `is_certain`: what
 * the system's shows() says about answer->documents; false without documents. */
enum execute_next execution_take(struct execution *execution, const struct system_answer *answer,
                                 enum system_result result, bool shows, bool is_certain);
/* The call could not even be begun. */
enum execute_next execution_fail(struct execution *execution, const struct error *err);
/* Finishes without any call: a later decision was carried out, or a person drives this one again, and the mapper decides
 * anew. */
void execution_supersede(struct execution *execution, bool is_redriven);
void execution_done(struct execution *execution);

const char *execute_result_name(int result);

#endif
