#include "common/systems/partner_center_read.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/partner_center_referral.h"

enum {
    ENGAGEMENT_PAGES_MAX = 10,
    KNOWN_ENGAGEMENTS_MAX = 20000 /* related referral -> engagement; forgotten as a whole when full */
};

/* Keeps which engagement the others' referrals belong to: they may be invisible when their event comes. */
static void remember_engagement(struct center_operation *operation, const json_t *own)
{
    json_t *known = operation->center->engagements;
    const json_t *referral;
    size_t i;

    if (operation->engagement_id == NULL)
        return;
    if (json_object_size(known) > KNOWN_ENGAGEMENTS_MAX)
        (void)json_object_clear(known);
    json_array_foreach (operation->referrals, i, referral) {
        const char *id = json_string_value(json_at(referral, "id", true));
        char normalised[UUID_TEXT_SIZE];
        /* A lost entry costs one more look-up by poll, nothing else. */
        if (referral != own && id != NULL && uuid_is_valid(id, strlen(id)))
            (void)json_object_set_new(known, uuid_normalise(id, normalised), json_string(operation->engagement_id));
    }
}

static json_t *documents_of(const json_t *referrals, json_t *own)
{
    json_t *documents = json_array();
    json_t *referral;
    size_t i;

    if (json_array_append_new(documents, referral_document("own", own)) < 0)
        goto failed;
    json_array_foreach (referrals, i, referral) {
        if (referral != own && json_array_append_new(documents, referral_document("related", referral)) < 0)
            goto failed;
    }
    return documents;
failed:
    json_decref(documents);
    return NULL;
}

static void answer_with_referrals(struct center_operation *operation)
{
    /* A related referral is not ours, whoever owns it. */
    const char *own_id = operation->is_related ? NULL : operation->record_id;
    json_t *own = referral_own_of(operation->referrals, own_id, operation->center->settings->organization_id);
    json_auto_t *documents = NULL;
    struct error err = ERROR_INIT;

    remember_engagement(operation, own);
    if (own == NULL) {
        (void)error_set(&err, ERROR_POISON, "partner_center.no_own_referral",
                        "the engagement shows no referral of our organisation");
        center_operation_fail_locally(operation, SYSTEM_GONE, &err);
        return;
    }
    documents = documents_of(operation->referrals, own);
    if (documents == NULL) {
        (void)error_no_memory(&err);
        center_operation_fail_locally(operation, SYSTEM_RETRY, &err);
        return;
    }
    const char *id = json_text_of(json_array_get(documents, 0), "id");
    struct system_answer done = {.result = SYSTEM_DONE,
                                 .documents = documents,
                                 .record_id = operation->invited_id != NULL ? operation->invited_id : id,
                                 .deal_key = id,
                                 .status = 200,
                                 .retry_after_ms = -1};
    center_operation_answer(operation, &done);
}

/* -- the engagement ------------------------------------------------------------------------------------------------ */

int center_list_engagement(struct center_operation *operation, const char *next_query, api_callback on_response,
                           struct error *err)
{
    const struct partner_center *center = operation->center;
    const char *quote = center->settings->quotes_guids ? "%27" : "";
    char *url = next_query != NULL ? center_page_url(center, next_query)
                                   : text_format("%s?$filter=engagementId%%20eq%%20%s%s%s", center->base_url, quote,
                                                 operation->engagement_id, quote);
    struct api_request request = {.method = HTTP_GET, .url = url};
    int status;

    if (url == NULL)
        return error_no_memory(err);
    operation->pages = next_query == NULL ? 1 : operation->pages + 1;
    status = center_operation_send(operation, &request, on_response, err);
    free(url);
    return status;
}

static bool has_referral(const struct center_operation *operation, const char *id)
{
    const json_t *referral;
    size_t i;

    json_array_foreach (operation->referrals, i, referral) {
        if (text_equal_ignoring_case(json_string_value(json_at(referral, "id", true)), id))
            return true;
    }
    return false;
}

