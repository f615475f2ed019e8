#include "mapper/deal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/messages/record.h"
#include "mapper/rules_path_read.h"

#define MEMBER_AT(name_, place_, kind_, required_)                                                           \
    {                                                                                                        \
        .name = #name_, .kind = (kind_), .offset = offsetof(struct deal, place_), .is_required = (required_) \
    }
#define MEMBER(name_, kind_, required_) MEMBER_AT(name_, name_, kind_, required_)

const struct member DEAL_MEMBERS[] = {
    MEMBER(key, MEMBER_TEXT, true),
    MEMBER(alias, MEMBER_TEXT, false),
    MEMBER_AT(referral_id, id[SIDE_PARTNER_CENTER], MEMBER_TEXT, false),
    MEMBER(engagement_id, MEMBER_TEXT, false),
    MEMBER_AT(crm_id, id[SIDE_CRM], MEMBER_TEXT, false),
    MEMBER_AT(gone_partner_center, gone[SIDE_PARTNER_CENTER], MEMBER_TEXT, false),
    MEMBER_AT(gone_crm, gone[SIDE_CRM], MEMBER_TEXT, false),
    MEMBER(replaced_crm_id, MEMBER_TEXT, false),
    MEMBER(explained, MEMBER_TEXT, false),
    MEMBER(invitation_told, MEMBER_TEXT, false),
    MEMBER(rests, MEMBER_TEXT, false),
    MEMBER(is_invited, MEMBER_BOOLEAN, false),
    MEMBER(is_told, MEMBER_BOOLEAN, false),
    MEMBER(rules_version, MEMBER_TEXT, false),
    MEMBER(next_number, MEMBER_INTEGER, true),
    MEMBER(conflict_rounds, MEMBER_INTEGER, false),
    MEMBER_AT(seen_partner_center, seen[SIDE_PARTNER_CENTER], MEMBER_OBJECT, false),
    MEMBER_AT(seen_crm, seen[SIDE_CRM], MEMBER_OBJECT, false),
    MEMBER_AT(base_partner_center, base[SIDE_PARTNER_CENTER], MEMBER_OBJECT, true),
    MEMBER_AT(base_crm, base[SIDE_CRM], MEMBER_OBJECT, true),
    MEMBER(pending, MEMBER_OBJECT, false),
    MEMBER(ledger, MEMBER_OBJECT, false),
    MEMBER(parked, MEMBER_OBJECT, true),
    MEMBER(problems, MEMBER_OBJECT, true),
    MEMBER(refused, MEMBER_OBJECT, false),
    MEMBER(causes, MEMBER_ARRAY, true),
};
const size_t DEAL_MEMBER_COUNT = ARRAY_LENGTH(DEAL_MEMBERS);

int deal_init(struct deal *deal, const char *key, struct error *err)
{
    *deal = (struct deal){
        .key = text_copy(key),
        .next_number = 1,
        .base = {json_object(), json_object()},
        .parked = json_object(),
        .problems = json_object(),
        .causes = json_array(),
    };
    if (deal->key == NULL || deal->base[SIDE_PARTNER_CENTER] == NULL || deal->base[SIDE_CRM] == NULL ||
        deal->parked == NULL || deal->problems == NULL || deal->causes == NULL) {
        deal_done(deal);
        return error_no_memory(err);
    }
    return 0;
}

int deal_read(const char *bytes, size_t length, struct deal *ret_deal, struct error *err)
{
    return message_read(DEAL_MEMBERS, DEAL_MEMBER_COUNT, bytes, length, ret_deal, err);
}

char *deal_write(const struct deal *deal, size_t *ret_length)
{
    return message_write(DEAL_MEMBERS, DEAL_MEMBER_COUNT, deal, ret_length);
}

void deal_done(struct deal *deal)
{
    message_done(DEAL_MEMBERS, DEAL_MEMBER_COUNT, deal);
}

json_t *deal_values(const struct deal *deal, enum side side)
{
    return json_object_get(deal->seen[side], "values");
}

static const char *main_role(enum side side)
{
    return side == SIDE_CRM ? "crm" : "own";
}

json_t *deal_document(const struct deal *deal, enum side side)
{
    json_t *documents = json_object_get(deal->seen[side], "documents");
    const char *id;
    json_t *document;

    json_object_foreach (documents, id, document) {
        if (text_equal(json_text_of(document, "role"), main_role(side)))
            return document;
    }
    return NULL;
}

const char *deal_text(const struct deal *deal, enum side side, const char *path)
{
    const json_t *values = deal_values(deal, side);
    const char *text = path == NULL ? NULL : json_text_of(values, path);

    return text != NULL && text[0] != '\0' ? text : NULL;
}

const char *deal_changed_at(const struct deal *deal, enum side side)
{
    return json_text_of(deal_document(deal, side), "changed_at");
}

/* <0, 0, >0; a version that cannot be read as number or time counts as another text, so as newer: they have no order. */
static int compare_versions(const char *a, const char *b, bool *ret_is_ordered)
{
    struct decimal number_a, number_b;
    struct timestamp time_a, time_b;

    *ret_is_ordered = true;
    if (decimal_parse(a, strlen(a), &number_a) && decimal_parse(b, strlen(b), &number_b))
        return decimal_compare(&number_a, &number_b);
    if (timestamp_parse(a, true, &time_a) && timestamp_parse(b, true, &time_b))
        return timestamp_compare(time_a, time_b);
    *ret_is_ordered = strcmp(a, b) == 0;
    return *ret_is_ordered ? 0 : 1;
}

