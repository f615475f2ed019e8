#include "common/systems/dynamics365_read.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_query.h"
#include "common/systems/dynamics365_table.h"

static char *deal_key_of(const struct dynamics_365 *dynamics, const json_t *record, const char *id)
{
    const char *identifier = json_text_of(record, dynamics->settings->identifier_column);
    char normalised[UUID_TEXT_SIZE];

    if (identifier != NULL && uuid_is_valid(identifier, strlen(identifier)))
        return text_copy(uuid_normalise(identifier, normalised));
    return text_format("crm:%s", id);
}

void dynamics_read_answer(struct dynamics_operation *operation, json_t *record, bool is_from_write)
{
    const struct dynamics_365 *dynamics = operation->dynamics;
    json_auto_t *documents = json_array();
    json_t *document = dynamics_document(operation->entity, record, dynamics->user_id);
    char *deal_key = NULL;
    const char *id = NULL;
    struct error err = ERROR_INIT;

    dynamics_keep_labels(record, &dynamics->settings->columns);
    if (json_array_append_new(documents, document) == 0) {
        id = json_text_of(document, "id");
        deal_key = deal_key_of(dynamics, record, id);
    }
    if (deal_key == NULL) {
        (void)error_set(&err, ERROR_TRANSIENT, "dynamics_365.bad_response", "the answer shows no record");
        dynamics_operation_fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_RETRY, &err);
        return;
    }
    if (operation->record_id != NULL && !text_equal_ignoring_case(id, operation->record_id)) {
        (void)error_set(&err, ERROR_POISON, "dynamics_365.foreign_record",
                        "asked for one record, the answer shows another");
        free(deal_key);
        dynamics_operation_fail_locally(operation, SYSTEM_REFUSED, &err);
        return;
    }
    struct system_answer done = {.result = SYSTEM_DONE,
                                 .documents = documents,
                                 .record_id = id,
                                 .deal_key = deal_key,
                                 .is_certain = is_from_write || json_flag_of(document, "modified_by_us", false),
                                 .is_unfinished =
                                     operation->is_find && dynamics_was_begun(record, operation->write.decision),
                                 .status = 200,
                                 .retry_after_ms = -1,
                                 .error = operation->row.why};
    dynamics_operation_answer(operation, &done);
    free(deal_key);
}

/* -- child rows ---------------------------------------------------------------------------------------------------- */

static int complete(struct dynamics_operation *operation, struct error *err);

static int refuse_cut(const char *column, struct error *err)
{
    return error_set(err, ERROR_POISON, "dynamics_365.too_many_rows",
                     "the record has more child rows for '%s' than can be read", column);
}

/* Puts child rows that were read by themselves into the record. -1: out of memory. */
static int take_rows(struct dynamics_operation *operation, const char *column, json_t *rows)
{
    char *navigation = text_copy_n(column, strcspn(column, "["));
    int status = -1;

    if (navigation != NULL && json_object_set(operation->record, navigation, rows) == 0)
        status = json_object_set_new(operation->completed, navigation, json_true());
    free(navigation);
    return status;
}

static void on_collection(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    json_auto_t *page = dynamics_is_success(response) ? answer_json(response) : NULL;
    json_t *rows = json_object_get(page, "value");
    const char *column = NULL;
    struct error local = ERROR_INIT;

    if (!json_is_array(rows)) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY, "read child rows");
        return;
    }
    (void)dynamics_collections_of(operation->record, &operation->dynamics->settings->columns, operation->completed,
                                  &column);
    if (json_object_get(page, "@odata.nextLink") != NULL) {
        (void)refuse_cut(column, &local);
        dynamics_operation_fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_REFUSED, &local);
    } else if (take_rows(operation, column, rows) < 0) {
        (void)error_no_memory(&local);
        dynamics_operation_fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_RETRY, &local);
    } else {
        dynamics_operation_go_on(operation, complete);
    }
}

static int read_collection(struct dynamics_operation *operation, const char *column, struct error *err)
{
    const char *id = json_text_of(operation->record, dynamics_primary_key(operation->entity));
    char *query = dynamics_collection_query(operation->entity, &operation->dynamics->settings->columns, column);
    char *path = query == NULL ? NULL
                               : text_format("%s(%s)/%.*s?%s", dynamics_entity_set(operation->entity), id,
                                             (int)strcspn(column, "["), column, query);
    const struct dynamics_request request = {
        .method = HTTP_GET, .path = path, .precondition_name = "If-None-Match", .precondition = "null"};
    int status = path == NULL ? error_no_memory(err) : dynamics_operation_send(operation, &request, on_collection, err);

    free(query);
    free(path);
    return status;
}

/* The record as it was read, once its child rows are there as well. */
static int complete(struct dynamics_operation *operation, struct error *err)
{
    const struct config_list *columns = &operation->dynamics->settings->columns;
    const char *id = json_text_of(operation->record, dynamics_primary_key(operation->entity));
    const char *column = NULL;

    switch (dynamics_collections_of(operation->record, columns, operation->completed, &column)) {
    case DYNAMICS_COLLECTIONS_CUT:
        return refuse_cut(column, err);
    case DYNAMICS_COLLECTIONS_OPEN:
        if (id != NULL && uuid_is_valid(id, strlen(id)))
            return read_collection(operation, column, err);
        break;
    case DYNAMICS_COLLECTIONS_WHOLE:
        break;
    }
    dynamics_memory_keep_expanded(&operation->dynamics->memory, columns, operation->record, clock_monotonic_ms());
    dynamics_read_answer(operation, operation->record, false);
    return 0;
}

/* -- the record ---------------------------------------------------------------------------------------------------- */

static void on_record(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;

    operation->record = dynamics_is_success(response) ? answer_json(response) : NULL;
    if (operation->record == NULL) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_READ, "read the CRM record");
        return;
    }
    operation->completed = json_object();
    dynamics_operation_go_on(operation, complete);
}

static const json_t *create_key_of(const struct dynamics_operation *operation)
{
    return operation->write.decision == NULL ? NULL : operation->write.decision->create_key;
}

int dynamics_read_at(struct dynamics_operation *operation, char *record, api_callback on_response, struct error *err)
{
    const struct config_list *columns = &operation->dynamics->settings->columns;
    char *query = dynamics_query(operation->entity, columns, true);
    char *path = query == NULL || record == NULL ? NULL : text_format("%s?%s", record, query);
    /* "null" has the service answer from its tables and not from a cache. */
    const struct dynamics_request request = {.method = HTTP_GET,
                                             .path = path,
                                             .precondition_name =
                                                 dynamics_reads_collections(columns) ? "If-None-Match" : NULL,
                                             .precondition = "null",
                                             .prefer = dynamics_label_preference(columns)};
    int status = path == NULL ? error_no_memory(err) : dynamics_operation_send(operation, &request, on_response, err);

    free(query);
    free(record);
    free(path);
    return status;
}

int dynamics_read_record(struct dynamics_operation *operation, struct error *err)
{
    return dynamics_read_at(operation, dynamics_path(operation->entity, operation->record_id, create_key_of(operation)),
                            on_record, err);
}
