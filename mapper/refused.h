/* What targets have refused: remembered, compared with what is to be written now, and forgotten.
 *
 * Two kinds stand in struct deal. Where the service named a field of an update that held others beside it, that field's
 * refusal is kept, and later updates go without the field while it would be the same; they are not held up by it. Any other
 * refusal is that of the whole write, which is not repeated as it was. Either holds for the rules and the status of the
 * referral under which it came.
 *
 * Internal to merge.c, advance.c and birth.c; what sellers read is refusal.h. Pure. Functions that can fail return -1 only
 * when out of memory; the deal must then be thrown away. */
#ifndef TANDEM_MAPPER_REFUSED_H
#define TANDEM_MAPPER_REFUSED_H

#include <jansson.h>
#include <stdbool.h>

#include "common/messages/outcome.h"
#include "mapper/decide.h"
#include "mapper/settle.h"

/* The refusal of this very write; borrowed, NULL: there was none. */
const json_t *refused_find(const struct deal *deal, const struct rules *rules, const struct decide_plan *plan);
/* Remembers that the target refused the write under way (`pending`, as in struct deal). */
int refused_note(struct deal *deal, const struct rules *rules, const struct outcome *outcome, const json_t *pending,
                 struct error *err) TANDEM_MUST_CHECK;
/* Takes the fields that are refused as they are out of a settlement's updates and its conflicts, and puts their refusals
 * into its left_out. Refusals of fields that would be written otherwise now, or not at all, are forgotten. A decline is one
 * thing, and stays whole. */
int refused_leave_out(struct deal *deal, const struct rules *rules, struct settlement *settlement, struct error *err)
    TANDEM_MUST_CHECK;
/* The target has taken a write: what it refused as a whole may be sent again as it was. Not so the fields, or each write
 * would have every refused one sent and refused once more. */
void refused_forget_writes(struct deal *deal, enum side target);
/* A person has driven this decision again: what was refused of it is tried again. Returns whether anything was. */
bool refused_forget_decision(struct deal *deal, const char *decision_id);

#endif
