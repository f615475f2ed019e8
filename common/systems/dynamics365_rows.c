#include "common/systems/dynamics365_rows.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_bind.h"
#include "common/systems/dynamics365_child.h"
#include "common/systems/dynamics365_query.h"
#include "common/systems/dynamics365_read.h"
#include "common/systems/dynamics365_table.h"

static int next_row(struct dynamics_operation *operation, struct error *err);

static const json_t *current(const struct dynamics_operation *operation)
{
    return json_array_get(operation->parts.children, operation->row.place);
}

/* What is known of the row under way, as far as that is to be resolved again. */
static void forget_row(struct dynamics_operation *operation)
{
    json_decref(operation->row.lookups);
    json_decref(operation->row.binds);
    operation->row.lookups = NULL;
    operation->row.binds = NULL;
}

static void leave_row(struct dynamics_operation *operation)
{
    forget_row(operation);
    operation->row.is_repeated = false;
    operation->row.place++;
}

/* The others are made nevertheless; the first refusal is told. */
static int refuse_row(struct dynamics_operation *operation, const struct error *why, struct error *err)
{
    struct dynamics_row_progress *row = &operation->row;

    if (row->refused++ == 0) {
        row->why = *why;
        (void)error_wrap(&row->why, "the record was created without row %zu of %zu, table '%s'", row->place + 1,
                         json_array_size(operation->parts.children),
                         json_text_of(json_object_get(current(operation), "table"), "entity"));
    }
    leave_row(operation);
    return next_row(operation, err);
}

/* -- one row ------------------------------------------------------------------------------------------------------- */

/* Made, or there already: by an earlier attempt of ours. */
static bool is_there(const struct http_response *response, enum system_result meaning)
{
    json_auto_t *body = NULL;

    if (!dynamics_is_success(response))
        return meaning == SYSTEM_CONFLICT;
    if (response->body_length == 0)
        return true;
    body = answer_json(response); /* a page of something in between says nothing */
    return body != NULL;
}

static enum system_result meaning_of(const struct http_response *response)
{
    json_auto_t *body = NULL;

    if (response == NULL || response->result != HTTP_ANSWERED)
        return SYSTEM_RETRY;
    body = answer_json(response);
    return dynamics_classify(response->status, body, false).result;
}

static void on_row(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    const enum system_result meaning = meaning_of(response);

    if (is_there(response, meaning)) {
        leave_row(operation);
        dynamics_operation_go_on(operation, next_row);
    } else if (meaning == SYSTEM_GONE && !operation->row.is_repeated) {
        /* What a lookup points to is missing: it was remembered, or made by somebody else under another id. */
        dynamics_memory_forget(&operation->dynamics->memory);
        forget_row(operation);
        operation->row.is_repeated = true;
        dynamics_operation_go_on(operation, next_row);
    } else {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY, "make a child row");
    }
}

static int send_row(struct dynamics_operation *operation, struct error *err)
{
    const json_t *child = current(operation);
    struct dynamics_table table;
    char id[UUID_TEXT_SIZE];
    size_t length = 0;
    char *body = dynamics_child_body(child, dynamics_entity_set(operation->entity), operation->record_id,
                                     operation->row.binds, &length);
    char *path = NULL;

    if (dynamics_table_of(json_object_get(child, "table"), &table) &&
        dynamics_child_id(child, operation->record_id, id) == 0)
        path = text_format("%s(%s)", table.set, id);
    return dynamics_operation_patch(operation, path, body, length, "If-None-Match", "*", NULL, on_row, err);
}

/* -- when all are there -------------------------------------------------------------------------------------------- */

static void on_marked(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;

    if (dynamics_is_success(response))
        dynamics_operation_go_on(operation, operation->after_rows);
    else
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_READ, "finish the CRM record");
}

/* Also gives the record a version that is later than its rows, which have none of their own: a reading made before all of
 * them were there is known by it to be older. */
static int mark(struct dynamics_operation *operation, struct error *err)
{
    const struct decision *decision = operation->write.decision;
    const size_t refused = operation->row.refused;
    char *remark, *body;
    size_t length = 0;

    operation->on_refused = NULL;
    if (!dynamics_has_audit(decision))
        return operation->after_rows(operation, err);
    remark = refused == 0
                 ? text_copy("")
                 : text_format(". %zu of %zu rows were refused; an administrator finds the details in Tandem's "
                               "audit",
                               refused, json_array_size(operation->parts.children));
    body = remark == NULL ? NULL : dynamics_mark_body(decision, remark, &length);
    free(remark);
    return dynamics_operation_patch(operation, dynamics_path(operation->entity, operation->record_id, NULL), body,
                                    length, "If-Match", "*", NULL, on_marked, err);
}

static int begin_row(struct dynamics_operation *operation, struct error *err)
{
    operation->row.lookups = json_deep_copy(json_object_get(current(operation), "lookups"));
    operation->row.binds = json_object();
    if (operation->row.lookups != NULL && operation->row.binds != NULL)
        return 0;
    forget_row(operation);
    return error_no_memory(err);
}

static int next_row(struct dynamics_operation *operation, struct error *err)
{
    if (operation->row.place >= json_array_size(operation->parts.children))
        return mark(operation, err);
    if (operation->row.lookups == NULL && begin_row(operation, err) < 0)
        return -1;
    if (json_object_size(operation->row.lookups) == 0)
        return send_row(operation, err);
    operation->binding = (struct dynamics_binding){
        .lookups = operation->row.lookups, .binds = operation->row.binds, .does_remember = true, .next = next_row};
    return dynamics_bind_next(operation, err);
}

int dynamics_rows_begin(struct dynamics_operation *operation, struct error *err)
{
    operation->on_refused = refuse_row;
    return next_row(operation, err);
}

/* -- a record that was begun --------------------------------------------------------------------------------------- */

static void answer_conflict(struct dynamics_operation *operation)
{
    struct system_answer failed = {.result = SYSTEM_CONFLICT, .status = 412, .retry_after_ms = -1};

    (void)error_set(&failed.error, answer_error_class(SYSTEM_CONFLICT), "dynamics_365.conflict",
                    "the CRM record to create exists already");
    dynamics_operation_answer(operation, &failed);
}

static bool is_closed_as_wanted(const struct dynamics_operation *operation, const json_t *record)
{
    return operation->parts.is_closing && json_integer_of(record, "statecode", -1) == operation->parts.state;
}

static void on_existing(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    json_auto_t *record = dynamics_is_success(response) ? answer_json(response) : NULL;
    const char *id = json_text_of(record, dynamics_primary_key(operation->entity));
    struct error local = ERROR_INIT;

    if (id == NULL || !uuid_is_valid(id, strlen(id))) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_READ, "read the CRM record that exists");
        return;
    }
    if (!dynamics_was_begun(record, operation->write.decision)) {
        answer_conflict(operation);
        return;
    }
    operation->record_id = text_copy(id);
    if (operation->record_id == NULL) {
        (void)error_no_memory(&local);
        dynamics_operation_fail_locally(operation, SYSTEM_RETRY, &local);
        return;
    }
    operation->was_written = true;
    operation->is_created = true;
    if (is_closed_as_wanted(operation, record))
        operation->parts.is_closing = false;
    dynamics_operation_go_on(operation, dynamics_rows_begin);
}

int dynamics_rows_resume(struct dynamics_operation *operation, struct error *err)
{
    return dynamics_read_at(operation, dynamics_path(operation->entity, NULL, operation->write.decision->create_key),
                            on_existing, err);
}
