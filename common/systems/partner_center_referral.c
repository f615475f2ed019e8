#include "common/systems/partner_center_referral.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"

/* Codes are compared without regard to case: the documentation's own sample departs from its list. */
static const struct {
    const char *code;
    enum system_result result;
} REFERRAL_CODES[] = {
    {"accessDenied", SYSTEM_REFUSED},      {"invalidRequest", SYSTEM_REFUSED},
    {"itemNotFound", SYSTEM_GONE},         {"preconditionFailed", SYSTEM_CONFLICT},
    {"resourceModified", SYSTEM_CONFLICT}, {"serviceNotAvailable", SYSTEM_RETRY},
    {"unauthenticated", SYSTEM_BLOCKED},   {"unAuthorized", SYSTEM_BLOCKED},
};

static const char *word_of(enum system_result result)
{
    switch (result) {
    case SYSTEM_DONE:
        return "done";
    case SYSTEM_CONFLICT:
        return "partner_center.conflict";
    case SYSTEM_GONE:
        return "partner_center.not_found";
    case SYSTEM_REFUSED:
        return "partner_center.refused";
    case SYSTEM_RETRY:
        return "partner_center.unavailable";
    case SYSTEM_UNKNOWN:
        return "partner_center.unknown_outcome";
    case SYSTEM_BLOCKED:
        return "partner_center.sign_in";
    }
    return "partner_center.refused";
}

enum system_result referral_classify(long status, const json_t *body, bool has_effect, const char **ret_code)
{
    const char *code = json_text_of(json_object_get(body, "error"), "code");
    enum system_result result = answer_of_status(status, has_effect);

    /* The status decides where it is specific; the code only where several meanings share a status. */
    if (status == 400 || status == 403) {
        result = SYSTEM_REFUSED;
        for (size_t i = 0; code != NULL && i < ARRAY_LENGTH(REFERRAL_CODES); i++) {
            if (text_equal_ignoring_case(code, REFERRAL_CODES[i].code))
                result = REFERRAL_CODES[i].result;
        }
        if (code != NULL && text_equal_ignoring_case(code, "insufficient_claims"))
            result = SYSTEM_BLOCKED;
        if (status == 403 && result == SYSTEM_REFUSED) {
            *ret_code = "partner_center.forbidden";
            return result;
        }
    }
    *ret_code = word_of(result);
    return result;
}

static const char *owner_of(const json_t *referral)
{
    return json_string_value(json_at(referral, "organizationId", true));
}

bool referral_is_microsofts(const json_t *referral)
{
    const char *owner = owner_of(referral);

    return owner != NULL && text_equal_ignoring_case(owner, "msft");
}

bool referral_is_shared(const json_t *referral)
{
    const char *type = json_string_value(json_at(referral, "type", true));

    return type != NULL && text_equal_ignoring_case(type, "Shared");
}

json_t *referral_document(const char *role, json_t *referral)
{
    const char *id = json_string_value(json_at(referral, "id", true));
    const char *updated = json_string_value(json_at(referral, "updatedDateTime", true));
    const char *etag = json_string_value(json_at(referral, "eTag", true));
    char normalised[UUID_TEXT_SIZE];

    if (id != NULL && uuid_is_valid(id, strlen(id)))
        id = uuid_normalise(id, normalised);
    return record_document(role, id == NULL ? "" : id, updated, updated, etag, json_incref(referral));
}

json_t *referral_own_of(const json_t *referrals, const char *wanted_id, const char *organization_id)
{
    json_t *only = NULL, *referral;
    size_t i, candidates = 0;

    json_array_foreach (referrals, i, referral) {
        const char *id = json_string_value(json_at(referral, "id", true));
        if (wanted_id != NULL && id != NULL && text_equal_ignoring_case(id, wanted_id) &&
            !referral_is_microsofts(referral))
            return referral;
    }
    json_array_foreach (referrals, i, referral) {
        const char *owner = owner_of(referral);
        if (organization_id != NULL && owner != NULL && text_equal_ignoring_case(owner, organization_id))
            return referral;
        if (!referral_is_microsofts(referral)) {
            only = referral;
            candidates++;
        }
    }
    return organization_id == NULL && candidates == 1 ? only : NULL;
}

