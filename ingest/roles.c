#include "ingest/roles.h"

#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "common/kafka/producer.h"
#include "common/kafka/topics.h"
#include "common/runtime/log.h"
#include "ingest/backfill_display.h"

enum {
    TOPICS_TIMEOUT_MS = 10000,
    TOPICS_REPORT_MAX = 64 * 1024,
    CLOSE_MS = 3000, /* for the group and the producer, each */
    SYSTEMS_MAX = 2
};

struct ingest {
    const struct roles_settings *settings;
    const struct roles *roles;
    struct program *program;
    struct producer *producer;
    struct serve *serve;
    struct credentials *credentials;
    struct system *systems[SYSTEMS_MAX]; /* Partner Center, then Dynamics 365 if there is one */
    size_t system_count;
    struct fetch *fetch;
    struct poll *poll;
    struct register_partner_center_run *partner_center_registration;
    struct register_dynamics_run *dynamics_365_registration;
    struct backfill *backfill;
    struct read_command *reading;
    unsigned draining; /* roles that have not finished */
    bool is_refused;   /* the registration, or what was to be read: told on standard error */
};

/* Its application signs in with a secret: nothing is kept in Kafka. */
static bool needs_dynamics_365_only(const struct roles *roles)
{
    return (roles->registers != NULL && roles->registers->is_dynamics_365) ||
           (roles->reads != NULL && roles->reads->is_opportunity);
}

static bool needs_accounts(const struct ingest *ingest)
{
    return ingest->roles->fetches || ingest->roles->polls || ingest->roles->registers != NULL ||
           ingest->roles->backfills != NULL || ingest->roles->reads != NULL;
}

/* --- Readiness ---------------------------------------------------------------------------------------------------- */

static bool kafka_is_ready(void *arg)
{
    const struct ingest *ingest = arg;

    return producer_is_ready(ingest->producer);
}

static bool fetch_is_ready(void *arg)
{
    const struct ingest *ingest = arg;

    return ingest->fetch != NULL && fetch_is_assigned(ingest->fetch);
}

static const char *partner_center_trouble(void *arg)
{
    const struct ingest *ingest = arg;

    return ingest->fetch == NULL ? NULL : fetch_trouble(ingest->fetch, 0);
}

static const char *dynamics_365_trouble(void *arg)
{
    const struct ingest *ingest = arg;

    return ingest->fetch == NULL || ingest->system_count < SYSTEMS_MAX ? NULL : fetch_trouble(ingest->fetch, 1);
}

static void add_readiness(struct ingest *ingest)
{
    program_add_readiness(ingest->program, "kafka", kafka_is_ready, ingest);
    if (ingest->roles->serves || !ingest->roles->fetches)
        return;
    program_add_readiness(ingest->program, "fetch", fetch_is_ready, ingest);
    program_add_trouble(ingest->program, "partner-center", partner_center_trouble, ingest);
    program_add_trouble(ingest->program, "dynamics-365", dynamics_365_trouble, ingest);
}

/* --- What needs credentials --------------------------------------------------------------------------------------- */

static void fail(struct ingest *ingest, const struct error *err)
{
    program_fail(ingest->program, exit_status_of(err), err);
}

static void on_fatal(void *arg, const struct error *err)
{
    fail(arg, err);
}

/* Of the registration, and of what was to be read. */
static void on_command_done(void *arg, const struct error *err)
{
    struct ingest *ingest = arg;

    if (err != NULL) {
        (void)fprintf(stderr, "tandem-ingest: %s\n", err->message);
        ingest->is_refused = true;
    }
    program_drained(ingest->program);
}

static void on_backfill_done(void *arg, const struct error *err)
{
    struct ingest *ingest = arg;

    if (err != NULL) {
        (void)fprintf(stderr, "tandem-ingest: %s (%s)\n", err->message, err->code);
        program_fail(ingest->program, exit_status_of(err), err);
    } else if (!program_is_draining(ingest->program)) {
        program_drained(ingest->program);
    }
}

