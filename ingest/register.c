#include "ingest/register.h"

#include <string.h>

#include "common/base/text.h"
#include "common/runtime/config_value.h"

const struct option_spec REGISTER_OPTIONS[] = {
    {"url", "URL", "create, dynamics-365: where the events are to be sent; https only"},
    {"events", "NAMES", "create: comma-separated; default: the referral events and test-created"},
    {"drop-other-events", NULL, "create: events registered now and not named do not stay registered"},
    {"overwrite", NULL, "create: also when another URL is registered, which then gets no events any more"},
    {"signature-header", NULL, "create: signatures shall come in x-ms-signature, so that Authorization is free"},
    {"wait", "DURATION", "test: how long the delivery is watched; default 60s"},
    {"json", NULL, "print JSON; not for dynamics-365"},
    {"show", NULL, "dynamics-365: change nothing; exits with 0 if everything is as wanted, else with 1"},
    {"replace", NULL, "dynamics-365: change what differs, and remove steps that are not wanted; without, they stop it"},
    {"new-secret", NULL, "dynamics-365: with --replace, write the secret again, which is never shown"},
    {"webhook-key", NULL, "dynamics-365: the secret shall come as ?code= of the URL instead of in a header"},
};
const size_t REGISTER_OPTION_COUNT = ARRAY_LENGTH(REGISTER_OPTIONS);

#define EXIT_STATUSES                                                                                                      \
    "Exit status: 0 when it is done, or as wanted; 1 when something was refused, not found as wanted, or could not be\n"   \
    "reached, Kafka included; 64 for the command line; 71 when Kafka's topics are not as they must be (Partner Center's\n" \
    "actions: the refresh token is kept there); 78 for the configuration.\n"

const char REGISTER_DETAILS[] =
    "At Partner Center, which has one registration for the whole tenant:\n"
    "  show                    Print what is registered.\n"
    "  events                  Print the names of the events that can be registered.\n"
    "  create --url URL        Register this URL.\n"
    "  test                    Have Partner Center send a test event, and wait until it says that it was delivered.\n"
    "\n"
    "At Dynamics 365, in the organisation of dynamics_365.url:\n"
    "  dynamics-365 --url URL  Make the service endpoint and its steps.\n"
    "  dynamics-365 --show     Print what is there and how it differs, and change nothing: the dry run.\n"
    "\n"
    "'tandem-ingest register ACTION --help' tells more.\n"
    "\n" EXIT_STATUSES;

const struct command_action REGISTER_ACTIONS[] = {
    {.name = "show",
     .options = " json ",
     .help = "Print what is registered at Partner Center, which has one registration for the whole tenant.\n"
             "\n" EXIT_STATUSES},
    {.name = "events",
     .options = " json ",
     .help = "Print the names of the events that can be registered at Partner Center.\n"
             "\n" EXIT_STATUSES},
    {.name = "create",
     .options = " url events drop-other-events overwrite signature-header json ",
     .help =
         "Register --url URL at Partner Center; does nothing where it is registered already. There is one registration\n"
         "for the whole tenant: another URL, which may be in use by somebody else, is replaced only with --overwrite.\n"
         "What was there is printed before.\n"
         "\n" EXIT_STATUSES},
    {.name = "test",
     .options = " wait json ",
     .help =
         "Have Partner Center send a test event, and wait until it says that it was delivered. It has to be registered\n"
         "for test-created, which 'create' sees to, and sends two a minute at most.\n"
         "\n" EXIT_STATUSES},
    {.name = "dynamics-365",
     .options = " url show replace new-secret webhook-key ",
     .help =
         "Make a service endpoint 'Tandem' with the secret of ingest.serve.dynamics_365_secret, and asynchronous steps:\n"
         "Create, Update, Delete, Win and Lose of the opportunity, and Create, Update and Delete of each table of\n"
         "dynamics_365.child_tables. Updates are told for the columns of dynamics_365.columns only. What is there as wanted\n"
         "stays; what differs is printed, and changed only with --replace.\n"
         "\n"
         "--show prints what is there and how it differs, and changes nothing; with --url, the address is compared as well.\n"
         "The secret is never compared, since Dynamics 365 does not show it: --replace --new-secret writes it again.\n"
         "\n" EXIT_STATUSES},
};
const size_t REGISTER_ACTION_COUNT = ARRAY_LENGTH(REGISTER_ACTIONS);

static const char *const PARTNER_CENTER_ACTIONS[] = {"show", "events", "create", "test"};
static const char *const PARTNER_CENTER_ONLY[] = {
    "events", "drop-other-events", "overwrite", "signature-header", "wait", "json",
};
static const char *const DYNAMICS_365_ONLY[] = {"show", "replace", "new-secret", "webhook-key"};

