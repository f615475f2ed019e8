#include "common/systems/dynamics365.h"

#include <stddef.h>
#include <string.h>

#include "common/base/attributes.h"
#include "common/systems/dynamics365_column_path.h"
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
    {KEY("child_tables", CONFIG_MAP, child_tables), .default_text = "{msft_microsoftsolution: msft_opportunityid}",
     .help =
         "Tables whose rows belong to an opportunity, each with its lookup column that points to it: a change of such "
         "a row is a change of the opportunity. Polling needs change tracking of these tables. The default names are "
         "unconfirmed; {} for none."},
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

static bool is_name(const char *text)
{
    struct dynamics_column_path path;

    return dynamics_column_path_read(text, &path) && text[path.head_length] == '\0';
}

void dynamics_365_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                    struct diagnostics *diagnostics)
{
    const struct dynamics_365_settings *settings = section->target;
    const struct yaml_node *columns = yaml_get(node, "columns");
    const struct yaml_node *tables = yaml_get(node, "child_tables");
    const struct position nowhere = {0};
    struct dynamics_column_path path;

    for (size_t i = 0; i < settings->columns.count; i++) {
        if (!dynamics_column_path_read(settings->columns.items[i], &path))
            diagnostics_error(diagnostics, columns == NULL ? nowhere : columns->position,
                              "%s.columns: '%s' is no column", section->name, settings->columns.items[i]);
    }
    for (size_t i = 0; i < settings->child_tables.count; i++) {
        if (!is_name(settings->child_tables.keys[i]) || !is_name(settings->child_tables.values[i]))
            diagnostics_error(diagnostics, tables == NULL ? nowhere : tables->position,
                              "%s.child_tables: '%s: %s' is no table with a column", section->name,
                              settings->child_tables.keys[i], settings->child_tables.values[i]);
    }
}
