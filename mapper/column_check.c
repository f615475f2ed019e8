#include "mapper/column_check.h"

#include <string.h>

#include "common/base/text.h"

#define SECTION "dynamics_365"
#define KEY     "columns"

static const struct config_key COLUMNS_KEY = {
    .name = KEY,
    .type = CONFIG_LIST,
    .offset = offsetof(struct column_check, columns),
    .help = "Columns that are read; every column the rules use.",
};

/* What is read whatever the list says (systems/dynamics365_record.c). */
static const char *const ALWAYS_READ[] = {"versionnumber", "modifiedon", "_modifiedby_value", "statecode",
                                          "statuscode"};

struct config_section column_check_section(struct column_check *check)
{
    return (struct config_section){.name = SECTION,
                                   .keys = &COLUMNS_KEY,
                                   .key_count = 1,
                                   .target = check,
                                   .is_optional = true,
                                   .present_flag = &check->has_section};
}

static bool is_read(const struct column_check *check, const struct rules *rules, const char *column)
{
    const size_t type_length = strlen(rules->record_type);

    for (size_t k = 0; k < ARRAY_LENGTH(ALWAYS_READ); k++) {
        if (strcmp(ALWAYS_READ[k], column) == 0)
            return true;
    }
    for (size_t k = 0; k < check->columns.count; k++) {
        if (strcmp(check->columns.items[k], column) == 0)
            return true;
    }
    /* The primary key, "opportunityid". */
    return strncmp(column, rules->record_type, type_length) == 0 && strcmp(column + type_length, "id") == 0;
}

static int report_unread(const struct column_check *check, const char *column, struct diagnostics *diagnostics)
{
    const struct position nowhere = {0};
    const char *nearest = diagnostic_suggest(column, (const char *const *)check->columns.items, check->columns.count);

    return diagnostics_error(diagnostics, nowhere,
                             "the rules use column '%s', which is not in " SECTION "." KEY
                             " of the configuration and so would never be read%s%s%s",
                             column, nearest ? " (the nearest is '" : "", nearest ? nearest : "", nearest ? "')" : "");
}

int column_check(const struct column_check *check, const struct rules *rules, struct diagnostics *diagnostics)
{
    size_t count = 0;
    char *const *columns = rules_columns(rules, &count);
    int result = 0;

    if (!check->has_section || check->columns.count == 0 || !text_equal(rules->crm, "dynamics-365"))
        return 0;
    for (size_t k = 0; k < count; k++) {
        if (!is_read(check, rules, columns[k]))
            result = report_unread(check, columns[k], diagnostics);
    }
    return result;
}
