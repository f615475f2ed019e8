#include "ingest/register_partner_center.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/retry.h"
#include "common/base/text.h"
#include "common/base/uuid.h"

enum { WATCH_INTERVAL_MS = 500 };

/* What Tandem cannot do without, and what `register test` needs. */
static const char *const NEEDED_EVENTS[] = {
    "referral-created", "referral-updated", "related-referral-created", "related-referral-updated", "test-created",
};

struct register_partner_center_run {
    const struct api *api;
    struct register_partner_center request;
    FILE *out;
    void (*on_done)(void *arg, const struct error *err);
    void *arg;
    char *url;            /* of the registration */
    char *correlation_id; /* test */
    size_t attempts_shown;
    int64_t end_ms;
    struct loop_timer *timer;
};

/* --- What to do --------------------------------------------------------------------------------------------------- */

static bool has_event(const json_t *events, const char *name)
{
    for (size_t i = 0; i < json_array_size(events); i++) {
        if (text_equal(json_string_value(json_array_get(events, i)), name))
            return true;
    }
    return false;
}

static int add_event(json_t *events, const char *name, size_t length)
{
    char *copy = text_copy_n(name, length);
    int status = 0;

    if (copy == NULL)
        return -1;
    if (length > 0 && !has_event(events, copy))
        status = json_array_append_new(events, json_string(copy));
    free(copy);
    return status;
}

/* New reference; NULL when out of memory. */
static json_t *wanted_events(const struct register_partner_center *request, const json_t *current)
{
    json_t *events = json_array();
    const json_t *registered = json_object_get(current, "WebhookEvents");
    int status = events == NULL ? -1 : 0;

    for (size_t i = 0; request->events == NULL && i < ARRAY_LENGTH(NEEDED_EVENTS) && status == 0; i++)
        status = add_event(events, NEEDED_EVENTS[i], strlen(NEEDED_EVENTS[i]));
    for (const char *at = request->events; at != NULL && status == 0;) {
        size_t length = strcspn(at, ",");
        status = add_event(events, at, length);
        at = at[length] == ',' ? at + length + 1 : NULL;
    }
    for (size_t i = 0; !request->drops_others && i < json_array_size(registered) && status == 0; i++) {
        const char *name = json_string_value(json_array_get(registered, i));
        if (name != NULL)
            status = add_event(events, name, strlen(name));
    }
    if (status < 0) {
        json_decref(events);
        return NULL;
    }
    return events;
}

/* A list of the same names; the order means nothing. */
static bool same_events(const json_t *a, const json_t *b)
{
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        const char *name = json_string_value(json_array_get(a, i));
        if (name == NULL || !has_event(b, name))
            return false;
    }
    return true;
}

int register_partner_center_plan(const struct register_partner_center *request, const json_t *current,
                                 enum register_step *ret_step, json_t **ret_body)
{
    const char *url = json_text_of(current, "WebhookUrl");
    bool is_same_url = text_equal(url, request->url);
    bool has_own_header = json_flag_of(current, "SignatureTokenToMsSignatureHeader", false);
    json_t *events;

    *ret_body = NULL;
    if (url != NULL && !is_same_url && !request->overwrites) {
        *ret_step = REGISTER_REFUSED;
        return 0;
    }
    events = wanted_events(request, current);
    if (events == NULL)
        return -1;
    /* Whether GET shows the header's flag is not documented: if it is wanted and not shown, it is set again. */
    if (is_same_url && same_events(events, json_object_get(current, "WebhookEvents")) &&
        (!request->wants_own_header || has_own_header)) {
        json_decref(events);
        *ret_step = REGISTER_NOTHING;
        return 0;
    }
    *ret_step = url == NULL ? REGISTER_POST : REGISTER_PUT;
    *ret_body =
        json_pack("{s:s, s:o, s:b}", "WebhookUrl", request->url, "WebhookEvents", events,
                  "SignatureTokenToMsSignatureHeader", request->wants_own_header || (is_same_url && has_own_header));
    return *ret_body == NULL ? -1 : 0;
}

/* --- Printing ----------------------------------------------------------------------------------------------------- */

static void print_json(const struct register_partner_center_run *registration, const char *label, const json_t *json)
{
    char *text = json == NULL ? NULL : json_write(json, false, NULL);

    (void)fprintf(registration->out, "%s%s\n", label, text == NULL ? "none" : text);
    free(text);
}

static void print_names(const struct register_partner_center_run *registration, const char *label, const json_t *names)
{
    for (size_t i = 0; i < json_array_size(names); i++)
        (void)fprintf(registration->out, "%-14s%s\n", i == 0 ? label : "", json_string_value(json_array_get(names, i)));
}

