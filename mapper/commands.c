#include "mapper/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/runtime/output.h"
#include "common/runtime/program.h"
#include "mapper/column_check.h"
#include "mapper/file_input.h"
#include "mapper/preview.h"
#include "mapper/reference.h"
#include "mapper/rule_tests.h"

enum { REMARKS_MAX = 1024, NAME_WIDTH = 24, PATHS_WIDTH = 44 };

/* --- check -------------------------------------------------------------------------------------------------------- */

static const char *arrow_of(const struct rule_field *field)
{
    const bool to_crm = field->is_written_on_create[SIDE_CRM] || field->is_written_on_update[SIDE_CRM];
    const bool to_partner_center =
        field->is_written_on_create[SIDE_PARTNER_CENTER] || field->is_written_on_update[SIDE_PARTNER_CENTER];

    return to_crm && to_partner_center ? "<->" : to_crm ? "-->" : "<--";
}

static int append_paths(struct text *out, const struct rule_field *field, enum side side)
{
    int status = field->path_count[side] == 0 ? text_append(out, "(constant)") : 0;

    for (size_t k = 0; k < field->path_count[side] && status == 0; k++)
        status = text_appendf(out, "%s%s", k > 0 ? ", " : "", field->paths[side][k]);
    return status;
}

static int append_blanks(struct text *out, size_t begin)
{
    int status = 0;

    while (status == 0 && out->length - begin < PATHS_WIDTH)
        status = text_append_char(out, ' ');
    return status;
}

/* Only what is not the rule: written both when created and when changed. */
static int append_occasions(struct text *out, const struct rule_field *field, enum side side)
{
    const bool on_create = field->is_written_on_create[side];
    const bool on_update = field->is_written_on_update[side];
    const bool on_invite = side == SIDE_PARTNER_CENTER && field->is_written_on_invite;

    if (on_create == on_update && !on_invite)
        return 0;
    return text_appendf(out, "%s%s:%s%s%s only", out->length == 0 ? "" : ", ", side_name(side),
                        on_create ? " create" : "", on_update ? " update" : "", on_invite ? " invite" : "");
}

/* What is changed on one side only never meets a change of the other. */
static bool can_conflict(const struct rule_field *field)
{
    return field->is_written_on_update[SIDE_CRM] && field->is_written_on_update[SIDE_PARTNER_CENTER];
}

static int append_remarks(struct text *out, const struct rule_field *field)
{
    static const char *const policies[] = {"partner-center", "crm", "latest", "manual"};

    if (can_conflict(field) && text_appendf(out, "conflict: %s", policies[field->policy]) < 0)
        return -1;
    return append_occasions(out, field, SIDE_CRM) < 0 ? -1 : append_occasions(out, field, SIDE_PARTNER_CENTER);
}

static int append_field(struct text *out, const struct rule_field *field)
{
    struct text remarks;
    size_t begin;
    int status = -1;

    text_init(&remarks, REMARKS_MAX);
    if (append_remarks(&remarks, field) < 0 || text_appendf(out, "  %-*s ", NAME_WIDTH, field->name) < 0)
        goto out;
    begin = out->length;
    if (append_paths(out, field, SIDE_PARTNER_CENTER) < 0 || append_blanks(out, begin) < 0 ||
        text_appendf(out, " %s ", arrow_of(field)) < 0)
        goto out;
    begin = out->length;
    if (append_paths(out, field, SIDE_CRM) < 0 ||
        (remarks.length > 0 && (append_blanks(out, begin) < 0 || text_appendf(out, " %s", text_string(&remarks)) < 0)))
        goto out;
    status = text_append(out, "\n");
out:
    text_done(&remarks);
    return status;
}

static int append_summary(struct text *out, const char *path, const struct rules *rules)
{
    if (text_appendf(out, "%s: version %s, %s %s, %zu fields\n", path, rules->version, rules->crm, rules->record_type,
                     rules->field_count) < 0 ||
        text_appendf(out, "  identifier: %s, switch: %s, audit: %s\n\n", rules->identifier_column,
                     rules->sync_column != NULL ? rules->sync_column : "none",
                     rules->audit_column != NULL ? rules->audit_column : "none") < 0)
        return -1;
    for (size_t k = 0; k < rules->field_count; k++) {
        if (append_field(out, &rules->fields[k]) < 0)
            return -1;
    }
    return 0;
}

