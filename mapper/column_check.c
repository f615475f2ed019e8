#include "mapper/column_check.h"

#include <string.h>

#include "common/base/text.h"
#include "common/systems/dynamics365_columns.h"

#define SECTION "dynamics_365"
#define KEY     "columns"

static const struct config_key COLUMNS_KEY = {
    .name = KEY,
    .type = CONFIG_LIST,
    .offset = offsetof(struct column_check, columns),
    .default_text = DYNAMICS_365_COLUMNS_DEFAULT,
    .help = "Columns that are read; every column the rules read.",
};

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

    for (size_t k = 0; k < ARRAY_LENGTH(DYNAMICS_365_COLUMNS_ALWAYS); k++) {
        if (strcmp(DYNAMICS_365_COLUMNS_ALWAYS[k], column) == 0)
            return true;
    }
    for (size_t k = 0; k < check->columns.count; k++) {
        if (strcmp(check->columns.items[k], column) == 0)
            return true;
    }
    /* The primary key, "opportunityid". */
    return strncmp(column, rules->record_type, type_length) == 0 && strcmp(column + type_length, "id") == 0;
}

int column_check(const struct column_check *check, const struct rules *rules, struct diagnostics *diagnostics)
{
    int result = 0;

    if (!check->has_section || !text_equal(rules->crm, "dynamics-365"))
        return 0;
    for (size_t k = 0; k < rules->column_count; k++) {
        const struct rule_column *column = &rules->columns[k];
        if (!is_read(check, rules, column->name))
            result = diagnostics_error(
                diagnostics, column->position,
                "the column '%s' is not read: it is not in " SECTION "." KEY " of the configuration", column->name);
    }
    return result;
}
