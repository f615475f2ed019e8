#include <stddef.h>

#include "common/systems/partner_center.h"

static const char *const NUMBER_FORMS[] = {"number", "text", NULL};
static const char *const LOOKUPS[] = {"list", "filter", NULL};

#define KEY(name_, type_, member_) \
    .name = (name_), .type = (type_), .offset = offsetof(struct partner_center_settings, member_)
const struct config_key PARTNER_CENTER_KEYS[] = {
    {KEY("api_url", CONFIG_URL, api_url), .default_text = "https://api.partner.microsoft.com",
     .help = "Host of the Referrals API."},
    {KEY("registration_url", CONFIG_URL, registration_url), .default_text = "https://api.partnercenter.microsoft.com",
     .help = "Host of the webhook registration API."},
    {KEY("login_url", CONFIG_URL, login_url), .default_text = "https://login.microsoftonline.com",
     .help = "Where tokens are issued."},
    {KEY("tenant", CONFIG_TEXT, tenant), .is_required = true, .help = "Entra tenant of the partner account."},
    {KEY("client_id", CONFIG_TEXT, client_id), .is_required = true, .help = "Application (client) id."},
    {KEY("client_secret", CONFIG_SECRET, client_secret), .is_required = true, .help = "Secret of the application."},
    {KEY("refresh_token", CONFIG_SECRET, refresh_token), .is_required = true,
     .help = "First refresh token of the service user, from a sign-in with MFA; newer ones are kept in Kafka."},
    {KEY("audience", CONFIG_TEXT, audience), .default_text = "https://api.partner.microsoft.com",
     .help = "Token resource of the Referrals API."},
    {KEY("registration_audience", CONFIG_TEXT, registration_audience),
     .default_text = "https://api.partnercenter.microsoft.com", .help = "Token resource of the registration API."},
    {KEY("ca_file", CONFIG_PATH, ca_file), .help = "Certificates to trust instead of the system's."},
    {KEY("organization_id", CONFIG_TEXT, organization_id),
     .help = "Our organisation as referrals name their owner; without it, whoever is not Microsoft."},
    {KEY("deal_value_form", CONFIG_WORD, deal_value_form), .default_text = "number", .words = NUMBER_FORMS,
     .help = "How deal values are written: as a number, or as a text as in Microsoft's samples."},
    {KEY("quotes_guids", CONFIG_BOOLEAN, quotes_guids), .default_text = "true",
     .help = "Ids in filters stand in quotes, as in Microsoft's pages; links returned by the service have none."},
    {KEY("lookup", CONFIG_WORD, lookup), .default_text = "list", .words = LOOKUPS,
     .help =
         "How a referral that may have been created is looked for: among the newest, or by a filter on the CRM's id, "
         "which no page of Microsoft's promises."},
    {KEY("lookup_pages", CONFIG_INTEGER, lookup_pages), .default_text = "5", .min = 1, .max = 100,
     .help =
         "Pages a look-up among the newest referrals reads, and more only while they are younger than the decision."},
    {KEY("settling_time", CONFIG_DURATION, settling_time_ms), .default_text = "30s", .min = 0, .max = 3600000,
     .help = "How far lists may lag behind a creation: after a lost answer nothing is created again before lists have "
             "been looked at after this time, several times."},
    {KEY("concurrent_requests", CONFIG_INTEGER, concurrent_max), .default_text = "4", .min = 1, .max = 64,
     .help = "Requests under way at once; the service's limits are not published."},
    {KEY("timeout", CONFIG_DURATION, timeout_ms), .default_text = "30s", .min = 100, .max = 300000,
     .help = "Longest time of one request."},
};
const size_t PARTNER_CENTER_KEY_COUNT = ARRAY_LENGTH(PARTNER_CENTER_KEYS);
#undef KEY
