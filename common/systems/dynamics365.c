#include "common/systems/dynamics365.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/api.h"
#include "common/systems/dynamics365_lookup.h"
#include "common/systems/dynamics365_record.h"

struct dynamics_365 {
    struct system system;
    const struct dynamics_365_settings *settings;
    struct http_client *client;
    struct token_account *account;
    struct token_source *tokens;
    struct api api;
    char *base_url;               /* …/api/data/v9.2 */
    char user_id[UUID_TEXT_SIZE]; /* our application user; "" until WhoAmI answered */
    struct dynamics_memory memory;
};

/* A read or write under way, one request at a time:
 *
 *   read, find:  WHOAMI? -> READ
 *   create:      WHOAMI? -> LOOKUP* (-> MAKE_LOOKUP) -> CREATE -> CLOSE? -> READ?
 *   update:      WHOAMI? -> LOOKUP* (-> MAKE_LOOKUP) -> REOPEN? -> UPDATE -> CLOSE? -> READ?
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
    char *etag;       /* of the record just reopened; NULL: the decision's holds */
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
    free(operation->etag);
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

/* What a request was about. */
enum request_kind {
    REQUEST_READ,      /* the record itself */
    REQUEST_AUXILIARY, /* something else: no answer to it says that our record is gone or changed, and repeating is safe */
    REQUEST_WRITE      /* the record itself, with effect */
};

static enum system_result judge(struct operation *operation, const struct http_response *response,
                                enum request_kind kind, const char **ret_code)
{
    json_auto_t *body = answer_json(response);
    enum system_result result = dynamics_classify(response->status, body, kind == REQUEST_WRITE, ret_code);

    if (kind == REQUEST_AUXILIARY && (result == SYSTEM_GONE || result == SYSTEM_CONFLICT))
        return SYSTEM_REFUSED;
    if (kind == REQUEST_WRITE && result == SYSTEM_GONE && json_object_size(operation->binds) > 0) {
        /* What a lookup points to answers like the record itself when it is missing. */
        dynamics_memory_forget(&operation->dynamics->memory);
        return operation->record_id == NULL ? SYSTEM_RETRY : SYSTEM_CONFLICT;
    }
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
            result = kind == REQUEST_WRITE ? SYSTEM_UNKNOWN : SYSTEM_RETRY;
            code = "dynamics_365.bad_response";
        } else {
            result = judge(operation, response, kind, &code);
        }
        answer_fail(&failed, response, result, code, what, timestamp_to_ms(clock_now()));
    }
    /* An earlier request of this operation has changed something; the caller has to judge by reading. */
    if (operation->was_written && (failed.result == SYSTEM_RETRY || failed.result == SYSTEM_BLOCKED)) {
        failed.result = SYSTEM_UNKNOWN;
        failed.error.class = answer_error_class(SYSTEM_UNKNOWN);
    }
    answer(operation, &failed);
}

static bool is_success(const struct http_response *response)
{
    return response != NULL && response->result == HTTP_ANSWERED && response->status >= 200 && response->status < 300;
}

/* -- requests ------------------------------------------------------------------------------------------------------ */

static int request(struct operation *operation, enum http_method method, const char *path, const char *body,
                   size_t body_length, const char *precondition_name, const char *precondition, const char *prefer,
                   api_callback on_response, struct error *err)
{
    const struct dynamics_365 *dynamics = operation->dynamics;
    char *url = text_format("%s/%s", dynamics->base_url, path);
    struct api_request out = {.method = method,
                              .url = url,
                              .body = body,
                              .body_length = body_length,
                              .may_send = operation->write.may_send,
                              .may_send_arg = operation->write.may_send_arg};
    int status;

    if (url == NULL)
        return error_no_memory(err);
    api_request_header(&out, "Accept", "application/json");
    api_request_header(&out, "OData-Version", "4.0");
    api_request_header(&out, "OData-MaxVersion", "4.0");
    if (body != NULL)
        api_request_header(&out, "Content-Type", "application/json; charset=utf-8");
    api_request_header(&out, "Prefer", prefer);
    if (precondition_name != NULL)
        api_request_header(&out, precondition_name, precondition);
    operation->calls++;
    status = api_send(&dynamics->api, &out, on_response, operation, err);
    free(url);
    return status;
}

