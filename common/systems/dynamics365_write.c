#include "common/systems/dynamics365_write.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_bind.h"
#include "common/systems/dynamics365_query.h"
#include "common/systems/dynamics365_read.h"
#include "common/systems/dynamics365_rows.h"
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

/* With its child rows, if it has any: then it is closed, or read. */
static int finish(struct dynamics_operation *operation, struct error *err)
{
    return operation->parts.is_closing ? close_opportunity(operation, err) : dynamics_read_record(operation, err);
}

static bool has_rows(const struct dynamics_operation *operation)
{
    return json_array_size(operation->parts.children) > 0;
}

/* The record to create exists; one that has rows may have been begun by ourselves. */
static bool is_to_be_resumed(const struct dynamics_operation *operation, const struct http_response *response)
{
    json_auto_t *body = NULL;

    if (!has_rows(operation) || response == NULL || response->result != HTTP_ANSWERED)
        return false;
    body = answer_json(response);
    return dynamics_classify(response->status, body, true).result == SYSTEM_CONFLICT;
}

static void on_written(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    const struct dynamics_365 *dynamics = operation->dynamics;
    json_auto_t *record = dynamics_is_success(response) ? answer_json(response) : NULL;
    bool is_complete = false;

    operation->after_rows = finish;
    if (is_to_be_resumed(operation, response)) {
        dynamics_operation_go_on(operation, dynamics_rows_resume);
        return;
    }
    if (!dynamics_is_success(response) || (record == NULL && response->body_length > 0)) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_WRITE, "write the CRM record");
        return;
    }
    operation->was_written = true;
    operation->is_created = response->status == 201;
    if (!learn_record_id(operation, response, record)) /* by the alternate key */
        dynamics_operation_go_on(operation, has_rows(operation) ? dynamics_rows_resume : dynamics_read_record);
    else if (has_rows(operation))
        dynamics_operation_go_on(operation, dynamics_rows_begin);
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

    if (prefer == NULL) {
        free(path);
        free(body);
        status = error_no_memory(err);
    } else {
        status = dynamics_operation_patch(operation, path, body, length, precondition_name, precondition, prefer,
                                          on_response, err);
    }
    free(record);
    free(query);
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

static int bind_lookups(struct dynamics_operation *operation, struct error *err)
{
    operation->binding = (struct dynamics_binding){
        .lookups = operation->parts.lookups, .binds = operation->binds, .next = dynamics_write_next};
    return dynamics_bind_next(operation, err);
}

int dynamics_write_next(struct dynamics_operation *operation, struct error *err)
{
    if (json_object_size(operation->parts.labels) > 0)
        return resolve_label(operation, err);
    if (json_object_size(operation->parts.lookups) > 0)
        return bind_lookups(operation, err);
    return operation->parts.is_reopening ? reopen(operation, err) : write_columns(operation, err);
}
