#include "ingest/register_dynamics.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "ingest/register_dynamics_plan.h"
#include "ingest/register_dynamics_values.h"

enum { STEPS_MAX = 100, PATH_BYTES_MAX = 16 * 1024, ADDRESS_SHOWN_MAX = 200 };

/*   ENDPOINTS -> STEPS -> IMAGES? -> FILTERS -> (plan) -> a request for each part, in order */
struct register_dynamics_run {
    struct register_dynamics_environment with;
    struct register_dynamics request;
    void (*on_done)(void *arg, const struct error *err);
    void *arg;
    struct loop_timer *timer; /* begins */
    struct register_dynamics_found found;
    struct register_dynamics_plan plan;
    size_t at; /* the part that is being made */
};

static void finish(struct register_dynamics_run *run, const struct error *err)
{
    (void)fflush(run->with.out);
    run->on_done(run->arg, err);
}

static void finish_no_memory(struct register_dynamics_run *run)
{
    struct error err = ERROR_INIT;

    (void)error_no_memory(&err);
    finish(run, &err);
}

/* --- Requests ----------------------------------------------------------------------------------------------------- */

/* The service's own words are shown: they are about our request, not about people. */
static void describe_refusal(const struct http_response *response, const char *what, struct error *err)
{
    json_auto_t *body = NULL;
    struct json_fault fault;
    const char *text = NULL;

    if (json_read(response->body, response->body_length, &JSON_LIMITS_FOREIGN, &body, &fault) == 0)
        text = json_text_of(json_object_get(body, "error"), "message");
    switch (response->status) {
    case 401:
        (void)error_set(err, ERROR_CONFIG, "register.unauthorized",
                        "%s: Dynamics 365 does not accept the sign-in (401); is the application a user of the "
                        "organisation?",
                        what);
        break;
    case 403:
        (void)error_set(
            err, ERROR_CONFIG, "register.forbidden",
            "%s: the application user may not do this (403); it needs a role such as System Customizer%s%.300s", what,
            text == NULL ? "" : ": ", text == NULL ? "" : text);
        break;
    default:
        (void)error_set(err, response->status >= 500 || response->status == 429 ? ERROR_TRANSIENT : ERROR_CONFIG,
                        "register.refused", "%s: Dynamics 365 answered %ld%s%.300s", what, response->status,
                        text == NULL ? "" : ": ", text == NULL ? "" : text);
        break;
    }
}

/* True when there is an answer with a status to be taken for a success; else the run has been ended. */
static bool succeeded(struct register_dynamics_run *run, const struct http_response *response, const struct error *err,
                      const char *what)
{
    struct error failure = ERROR_INIT;

    if (response != NULL && response->result == HTTP_ANSWERED && response->status >= 200 && response->status < 300)
        return true;
    if (response == NULL || response->result != HTTP_ANSWERED) {
        failure = response == NULL ? *err : response->error;
        (void)error_wrap(&failure, "%s", what);
    } else {
        describe_refusal(response, what, &failure);
    }
    finish(run, &failure);
    return false;
}

/* Ends the run when it cannot be sent. `path` NULL: out of memory. */
static void ask(struct register_dynamics_run *run, enum http_method method, const char *path, const char *body,
                api_callback on_response)
{
    char *url = path == NULL ? NULL : text_format("%s/%s", run->with.api_url, path);
    struct api_request wanted = {
        .method = method, .url = url, .body = body, .body_length = body == NULL ? 0 : strlen(body)};
    struct error err = ERROR_INIT;

    if (url == NULL) {
        finish_no_memory(run);
        return;
    }
    api_request_header(&wanted, "Accept", "application/json");
    api_request_header(&wanted, "OData-Version", "4.0");
    api_request_header(&wanted, "OData-MaxVersion", "4.0");
    if (body != NULL)
        api_request_header(&wanted, "Content-Type", "application/json; charset=utf-8");
    /* A change never creates what somebody has removed meanwhile. */
    if (method == HTTP_PATCH)
        api_request_header(&wanted, "If-Match", "*");
    if (api_send(run->with.api, &wanted, on_response, run, &err) < 0)
        finish(run, &err);
    free(url);
}

