#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/systems/answer.h"
#include "common/systems/partner_center_operation.h"
#include "common/systems/partner_center_referral.h"

/* Pages are asked for one at a time; nothing is kept between them. */
struct listing {
    system_page_callback on_page;
    void *arg;
    int64_t started_us;
};

#define SHARED(status_) \
    "$filter=type%20eq%20%27Shared%27%20and%20status%20eq%20%27" status_ "%27&$orderby=updatedDateTime%20desc"
static const char *const QUERIES[] = {
    [PARTNER_CENTER_UPDATED] = "$orderby=updatedDateTime%20desc",
    [PARTNER_CENTER_CREATED] = "$orderby=createdDateTime%20desc",
    [PARTNER_CENTER_SHARED_ACTIVE] = SHARED("Active"),
    [PARTNER_CENTER_SHARED_NEW] = SHARED("New"),
};
#undef SHARED

static void answer_page(struct listing *listing, struct system_page *page)
{
    page->duration_us = clock_monotonic_us() - listing->started_us;
    listing->on_page(listing->arg, page);
    free(listing);
}

static void fail(struct listing *listing, const struct http_response *response, const struct error *err)
{
    struct system_answer failed = {.retry_after_ms = -1};

    if (response == NULL) {
        answer_no_token(&failed, err, "list referrals");
    } else {
        const char *code = NULL;
        const enum system_result result = center_judge(response, CENTER_REQUEST_LIST, &code);
        answer_fail(&failed, response, result, code, "list referrals", timestamp_to_ms(clock_now()));
    }
    struct system_page page = {.result = failed.result,
                               .status = failed.status,
                               .retry_after_ms = failed.retry_after_ms,
                               .error = failed.error};
    answer_page(listing, &page);
}

static void fail_locally(struct listing *listing, enum system_result result, const struct error *err)
{
    struct system_page page = {.result = result, .retry_after_ms = -1, .error = *err};

    answer_page(listing, &page);
}

/* One entry that cannot be told from others does not hold up those after it. NULL when out of memory. */
static json_t *documents_of(const json_t *referrals, size_t *ret_skipped)
{
    json_t *documents = json_array();
    json_t *referral;
    size_t i, skipped = 0;

    json_array_foreach (referrals, i, referral) {
        const char *id = json_string_value(json_at(referral, "id", true));

        if (id == NULL || !uuid_is_valid(id, strlen(id))) {
            skipped++;
        } else if (json_array_append_new(
                       documents, referral_document(referral_is_microsofts(referral) ? "related" : "own", referral)) <
                   0) {
            json_decref(documents);
            return NULL;
        }
    }
    *ret_skipped = skipped;
    return documents;
}

static void on_page(void *arg, const struct http_response *response, const struct error *err)
{
    struct listing *listing = arg;
    json_auto_t *body = NULL;
    json_auto_t *documents = NULL;
    const json_t *referrals = center_page_of(response, &body);
    struct system_page page = {.result = SYSTEM_DONE, .status = 200, .retry_after_ms = -1};
    struct error local = ERROR_INIT;

    if (referrals == NULL) {
        fail(listing, response, err);
        return;
    }
    if (referral_next_query(body, &page.next) < 0) {
        (void)error_set(&local, ERROR_POISON, "partner_center.bad_response", "a list goes on, but does not say where");
        fail_locally(listing, SYSTEM_REFUSED, &local);
        return;
    }
    documents = documents_of(referrals, &page.skipped);
    if (documents == NULL) {
        (void)error_no_memory(&local);
        fail_locally(listing, SYSTEM_RETRY, &local);
        return;
    }
    page.documents = documents;
    answer_page(listing, &page);
}

int partner_center_list(struct system *system, enum partner_center_listing what, const char *next,
                        system_page_callback callback, void *arg, struct error *err)
{
    const struct partner_center *center = (const struct partner_center *)system;
    struct listing *listing = calloc(1, sizeof(*listing));
    char *url = center_page_url(center, next != NULL ? next : QUERIES[what]);
    struct api_request request = {.method = HTTP_GET, .url = url};
    int status = -1;

    if (listing == NULL || url == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    *listing = (struct listing){.on_page = callback, .arg = arg, .started_us = clock_monotonic_us()};
    status = center_send(center, &request, on_page, listing, err);
out:
    if (status < 0)
        free(listing);
    free(url);
    return status;
}
