#include "common/systems/partner_center_create.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/base/uuid.h"
#include "common/http/syntax.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/partner_center_read.h"
#include "common/systems/partner_center_referral.h"
#include "common/systems/partner_center_write.h"

enum {
    LOOK_PAGES_MAX = 100,     /* with all that is younger than the decision */
    LOOK_MARGIN_MS = 3600000, /* by which the service's clock and ours may differ */
    CRM_ID_BYTES_MAX = 512
};

/* Names MS-RequestId by the decision: a repeat says the same (RFC 9562, version 5). */
static const char REQUEST_NAMESPACE[] = "6f0c7f1e-52c1-4a0d-9d3b-8a1f4de0c7b2";

static const char *key_of(const struct decision *decision, const char *name)
{
    return json_object_size(decision->create_key) == 1 ? json_text_of(decision->create_key, name) : NULL;
}

int center_check_creation(const struct decision *decision, struct error *err)
{
    const char *key;

    if (text_equal(decision->record_type, "referral")) {
        key = key_of(decision, "externalReferenceId");
        if (key == NULL || key[0] == '\0' || strlen(key) > CRM_ID_BYTES_MAX)
            return error_set(err, ERROR_POISON, "partner_center.no_key",
                             "a referral is created only with the CRM record's id, by which it is found again");
        return 0;
    }
    if (!text_equal(decision->record_type, "invitation"))
        return error_set(err, ERROR_POISON, "partner_center.action", "only referrals and invitations are created");
    key = key_of(decision, "engagementId");
    if (key == NULL || !uuid_is_valid(key, strlen(key)))
        return error_set(err, ERROR_POISON, "partner_center.no_key", "Microsoft is invited only to an engagement");
    return 0;
}

bool center_shows_creation(const json_t *documents, const struct decision *decision)
{
    const json_t *document;
    size_t i;

    if (!text_equal(decision->record_type, "invitation")) {
        const json_t *own = json_object_get(record_document_of(documents, "own"), "body");
        const char *named = json_string_value(json_at(own, "externalReferenceId", true));
        const char *key = key_of(decision, "externalReferenceId");
        return named != NULL && key != NULL && text_equal_ignoring_case(named, key);
    }
    json_array_foreach (documents, i, document) {
        if (referral_is_microsofts(json_object_get(document, "body")))
            return true;
    }
    return false;
}

/* -- the POST ------------------------------------------------------------------------------------------------------ */

static bool keep_id(char **kept, const char *id)
{
    char normalised[UUID_TEXT_SIZE];

    if (id == NULL || !uuid_is_valid(id, strlen(id)))
        return false;
    free(*kept);
    *kept = text_copy(uuid_normalise(id, normalised));
    return *kept != NULL;
}

/* How our referral stands now, with Microsoft's. */
static int read_again(struct center_operation *operation, struct error *err)
{
    return operation->record_id != NULL ? center_read_referral(operation, err) : center_read_engagement(operation, err);
}

static void take_invitation(struct center_operation *operation, json_t *referral)
{
    struct error err = ERROR_INIT;

    (void)json_array_clear(operation->referrals);
    if (referral_is_microsofts(referral)) {
        (void)keep_id(&operation->invited_id, json_string_value(json_at(referral, "id", true)));
        if (json_array_append(operation->referrals, referral) < 0) {
            (void)error_no_memory(&err);
            center_operation_fail_locally(operation, SYSTEM_RETRY, &err);
            return;
        }
    }
    center_operation_go_on(operation, read_again);
}

static int look(struct center_operation *operation, struct error *err);

static bool is_clash(const struct http_response *response)
{
    const char *code = NULL;

    return response != NULL && response->result == HTTP_ANSWERED &&
           center_judge(response, CENTER_REQUEST_CREATE, &code) == SYSTEM_CONFLICT;
}

/* The new referral an answer to a POST shows; NULL when it shows none. */
static json_t *created_referral(const struct center_operation *operation, const struct http_response *response)
{
    json_auto_t *referral = NULL;
    const char *id, *engagement;

    if (response == NULL || response->result != HTTP_ANSWERED || response->status < 200 || response->status > 299)
        return NULL;
    referral = answer_json(response);
    id = json_string_value(json_at(referral, "id", true));
    engagement = json_string_value(json_at(referral, "engagementId", true));
    if (id == NULL || !uuid_is_valid(id, strlen(id)))
        return NULL;
    if (center_operation_is_invitation(operation)
            ? engagement == NULL || !text_equal_ignoring_case(engagement, operation->engagement_id)
            : referral_is_microsofts(referral))
        return NULL;
    return json_incref(referral);
}

