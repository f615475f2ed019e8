#include "common/systems/dynamics365_write.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_query.h"
#include "common/systems/dynamics365_read.h"
#include "common/systems/dynamics365_table.h"

/* -- labels --------------------------------------------------------------------------------------------------------- */

static const char *first_label(const struct dynamics_operation *operation, const char **ret_label)
{
    void *first = json_object_iter(operation->parts.labels);

    *ret_label = json_string_value(json_object_iter_value(first));
    return json_object_iter_key(first);
}

static void on_choices(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    json_auto_t *metadata = dynamics_is_success(response) ? answer_json(response) : NULL;
    struct error local = ERROR_INIT;
    const char *label;
    const char *column = first_label(operation, &label);

    if (metadata == NULL) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY, "look up the labels of a choice");
    } else if (dynamics_choices_keep(&operation->dynamics->choices, operation->entity, column, metadata,
                                     clock_monotonic_ms()) < 0) {
        (void)error_set(&local, ERROR_POISON, "dynamics_365.unknown_label", "the column '%s' has no choices", column);
        dynamics_operation_fail_locally(operation, SYSTEM_REFUSED, &local);
    } else {
        dynamics_operation_go_on(operation, dynamics_write_next);
    }
}

static int ask_choices(struct dynamics_operation *operation, const char *column, struct error *err)
{
    char *path = dynamics_choices_path(operation->entity, column);
    int status = path == NULL ? error_no_memory(err) : dynamics_operation_get(operation, path, on_choices, err);

    free(path);
    return status;
}

/* The next label becomes its number, by the column's option set. */
static int resolve_label(struct dynamics_operation *operation, struct error *err)
{
    json_int_t value = 0;
    const char *label;
    const char *column = first_label(operation, &label);

    switch (dynamics_choices_find(&operation->dynamics->choices, operation->entity, column, label, clock_monotonic_ms(),
                                  &value)) {
    case DYNAMICS_CHOICE_ASK:
        return ask_choices(operation, column, err);
    case DYNAMICS_CHOICE_NONE:
        return error_set(err, ERROR_POISON, "dynamics_365.unknown_label",
                         "the column '%s' has no choice, or several, with the label '%.100s'", column, label);
    case DYNAMICS_CHOICE_FOUND:
        break;
    }
    if (json_object_set_new(operation->parts.columns, column, json_integer(value)) < 0)
        return error_no_memory(err);
    (void)json_object_del(operation->parts.labels, column);
    return dynamics_write_next(operation, err);
}

/* -- lookups ------------------------------------------------------------------------------------------------------- */

static int bind_lookup(struct dynamics_operation *operation, const char *id)
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

static void bound(struct dynamics_operation *operation, const char *id)
{
    struct error err = ERROR_INIT;

    if (bind_lookup(operation, id) < 0) {
        (void)error_no_memory(&err);
        dynamics_operation_fail_locally(operation, SYSTEM_RETRY, &err);
        return;
    }
    dynamics_operation_go_on(operation, dynamics_write_next);
}

static void on_lookup_made(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    bool is_there = dynamics_is_success(response);
    char id[UUID_TEXT_SIZE];
    struct error local = ERROR_INIT;

    if (!is_there && response != NULL && response->result == HTTP_ANSWERED) {
        /* A worker beside us, or an earlier attempt of ours, made it. */
        json_auto_t *body = answer_json(response);
        is_there = dynamics_classify(response->status, body, false).result == SYSTEM_CONFLICT;
    }
    if (!is_there) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY,
                                "create the record a lookup points to");
        return;
    }
    if (dynamics_lookup_id(lookup, id) < 0) {
        (void)error_no_memory(&local);
        dynamics_operation_fail_locally(operation, SYSTEM_RETRY, &local);
        return;
    }
    bound(operation, id);
}

