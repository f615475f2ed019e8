#include <curl/curl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/topics.h"
#include "common/runtime/command_line.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/output.h"
#include "common/runtime/program.h"
#include "ingest/roles.h"

#define PROGRAM "tandem-ingest"

enum { TOPICS_TIMEOUT_MS = 30000, SECTIONS_MAX = 11 /* one more than there are */ };

static int bad_usage(const char *message)
{
    (void)fprintf(stderr, "%s: %s\n", PROGRAM, message);
    return EXIT_USAGE;
}

/* --- Configuration ------------------------------------------------------------------------------------------------ */

static const char *const FOREIGN_SECTIONS[] = {"mapper", "pusher", "salesforce", "postgres", NULL};

#define SECTION(name_, keys_, count_, target_) \
    .name = (name_), .keys = (keys_), .key_count = (count_), .target = &settings->target_

/* What the roles do not need may be absent, but has to be right if it is there. */
static size_t list_sections(struct roles_settings *settings, const struct roles *roles,
                            struct config_section out[static SECTIONS_MAX])
{
    const bool registers_dynamics = roles->registers != NULL && roles->registers->is_dynamics_365;
    const bool reads_opportunity = roles->reads != NULL && roles->reads->is_opportunity;
    const bool backfills = roles->backfills != NULL;
    const bool has_accounts = roles->fetches || roles->polls || backfills ||
                              (roles->registers != NULL && !registers_dynamics) ||
                              (roles->reads != NULL && !reads_opportunity);
    const struct config_section sections[SECTIONS_MAX] = {
        {SECTION("program", PROGRAM_KEYS, PROGRAM_KEY_COUNT, program)},
        {SECTION("kafka", KAFKA_KEYS, KAFKA_KEY_COUNT, kafka), .validate = kafka_settings_validate},
        {SECTION("credentials", CREDENTIALS_KEYS, CREDENTIALS_KEY_COUNT, credentials), .is_optional = !has_accounts,
         .validate = credentials_validate},
        {SECTION("partner_center", PARTNER_CENTER_KEYS, PARTNER_CENTER_KEY_COUNT, partner_center),
         .is_optional = !has_accounts},
        {SECTION("dynamics_365", DYNAMICS_365_KEYS, DYNAMICS_365_KEY_COUNT, dynamics_365),
         .is_optional = !registers_dynamics && !reads_opportunity && !backfills,
         .present_flag = &settings->has_dynamics_365, .validate = dynamics_365_settings_validate},
        {SECTION("ingest.serve", SERVE_KEYS, SERVE_KEY_COUNT, serve),
         .is_optional = !roles->serves && !registers_dynamics, .is_elsewhere = !roles->serves,
         .validate = serve_settings_validate},
        {SECTION("ingest.signature", CERTIFICATES_KEYS, CERTIFICATES_KEY_COUNT, certificates),
         .is_optional = !roles->serves, .is_elsewhere = !roles->serves, .validate = certificates_settings_validate},
        {SECTION("ingest.fetch", FETCH_KEYS, FETCH_KEY_COUNT, fetch), .is_optional = !roles->fetches},
        {SECTION("ingest.poll", POLL_KEYS, POLL_KEY_COUNT, poll), .is_optional = !roles->polls},
        {SECTION("ingest.backfill", BACKFILL_KEYS, BACKFILL_KEY_COUNT, backfill), .is_optional = !backfills,
         .validate = backfill_settings_validate},
    };
    size_t count = 0;

    while (count < SECTIONS_MAX && sections[count].name != NULL) {
        out[count] = sections[count];
        count++;
    }
    return count;
}
#undef SECTION

static int load(const char *path, const struct roles *roles, struct roles_settings *settings,
                struct config **ret_config)
{
    struct config_section sections[SECTIONS_MAX];
    size_t count = list_sections(settings, roles, sections);
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    int status = config_load(path, sections, count, FOREIGN_SECTIONS, &diagnostics, ret_config);

    output_diagnostics(&diagnostics);
    diagnostics_done(&diagnostics);
    return status;
}

/* All of the program, whatever the command. */
static int describe_config(void)
{
    static const struct roles all = {.serves = true, .fetches = true, .polls = true};
    struct roles_settings settings = {0};
    struct config_section sections[SECTIONS_MAX];
    size_t count = list_sections(&settings, &all, sections);

    return output_config_keys(sections, count);
}