/* The rows of a list; new reference. NULL when there is none, which ends the run. A list that goes on is none: what is
 * not seen would be made once more. */
static json_t *rows_of(struct register_dynamics_run *run, const struct http_response *response, const struct error *err,
                       const char *what)
{
    json_auto_t *body = NULL;
    struct json_fault fault;
    struct error strange = ERROR_INIT;

    if (!succeeded(run, response, err, what))
        return NULL;
    if (json_read(response->body, response->body_length, &JSON_LIMITS_OWN, &body, &fault) == 0 &&
        json_is_array(json_object_get(body, "value")) && json_object_get(body, "@odata.nextLink") == NULL)
        return json_incref(json_object_get(body, "value"));
    (void)error_set(&strange, ERROR_TRANSIENT, "register.bad_response", "%s: the answer is no whole list", what);
    finish(run, &strange);
    return NULL;
}

/* --- Making ------------------------------------------------------------------------------------------------------- */

static void make_next(struct register_dynamics_run *run);

static const char *const KINDS[] = {
    [REGISTER_ENDPOINT] = "endpoint", [REGISTER_STEP] = "step", [REGISTER_IMAGE] = "image"};
static const char *const SETS[] = {[REGISTER_ENDPOINT] = "serviceendpoints",
                                   [REGISTER_STEP] = "sdkmessageprocessingsteps",
                                   [REGISTER_IMAGE] = "sdkmessageprocessingstepimages"};

/* "…/serviceendpoints(4d3c…)" in OData-EntityId. */
static char *id_of(const struct http_response *response)
{
    const char *address = http_response_header(response, "OData-EntityId");
    const char *open = address == NULL ? NULL : strrchr(address, '(');
    const size_t length = open == NULL ? 0 : strcspn(open + 1, ")");

    return open != NULL && uuid_is_valid(open + 1, length) ? text_copy_n(open + 1, length) : NULL;
}

static void on_made(void *arg, const struct http_response *response, const struct error *err)
{
    static const char *const words[] = {
        [REGISTER_MISSING] = "added", [REGISTER_DIFFERENT] = "changed", [REGISTER_SURPLUS] = "removed"};
    struct register_dynamics_run *run = arg;
    struct register_part *part = &run->plan.parts[run->at];
    struct error strange = ERROR_INIT;

    if (!succeeded(run, response, err, part->name))
        return;
    if (part->id == NULL)
        part->id = id_of(response);
    if (part->id == NULL) {
        (void)error_set(&strange, ERROR_TRANSIENT, "register.bad_response",
                        "%s: the answer does not say what was made; run it again", part->name);
        finish(run, &strange);
        return;
    }
    (void)fprintf(run->with.out, "%-9s %-9s %s\n", words[part->state], KINDS[part->kind], part->name);
    (void)fflush(run->with.out);
    run->at++;
    make_next(run);
}

static int bind_owner(const struct register_dynamics_run *run, struct register_part *part)
{
    const bool is_step = part->kind == REGISTER_STEP;
    const struct register_part *owner = &run->plan.parts[is_step ? 0 : part->step];
    char *target = text_format("/%s(%s)", SETS[owner->kind], owner->id);
    int status = target == NULL ? -1
                                : json_object_set_new(part->body,
                                                      is_step ? "eventhandler_serviceendpoint@odata.bind"
                                                              : "sdkmessageprocessingstepid@odata.bind",
                                                      json_string(target));

    free(target);
    return status;
}

static int add_secret(const struct register_dynamics_run *run, struct register_part *part)
{
    char *value =
        register_dynamics_auth_value(run->request.uses_webhook_key, run->with.secret_header, run->with.secret);
    int status = value == NULL ? -1 : json_object_set_new(part->body, "authvalue", json_string(value));

    free(value);
    return status;
}