/* Creates the record under the id its identity gives, never touching one that is there. */
static int make_lookup(struct dynamics_operation *operation, struct error *err)
{
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    char *body = json_write(json_object_get(lookup, "values"), false, NULL);
    char id[UUID_TEXT_SIZE];
    char *path = NULL;
    int status;

    if (body != NULL && dynamics_lookup_id(lookup, id) == 0)
        path = text_format("%s(%s)", dynamics_entity_set(json_text_of(lookup, "entity")), id);
    if (path == NULL) {
        status = error_no_memory(err);
    } else {
        const struct dynamics_request request = {.method = HTTP_PATCH,
                                                 .path = path,
                                                 .body = body,
                                                 .body_length = strlen(body),
                                                 .precondition_name = "If-None-Match",
                                                 .precondition = "*"};
        status = dynamics_operation_send(operation, &request, on_lookup_made, err);
    }
    free(body);
    free(path);
    return status;
}

static void on_lookup(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    struct dynamics_365 *dynamics = operation->dynamics;
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    const char *entity = json_text_of(lookup, "entity");
    json_auto_t *page = dynamics_is_success(response) ? answer_json(response) : NULL;
    const json_t *found = json_object_get(page, "value");
    const char *id = json_text_of(json_array_get(found, 0), dynamics_primary_key(entity));
    struct error local = ERROR_INIT;

    if (!json_is_array(found) || (json_array_size(found) > 0 && (id == NULL || !uuid_is_valid(id, strlen(id))))) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY,
                                "find the record a lookup points to");
    } else if (json_array_size(found) > 1) {
        (void)error_set(&local, ERROR_POISON, "lookup.ambiguous",
                        "several records of table '%s' match what the rules look for; keep one of them", entity);
        dynamics_operation_fail_locally(operation, SYSTEM_REFUSED, &local);
    } else if (id != NULL) {
        dynamics_memory_keep_currency(&dynamics->memory, lookup, id);
        dynamics_memory_keep(&dynamics->memory, &dynamics->settings->columns, operation->navigation, id,
                             json_array_get(found, 0), clock_monotonic_ms());
        bound(operation, id);
    } else if (json_flag_of(lookup, "create", false)) {
        dynamics_operation_go_on(operation, make_lookup);
    } else {
        (void)error_set(&local, ERROR_POISON, "lookup.not_found",
                        "no record of table '%s' matches what the rules look for; add it in the CRM", entity);
        dynamics_operation_fail_locally(operation, SYSTEM_REFUSED, &local);
    }
}

static int find_lookup(struct dynamics_operation *operation, struct error *err)
{
    const json_t *lookup = json_object_get(operation->parts.lookups, operation->navigation);
    char *path;
    int status;

    if (dynamics_lookup_search(lookup, operation->navigation, &operation->dynamics->settings->columns, &path, err) < 0)
        return -1;
    status = dynamics_operation_get(operation, path, on_lookup, err);
    free(path);
    return status;
}

/* The next lookup: one that is remembered is bound at once, any other is looked for. */
static int resolve_lookup(struct dynamics_operation *operation, struct error *err)
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
    return dynamics_write_next(operation, err);
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

static void on_closed(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;

    /* The action answers without a body; a page of something in between says nothing. */
    if (!dynamics_is_success(response) || response->body_length > 0) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_WRITE, "close the opportunity");
        return;
    }
    operation->was_written = true;
    dynamics_operation_go_on(operation, dynamics_read_record);
}

static int close_opportunity(struct dynamics_operation *operation, struct error *err)
{
    struct decision decision = *operation->write.decision;
    struct dynamics_request request = {.method = HTTP_POST,
                                       .path = operation->parts.state == 1 ? "WinOpportunity" : "LoseOpportunity"};
    char *body;
    int status;

    decision.record_id = operation->record_id; /* also of one just created */
    body = dynamics_close_body(&decision, &operation->parts, operation->dynamics->settings->closes_with_time,
                               &request.body_length);
    if (body == NULL)
        return error_no_memory(err);
    request.body = body;
    status = dynamics_operation_send(operation, &request, on_closed, err);
    free(body);
    return status;
}

