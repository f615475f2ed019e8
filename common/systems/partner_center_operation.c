#include "common/systems/partner_center_operation.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/systems/answer.h"
#include "common/systems/partner_center_referral.h"

/* -- requests ------------------------------------------------------------------------------------------------------ */

int center_send(const struct partner_center *center, struct api_request *request, api_callback on_response, void *arg,
                struct error *err)
{
    uint8_t random[16];
    char request_id[UUID_TEXT_SIZE];

    random_fill(random, sizeof(random));
    api_request_header(request, "Accept", "application/json");
    api_request_header(request, "Content-Type", "application/json");
    api_request_header(request, "client-request-id", uuid_from_random(random, request_id));
    return api_send(&center->api, request, on_response, arg, err);
}

char *center_page_url(const struct partner_center *center, const char *query)
{
    return text_format("%s?%s", center->base_url, query);
}

json_t *center_page_of(const struct http_response *response, json_t **ret_page)
{
    json_t *page, *referrals;

    if (response == NULL || response->result != HTTP_ANSWERED || response->status != 200)
        return NULL;
    page = answer_json(response);
    referrals = json_object_get(page, "value");
    if (!json_is_array(referrals)) {
        json_decref(page);
        return NULL;
    }
    *ret_page = page;
    return referrals;
}

static bool has_effect(enum center_request_kind kind)
{
    return kind == CENTER_REQUEST_CHANGE || kind == CENTER_REQUEST_CREATE;
}

enum system_result center_judge(const struct http_response *response, enum center_request_kind kind,
                                const char **ret_code)
{
    json_auto_t *body = NULL;
    enum system_result result;

    if (response->result != HTTP_ANSWERED)
        return answer_of_transport(response->result, has_effect(kind));
    if (response->status >= 200 && response->status < 300) {
        *ret_code = "partner_center.bad_response";
        return has_effect(kind) ? SYSTEM_UNKNOWN : SYSTEM_RETRY;
    }
    body = answer_json(response);
    result = referral_classify(response->status, body, has_effect(kind), ret_code);
    if (kind == CENTER_REQUEST_READ && response->status == 403 && result == SYSTEM_REFUSED)
        return SYSTEM_GONE; /* not visible to our user is as good as not there */
    if ((kind == CENTER_REQUEST_LIST || kind == CENTER_REQUEST_CREATE) && result == SYSTEM_GONE)
        return SYSTEM_REFUSED;
    return result;
}

/* -- operations ---------------------------------------------------------------------------------------------------- */

struct center_operation *center_operation_new(struct partner_center *center, const char *record_id,
                                              system_callback on_done, void *arg)
{
    struct center_operation *operation = calloc(1, sizeof(*operation));
    char normalised[UUID_TEXT_SIZE];

    if (operation == NULL)
        return NULL;
    operation->center = center;
    operation->on_done = on_done;
    operation->arg = arg;
    operation->started_us = clock_monotonic_us();
    operation->record_id = record_id == NULL ? NULL : text_copy(uuid_normalise(record_id, normalised));
    operation->referrals = json_array();
    if ((record_id != NULL && operation->record_id == NULL) || operation->referrals == NULL) {
        center_operation_free(operation);
        return NULL;
    }
    return operation;
}

void center_operation_free(struct center_operation *operation)
{
    free(operation->record_id);
    free(operation->engagement_id);
    free(operation->invited_id);
    free(operation->body);
    json_decref(operation->referrals);
    free(operation);
}

bool center_operation_is_creation(const struct center_operation *operation)
{
    return operation->write.decision != NULL && operation->write.decision->action == DECISION_CREATE;
}

bool center_operation_is_invitation(const struct center_operation *operation)
{
    return center_operation_is_creation(operation) && text_equal(operation->write.decision->record_type, "invitation");
}

int center_operation_send(struct center_operation *operation, struct api_request *request, api_callback on_response,
                          struct error *err)
{
    operation->calls++;
    return center_send(operation->center, request, on_response, operation, err);
}

void center_operation_go_on(struct center_operation *operation,
                            int (*next)(struct center_operation *operation, struct error *err))
{
    struct error err = ERROR_INIT;

    if (next(operation, &err) < 0)
        center_operation_fail_locally(operation, err.class == ERROR_POISON ? SYSTEM_REFUSED : SYSTEM_RETRY, &err);
}

/* -- answers ------------------------------------------------------------------------------------------------------- */

void center_operation_answer(struct center_operation *operation, struct system_answer *with)
{
    with->calls = operation->calls;
    with->duration_us = clock_monotonic_us() - operation->started_us;
    with->is_created = operation->is_created;
    if (with->record_id == NULL)
        with->record_id = operation->record_id;
    operation->on_done(operation->arg, with);
    center_operation_free(operation);
}

/* What a failure means for the operation as a whole. */
static void finish_failed(struct center_operation *operation, struct system_answer *failed)
{
    enum system_result result = failed->result;

    if (center_operation_is_creation(operation)) {
        /* Only the look-up itself says that there is nothing: what it has found is there, whoever may read it. */
        if (result == SYSTEM_GONE)
            result = SYSTEM_REFUSED;
        if (operation->was_written)
            result = SYSTEM_UNKNOWN;
    } else if (operation->was_written && (result == SYSTEM_RETRY || result == SYSTEM_BLOCKED)) {
        result = SYSTEM_UNKNOWN;
    }
    if (result != failed->result)
        failed->error.class = answer_error_class(result);
    failed->result = result;
    operation->is_created = false;
    center_operation_answer(operation, failed);
}

void center_operation_fail(struct center_operation *operation, const struct http_response *response,
                           const struct error *err, enum center_request_kind kind, const char *what)
{
    struct system_answer failed = {.retry_after_ms = -1};

    if (response == NULL) {
        answer_no_token(&failed, err, what);
    } else {
        const char *code = NULL;
        const enum system_result result = center_judge(response, kind, &code);
        answer_fail(&failed, response, result, code, what, timestamp_to_ms(clock_now()));
    }
    finish_failed(operation, &failed);
}

void center_operation_fail_locally(struct center_operation *operation, enum system_result result,
                                   const struct error *err)
{
    struct system_answer failed = {.result = result, .retry_after_ms = -1, .error = *err};

    finish_failed(operation, &failed);
}
