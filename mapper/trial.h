/* What the merge makes of two given records, step by step, as if every write were carried out as decided.
 *
 * For preview and rule tests: the same functions as in the pipeline, with a deal in memory and made-up versions and
 * times. A write's outcome is the target's record with the written members in it; what a real system would round, cut or
 * refuse it does not show. Pure. */
#ifndef TANDEM_MAPPER_TRIAL_H
#define TANDEM_MAPPER_TRIAL_H

#include <jansson.h>

#include "common/base/error.h"
#include "mapper/deal.h"
#include "mapper/rules.h"

enum { TRIAL_STEPS_MAX = 8 };

struct trial_input {
    json_t *now[SIDE_COUNT];  /* the systems' documents; NULL: there is no such record */
    json_t *base[SIDE_COUNT]; /* as they were when both last agreed; NULL (both): they have never met */
    json_t *related;          /* array of other parties' referrals (messages/record.h); NULL: none */
    json_t *base_related;     /* those of `base` */
    const struct deal *deal;  /* what is known of the deal, in place of `base`; NULL: nothing */
};

/* New reference to an array of steps: {"decision": …}, {"request": …} (a notification), {"record": …}, {"problem":
 * {"code", "message"}}, in order. The inputs are borrowed and not changed. ERROR_CONFIG when they cannot be used. */
int trial_run(const struct rules *rules, const struct trial_input *input, json_t **ret_steps, struct error *err)
    TANDEM_MUST_CHECK;

#endif
