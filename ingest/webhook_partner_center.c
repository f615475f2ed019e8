#include "ingest/webhook_partner_center.h"

#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/base/uuid.h"

enum { EVENT_NAME_MAX_BYTES = 128 };

/* RFC 9562 6.6: the namespace of URLs. */
static const char url_namespace[] = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";

static const struct {
    const char *event;
    const char *record_type;
} referral_events[] = {
    {"referral-created", "referral"},
    {"referral-updated", "referral"},
    {"related-referral-created", "related-referral"},
    {"related-referral-updated", "related-referral"},
};

/* What the same registration may carry besides (1.3). */
static const char *const foreign_events[] = {
    "azure-fraud-event-detected",
    "dap-admin-relationship-approved",
    "dap-admin-relationship-terminated",
    "dap-admin-relationship-terminated-by-microsoft",
    "granular-admin-access-assignment-activated",
    "granular-admin-access-assignment-created",
    "granular-admin-access-assignment-deleted",
    "granular-admin-access-assignment-updated",
    "granular-admin-relationship-activated",
    "granular-admin-relationship-approved",
    "granular-admin-relationship-expired",
    "granular-admin-relationship-terminated",
    "invoice-ready",
    "new-commerce-migration-completed",
    "new-commerce-migration-created",
    "new-commerce-migration-failed",
    "new-commerce-migration-schedule-failed",
    "reseller-relationship-accepted-by-customer",
    "indirect-reseller-relationship-accepted-by-customer",
    "subscription-updated",
    "usagerecords-thresholdExceeded",
};

struct event {
    const char *name;
    const char *resource_uri;
    const char *changed_at;
};

/* A member that must be text, if it is there at all. */
static bool is_text_or_absent(const json_t *json, const char *key)
{
    const json_t *member = json_object_get(json, key);
    return member == NULL || json_is_null(member) || (json_is_string(member) && !json_is_decimal(member));
}

static bool read_event(const json_t *json, struct event *ret_event)
{
    if (!is_text_or_absent(json, "EventName") || !is_text_or_absent(json, "ResourceUri") ||
        !is_text_or_absent(json, "ResourceChangeUtcDate") || !is_text_or_absent(json, "ResourceName") ||
        !is_text_or_absent(json, "AuditUri"))
        return false;
    *ret_event = (struct event){
        .name = json_text_of(json, "EventName"),
        .resource_uri = json_text_of(json, "ResourceUri"),
        .changed_at = json_text_of(json, "ResourceChangeUtcDate"),
    };
    return ret_event->name != NULL && *ret_event->name != '\0' && strlen(ret_event->name) <= EVENT_NAME_MAX_BYTES &&
           ret_event->resource_uri != NULL && ret_event->changed_at != NULL;
}

static const char *record_type_of(const char *event)
{
    for (size_t i = 0; i < ARRAY_LENGTH(referral_events); i++)
        if (strcmp(event, referral_events[i].event) == 0)
            return referral_events[i].record_type;
    return NULL;
}

static bool is_foreign(const char *event)
{
    for (size_t i = 0; i < ARRAY_LENGTH(foreign_events); i++)
        if (strcmp(event, foreign_events[i]) == 0)
            return true;
    return false;
}

/* https://<host>/engagements/v1/referrals/<id>, not a byte more. */
static bool read_referral_id(const char *uri, const struct partner_center_events *events,
                             char out[static UUID_TEXT_SIZE])
{
    static const char scheme[] = "https://";
    static const char path[] = "/engagements/v1/referrals/";

    if (!text_starts_with(uri, scheme))
        return false;
    const char *host = uri + sizeof(scheme) - 1;
    size_t length = strcspn(host, "/");
    const char *rest = host + length;
    bool is_known = false;
    for (size_t i = 0; i < events->resource_host_count; i++)
        is_known = is_known || (strlen(events->resource_hosts[i]) == length &&
                                strncmp(events->resource_hosts[i], host, length) == 0);
    if (!is_known || !text_starts_with(rest, path))
        return false;
    const char *id = rest + sizeof(path) - 1;
    if (!uuid_is_valid(id, strlen(id)))
        return false;
    uuid_normalise(id, out);
    return true;
}

/* The URI of a test event ends in the correlation id (2.5), or is one that says nothing to us. */
static bool read_test_id(const char *uri, char out[static UUID_TEXT_SIZE])
{
    const char *slash = strrchr(uri, '/');
    const char *last = slash == NULL ? uri : slash + 1;
    if (uuid_is_valid(last, strlen(last))) {
        uuid_normalise(last, out);
        return true;
    }
    return uuid_from_name(url_namespace, uri, strlen(uri), out) != NULL;
}

static struct webhook_result notify(const struct event *event, const char *record_type, const char *record_id,
                                    struct timestamp changed_at, const char *body, size_t length, json_t *headers,
                                    const char *received_at)
{
    char occurred_at[TIMESTAMP_TEXT_SIZE];
    struct webhook_result result = {
        .outcome = WEBHOOK_NOTIFICATION,
        .status = 202,
        .code = "accepted",
        .notification =
            {
                .source = text_copy("partner-center"),
                .origin = NOTIFICATION_WEBHOOK,
                .event = text_copy(event->name),
                .record_type = text_copy(record_type),
                .record_id = text_copy(record_id),
                .occurred_at = text_copy(timestamp_format(changed_at, 9, occurred_at)),
                .received_at = text_copy(received_at),
                .headers = json_incref(headers),
                .body = text_copy_n(body, length),
            },
    };
    const struct notification *made = &result.notification;
    if (made->source == NULL || made->event == NULL || made->record_type == NULL || made->record_id == NULL ||
        made->occurred_at == NULL || made->received_at == NULL || made->body == NULL) {
        webhook_result_done(&result);
        return webhook_overloaded();
    }
    return result;
}

struct webhook_result webhook_partner_center_read(const char *body, size_t length,
                                                  const struct partner_center_events *events, json_t *headers,
                                                  const char *received_at)
{
    struct webhook_result result;
    struct event event;
    struct timestamp changed_at;
    char id[UUID_TEXT_SIZE];
    json_t *json = webhook_read_object(body, length, &JSON_LIMITS_FOREIGN, &result);

    if (json == NULL)
        goto out;
    if (!read_event(json, &event)) {
        result = webhook_refused(422, "schema");
        goto out;
    }
    bool is_test = strcmp(event.name, "test-created") == 0;
    const char *record_type = is_test ? "test" : record_type_of(event.name);
    if (record_type == NULL) {
        bool is_ignored = events->ignore_unknown || is_foreign(event.name);
        result = is_ignored ? (struct webhook_result){.outcome = WEBHOOK_IGNORED, .status = 202, .code = "ignored"}
                            : webhook_set_aside("unknown_event");
        goto out;
    }
    if (is_test ? !read_test_id(event.resource_uri, id) : !read_referral_id(event.resource_uri, events, id)) {
        result = is_test ? webhook_overloaded() : webhook_set_aside("bad_resource");
        goto out;
    }
    if (!timestamp_parse(event.changed_at, false, &changed_at)) {
        result = webhook_set_aside("bad_date");
        goto out;
    }
    result = notify(&event, record_type, id, changed_at, body, length, headers, received_at);
out:
    json_decref(json);
    json_decref(headers);
    return result;
}
