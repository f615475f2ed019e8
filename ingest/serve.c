#include "ingest/serve.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/kafka/dead_letter.h"
#include "common/kafka/enveloped.h"
#include "common/kafka/topics.h"
#include "common/messages/notification.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "ingest/refusals.h"
#include "ingest/secrets.h"
#include "ingest/server.h"
#include "ingest/webhook_dynamics.h"
#include "ingest/webhook_partner_center.h"

enum {
    RETRY_AFTER_S = 1,
    NOT_AUTHENTIC = 401,
    QUERY_SECRET_SIZE = 512,
    KIB = 1024,
    SECOND_MS = 1000,
    BODY_MAX_BYTES = 256 * KIB,         /* as JSON_LIMITS_FOREIGN */
    DYNAMICS_BODY_MAX_BYTES = 512 * KIB /* 256 KB of context and its envelope (Dataverse webhooks, 16) */
};

const char *const SERVE_TOPICS[] = {TOPIC_NOTIFICATIONS, TOPIC_DEAD_LETTERS, NULL};

static const char *const unknown_events_words[] = {"dead-letter", "ignore", NULL};

#define KEY_AS(name_, member_, type_, ...)                                                                \
    {                                                                                                     \
        .name = (name_), .type = (type_), .offset = offsetof(struct serve_settings, member_), __VA_ARGS__ \
    }
#define KEY(member_, type_, ...) KEY_AS(#member_, member_, type_, __VA_ARGS__)