int center_gather_engagement(struct center_operation *operation, const json_t *referrals, struct error *err)
{
    json_t *referral;
    size_t i;

    json_array_foreach (referrals, i, referral) {
        const char *id = json_string_value(json_at(referral, "id", true));
        const char *engagement = json_string_value(json_at(referral, "engagementId", true));

        if (id == NULL || engagement == NULL || !text_equal_ignoring_case(engagement, operation->engagement_id))
            return error_set(err, ERROR_POISON, "partner_center.foreign_record",
                             "asked for the referrals of one engagement, the answer shows another's");
        if (!has_referral(operation, id) && json_array_append(operation->referrals, referral) < 0)
            return error_no_memory(err);
    }
    return 0;
}

static void on_engagement(void *arg, const struct http_response *response, const struct error *err)
{
    struct center_operation *operation = arg;
    json_auto_t *page = NULL;
    const json_t *referrals = center_page_of(response, &page);
    struct error local = ERROR_INIT;
    const char *next = NULL;

    if (referrals == NULL) {
        center_operation_fail(operation, response, err, CENTER_REQUEST_LIST, "list the engagement's referrals");
        return;
    }
    if (center_gather_engagement(operation, referrals, &local) < 0) {
        center_operation_fail_locally(operation, local.class == ERROR_POISON ? SYSTEM_REFUSED : SYSTEM_RETRY, &local);
        return;
    }
    /* A link that leads nowhere is the end: ours was read by its id. */
    if (referral_next_query(page, &next) < 0 || next == NULL || operation->pages >= ENGAGEMENT_PAGES_MAX)
        answer_with_referrals(operation);
    else if (center_list_engagement(operation, next, on_engagement, &local) < 0)
        center_operation_fail_locally(operation, SYSTEM_RETRY, &local);
}

int center_read_engagement(struct center_operation *operation, struct error *err)
{
    return center_list_engagement(operation, NULL, on_engagement, err);
}

/* -- one referral -------------------------------------------------------------------------------------------------- */

/* Another party's referral may be invisible; its engagement may be known from an earlier list. */
static bool knows_engagement(struct center_operation *operation, const struct http_response *response)
{
    const char *engagement;

    if (!operation->is_related || response == NULL || response->result != HTTP_ANSWERED ||
        (response->status != 403 && response->status != 404))
        return false;
    engagement = json_text_of(operation->center->engagements, operation->record_id);
    operation->engagement_id = engagement == NULL ? NULL : text_copy(engagement);
    return operation->engagement_id != NULL;
}

static void take_referral(struct center_operation *operation, json_t *referral)
{
    const char *engagement = json_string_value(json_at(referral, "engagementId", true));
    struct error err = ERROR_INIT;

    if (json_array_append(operation->referrals, referral) < 0) {
        (void)error_no_memory(&err);
        center_operation_fail_locally(operation, SYSTEM_RETRY, &err);
        return;
    }
    if (engagement == NULL ||
        (!operation->is_related && !referral_is_shared(referral) && !referral_is_microsofts(referral))) {
        answer_with_referrals(operation);
        return;
    }
    if (text_assign(&operation->engagement_id, engagement, &err) < 0)
        center_operation_fail_locally(operation, SYSTEM_RETRY, &err);
    else
        center_operation_go_on(operation, center_read_engagement);
}

static void on_referral(void *arg, const struct http_response *response, const struct error *err)
{
    struct center_operation *operation = arg;
    json_auto_t *referral = NULL;
    struct error local = ERROR_INIT;
    const char *id;

    if (knows_engagement(operation, response)) {
        center_operation_go_on(operation, center_read_engagement);
        return;
    }
    if (response == NULL || response->result != HTTP_ANSWERED || response->status != 200 ||
        (referral = answer_json(response)) == NULL || (id = json_string_value(json_at(referral, "id", true))) == NULL) {
        center_operation_fail(operation, response, err, CENTER_REQUEST_READ, "read the referral");
        return;
    }
    if (!text_equal_ignoring_case(id, operation->record_id)) {
        (void)error_set(&local, ERROR_POISON, "partner_center.foreign_record",
                        "asked for one referral, the answer shows another");
        center_operation_fail_locally(operation, SYSTEM_REFUSED, &local);
        return;
    }
    take_referral(operation, referral);
}

int center_read_referral(struct center_operation *operation, struct error *err)
{
    char *url = text_format("%s/%s", operation->center->base_url, operation->record_id);
    struct api_request request = {.method = HTTP_GET, .url = url};
    int status;

    if (url == NULL)
        return error_no_memory(err);
    status = center_operation_send(operation, &request, on_referral, err);
    free(url);
    return status;
}
