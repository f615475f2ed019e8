/* The merge: what a message means for a deal, by the nine rules (docs/architecture.md, "The merge").
 *
 * State and message in, effects out. Pure: no clock (times are the messages' own), no I/O, no randomness; the same
 * messages in the same order give the same effects. The deal is changed in place; after a failure (only out of memory)
 * it must be thrown away. Knows neither topics nor transactions (worker.h). */
#ifndef TANDEM_MAPPER_MERGE_H
#define TANDEM_MAPPER_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/messages/decision.h"
#include "common/messages/notification.h"
#include "common/messages/outcome.h"
#include "common/messages/record.h"
#include "mapper/deal.h"
#include "mapper/rules.h"

enum {
    MERGE_CONFLICT_ROUNDS_MAX = 5, /* without a fresh record; then the deal waits for one */
    MERGE_CAUSES_MAX = 50
};

struct merge_context {
    const struct rules *rules;
    const char *topic; /* coordinates of the message, for the decision */
    int32_t partition;
    int64_t offset;
};

/* What has to be sent, in this order. Each part is optional. */
struct merge_effects {
    bool has_decision;
    struct decision decision;
    bool has_notification; /* read the partner's record */
    struct notification notification;
    bool has_record; /* handover, found, or the record forwarded to the alias; for the key in record.deal_key */
    struct record record;
    size_t echoes;    /* fields read that show what we wrote */
    bool has_problem; /* set the message aside with this reason; the rest of the deal went on */
    struct error problem;
};

int merge_record(struct deal *deal, const struct merge_context *context, const struct record *record,
                 struct merge_effects *ret_effects, struct error *err) TANDEM_MUST_CHECK;
int merge_outcome(struct deal *deal, const struct merge_context *context, const struct outcome *outcome,
                  struct merge_effects *ret_effects, struct error *err) TANDEM_MUST_CHECK;
void merge_effects_done(struct merge_effects *effects);

#endif