const struct config_key SERVE_KEYS[] = {
    KEY(listen, CONFIG_ADDRESS, .default_text = "0.0.0.0:8443", .help = "Address and port to take webhooks at."),
    KEY(tls_certificate, CONFIG_PATH,
        .help = "PEM file of the server's certificate and its chain; without it plain HTTP, for a proxy in front."),
    KEY(tls_key, CONFIG_PATH, .help = "PEM file of the certificate's private key."),
    KEY(hosts, CONFIG_LIST, .help = "Host names that requests may be addressed to; any if absent."),
    KEY(partner_center, CONFIG_BOOLEAN, .default_text = "true", .help = "Whether Partner Center's webhooks are taken."),
    KEY(partner_center_path, CONFIG_TEXT, .default_text = "/webhooks/partner-center",
        .help = "Path of the URL registered at Partner Center."),
    KEY(partner_center_resource_hosts, CONFIG_LIST, .default_text = "[api.partnercenter.microsoft.com]",
        .help = "Host names that an event's ResourceUri may have."),
    KEY(unknown_events, CONFIG_WORD, .default_text = "dead-letter", .words = unknown_events_words,
        .help = "What becomes of Partner Center events of unknown names, which are acknowledged in any case."),
    KEY(dynamics_365_path, CONFIG_TEXT, .default_text = "/webhooks/dynamics-365",
        .help = "Path of the URL registered at Dynamics 365."),
    KEY(dynamics_365_secret, CONFIG_SECRET,
        .help = "Secret that Dynamics 365 sends, 24 characters or more; without it its webhooks are not taken."),
    KEY(dynamics_365_secret_next, CONFIG_SECRET, .help = "A second secret that is valid, too, while one is replaced."),
    KEY(dynamics_365_secret_header, CONFIG_TEXT, .default_text = "x-tandem-webhook-key",
        .help = "Header that holds the secret; `?code=` (authentication type WebhookKey) is taken as well."),
    KEY(dynamics_365_organization_id, CONFIG_TEXT,
        .help = "OrganizationId that every body has to name; any if absent."),
    KEY(dynamics_365_organization, CONFIG_TEXT,
        .help = "Host name of the organisation that every request has to name; any if absent."),
    KEY_AS("line_max", line_max_bytes, CONFIG_SIZE, .default_text = "4KiB", .min = 256, .max = 64 * KIB,
           .help = "Longest request line."),
    KEY_AS("headers_max", headers_max_bytes, CONFIG_SIZE, .default_text = "16KiB", .min = KIB, .max = 256 * KIB,
           .help = "Most bytes of all headers of a request."),
    KEY_AS("header_max", header_max_bytes, CONFIG_SIZE, .default_text = "8KiB", .min = KIB, .max = 256 * KIB,
           .help = "Longest header."),
    KEY(header_count_max, CONFIG_INTEGER, .default_text = "64", .min = 16, .max = REQUEST_FIELDS_MAX,
        .help = "Most headers of a request."),
    KEY_AS("body_max", body_max_bytes, CONFIG_SIZE, .default_text = "256KiB", .min = KIB, .max = BODY_MAX_BYTES,
           .help = "Longest body at Partner Center's path."),
    KEY_AS("dynamics_365_body_max", dynamics_365_body_max_bytes, CONFIG_SIZE, .default_text = "512KiB", .min = KIB,
           .max = DYNAMICS_BODY_MAX_BYTES, .help = "Longest body at Dynamics 365's path."),
    KEY_AS("handshake_timeout", handshake_timeout_ms, CONFIG_DURATION, .default_text = "10s", .min = 100,
           .max = 60 * SECOND_MS, .help = "Time for the TLS handshake."),
    KEY_AS("header_timeout", header_timeout_ms, CONFIG_DURATION, .default_text = "10s", .min = 100,
           .max = 60 * SECOND_MS, .help = "Time from a request's first byte to the end of its headers."),
    KEY_AS("body_timeout", body_timeout_ms, CONFIG_DURATION, .default_text = "20s", .min = 100, .max = 120 * SECOND_MS,
           .help = "Time for a body."),
    KEY(body_rate_min, CONFIG_INTEGER, .default_text = "500", .min = 0, .max = 1000000,
        .help = "Bytes a second that a body has to come with after its first five seconds."),
    KEY_AS("answer_timeout", answer_timeout_ms, CONFIG_DURATION, .default_text = "8s", .min = 100,
           .max = 55 * SECOND_MS,
           .help = "Time until a complete request is answered 503 if the broker has not taken it."),
    KEY_AS("write_timeout", write_timeout_ms, CONFIG_DURATION, .default_text = "10s", .min = 100, .max = 60 * SECOND_MS,
           .help = "Time for the client to take the answer."),
    KEY_AS("idle_timeout", idle_timeout_ms, CONFIG_DURATION, .default_text = "15s", .min = 100, .max = 600 * SECOND_MS,
           .help = "Time a connection may stay open without a request."),
    KEY(requests_per_connection, CONFIG_INTEGER, .default_text = "100", .min = 1, .max = 1000000,
        .help = "Requests after which a connection is closed."),
    KEY(connections_max, CONFIG_INTEGER, .default_text = "1024", .min = 1, .max = 10000,
        .help = "Most connections; less if the process may not open so many files."),
    KEY(connections_per_address_max, CONFIG_INTEGER, .default_text = "256", .min = 1, .max = 10000,
        .help = "Most connections from one address; raise it behind a proxy."),
    KEY(requests_max, CONFIG_INTEGER, .default_text = "256", .min = 1, .max = 10000,
        .help = "Most requests under way; further ones are answered 503."),
    KEY(requests_per_second, CONFIG_INTEGER, .default_text = "0", .min = 0, .max = 1000000,
        .help = "Requests a second beyond which they are answered 429; 0 for no such quota."),
    KEY_AS("refusals_interval", refusals_interval_ms, CONFIG_DURATION, .default_text = "30s", .min = 100,
           .max = 3600 * SECOND_MS,
           .help = "Of refused requests one of each kind is logged at once, further ones as a number this often."),
};
const size_t SERVE_KEY_COUNT = ARRAY_LENGTH(SERVE_KEYS);

enum route { ROUTE_PARTNER_CENTER, ROUTE_DYNAMICS_365, ROUTE_NONE };
static const char *const route_names[] = {"partner-center", "dynamics-365", "other"};

struct serve {
    struct loop *loop;
    const struct serve_settings *settings;
    const struct config_map *child_tables;
    struct producer *producer; /* NULL when it is gone: everything is answered 503 */
    struct certificates *certificates;
    struct server *server;
    struct refusals refusals;
    struct loop_timer *refusals_timer; /* set while there are any */
    char *notifications;
    char *dead_letters;
    int64_t quota; /* requests left, in 1/1000 */
    int64_t quota_ms;
    struct metric *requests;
    struct metric *durations;
    struct metric *events;
    struct metric *failures;
    struct series *connections;
};

/* A request on its way through. */
struct job {
    struct serve *serve;
    struct exchange *exchange;
    enum route route;
    struct answer answer; /* once its message is durable */
    char received_at[TIMESTAMP_TEXT_SIZE];
};

