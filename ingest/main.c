#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdio.h>

#include "common/base/text.h"
#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/runtime/command_line.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/program.h"
#include "ingest/serve.h"

#define PROGRAM "tandem-ingest"

enum { OUTPUT_MAX = 1024 * 1024, FLUSH_MS = 2000 };

struct app {
    struct program_settings program_settings;
    struct kafka_settings kafka_settings;
    struct serve_settings serve_settings;
    struct certificates_settings certificates_settings;
    struct config *config;
    struct program *program;
    struct producer *producer;
    struct serve *serve;
};

/* --- Configuration --- */

static const char *const FOREIGN_SECTIONS[] = {
    "mapper", "pusher", "partner_center", "dynamics_365", "salesforce", "postgres", "credentials", NULL,
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
        {.name = "ingest.serve",
         .keys = SERVE_KEYS,
         .key_count = SERVE_KEY_COUNT,
         .target = &app->serve_settings,
         .validate = serve_settings_validate},
        {.name = "ingest.signature",
         .keys = CERTIFICATES_KEYS,
         .key_count = CERTIFICATES_KEY_COUNT,
         .target = &app->certificates_settings,
         .validate = certificates_settings_validate},
    };

    return config_load(path, sections, ARRAY_LENGTH(sections), FOREIGN_SECTIONS, diagnostics, &app->config);
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

/* --- Life --- */

static bool is_kafka_ready(void *arg)
{
    const struct app *app = arg;
    return producer_is_ready(app->producer);
}

static int start(void *arg, struct program *program, struct error *err)
{
    struct app *app = arg;
    struct loop *loop = program_loop(program);

    app->program = program;
    if (producer_new(loop, &app->kafka_settings, program_instance(program), SERVE_TOPICS, &app->producer, err) < 0 ||
        serve_new(loop, &app->serve_settings, &app->certificates_settings, &app->kafka_settings, app->producer,
                  &app->serve, err) < 0)
        return -1;
    program_add_readiness(program, "kafka", is_kafka_ready, app);
    program_set_ready(program);
    return 0;
}

static void on_drained(void *arg)
{
    struct app *app = arg;
    program_drained(app->program);
}

static void drain(void *arg)
{
    struct app *app = arg;
    serve_drain(app->serve, on_drained, app);
}

static void reload(void *arg)
{
    struct app *app = arg;
    serve_reload(app->serve);
}

/* The producer first: what it has under way is answered when it goes. */
static void stop(void *arg)
{
    struct app *app = arg;

    producer_free(app->producer, FLUSH_MS);
    serve_free(app->serve);
    app->producer = NULL;
    app->serve = NULL;
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
    } else if (line->check_only) {
        (void)printf("%s: serve at %s\n", line->config_path, app.serve_settings.listen);
        status = EXIT_OK;
    } else {
        status = program_run(PROGRAM, &app.program_settings, &callbacks, &app);
    }
out:
    print_diagnostics(&diagnostics);
    diagnostics_done(&diagnostics);
    config_free(app.config);
    return status;
}

/* --- Command line --- */

static const struct command_spec COMMANDS[] = {
    {.name = NULL, .help = "Take webhooks into Kafka.", .needs_config = true},
};

static int describe_libraries(struct text *out)
{
    return text_appendf(out, "librdkafka %s\njansson %s\nlibevent %s\n%s\n%s\n", rd_kafka_version_str(),
                        jansson_version_str(), event_get_version(), OpenSSL_version(OPENSSL_VERSION), curl_version());
}

static const struct program_description DESCRIPTION = {
    .name = PROGRAM,
    .summary = "Reads the outside world into Kafka.",
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
    return run(&line);
}