json_t *referral_microsofts_of(const json_t *referrals)
{
    json_t *referral;
    size_t i;

    json_array_foreach (referrals, i, referral) {
        if (referral_is_microsofts(referral))
            return referral;
    }
    return NULL;
}

static bool is_closed(const json_t *referral)
{
    const char *status = json_string_value(json_at(referral, "status", true));

    return status != NULL && text_equal_ignoring_case(status, "Closed");
}

bool referral_was_created_before(const json_t *referral, struct timestamp moment)
{
    const char *created = json_string_value(json_at(referral, "createdDateTime", true));
    struct timestamp at;

    return created != NULL && timestamp_parse(created, true, &at) && timestamp_compare(at, moment) < 0;
}

/* Every look at the same duplicates has to choose the same one. */
static bool is_preferred(const json_t *referral, const json_t *to)
{
    const char *created = json_string_value(json_at(to, "createdDateTime", true));
    struct timestamp moment;

    if (is_closed(referral) != is_closed(to))
        return is_closed(to);
    return created != NULL && timestamp_parse(created, true, &moment) && referral_was_created_before(referral, moment);
}

json_t *referral_naming(const json_t *referrals, const char *crm_id, const char *organization_id)
{
    json_t *found = NULL, *referral;
    size_t i;

    json_array_foreach (referrals, i, referral) {
        const char *named = json_string_value(json_at(referral, "externalReferenceId", true));
        const char *owner = owner_of(referral);
        const bool is_ours =
            organization_id == NULL || owner == NULL || text_equal_ignoring_case(owner, organization_id);
        if (named != NULL && text_equal_ignoring_case(named, crm_id) && is_ours && !referral_is_microsofts(referral) &&
            (found == NULL || is_preferred(referral, found)))
            found = referral;
    }
    return found;
}

int referral_next_query(const json_t *page, const char **ret_query)
{
    const char *link = json_text_of(page, "@odata.nextLink");
    const char *query = link == NULL ? NULL : strchr(link, '?');

    if (link != NULL && (query == NULL || query[1] == '\0' || strlen(query + 1) > REFERRAL_QUERY_BYTES_MAX))
        return -1;
    *ret_query = query == NULL ? NULL : query + 1;
    return 0;
}

/* The paths Partner Center's own connector patches, in the order they are sent; others may be refused (updating a
 * referral), a referral's name among them. status comes last but two: values that can only be set while the deal is
 * open go before its closing. */
static const char *const PATCH_PATHS[] = {
    "externalReferenceId",
    "campaignId",
    "referralProgram",
    "salesStage",
    "details.dealValue",
    "details.currency",
    "details.closingDateTime",
    "details.notes",
    "details.requirements.solutions",
    "consent.consentToShareReferralWithMicrosoftSellers",
    "customerProfile.team",
    "team",
    "status",
    "substatus",
    "statusReason",
};

/* A path's value as it is sent; NULL when out of memory. */
static json_t *wire_value(const char *path, const json_t *value, enum referral_number_form form)
{
    struct decimal number;
    char plain[DECIMAL_TEXT_SIZE];

    if (form == REFERRAL_TEXT && strcmp(path, "details.dealValue") == 0 && json_get_decimal(value, &number))
        return json_string(decimal_format(&number, -1, plain));
    return json_deep_copy(value);
}

/* A known path's member, moved into the array as an operation. */
static int add_operation(json_t *operations, const char *path, const json_t *value, enum referral_number_form form)
{
    char *pointer = text_format("/%s", path);
    json_t *copy = wire_value(path, value, form);

    if (pointer == NULL || copy == NULL) {
        free(pointer);
        json_decref(copy);
        return -1;
    }
    for (char *at = pointer; *at != '\0'; at++) {
        if (*at == '.')
            *at = '/';
    }
    json_t *operation = json_pack("{s:s, s:s, s:o}", "op", "replace", "path", pointer, "value", copy);
    free(pointer);
    return json_array_append_new(operations, operation);
}

char *referral_patch(const json_t *write, enum referral_number_form deal_value_form, size_t *ret_length,
                     struct error *err)
{
    json_auto_t *operations = json_array();
    char *text;

