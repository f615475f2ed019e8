#include "common/systems/partner_center.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/partner_center_referral.h"

enum {
    ENGAGEMENT_PAGES_MAX = 10,
    KNOWN_ENGAGEMENTS_MAX = 20000 /* related referral -> engagement; forgotten as a whole when full */
};

static const char *const NUMBER_FORMS[] = {"number", "text", NULL};

#define KEY(name_, type_, member_) \
    .name = (name_), .type = (type_), .offset = offsetof(struct partner_center_settings, member_)
const struct config_key PARTNER_CENTER_KEYS[] = {
    {KEY("api_url", CONFIG_URL, api_url), .default_text = "https://api.partner.microsoft.com",
     .help = "Host of the Referrals API."},
    {KEY("registration_url", CONFIG_URL, registration_url), .default_text = "https://api.partnercenter.microsoft.com",
     .help = "Host of the webhook registration API."},
    {KEY("login_url", CONFIG_URL, login_url), .default_text = "https://login.microsoftonline.com",
     .help = "Where tokens are issued."},
    {KEY("tenant", CONFIG_TEXT, tenant), .is_required = true, .help = "Entra tenant of the partner account."},
    {KEY("client_id", CONFIG_TEXT, client_id), .is_required = true, .help = "Application (client) id."},
    {KEY("client_secret", CONFIG_SECRET, client_secret), .is_required = true, .help = "Secret of the application."},
    {KEY("refresh_token", CONFIG_SECRET, refresh_token), .is_required = true,
     .help = "First refresh token of the service user, from a sign-in with MFA; newer ones are kept in Kafka."},
    {KEY("audience", CONFIG_TEXT, audience), .default_text = "https://api.partner.microsoft.com",
     .help = "Token resource of the Referrals API."},
    {KEY("registration_audience", CONFIG_TEXT, registration_audience),
     .default_text = "https://api.partnercenter.microsoft.com", .help = "Token resource of the registration API."},
    {KEY("ca_file", CONFIG_PATH, ca_file), .help = "Certificates to trust instead of the system's."},
    {KEY("organization_id", CONFIG_TEXT, organization_id),
     .help = "Our organisation as referrals name their owner; without it, whoever is not Microsoft."},
    {KEY("deal_value_form", CONFIG_WORD, deal_value_form), .default_text = "number", .words = NUMBER_FORMS,
     .help = "How deal values are written: as a number, or as a text as in Microsoft's samples."},
    {KEY("quotes_guids", CONFIG_BOOLEAN, quotes_guids), .default_text = "true",
     .help = "Ids in filters stand in quotes, as in Microsoft's pages; links returned by the service have none."},
    {KEY("concurrent_requests", CONFIG_INTEGER, concurrent_max), .default_text = "4", .min = 1, .max = 64,
     .help = "Requests under way at once; the service's limits are not published."},
    {KEY("timeout", CONFIG_DURATION, timeout_ms), .default_text = "30s", .min = 100, .max = 300000,
     .help = "Longest time of one request."},
};
const size_t PARTNER_CENTER_KEY_COUNT = ARRAY_LENGTH(PARTNER_CENTER_KEYS);
#undef KEY

struct partner_center {
    struct system system;
    const struct partner_center_settings *settings;
    struct http_client *client;
    struct token_account *account;
    struct token_source *tokens, *registration_tokens;
    struct api api, registration;
    json_t *engagements; /* related referral id -> engagement id */
    char *base_url;      /* …/v1.0/engagements/referrals */
};

/* One read or write under way. */
struct operation {
    struct partner_center *center;
    system_callback on_done;
    void *arg;
    char *record_id;   /* lower case */
    bool is_related;   /* the id may be another party's referral */
    json_t *referrals; /* gathered so far */
    char *engagement_id;
    unsigned pages;
    struct system_write write; /* writes; the decision is the caller's until on_done */
    bool was_written;          /* the change was taken, without showing the referral */
    int64_t started_us;
    unsigned calls;
};