static int get(struct operation *operation, const char *path, api_callback on_response, struct error *err)
{
    return request(operation, HTTP_GET, path, NULL, 0, NULL, NULL, NULL, on_response, err);
}

/* Goes on after an answer; what cannot even be asked is answered here. */
static void go_on(struct operation *operation, int (*next)(struct operation *operation, struct error *err))
{
    struct error err = ERROR_INIT;

    if (next(operation, &err) == 0)
        return;
    if (operation->was_written)
        fail_locally(operation, SYSTEM_UNKNOWN, &err);
    else
        fail_locally(operation, err.class == ERROR_POISON ? SYSTEM_REFUSED : SYSTEM_RETRY, &err);
}

/* -- who we are: tells our own writes from others' (WhoAmI) --------------------------------------------------------- */

static void on_who_am_i(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *body = is_success(response) ? answer_json(response) : NULL;
    const char *user = json_text_of(body, "UserId");

    if (user == NULL || !uuid_is_valid(user, strlen(user))) {
        fail(operation, response, err, REQUEST_AUXILIARY, "ask who we are");
        return;
    }
    (void)uuid_normalise(user, operation->dynamics->user_id);
    go_on(operation, step);
}

/* -- answers ------------------------------------------------------------------------------------------------------- */

static char *deal_key_of(const struct dynamics_365 *dynamics, const json_t *record, const char *id)
{
    const char *identifier = json_text_of(record, dynamics->settings->identifier_column);
    char normalised[UUID_TEXT_SIZE];

    if (identifier != NULL && uuid_is_valid(identifier, strlen(identifier)))
        return text_copy(uuid_normalise(identifier, normalised));
    return text_format("crm:%s", id);
}

static void answer_with_record(struct operation *operation, json_t *record, bool is_from_write)
{
    const struct dynamics_365 *dynamics = operation->dynamics;
    json_auto_t *documents = json_array();
    json_t *document = dynamics_document(operation->entity, record, dynamics->user_id);
    char *deal_key = NULL;
    const char *id = NULL;
    struct error err = ERROR_INIT;

    if (json_array_append_new(documents, document) == 0) {
        id = json_text_of(document, "id");
        deal_key = deal_key_of(dynamics, record, id);
    }
    if (deal_key == NULL) {
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
        fail(operation, response, err, REQUEST_READ, "read the CRM record");
        return;
    }
    dynamics_memory_keep_expanded(&operation->dynamics->memory, &operation->dynamics->settings->columns, record,
                                  clock_monotonic_ms());
    answer_with_record(operation, record, false);
}

static const json_t *create_key_of(const struct operation *operation)
{
    return operation->write.decision == NULL ? NULL : operation->write.decision->create_key;
}

static int read_record(struct operation *operation, struct error *err)
{
    char *query = dynamics_query(operation->entity, &operation->dynamics->settings->columns, true);
    char *record = dynamics_path(operation->entity, operation->record_id, create_key_of(operation));
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
    bool is_there = is_success(response);
    char id[UUID_TEXT_SIZE];
    struct error local = ERROR_INIT;

    if (!is_there && response != NULL && response->result == HTTP_ANSWERED) {
        /* A worker beside us, or an earlier attempt of ours, made it. */
        json_auto_t *body = answer_json(response);
        const char *code;
        is_there = dynamics_classify(response->status, body, false, &code) == SYSTEM_CONFLICT;
    }
    if (!is_there) {
        fail(operation, response, err, REQUEST_AUXILIARY, "create the record a lookup points to");
        return;
    }
    if (dynamics_lookup_id(lookup, id) < 0) {
        (void)error_no_memory(&local);
        fail_locally(operation, SYSTEM_RETRY, &local);
        return;
    }
    bound(operation, id);
}

/* Creates the record under the id its identity gives, never touching one that is there. */
static int make_lookup(struct operation *operation, struct error *err)
{
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    char *body = json_write(json_object_get(lookup, "values"), false, NULL);
    char id[UUID_TEXT_SIZE];
    char *path = NULL;
    int status;

    if (body != NULL && dynamics_lookup_id(lookup, id) == 0)
        path = text_format("%s(%s)", dynamics_entity_set(json_text_of(lookup, "entity")), id);
    if (path == NULL)
        status = error_no_memory(err);
    else
        status =
            request(operation, HTTP_PATCH, path, body, strlen(body), "If-None-Match", "*", NULL, on_lookup_made, err);
    free(body);
    free(path);
    return status;
}