static void make(struct register_dynamics_run *run, struct register_part *part)
{
    const bool is_new = part->state == REGISTER_MISSING;
    char *path = is_new ? text_copy(SETS[part->kind]) : text_format("%s(%s)", SETS[part->kind], part->id);
    char *body = NULL;
    int status = 0;

    if (part->state == REGISTER_SURPLUS) {
        ask(run, HTTP_DELETE, path, NULL, on_made);
        free(path);
        return;
    }
    if (part->kind == REGISTER_ENDPOINT)
        status = add_secret(run, part);
    else if (is_new)
        status = bind_owner(run, part);
    if (status == 0)
        body = json_write(part->body, false, NULL);
    if (body == NULL)
        finish_no_memory(run);
    else
        ask(run, is_new ? HTTP_POST : HTTP_PATCH, path, body, on_made);
    free(body);
    free(path);
}

static void make_next(struct register_dynamics_run *run)
{
    while (run->at < run->plan.count && run->plan.parts[run->at].state == REGISTER_GOOD)
        run->at++;
    if (run->at < run->plan.count) {
        make(run, &run->plan.parts[run->at]);
        return;
    }
    (void)fprintf(run->with.out, "registered as asked\n");
    finish(run, NULL);
}

/* --- Planning ----------------------------------------------------------------------------------------------------- */

static void print_plan(const struct register_dynamics_run *run)
{
    static const char *const words[] = {[REGISTER_GOOD] = "as wanted",
                                        [REGISTER_MISSING] = "missing",
                                        [REGISTER_DIFFERENT] = "differs",
                                        [REGISTER_SURPLUS] = "not wanted"};
    const char *url = json_text_of(run->found.endpoint, "url");

    if (url != NULL)
        (void)fprintf(run->with.out,
                      "events are sent to %.*s\n"
                      "its secret is not compared: Dynamics 365 does not show it\n",
                      ADDRESS_SHOWN_MAX, url);
    for (size_t i = 0; i < run->plan.count; i++) {
        const struct register_part *part = &run->plan.parts[i];
        (void)fprintf(run->with.out, "%-9s %-38s %s%s%s\n", KINDS[part->kind], part->name, words[part->state],
                      part->difference == NULL ? "" : ": ", part->difference == NULL ? "" : part->difference);
    }
    (void)fflush(run->with.out);
}

static void on_filters(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_dynamics_run *run = arg;
    const struct register_dynamics_wanted wanted = {.url = run->request.url,
                                                    .uses_webhook_key = run->request.uses_webhook_key,
                                                    .renews_secret = run->request.renews_secret,
                                                    .columns = run->with.columns,
                                                    .child_tables = run->with.child_tables};
    struct error failure = ERROR_INIT;

    run->found.filters = rows_of(run, response, err, "read the messages");
    if (run->found.filters == NULL)
        return;
    if (register_dynamics_plan(&wanted, &run->found, &run->plan, &failure) < 0) {
        finish(run, &failure);
        return;
    }
    print_plan(run);
    if (run->plan.good == run->plan.count) {
        (void)fprintf(run->with.out, "everything is registered\n");
        finish(run, NULL);
    } else if (run->request.only_shows) {
        (void)error_set(&failure, ERROR_CONFIG, "register.incomplete", "not everything is registered as wanted");
        finish(run, &failure);
    } else if (run->plan.different + run->plan.surplus > 0 && !run->request.replaces) {
        (void)error_set(&failure, ERROR_CONFIG, "register.differs",
                        "what is registered differs from what is wanted, so nothing was changed; --replace changes it");
        finish(run, &failure);
    } else {
        make_next(run);
    }
}

static void read_filters(struct register_dynamics_run *run)
{
    char *path = register_dynamics_filters_path(run->with.child_tables);

    ask(run, HTTP_GET, path, NULL, on_filters);
    free(path);
}

static void on_images(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_dynamics_run *run = arg;

    run->found.images = rows_of(run, response, err, "read the images");
    if (run->found.images != NULL)
        read_filters(run);
}