/* By the version alone. */
static enum deal_news judge(const json_t *known, const json_t *document, bool *ret_is_ordered)
{
    const char *old_version = json_text_of(known, "version");
    const char *new_version = json_text_of(document, "version");
    int order;

    *ret_is_ordered = false;
    if (known == NULL || old_version == NULL || new_version == NULL)
        return DEAL_NEWER;
    order = compare_versions(new_version, old_version, ret_is_ordered);
    return order < 0 ? DEAL_OLDER : order > 0 ? DEAL_NEWER : DEAL_SAME;
}

static bool is_microsofts(const json_t *document)
{
    const char *organization = json_text_of(json_object_get(document, "body"), "organizationId");

    return text_equal(json_text_of(document, "role"), "related") && organization != NULL &&
           text_equal_ignoring_case(organization, "msft");
}

static bool path_reads(enum side side, const char *path, const json_t *document)
{
    if (side == SIDE_PARTNER_CENTER && rule_path_is_of_microsoft(path))
        return is_microsofts(document);
    return text_equal(json_text_of(document, "role"), main_role(side));
}

/* Raw values by path; what the document does not tell stays as it was known. */
static int take_values(json_t *values, const struct rules *rules, enum side side, const json_t *document,
                       struct error *err)
{
    const json_t *body = json_object_get(document, "body");

    for (size_t i = 0; i < rules->path_count[side]; i++) {
        const char *path = rules->paths[side][i];
        const char *inner = rule_path_is_of_microsoft(path) ? strchr(path, '.') + 1 : path;
        json_t *value;
        if (!path_reads(side, path, document))
            continue;
        if (rules_path_read(inner, side, body, &value) < 0 ||
            (value != NULL && json_object_set_new(values, path, value) < 0))
            return error_no_memory(err);
    }
    return 0;
}

/* The same version may tell what was not known of it (a write's answer shows less than a reading), and must not contradict
 * what was. Annotations and attributes nobody reads are no content. */
static bool contradicts(const json_t *told, const json_t *known)
{
    json_t *iterated = (json_t *)(uintptr_t)told; /* jansson iterates over no const object, and changes none */
    const char *path;
    json_t *value;

    json_object_foreach (iterated, path, value) {
        const json_t *before = json_object_get(known, path);
        if (before != NULL && !json_same(before, value))
            return true;
    }
    return false;
}

json_t *deal_values_of(const struct rules *rules, enum side side, const json_t *documents)
{
    json_t *values = json_object();
    struct error err;

    for (size_t i = 0; i < json_array_size(documents) && values != NULL; i++) {
        if (take_values(values, rules, side, json_array_get(documents, i), &err) < 0) {
            json_decref(values);
            return NULL;
        }
    }
    return values;
}

static int take_document(json_t *documents, const json_t *document, struct error *err)
{
    json_t *known = json_pack("{s:s?, s:s?, s:s?, s:s?}", "role", json_text_of(document, "role"), "version",
                              json_text_of(document, "version"), "etag", json_text_of(document, "etag"), "changed_at",
                              json_text_of(document, "changed_at"));

    if (json_object_set_new(documents, json_text_of(document, "id"), known) < 0)
        return error_no_memory(err);
    return 0;
}

static int make_seen(struct deal *deal, enum side side, struct error *err)
{
    json_t **seen = &deal->seen[side];

    if (*seen == NULL)
        *seen = json_pack("{s:{}, s:{}}", "documents", "values");
    return *seen == NULL ? error_no_memory(err) : 0;
}

static int see_document(struct deal *deal, const struct rules *rules, enum side side, const json_t *document,
                        enum deal_news *ret_news, bool *ret_is_ordered, struct error *err)
{
    json_t *known_documents = json_object_get(deal->seen[side], "documents");
    json_t *known_values = deal_values(deal, side);
    json_auto_t *told = json_object();

    *ret_news = judge(json_object_get(known_documents, json_text_of(document, "id")), document, ret_is_ordered);
    if (*ret_news == DEAL_OLDER)
        return 0;
    if (told == NULL)
        return error_no_memory(err);
    if (take_values(told, rules, side, document, err) < 0)
        return -1;
    if (*ret_news == DEAL_SAME && contradicts(told, known_values)) {
        *ret_news = DEAL_NEWER;
        *ret_is_ordered = false;
    }
    if (json_object_update(known_values, told) < 0)
        return error_no_memory(err);
    return *ret_news == DEAL_NEWER ? take_document(known_documents, document, err) : 0;
}

int deal_see(struct deal *deal, const struct rules *rules, enum side side, const json_t *documents,
             struct deal_sight *ret_sight, struct error *err)
{
    struct deal_sight sight = {.news = DEAL_OLDER, .main = DEAL_OLDER, .is_ordered = true};

    if (make_seen(deal, side, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(documents); i++) {
        const json_t *document = json_array_get(documents, i);
        enum deal_news one;
        bool is_ordered;

        if (json_text_of(document, "id") == NULL || json_object_get(document, "body") == NULL)
            continue;
        if (see_document(deal, rules, side, document, &one, &is_ordered, err) < 0)
            return -1;
        if (one > sight.news)
            sight.news = one;
        if (text_equal(json_text_of(document, "role"), main_role(side))) {
            sight.main = one;
            sight.is_ordered = is_ordered;
        }
    }
    *ret_sight = sight;
    return 0;
}
