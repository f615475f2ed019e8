/* Reading at Partner Center: our referral by its id, and the others of its engagement.
 *
 * Internal to the Partner Center system; the last step of every operation but a plain update. Loop thread only. */
#ifndef TANDEM_SYSTEMS_PARTNER_CENTER_READ_H
#define TANDEM_SYSTEMS_PARTNER_CENTER_READ_H

#include "common/systems/partner_center_operation.h"

/* Reads `record_id` and, of a shared engagement, the other referrals, then answers with all that were gathered. -1:
 * nothing was sent. */
int center_read_referral(struct center_operation *operation, struct error *err) TANDEM_MUST_CHECK;
/* The same without our referral's id: by `engagement_id`. */
int center_read_engagement(struct center_operation *operation, struct error *err) TANDEM_MUST_CHECK;
/* The first page (`next_query` NULL) or another of the engagement's referrals; -1: nothing was sent. */
int center_list_engagement(struct center_operation *operation, const char *next_query, api_callback on_response,
                           struct error *err) TANDEM_MUST_CHECK;
/* Adds a page's referrals, each once: pages overlap when deals change meanwhile. ERROR_POISON: one of another
 * engagement. */
int center_gather_engagement(struct center_operation *operation, const json_t *referrals, struct error *err)
    TANDEM_MUST_CHECK;

#endif