    if (operations == NULL) {
        (void)error_no_memory(err);
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(PATCH_PATHS); i++) {
        const json_t *value = json_object_get(write, PATCH_PATHS[i]);
        if (value != NULL && add_operation(operations, PATCH_PATHS[i], value, deal_value_form) < 0) {
            (void)error_no_memory(err);
            return NULL;
        }
    }
    if (json_object_size(write) == 0) {
        (void)error_set(err, ERROR_POISON, "partner_center.no_change", "the decision changes nothing");
        return NULL;
    }
    if (json_array_size(operations) != json_object_size(write)) {
        (void)error_set(err, ERROR_POISON, "partner_center.path",
                        "the rules write a path that Partner Center does not take as a change");
        return NULL;
    }
    text = json_write(operations, false, ret_length);
    if (text == NULL)
        (void)error_no_memory(err);
    return text;
}

/* Names joined by dots, and no path inside another: `details` beside `details.notes` would hide it or be hidden. */
static bool can_be_nested(const json_t *write, const char *path)
{
    const size_t length = strlen(path);
    const char *inner;
    json_t *value;

    if (length == 0 || path[0] == '.' || path[length - 1] == '.' || strstr(path, "..") != NULL ||
        strpbrk(path, "[]{}@/") != NULL)
        return false;
    json_object_foreach ((json_t *)(uintptr_t)write, inner, value) {
        if (strncmp(inner, path, length) == 0 && inner[length] == '.' && !json_is_null(value))
            return false;
    }
    return true;
}

char *referral_creation(const json_t *write, const json_t *key, enum referral_number_form deal_value_form,
                        size_t *ret_length, struct error *err)
{
    json_auto_t *referral = json_object();
    const char *path;
    json_t *value;
    char *text;

    json_object_foreach ((json_t *)(uintptr_t)write, path, value) {
        if (json_is_null(value))
            continue;
        if (!can_be_nested(write, path)) {
            (void)error_set(err, ERROR_POISON, "partner_center.path",
                            "the rules write a path that cannot stand in a new referral");
            return NULL;
        }
        if (json_set_at(referral, path, wire_value(path, value, deal_value_form)) < 0) {
            (void)error_no_memory(err);
            return NULL;
        }
    }
    if (json_object_update(referral, (json_t *)(uintptr_t)key) < 0) {
        (void)error_no_memory(err);
        return NULL;
    }
    text = json_write(referral, false, ret_length);
    if (text == NULL)
        (void)error_no_memory(err);
    return text;
}

/* The same value, however it is written: the service may give a text for a number and a time with other digits. */
static bool is_same_value(const json_t *present, const json_t *wanted)
{
    const char *present_text = json_string_value(present), *wanted_text = json_string_value(wanted);
    struct decimal present_number, wanted_number;
    struct timestamp present_time, wanted_time;

    if (json_same(present, wanted))
        return true;
    if (json_get_decimal(wanted, &wanted_number))
        return present_text != NULL && decimal_parse(present_text, strlen(present_text), &present_number) &&
               decimal_compare(&present_number, &wanted_number) == 0;
    return present_text != NULL && wanted_text != NULL && timestamp_parse(present_text, true, &present_time) &&
           timestamp_parse(wanted_text, true, &wanted_time) && timestamp_compare(present_time, wanted_time) == 0;
}

/* The service adds members of its own to what is sent, contact preferences for one; it takes no entry from a list. */
static bool shows_value(const json_t *present, const json_t *wanted)
{
    const char *name;
    json_t *member;
    size_t i;

    if (present == NULL || json_is_null(present))
        return json_is_null(wanted);
    if (json_is_object(wanted) && json_is_object(present)) {
        json_object_foreach ((json_t *)(uintptr_t)wanted, name, member) {
            if (!shows_value(json_object_get(present, name), member))
                return false;
        }
        return true;
    }
    if (!json_is_array(wanted) || !json_is_array(present))
        return is_same_value(present, wanted);
    if (json_array_size(present) != json_array_size(wanted))
        return false;
    json_array_foreach (wanted, i, member) {
        if (!shows_value(json_array_get(present, i), member))
            return false;
    }
    return true;
}

bool referral_shows(const json_t *referral, const json_t *write)
{
    const char *path;
    json_t *wanted;

    json_object_foreach ((json_t *)(uintptr_t)write, path, wanted) {
        if (!shows_value(json_at(referral, path, true), wanted))
            return false;
    }
    return true;
}
