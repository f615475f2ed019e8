#include "common/systems/dynamics365.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_record.h"
#include "common/systems/exchange.h"

enum {
    ATTRIBUTES_MAX = 20000, /* remembered records of lookups; forgotten as a whole when full */
    ATTRIBUTES_LIFE_MS = 300000
};

/* Ids of accounts we create are derived from what identifies the account, so that two workers, or one that repeats,
 * make the same record (namespace of our own, random once). */
#define LOOKUP_NAMESPACE "5b1d6f0e-8a1c-4c3e-9a55-0f6c2f2d7b11"

#define DEFAULT_COLUMNS                                                                                 \
    "[name, description, estimatedvalue, estimatedclosedate, msft_microsoftpartnercenterreferralsync, " \
    "msft_microsoftpartnercenterreferralidentifier, msft_microsoftpartnercenterreferrallink, "          \
    "msft_microsoftpartnercenterreferralprogram, msft_microsoftpartnercenterhelp, "                     \
    "msft_microsoftpartnercenterreferralvisible, msft_microsoftcrmidentifier, "                         \
    "msft_microsoftpartnercenterreferralsyncaudit, transactioncurrencyid.isocurrencycode]"

#define KEY(name_, type_, member_) \
    .name = (name_), .type = (type_), .offset = offsetof(struct dynamics_365_settings, member_)
const struct config_key DYNAMICS_365_KEYS[] = {
    {KEY("url", CONFIG_URL, url), .is_required = true, .help = "Address of the organisation."},
    {KEY("login_url", CONFIG_URL, login_url), .default_text = "https://login.microsoftonline.com",
     .help = "Where tokens are issued."},
    {KEY("tenant", CONFIG_TEXT, tenant), .is_required = true, .help = "Entra tenant of the organisation."},
    {KEY("client_id", CONFIG_TEXT, client_id), .is_required = true, .help = "Client id of the application user."},
    {KEY("client_secret", CONFIG_SECRET, client_secret), .is_required = true, .help = "Secret of the application."},
    {KEY("scope", CONFIG_TEXT, scope), .help = "Token scope; without it the organisation's address and /.default."},
    {KEY("ca_file", CONFIG_PATH, ca_file), .help = "Certificates to trust instead of the system's."},
    {KEY("identifier_column", CONFIG_TEXT, identifier_column),
     .default_text = "msft_microsoftpartnercenterreferralidentifier",
     .help = "Column with an alternate key that holds the referral's id; the rules' identity.identifier."},
    {KEY("columns", CONFIG_LIST, columns), .default_text = DEFAULT_COLUMNS,
     .help = "Columns that are read; every column the rules use. A dot names an attribute of a looked-up record."},
    {KEY("conditional_create", CONFIG_BOOLEAN, creates_conditionally), .default_text = "true",
     .help =
         "Create with If-None-Match, so that an existing record is never overwritten; unconfirmed for alternate keys."},
    {KEY("close_with_time", CONFIG_BOOLEAN, closes_with_time), .default_text = "false",
     .help = "Closing dates carry time and zone; some organisations demand it."},
    {KEY("concurrent_requests", CONFIG_INTEGER, concurrent_max), .default_text = "16", .min = 1, .max = 50,
     .help = "Requests under way at once; the service allows 52 per user and web server."},
    {KEY("timeout", CONFIG_DURATION, timeout_ms), .default_text = "60s", .min = 100, .max = 300000,
     .help = "Longest time of one request."},
};
const size_t DYNAMICS_365_KEY_COUNT = ARRAY_LENGTH(DYNAMICS_365_KEYS);
#undef KEY

struct dynamics_365 {
    struct system system;
    const struct dynamics_365_settings *settings;
    struct http_client *client;
    struct token_account *account;
    struct token_source *tokens;
    struct exchange exchange;
    char *base_url;               /* …/api/data/v9.2 */
    char user_id[UUID_TEXT_SIZE]; /* our application user; "" until WhoAmI answered */
    json_t *attributes;           /* {"navigation/id": {"values", "until"}} */
    json_t *currencies;           /* {"EUR": id} */
};

/* A read or write under way, one request at a time:
 *
 *   read, find:  WHOAMI? -> READ
 *   create:      WHOAMI? -> LOOKUP* (-> MAKE_LOOKUP) -> CREATE -> CLOSE? -> READ?
 *   update:      WHOAMI? -> LOOKUP* (-> MAKE_LOOKUP) -> UPDATE? -> CLOSE? -> READ?
 */
