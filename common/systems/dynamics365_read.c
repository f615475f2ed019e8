#include "common/systems/dynamics365_read.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_query.h"

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
                                 .status = 200,
                                 .retry_after_ms = -1};
    dynamics_operation_answer(operation, &done);
    free(deal_key);
}

static void on_record(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    const struct config_list *columns = &operation->dynamics->settings->columns;
    json_auto_t *record = dynamics_is_success(response) ? answer_json(response) : NULL;
    const char *cut = dynamics_cut_collection(record, columns);
    struct error local = ERROR_INIT;

    if (record == NULL) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_READ, "read the CRM record");
        return;
    }
    if (cut != NULL) {
        (void)error_set(&local, ERROR_POISON, "dynamics_365.too_many_rows",
                        "the record has more child rows for '%s' than come with it", cut);
        dynamics_operation_fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_REFUSED, &local);
        return;
    }
    dynamics_memory_keep_expanded(&operation->dynamics->memory, columns, record, clock_monotonic_ms());
    dynamics_read_answer(operation, record, false);
}

static const json_t *create_key_of(const struct dynamics_operation *operation)
{
    return operation->write.decision == NULL ? NULL : operation->write.decision->create_key;
}

int dynamics_read_record(struct dynamics_operation *operation, struct error *err)
{
    const struct config_list *columns = &operation->dynamics->settings->columns;
    char *query = dynamics_query(operation->entity, columns, true);
    char *record = dynamics_path(operation->entity, operation->record_id, create_key_of(operation));
    char *path = query == NULL || record == NULL ? NULL : text_format("%s?%s", record, query);
    const struct dynamics_request request = {
        .method = HTTP_GET, .path = path, .prefer = dynamics_label_preference(columns)};
    int status = path == NULL ? error_no_memory(err) : dynamics_operation_send(operation, &request, on_record, err);

    free(query);
    free(record);
    free(path);
    return status;
}