/* --check: what a start would run. */
static int print_plan(const char *path, const struct roles_settings *settings, const struct roles *roles)
{
    (void)printf("%s: good\n", path);
    (void)printf("kafka     %s, topics %s*\n", settings->kafka.bootstrap_servers, settings->kafka.topic_prefix);
    if (roles->serves)
        (void)printf("serve     webhooks on %s\n", settings->serve.listen);
    if (roles->registers != NULL && roles->registers->is_dynamics_365)
        (void)printf("register  Dynamics 365 at %s\n", settings->dynamics_365.url);
    else if (roles->fetches || roles->registers != NULL)
        (void)printf("%-9s Partner Center at %s\n", roles->fetches ? "fetch" : "register",
                     roles->fetches ? settings->partner_center.api_url : settings->partner_center.registration_url);
    if (roles->polls)
        (void)printf("poll      every %lld s, open shared deals every %lld s\n",
                     (long long)settings->poll.interval_ms / 1000,
                     (long long)settings->poll.engagement_interval_ms / 1000);
    if (roles->backfills != NULL)
        (void)printf("backfill  Partner Center at %s\nbackfill  Dynamics 365 at %s\nbackfill  %lld records a second\n",
                     settings->partner_center.api_url, settings->dynamics_365.url,
                     (long long)settings->backfill.per_second);
    if (roles->reads != NULL)
        (void)printf("read      %s\n",
                     roles->reads->is_opportunity ? settings->dynamics_365.url : settings->partner_center.api_url);
    if (roles->fetches && settings->has_dynamics_365)
        (void)printf("fetch     Dynamics 365 at %s\n", settings->dynamics_365.url);
    return EXIT_OK;
}

/* --- Commands ----------------------------------------------------------------------------------------------------- */

/* -1: not a list of roles. */
static int read_roles(const char *list, struct roles *ret_roles)
{
    struct roles roles = {0};

    for (const char *at = list; at != NULL;) {
        size_t length = strcspn(at, ",");
        if (length == strlen("serve") && strncmp(at, "serve", length) == 0)
            roles.serves = true;
        else if (length == strlen("fetch") && strncmp(at, "fetch", length) == 0)
            roles.fetches = true;
        else if (length == strlen("poll") && strncmp(at, "poll", length) == 0)
            roles.polls = true;
        else
            return -1;
        at = at[length] == ',' ? at + length + 1 : NULL;
    }
    *ret_roles = roles;
    return 0;
}

static int run(const struct command_line *line, const struct roles *roles)
{
    struct roles_settings settings = {0};
    struct config *config = NULL;
    int status;

    if (load(line->config_path, roles, &settings, &config) < 0)
        return EXIT_BAD_CONFIG;
    if (line->print_config)
        status = output_config(config);
    else if (line->check_only)
        status = print_plan(line->config_path, &settings, roles);
    else
        status = roles_run(PROGRAM, &settings, roles);
    config_free(config);
    return status;
}

static int run_roles(const struct command_line *line)
{
    const char *list = command_line_option(line, "role");
    struct roles roles = {.serves = true, .fetches = true, .polls = true};

    if (list != NULL && read_roles(list, &roles) < 0)
        return bad_usage("--role: serve, fetch, poll, or several with a comma between them");
    return run(line, &roles);
}

static int run_register(const struct command_line *line)
{
    struct register_request request;
    struct roles roles = {.registers = &request};
    struct error err = ERROR_INIT;

    if (register_request_read(line, &request, &err) < 0)
        return bad_usage(err.message);
    return run(line, &roles);
}

static int run_backfill(const struct command_line *line)
{
    const struct backfill_request request = backfill_request_read(line);
    const struct roles roles = {.backfills = &request};

    return run(line, &roles);
}

static int run_read(const struct command_line *line)
{
    struct read_request request;
    const struct roles roles = {.reads = &request};
    struct error err = ERROR_INIT;

    if (read_request_read(line, &request, &err) < 0)
        return bad_usage(err.message);
    return run(line, &roles);
}

static int report_topics(const struct kafka_settings *kafka, bool creates)
{
    struct text report;
    struct error err = ERROR_INIT;
    int status = EXIT_OK;

    text_init(&report, OUTPUT_MAX);
    if ((creates ? topics_create(kafka, TOPICS_TIMEOUT_MS, &report, &err)
                 : topics_verify(kafka, TOPICS_TIMEOUT_MS, &report, &err)) < 0)
        status = err.class == ERROR_TRANSIENT ? EXIT_ERROR : EXIT_KAFKA;
    output_text(stdout, &report);
    if (status != EXIT_OK)
        (void)fprintf(stderr, "%s: %s\n", PROGRAM, err.message);
    text_done(&report);
    return status;
}