struct operation {
    struct dynamics_365 *dynamics;
    system_callback on_done;
    void *arg;
    char *entity;
    char *record_id;           /* NULL until known */
    struct system_write write; /* decision NULL: only reading. The decision is the caller's until on_done */
    struct dynamics_parts parts;
    json_t *binds;    /* columns that bind lookups */
    char *navigation; /* the lookup being resolved */
    bool is_find;     /* read by alternate key */
    bool was_written; /* a request with effect was answered with success */
    bool is_created;
    int64_t started_us;
    unsigned calls;
};

static int step(struct operation *operation, struct error *err);
static int read_record(struct operation *operation, struct error *err);

static void operation_free(struct operation *operation)
{
    free(operation->entity);
    free(operation->record_id);
    free(operation->navigation);
    dynamics_parts_done(&operation->parts);
    json_decref(operation->binds);
    free(operation);
}

static void answer(struct operation *operation, struct system_answer *with)
{
    with->calls = operation->calls;
    with->duration_us = clock_monotonic_us() - operation->started_us;
    with->is_created = operation->is_created;
    if (with->record_id == NULL)
        with->record_id = operation->record_id;
    operation->on_done(operation->arg, with);
    operation_free(operation);
}

static void fail_locally(struct operation *operation, enum system_result result, const struct error *err)
{
    struct system_answer failed = {.result = result, .retry_after_ms = -1, .error = *err};

    answer(operation, &failed);
}

/* `has_effect`: of the request that failed. */
static void fail(struct operation *operation, const struct http_response *response, const struct error *err,
                 bool has_effect, const char *what)
{
    struct system_answer failed = {.retry_after_ms = -1};
    json_auto_t *body = NULL;
    const char *code = NULL;
    enum system_result result;

    if (response == NULL) {
        answer_no_token(&failed, err, what);
        /* An earlier request of this operation may have changed something; the caller has to judge by reading. */
        if (operation->was_written)
            failed.result = SYSTEM_UNKNOWN;
        answer(operation, &failed);
        return;
    }
    if (response->result != HTTP_ANSWERED) {
        result = answer_of_transport(response->result, has_effect);
    } else if (response->status >= 200 && response->status < 300) {
        result = has_effect ? SYSTEM_UNKNOWN : SYSTEM_RETRY;
        code = "dynamics_365.bad_response";
    } else {
        body = answer_json(response);
        result = dynamics_classify(response->status, body, has_effect, &code);
    }
    if (operation->was_written && (result == SYSTEM_RETRY || result == SYSTEM_BLOCKED))
        result = SYSTEM_UNKNOWN;
    answer_fail(&failed, response, result, code, what, timestamp_to_ms(clock_now()));
    answer(operation, &failed);
}

static bool is_success(const struct http_response *response)
{
    return response != NULL && response->result == HTTP_ANSWERED && response->status >= 200 && response->status < 300;
}

/* -- requests ------------------------------------------------------------------------------------------------------ */

static int request(struct operation *operation, enum http_method method, const char *path, const char *body,
                   size_t body_length, const char *precondition_name, const char *precondition, const char *prefer,
                   exchange_callback on_response, struct error *err)
{
    const struct dynamics_365 *dynamics = operation->dynamics;
    char *url = text_format("%s/%s", dynamics->base_url, path);
    struct exchange_request out = {.method = method,
                                   .url = url,
                                   .body = body,
                                   .body_length = body_length,
                                   .may_send = operation->write.may_send,
                                   .may_send_arg = operation->write.may_send_arg};
    int status;

    if (url == NULL)
        return error_no_memory(err);
    exchange_request_header(&out, "Accept", "application/json");
    exchange_request_header(&out, "OData-Version", "4.0");
    exchange_request_header(&out, "OData-MaxVersion", "4.0");
    if (body != NULL)
        exchange_request_header(&out, "Content-Type", "application/json; charset=utf-8");
    exchange_request_header(&out, "Prefer", prefer);
    if (precondition_name != NULL)
        exchange_request_header(&out, precondition_name, precondition);
    operation->calls++;
    status = exchange_send(&dynamics->exchange, &out, on_response, operation, err);
    free(url);
    return status;
}

static int get(struct operation *operation, const char *path, exchange_callback on_response, struct error *err)
{
    return request(operation, HTTP_GET, path, NULL, 0, NULL, NULL, NULL, on_response, err);
}

/* Goes on after an answer; what cannot even be asked is answered here. */
static void go_on(struct operation *operation, int (*next)(struct operation *operation, struct error *err))
{
    struct error err = ERROR_INIT;

    if (next(operation, &err) == 0)
        return;
    if (err.class == ERROR_POISON)
        fail_locally(operation, SYSTEM_REFUSED, &err);
    else
        fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_RETRY, &err);
}