static void print_registration(const struct register_partner_center_run *registration, const json_t *current)
{
    const char *subscriber = json_text_of(current, "SubscriberId");

    if (registration->request.prints_json) {
        print_json(registration, "", current);
    } else if (current == NULL) {
        (void)fprintf(registration->out, "no webhook is registered\n");
    } else {
        (void)fprintf(registration->out, "%-14s%s\n", "url", json_text_of(current, "WebhookUrl"));
        print_names(registration, "events", json_object_get(current, "WebhookEvents"));
        if (subscriber != NULL)
            (void)fprintf(registration->out, "%-14s%s\n", "subscriber", subscriber);
    }
}

/* --- Requests ----------------------------------------------------------------------------------------------------- */

static void finish(struct register_partner_center_run *registration, const struct error *err)
{
    (void)fflush(registration->out);
    registration->on_done(registration->arg, err);
}

static void finish_no_memory(struct register_partner_center_run *registration)
{
    struct error err = ERROR_INIT;

    (void)error_no_memory(&err);
    finish(registration, &err);
}

/* The service's own description is shown: it is about our request, not about people. */
static void describe_refusal(const struct http_response *response, const char *what, struct error *err)
{
    json_auto_t *body = NULL;
    struct json_fault fault;
    const char *description = NULL;
    int64_t wait_ms = retry_after_parse(http_response_header(response, "Retry-After"), timestamp_to_ms(clock_now()));

    if (json_read(response->body, response->body_length, &JSON_LIMITS_FOREIGN, &body, &fault) == 0)
        description = json_text_of(body, "description");
    switch (response->status) {
    case 401:
        (void)error_set(err, ERROR_CONFIG, "register.unauthorized",
                        "%s: Partner Center does not accept the sign-in (401); the service user may lack MFA or the "
                        "application its consent for %s",
                        what, "https://api.partnercenter.microsoft.com");
        break;
    case 403:
        (void)error_set(err, ERROR_CONFIG, "register.forbidden",
                        "%s: the service user may not do this (403); it needs a role such as Admin agent, Sales agent "
                        "or Referrals admin",
                        what);
        break;
    case 429:
        (void)error_set(err, ERROR_TRANSIENT, "register.throttled",
                        "%s: Partner Center has had enough requests (429; test events: two a minute); try again in "
                        "%" PRId64 " s",
                        what, wait_ms < 0 ? 60 : (wait_ms + 999) / 1000);
        break;
    default:
        (void)error_set(err, response->status >= 500 ? ERROR_TRANSIENT : ERROR_CONFIG, "register.refused",
                        "%s: Partner Center answered %ld%s%s", what, response->status, description == NULL ? "" : ": ",
                        description == NULL ? "" : description);
        break;
    }
}

/* True when there is an answer with a status to be taken for a success; else the run has been ended. */
static bool succeeded(struct register_partner_center_run *registration, const struct http_response *response,
                      const struct error *err, const char *what)
{
    struct error failure = ERROR_INIT;

    if (response != NULL && response->result == HTTP_ANSWERED && response->status >= 200 && response->status < 300)
        return true;
    if (response == NULL) {
        failure = *err;
        (void)error_wrap(&failure, "%s", what);
    } else if (response->result != HTTP_ANSWERED) {
        failure = response->error;
        (void)error_wrap(&failure, "%s", what);
    } else {
        describe_refusal(response, what, &failure);
    }
    finish(registration, &failure);
    return false;
}

/* NULL when it is no JSON; also ends the run then. */
static json_t *body_of(struct register_partner_center_run *registration, const struct http_response *response,
                       const char *what)
{
    json_t *body = NULL;
    struct json_fault fault;
    struct error err = ERROR_INIT;

    if (json_read(response->body, response->body_length, &JSON_LIMITS_FOREIGN, &body, &fault) == 0)
        return body;
    (void)error_set(&err, ERROR_TRANSIENT, "register.bad_response", "%s: the answer is not readable", what);
    finish(registration, &err);
    return NULL;
}

