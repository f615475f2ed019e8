#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/kafka/topics.h"
#include "common/runtime/command_line.h"
#include "common/runtime/config.h"
#include "common/runtime/config_value.h"
#include "common/runtime/log.h"
#include "common/runtime/output.h"
#include "common/runtime/program.h"
#include "common/systems/credentials.h"
#include "common/systems/dynamics365.h"
#include "common/systems/partner_center.h"
#include "pusher/migrate.h"
#include "pusher/postgres.h"
#include "pusher/redrive.h"
#include "pusher/worker.h"

#define PROGRAM "tandem-pusher"

enum { TOPICS_TIMEOUT_MS = 20000, FLUSH_MS = 2000 };

enum section {
    SECTION_PROGRAM,
    SECTION_KAFKA,
    SECTION_POSTGRES,
    SECTION_PUSHER,
    SECTION_PARTNER_CENTER,
    SECTION_CREDENTIALS,
    SECTION_DYNAMICS_365,
    SECTION_COUNT
};

struct app {
    struct program_settings program_settings;
    struct kafka_settings kafka_settings;
    struct postgres_settings postgres_settings;
    struct pusher_settings pusher_settings;
    struct partner_center_settings partner_center_settings;
    struct credentials_settings credentials_settings;
    struct dynamics_365_settings dynamics_365_settings;
    bool has_partner_center;
    bool has_credentials;
    bool has_dynamics_365;
    struct config *config;
    struct program *program;
    struct producer *producer;
    struct credentials *credentials;
    struct system *partner_center;
    struct system *dynamics_365;
    struct worker *worker;
    bool is_draining;
};

/* --- Configuration ------------------------------------------------------------------------------------------------ */

static const char *const FOREIGN_SECTIONS[] = {"ingest", "mapper", "salesforce", NULL};

static void list_sections(struct app *app, struct config_section out[static SECTION_COUNT])
{
    const struct config_section sections[SECTION_COUNT] = {
        [SECTION_PROGRAM] = {.name = "program",
                             .keys = PROGRAM_KEYS,
                             .key_count = PROGRAM_KEY_COUNT,
                             .target = &app->program_settings},
        [SECTION_KAFKA] = {.name = "kafka",
                           .keys = KAFKA_KEYS,
                           .key_count = KAFKA_KEY_COUNT,
                           .target = &app->kafka_settings,
                           .validate = kafka_settings_validate},
        [SECTION_POSTGRES] = {.name = "postgres",
                              .keys = POSTGRES_KEYS,
                              .key_count = POSTGRES_KEY_COUNT,
                              .target = &app->postgres_settings,
                              .validate = postgres_settings_validate},
        [SECTION_PUSHER] = {.name = "pusher",
                            .keys = PUSHER_KEYS,
                            .key_count = PUSHER_KEY_COUNT,
                            .target = &app->pusher_settings},
        [SECTION_PARTNER_CENTER] = {.name = "partner_center",
                                    .keys = PARTNER_CENTER_KEYS,
                                    .key_count = PARTNER_CENTER_KEY_COUNT,
                                    .target = &app->partner_center_settings,
                                    .is_optional = true,
                                    .present_flag = &app->has_partner_center},
        [SECTION_CREDENTIALS] = {.name = "credentials",
                                 .keys = CREDENTIALS_KEYS,
                                 .key_count = CREDENTIALS_KEY_COUNT,
                                 .target = &app->credentials_settings,
                                 .is_optional = true,
                                 .present_flag = &app->has_credentials,
                                 .validate = credentials_validate},
        [SECTION_DYNAMICS_365] = {.name = "dynamics_365",
                                  .keys = DYNAMICS_365_KEYS,
                                  .key_count = DYNAMICS_365_KEY_COUNT,
                                  .target = &app->dynamics_365_settings,
                                  .is_optional = true,
                                  .present_flag = &app->has_dynamics_365,
                                  .validate = dynamics_365_settings_validate},
    };

    memcpy(out, sections, sizeof(sections));
}