/* -- who we are: tells our own writes from others' (WhoAmI) --------------------------------------------------------- */

static void on_who_am_i(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *body = is_success(response) ? answer_json(response) : NULL;
    const char *user = json_text_of(body, "UserId");

    if (user == NULL || !uuid_is_valid(user, strlen(user))) {
        fail(operation, response, err, false, "ask who we are");
        return;
    }
    (void)uuid_normalise(user, operation->dynamics->user_id);
    go_on(operation, step);
}

/* -- attributes of looked-up records ------------------------------------------------------------------------------- */

/* Keeps what the columns name of a looked-up record, so that a write's own answer, which has only its id, is complete. */
static void remember_attributes(struct dynamics_365 *dynamics, const char *navigation, const char *id,
                                const json_t *record)
{
    char *key = text_format("%s/%s", navigation, id);
    const size_t length = strlen(navigation);
    json_t *values = json_object();

    for (size_t i = 0; values != NULL && i < dynamics->settings->columns.count; i++) {
        const char *column = dynamics->settings->columns.items[i];
        if (strncmp(column, navigation, length) == 0 && column[length] == '.') {
            json_t *value = json_object_get(record, column + length + 1);
            (void)json_object_set_new(values, column + length + 1, value == NULL ? json_null() : json_deep_copy(value));
        }
    }
    if (json_object_size(dynamics->attributes) > ATTRIBUTES_MAX)
        (void)json_object_clear(dynamics->attributes);
    if (key != NULL && values != NULL)
        (void)json_object_set_new(
            dynamics->attributes, key,
            json_pack("{s:O, s:I}", "values", values, "until", (json_int_t)clock_monotonic_ms() + ATTRIBUTES_LIFE_MS));
    json_decref(values);
    free(key);
}

/* transactioncurrencyid -> _transactioncurrencyid_value; customerid_account -> _customerid_value */
static char *id_column_of(const char *navigation)
{
    const char *suffix = strstr(navigation, "id_");

    return text_format("_%.*s_value", suffix == NULL ? (int)strlen(navigation) : (int)(suffix - navigation) + 2,
                       navigation);
}

/* Puts the remembered attributes into a record as $expand would have. *ret_is_complete: nothing is missing. */
static int expand_from_memory(const struct dynamics_365 *dynamics, json_t *record, bool *ret_is_complete)
{
    *ret_is_complete = true;
    for (size_t i = 0; i < dynamics->settings->columns.count; i++) {
        const char *column = dynamics->settings->columns.items[i];
        const char *dot = strchr(column, '.');
        char *navigation, *id_column, *key = NULL;
        const char *id;
        const json_t *known = NULL;
        int status = 0;

        if (dot == NULL)
            continue;
        navigation = text_copy_n(column, (size_t)(dot - column));
        id_column = navigation == NULL ? NULL : id_column_of(navigation);
        id = id_column == NULL ? NULL : json_text_of(record, id_column);
        if (navigation == NULL || id_column == NULL) {
            status = -1;
        } else if (json_object_get(record, navigation) == NULL) {
            key = text_format("%s/%s", navigation, id == NULL ? "" : id);
            known = key == NULL ? NULL : json_object_get(dynamics->attributes, key);
            if (id == NULL)
                status = json_object_set_new(record, navigation, json_null());
            else if (known != NULL && json_integer_of(known, "until", 0) > clock_monotonic_ms())
                status = json_object_set(record, navigation, json_object_get(known, "values"));
            else
                *ret_is_complete = false;
        }
        free(navigation);
        free(id_column);
        free(key);
        if (status < 0)
            return -1;
    }
    return 0;
}

static void remember_expanded(struct dynamics_365 *dynamics, const json_t *record)
{
    for (size_t i = 0; i < dynamics->settings->columns.count; i++) {
        const char *column = dynamics->settings->columns.items[i];
        const char *dot = strchr(column, '.');
        char *navigation = dot == NULL ? NULL : text_copy_n(column, (size_t)(dot - column));
        char *id_column = navigation == NULL ? NULL : id_column_of(navigation);
        const json_t *attributes = navigation == NULL ? NULL : json_object_get(record, navigation);
        const char *id = id_column == NULL ? NULL : json_text_of(record, id_column);

        if (id != NULL && json_is_object(attributes))
            remember_attributes(dynamics, navigation, id, attributes);
        free(navigation);
        free(id_column);
    }
}

/* -- answers ------------------------------------------------------------------------------------------------------- */