static void on_lookup(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    struct dynamics_365 *dynamics = operation->dynamics;
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    const char *entity = json_text_of(lookup, "entity");
    json_auto_t *page = is_success(response) ? answer_json(response) : NULL;
    const json_t *found = json_object_get(page, "value");
    const char *id = json_text_of(json_array_get(found, 0), dynamics_primary_key(entity));
    struct error local = ERROR_INIT;

    if (!json_is_array(found) || (json_array_size(found) > 0 && (id == NULL || !uuid_is_valid(id, strlen(id))))) {
        fail(operation, response, err, REQUEST_AUXILIARY, "find the record a lookup points to");
    } else if (json_array_size(found) > 1) {
        (void)error_set(&local, ERROR_POISON, "lookup.ambiguous",
                        "several records of table '%s' match what the rules look for; keep one of them", entity);
        fail_locally(operation, SYSTEM_REFUSED, &local);
    } else if (id != NULL) {
        dynamics_memory_keep_currency(&dynamics->memory, lookup, id);
        dynamics_memory_keep(&dynamics->memory, &dynamics->settings->columns, operation->navigation, id,
                             json_array_get(found, 0), clock_monotonic_ms());
        bound(operation, id);
    } else if (json_flag_of(lookup, "create", false)) {
        go_on(operation, make_lookup);
    } else {
        (void)error_set(&local, ERROR_POISON, "lookup.not_found",
                        "no record of table '%s' matches what the rules look for; add it in the CRM", entity);
        fail_locally(operation, SYSTEM_REFUSED, &local);
    }
}

static int find_lookup(struct operation *operation, struct error *err)
{
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    char *path;
    int status;

    if (dynamics_lookup_search(lookup, operation->navigation, &operation->dynamics->settings->columns, &path, err) < 0)
        return -1;
    status = get(operation, path, on_lookup, err);
    free(path);
    return status;
}

