#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/client.h"
#include "common/runtime/command_line.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/output.h"
#include "common/runtime/program.h"
#include "mapper/column_check.h"
#include "mapper/commands.h"
#include "mapper/deal_lookup.h"
#include "mapper/file_input.h"
#include "mapper/settle_command.h"
#include "mapper/worker.h"

#define PROGRAM "tandem-mapper"

enum { SECTION_COUNT = 4 };

struct app {
    struct program_settings program_settings;
    struct kafka_settings kafka_settings;
    struct mapper_settings mapper_settings;
    struct column_check column_check;
    struct config *config;
    struct rules *rules; /* until the worker has them */
    struct worker *worker;
};

/* --- Configuration ------------------------------------------------------------------------------------------------ */

static const char *const FOREIGN_SECTIONS[] = {
    "ingest", "pusher", "partner_center", "dynamics_365", "salesforce", "postgres", "credentials", NULL,
};

/* `reads_rules_only`: the files of the section mapper need not be here; the rules are told when they are read. */
static void list_sections(struct app *app, bool reads_rules_only, struct config_section out[static SECTION_COUNT])
{
    const struct config_section sections[SECTION_COUNT] = {
        {.name = "program", .keys = PROGRAM_KEYS, .key_count = PROGRAM_KEY_COUNT, .target = &app->program_settings},
        {.name = "kafka",
         .keys = KAFKA_KEYS,
         .key_count = KAFKA_KEY_COUNT,
         .target = &app->kafka_settings,
         .validate = kafka_settings_validate},
        {.name = "mapper",
         .keys = MAPPER_KEYS,
         .key_count = MAPPER_KEY_COUNT,
         .target = &app->mapper_settings,
         .is_elsewhere = reads_rules_only},
        column_check_section(&app->column_check),
    };

    memcpy(out, sections, sizeof(sections));
}

static int load_config(struct app *app, const char *path, bool reads_rules_only, struct diagnostics *diagnostics)
{
    struct config_section sections[SECTION_COUNT];

    list_sections(app, reads_rules_only, sections);
    return config_load(path, sections, SECTION_COUNT, FOREIGN_SECTIONS, diagnostics, &app->config);
}

static struct rules *load_rules(const struct app *app, struct diagnostics *diagnostics)
{
    struct rules *rules = file_input_rules(diagnostics, app->mapper_settings.rules);

