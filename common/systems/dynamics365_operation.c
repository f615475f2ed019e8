#include "common/systems/dynamics365_operation.h"

#include <stdlib.h>

#include "common/base/text.h"
#include "common/systems/answer.h"

struct dynamics_operation *dynamics_operation_new(struct dynamics_365 *dynamics, const char *entity,
                                                  const char *record_id, system_callback on_done, void *arg)
{
    struct dynamics_operation *operation = calloc(1, sizeof(*operation));

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
        dynamics_operation_free(operation);
        return NULL;
    }
    return operation;
}

void dynamics_operation_free(struct dynamics_operation *operation)
{
    free(operation->entity);
    free(operation->record_id);
    free(operation->navigation);
    free(operation->etag);
    dynamics_parts_done(&operation->parts);
    json_decref(operation->binds);
    json_decref(operation->record);
    json_decref(operation->completed);
    json_decref(operation->row.lookups);
    json_decref(operation->row.binds);
    free(operation);
}

void dynamics_operation_answer(struct dynamics_operation *operation, struct system_answer *with)
{
    with->calls = operation->calls;
    with->duration_us = clock_monotonic_us() - operation->started_us;
    with->is_created = operation->is_created;
    if (with->record_id == NULL)
        with->record_id = operation->record_id;
    operation->on_done(operation->arg, with);
    dynamics_operation_free(operation);
}

/* The end, unless it is a refusal that need not be one. */
static void end(struct dynamics_operation *operation, struct system_answer *failed)
{
    int (*const on_refused)(struct dynamics_operation *, const struct error *, struct error *) = operation->on_refused;
    struct error err = ERROR_INIT;

    if (failed->result != SYSTEM_REFUSED || on_refused == NULL)
        dynamics_operation_answer(operation, failed);
    else if (on_refused(operation, &failed->error, &err) < 0)
        dynamics_operation_fail_locally(operation, SYSTEM_UNKNOWN, &err);
}

void dynamics_operation_fail_locally(struct dynamics_operation *operation, enum system_result result,
                                     const struct error *err)
{
    struct system_answer failed = {.result = result, .retry_after_ms = -1, .error = *err};

    end(operation, &failed);
}

static struct dynamics_meaning judge(struct dynamics_operation *operation, const struct http_response *response,
                                     enum dynamics_request_kind kind)
{
    json_auto_t *body = answer_json(response);
    struct dynamics_meaning meaning = dynamics_classify(response->status, body, kind == DYNAMICS_REQUEST_WRITE);
    const enum system_result result = meaning.result;

    if (kind == DYNAMICS_REQUEST_AUXILIARY && (result == SYSTEM_GONE || result == SYSTEM_CONFLICT))
        meaning.result = SYSTEM_REFUSED;
    if (kind == DYNAMICS_REQUEST_WRITE && result == SYSTEM_GONE && json_object_size(operation->binds) > 0) {
        /* What a lookup points to answers like the record itself when it is missing. */
        dynamics_memory_forget(&operation->dynamics->memory);
        meaning.result = operation->record_id == NULL ? SYSTEM_RETRY : SYSTEM_CONFLICT;
    }
    return meaning;
}

void dynamics_operation_fail(struct dynamics_operation *operation, const struct http_response *response,
                             const struct error *err, enum dynamics_request_kind kind, const char *what)
{
    struct system_answer failed = {.retry_after_ms = -1};
    struct dynamics_meaning meaning = {0};

    if (response == NULL) {
        answer_no_token(&failed, err, what);
    } else {
        if (response->result != HTTP_ANSWERED) {
            meaning.result = answer_of_transport(response->result, kind == DYNAMICS_REQUEST_WRITE);
        } else if (response->status >= 200 && response->status < 300) {
            meaning.result = kind == DYNAMICS_REQUEST_WRITE ? SYSTEM_UNKNOWN : SYSTEM_RETRY;
            meaning.code = "dynamics_365.bad_response";
        } else {
            meaning = judge(operation, response, kind);
        }
        answer_fail(&failed, response, meaning.result, meaning.code, what, timestamp_to_ms(clock_now()));
        failed.is_unexplained = meaning.is_unexplained;
    }
    /* An earlier request of this operation has changed something; the caller has to judge by reading. */
    if (operation->was_written && (failed.result == SYSTEM_RETRY || failed.result == SYSTEM_BLOCKED)) {
        failed.result = SYSTEM_UNKNOWN;
        failed.error.class = answer_error_class(SYSTEM_UNKNOWN);
    }
    end(operation, &failed);
}