/* --- Settings --- */

static void check_path(const char *path, const char *key, const struct config_section *section,
                       struct diagnostics *diagnostics)
{
    const struct position nowhere = {0};
    if (path[0] != '/' || strpbrk(path, "?#% ") != NULL)
        diagnostics_error(diagnostics, nowhere, "%s.%s: '%s' is no plain path", section->name, key, path);
}

static void check_secret(const struct secret *secret, const char *key, const struct config_section *section,
                         struct diagnostics *diagnostics)
{
    const struct position nowhere = {0};
    if (secret->bytes != NULL && secret->length < SECRET_MIN_BYTES)
        diagnostics_error(diagnostics, nowhere, "%s.%s: shorter than %d characters", section->name, key,
                          SECRET_MIN_BYTES);
}

void serve_settings_validate(const struct config_section *section, const struct yaml_node *node,
                             struct diagnostics *diagnostics)
{
    const struct serve_settings *settings = section->target;
    const struct position nowhere = {0};

    (void)node;
    if (settings->listen == NULL) /* the section is absent, and so is the role */
        return;
    if ((settings->tls_certificate == NULL) != (settings->tls_key == NULL))
        diagnostics_error(diagnostics, nowhere, "%s: tls_certificate and tls_key belong together", section->name);
    check_path(settings->partner_center_path, "partner_center_path", section, diagnostics);
    check_path(settings->dynamics_365_path, "dynamics_365_path", section, diagnostics);
    if (strcmp(settings->partner_center_path, settings->dynamics_365_path) == 0)
        diagnostics_error(diagnostics, nowhere, "%s: both senders have the same path", section->name);
    check_secret(&settings->dynamics_365_secret, "dynamics_365_secret", section, diagnostics);
    check_secret(&settings->dynamics_365_secret_next, "dynamics_365_secret_next", section, diagnostics);
    if (settings->dynamics_365_organization_id != NULL &&
        !uuid_is_valid(settings->dynamics_365_organization_id, strlen(settings->dynamics_365_organization_id)))
        diagnostics_error(diagnostics, nowhere, "%s.dynamics_365_organization_id: no UUID", section->name);
}

/* --- What is refused --- */

static void tell_repeats(void *arg, const struct refusal_kind *kind, uint64_t repeats)
{
    const struct serve *serve = arg;

    log_warning("serve.refused_again", LOG_TEXT("route", kind->route), LOG_INTEGER("status", kind->status),
                LOG_TEXT("code", kind->code), LOG_TEXT("detail", kind->detail), LOG_INTEGER("count", repeats),
                LOG_INTEGER("within_ms", serve->settings->refusals_interval_ms));
}

static void close_refusals(void *arg)
{
    struct serve *serve = arg;

    refusals_close(&serve->refusals, tell_repeats, serve);
}

static void note_refusal(struct serve *serve, const char *request_id, const struct refusal_kind *kind)
{
    if (!loop_timer_is_set(serve->refusals_timer))
        loop_timer_set(serve->refusals_timer, serve->settings->refusals_interval_ms);
    if (refusals_note(&serve->refusals, kind))
        log_warning("serve.refused", LOG_TEXT("request_id", request_id), LOG_TEXT("route", kind->route),
                    LOG_INTEGER("status", kind->status), LOG_TEXT("code", kind->code),
                    LOG_TEXT("detail", kind->detail));
}

/* --- Answers --- */

static struct answer unavailable(const char *code)
{
    return (struct answer){.status = 503, .code = code, .retry_after_s = RETRY_AFTER_S};
}

static void finish(struct job *job, const struct answer *answer)
{
    exchange_answer(job->exchange, answer);
    free(job);
}

static void on_delivered(void *arg, const struct error *err)
{
    struct job *job = arg;
    struct answer answer = job->answer;

    if (err != NULL) {
        log_warning("serve.not_delivered", LOG_TEXT("request_id", exchange_request_id(job->exchange)), LOG_ERROR(err));
        answer = unavailable("unavailable");
    }
    finish(job, &answer);
}

