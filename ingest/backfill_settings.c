#include <stddef.h>

#include "common/base/text.h"
#include "common/systems/dynamics365_column_path.h"
#include "ingest/backfill.h"

enum { PER_SECOND_MAX = 1000 };

#define KEY(name_, type_, member_) \
    .name = (name_), .type = (type_), .offset = offsetof(struct backfill_settings, member_)
const struct config_key BACKFILL_KEYS[] = {
    {KEY("per_second", CONFIG_INTEGER, per_second), .default_text = "5", .min = 1, .max = PER_SECOND_MAX,
     .help = "Records told in a second, so that what webhooks tell meanwhile does not wait behind them."},
    {KEY("records_max", CONFIG_INTEGER, records_max), .default_text = "200000", .min = 1, .max = 10000000,
     .help = "Referrals and rows that take part, together; at most 250 bytes of memory each. Beyond, nothing is told."},
    {KEY("page_rows", CONFIG_INTEGER, page_rows), .default_text = "2000", .min = 1, .max = 5000,
     .help = "Rows of Dynamics 365 asked for at once."},
    {KEY("sync_column", CONFIG_TEXT, sync_column), .default_text = "msft_microsoftpartnercenterreferralsync",
     .help = "Column that says that a row is to be synchronised; the rules' identity.sync."},
};
const size_t BACKFILL_KEY_COUNT = ARRAY_LENGTH(BACKFILL_KEYS);
#undef KEY

void backfill_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                struct diagnostics *diagnostics)
{
    const struct backfill_settings *settings = section->target;
    const struct yaml_node *column = yaml_get(node, "sync_column");
    const struct position nowhere = {0};
    struct dynamics_column_path path;

    if (!dynamics_column_path_read(settings->sync_column, &path) || settings->sync_column[path.head_length] != '\0')
        diagnostics_error(diagnostics, column == NULL ? nowhere : column->position, "%s.sync_column: '%s' is no column",
                          section->name, settings->sync_column);
}

const struct option_spec BACKFILL_OPTIONS[] = {
    {"dry-run", NULL, "only list, count and report, deal by deal; nothing is told"},
    {"linked-only", NULL, "only deals whose records name each other; what exists on one side only is left alone"},
    {"again", NULL, "begin at the beginning, whatever was told before"},
    {"report", "FILE", "write what is ambiguous, and with --dry-run what would be told; a line of JSON each, ids only"},
};
const size_t BACKFILL_OPTION_COUNT = ARRAY_LENGTH(BACKFILL_OPTIONS);

struct backfill_request backfill_request_read(const struct command_line *line)
{
    return (struct backfill_request){.is_dry_run = command_line_option(line, "dry-run") != NULL,
                                     .linked_only = command_line_option(line, "linked-only") != NULL,
                                     .begins_again = command_line_option(line, "again") != NULL,
                                     .report_path = command_line_option(line, "report")};
}