/* Without a configuration nobody knows which columns are read. */
static int check_columns(const char *config_path, const struct rules *rules, struct diagnostics *diagnostics)
{
    static const char *const foreign_sections[] = {
        "program",      "kafka",      "ingest",   "mapper",      "pusher", "partner_center",
        "dynamics_365", "salesforce", "postgres", "credentials", NULL};
    struct column_check columns = {0};
    const struct config_section section = column_check_section(&columns);
    struct config *config = NULL;
    int status;

    if (config_path == NULL)
        return 0;
    if (config_load(config_path, &section, 1, foreign_sections, diagnostics, &config) < 0)
        return -1;
    status = column_check(&columns, rules, diagnostics);
    config_free(config);
    return status;
}

static int check(const char *path, const char *config_path)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = file_input_rules(&diagnostics, path);
    const bool is_good = rules != NULL && check_columns(config_path, rules, &diagnostics) == 0;
    struct text out;
    int status = EXIT_BAD_CONFIG;

    text_init(&out, OUTPUT_MAX);
    output_diagnostics(&diagnostics);
    if (is_good) {
        status = append_summary(&out, path, rules) == 0 ? EXIT_OK : EXIT_ERROR;
        output_text(stdout, &out);
    }
    text_done(&out);
    rules_free(rules);
    diagnostics_done(&diagnostics);
    return status;
}

/* --- test --------------------------------------------------------------------------------------------------------- */

static int test(const char *const *paths, size_t count)
{
    struct rule_tests_count total = {0};
    int status = EXIT_OK;

    for (size_t k = 0; k < count; k++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        struct text report;

        text_init(&report, OUTPUT_MAX);
        (void)printf("%s\n", paths[k]);
        if (rule_tests_run(paths[k], &report, &total, &diagnostics) < 0)
            status = EXIT_BAD_CONFIG;
        output_text(stdout, &report);
        output_diagnostics(&diagnostics);
        text_done(&report);
        diagnostics_done(&diagnostics);
    }
    (void)printf("%zu passed, %zu failed", total.passed, total.failed);
    if (total.unusable > 0)
        (void)printf(", %zu cannot be used", total.unusable);
    (void)printf("\n");
    return status == EXIT_OK && total.failed > 0 ? EXIT_ERROR : status;
}

/* --- preview ------------------------------------------------------------------------------------------------------ */

int command_preview(const struct command_line *line, const char *rules_path, const struct deal *deal)
{
    const struct preview_request request = {.partner_center = line->arguments[0],
                                            .crm = line->arguments[1],
                                            .base = command_line_option(line, "base"),
                                            .deal = deal,
                                            .as_json = command_line_option(line, "json") != NULL};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct error err = ERROR_INIT;
    struct rules *rules;
    struct text out;
    int status = EXIT_BAD_CONFIG;

    if (rules_path == NULL) {
        (void)fputs("tandem-mapper preview: --rules FILE is needed\n", stderr);
        return EXIT_USAGE;
    }
    text_init(&out, OUTPUT_MAX);
    rules = file_input_rules(&diagnostics, rules_path);
    output_diagnostics(&diagnostics);
    if (rules != NULL && preview_run(rules, &request, &out, &err) == 0) {
        output_text(stdout, &out);
        status = EXIT_OK;
    } else if (rules != NULL) {
        (void)fprintf(stderr, "tandem-mapper preview: %s\n", err.message);
    }
    text_done(&out);
    rules_free(rules);
    diagnostics_done(&diagnostics);
    return status;
}

/* --- reference ---------------------------------------------------------------------------------------------------- */

static int reference(void)
{
    struct text out;
    int status = EXIT_ERROR;

    text_init(&out, OUTPUT_MAX);
    if (reference_append(&out) == 0) {
        output_text(stdout, &out);
        status = EXIT_OK;
    }
    text_done(&out);
    return status;
}

int command_run(const struct command_line *line)
{
    if (strcmp(line->command->name, "reference") == 0)
        return reference();
    if (strcmp(line->command->name, "check") == 0)
        return check(line->arguments[0], command_line_option(line, "config"));
    if (strcmp(line->command->name, "test") == 0)
        return test(line->arguments, line->argument_count);
    return command_preview(line, command_line_option(line, "rules"), NULL);
}