static int start_fetch(struct ingest *ingest, struct error *err)
{
    const struct fetch_options options = {.kafka = &ingest->settings->kafka,
                                          .settings = &ingest->settings->fetch,
                                          .instance = program_instance(ingest->program),
                                          .producer = ingest->producer,
                                          .systems = ingest->systems,
                                          .system_count = ingest->system_count,
                                          .on_fatal = on_fatal,
                                          .arg = ingest};

    if (fetch_new(program_loop(ingest->program), &options, &ingest->fetch, err) < 0)
        return -1;
    if (!ingest->roles->serves)
        program_set_ready(ingest->program);
    return 0;
}

static int start_poll(struct ingest *ingest, struct error *err)
{
    const struct poll_options options = {.kafka = &ingest->settings->kafka,
                                         .settings = &ingest->settings->poll,
                                         .instance = program_instance(ingest->program),
                                         .producer = ingest->producer,
                                         .systems = ingest->systems,
                                         .system_count = ingest->system_count,
                                         .child_tables = &ingest->settings->dynamics_365.child_tables,
                                         .on_fatal = on_fatal,
                                         .arg = ingest};

    if (poll_new(program_loop(ingest->program), &options, &ingest->poll, err) < 0)
        return -1;
    if (!ingest->roles->serves && !ingest->roles->fetches)
        program_set_ready(ingest->program);
    return 0;
}

static int start_backfill(struct ingest *ingest, struct error *err)
{
    const struct roles_settings *settings = ingest->settings;
    const struct backfill_options options = {.kafka = &settings->kafka,
                                             .settings = &settings->backfill,
                                             .request = ingest->roles->backfills,
                                             .identifier_column = settings->dynamics_365.identifier_column,
                                             .instance = program_instance(ingest->program),
                                             .producer = ingest->producer,
                                             .partner_center = ingest->systems[0],
                                             .dynamics_365 = ingest->systems[1],
                                             .out = stdout,
                                             .progress = stderr,
                                             .on_done = on_backfill_done,
                                             .arg = ingest};

    return backfill_new(program_loop(ingest->program), &options, &ingest->backfill, err);
}

static int start_registration(struct ingest *ingest, struct error *err)
{
    return register_partner_center_start(program_loop(ingest->program), partner_center_registration(ingest->systems[0]),
                                         ingest->settings->partner_center.registration_url,
                                         &ingest->roles->registers->partner_center, stdout, on_command_done, ingest,
                                         &ingest->partner_center_registration, err);
}

/* A referral: by the first system; an opportunity: by the second. */
static int start_reading(struct ingest *ingest, struct error *err)
{
    const struct read_request *request = ingest->roles->reads;

    return read_command_start(ingest->systems[request->is_opportunity ? 1 : 0], request, stdout, on_command_done,
                              ingest, &ingest->reading, err);
}

static int start_dynamics_365_registration(struct ingest *ingest, struct error *err)
{
    const struct roles_settings *settings = ingest->settings;
    struct register_dynamics_environment environment = {.loop = program_loop(ingest->program),
                                                        .columns = &settings->dynamics_365.columns,
                                                        .child_tables = &settings->dynamics_365.child_tables,
                                                        .secret_header = settings->serve.dynamics_365_secret_header,
                                                        .secret = settings->serve.dynamics_365_secret.bytes,
                                                        .out = stdout};

    environment.api = dynamics_365_api(ingest->systems[1]);
    environment.api_url = dynamics_365_api_url(ingest->systems[1]);
    return register_dynamics_start(&environment, &ingest->roles->registers->dynamics_365, on_command_done, ingest,
                                   &ingest->dynamics_365_registration, err);
}

