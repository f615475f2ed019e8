#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/client.h"
#include "common/runtime/command_line.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/program.h"
#include "mapper/column_check.h"
#include "mapper/commands.h"
#include "mapper/file_input.h"
#include "mapper/worker.h"

#define PROGRAM "tandem-mapper"

enum { OUTPUT_MAX = 1024 * 1024 };

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

static int load_config(struct app *app, const char *path, struct diagnostics *diagnostics)
{
    const struct config_section sections[] = {
        {.name = "program", .keys = PROGRAM_KEYS, .key_count = PROGRAM_KEY_COUNT, .target = &app->program_settings},
        {.name = "kafka",
         .keys = KAFKA_KEYS,
         .key_count = KAFKA_KEY_COUNT,
         .target = &app->kafka_settings,
         .validate = kafka_settings_validate},
        {.name = "mapper", .keys = MAPPER_KEYS, .key_count = MAPPER_KEY_COUNT, .target = &app->mapper_settings},
        column_check_section(&app->column_check),
    };

    return config_load(path, sections, ARRAY_LENGTH(sections), FOREIGN_SECTIONS, diagnostics, &app->config);
}

static struct rules *load_rules(const struct app *app, struct diagnostics *diagnostics)
{
    struct rules *rules = file_input_rules(diagnostics, app->mapper_settings.rules);

    if (rules && column_check(&app->column_check, rules, diagnostics) < 0) {
        rules_free(rules);
        rules = NULL;
    }
    return rules;
}

static void print_text(FILE *stream, const struct text *text)
{
    (void)fwrite(text_string(text), 1, text->length, stream);
    (void)fflush(stream);
}

static void print_diagnostics(const struct diagnostics *diagnostics)
{
    struct text out;

    text_init(&out, OUTPUT_MAX);
    if (diagnostics_print(diagnostics, &out) < 0)
        (void)fputs("too many messages to print all of them\n", stderr);
    print_text(stderr, &out);
    text_done(&out);
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

    if (rules) {
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

static int print_config(const struct app *app)
{
    struct text out;
    int status = EXIT_ERROR;

    text_init(&out, OUTPUT_MAX);
    if (config_print(app->config, &out) == 0) {
        print_text(stdout, &out);
        status = EXIT_OK;
    }
    text_done(&out);
    return status;
}

static int run(const struct command_line *line)
{
    static const struct program_callbacks callbacks = {.start = start, .drain = drain, .reload = reload, .stop = stop};
    struct app app = {0};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    int status = EXIT_BAD_CONFIG;

    if (load_config(&app, line->config_path, &diagnostics) < 0)
        goto out;
    if (line->print_config) {
        status = print_config(&app);
        goto out;
    }
    app.rules = load_rules(&app, &diagnostics);
    if (!app.rules)
        goto out;
    if (line->check_only) {
        (void)printf("%s: rules %s, version %s: %zu fields\n", line->config_path, app.mapper_settings.rules,
                     app.rules->version, app.rules->field_count);
        status = EXIT_OK;
        goto out;
    }
    print_diagnostics(&diagnostics);
    diagnostics_done(&diagnostics);
    diagnostics = (struct diagnostics)DIAGNOSTICS_INIT;
    status = program_run(PROGRAM, &app.program_settings, &callbacks, &app);
out:
    print_diagnostics(&diagnostics);
    diagnostics_done(&diagnostics);
    rules_free(app.rules);
    config_free(app.config);
    return status;
}

/* --- Command line ------------------------------------------------------------------------------------------------- */

static const struct option_spec PREVIEW_OPTIONS[] = {
    {"rules", "FILE", "The rules to apply."},
    {"base", "FILE", "Both records as they were when they last agreed: {\"partner_center\": {…}, \"crm\": {…}}."},
    {"json", NULL, "Print the decisions as they would be in the topic."},
};

static const struct command_spec COMMANDS[] = {
    {.name = NULL,
     .help = "Merge what comes in from both sides and decide what is written where.",
     .needs_config = true},
    {.name = "check", .arguments = "RULES", .help = "Check a rule file and show what it maps."},
    {.name = "test", .arguments = "TESTFILE...", .help = "Run rule tests (docs/rules-tests.md)."},
    {.name = "reference", .help = "Print the reference of the rule language, as in docs/rules.md."},
    {.name = "preview",
     .arguments = "REFERRAL CRM_RECORD",
     .help = "Show what would be written for two records, given as JSON files ('-': there is none), and why.",
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
    return line.command->name ? command_run(&line) : run(&line);
}