static int load_config(struct app *app, const char *path, struct diagnostics *diagnostics)
{
    struct config_section sections[SECTION_COUNT];

    list_sections(app, sections);
    if (config_load(path, sections, SECTION_COUNT, FOREIGN_SECTIONS, diagnostics, &app->config) < 0)
        return -1;
    if (app->has_partner_center && !app->has_credentials)
        return diagnostics_error(
            diagnostics, (struct position){.line = 0},
            "partner_center needs the section credentials: each sign-in gives a new refresh token");
    return 0;
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

static int start_worker(struct app *app, struct error *err)
{
    struct system *systems[3] = {NULL};
    size_t count = 0;

    if (app->partner_center != NULL)
        systems[count++] = app->partner_center;
    if (app->dynamics_365 != NULL)
        systems[count] = app->dynamics_365;
    return worker_new(app->program, &app->kafka_settings, &app->postgres_settings, &app->pusher_settings, app->producer,
                      systems, &app->worker, err);
}

static void on_credentials_failed(void *arg, const struct error *err)
{
    struct app *app = arg;

    program_fail(app->program, exit_status_of(err), err);
}

/* Before this the newest refresh token is not known, and an older one must not be spent. */
static void on_credentials_loaded(void *arg)
{
    struct app *app = arg;
    struct error err = ERROR_INIT;

    if (!app->is_draining && app->worker == NULL && start_worker(app, &err) < 0)
        program_fail(app->program, exit_status_of(&err), &err);
}

static void on_credentials_token(void *arg, const char *account, const char *refresh_token)
{
    struct app *app = arg;

    (void)account;
    if (partner_center_set_refresh_token(app->partner_center, refresh_token) < 0)
        log_error("credentials.not_taken", LOG_TEXT("account", account));
}

static int open_partner_center(struct app *app, struct error *err)
{
    static const struct credentials_callbacks callbacks = {
        .on_loaded = on_credentials_loaded, .on_token = on_credentials_token, .on_failed = on_credentials_failed};
    const struct credentials_account account = {.name = "partner-center",
                                                .first_token = app->partner_center_settings.refresh_token.bytes};
    struct loop *loop = program_loop(app->program);

    if (credentials_new(loop, &app->kafka_settings, &app->credentials_settings, program_instance(app->program),
                        app->producer, &account, 1, &callbacks, app, &app->credentials, err) < 0)
        return -1;
    return partner_center_new(loop, &app->partner_center_settings, credentials_save, app->credentials,
                              &app->partner_center, err);
}

static int verify_topics(const struct app *app, struct error *err)
{
    struct text report;
    int outcome;

    text_init(&report, OUTPUT_MAX);
    outcome = topics_verify(&app->kafka_settings, TOPICS_TIMEOUT_MS, &report, err);
    text_done(&report);
    return outcome;
}

static int start(void *arg, struct program *program, struct error *err)
{
    static const char *const topics[] = {TOPIC_OUTCOMES, TOPIC_DEAD_LETTERS, TOPIC_CREDENTIALS, NULL};
    struct app *app = arg;

    app->program = program;
    if (verify_topics(app, err) < 0 || producer_new(program_loop(program), &app->kafka_settings,
                                                    program_instance(program), topics, &app->producer, err) < 0)
        return -1;
    if (app->has_dynamics_365 &&
        dynamics_365_new(program_loop(program), &app->dynamics_365_settings, &app->dynamics_365, err) < 0)
        return -1;
    return app->has_partner_center ? open_partner_center(app, err) : start_worker(app, err);
}

static void drain(void *arg)
{
    struct app *app = arg;

    app->is_draining = true;
    if (app->worker != NULL)
        worker_drain(app->worker);
    else
        program_drained(app->program);
}

static void stop(void *arg)
{
    struct app *app = arg;

    worker_stop(app->worker);
    credentials_free(app->credentials);
    system_free(app->partner_center);
    system_free(app->dynamics_365);
    producer_free(app->producer, FLUSH_MS);
    worker_free(app->worker);
}

/* --- Commands ----------------------------------------------------------------------------------------------------- */

static int describe_config(void)
{
    struct app app = {0};
    struct config_section sections[SECTION_COUNT];

    list_sections(&app, sections);
    return output_config_keys(sections, SECTION_COUNT);
}

static int run_migrate(const struct app *app, const struct command_line *line)
{
    const char *conninfo_file = command_line_option(line, "conninfo-file");
    bool is_dry_run = line->check_only || command_line_option(line, "dry-run") != NULL;
    struct secret conninfo = {0};
    struct error err = ERROR_INIT;
    struct text report;
    int status = EXIT_OK;

    text_init(&report, OUTPUT_MAX);
    if ((conninfo_file != NULL && secret_from_file(conninfo_file, &conninfo, &err) < 0) ||
        migrate(&app->postgres_settings, conninfo.bytes, is_dry_run, &report, &err) < 0)
        status = exit_status_of(&err);
    output_text(stdout, &report);
    if (status != EXIT_OK)
        (void)fprintf(stderr, PROGRAM ": %s\n", err.message);
    text_done(&report);
    secret_done(&conninfo);
    return status;
}

/* "24h", or a moment. */
static bool read_since(const char *text, int64_t *ret_ms)
{
    struct timestamp moment;
    struct value_fault fault;
    int64_t ago_ms;

    if (timestamp_parse(text, false, &moment)) {
        *ret_ms = timestamp_to_ms(moment);
        return true;
    }
    if (value_parse_duration(text, &ago_ms, &fault) < 0)
        return false;
    *ret_ms = timestamp_to_ms(clock_now()) - ago_ms;
    return true;
}

static bool is_stage(const char *name)
{
    static const char *const stages[] = {"serve", "fetch", "mapper", "pusher"};

    for (size_t i = 0; i < ARRAY_LENGTH(stages); i++) {
        if (strcmp(name, stages[i]) == 0)
            return true;
    }
    return false;
}

/* -1: told on standard error. */
static int read_selection(const struct command_line *line, struct redrive_request *request)
{
    struct set_aside_selection *selection = &request->selection;
    const char *since = command_line_option(line, "since"), *limit = command_line_option(line, "limit");
    unsigned long long number = REDRIVE_LIMIT_DEFAULT;

    selection->deal = command_line_option(line, "deal");
    selection->code = command_line_option(line, "code");
    selection->stage = command_line_option(line, "stage");
    if (selection->stage != NULL && !is_stage(selection->stage)) {
        (void)fprintf(stderr, PROGRAM ": --stage wants serve, fetch, mapper or pusher\n");
        return -1;
    }
    if (since != NULL && !read_since(since, &selection->since_ms)) {
        (void)fprintf(stderr, PROGRAM ": --since wants a time like 24h or 2026-11-21T04:00:00Z\n");
        return -1;
    }
    if (limit != NULL && (!text_parse_unsigned(limit, REDRIVE_LIMIT_MAX, &number) || number == 0)) {
        (void)fprintf(stderr, PROGRAM ": --limit wants a number from 1 to %d\n", REDRIVE_LIMIT_MAX);
        return -1;
    }
    request->limit = (size_t)number;
    if (line->argument_count > SET_ASIDE_PLACES_MAX) {
        (void)fprintf(stderr, PROGRAM ": at most %d letters can be named\n", SET_ASIDE_PLACES_MAX);
        return -1;
    }
    for (size_t i = 0; i < line->argument_count; i++) {
        if (!set_aside_read_place(line->arguments[i], &selection->places[i])) {
            (void)fprintf(stderr, PROGRAM ": a letter is named by partition and offset, as in 0/17\n");
            return -1;
        }
        selection->place_count++;
    }
    return 0;
}

/* All letters at once are driven only by who says so. */
static bool is_chosen(const struct command_line *line, const struct set_aside_selection *selection)
{
    return selection->place_count > 0 || selection->deal != NULL || selection->code != NULL ||
           selection->stage != NULL || selection->since_ms != 0 || command_line_option(line, "all") != NULL;
}

static int run_letters(const struct app *app, const struct command_line *line)
{
    struct redrive_request request = {.drives = text_equal(line->command->name, "redrive"),
                                      .instance = app->program_settings.instance};
    struct error err = ERROR_INIT;
    size_t failures = 0;
    int status = EXIT_OK;

    if (read_selection(line, &request) < 0)
        return EXIT_USAGE;
    if (request.drives) {
        request.is_dry_run = line->check_only || command_line_option(line, "dry-run") != NULL;
        request.again = command_line_option(line, "again") != NULL;
        if (!is_chosen(line, &request.selection)) {
            (void)fprintf(stderr, PROGRAM ": say which letters: 0/17, --deal, --code, --stage, --since, or --all\n");
            return EXIT_USAGE;
        }
    } else {
        request.with_value = command_line_option(line, "with-value") != NULL;
    }
    log_setup(PROGRAM, LOG_LEVEL_ERROR);
    if (redrive_run(&app->kafka_settings, &app->postgres_settings, &request, stdout, &failures, &err) < 0) {
        (void)fflush(stdout);
        (void)fprintf(stderr, PROGRAM ": %s\n", err.message);
        status = exit_status_of(&err);
    }
    return status == EXIT_OK && failures > 0 ? EXIT_ERROR : status;
}

static void print_plan(const struct app *app, const char *path)
{
    (void)printf("%s: decisions from %sdecisions; audit in %s, schema %s\n", path, app->kafka_settings.topic_prefix,
                 app->postgres_settings.host, app->postgres_settings.schema);
    if (app->has_partner_center)
        (void)printf("writes to Partner Center at %s\n", app->partner_center_settings.api_url);
    if (app->has_dynamics_365)
        (void)printf("writes to Dynamics 365 at %s\n", app->dynamics_365_settings.url);
    if (!app->has_partner_center && !app->has_dynamics_365)
        (void)printf("no system is configured: every write would be refused\n");
}

static int run(const struct command_line *line)
{
    static const struct program_callbacks callbacks = {.start = start, .drain = drain, .stop = stop};
    struct app app = {0};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    int status = EXIT_BAD_CONFIG;
    bool is_loaded = load_config(&app, line->config_path, &diagnostics) == 0;

    output_diagnostics(&diagnostics);
    diagnostics_done(&diagnostics);
    if (!is_loaded) {
        config_free(app.config);
        return status;
    }
    if (line->print_config) {
        status = output_config(app.config);
    } else if (text_equal(line->command->name, "migrate")) {
        status = run_migrate(&app, line);
    } else if (text_equal(line->command->name, "redrive") ||
               (text_equal(line->command->name, "letters") && !line->check_only)) {
        status = run_letters(&app, line);
    } else if (line->check_only) {
        print_plan(&app, line->config_path);
        status = EXIT_OK;
    } else {
        status = program_run(PROGRAM, &app.program_settings, &callbacks, &app);
    }
    config_free(app.config);
    return status;
}

/* --- Command line ------------------------------------------------------------------------------------------------- */

static const struct option_spec MIGRATE_OPTIONS[] = {
    {"conninfo-file", "FILE",
     "File with libpq's connection string of somebody who may create roles and schemas; "
     "without it the login of the section postgres."},
    {"dry-run", NULL, "Only say what would be done; so does --check."},
};

#define SELECTION_OPTIONS                                                                \
    {"since", "TIME", "Only letters that are not older: 24h, or 2026-11-21T04:00:00Z."}, \
        {"deal", "KEY", "Only letters of this deal, or of this record's id."},           \
        {"code", "CODE", "Only letters with this error code."},                          \
        {"stage", "STAGE", "Only letters of this stage: serve, fetch, mapper, pusher."}, \
    {                                                                                    \
        "limit", "NUMBER", "Most letters, 1 to 10000; 100 unless told."                  \
    }

static const struct option_spec LETTERS_OPTIONS[] = {
    SELECTION_OPTIONS,
    {"with-value", NULL, "Shows the messages themselves, too; they hold customers' data."},
};

static const struct option_spec REDRIVE_OPTIONS[] = {
    SELECTION_OPTIONS,
    {"all", NULL, "All letters that were not driven again yet."},
    {"dry-run", NULL, "Only say what would be sent where; so does --check."},
    {"again", NULL, "Also letters that were driven again before."},
};

static const struct command_spec COMMANDS[] = {
    {.name = NULL,
     .help = "Carry out decisions at the CRM and at Partner Center, and write the audit.",
     .needs_config = true},
    {.name = "migrate",
     .help = "Make or upgrade the schema of the audit in PostgreSQL.",
     .details = "Exit status: 0 when it is made, or was; 72 for the database, 78 for the configuration.\n",
     .options = MIGRATE_OPTIONS,
     .option_count = ARRAY_LENGTH(MIGRATE_OPTIONS),
     .needs_config = true},
    {.name = "letters",
     .arguments = "[LETTER]...",
     .help = "Show the newest dead letters: who set what aside, why, and where it came from. LETTER: 0/17.",
     .details =
         "Exit status: 0 when they are shown, 1 when Kafka or the database cannot be read, 64 for the command line, 78 for\n"
         "the configuration.\n",
     .options = LETTERS_OPTIONS,
     .option_count = ARRAY_LENGTH(LETTERS_OPTIONS),
     .needs_config = true},
    {.name = "redrive",
     .arguments = "[LETTER]...",
     .help = "Drive dead letters again, oldest first: send what was set aside to the topic it came from.",
     .details =
         "Exit status: 0 when all that were named are sent, 1 when one cannot be, 64 when it is not said which, 78 for\n"
         "the configuration.\n",
     .options = REDRIVE_OPTIONS,
     .option_count = ARRAY_LENGTH(REDRIVE_OPTIONS),
     .needs_config = true},
};

static int describe_libraries(struct text *out)
{
    int version = PQlibVersion();

    return text_appendf(out, "librdkafka %s\nlibpq %d.%d\njansson %s\nlibevent %s\n", rd_kafka_version_str(),
                        version / 10000, version % 10000, jansson_version_str(), event_get_version());
}

static const struct program_description DESCRIPTION = {
    .name = PROGRAM,
    .summary = "Writes what the mapper has decided to the CRM and to Partner Center, and keeps the audit.",
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
    return line.describe_config ? describe_config() : run(&line);
}