static void on_posted(void *arg, const struct http_response *response, const struct error *err)
{
    struct center_operation *operation = arg;
    json_auto_t *referral = NULL;
    struct error local = ERROR_INIT;

    if (is_clash(response)) {
        operation->has_clashed = true;
        (void)json_array_clear(operation->referrals);
        center_operation_go_on(operation, look);
        return;
    }
    referral = created_referral(operation, response);
    if (referral == NULL) {
        center_operation_fail(operation, response, err, CENTER_REQUEST_CREATE,
                              center_operation_is_invitation(operation) ? "invite Microsoft" : "create the referral");
        return;
    }
    operation->was_written = true;
    operation->is_created = true;
    if (center_operation_is_invitation(operation)) {
        take_invitation(operation, referral);
    } else if (keep_id(&operation->record_id, json_string_value(json_at(referral, "id", true)))) {
        center_answer_written(operation, referral, response->status);
    } else {
        (void)error_no_memory(&local);
        center_operation_fail_locally(operation, SYSTEM_UNKNOWN, &local);
    }
}

static int post(struct center_operation *operation, struct error *err)
{
    const char *decision_id = operation->write.decision->id;
    struct api_request request = {.method = HTTP_POST,
                                  .url = operation->center->base_url,
                                  .body = operation->body,
                                  .body_length = operation->body_length,
                                  .may_send = operation->write.may_send,
                                  .may_send_arg = operation->write.may_send_arg};
    char request_id[UUID_TEXT_SIZE];

    if (uuid_from_name(REQUEST_NAMESPACE, decision_id, strlen(decision_id), request_id) == NULL)
        return error_no_memory(err);
    api_request_header(&request, "MS-RequestId", request_id);
    return center_operation_send(operation, &request, on_posted, err);
}

/* -- the look ------------------------------------------------------------------------------------------------------ */

static void take_absence(struct center_operation *operation)
{
    struct error err = ERROR_INIT;

    if (!operation->is_find && !operation->has_clashed) {
        center_operation_go_on(operation, post);
        return;
    }
    struct system_answer absent = {.result = operation->is_find ? SYSTEM_GONE : SYSTEM_CONFLICT, .retry_after_ms = -1};
    if (operation->is_find)
        (void)error_set(&err, ERROR_POISON, "partner_center.not_found", "what was to be created is not there");
    else
        (void)error_set(&err, ERROR_TRANSIENT, "partner_center.conflict",
                        "what is to be created is said to exist, and is not found");
    absent.error = err;
    center_operation_answer(operation, &absent);
}

/* The look cannot tell, so nothing is created. */
static void take_riddle(struct center_operation *operation, const char *code, const char *why)
{
    struct error err = ERROR_INIT;

    (void)error_set(&err, ERROR_POISON, code, "%s: whether it was created already is not known", why);
    center_operation_fail_locally(operation, SYSTEM_REFUSED, &err);
}

static void take_bound(struct center_operation *operation)
{
    take_riddle(operation, "partner_center.lookup_incomplete", "there are more referrals than a look-up reads");
}

static void take_bad_page(struct center_operation *operation)
{
    take_riddle(operation, "partner_center.bad_response", "a list of referrals cannot be followed");
}

/* `next_query`: NULL for the first page. */
static int look_among_newest(struct center_operation *operation, const char *next_query, struct error *err);

static bool has_passed_decision(const struct center_operation *operation, const json_t *referrals)
{
    const size_t count = json_array_size(referrals);
    struct timestamp decided;

    return count == 0 || !timestamp_parse(operation->write.decision->decided_at, true, &decided) ||
           referral_was_created_before(json_array_get(referrals, count - 1),
                                       timestamp_add_ms(decided, -LOOK_MARGIN_MS));
}

static void on_newest(void *arg, const struct http_response *response, const struct error *err)
{
    struct center_operation *operation = arg;
    const struct partner_center_settings *settings = operation->center->settings;
    json_auto_t *page = NULL;
    const json_t *referrals = center_page_of(response, &page);
    const json_t *found;
    struct error local = ERROR_INIT;
    const char *next = NULL;

    if (referrals == NULL) {
        center_operation_fail(operation, response, err, CENTER_REQUEST_LIST, "look for the referral");
        return;
    }
    found =
        referral_naming(referrals, key_of(operation->write.decision, "externalReferenceId"), settings->organization_id);
    if (found != NULL && keep_id(&operation->record_id, json_string_value(json_at(found, "id", true))))
        center_operation_go_on(operation, center_read_referral);
    else if (found != NULL || referral_next_query(page, &next) < 0)
        take_bad_page(operation);
    else if (next == NULL || (operation->pages >= settings->lookup_pages && has_passed_decision(operation, referrals)))
        take_absence(operation);
    else if (operation->pages >= LOOK_PAGES_MAX)
        take_bound(operation);
    else if (look_among_newest(operation, next, &local) < 0)
        center_operation_fail_locally(operation, SYSTEM_RETRY, &local);
}

