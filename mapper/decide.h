/* The making of decisions and of the messages beside them: what the merge has settled on, with all that goes with it.
 *
 * Internal to merge.c and advance.c, which know what is to be decided; here is how it is put. Pure. All functions that can
 * fail return -1 only when out of memory; the deal must then be thrown away. */
#ifndef TANDEM_MAPPER_DECIDE_H
#define TANDEM_MAPPER_DECIDE_H

#include <jansson.h>
#include <stdbool.h>

#include "mapper/deal.h"
#include "mapper/merge_effects.h"

/* The message being merged, as far as decisions need it. */
struct decide_cause {
    const struct merge_context *context;
    const char *at;           /* RFC 3339, the message's own time */
    bool wants_reason;        /* a record that leads to nothing is answered with a decision none */
    const char *quiet_reason; /* what to say then, unless something better is known */
    const char *quiet_detail;
    bool is_settled_by_person; /* what is written now is what a person has chosen */
    json_t *near_misses;       /* borrowed; NULL: none */
};

/* A write to one side. */
struct decide_plan {
    enum decision_action action;
    enum side target;
    const char *purpose;
    const char *reason;
    const char *audit_text;
    const char *record_type; /* NULL: the side's own */
    json_t *create_key;      /* DECISION_CREATE, borrowed */
    json_t *fields;          /* borrowed */
    json_t *write;           /* borrowed */
    json_t *conflicts;       /* borrowed, may be NULL */
};

/* Remembers what a message was caused by, up to MERGE_CAUSES_MAX, for the next decision. */
int decide_note_causes(struct deal *deal, const json_t *causes, struct error *err) TANDEM_MUST_CHECK;

/* Nothing is written, and this is why; only where the cause wants a reason. `detail` may be NULL. */
int decide_none(struct deal *deal, const struct decide_cause *cause, const char *reason, const char *detail,
                struct merge_effects *effects, struct error *err) TANDEM_MUST_CHECK;
/* Puts the decision under way. */
int decide_write(struct deal *deal, const struct decide_cause *cause, const struct decide_plan *plan,
                 struct merge_effects *effects, struct error *err) TANDEM_MUST_CHECK;

/* Asks for a record to be read; an id (may be NULL) that cannot be a record's asks for nothing. */
int decide_to_ask(const struct rules *rules, const struct deal *deal, enum side side, const char *id,
                  const struct decide_cause *cause, struct merge_effects *effects, struct error *err) TANDEM_MUST_CHECK;
/* A referral names a CRM record we have not seen: the key that record may still have is told that the referral exists. */
int decide_to_tell(const struct deal *deal, const char *crm_id, const struct decide_cause *cause,
                   struct merge_effects *effects, struct error *err) TANDEM_MUST_CHECK;

#endif
