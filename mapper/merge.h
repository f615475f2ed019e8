/* The merge: what a message means for a deal, by the nine rules (docs/architecture.md, "The merge").
 *
 * State and message in, effects out. Pure: no clock (times are the messages' own), no I/O, no randomness; the same
 * messages in the same order give the same effects. The deal is changed in place; after a failure (only out of memory)
 * it must be thrown away. Knows neither topics nor transactions (worker.h). */
#ifndef TANDEM_MAPPER_MERGE_H
#define TANDEM_MAPPER_MERGE_H

#include "common/messages/outcome.h"
#include "common/messages/record.h"
#include "mapper/deal.h"
#include "mapper/merge_effects.h"

int merge_record(struct deal *deal, const struct merge_context *context, const struct record *record,
                 struct merge_effects *ret_effects, struct error *err) TANDEM_MUST_CHECK;
int merge_outcome(struct deal *deal, const struct merge_context *context, const struct outcome *outcome,
                  struct merge_effects *ret_effects, struct error *err) TANDEM_MUST_CHECK;

#endif