static int start_dynamics_365_only(struct ingest *ingest, struct error *err)
{
    if (dynamics_365_new(program_loop(ingest->program), &ingest->settings->dynamics_365, &ingest->systems[1], err) < 0)
        return -1;
    return ingest->roles->reads != NULL ? start_reading(ingest, err) : start_dynamics_365_registration(ingest, err);
}

/* The newest refresh tokens are known: what uses them may begin. */
static void on_loaded(void *arg)
{
    struct ingest *ingest = arg;
    struct error err = ERROR_INIT;
    int status;

    log_info("ingest.credentials_loaded", LOG_INTEGER("systems", ingest->system_count));
    if (program_is_draining(ingest->program))
        return;
    status = ingest->roles->registers != NULL ? start_registration(ingest, &err) : 0;
    if (status == 0 && ingest->roles->reads != NULL)
        status = start_reading(ingest, &err);
    if (status == 0 && ingest->roles->backfills != NULL)
        status = start_backfill(ingest, &err);
    if (status == 0 && ingest->roles->fetches)
        status = start_fetch(ingest, &err);
    if (status == 0 && ingest->roles->polls)
        status = start_poll(ingest, &err);
    if (status < 0)
        fail(ingest, &err);
}

static void on_token(void *arg, const char *account, const char *refresh_token)
{
    struct ingest *ingest = arg;
    struct error err = ERROR_INIT;

    log_info("ingest.credentials_renewed", LOG_TEXT("account", account));
    if (partner_center_set_refresh_token(ingest->systems[0], refresh_token) < 0) {
        (void)error_no_memory(&err);
        fail(ingest, &err);
    } else if (ingest->fetch != NULL) {
        fetch_probe(ingest->fetch);
    }
}

