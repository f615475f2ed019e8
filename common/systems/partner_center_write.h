/* Changing a referral at Partner Center: one JSON Patch with the eTag it was read with.
 *
 * Internal to the Partner Center system. Loop thread only. */
#ifndef TANDEM_SYSTEMS_PARTNER_CENTER_WRITE_H
#define TANDEM_SYSTEMS_PARTNER_CENTER_WRITE_H

#include "common/systems/partner_center_operation.h"

/* -1: nothing was sent; ERROR_POISON for what no change may hold. */
int center_patch_referral(struct center_operation *operation, struct error *err) TANDEM_MUST_CHECK;
/* The answer of a write that shows our referral alone. */
void center_answer_written(struct center_operation *operation, json_t *referral, long status);

#endif