static void produce(struct job *job, const struct kafka_message *message, struct answer answer)
{
    struct error err = ERROR_INIT;

    job->answer = answer;
    if (job->serve->producer != NULL && producer_send(job->serve->producer, message, on_delivered, job, &err) == 0)
        return;
    log_warning("serve.not_sent", LOG_TEXT("request_id", exchange_request_id(job->exchange)), LOG_ERROR(&err));
    answer = unavailable("unavailable");
    finish(job, &answer);
}

/* --- Messages --- */

static void continue_trace(const struct request *request, char out[static TRACEPARENT_SIZE])
{
    uint8_t random[24];
    const char *parent = request_field(request, "traceparent", NULL);

    random_fill(random, sizeof(random));
    if (parent == NULL)
        traceparent_new(random, out);
    else
        traceparent_continue(parent, random, out);
}

static void produce_notification(struct job *job, const struct notification *notification)
{
    struct envelope envelope = {.source = "/tandem/ingest", .type = MESSAGE_NOTIFICATION};
    struct kafka_message message = {.topic = job->serve->notifications};
    char *key = notification_key(notification);
    char *value = notification_write(notification, &message.value_length);
    struct answer overloaded = unavailable("overloaded");

    if (key == NULL || value == NULL) {
        finish(job, &overloaded);
        goto out;
    }
    message.key = key;
    message.key_length = strlen(key);
    message.value = value;
    notification_id(notification, envelope.id);
    memcpy(envelope.time, job->received_at, sizeof(envelope.time));
    memcpy(envelope.subject, notification->record_id, strlen(notification->record_id) + 1);
    continue_trace(exchange_request(job->exchange), envelope.traceparent);
    kafka_message_set_envelope(&message, &envelope);
    produce(job, &message, (struct answer){.status = 202, .code = "accepted"});
out:
    free(key);
    free(value);
}

/* The body as it came, with its reason. */
static void produce_dead_letter(struct job *job, int status, const char *code)
{
    const struct request *request = exchange_request(job->exchange);
    const char *name = route_names[job->route];
    struct kafka_message original = {
        .key = name,
        .key_length = strlen(name),
        .value = request->body == NULL ? "" : request->body,
        .value_length = request->body_length,
    };
    struct kafka_message message;
    struct dead_letter room;
    struct error reason;
    char traceparent[TRACEPARENT_SIZE];

    continue_trace(request, traceparent);
    kafka_message_add_header(&original, "content-type", request_field(request, "content-type", NULL));
    kafka_message_add_header(&original, "traceparent", traceparent);
    kafka_message_add_header(&original, "request-id", exchange_request_id(job->exchange));
    error_set(&reason, ERROR_POISON, code, "webhook of %s is no notification", name);
    dead_letter_message(&room, &original, "serve", &reason, 1, job->received_at, &message);
    message.topic = job->serve->dead_letters;
    produce(job, &message, (struct answer){.status = status, .code = status < 300 ? "accepted" : code});
}

static void act_on(struct job *job, struct webhook_result *result)
{
    static const char *const outcomes[] = {
        [WEBHOOK_NOTIFICATION] = "notification", [WEBHOOK_IGNORED] = "ignored",       [WEBHOOK_SET_ASIDE] = "set_aside",
        [WEBHOOK_REFUSED] = "refused",           [WEBHOOK_OVERLOADED] = "overloaded",
    };
    struct answer answer = {.status = result->status, .code = "accepted"};

    metric_count(job->serve->events, route_names[job->route], outcomes[result->outcome], result->code, NULL);
    switch (result->outcome) {
    case WEBHOOK_NOTIFICATION:
        produce_notification(job, &result->notification);
        break;
    case WEBHOOK_IGNORED:
        finish(job, &answer);
        break;
    case WEBHOOK_SET_ASIDE:
    case WEBHOOK_REFUSED:
        log_warning("serve.set_aside", LOG_TEXT("request_id", exchange_request_id(job->exchange)),
                    LOG_TEXT("route", route_names[job->route]), LOG_TEXT("code", result->code));
        produce_dead_letter(job, result->status, result->code);
        break;
    case WEBHOOK_OVERLOADED:
        answer = unavailable("overloaded");
        finish(job, &answer);
        break;
    }
    webhook_result_done(result);
}

/* --- Authenticity --- */

