/* Partner Center's referrals as data: what an answer means, what a document says, what a creation and a change look
 * like on the wire.
 *
 * Pure: no requests, no clock. Facts: Microsoft's pages on referral resources, creating, updating, listing and
 * response codes of the Referrals API. */
#ifndef TANDEM_SYSTEMS_PARTNER_CENTER_REFERRAL_H
#define TANDEM_SYSTEMS_PARTNER_CENTER_REFERRAL_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/base/timestamp.h"
#include "common/messages/decision.h"
#include "common/systems/system.h"

enum { REFERRAL_QUERY_BYTES_MAX = 8192 /* of a link to the next page */ };

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
/* Microsoft's among them; borrowed, NULL when there is none. */
json_t *referral_microsofts_of(const json_t *referrals);
/* The referral of ours that names this CRM record, in either case; of several (duplicates made elsewhere) one that is
 * not closed, and of those the oldest. `organization_id`: ours, NULL: whoever is not Microsoft. Borrowed; NULL when
 * none does. */
json_t *referral_naming(const json_t *referrals, const char *crm_id, const char *organization_id);
/* False also when it does not say when it was created. */
bool referral_was_created_before(const json_t *referral, struct timestamp moment);

/* The query of a page's link to the next one. Only this part of the link is of use: its scheme, host and path are not
 * the API's (list of referrals). *ret_query: borrowed, NULL on the last page. -1: there is a link, but it has no
 * query that could be sent. */
int referral_next_query(const json_t *page, const char **ret_query) TANDEM_MUST_CHECK;

enum referral_number_form {
    REFERRAL_NUMBER, /* 10000.5 */
    REFERRAL_TEXT    /* "10000.5", as the documentation's sample shows deal values */
};

/* The JSON Patch document of a decision: `replace` operations in the order of the paths Partner Center lists, status
 * and substatus together; a list is replaced as a whole, so that a repeat appends nothing. free(); NULL on failure: a
 * path that cannot be patched (ERROR_POISON "partner_center.path"). */
char *referral_patch(const json_t *write, enum referral_number_form deal_value_form, size_t *ret_length,
                     struct error *err);
/* The referral a decision creates: its paths as nested members, without those that are null, and with the members of
 * `key` whatever the paths say of them. free(); NULL on failure: a path that cannot be nested, or inside which another
 * is written (ERROR_POISON "partner_center.path"). */
char *referral_creation(const json_t *write, const json_t *key, enum referral_number_form deal_value_form,
                        size_t *ret_length, struct error *err);

/* Does a referral stand as the decision wanted it? */
bool referral_shows(const json_t *referral, const json_t *write);

#endif