static const char *deal_key_of(const struct dynamics_365 *dynamics, const json_t *record, const char *id,
                               char **ret_key)
{
    const char *identifier = json_text_of(record, dynamics->settings->identifier_column);
    char normalised[UUID_TEXT_SIZE];

    if (identifier != NULL && uuid_is_valid(identifier, strlen(identifier)))
        *ret_key = text_copy(uuid_normalise(identifier, normalised));
    else
        *ret_key = text_format("crm:%s", id);
    return *ret_key;
}

static void answer_with_record(struct operation *operation, json_t *record, bool is_from_write)
{
    const struct dynamics_365 *dynamics = operation->dynamics;
    json_t *document = dynamics_document(operation->entity, record, dynamics->user_id);
    json_auto_t *documents = document == NULL ? NULL : json_array();
    const char *id = json_text_of(document, "id");
    char *deal_key = NULL;
    struct error err = ERROR_INIT;

    if (documents == NULL || json_array_append_new(documents, document) < 0 ||
        deal_key_of(dynamics, record, id, &deal_key) == NULL) {
        (void)error_set(&err, ERROR_TRANSIENT, "dynamics_365.bad_response", "the answer shows no record");
        fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_RETRY, &err);
        return;
    }
    if (operation->record_id != NULL && !text_equal_ignoring_case(id, operation->record_id)) {
        (void)error_set(&err, ERROR_POISON, "dynamics_365.foreign_record",
                        "asked for one record, the answer shows another");
        free(deal_key);
        fail_locally(operation, SYSTEM_REFUSED, &err);
        return;
    }
    struct system_answer done = {.result = SYSTEM_DONE,
                                 .documents = documents,
                                 .record_id = id,
                                 .deal_key = deal_key,
                                 .is_certain = is_from_write || json_flag_of(document, "modified_by_us", false),
                                 .status = 200,
                                 .retry_after_ms = -1};
    answer(operation, &done);
    free(deal_key);
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

static void on_record(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *record = is_success(response) ? answer_json(response) : NULL;

    if (record == NULL) {
        fail(operation, response, err, false, "read the CRM record");
        return;
    }
    remember_expanded(operation->dynamics, record);
    answer_with_record(operation, record, false);
}

/* "opportunities(4d3c…)" or "opportunities(column='…')" */
static char *record_path(const struct operation *operation, const json_t *create_key)
{
    const char *set = dynamics_entity_set(operation->entity);
    const char *column = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)create_key));
    char *literal, *encoded, *path;

    if (operation->record_id != NULL)
        return text_format("%s(%s)", set, operation->record_id);
    if (column == NULL)
        return NULL;
    literal = dynamics_literal(json_text_of(create_key, column) == NULL ? "" : json_text_of(create_key, column));
    encoded = literal == NULL ? NULL : http_encode(literal);
    path = encoded == NULL ? NULL : text_format("%s(%s='%s')", set, column, encoded);
    free(literal);
    free(encoded);
    return path;
}

static const json_t *create_key_of(const struct operation *operation)
{
    return operation->write.decision == NULL ? NULL : operation->write.decision->create_key;
}

static int read_record(struct operation *operation, struct error *err)
{
    char *query = dynamics_query(operation->entity, &operation->dynamics->settings->columns, true);
    char *record = record_path(operation, create_key_of(operation));
    char *path = query == NULL || record == NULL ? NULL : text_format("%s?%s", record, query);
    int status = path == NULL ? error_no_memory(err) : get(operation, path, on_record, err);

    free(query);
    free(record);
    free(path);
    return status;
}

/* -- lookups ------------------------------------------------------------------------------------------------------- */

static int bind_lookup(struct operation *operation, const char *id)
{
    json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    char *column = text_format("%s@odata.bind", operation->navigation);
    char *target = text_format("/%s(%s)", dynamics_entity_set(json_text_of(lookup, "entity")), id);
    int status = -1;

    if (column != NULL && target != NULL && json_object_set_new(operation->binds, column, json_string(target)) == 0)
        status = json_object_del(operation->parts.lookups, operation->navigation);
    free(column);
    free(target);
    free(operation->navigation);
    operation->navigation = NULL;
    return status;
}

static void bound(struct operation *operation, const char *id)
{
    struct error err = ERROR_INIT;

    if (bind_lookup(operation, id) < 0) {
        (void)error_no_memory(&err);
        fail_locally(operation, SYSTEM_RETRY, &err);
        return;
    }
    go_on(operation, step);
}