bool dynamics_is_success(const struct http_response *response)
{
    return response != NULL && response->result == HTTP_ANSWERED && response->status >= 200 && response->status < 300;
}

/* -- requests ------------------------------------------------------------------------------------------------------ */

int dynamics_send(const struct dynamics_365 *dynamics, const struct dynamics_request *request,
                  const struct system_write *write, api_callback on_response, void *arg, struct error *err)
{
    char *url = text_format("%s/%s", dynamics->base_url, request->path);
    struct api_request out = {.method = request->method,
                              .url = url,
                              .body = request->body,
                              .body_length = request->body_length,
                              .may_send = write == NULL ? NULL : write->may_send,
                              .may_send_arg = write == NULL ? NULL : write->may_send_arg};
    int status;

    if (url == NULL)
        return error_no_memory(err);
    api_request_header(&out, "Accept", "application/json");
    api_request_header(&out, "OData-Version", "4.0");
    api_request_header(&out, "OData-MaxVersion", "4.0");
    if (request->body != NULL)
        api_request_header(&out, "Content-Type", "application/json; charset=utf-8");
    api_request_header(&out, "Prefer", request->prefer);
    if (request->precondition_name != NULL)
        api_request_header(&out, request->precondition_name, request->precondition);
    status = api_send(&dynamics->api, &out, on_response, arg, err);
    free(url);
    return status;
}

int dynamics_operation_send(struct dynamics_operation *operation, const struct dynamics_request *request,
                            api_callback on_response, struct error *err)
{
    operation->calls++;
    return dynamics_send(operation->dynamics, request, &operation->write, on_response, operation, err);
}

int dynamics_operation_get(struct dynamics_operation *operation, const char *path, api_callback on_response,
                           struct error *err)
{
    const struct dynamics_request request = {.method = HTTP_GET, .path = path};

    return dynamics_operation_send(operation, &request, on_response, err);
}

int dynamics_operation_patch(struct dynamics_operation *operation, char *path, char *body, size_t length,
                             const char *precondition_name, const char *precondition, const char *prefer,
                             api_callback on_response, struct error *err)
{
    const struct dynamics_request request = {.method = HTTP_PATCH,
                                             .path = path,
                                             .body = body,
                                             .body_length = length,
                                             .precondition_name = precondition_name,
                                             .precondition = precondition,
                                             .prefer = prefer};
    int status = path == NULL || body == NULL ? error_no_memory(err)
                                              : dynamics_operation_send(operation, &request, on_response, err);

    free(path);
    free(body);
    return status;
}

void dynamics_operation_go_on(struct dynamics_operation *operation,
                              int (*next)(struct dynamics_operation *operation, struct error *err))
{
    struct error err = ERROR_INIT;

    if (next(operation, &err) == 0)
        return;
    if (err.class == ERROR_POISON && operation->on_refused != NULL)
        dynamics_operation_fail_locally(operation, SYSTEM_REFUSED, &err);
    else if (operation->was_written)
        dynamics_operation_fail_locally(operation, SYSTEM_UNKNOWN, &err);
    else
        dynamics_operation_fail_locally(operation, err.class == ERROR_POISON ? SYSTEM_REFUSED : SYSTEM_RETRY, &err);
}
