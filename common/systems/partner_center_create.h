/* Creating at Partner Center: a referral of ours, and Microsoft's beside it (the invitation).
 *
 * A POST is not idempotent there. Each begins with a look for what it would make: among the newest referrals for the
 * one that names the CRM record, or in the engagement for Microsoft's. A look that cannot tell says so instead of
 * "none": it reads on while the referrals it sees are younger than the decision, and gives up with a refusal.
 * Internal to the Partner Center system. Loop thread only. Facts: Microsoft's page on creating a referral. */
#ifndef TANDEM_SYSTEMS_PARTNER_CENTER_CREATE_H
#define TANDEM_SYSTEMS_PARTNER_CENTER_CREATE_H

#include "common/systems/partner_center_operation.h"

/* Pure: can this be created, and found again? ERROR_POISON otherwise. */
int center_check_creation(const struct decision *decision, struct error *err) TANDEM_MUST_CHECK;
/* Looks, then posts `body` unless `is_find`; what is found is answered as it stands. -1: nothing was sent. */
int center_create(struct center_operation *operation, struct error *err) TANDEM_MUST_CHECK;
/* Pure: do the documents hold what the decision would create? */
bool center_shows_creation(const json_t *documents, const struct decision *decision);

#endif
