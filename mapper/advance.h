/* The next step of a deal: meet the partner, create the record, link both, write what has changed; or why nothing.
 *
 * Looks at the deal as it stands, whatever the message was that brought it there (merge.h). At most one decision; the rule
 * "wait". Pure. */
#ifndef TANDEM_MAPPER_ADVANCE_H
#define TANDEM_MAPPER_ADVANCE_H

#include "mapper/decide.h"

/* -1 only when out of memory; the deal must then be thrown away. */
int advance_deal(struct deal *deal, const struct decide_cause *cause, struct merge_effects *effects, struct error *err)
    TANDEM_MUST_CHECK;

#endif
