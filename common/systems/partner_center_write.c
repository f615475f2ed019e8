#include "common/systems/partner_center_write.h"

#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/answer.h"
#include "common/systems/partner_center_read.h"
#include "common/systems/partner_center_referral.h"

void center_answer_written(struct center_operation *operation, json_t *referral, long status)
{
    json_auto_t *documents = json_array();
    struct error err = ERROR_INIT;

    if (documents == NULL || json_array_append_new(documents, referral_document("own", referral)) < 0) {
        (void)error_no_memory(&err);
        center_operation_fail_locally(operation, SYSTEM_UNKNOWN, &err);
        return;
    }
    struct system_answer done = {.result = SYSTEM_DONE,
                                 .documents = documents,
                                 .record_id = operation->record_id,
                                 .deal_key = operation->record_id,
                                 .is_certain = true,
                                 .status = status,
                                 .retry_after_ms = -1};
    center_operation_answer(operation, &done);
}

static void on_patched(void *arg, const struct http_response *response, const struct error *err)
{
    struct center_operation *operation = arg;
    json_auto_t *referral = NULL;
    const char *id;

    if (response != NULL && response->result == HTTP_ANSWERED && response->status == 204) {
        /* The service took the change and shows nothing: read it, without the certainty of the write's own answer. */
        operation->was_written = true;
        center_operation_go_on(operation, center_read_referral);
        return;
    }
    if (response == NULL || response->result != HTTP_ANSWERED || response->status < 200 || response->status > 299 ||
        (referral = answer_json(response)) == NULL || (id = json_string_value(json_at(referral, "id", true))) == NULL ||
        !text_equal_ignoring_case(id, operation->record_id)) {
        center_operation_fail(operation, response, err, CENTER_REQUEST_CHANGE, "change the referral");
        return;
    }
    center_answer_written(operation, referral, response->status);
}

int center_patch_referral(struct center_operation *operation, struct error *err)
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
    status = center_operation_send(operation, &request, on_patched, err);
out:
    free(url);
    free(body);
    return status;
}
