/* Partner Center's referrals as data: what an answer means, what a document says, what a change looks like on the wire.
 *
 * Pure: no requests, no clock. Facts: "Referrals API", resource schema 4.8, update 4.5, errors 4.12 of Microsoft's pages on
 * referral resources, updating and response codes. */
#ifndef TANDEM_SYSTEMS_PARTNER_CENTER_REFERRAL_H
#define TANDEM_SYSTEMS_PARTNER_CENTER_REFERRAL_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/messages/decision.h"
#include "common/systems/system.h"

/* What a failed answer means: status, then the error body's code. *ret_code: a stable word for errors and metrics. */
enum system_result referral_classify(long status, const json_t *body, bool has_effect, const char **ret_code);

/* Microsoft's side of an engagement, by its owner. */
bool referral_is_microsofts(const json_t *referral);
bool referral_is_shared(const json_t *referral);

/* An entry of `documents`; a new reference, NULL when out of memory. `role`: "own" or "related". */
json_t *referral_document(const char *role, json_t *referral);
/* Our referral among those of an engagement: the one with `wanted_id`, else the one of `organization_id`, else the only
 * one that is not Microsoft's. Borrowed; NULL when it cannot be told. */
json_t *referral_own_of(const json_t *referrals, const char *wanted_id, const char *organization_id);

enum referral_number_form {
    REFERRAL_NUMBER, /* 10000.5 */
    REFERRAL_TEXT    /* "10000.5", as the documentation's sample shows deal values */
};

/* The JSON Patch document of a decision: `replace` operations in the order of the paths Partner Center lists, status and
 * substatus together. free(); NULL on failure: a path that cannot be patched (ERROR_POISON "partner_center.path"). */
char *referral_patch(const json_t *write, enum referral_number_form deal_value_form, size_t *ret_length,
                     struct error *err);

/* Does a referral stand as the decision wanted it? */
bool referral_shows(const json_t *referral, const json_t *write);

#endif