static int usage(struct error *err, const char *text)
{
    return error_set(err, ERROR_CONFIG, "register.usage", "%s", text);
}

static bool has_option(const struct command_line *line, const char *name)
{
    return command_line_option(line, name) != NULL;
}

static int refuse_options(const struct command_line *line, const char *const *names, size_t count, const char *whose,
                          struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (has_option(line, names[i]))
            return error_set(err, ERROR_CONFIG, "register.usage", "--%s is for %s", names[i], whose);
    }
    return 0;
}

/* A name without a dot, such as the HOST of an example, is none that Microsoft's services could find. */
static bool has_public_host(const char *url)
{
    const char *host = strstr(url, "://") + strlen("://");
    const size_t length = strcspn(host, ":/");

    return *host == '[' || memchr(host, '.', length) != NULL;
}

static int check_url(const char *url, struct error *err)
{
    struct value_fault fault;

    if (url != NULL && value_check_url(url, &fault) < 0)
        return error_set(err, ERROR_CONFIG, "register.usage", "--url: %s", fault.message);
    if (url != NULL && !has_public_host(url))
        return usage(err, "--url: the host has no dot in its name, and cannot be reached from outside");
    return 0;
}

static int read_partner_center(const struct command_line *line, size_t action, struct register_partner_center *ret,
                               struct error *err)
{
    struct register_partner_center request = {
        .action = (enum register_action)action,
        .url = command_line_option(line, "url"),
        .events = command_line_option(line, "events"),
        .drops_others = has_option(line, "drop-other-events"),
        .overwrites = has_option(line, "overwrite"),
        .wants_own_header = has_option(line, "signature-header"),
        .prints_json = has_option(line, "json"),
        .deadline_ms = REGISTER_DEADLINE_DEFAULT_MS,
    };
    const char *wait = command_line_option(line, "wait");
    struct value_fault fault;

    if (refuse_options(line, DYNAMICS_365_ONLY, ARRAY_LENGTH(DYNAMICS_365_ONLY), "dynamics-365", err) < 0)
        return -1;
    if (request.action == REGISTER_CREATE && request.url == NULL)
        return usage(err, "create needs --url");
    if (request.action != REGISTER_CREATE && (request.url != NULL || request.events != NULL || request.drops_others ||
                                              request.overwrites || request.wants_own_header))
        return usage(err, "--url, --events, --drop-other-events, --overwrite and --signature-header are for create");
    if (wait != NULL && value_parse_duration(wait, &request.deadline_ms, &fault) < 0)
        return error_set(err, ERROR_CONFIG, "register.usage", "--wait: %s", fault.message);
    *ret = request;
    return check_url(request.url, err);
}

static int read_dynamics_365(const struct command_line *line, struct register_dynamics *ret, struct error *err)
{
    const struct register_dynamics request = {
        .url = command_line_option(line, "url"),
        .only_shows = has_option(line, "show"),
        .replaces = has_option(line, "replace"),
        .renews_secret = has_option(line, "new-secret"),
        .uses_webhook_key = has_option(line, "webhook-key"),
    };

    if (refuse_options(line, PARTNER_CENTER_ONLY, ARRAY_LENGTH(PARTNER_CENTER_ONLY), "Partner Center", err) < 0)
        return -1;
    if (request.url == NULL && !request.only_shows)
        return usage(err, "dynamics-365 needs --url, or --show");
    if (request.only_shows && request.replaces)
        return usage(err, "--show changes nothing, so there is nothing to --replace");
    if (request.renews_secret && !request.replaces)
        return usage(err, "--new-secret goes with --replace");
    *ret = request;
    return check_url(request.url, err);
}

int register_request_read(const struct command_line *line, struct register_request *ret_request, struct error *err)
{
    struct register_request request = {0};

    request.is_dynamics_365 = strcmp(line->arguments[0], "dynamics-365") == 0;
    if (request.is_dynamics_365) {
        if (read_dynamics_365(line, &request.dynamics_365, err) < 0)
            return -1;
        *ret_request = request;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(PARTNER_CENTER_ACTIONS); i++) {
        if (strcmp(line->arguments[0], PARTNER_CENTER_ACTIONS[i]) != 0)
            continue;
        if (read_partner_center(line, i, &request.partner_center, err) < 0)
            return -1;
        *ret_request = request;
        return 0;
    }
    return usage(err, "what to do is one of show, events, create, test (at Partner Center) and dynamics-365");
}
