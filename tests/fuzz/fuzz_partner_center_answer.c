/* Whatever JSON the Referrals API answers, as a referral, a list or an error, each reader of it finds its way: a document
 * holds the referral, a link is only a query, and the chosen referral is one of the list. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/systems/partner_center_referral.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OURS   "6d1f2a30-9c4e-4b57-8a21-0c5e7f3b9d10"
#define WANTED "0d3b8f60-7c41-4e0a-8a51-6c2f9f5e1b22"

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_failure(const json_t *json)
{
    static const long statuses[] = {200, 400, 401, 403, 404, 409, 412, 429, 500, 503};

    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        const char *code = NULL;
        require(referral_classify(statuses[i], json, false, &code) != SYSTEM_UNKNOWN && code != NULL);
        (void)referral_classify(statuses[i], json, true, &code);
        require(code != NULL);
    }
}

static bool is_among(const json_t *referrals, const json_t *one)
{
    size_t index;
    json_t *each;
    json_array_foreach (referrals, index, each) {
        if (each == one)
            return true;
    }
    return one == NULL;
}

static void check_list(const json_t *json)
{
    const char *query = NULL;
    const json_t *referrals = json_object_get(json, "value");

    if (referral_next_query(json, &query) == 0 && query != NULL)
        require(*query != '\0' && strlen(query) <= REFERRAL_QUERY_BYTES_MAX);
    if (!json_is_array(referrals))
        referrals = json;
    require(is_among(referrals, referral_own_of(referrals, WANTED, OURS)));
    require(is_among(referrals, referral_own_of(referrals, WANTED, NULL)));
    require(is_among(referrals, referral_microsofts_of(referrals)));
    require(is_among(referrals, referral_naming(referrals, WANTED, OURS)));
    require(is_among(referrals, referral_naming(referrals, WANTED, NULL)));
}

static void check_referral(json_t *json)
{
    struct timestamp moment;
    require(timestamp_parse("2026-01-01T00:00:00Z", false, &moment));
    (void)referral_is_microsofts(json);
    (void)referral_is_shared(json);
    (void)referral_was_created_before(json, moment);
    json_t *document = referral_document("own", json);
    require(document == NULL || json_object_get(document, "body") == json);
    json_decref(document);
    json_t *key = json_pack("{s:s}", "externalReferenceId", WANTED);
    require(key != NULL);
    /* The same JSON as what was to be written: it is shown by itself where it can be written at all. */
    for (int form = REFERRAL_NUMBER; form <= REFERRAL_TEXT; form++) {
        struct error err = ERROR_INIT;
        size_t length;
        char *patch = referral_patch(json, (enum referral_number_form)form, &length, &err);
        require(patch != NULL || err.class == ERROR_POISON);
        char *creation = referral_creation(json, key, (enum referral_number_form)form, &length, &err);
        require(creation != NULL || err.class == ERROR_POISON);
        free(patch);
        free(creation);
    }
    json_decref(key);
    (void)referral_shows(json, json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_fault fault;
    json_auto_t *json = NULL;
    if (json_read((const char *)data, size, &JSON_LIMITS_OWN, &json, &fault) < 0)
        return 0;
    check_failure(json);
    check_list(json);
    if (json_is_object(json))
        check_referral(json);
    return 0;
}
