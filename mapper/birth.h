/* The birth of a deal's second record, and what belongs to it: the invitation of Microsoft, and explanations to the seller
 * of what is missing.
 *
 * Each is a single idempotent write; its outcome leads to the next step (advance.h). Internal to merge.c and advance.c. Pure.
 * All return -1 only when out of memory; the deal must then be thrown away. */
#ifndef TANDEM_MAPPER_BIRTH_H
#define TANDEM_MAPPER_BIRTH_H

#include "mapper/decide.h"

enum { BIRTH_EXPLANATION_BYTES_MAX = 1500 };

#define BIRTH_INVITATION "invitation" /* record type of the second creation at Partner Center */

/* A referral of ours without a partner: the CRM record is created. */
int birth_in_crm(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects, struct error *err)
    TANDEM_MUST_CHECK;
/* A CRM record that a seller wants to have at Partner Center: checked completely, then created there. */
int birth_at_partner_center(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                            struct error *err) TANDEM_MUST_CHECK;
/* Makes Microsoft a party, once, where the rules' invitation says so. *ret_is_done: a decision was taken. */
int birth_invitation(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                     bool *ret_is_done, struct error *err) TANDEM_MUST_CHECK;
/* Tells the seller in the CRM's audit column; what was told last is not told again, then it is none with `reason`. */
int birth_explain(struct deal *deal, const struct decide_cause *cause, const char *text, const char *reason,
                  struct merge_effects *effects, struct error *err) TANDEM_MUST_CHECK;

/* What keeps changes from the other side; each borrowed, and may be NULL. */
struct birth_troubles {
    const json_t *explanations;         /* as in struct settlement: what is not sent to Partner Center */
    const json_t *left_out[SIDE_COUNT]; /* as in struct settlement */
    const json_t *refusals[SIDE_COUNT]; /* by target, as in struct deal: of what else there was to write */
};

/* All of it in one text, so that no part of it pushes another out of the column. A CRM that permits us nothing is not
 * asked to take it: the audit tells. */
int birth_explain_troubles(struct deal *deal, const struct decide_cause *cause, const struct birth_troubles *troubles,
                           const char *reason, struct merge_effects *effects, struct error *err) TANDEM_MUST_CHECK;
/* What the seller was told last holds no more, and nothing is to be written that would come over it. */
int birth_explain_mended(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects,
                         struct error *err) TANDEM_MUST_CHECK;

#endif