static int start_accounts(struct ingest *ingest, struct error *err)
{
    static const struct credentials_callbacks callbacks = {
        .on_loaded = on_loaded, .on_token = on_token, .on_failed = on_fatal};
    const struct roles_settings *settings = ingest->settings;
    const struct credentials_account account = {.name = "partner-center",
                                                .first_token = settings->partner_center.refresh_token.bytes};
    struct loop *loop = program_loop(ingest->program);

    if (credentials_new(loop, &settings->kafka, &settings->credentials, program_instance(ingest->program),
                        ingest->producer, &account, 1, &callbacks, ingest, &ingest->credentials, err) < 0)
        return -1;
    if (partner_center_new(loop, &settings->partner_center, credentials_save, ingest->credentials, &ingest->systems[0],
                           err) < 0)
        return -1;
    ingest->system_count = 1;
    if (!settings->has_dynamics_365 || ingest->roles->registers != NULL || ingest->roles->reads != NULL)
        return 0;
    if (dynamics_365_new(loop, &settings->dynamics_365, &ingest->systems[1], err) < 0)
        return -1;
    ingest->system_count = 2;
    return 0;
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

static int verify_topics(struct ingest *ingest, struct error *err)
{
    struct text report;
    int status;

    text_init(&report, TOPICS_REPORT_MAX);
    status = topics_verify(&ingest->settings->kafka, TOPICS_TIMEOUT_MS, &report, err);
    text_done(&report);
    return status;
}

static int start_producer(struct ingest *ingest, struct error *err)
{
    static const char *const topics[] = {TOPIC_NOTIFICATIONS, TOPIC_RECORDS, TOPIC_DEAD_LETTERS,
                                         TOPIC_CREDENTIALS,   TOPIC_CURSORS, NULL};

    return producer_new(program_loop(ingest->program), &ingest->settings->kafka, program_instance(ingest->program),
                        topics, &ingest->producer, err);
}

static int start_serve(struct ingest *ingest, struct error *err)
{
    const struct roles_settings *settings = ingest->settings;

    if (serve_new(program_loop(ingest->program), &settings->serve, &settings->certificates,
                  &settings->dynamics_365.child_tables, &settings->kafka, ingest->producer, &ingest->serve, err) < 0)
        return -1;
    log_info("ingest.serving", LOG_INTEGER("port", serve_port(ingest->serve)));
    return 0;
}

static bool is_command(const struct roles *roles)
{
    return roles->registers != NULL || roles->backfills != NULL || roles->reads != NULL;
}

static int start_all(struct ingest *ingest, struct error *err)
{
    if (ingest->roles->backfills != NULL && backfill_report_check(ingest->roles->backfills->report_path, err) < 0)
        return -1;
    if (needs_dynamics_365_only(ingest->roles))
        return start_dynamics_365_only(ingest, err);
    if (verify_topics(ingest, err) < 0 || start_producer(ingest, err) < 0)
        return -1;
    add_readiness(ingest);
    if (ingest->roles->serves && start_serve(ingest, err) < 0)
        return -1;
    if (needs_accounts(ingest) && start_accounts(ingest, err) < 0)
        return -1;
    if (ingest->roles->serves)
        program_set_ready(ingest->program);
    return 0;
}

static int start(void *arg, struct program *program, struct error *err)
{
    struct ingest *ingest = arg;

    ingest->program = program;
    if (start_all(ingest, err) == 0)
        return 0;
    if (is_command(ingest->roles))
        (void)fprintf(stderr, "tandem-ingest: %s (%s)\n", err->message, err->code);
    return -1;
}

static void on_role_drained(void *arg)
{
    struct ingest *ingest = arg;

    if (--ingest->draining == 0)
        program_drained(ingest->program);
}

static void drain(void *arg)
{
    struct ingest *ingest = arg;

    ingest->draining = 1;
    if (ingest->serve != NULL) {
        ingest->draining++;
        serve_drain(ingest->serve, on_role_drained, ingest);
    }
    if (ingest->poll != NULL)
        poll_stop(ingest->poll);
    if (ingest->fetch != NULL) {
        ingest->draining++;
        fetch_drain(ingest->fetch, on_role_drained, ingest);
    }
    if (ingest->backfill != NULL) {
        ingest->draining++;
        backfill_drain(ingest->backfill, on_role_drained, ingest);
    }
    on_role_drained(ingest);
}

static void reload(void *arg)
{
    struct ingest *ingest = arg;

    if (ingest->serve != NULL)
        serve_reload(ingest->serve);
}

/* The systems' last callbacks reach fetch, poll and the commands; the producer's reach serve, poll and the backfill. */
static void stop(void *arg)
{
    struct ingest *ingest = arg;

    if (ingest->poll != NULL)
        poll_stop(ingest->poll);
    if (ingest->fetch != NULL)
        fetch_stop(ingest->fetch);
    if (ingest->backfill != NULL)
        backfill_stop(ingest->backfill);
    credentials_free(ingest->credentials);
    for (size_t i = 0; i < SYSTEMS_MAX; i++)
        system_free(ingest->systems[i]);
    register_partner_center_free(ingest->partner_center_registration);
    register_dynamics_free(ingest->dynamics_365_registration);
    read_command_free(ingest->reading);
    fetch_free(ingest->fetch, CLOSE_MS);
    producer_free(ingest->producer, CLOSE_MS);
    poll_free(ingest->poll, CLOSE_MS);
    backfill_free(ingest->backfill);
    serve_free(ingest->serve);
}

int roles_run(const char *program_name, const struct roles_settings *settings, const struct roles *roles)
{
    static const struct program_callbacks callbacks = {.start = start, .drain = drain, .reload = reload, .stop = stop};
    struct ingest ingest = {.settings = settings, .roles = roles};
    struct program_settings program = settings->program;
    int status;

    /* A command runs beside the program: it must not take its address, and its output is for people. */
    if (is_command(roles)) {
        program.admin_address = NULL;
        if (program.log_level < LOG_LEVEL_WARNING)
            program.log_level = LOG_LEVEL_WARNING;
    }
    status = program_run(program_name, &program, &callbacks, &ingest);
    return status == EXIT_OK && ingest.is_refused ? EXIT_ERROR : status;
}
