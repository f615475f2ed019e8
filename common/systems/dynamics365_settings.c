#include "common/systems/dynamics365.h"

#include <stddef.h>

#include "common/base/attributes.h"
#include "common/systems/dynamics365_columns.h"

#define KEY(name_, type_, member_) \
    .name = (name_), .type = (type_), .offset = offsetof(struct dynamics_365_settings, member_)
const struct config_key DYNAMICS_365_KEYS[] = {
    {KEY("url", CONFIG_URL, url), .is_required = true, .help = "Address of the organisation."},
    {KEY("login_url", CONFIG_URL, login_url), .default_text = "https://login.microsoftonline.com",
     .help = "Where tokens are issued."},
    {KEY("tenant", CONFIG_TEXT, tenant), .is_required = true, .help = "Entra tenant of the organisation."},
    {KEY("client_id", CONFIG_TEXT, client_id), .is_required = true, .help = "Client id of the application user."},
    {KEY("client_secret", CONFIG_SECRET, client_secret), .is_required = true, .help = "Secret of the application."},
    {KEY("scope", CONFIG_TEXT, scope), .help = "Token scope; without it the organisation's address and /.default."},
    {KEY("ca_file", CONFIG_PATH, ca_file), .help = "Certificates to trust instead of the system's."},
    {KEY("identifier_column", CONFIG_TEXT, identifier_column),
     .default_text = "msft_microsoftpartnercenterreferralidentifier",
     .help = "Column with an alternate key that holds the referral's id; the rules' identity.identifier."},
    {KEY("columns", CONFIG_LIST, columns), .default_text = DYNAMICS_365_COLUMNS_DEFAULT,
     .help =
         "Columns that are read; every column the rules read. A dot names an attribute of a looked-up record, rows[]. one "
         "of child rows, @label the label of a choice."},
    {KEY("conditional_create", CONFIG_BOOLEAN, creates_conditionally), .default_text = "true",
     .help =
         "Create with If-None-Match, so that an existing record is never overwritten; unconfirmed for alternate keys."},
    {KEY("close_with_time", CONFIG_BOOLEAN, closes_with_time), .default_text = "false",
     .help = "Closing dates carry time and zone; some organisations demand it."},
    {KEY("concurrent_requests", CONFIG_INTEGER, concurrent_max), .default_text = "16", .min = 1, .max = 50,
     .help = "Requests under way at once; the service allows 52 per user and web server."},
    {KEY("timeout", CONFIG_DURATION, timeout_ms), .default_text = "60s", .min = 100, .max = 300000,
     .help = "Longest time of one request."},
};
const size_t DYNAMICS_365_KEY_COUNT = ARRAY_LENGTH(DYNAMICS_365_KEYS);
#undef KEY