static void on_lookup_made(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    char id[UUID_TEXT_SIZE];
    char *seed;

    /* 412: a worker beside us, or an earlier attempt of ours, made it. */
    if (!is_success(response) && !(response != NULL && response->result == HTTP_ANSWERED && response->status == 412)) {
        fail(operation, response, err, true, "create the record a lookup points to");
        return;
    }
    seed = json_write(json_object_get(lookup, "identity"), true, NULL);
    if (seed == NULL || uuid_from_name(LOOKUP_NAMESPACE, seed, strlen(seed), id) == NULL) {
        struct error local = ERROR_INIT;
        free(seed);
        (void)error_no_memory(&local);
        fail_locally(operation, SYSTEM_RETRY, &local);
        return;
    }
    free(seed);
    remember_attributes(operation->dynamics, operation->navigation, id, json_object_get(lookup, "values"));
    bound(operation, id);
}

/* Creates the record under the id its identity gives, never touching one that is there. */
static int make_lookup(struct operation *operation, struct error *err)
{
    json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    char *seed = json_write(json_object_get(lookup, "identity"), true, NULL);
    char *body = json_write(json_object_get(lookup, "values"), false, NULL);
    char id[UUID_TEXT_SIZE];
    char *path = NULL;
    int status = -1;

    if (seed != NULL && body != NULL && uuid_from_name(LOOKUP_NAMESPACE, seed, strlen(seed), id) != NULL)
        path = text_format("%s(%s)", dynamics_entity_set(json_text_of(lookup, "entity")), id);
    if (path == NULL)
        (void)error_no_memory(err);
    else
        status =
            request(operation, HTTP_PATCH, path, body, strlen(body), "If-None-Match", "*", NULL, on_lookup_made, err);
    free(seed);
    free(body);
    free(path);
    return status;
}

static void on_lookup(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    const char *entity = json_text_of(lookup, "entity");
    json_auto_t *page = is_success(response) ? answer_json(response) : NULL;
    const json_t *found = json_object_get(page, "value");
    const char *id = json_text_of(json_array_get(found, 0), dynamics_primary_key(entity));
    struct error local = ERROR_INIT;

    if (!json_is_array(found)) {
        fail(operation, response, err, false, "find the record a lookup points to");
        return;
    }
    if (json_array_size(found) > 1) {
        (void)error_set(&local, ERROR_POISON, "lookup.ambiguous",
                        "several records of table '%s' match what the rules look for; keep one of them", entity);
        fail_locally(operation, SYSTEM_REFUSED, &local);
    } else if (id != NULL && uuid_is_valid(id, strlen(id))) {
        if (text_equal(entity, "transactioncurrency"))
            (void)json_object_set_new(operation->dynamics->currencies,
                                      json_text_of(json_object_get(lookup, "values"), "isocurrencycode"),
                                      json_string(id));
        remember_attributes(operation->dynamics, operation->navigation, id, json_array_get(found, 0));
        bound(operation, id);
    } else if (json_flag_of(lookup, "create", false)) {
        go_on(operation, make_lookup);
    } else {
        (void)error_set(&local, ERROR_POISON, "lookup.not_found",
                        "no record of table '%s' matches what the rules look for; add it in the CRM", entity);
        fail_locally(operation, SYSTEM_REFUSED, &local);
    }
}

/* "name eq 'Adatum' and address1_postalcode eq null", and the values that identify the record. */
static int lookup_filter(json_t *lookup, struct text *filter)
{
    const json_t *match = json_object_get(lookup, "match");
    const json_t *values = json_object_get(lookup, "values");
    json_t *identity = json_object();

    if (identity == NULL || json_object_set_new(lookup, "identity", identity) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(match); i++) {
        const char *attribute = json_string_value(json_array_get(match, i));
        const char *value = attribute == NULL ? NULL : json_text_of(values, attribute);
        char *literal = value == NULL ? NULL : dynamics_literal(value);
        int status;

        if (attribute == NULL || (value != NULL && literal == NULL) ||
            json_object_set_new(identity, attribute, value == NULL ? json_null() : json_string(value)) < 0) {
            free(literal);
            return -1;
        }
        status = text_appendf(filter, "%s%s eq %s%s%s", i > 0 ? " and " : "", attribute, value == NULL ? "" : "'",
                              value == NULL ? "null" : literal, value == NULL ? "" : "'");
        free(literal);
        if (status < 0)
            return -1;
    }
    return 0;
}