static void operation_free(struct operation *operation)
{
    free(operation->record_id);
    free(operation->engagement_id);
    json_decref(operation->referrals);
    free(operation);
}

static void answer(struct operation *operation, struct system_answer *with)
{
    with->calls = operation->calls;
    with->duration_us = clock_monotonic_us() - operation->started_us;
    if (with->record_id == NULL)
        with->record_id = operation->record_id;
    operation->on_done(operation->arg, with);
    operation_free(operation);
}

/* What a request was about. */
enum request_kind {
    REQUEST_READ,
    REQUEST_LIST, /* of the engagement: no answer to it says that our referral is gone */
    REQUEST_WRITE
};

static enum system_result judge(const struct http_response *response, enum request_kind kind, const char **ret_code)
{
    json_auto_t *body = answer_json(response);
    enum system_result result = referral_classify(response->status, body, kind == REQUEST_WRITE, ret_code);

    if (kind == REQUEST_READ && response->status == 403 && result == SYSTEM_REFUSED)
        return SYSTEM_GONE; /* not visible to our user is as good as not there */
    if (kind == REQUEST_LIST && result == SYSTEM_GONE)
        return SYSTEM_REFUSED;
    return result;
}

static void fail(struct operation *operation, const struct http_response *response, const struct error *err,
                 enum request_kind kind, const char *what)
{
    struct system_answer failed = {.retry_after_ms = -1};
    const char *code = NULL;
    enum system_result result;

    if (response == NULL) {
        answer_no_token(&failed, err, what);
    } else {
        if (response->result != HTTP_ANSWERED) {
            result = answer_of_transport(response->result, kind == REQUEST_WRITE);
        } else if (response->status >= 200 && response->status < 300) {
            result = kind == REQUEST_WRITE ? SYSTEM_UNKNOWN : SYSTEM_RETRY; /* a success that shows no referral */
            code = "partner_center.bad_response";
        } else {
            result = judge(response, kind, &code);
        }
        answer_fail(&failed, response, result, code, what, timestamp_to_ms(clock_now()));
    }
    if (operation->was_written && (failed.result == SYSTEM_RETRY || failed.result == SYSTEM_BLOCKED)) {
        failed.result = SYSTEM_UNKNOWN;
        failed.error.class = answer_error_class(SYSTEM_UNKNOWN);
    }
    answer(operation, &failed);
}

static void fail_locally(struct operation *operation, enum system_result result, const struct error *err)
{
    struct system_answer failed = {.result = result, .retry_after_ms = -1, .error = *err};

    if (operation->was_written && result == SYSTEM_RETRY)
        failed.result = SYSTEM_UNKNOWN;
    answer(operation, &failed);
}

static int send_request(struct operation *operation, struct api_request *request, api_callback on_response,
                        struct error *err)
{
    uint8_t random[16];
    char request_id[UUID_TEXT_SIZE];