    if (rules != NULL && column_check(&app->column_check, rules, diagnostics) < 0) {
        rules_free(rules);
        rules = NULL;
    }
    return rules;
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

static int start(void *arg, struct program *program, struct error *err)
{
    struct app *app = arg;
    struct rules *rules = app->rules;

    log_info("mapper.rules_loaded", LOG_TEXT("path", app->mapper_settings.rules), LOG_TEXT("version", rules->version),
             LOG_INTEGER("fields", rules->field_count));
    app->rules = NULL;
    return worker_new(program, &app->kafka_settings, &app->mapper_settings, rules, &app->worker, err);
}

static void drain(void *arg)
{
    struct app *app = arg;

    worker_drain(app->worker);
}

static void log_diagnostics(const struct diagnostics *diagnostics)
{
    const char *message;

    for (size_t k = 0; (message = diagnostics_message(diagnostics, k, NULL)) != NULL; k++)
        log_error("mapper.rules_message", LOG_TEXT("message", message));
}

/* New rules hold from the next message on; ones with errors change nothing. */
static void reload(void *arg)
{
    struct app *app = arg;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct rules *rules = load_rules(app, &diagnostics);

    if (rules != NULL) {
        log_info("mapper.rules_loaded", LOG_TEXT("path", app->mapper_settings.rules),
                 LOG_TEXT("version", rules->version), LOG_INTEGER("fields", rules->field_count));
        worker_set_rules(app->worker, rules);
    } else {
        log_diagnostics(&diagnostics);
        log_error("mapper.rules_kept", LOG_TEXT("path", app->mapper_settings.rules),
                  LOG_INTEGER("errors", diagnostics.error_count));
    }
    diagnostics_done(&diagnostics);
}

static void stop(void *arg)
{
    struct app *app = arg;

    worker_free(app->worker);
    app->worker = NULL;
}

static int describe_config(void)
{
    struct app app = {0};
    struct config_section sections[SECTION_COUNT];

    list_sections(&app, false, sections);
    return output_config_keys(sections, SECTION_COUNT);
}

/* What would run, and with what. */
static void print_check(const struct app *app, const char *config_path)
{
    static const char *const policies[] = {"partner-center", "crm", "latest", "manual"};
    const struct rules *rules = app->rules;

    (void)printf("%s: tandem-mapper %s\n", config_path,
                 app->program_settings.instance != NULL ? app->program_settings.instance : "(instance not set)");
    (void)printf("kafka     %s, topics %s*, group %smapper\n", app->kafka_settings.bootstrap_servers,
                 app->kafka_settings.topic_prefix, app->kafka_settings.topic_prefix);
    (void)printf("store     %s\n", app->mapper_settings.store_directory);
    (void)printf("rules     %s, version %s, for %s %s\n", app->mapper_settings.rules, rules->version, rules->crm,
                 rules->record_type);
    (void)printf("fields    %zu\n", rules->field_count);
    for (size_t policy = 0; policy < ARRAY_LENGTH(policies); policy++) {
        size_t count = 0;

        for (size_t k = 0; k < rules->field_count; k++)
            count += rules->fields[k].is_written_on_update[SIDE_CRM] &&
                     rules->fields[k].is_written_on_update[SIDE_PARTNER_CENTER] &&
                     rules->fields[k].policy == (enum rule_policy)policy;
        (void)printf("conflicts %zu settled by %s\n", count, policies[policy]);
    }
}

static int run(const struct command_line *line)
{
    static const struct program_callbacks callbacks = {.start = start, .drain = drain, .reload = reload, .stop = stop};
    struct app app = {0};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    int status = EXIT_BAD_CONFIG;

    if (load_config(&app, line->config_path, false, &diagnostics) < 0)
        goto out;
    if (line->print_config) {
        status = output_config(app.config);
        goto out;
    }
    app.rules = load_rules(&app, &diagnostics);
    if (app.rules == NULL)
        goto out;
    if (line->check_only) {
        print_check(&app, line->config_path);
        status = EXIT_OK;
        goto out;
    }
    output_diagnostics(&diagnostics);
    diagnostics_done(&diagnostics);
    diagnostics = (struct diagnostics)DIAGNOSTICS_INIT;
    status = program_run(PROGRAM, &app.program_settings, &callbacks, &app);
out:
    output_diagnostics(&diagnostics);
    diagnostics_done(&diagnostics);
    rules_free(app.rules);
    config_free(app.config);
    return status;
}

/* --- Settling ----------------------------------------------------------------------------------------------------- */

static const struct option_spec SETTLE_OPTIONS[] = {
    {"deal", "KEY", "The deal's key, as in the audit's view manual_conflicts."},
    {"field", "NAME", "The field, by its name in the rules."},
    {"take", "SIDE", "Whose value holds: partner-center or crm."},
};

static int settle(const struct command_line *line)
{
    const struct settle_request request = {.deal_key = command_line_option(line, "deal"),
                                           .field = command_line_option(line, "field"),
                                           .take = command_line_option(line, "take")};
    struct app app = {0};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct error err = ERROR_INIT;
    int status = EXIT_BAD_CONFIG;

    if ((request.deal_key == NULL || request.field == NULL || request.take == NULL) && !line->check_only &&
        !line->print_config) {
        (void)fputs("tandem-mapper settle: --deal, --field and --take are needed\n", stderr);
        return EXIT_USAGE;
    }
    log_setup(PROGRAM, LOG_LEVEL_WARNING);
    if (load_config(&app, line->config_path, true, &diagnostics) == 0)
        app.rules = load_rules(&app, &diagnostics);
    output_diagnostics(&diagnostics);
    if (app.rules != NULL && line->print_config) {
        status = output_config(app.config);
    } else if (app.rules != NULL && line->check_only) {
        print_check(&app, line->config_path);
        status = EXIT_OK;
    } else if (app.rules != NULL && settle_command_run(&app.kafka_settings, app.rules, &request, &err) == 0) {
        (void)printf("deal %s: field %s takes the value of %s; what comes of it stands in the audit\n",
                     request.deal_key, request.field, request.take);
        status = EXIT_OK;
    } else if (app.rules != NULL) {
        (void)fprintf(stderr, "tandem-mapper settle: %s\n", err.message);
        status = text_starts_with(err.code, "settle.") || text_equal(err.code, "deal.unknown") ? EXIT_USAGE
                                                                                               : exit_status_of(&err);
    }
    diagnostics_done(&diagnostics);
    rules_free(app.rules);
    config_free(app.config);
    return status;
}

/* --- Preview with what is known of the deal ----------------------------------------------------------------------- */

static int preview_deal(const struct command_line *line)
{
    const char *rules_path = command_line_option(line, "rules");
    const char *config_path = command_line_option(line, "config");
    struct app app = {0};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct error err = ERROR_INIT;
    struct deal deal;
    int status = EXIT_BAD_CONFIG;
    bool is_loaded;

    if (config_path == NULL || command_line_option(line, "base") != NULL) {
        (void)fputs("tandem-mapper preview: --deal needs --config, and goes without --base\n", stderr);
        return EXIT_USAGE;
    }
    log_setup(PROGRAM, LOG_LEVEL_WARNING);
    is_loaded = load_config(&app, config_path, true, &diagnostics) == 0;
    output_diagnostics(&diagnostics);
    if (is_loaded && deal_lookup(&app.kafka_settings, command_line_option(line, "deal"), &deal, &err) == 0) {
        status = command_preview(line, rules_path != NULL ? rules_path : app.mapper_settings.rules, &deal);
        deal_done(&deal);
    } else if (is_loaded) {
        (void)fprintf(stderr, "tandem-mapper preview: %s\n", err.message);
        status = text_equal(err.code, "deal.unknown") ? EXIT_USAGE : exit_status_of(&err);
    }
    diagnostics_done(&diagnostics);
    config_free(app.config);
    return status;
}

/* --- Command line ------------------------------------------------------------------------------------------------- */

static const struct option_spec CHECK_OPTIONS[] = {
    {"config", "FILE", "Check as well that the columns the rules read are among those this configuration has read."},
};

static const struct option_spec PREVIEW_OPTIONS[] = {
    {"rules", "FILE", "The rules to apply; needed, but with --deal those of the configuration are taken without it."},
    {"base", "FILE", "Both records as they were when they last agreed: {\"partner_center\": {…}, \"crm\": {…}}."},
    {"deal", "KEY", "In place of --base: what Tandem knows of this deal, from Kafka; needs --config."},
    {"config", "FILE", "With --deal: the mapper's configuration."},
    {"json", NULL, "Print the decisions as they would be in the topic."},
};

static const struct command_spec COMMANDS[] = {
    {.name = NULL,
     .help = "Merge what comes in from both sides and decide what is written where.",
     .needs_config = true},
    {.name = "settle",
     .help = "Settle a conflict that the policy manual has left open.",
     .details =
         "--deal, --field and --take are needed; the audit's view manual_conflicts lists what is open. The order goes\n"
         "to the running mapper by way of Kafka; what it writes, and why, stands in the audit.\n"
         "\n"
         "Exit status: 0 when Kafka has it, 64 when there is no such deal, no conflict of it waits in this field, or the\n"
         "rules have no such field or settle it themselves, 1 when the brokers do not answer, 71 when topics or rights at\n"
         "Kafka are not as they must be, 78 for the configuration or the rules.\n",
     .options = SETTLE_OPTIONS,
     .option_count = ARRAY_LENGTH(SETTLE_OPTIONS),
     .needs_config = true},
    {.name = "check",
     .arguments = "RULES",
     .help = "Check a rule file and show what it maps.",
     .details = "Exit status: 0 when the rules are good, 78 when not; every error is told with its place.\n",
     .options = CHECK_OPTIONS,
     .option_count = ARRAY_LENGTH(CHECK_OPTIONS)},
    {.name = "test",
     .arguments = "TESTFILE...",
     .help = "Run rule tests (docs/rules-tests.md).",
     .details = "Exit status: 0 when every case passes, 1 when one fails, 78 when a file or a case cannot be used.\n"},
    {.name = "reference", .help = "Print the reference of the rule language, as in docs/rules.md."},
    {.name = "preview",
     .arguments = "REFERRAL CRM_RECORD",
     .help = "Show what would be written for two records, given as JSON files ('-': there is none), and why.",
     .details =
         "The records are what 'tandem-ingest read' prints, or what the two systems' APIs answer. Without --base and\n"
         "--deal they have never agreed, as when a referral meets an opportunity for the first time. --rules is needed\n"
         "without --deal. Nothing is written anywhere.\n"
         "\n"
         "Exit status: 0 when it is shown, 64 for the command line or when there is no such deal, 1 when the brokers do\n"
         "not answer, 71 when topics or rights at Kafka are not as they must be, 78 when a file cannot be used.\n",
     .options = PREVIEW_OPTIONS,
     .option_count = ARRAY_LENGTH(PREVIEW_OPTIONS)},
};

static int describe_libraries(struct text *out)
{
    return text_appendf(out, "librdkafka %s\njansson %s\nlibevent %s\n", rd_kafka_version_str(), jansson_version_str(),
                        event_get_version());
}

static const struct program_description DESCRIPTION = {
    .name = PROGRAM,
    .summary = "Decides what has to be written to keep Partner Center and the CRM the same.",
    .commands = COMMANDS,
    .command_count = ARRAY_LENGTH(COMMANDS),
    .describe_libraries = describe_libraries,
};

int main(int argc, char **argv)
{
    struct command_line line;
    int parsed;

    program_setup();
    parsed = command_line_parse(&DESCRIPTION, argc, argv, &line);
    if (parsed != 0)
        return parsed > 0 ? EXIT_OK : EXIT_USAGE;
    if (line.describe_config)
        return describe_config();
    if (line.command->name == NULL)
        return run(&line);
    if (strcmp(line.command->name, "settle") == 0)
        return settle(&line);
    if (strcmp(line.command->name, "preview") == 0 && command_line_option(&line, "deal") != NULL)
        return preview_deal(&line);
    return command_run(&line);
}