static void read_images(struct register_dynamics_run *run)
{
    struct text filter;
    char *encoded = NULL, *path = NULL;
    int status = 0;

    text_init(&filter, PATH_BYTES_MAX);
    for (size_t i = 0; i < json_array_size(run->found.steps) && status == 0; i++) {
        const char *id = json_text_of(json_array_get(run->found.steps, i), "sdkmessageprocessingstepid");
        if (id != NULL && uuid_is_valid(id, strlen(id)))
            status = text_appendf(&filter, "%s_sdkmessageprocessingstepid_value eq %s",
                                  filter.length == 0 ? "" : " or ", id);
    }
    if (status == 0)
        encoded = http_encode(text_string(&filter));
    if (encoded != NULL)
        path =
            text_format("sdkmessageprocessingstepimages?$select=imagetype,entityalias,attributes,messagepropertyname,"
                        "_sdkmessageprocessingstepid_value&$filter=%s",
                        encoded);
    ask(run, HTTP_GET, path, NULL, on_images);
    text_done(&filter);
    free(encoded);
    free(path);
}

static void on_steps(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_dynamics_run *run = arg;
    struct error failure = ERROR_INIT;

    run->found.steps = rows_of(run, response, err, "read the steps");
    if (run->found.steps == NULL)
        return;
    if (json_array_size(run->found.steps) > STEPS_MAX) {
        (void)error_set(&failure, ERROR_CONFIG, "register.too_many_steps",
                        "the endpoint has more than %d steps; remove those that are not Tandem's", (int)STEPS_MAX);
        finish(run, &failure);
    } else if (json_array_size(run->found.steps) > 0) {
        read_images(run);
    } else {
        read_filters(run);
    }
}

static void on_endpoints(void *arg, const struct http_response *response, const struct error *err)
{
    struct register_dynamics_run *run = arg;
    json_auto_t *endpoints = rows_of(run, response, err, "read the service endpoints");
    const char *id = json_text_of(json_array_get(endpoints, 0), "serviceendpointid");
    struct error failure = ERROR_INIT;
    char *path;

    if (endpoints == NULL)
        return;
    if (json_array_size(endpoints) > 1) {
        (void)error_set(&failure, ERROR_CONFIG, "register.several_endpoints",
                        "several service endpoints are named '%s'; keep one of them", REGISTER_ENDPOINT_NAME);
        finish(run, &failure);
        return;
    }
    if (id == NULL || !uuid_is_valid(id, strlen(id))) {
        read_filters(run);
        return;
    }
    run->found.endpoint = json_incref(json_array_get(endpoints, 0));
    path = text_format("sdkmessageprocessingsteps?$select=mode,stage,asyncautodelete,filteringattributes,statecode"
                       "&$expand=sdkmessageid($select=name),sdkmessagefilterid($select=primaryobjecttypecode)"
                       "&$filter=_eventhandler_value%%20eq%%20%s",
                       id);
    ask(run, HTTP_GET, path, NULL, on_steps);
    free(path);
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

static void begin(void *arg)
{
    struct register_dynamics_run *run = arg;

    ask(run, HTTP_GET,
        "serviceendpoints?$select=name,url,contract,authtype&$filter=name%20eq%20%27" REGISTER_ENDPOINT_NAME "%27",
        NULL, on_endpoints);
}

int register_dynamics_start(const struct register_dynamics_environment *environment,
                            const struct register_dynamics *request,
                            void (*on_done)(void *arg, const struct error *err), void *arg,
                            struct register_dynamics_run **ret_run, struct error *err)
{
    struct register_dynamics_run *run;

    if (environment->secret == NULL && !request->only_shows)
        return error_set(err, ERROR_CONFIG, "register.no_secret",
                         "ingest.serve.dynamics_365_secret is not configured; Dynamics 365 has to send it");
    run = calloc(1, sizeof(*run));
    if (run == NULL)
        return error_no_memory(err);
    run->with = *environment;
    run->request = *request;
    run->on_done = on_done;
    run->arg = arg;
    run->timer = loop_timer_new(environment->loop, begin, run);
    if (run->timer == NULL) {
        register_dynamics_free(run);
        return error_no_memory(err);
    }
    loop_timer_set(run->timer, 0);
    *ret_run = run;
    return 0;
}

void register_dynamics_free(struct register_dynamics_run *run)
{
    if (run == NULL)
        return;
    loop_timer_free(run->timer);
    json_decref(run->found.endpoint);
    json_decref(run->found.steps);
    json_decref(run->found.images);
    json_decref(run->found.filters);
    register_dynamics_plan_done(&run->plan);
    free(run);
}