static int run_topics(const struct command_line *line)
{
    static const struct roles none = {0};
    struct roles_settings settings = {0};
    struct config *config = NULL;
    int status;

    if (load(line->config_path, &none, &settings, &config) < 0)
        return EXIT_BAD_CONFIG;
    log_setup(PROGRAM, LOG_LEVEL_WARNING);
    if (line->print_config)
        status = output_config(config);
    else if (line->check_only)
        status = print_plan(line->config_path, &settings, &none);
    else
        status = report_topics(&settings.kafka, command_line_option(line, "create") != NULL);
    config_free(config);
    return status;
}

/* --- Command line ------------------------------------------------------------------------------------------------- */

static const struct option_spec ROLE_OPTIONS[] = {
    {"role", "ROLES",
     "serve (take webhooks), fetch (read the records they are about), poll (find what webhooks have missed), or several "
     "with a comma between them; without it all three."},
};
static const struct option_spec TOPICS_OPTIONS[] = {
    {"create", NULL, "Create the topics that are missing."},
};

static int describe_libraries(struct text *out)
{
    return text_appendf(out, "librdkafka %s\nlibcurl %s\n%s\njansson %s\nlibevent %s\n", rd_kafka_version_str(),
                        curl_version_info(CURLVERSION_NOW)->version, OpenSSL_version(OPENSSL_VERSION),
                        jansson_version_str(), event_get_version());
}

int main(int argc, char **argv)
{
    const struct command_spec commands[] = {
        {.name = NULL,
         .help = "Take webhooks into Kafka, read the records that they are about, and find what they miss.",
         .options = ROLE_OPTIONS,
         .option_count = ARRAY_LENGTH(ROLE_OPTIONS),
         .needs_config = true},
        {.name = "topics",
         .help = "Show whether the topics are there and as they must be.",
         .details = "Exit status: 0 when they are, 71 when not, 1 when the brokers do not answer, 78 for the "
                    "configuration.\n",
         .options = TOPICS_OPTIONS,
         .option_count = ARRAY_LENGTH(TOPICS_OPTIONS),
         .needs_config = true},
        {.name = "register",
         .arguments = "ACTION",
         .help = "Show or change where Partner Center and Dynamics 365 send their webhooks.",
         .details = REGISTER_DETAILS,
         .options = REGISTER_OPTIONS,
         .option_count = REGISTER_OPTION_COUNT,
         .actions = REGISTER_ACTIONS,
         .action_count = REGISTER_ACTION_COUNT,
         .needs_config = true},
        {.name = "backfill",
         .help = "Take up the deals that both systems hold already; run again, it goes on where it was ended.",
         .details =
             "Exit status: 0 when it is done, or was; 1 when it was ended or has failed, also because Kafka or a system is\n"
             "away; 71 when Kafka's topics are not as they must be; 78 for the configuration, for a report that cannot be\n"
             "written, or when there are more records than ingest.backfill.records_max.\n",
         .options = BACKFILL_OPTIONS,
         .option_count = BACKFILL_OPTION_COUNT,
         .needs_config = true},
        {.name = "read",
         .help = "Print a referral or an opportunity as Tandem reads it, for tandem-mapper preview.",
         .details = READ_DETAILS,
         .options = READ_OPTIONS,
         .option_count = READ_OPTION_COUNT,
         .needs_config = true},
    };
    const struct program_description description = {
        .name = PROGRAM,
        .summary = "Reads Partner Center and the CRM into Kafka.",
        .commands = commands,
        .command_count = ARRAY_LENGTH(commands),
        .describe_libraries = describe_libraries,
    };
    struct command_line line;
    int parsed;

    program_setup();
    parsed = command_line_parse(&description, argc, argv, &line);
    if (parsed != 0)
        return parsed > 0 ? EXIT_OK : EXIT_USAGE;
    if (line.describe_config)
        return describe_config();
    if (line.command->name == NULL)
        return run_roles(&line);
    if (strcmp(line.command->name, "topics") == 0)
        return run_topics(&line);
    if (strcmp(line.command->name, "read") == 0)
        return run_read(&line);
    return strcmp(line.command->name, "backfill") == 0 ? run_backfill(&line) : run_register(&line);
}