    random_fill(random, sizeof(random));
    api_request_header(request, "Accept", "application/json");
    api_request_header(request, "Content-Type", "application/json");
    api_request_header(request, "client-request-id", uuid_from_random(random, request_id));
    operation->calls++;
    return api_send(&operation->center->api, request, on_response, operation, err);
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

/* Keeps which engagement the others' referrals belong to: they may be invisible when their event comes. */
static void remember_engagement(struct operation *operation, const json_t *own)
{
    json_t *known = operation->center->engagements;
    const json_t *referral;
    size_t i;

    if (operation->engagement_id == NULL)
        return;
    if (json_object_size(known) > KNOWN_ENGAGEMENTS_MAX)
        (void)json_object_clear(known);
    json_array_foreach (operation->referrals, i, referral) {
        const char *id = json_string_value(json_at(referral, "id", true));
        char normalised[UUID_TEXT_SIZE];
        /* A lost entry costs one more look-up by poll, nothing else. */
        if (referral != own && id != NULL && uuid_is_valid(id, strlen(id)))
            (void)json_object_set_new(known, uuid_normalise(id, normalised), json_string(operation->engagement_id));
    }
}

static json_t *documents_of(const json_t *referrals, json_t *own)
{
    json_t *documents = json_array();
    json_t *referral;
    size_t i;

    if (json_array_append_new(documents, referral_document("own", own)) < 0)
        goto failed;
    json_array_foreach (referrals, i, referral) {
        if (referral != own && json_array_append_new(documents, referral_document("related", referral)) < 0)
            goto failed;
    }
    return documents;
failed:
    json_decref(documents);
    return NULL;
}

static void answer_with_referrals(struct operation *operation)
{
    /* A related referral is not ours, whoever owns it. */
    const char *own_id = operation->is_related ? NULL : operation->record_id;
    json_t *own = referral_own_of(operation->referrals, own_id, operation->center->settings->organization_id);
    json_auto_t *documents = NULL;
    struct error err = ERROR_INIT;

    remember_engagement(operation, own);
    if (own == NULL) {
        (void)error_set(&err, ERROR_POISON, "partner_center.no_own_referral",
                        "the engagement shows no referral of our organisation");
        fail_locally(operation, SYSTEM_GONE, &err);
        return;
    }
    documents = documents_of(operation->referrals, own);
    if (documents == NULL) {
        (void)error_no_memory(&err);
        fail_locally(operation, SYSTEM_RETRY, &err);
        return;
    }
    const char *id = json_text_of(json_array_get(documents, 0), "id");
    struct system_answer done = {.result = SYSTEM_DONE,
                                 .documents = documents,
                                 .record_id = id,
                                 .deal_key = id,
                                 .status = 200,
                                 .retry_after_ms = -1};
    answer(operation, &done);
}

static void on_engagement(void *arg, const struct http_response *response, const struct error *err);

/* `next_query`: of the link to the next page, NULL for the first. Only the query of such a link is used: its host and
 * path are not the API's (list of referrals, 4.3). */
static int list_engagement(struct operation *operation, const char *next_query, struct error *err)
{
    const struct partner_center *center = operation->center;
    const char *quote = center->settings->quotes_guids ? "%27" : "";
    char *url = next_query != NULL ? text_format("%s?%s", center->base_url, next_query)
                                   : text_format("%s?$filter=engagementId%%20eq%%20%s%s%s", center->base_url, quote,
                                                 operation->engagement_id, quote);
    struct api_request request = {.method = HTTP_GET, .url = url};
    int status;

    if (url == NULL)
        return error_no_memory(err);
    operation->pages++;
    status = send_request(operation, &request, on_engagement, err);
    free(url);
    return status;
}

static bool has_referral(const struct operation *operation, const char *id)
{
    const json_t *referral;
    size_t i;

    json_array_foreach (operation->referrals, i, referral) {
        if (text_equal_ignoring_case(json_string_value(json_at(referral, "id", true)), id))
            return true;
    }
    return false;
}

/* Adds a page's referrals, each once: pages overlap when deals change meanwhile, and ours was just read by its id. */
static int take_page(struct operation *operation, const json_t *page, struct error *err)
{
    json_t *referral;
    size_t i;

    json_array_foreach (json_object_get(page, "value"), i, referral) {
        const char *id = json_string_value(json_at(referral, "id", true));
        const char *engagement = json_string_value(json_at(referral, "engagementId", true));

        if (id == NULL || engagement == NULL || !text_equal_ignoring_case(engagement, operation->engagement_id))
            return error_set(err, ERROR_POISON, "partner_center.foreign_record",
                             "asked for the referrals of one engagement, the answer shows another's");
        if (!has_referral(operation, id) && json_array_append(operation->referrals, referral) < 0)
            return error_no_memory(err);
    }
    return 0;
}

static void on_engagement(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *page = NULL;
    struct error local = ERROR_INIT;
    const char *next;

    if (response == NULL || response->result != HTTP_ANSWERED || response->status != 200 ||
        (page = answer_json(response)) == NULL || !json_is_array(json_object_get(page, "value"))) {
        fail(operation, response, err, REQUEST_LIST, "list the engagement's referrals");
        return;
    }
    if (take_page(operation, page, &local) < 0) {
        fail_locally(operation, local.class == ERROR_POISON ? SYSTEM_REFUSED : SYSTEM_RETRY, &local);
        return;
    }
    next = json_text_of(page, "@odata.nextLink");
    next = next == NULL ? NULL : strchr(next, '?');
    if (next == NULL || operation->pages >= ENGAGEMENT_PAGES_MAX)
        answer_with_referrals(operation);
    else if (list_engagement(operation, next + 1, &local) < 0)
        fail_locally(operation, SYSTEM_RETRY, &local);
}

static void on_referral(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *referral = NULL;
    struct error local = ERROR_INIT;
    const char *id, *engagement;

    if (operation->is_related && response != NULL && response->result == HTTP_ANSWERED &&
        (response->status == 403 || response->status == 404)) {
        /* Another party's referral may be invisible; its engagement may be known from an earlier list. */
        engagement = json_text_of(operation->center->engagements, operation->record_id);
        operation->engagement_id = engagement == NULL ? NULL : text_copy(engagement);
        if (operation->engagement_id != NULL) {
            if (list_engagement(operation, NULL, &local) < 0)
                fail_locally(operation, SYSTEM_RETRY, &local);
            return;
        }
    }
    if (response == NULL || response->result != HTTP_ANSWERED || response->status != 200 ||
        (referral = answer_json(response)) == NULL || (id = json_string_value(json_at(referral, "id", true))) == NULL) {
        fail(operation, response, err, REQUEST_READ, "read the referral");
        return;
    }
    if (!text_equal_ignoring_case(id, operation->record_id)) {
        (void)error_set(&local, ERROR_POISON, "partner_center.foreign_record",
                        "asked for one referral, the answer shows another");
        fail_locally(operation, SYSTEM_REFUSED, &local);
        return;
    }
    engagement = json_string_value(json_at(referral, "engagementId", true));
    if (json_array_append(operation->referrals, referral) < 0) {
        (void)error_no_memory(&local);
        fail_locally(operation, SYSTEM_RETRY, &local);
        return;
    }
    if (engagement == NULL ||
        (!operation->is_related && !referral_is_shared(referral) && !referral_is_microsofts(referral))) {
        answer_with_referrals(operation);
        return;
    }
    operation->engagement_id = text_copy(engagement);
    if (operation->engagement_id == NULL)
        (void)error_no_memory(&local);
    if (operation->engagement_id == NULL || list_engagement(operation, NULL, &local) < 0)
        fail_locally(operation, SYSTEM_RETRY, &local);
}

static struct operation *operation_new(struct partner_center *center, const char *record_id, system_callback on_done,
                                       void *arg)
{
    struct operation *operation = calloc(1, sizeof(*operation));
    char normalised[UUID_TEXT_SIZE];

    if (operation == NULL)
        return NULL;
    operation->center = center;
    operation->on_done = on_done;
    operation->arg = arg;
    operation->started_us = clock_monotonic_us();
    operation->record_id = text_copy(uuid_normalise(record_id, normalised));
    operation->referrals = json_array();
    if (operation->record_id == NULL || operation->referrals == NULL) {
        operation_free(operation);
        return NULL;
    }
    return operation;
}

static int get_referral(struct operation *operation, struct error *err)
{
    char *url = text_format("%s/%s", operation->center->base_url, operation->record_id);
    struct api_request request = {.method = HTTP_GET, .url = url};
    int status;

    if (url == NULL)
        return error_no_memory(err);
    status = send_request(operation, &request, on_referral, err);
    free(url);
    return status;
}

static int partner_center_read(struct system *system, const char *record_type, const char *record_id,
                               system_callback on_done, void *arg, struct error *err)
{
    struct operation *operation;

    if (!uuid_is_valid(record_id, strlen(record_id)))
        return error_set(err, ERROR_POISON, "partner_center.bad_id", "the referral's id is not a GUID");
    operation = operation_new((struct partner_center *)system, record_id, on_done, arg);
    if (operation == NULL)
        return error_no_memory(err);
    operation->is_related = text_equal(record_type, "related-referral");
    if (get_referral(operation, err) < 0) {
        operation_free(operation);
        return -1;
    }
    return 0;
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

static void on_patched(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *referral = NULL;
    json_auto_t *documents = NULL;
    struct error local = ERROR_INIT;
    const char *id;

    if (response != NULL && response->result == HTTP_ANSWERED && response->status == 204) {
        /* The service took the change and shows nothing: read it, without the certainty of the write's own answer. */
        operation->was_written = true;
        if (get_referral(operation, &local) < 0)
            fail_locally(operation, SYSTEM_RETRY, &local);
        return;
    }
    if (response == NULL || response->result != HTTP_ANSWERED || response->status < 200 || response->status > 299 ||
        (referral = answer_json(response)) == NULL || (id = json_string_value(json_at(referral, "id", true))) == NULL ||
        !text_equal_ignoring_case(id, operation->record_id)) {
        fail(operation, response, err, REQUEST_WRITE, "change the referral");
        return;
    }
    documents = json_array();
    if (documents == NULL || json_array_append_new(documents, referral_document("own", referral)) < 0) {
        (void)error_no_memory(&local);
        fail_locally(operation, SYSTEM_UNKNOWN, &local);
        return;
    }
    struct system_answer done = {.result = SYSTEM_DONE,
                                 .documents = documents,
                                 .record_id = operation->record_id,
                                 .deal_key = operation->record_id,
                                 .is_certain = true,
                                 .status = response->status,
                                 .retry_after_ms = -1};
    answer(operation, &done);
}

static int send_patch(struct operation *operation, struct error *err)
{
    const struct decision *decision = operation->write.decision;
    struct api_request request = {
        .method = HTTP_PATCH, .may_send = operation->write.may_send, .may_send_arg = operation->write.may_send_arg};
    char *url = text_format("%s/%s", operation->center->base_url, operation->record_id);
    char *body = NULL;
    int status = -1;

    if (url == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    body = referral_patch(decision->write, (enum referral_number_form)operation->center->settings->deal_value_form,
                          &request.body_length, err);
    if (body == NULL)
        goto out;
    request.url = url;
    request.body = body;
    api_request_header(&request, "If-Match", decision->expected_etag);
    api_request_header(&request, "Prefer", "return=representation");
    status = send_request(operation, &request, on_patched, err);
out:
    free(url);
    free(body);
    return status;
}

static int partner_center_write(struct system *system, const struct system_write *write, system_callback on_done,
                                void *arg, struct error *err)
{
    const struct decision *decision = write->decision;
    struct operation *operation;

    if (decision->action != DECISION_UPDATE || decision->record_id == NULL)
        return error_set(err, ERROR_POISON, "partner_center.action", "only existing referrals can be written");
    if (!uuid_is_valid(decision->record_id, strlen(decision->record_id)))
        return error_set(err, ERROR_POISON, "partner_center.bad_id", "the referral's id is not a GUID");
    if (decision->expected_etag == NULL)
        return error_set(err, ERROR_POISON, "partner_center.no_version",
                         "a referral is written only with the eTag it was read with");
    operation = operation_new((struct partner_center *)system, decision->record_id, on_done, arg);
    if (operation == NULL)
        return error_no_memory(err);
    operation->write = *write;
    if (send_patch(operation, err) < 0) {
        operation_free(operation);
        return -1;
    }
    return 0;
}

/* Referrals are found by reading their id; a referral to be created has none. */
static int partner_center_find(struct system *system, const struct decision *decision, system_callback on_done,
                               void *arg, struct error *err)
{
    if (decision->record_id == NULL)
        return error_set(err, ERROR_POISON, "partner_center.action", "only existing referrals can be found");
    return partner_center_read(system, "referral", decision->record_id, on_done, arg, err);
}

static bool partner_center_shows(const struct system *system, const json_t *documents, const struct decision *decision,
                                 bool *ret_is_certain)
{
    (void)system;
    *ret_is_certain = false; /* a referral does not tell who changed it last */
    return referral_shows(json_object_get(record_document_of(documents, "own"), "body"), decision->write);
}

static const char *partner_center_trouble(const struct system *system)
{
    const struct partner_center *center = (const struct partner_center *)system;

    return token_is_blocked(center->tokens) ? "the service user has to sign in again" : NULL;
}

/* -- life ---------------------------------------------------------------------------------------------------------- */

static void partner_center_free(struct system *system)
{
    struct partner_center *center = (struct partner_center *)system;

    token_source_free(center->tokens);
    token_source_free(center->registration_tokens);
    http_client_free(center->client);
    token_account_free(center->account);
    json_decref(center->engagements);
    free(center->base_url);
    free(center);
}

static const struct system_operations PARTNER_CENTER_OPERATIONS = {
    .name = "partner-center",
    .read = partner_center_read,
    .find = partner_center_find,
    .write = partner_center_write,
    .shows = partner_center_shows,
    .trouble = partner_center_trouble,
    .free = partner_center_free,
};

static void keep_in_memory(void *arg, const char *account, const char *refresh_token,
                           void (*done)(void *done_arg, bool is_saved), void *done_arg)
{
    (void)arg;
    (void)account;
    (void)refresh_token;
    done(done_arg, true);
}

static int open_account(struct partner_center *center, struct loop *loop, token_save save, void *save_arg,
                        struct error *err)
{
    const struct partner_center_settings *settings = center->settings;
    const struct http_client_settings http = {.name = "partner-center",
                                              .ca_file = settings->ca_file,
                                              .connect_timeout_ms = 5000,
                                              .total_timeout_ms = settings->timeout_ms,
                                              .response_max_bytes = 8 << 20,
                                              .response_headers_max_bytes = 64 << 10,
                                              .concurrent_max = (unsigned)settings->concurrent_max,
                                              .queued_max = 10000};
    char *token_url = text_format("%s/%s/oauth2/token", settings->login_url, settings->tenant);
    const struct token_account_settings account = {.grant = TOKEN_REFRESH_TOKEN,
                                                   .token_url = token_url,
                                                   .client_id = settings->client_id,
                                                   .client_secret = settings->client_secret.bytes,
                                                   .refresh_token = settings->refresh_token.bytes,
                                                   .name = "partner-center"};
    int status = -1;

    if (token_url == NULL)
        return error_no_memory(err);
    if (http_client_new(loop, &http, &center->client, err) == 0 &&
        token_account_new(loop, center->client, &account, save != NULL ? save : keep_in_memory, save_arg,
                          &center->account, err) == 0 &&
        token_source_new(center->account, settings->audience, &center->tokens, err) == 0)
        status = token_source_new(center->account, settings->registration_audience, &center->registration_tokens, err);
    free(token_url);
    return status;
}

int partner_center_new(struct loop *loop, const struct partner_center_settings *settings, token_save save,
                       void *save_arg, struct system **ret_system, struct error *err)
{
    struct partner_center *center = calloc(1, sizeof(*center));

    if (center == NULL)
        return error_no_memory(err);
    center->system.operations = &PARTNER_CENTER_OPERATIONS;
    center->settings = settings;
    center->engagements = json_object();
    center->base_url = text_format("%s/v1.0/engagements/referrals", settings->api_url);
    if (center->engagements == NULL || center->base_url == NULL) {
        partner_center_free(&center->system);
        return error_no_memory(err);
    }
    if (open_account(center, loop, save, save_arg, err) < 0) {
        partner_center_free(&center->system);
        return error_wrap(err, "partner center");
    }
    center->api = (struct api){.client = center->client, .tokens = center->tokens};
    center->registration = (struct api){.client = center->client, .tokens = center->registration_tokens};
    *ret_system = &center->system;
    return 0;
}

int partner_center_set_refresh_token(struct system *system, const char *refresh_token)
{
    return token_account_set_refresh_token(((struct partner_center *)system)->account, refresh_token);
}

const struct api *partner_center_registration(struct system *system)
{
    return &((struct partner_center *)system)->registration;
}