static void refuse(struct job *job, const char *code, const char *reason, const char *detail)
{
    const struct refusal_kind kind = {
        .route = route_names[job->route], .status = NOT_AUTHENTIC, .code = code, .detail = detail};

    metric_count(job->serve->failures, kind.route, reason, NULL, NULL);
    note_refusal(job->serve, exchange_request_id(job->exchange), &kind);
    finish(job, &(struct answer){.status = NOT_AUTHENTIC, .code = code});
}

static void on_verdict(void *arg, enum signature_verdict verdict, const char *detail, size_t offset)
{
    struct job *job = arg;
    const struct serve_settings *settings = job->serve->settings;
    const struct request *request = exchange_request(job->exchange);
    const struct partner_center_events events = {
        .resource_hosts = (const char *const *)settings->partner_center_resource_hosts.items,
        .resource_host_count = settings->partner_center_resource_hosts.count,
        .ignore_unknown = settings->unknown_events != 0,
    };

    if (verdict != SIGNATURE_VALID) {
        refuse(job, verdict == SIGNATURE_MISSING ? "signature_missing" : "signature_invalid",
               signature_verdict_name(verdict), detail);
        return;
    }
    const char *body = request->body == NULL ? "" : request->body;
    struct webhook_result result = webhook_partner_center_read(body + offset, request->body_length - offset, &events,
                                                               webhook_headers(request), job->received_at);
    act_on(job, &result);
}

/* The secret's header, or the query parameter of the authentication type WebhookKey. */
static bool knows_secret(const struct serve_settings *settings, const struct request *request, bool *ret_is_given)
{
    char code[QUERY_SECRET_SIZE];
    size_t count;
    const char *given = request_field(request, settings->dynamics_365_secret_header, &count);

    if (count == 0 && request_query_value(request, "code", code, sizeof(code)))
        given = code;
    *ret_is_given = given != NULL;
    return count <= 1 &&
           secret_matches(given, settings->dynamics_365_secret.bytes, settings->dynamics_365_secret_next.bytes);
}

static void take_dynamics_365(struct job *job)
{
    const struct serve_settings *settings = job->serve->settings;
    const struct request *request = exchange_request(job->exchange);
    const struct dynamics_organization organization = {
        .id = settings->dynamics_365_organization_id,
        .host = settings->dynamics_365_organization,
        .child_tables = job->serve->child_tables,
    };
    bool is_given;

    if (!knows_secret(settings, request, &is_given)) {
        refuse(job, is_given ? "secret_invalid" : "secret_missing", is_given ? "secret" : "missing",
               is_given ? "mismatch" : "missing");
        return;
    }
    if (text_equal(request_field(request, "x-ms-dynamics-request-name", NULL), DYNAMICS_PROBE)) {
        finish(job, &(struct answer){.status = 200, .code = "ok"});
        return;
    }
    const char *body = request->body == NULL ? "" : request->body;
    struct webhook_result result = webhook_dynamics_read(body, request->body_length, &organization,
                                                         request_field(request, "x-ms-dynamics-organization", NULL),
                                                         webhook_headers(request), job->received_at);
    act_on(job, &result);
}

/* --- Requests --- */

static enum route route_of(const struct serve *serve, const char *path)
{
    const struct serve_settings *settings = serve->settings;
    if (settings->partner_center && text_equal(path, settings->partner_center_path))
        return ROUTE_PARTNER_CENTER;
    if (settings->dynamics_365_secret.bytes != NULL && text_equal(path, settings->dynamics_365_path))
        return ROUTE_DYNAMICS_365;
    return ROUTE_NONE;
}

static bool is_our_host(const struct serve *serve, const struct request *request)
{
    const struct config_list *hosts = &serve->settings->hosts;
    for (size_t i = 0; i < hosts->count; i++)
        if (request_host_is(request, hosts->items[i]))
            return true;
    return hosts->count == 0;
}

/* Nothing is decompressed. */
static bool is_plain(const struct request *request)
{
    size_t count;
    const char *encoding = request_field(request, "content-encoding", &count);
    return count == 0 || (count == 1 && text_equal_ignoring_case(encoding, "identity"));
}

static bool is_within_quota(struct serve *serve)
{
    const int64_t rate = serve->settings->requests_per_second;
    int64_t now_ms = clock_monotonic_ms();

    if (rate == 0)
        return true;
    serve->quota += (now_ms - serve->quota_ms) * rate;
    serve->quota_ms = now_ms;
    if (serve->quota > rate * SECOND_MS)
        serve->quota = rate * SECOND_MS;
    if (serve->quota < SECOND_MS)
        return false;
    serve->quota -= SECOND_MS;
    return true;
}