static int find_lookup(struct operation *operation, struct error *err)
{
    json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    const char *entity = json_text_of(lookup, "entity");
    const size_t length = strlen(operation->navigation);
    struct text filter, select;
    char *encoded = NULL, *path = NULL;
    int status = -1;

    text_init(&filter, 8192);
    text_init(&select, 8192);
    if (text_append(&select, dynamics_primary_key(entity)) < 0 || lookup_filter(lookup, &filter) < 0)
        goto out;
    for (size_t i = 0; i < operation->dynamics->settings->columns.count; i++) {
        const char *column = operation->dynamics->settings->columns.items[i];
        if (strncmp(column, operation->navigation, length) == 0 && column[length] == '.' &&
            text_appendf(&select, ",%s", column + length + 1) < 0)
            goto out;
    }
    encoded = http_encode(text_string(&filter));
    if (encoded != NULL)
        path =
            text_format("%s?$select=%s&$filter=%s&$top=2", dynamics_entity_set(entity), text_string(&select), encoded);
    if (path != NULL)
        status = get(operation, path, on_lookup, err);
out:
    if (path == NULL)
        (void)error_no_memory(err);
    text_done(&filter);
    text_done(&select);
    free(encoded);
    free(path);
    return status;
}

static int resolve_lookup(struct operation *operation, struct error *err)
{
    void *first = json_object_iter(operation->parts.lookups);
    const json_t *lookup = json_object_iter_value(first);
    const char *code = json_text_of(json_object_get(lookup, "values"), "isocurrencycode");
    const char *known = code == NULL ? NULL : json_text_of(operation->dynamics->currencies, code);

    operation->navigation = text_copy(json_object_iter_key(first));
    if (operation->navigation == NULL)
        return error_no_memory(err);
    if (known == NULL)
        return find_lookup(operation, err);
    if (bind_lookup(operation, known) < 0)
        return error_no_memory(err);
    return step(operation, err);
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

static void on_closed(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;

    if (!is_success(response)) {
        fail(operation, response, err, true, "close the opportunity");
        return;
    }
    operation->was_written = true;
    go_on(operation, read_record); /* the action answers without a body */
}

static int close_opportunity(struct operation *operation, struct error *err)
{
    struct decision decision = *operation->write.decision;
    size_t length;
    char *body;
    int status;

    decision.record_id = operation->record_id; /* also of one just created */
    body = dynamics_close_body(&decision, &operation->parts, operation->dynamics->settings->closes_with_time, &length);
    if (body == NULL)
        return error_no_memory(err);
    status = request(operation, HTTP_POST, operation->parts.state == 1 ? "WinOpportunity" : "LoseOpportunity", body,
                     length, NULL, NULL, NULL, on_closed, err);
    free(body);
    return status;
}

static int learn_record_id(struct operation *operation, const struct http_response *response, const json_t *record)
{
    const char *id = json_text_of(record, dynamics_primary_key(operation->entity));
    char from_header[UUID_TEXT_SIZE];

    if (operation->record_id != NULL)
        return 0;
    if (id == NULL && dynamics_id_of(http_response_header(response, "OData-EntityId"), from_header))
        id = from_header;
    if (id == NULL)
        return -1;
    operation->record_id = text_copy(id);
    return operation->record_id == NULL ? -1 : 0;
}

static void on_written(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *record = is_success(response) ? answer_json(response) : NULL;
    bool is_complete = false;

    if (!is_success(response)) {
        fail(operation, response, err, true, "write the CRM record");
        return;
    }
    operation->was_written = true;
    operation->is_created = response->status == 201;
    if (learn_record_id(operation, response, record) < 0)
        go_on(operation, read_record); /* by the alternate key */
    else if (operation->parts.is_closing)
        go_on(operation, close_opportunity);
    else if (record == NULL || expand_from_memory(operation->dynamics, record, &is_complete) < 0 || !is_complete)
        go_on(operation, read_record);
    else
        answer_with_record(operation, record, true);
}

static json_t *body_of(const struct operation *operation)
{
    const struct decision *decision = operation->write.decision;
    json_t *body = json_deep_copy(operation->parts.columns);
    char *audit = NULL;
    int status = body == NULL ? -1 : json_object_update(body, operation->binds);

    if (status == 0 && decision->audit_column != NULL && decision->audit_text != NULL) {
        const char *given = json_text_of(operation->parts.columns, decision->audit_column);
        struct decision told = *decision;
        if (given != NULL) /* the rules write a text of their own into the audit column */
            told.audit_text = (char *)(uintptr_t)given;
        audit = dynamics_audit_text(&told);
        status = audit == NULL ? -1 : json_object_set_new(body, decision->audit_column, json_string(audit));
    }
    if (status == 0 && operation->parts.has_state && !operation->parts.is_closing) {
        /* Status is no column of a creation's state: a new record is open, only its status reason may be given. */
        if (decision->action != DECISION_CREATE)
            status = json_object_set_new(body, "statecode", json_integer(operation->parts.state));
        if (status == 0)
            status = json_object_set_new(body, "statuscode", json_integer(operation->parts.status));
    }
    if (status == 0 && decision->action == DECISION_CREATE) {
        /* Key columns stand in the address; in the body they would win over it ("Use Upsert"). */
        const char *column = json_object_iter_key(json_object_iter(decision->create_key));
        if (column != NULL)
            (void)json_object_del(body, column);
    }
    free(audit);
    if (status < 0) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static int write_columns(struct operation *operation, struct error *err)
{
    const struct dynamics_365_settings *settings = operation->dynamics->settings;
    const struct decision *decision = operation->write.decision;
    const bool is_create = decision->action == DECISION_CREATE;
    json_auto_t *body = body_of(operation);
    size_t length = 0;
    char *text = body == NULL ? NULL : json_write(body, false, &length);
    char *record = record_path(operation, decision->create_key);
    char *query = dynamics_query(operation->entity, &settings->columns, false);
    char *path = record == NULL || query == NULL ? NULL : text_format("%s?%s", record, query);
    const char *precondition = is_create ? "If-None-Match" : "If-Match";
    int status;

    if (is_create && !settings->creates_conditionally)
        precondition = NULL;
    if (text == NULL || path == NULL)
        status = error_no_memory(err);
    else
        status = request(operation, HTTP_PATCH, path, text, length, precondition,
                         is_create ? "*" : decision->expected_etag, "return=representation", on_written, err);
    free(text);
    free(record);
    free(query);
    free(path);
    return status;
}

/* The next request of an operation. */
static int step(struct operation *operation, struct error *err)
{
    if (operation->dynamics->user_id[0] == '\0')
        return get(operation, "WhoAmI", on_who_am_i, err);
    if (operation->write.decision == NULL || operation->is_find)
        return read_record(operation, err);
    if (json_object_size(operation->parts.lookups) > 0)
        return resolve_lookup(operation, err);
    return write_columns(operation, err);
}

/* -- the interface ------------------------------------------------------------------------------------------------- */

static struct operation *operation_new(struct dynamics_365 *dynamics, const char *entity, const char *record_id,
                                       system_callback on_done, void *arg)
{
    struct operation *operation = calloc(1, sizeof(*operation));

    if (operation == NULL)
        return NULL;
    operation->dynamics = dynamics;
    operation->on_done = on_done;
    operation->arg = arg;
    operation->started_us = clock_monotonic_us();
    operation->entity = text_copy(entity);
    operation->binds = json_object();
    if (record_id != NULL)
        operation->record_id = text_copy(record_id);
    if (operation->entity == NULL || operation->binds == NULL || (record_id != NULL && operation->record_id == NULL)) {
        operation_free(operation);
        return NULL;
    }
    return operation;
}

static int begin(struct operation *operation, struct error *err)
{
    if (step(operation, err) == 0)
        return 0;
    operation_free(operation);
    return -1;
}

static int check_names(const char *entity, const char *record_id, struct error *err)
{
    if (entity == NULL || dynamics_entity_set(entity) == NULL)
        return error_set(err, ERROR_POISON, "dynamics_365.no_such_table", "a table that is not synchronised");
    if (record_id != NULL && !uuid_is_valid(record_id, strlen(record_id)))
        return error_set(err, ERROR_POISON, "dynamics_365.bad_id", "the record's id is not a GUID");
    return 0;
}

static int dynamics_read(struct system *system, const char *record_type, const char *record_id, system_callback on_done,
                         void *arg, struct error *err)
{
    struct operation *operation;

    if (check_names(record_type, record_id, err) < 0)
        return -1;
    operation = operation_new((struct dynamics_365 *)system, record_type, record_id, on_done, arg);
    return operation == NULL ? error_no_memory(err) : begin(operation, err);
}

static int dynamics_find(struct system *system, const struct decision *decision, system_callback on_done, void *arg,
                         struct error *err)
{
    struct operation *operation;

    if (check_names(decision->record_type, decision->record_id, err) < 0)
        return -1;
    operation = operation_new((struct dynamics_365 *)system, decision->record_type, decision->record_id, on_done, arg);
    if (operation == NULL)
        return error_no_memory(err);
    operation->is_find = true;
    operation->write.decision = decision;
    return begin(operation, err);
}

static int dynamics_write(struct system *system, const struct system_write *write, system_callback on_done, void *arg,
                          struct error *err)
{
    const struct decision *decision = write->decision;
    struct operation *operation;

    if (check_names(decision->record_type, decision->record_id, err) < 0)
        return -1;
    if (decision->action == DECISION_UPDATE && (decision->record_id == NULL || decision->expected_etag == NULL))
        return error_set(err, ERROR_POISON, "dynamics_365.no_version",
                         "a record is changed only with the version it was read with");
    if (decision->action == DECISION_CREATE && decision->create_key == NULL)
        return error_set(err, ERROR_POISON, "dynamics_365.no_key", "a record is created only by its alternate key");
    operation = operation_new((struct dynamics_365 *)system, decision->record_type, decision->record_id, on_done, arg);
    if (operation == NULL)
        return error_no_memory(err);
    operation->write = *write;
    if (dynamics_parts_of(decision, &operation->parts, err) < 0) {
        operation_free(operation);
        return -1;
    }
    return begin(operation, err);
}

static bool dynamics_shows_decision(const struct system *system, const json_t *documents,
                                    const struct decision *decision, bool *ret_is_certain)
{
    const json_t *document = record_document_of(documents, "crm");

    (void)system;
    *ret_is_certain = json_flag_of(document, "modified_by_us", false);
    return document != NULL && dynamics_shows(json_object_get(document, "body"), decision);
}

static const char *dynamics_trouble(const struct system *system)
{
    return token_is_blocked(((const struct dynamics_365 *)system)->tokens)
               ? "the application cannot sign in: check client id and secret"
               : NULL;
}

static void dynamics_free(struct system *system)
{
    struct dynamics_365 *dynamics = (struct dynamics_365 *)system;

    token_source_free(dynamics->tokens);
    http_client_free(dynamics->client);
    token_account_free(dynamics->account);
    json_decref(dynamics->attributes);
    json_decref(dynamics->currencies);
    free(dynamics->base_url);
    free(dynamics);
}

static const struct system_operations DYNAMICS_365_OPERATIONS = {
    .name = "dynamics-365",
    .read = dynamics_read,
    .find = dynamics_find,
    .write = dynamics_write,
    .shows = dynamics_shows_decision,
    .trouble = dynamics_trouble,
    .free = dynamics_free,
};

static int open_account(struct dynamics_365 *dynamics, struct loop *loop, struct error *err)
{
    const struct dynamics_365_settings *settings = dynamics->settings;
    const struct http_client_settings http = {.name = "dynamics-365",
                                              .ca_file = settings->ca_file,
                                              .connect_timeout_ms = 5000,
                                              .total_timeout_ms = settings->timeout_ms,
                                              .response_max_bytes = 8 << 20,
                                              .response_headers_max_bytes = 64 << 10,
                                              .concurrent_max = (unsigned)settings->concurrent_max,
                                              .queued_max = 10000};
    char *token_url = text_format("%s/%s/oauth2/v2.0/token", settings->login_url, settings->tenant);
    char *scope = settings->scope != NULL ? text_copy(settings->scope) : text_format("%s/.default", settings->url);
    const struct token_account_settings account = {.grant = TOKEN_CLIENT_CREDENTIALS,
                                                   .token_url = token_url,
                                                   .client_id = settings->client_id,
                                                   .client_secret = settings->client_secret.bytes,
                                                   .name = "dynamics-365"};
    int status = -1;

    if (token_url == NULL || scope == NULL)
        (void)error_no_memory(err);
    else if (http_client_new(loop, &http, &dynamics->client, err) == 0 &&
             token_account_new(loop, dynamics->client, &account, NULL, NULL, &dynamics->account, err) == 0)
        status = token_source_new(dynamics->account, scope, &dynamics->tokens, err);
    free(token_url);
    free(scope);
    return status;
}

int dynamics_365_new(struct loop *loop, const struct dynamics_365_settings *settings, struct system **ret_system,
                     struct error *err)
{
    struct dynamics_365 *dynamics = calloc(1, sizeof(*dynamics));

    if (dynamics == NULL)
        return error_no_memory(err);
    dynamics->system.operations = &DYNAMICS_365_OPERATIONS;
    dynamics->settings = settings;
    dynamics->attributes = json_object();
    dynamics->currencies = json_object();
    dynamics->base_url = text_format("%s/api/data/v9.2", settings->url);
    if (dynamics->attributes == NULL || dynamics->currencies == NULL || dynamics->base_url == NULL) {
        dynamics_free(&dynamics->system);
        return error_no_memory(err);
    }
    if (open_account(dynamics, loop, err) < 0) {
        dynamics_free(&dynamics->system);
        return error_wrap(err, "dynamics 365");
    }
    dynamics->exchange = (struct exchange){.client = dynamics->client, .tokens = dynamics->tokens};
    *ret_system = &dynamics->system;
    return 0;
}