/* The id of a record just created, from the answer's body or address; false when neither tells it. */
static bool learn_record_id(struct dynamics_operation *operation, const struct http_response *response,
                            const json_t *record)
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
    struct dynamics_operation *operation = arg;
    const struct dynamics_365 *dynamics = operation->dynamics;
    json_auto_t *record = dynamics_is_success(response) ? answer_json(response) : NULL;
    bool is_complete = false;

    if (!dynamics_is_success(response) || (record == NULL && response->body_length > 0)) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_WRITE, "write the CRM record");
        return;
    }
    operation->was_written = true;
    operation->is_created = response->status == 201;
    if (!learn_record_id(operation, response, record))
        dynamics_operation_go_on(operation, dynamics_read_record); /* by the alternate key */
    else if (operation->parts.is_closing)
        dynamics_operation_go_on(operation, close_opportunity);
    else if (record == NULL ||
             dynamics_memory_expand(&dynamics->memory, &dynamics->settings->columns, record, clock_monotonic_ms(),
                                    &is_complete) < 0 ||
             !is_complete)
        dynamics_operation_go_on(operation, dynamics_read_record);
    else
        dynamics_read_answer(operation, record, true);
}

/* Changes or creates the record; the answer shows the columns. Frees `body`. */
static int patch_record(struct dynamics_operation *operation, char *body, size_t length,
                        const struct config_list *columns, const char *precondition_name, const char *precondition,
                        api_callback on_response, struct error *err)
{
    char *record = dynamics_path(operation->entity, operation->record_id, operation->write.decision->create_key);
    char *query = dynamics_query(operation->entity, columns, false);
    char *path = record == NULL || query == NULL ? NULL : text_format("%s?%s", record, query);
    const char *labels = dynamics_label_preference(columns);
    char *prefer = text_format("return=representation%s%s", labels == NULL ? "" : ",", labels == NULL ? "" : labels);
    int status;

    if (body == NULL || path == NULL || prefer == NULL) {
        status = error_no_memory(err);
    } else {
        const struct dynamics_request request = {.method = HTTP_PATCH,
                                                 .path = path,
                                                 .body = body,
                                                 .body_length = length,
                                                 .precondition_name = precondition_name,
                                                 .precondition = precondition,
                                                 .prefer = prefer};
        status = dynamics_operation_send(operation, &request, on_response, err);
    }
    free(body);
    free(record);
    free(query);
    free(path);
    free(prefer);
    return status;
}

static int write_columns(struct dynamics_operation *operation, struct error *err)
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
    struct dynamics_operation *operation = arg;
    json_auto_t *record = dynamics_is_success(response) ? answer_json(response) : NULL;
    const char *etag = json_text_of(record, "@odata.etag");

    if (etag == NULL) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_WRITE, "reopen the opportunity");
        return;
    }
    operation->was_written = true;
    operation->etag = text_copy(etag);
    if (operation->etag != NULL) {
        dynamics_operation_go_on(operation, write_columns);
    } else {
        struct error local = ERROR_INIT;
        (void)error_no_memory(&local);
        dynamics_operation_fail_locally(operation, SYSTEM_UNKNOWN, &local);
    }
}

static int reopen(struct dynamics_operation *operation, struct error *err)
{
    static const struct config_list no_columns = {0};
    size_t length;
    char *body = dynamics_reopen_body(&operation->parts, &length);

    return patch_record(operation, body, length, &no_columns, "If-Match", operation->write.decision->expected_etag,
                        on_reopened, err);
}

int dynamics_write_next(struct dynamics_operation *operation, struct error *err)
{
    if (json_object_size(operation->parts.labels) > 0)
        return resolve_label(operation, err);
    if (json_object_size(operation->parts.lookups) > 0)
        return resolve_lookup(operation, err);
    return operation->parts.is_reopening ? reopen(operation, err) : write_columns(operation, err);
}