/* The next lookup: one that is remembered is bound at once, any other is looked for. */
static int resolve_lookup(struct operation *operation, struct error *err)
{
    void *first = json_object_iter(operation->parts.lookups);
    const char *known = dynamics_memory_currency(&operation->dynamics->memory, json_object_iter_value(first));

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

    /* The action answers without a body; a page of something in between says nothing. */
    if (!is_success(response) || response->body_length > 0) {
        fail(operation, response, err, REQUEST_WRITE, "close the opportunity");
        return;
    }
    operation->was_written = true;
    go_on(operation, read_record);
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

/* The id of a record just created, from the answer's body or address; false when neither tells it. */
static bool learn_record_id(struct operation *operation, const struct http_response *response, const json_t *record)
{
    const char *id = json_text_of(record, dynamics_primary_key(operation->entity));
    char learned[UUID_TEXT_SIZE];

    if (operation->record_id != NULL)
        return true;
    if (id != NULL && uuid_is_valid(id, strlen(id)))
        (void)uuid_normalise(id, learned);
    else if (!dynamics_id_of(http_response_header(response, "OData-EntityId"), learned))
        return false;
    operation->record_id = text_copy(learned);
    return operation->record_id != NULL;
}

static void on_written(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    const struct dynamics_365 *dynamics = operation->dynamics;
    json_auto_t *record = is_success(response) ? answer_json(response) : NULL;
    bool is_complete = false;

    if (!is_success(response) || (record == NULL && response->body_length > 0)) {
        fail(operation, response, err, REQUEST_WRITE, "write the CRM record");
        return;
    }
    operation->was_written = true;
    operation->is_created = response->status == 201;
    if (!learn_record_id(operation, response, record))
        go_on(operation, read_record); /* by the alternate key */
    else if (operation->parts.is_closing)
        go_on(operation, close_opportunity);
    else if (record == NULL ||
             dynamics_memory_expand(&dynamics->memory, &dynamics->settings->columns, record, clock_monotonic_ms(),
                                    &is_complete) < 0 ||
             !is_complete)
        go_on(operation, read_record);
    else
        answer_with_record(operation, record, true);
}

/* Changes or creates the record; the answer shows the columns. Frees `body`. */
static int patch_record(struct operation *operation, char *body, size_t length, const struct config_list *columns,
                        const char *precondition_name, const char *precondition, api_callback on_response,
                        struct error *err)
{
    char *record = dynamics_path(operation->entity, operation->record_id, operation->write.decision->create_key);
    char *query = dynamics_query(operation->entity, columns, false);
    char *path = record == NULL || query == NULL ? NULL : text_format("%s?%s", record, query);
    int status;

    if (body == NULL || path == NULL)
        status = error_no_memory(err);
    else
        status = request(operation, HTTP_PATCH, path, body, length, precondition_name, precondition,
                         "return=representation", on_response, err);
    free(body);
    free(record);
    free(query);
    free(path);
    return status;
}

static int write_columns(struct operation *operation, struct error *err)
{
    const struct dynamics_365_settings *settings = operation->dynamics->settings;
    const struct decision *decision = operation->write.decision;
    const char *etag = operation->etag != NULL ? operation->etag : decision->expected_etag;
    size_t length;
    char *body = dynamics_body(decision, &operation->parts, operation->binds, &length);

    if (decision->action == DECISION_UPDATE)
        return patch_record(operation, body, length, &settings->columns, "If-Match", etag, on_written, err);
    return patch_record(operation, body, length, &settings->columns,
                        settings->creates_conditionally ? "If-None-Match" : NULL, "*", on_written, err);
}

static void on_reopened(void *arg, const struct http_response *response, const struct error *err)
{
    struct operation *operation = arg;
    json_auto_t *record = is_success(response) ? answer_json(response) : NULL;
    const char *etag = json_text_of(record, "@odata.etag");

    if (etag == NULL) {
        fail(operation, response, err, REQUEST_WRITE, "reopen the opportunity");
        return;
    }
    operation->was_written = true;
    operation->etag = text_copy(etag);
    if (operation->etag != NULL) {
        go_on(operation, write_columns);
    } else {
        struct error local = ERROR_INIT;
        (void)error_no_memory(&local);
        fail_locally(operation, SYSTEM_UNKNOWN, &local);
    }
}

static int reopen(struct operation *operation, struct error *err)
{
    static const struct config_list no_columns = {0};
    size_t length;
    char *body = dynamics_reopen_body(&operation->parts, &length);

    return patch_record(operation, body, length, &no_columns, "If-Match", operation->write.decision->expected_etag,
                        on_reopened, err);
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
    return operation->parts.is_reopening ? reopen(operation, err) : write_columns(operation, err);
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

static int check_key(const struct decision *decision, struct error *err)
{
    const json_t *value = json_object_iter_value(json_object_iter(decision->create_key));

    if (!json_is_string(value) || json_is_decimal(value) || json_string_length(value) == 0)
        return error_set(err, ERROR_POISON, "dynamics_365.no_key", "a record is created only by its alternate key");
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
    if (decision->record_id == NULL && check_key(decision, err) < 0)
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
    if (decision->action == DECISION_CREATE && check_key(decision, err) < 0)
        return -1;
    if (decision->action == DECISION_NONE)
        return error_set(err, ERROR_POISON, "dynamics_365.action", "a decision to do nothing is not written");
    operation = operation_new((struct dynamics_365 *)system, decision->record_type,
                              decision->action == DECISION_UPDATE ? decision->record_id : NULL, on_done, arg);
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
    dynamics_memory_done(&dynamics->memory);
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
    dynamics->base_url = text_format("%s/api/data/v9.2", settings->url);
    if (dynamics->base_url == NULL || dynamics_memory_init(&dynamics->memory) < 0) {
        dynamics_free(&dynamics->system);
        return error_no_memory(err);
    }
    if (open_account(dynamics, loop, err) < 0) {
        dynamics_free(&dynamics->system);
        return error_wrap(err, "dynamics 365");
    }
    dynamics->api = (struct api){.client = dynamics->client, .tokens = dynamics->tokens};
    *ret_system = &dynamics->system;
    return 0;
}
