/* Partner Center's Referrals API behind the system interface.
 *
 * Reads our referral with the related ones of its engagement, changes it by JSON Patch with the expected eTag,
 * creates referrals (record type "referral", found again by the CRM record's id in externalReferenceId) and invites
 * Microsoft to one (record type "invitation": the second POST, found again by the engagement). A POST is not
 * idempotent: it is never sent before a look-up has shown that there is nothing to find. Lists referrals page by
 * page. Loop thread only; see system.h for the contract. Owns its HTTP client and tokens. */
#ifndef TANDEM_SYSTEMS_PARTNER_CENTER_H
#define TANDEM_SYSTEMS_PARTNER_CENTER_H

#include "common/http/token.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "common/systems/api.h"
#include "common/systems/system.h"

enum partner_center_lookup { PARTNER_CENTER_LOOKUP_LIST, PARTNER_CENTER_LOOKUP_FILTER };

struct partner_center_settings {
    char *api_url;          /* https://api.partner.microsoft.com */
    char *registration_url; /* https://api.partnercenter.microsoft.com */
    char *login_url;        /* https://login.microsoftonline.com */
    char *tenant;
    char *client_id;
    struct secret client_secret;
    struct secret refresh_token; /* of the service user; the first one, rotated ones are kept in `credentials` */
    char *audience;              /* of the Referrals API */
    char *registration_audience;
    char *ca_file;
    char *organization_id; /* ours, as referrals name their owner; NULL: whoever is not Microsoft */
    int deal_value_form;   /* enum referral_number_form */
    bool quotes_guids;     /* in $filter */
    int lookup;            /* enum partner_center_lookup */
    int64_t lookup_pages;
    int64_t settling_time_ms;
    int64_t concurrent_max;
    int64_t timeout_ms;
};
extern const struct config_key PARTNER_CENTER_KEYS[];
extern const size_t PARTNER_CENTER_KEY_COUNT;

/* `save` keeps rotated refresh tokens; NULL: they are kept in memory only (tools that end at once). */
int partner_center_new(struct loop *loop, const struct partner_center_settings *settings, token_save save,
                       void *save_arg, struct system **ret_system, struct error *err) TANDEM_MUST_CHECK;
/* A newer refresh token became known. */
int partner_center_set_refresh_token(struct system *system, const char *refresh_token) TANDEM_MUST_CHECK;
/* What a listing shows: referrals that our user may see, Microsoft's too if the service shows them. */
enum partner_center_listing {
    PARTNER_CENTER_UPDATED,       /* all, the last change first */
    PARTNER_CENTER_CREATED,       /* all, the newest first */
    PARTNER_CENTER_SHARED_ACTIVE, /* of shared deals, open and answered; the last change first */
    PARTNER_CENTER_SHARED_NEW     /* of shared deals, not answered yet; the last change first */
};
/* One page; `next`: what the page before it said, NULL for the first. Documents as in record.h, role "own" or
 * "related". Rows move between pages when referrals change meanwhile: pages may repeat some. A refusal (a `next` that
 * is too old, for one) is answered with REFUSED. The callback comes once for every call that returned 0, never from
 * inside it. */
int partner_center_list(struct system *system, enum partner_center_listing listing, const char *next,
                        system_page_callback on_page, void *arg, struct error *err) TANDEM_MUST_CHECK;

/* For the registration of webhooks: requests with a token of the registration audience. Borrowed. */
const struct api *partner_center_registration(struct system *system);

#endif
