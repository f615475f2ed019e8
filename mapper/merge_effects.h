/* What the steps of a merge share: which message it is about, and what comes of it (merge.h). Pure.
 *
 * The effects own what is in them; merge_effects_done() releases it. */
#ifndef TANDEM_MAPPER_MERGE_EFFECTS_H
#define TANDEM_MAPPER_MERGE_EFFECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/messages/decision.h"
#include "common/messages/notification.h"
#include "common/messages/record.h"
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

void merge_effects_done(struct merge_effects *effects);

#endif