/* `path` after the registration's URL. Ends the run when it cannot be sent. */
static void request(struct register_partner_center_run *registration, enum http_method method, const char *path,
                    const char *body, api_callback on_response)
{
    char *url = text_format("%s%s", registration->url, path);
    struct api_request wanted = {
        .method = method, .url = url, .body = body, .body_length = body == NULL ? 0 : strlen(body)};
    char correlation_id[UUID_TEXT_SIZE], request_id[UUID_TEXT_SIZE];
    uint8_t random[32];
    struct error err = ERROR_INIT;

    if (url == NULL) {
        finish_no_memory(registration);
        return;
    }
    random_fill(random, sizeof(random));
    api_request_header(&wanted, "Accept", "application/json");
    api_request_header(&wanted, "MS-CorrelationId", uuid_from_random(random, correlation_id));
    api_request_header(&wanted, "MS-RequestId", uuid_from_random(random + 16, request_id));
    if (body != NULL)
        api_request_header(&wanted, "Content-Type", "application/json");
    if (api_send(registration->api, &wanted, on_response, registration, &err) < 0)
        finish(registration, &err);
    free(url);
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void on_events(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_partner_center_run *registration = arg;
    json_auto_t *events = NULL;

    if (!succeeded(registration, response, err, "list the events") ||
        (events = body_of(registration, response, "list the events")) == NULL)
        return;
    if (registration->request.prints_json)
        print_json(registration, "", events);
    for (size_t i = 0; !registration->request.prints_json && i < json_array_size(events); i++)
        (void)fprintf(registration->out, "%s\n", json_string_value(json_array_get(events, i)));
    finish(registration, NULL);
}

/* --- show and create ---------------------------------------------------------------------------------------------- */

static void on_registered(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_partner_center_run *registration = arg;
    json_auto_t *after = NULL;

    if (!succeeded(registration, response, err, "register the webhook") ||
        (after = body_of(registration, response, "register the webhook")) == NULL)
        return;
    print_json(registration, "after:  ", after);
    finish(registration, NULL);
}

static void create(struct register_partner_center_run *registration, const json_t *current)
{
    enum register_step step;
    json_auto_t *wanted = NULL;
    struct error err = ERROR_INIT;
    char *body = NULL;

    print_json(registration, "before: ", current);
    if (register_partner_center_plan(&registration->request, current, &step, &wanted) < 0) {
        finish_no_memory(registration);
        return;
    }
    switch (step) {
    case REGISTER_NOTHING:
        (void)fprintf(registration->out, "already registered as asked\n");
        finish(registration, NULL);
        return;
    case REGISTER_REFUSED:
        (void)error_set(&err, ERROR_CONFIG, "register.other_url",
                        "another URL is registered, and a tenant can have only one; --overwrite replaces it");
        finish(registration, &err);
        return;
    case REGISTER_POST:
    case REGISTER_PUT:
        break;
    }
    body = json_write(wanted, false, NULL);
    if (body == NULL)
        finish_no_memory(registration);
    else
        request(registration, step == REGISTER_POST ? HTTP_POST : HTTP_PUT, "", body, on_registered);
    free(body);
}

/* "There is none" is not documented: a 404, or an empty body. */
static bool is_none(const struct http_response *response)
{
    return response != NULL && response->result == HTTP_ANSWERED &&
           (response->status == 404 || response->status == 204 ||
            (response->status == 200 && response->body_length == 0));
}

static void on_current(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_partner_center_run *registration = arg;
    json_auto_t *current = NULL;

    if (!is_none(response) && (!succeeded(registration, response, err, "read the registration") ||
                               (current = body_of(registration, response, "read the registration")) == NULL))
        return;
    if (registration->request.action == REGISTER_CREATE) {
        create(registration, current);
        return;
    }
    print_registration(registration, current);
    finish(registration, NULL);
}

/* --- test --------------------------------------------------------------------------------------------------------- */

static void show_attempts(struct register_partner_center_run *registration, const json_t *results)
{
    for (size_t i = registration->attempts_shown; i < json_array_size(results); i++) {
        const json_t *result = json_array_get(results, i);
        const char *code = json_text_of(result, "responseCode");
        const char *message = json_text_of(result, "responseMessage");
        const char *time = json_text_of(result, "dateTimeUtc");
        if (registration->request.prints_json)
            print_json(registration, "", result);
        else
            (void)fprintf(registration->out, "attempt %zu: %s %s%s%s\n", i + 1, time == NULL ? "" : time,
                          code == NULL || *code == '\0' ? "no answer" : code,
                          message == NULL || *message == '\0' ? "" : ": ", message == NULL ? "" : message);
        (void)fflush(registration->out);
    }
    registration->attempts_shown = json_array_size(results);
}

static void end_test(struct register_partner_center_run *registration, const json_t *results)
{
    const json_t *last = json_array_get(results, json_array_size(results) - 1);
    const char *code = json_text_of(last, "responseCode");
    struct error err = ERROR_INIT;

    if (json_array_size(results) > 0 && !json_flag_of(last, "systemError", false) && code != NULL &&
        (text_equal_ignoring_case(code, "OK") || text_equal_ignoring_case(code, "Accepted") ||
         text_equal_ignoring_case(code, "NoContent"))) {
        (void)fprintf(registration->out, "delivered\n");
        finish(registration, NULL);
        return;
    }
    (void)error_set(&err, ERROR_CONFIG, "register.not_delivered", "Partner Center could not deliver the test event");
    finish(registration, &err);
}

static void on_delivery(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_partner_center_run *registration = arg;
    json_auto_t *state = NULL;
    struct error late = ERROR_INIT;
    const json_t *results;

    if (!succeeded(registration, response, err, "watch the delivery") ||
        (state = body_of(registration, response, "watch the delivery")) == NULL)
        return;
    results = json_object_get(state, "results");
    show_attempts(registration, results);
    if (text_equal_ignoring_case(json_text_of(state, "status") == NULL ? "" : json_text_of(state, "status"),
                                 "completed")) {
        end_test(registration, results);
    } else if (clock_monotonic_ms() >= registration->end_ms) {
        (void)error_set(&late, ERROR_TRANSIENT, "register.not_delivered_yet",
                        "the test event was not delivered in time; Partner Center goes on trying");
        finish(registration, &late);
    } else {
        loop_timer_set(registration->timer, WATCH_INTERVAL_MS);
    }
}

static void watch(void *arg)
{
    struct register_partner_center_run *registration = arg;
    char *path = text_format("/validationEvents/%s", registration->correlation_id);

    if (path == NULL)
        finish_no_memory(registration);
    else
        request(registration, HTTP_GET, path, NULL, on_delivery);
    free(path);
}

static void on_test_begun(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_partner_center_run *registration = arg;
    json_auto_t *answer = NULL;
    struct error strange = ERROR_INIT;
    const char *id;

    if (!succeeded(registration, response, err, "ask for a test event") ||
        (answer = body_of(registration, response, "ask for a test event")) == NULL)
        return;
    id = json_text_of(answer, "correlationId");
    if (id == NULL || !uuid_is_valid(id, strlen(id))) {
        (void)error_set(&strange, ERROR_TRANSIENT, "register.bad_response", "the answer names no test event");
        finish(registration, &strange);
        return;
    }
    registration->correlation_id = text_copy(id);
    if (registration->correlation_id == NULL) {
        finish_no_memory(registration);
        return;
    }
    if (registration->request.prints_json)
        print_json(registration, "", answer);
    else
        (void)fprintf(registration->out, "test event %s\n", id);
    (void)fflush(registration->out);
    watch(registration);
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

static void begin(void *arg)
{
    struct register_partner_center_run *registration = arg;

    switch (registration->request.action) {
    case REGISTER_EVENTS:
        request(registration, HTTP_GET, "/events", NULL, on_events);
        break;
    case REGISTER_SHOW:
    case REGISTER_CREATE:
        request(registration, HTTP_GET, "", NULL, on_current);
        break;
    case REGISTER_TEST:
        registration->end_ms = clock_monotonic_ms() + registration->request.deadline_ms;
        request(registration, HTTP_POST, "/validationEvents", "", on_test_begun);
        break;
    }
}

/* One timer serves the whole run: first it begins it, later it watches the delivery. */
static void on_timer(void *arg)
{
    struct register_partner_center_run *registration = arg;

    if (registration->correlation_id != NULL)
        watch(registration);
    else
        begin(registration);
}

int register_partner_center_start(struct loop *loop, const struct api *api, const char *base_url,
                                  const struct register_partner_center *wanted, FILE *out,
                                  void (*on_done)(void *arg, const struct error *err), void *arg,
                                  struct register_partner_center_run **ret_run, struct error *err)
{
    struct register_partner_center_run *registration = calloc(1, sizeof(*registration));

    if (registration == NULL)
        return error_no_memory(err);
    registration->api = api;
    registration->request = *wanted;
    registration->out = out;
    registration->on_done = on_done;
    registration->arg = arg;
    registration->url = text_format("%s/webhooks/v1/registration", base_url);
    registration->timer = loop_timer_new(loop, on_timer, registration);
    if (registration->url == NULL || registration->timer == NULL) {
        register_partner_center_free(registration);
        return error_no_memory(err);
    }
    loop_timer_set(registration->timer, 0);
    *ret_run = registration;
    return 0;
}

void register_partner_center_free(struct register_partner_center_run *registration)
{
    if (registration == NULL)
        return;
    loop_timer_free(registration->timer);
    free(registration->url);
    free(registration->correlation_id);
    free(registration);
}