static bool on_head(void *arg, const struct request *request, size_t *ret_body_max_bytes, struct answer *ret_answer)
{
    struct serve *serve = arg;
    enum route route = route_of(serve, request->path);

    if (!is_our_host(serve, request))
        *ret_answer = (struct answer){.status = 421, .code = "misdirected"};
    else if (route == ROUTE_NONE)
        *ret_answer = (struct answer){.status = 404, .code = "not_found"};
    else if (strcmp(request->method, "POST") != 0)
        *ret_answer = (struct answer){.status = 405, .code = "method"};
    else if (!request_is_json(request))
        *ret_answer = (struct answer){.status = 415, .code = "media_type"};
    else if (!is_plain(request))
        *ret_answer = (struct answer){.status = 415, .code = "content_encoding"};
    else if (!is_within_quota(serve))
        *ret_answer = (struct answer){.status = 429, .code = "quota", .retry_after_s = RETRY_AFTER_S};
    else {
        *ret_body_max_bytes = (size_t)(route == ROUTE_DYNAMICS_365 ? serve->settings->dynamics_365_body_max_bytes
                                                                   : serve->settings->body_max_bytes);
        return true;
    }
    return false;
}

static void on_request(void *arg, struct exchange *exchange)
{
    struct serve *serve = arg;
    const struct request *request = exchange_request(exchange);
    struct job *job = calloc(1, sizeof(*job));

    if (job == NULL) {
        struct answer overloaded = unavailable("overloaded");
        exchange_answer(exchange, &overloaded);
        return;
    }
    job->serve = serve;
    job->exchange = exchange;
    job->route = route_of(serve, request->path);
    timestamp_format(clock_now(), 6, job->received_at);
    if (job->route == ROUTE_DYNAMICS_365)
        take_dynamics_365(job);
    else
        certificates_judge(serve->certificates, request->fields, request->field_count,
                           request->body == NULL ? "" : request->body, request->body_length, on_verdict, job);
}

static void on_finished(void *arg, const struct exchange_summary *summary)
{
    struct serve *serve = arg;
    const char *route = route_names[route_of(serve, summary->path)];
    char *status = text_format("%d", summary->status);

    metric_count(serve->requests, route, status == NULL ? "other" : status, NULL, NULL);
    free(status);
    metric_observe_us(metrics_series(serve->durations, (const char *const[]){route, NULL}), summary->duration_us);
    if (summary->status >= 200 && summary->status < 300)
        log_info("serve.answered", LOG_TEXT("request_id", summary->request_id), LOG_TEXT("route", route),
                 LOG_INTEGER("status", summary->status), LOG_TEXT("code", summary->code),
                 LOG_INTEGER("duration_us", summary->duration_us));
    else if (summary->status != NOT_AUTHENTIC) /* those are noted with their reason */
        note_refusal(serve, summary->request_id,
                     &(struct refusal_kind){.route = route, .status = summary->status, .code = summary->code});
}

static void on_connections(void *arg, size_t count)
{
    const struct serve *serve = arg;
    metric_set(serve->connections, (int64_t)count);
}

/* --- Life --- */

static struct server_settings server_settings_of(const struct serve_settings *settings)
{
    return (struct server_settings){
        .address = settings->listen,
        .certificate_file = settings->tls_certificate,
        .key_file = settings->tls_key,
        .request_limits =
            {
                .line_max_bytes = (size_t)settings->line_max_bytes,
                .fields_max_bytes = (size_t)settings->headers_max_bytes,
                .field_max_bytes = (size_t)settings->header_max_bytes,
                .field_count_max = (unsigned)settings->header_count_max,
            },
        .handshake_timeout_ms = settings->handshake_timeout_ms,
        .head_timeout_ms = settings->header_timeout_ms,
        .body_timeout_ms = settings->body_timeout_ms,
        .body_rate_min = settings->body_rate_min,
        .answer_timeout_ms = settings->answer_timeout_ms,
        .write_timeout_ms = settings->write_timeout_ms,
        .idle_timeout_ms = settings->idle_timeout_ms,
        .requests_per_connection = (size_t)settings->requests_per_connection,
        .connections_max = (size_t)settings->connections_max,
        .connections_per_address_max = (size_t)settings->connections_per_address_max,
        .exchanges_max = (size_t)settings->requests_max,
    };
}