/* By a filter the service takes or refuses; by the newest first it always can. */
static char *first_query(const struct center_operation *operation)
{
    struct text literal;
    char *encoded = NULL, *query = NULL;
    bool is_complete = true;

    if (operation->center->settings->lookup == PARTNER_CENTER_LOOKUP_LIST)
        return text_copy("$orderby=createdDateTime%20desc");
    text_init(&literal, (size_t)2 * CRM_ID_BYTES_MAX);
    for (const char *at = key_of(operation->write.decision, "externalReferenceId"); *at != '\0' && is_complete; at++)
        is_complete = text_append_char(&literal, *at) == 0 && (*at != '\'' || text_append_char(&literal, '\'') == 0);
    if (is_complete)
        encoded = http_encode(text_string(&literal));
    if (encoded != NULL)
        query = text_format("$filter=externalReferenceId%%20eq%%20%%27%s%%27", encoded);
    text_done(&literal);
    free(encoded);
    return query;
}

static int look_among_newest(struct center_operation *operation, const char *next_query, struct error *err)
{
    char *query = next_query != NULL ? text_copy(next_query) : first_query(operation);
    char *url = query == NULL ? NULL : center_page_url(operation->center, query);
    struct api_request request = {.method = HTTP_GET, .url = url};
    int status;

    operation->pages = next_query == NULL ? 1 : operation->pages + 1;
    status = url == NULL ? error_no_memory(err) : center_operation_send(operation, &request, on_newest, err);
    free(query);
    free(url);
    return status;
}

/* Microsoft's referral is there: with ours as it stands, read by its id where it is known. */
static void take_microsofts(struct center_operation *operation, json_t *found)
{
    json_auto_t *microsofts = json_incref(found);

    take_invitation(operation, microsofts);
}

static void on_engagement(void *arg, const struct http_response *response, const struct error *err)
{
    struct center_operation *operation = arg;
    json_auto_t *page = NULL;
    const json_t *referrals = center_page_of(response, &page);
    struct error local = ERROR_INIT;
    const char *next = NULL;
    json_t *found;

    if (referrals == NULL) {
        center_operation_fail(operation, response, err, CENTER_REQUEST_LIST, "list the engagement's referrals");
        return;
    }
    if (center_gather_engagement(operation, referrals, &local) < 0) {
        center_operation_fail_locally(operation, local.class == ERROR_POISON ? SYSTEM_REFUSED : SYSTEM_RETRY, &local);
        return;
    }
    if (operation->record_id == NULL)
        (void)keep_id(&operation->record_id,
                      json_string_value(json_at(
                          referral_own_of(operation->referrals, NULL, operation->center->settings->organization_id),
                          "id", true)));
    found = referral_microsofts_of(operation->referrals);
    if (found != NULL)
        take_microsofts(operation, found);
    else if (referral_next_query(page, &next) < 0)
        take_bad_page(operation);
    else if (next == NULL)
        take_absence(operation);
    else if (operation->pages >= LOOK_PAGES_MAX)
        take_bound(operation);
    else if (center_list_engagement(operation, next, on_engagement, &local) < 0)
        center_operation_fail_locally(operation, SYSTEM_RETRY, &local);
}

static int look(struct center_operation *operation, struct error *err)
{
    if (center_operation_is_invitation(operation))
        return center_list_engagement(operation, NULL, on_engagement, err);
    return look_among_newest(operation, NULL, err);
}

int center_create(struct center_operation *operation, struct error *err)
{
    const struct decision *decision = operation->write.decision;

    if (center_operation_is_invitation(operation) &&
        !keep_id(&operation->engagement_id, key_of(decision, "engagementId")))
        return error_no_memory(err);
    if (!operation->is_find) {
        operation->body = referral_creation(decision->write, decision->create_key,
                                            (enum referral_number_form)operation->center->settings->deal_value_form,
                                            &operation->body_length, err);
        if (operation->body == NULL)
            return -1;
    }
    return look(operation, err);
}