static void declare_metrics(struct serve *serve)
{
    struct metric *connections =
        metrics_declare(METRIC_GAUGE, "tandem_ingest_connections", "", "Open connections of webhook senders.");

    serve->requests = metrics_declare(METRIC_COUNTER, "tandem_ingest_requests_total", "route,status",
                                      "Answered requests; status 0: the client went away.");
    serve->durations = metrics_declare(METRIC_HISTOGRAM, "tandem_ingest_request_duration_seconds", "route",
                                       "Time from a request's first byte to its answer.");
    serve->events = metrics_declare(METRIC_COUNTER, "tandem_ingest_events_total", "source,outcome,code",
                                    "Authentic webhook bodies by what they came to.");
    serve->failures = metrics_declare(METRIC_COUNTER, "tandem_ingest_signature_failures_total", "route,reason",
                                      "Requests that were not authentic.");
    serve->connections = metrics_series(connections, (const char *const[]){NULL});
}

static int start(struct serve *serve, const struct certificates_settings *certificates_settings,
                 const struct kafka_settings *kafka, struct error *err)
{
    static const struct server_handler handler = {
        .on_head = on_head,
        .on_request = on_request,
        .on_finished = on_finished,
        .on_connections = on_connections,
    };
    const struct server_settings settings = server_settings_of(serve->settings);

    serve->refusals_timer = loop_timer_new(serve->loop, close_refusals, serve);
    serve->notifications = kafka_topic_name(kafka, TOPIC_NOTIFICATIONS);
    serve->dead_letters = kafka_topic_name(kafka, TOPIC_DEAD_LETTERS);
    if (serve->refusals_timer == NULL || serve->notifications == NULL || serve->dead_letters == NULL)
        return error_no_memory(err);
    if (serve->settings->partner_center &&
        certificates_new(serve->loop, certificates_settings, &serve->certificates, err) < 0)
        return error_wrap(err, "ingest.signature");
    if (server_new(serve->loop, &settings, &handler, serve, &serve->server, err) < 0)
        return error_wrap(err, "ingest.serve");
    return 0;
}

int serve_new(struct loop *loop, const struct serve_settings *settings,
              const struct certificates_settings *certificates_settings, const struct config_map *child_tables,
              const struct kafka_settings *kafka, struct producer *producer, struct serve **ret_serve,
              struct error *err)
{
    struct serve *serve = calloc(1, sizeof(*serve));
    if (serve == NULL)
        return error_no_memory(err);
    serve->loop = loop;
    serve->settings = settings;
    serve->child_tables = child_tables;
    serve->producer = producer;
    serve->quota = settings->requests_per_second * SECOND_MS;
    serve->quota_ms = clock_monotonic_ms();
    declare_metrics(serve);
    if (start(serve, certificates_settings, kafka, err) < 0) {
        serve_free(serve);
        return -1;
    }
    log_info("serve.listening", LOG_INTEGER("port", serve_port(serve)), LOG_BOOLEAN("tls", settings->tls_key != NULL),
             LOG_BOOLEAN("partner_center", settings->partner_center),
             LOG_BOOLEAN("dynamics_365", settings->dynamics_365_secret.bytes != NULL));
    *ret_serve = serve;
    return 0;
}

void serve_free(struct serve *serve)
{
    if (serve == NULL)
        return;
    serve->producer = NULL;
    certificates_free(serve->certificates);
    server_free(serve->server);
    close_refusals(serve);
    loop_timer_free(serve->refusals_timer);
    free(serve->notifications);
    free(serve->dead_letters);
    free(serve);
}

int serve_port(const struct serve *serve)
{
    return server_port(serve->server);
}

void serve_reload(struct serve *serve)
{
    struct error err = ERROR_INIT;
    if (server_reload(serve->server, &err) < 0)
        log_warning("serve.tls_kept", LOG_ERROR(&err));
    else
        log_info("serve.tls_reloaded", LOG_BOOLEAN("tls", serve->settings->tls_key != NULL));
}

void serve_drain(struct serve *serve, void (*on_drained)(void *arg), void *arg)
{
    server_drain(serve->server, on_drained, arg);
}
