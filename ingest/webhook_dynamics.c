#include "ingest/webhook_dynamics.h"

#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/timestamp.h"
#include "common/base/uuid.h"

/* Bodies reach 256 KB before Dataverse cuts them, and an entity's attributes are an object each. */
static const struct json_limits context_limits = {
    .bytes_max = 512 * 1024,
    .depth_max = 64,
    .nodes_max = 60000,
    .string_bytes_max = 256 * 1024,
    .number_digits_max = 96,
};

enum { WORD_MAX_BYTES = 128, EVENT_SIZE = 2 * WORD_MAX_BYTES + 2 };

static const char parent_table[] = "opportunity";

static const char no_id[] = "00000000-0000-0000-0000-000000000000";

/* A member of letters, digits and '_': table and message names. NULL when it is anything else. */
static const char *word_of(const json_t *json, const char *key)
{
    const char *word = json_text_of(json, key);
    if (word == NULL || *word == '\0' || strlen(word) > WORD_MAX_BYTES)
        return NULL;
    for (const char *c = word; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_'))
            return NULL;
    return word;
}

static bool read_id(const json_t *json, const char *key, char out[static UUID_TEXT_SIZE])
{
    const char *id = json_text_of(json, key);
    if (id == NULL || !uuid_is_valid(id, strlen(id)) || strcmp(id, no_id) == 0)
        return false;
    uuid_normalise(id, out);
    return true;
}

static bool is_organization(const json_t *json, const struct dynamics_organization *organization,
                            const char *organization_header)
{
    if (organization->host != NULL && !text_equal_ignoring_case(organization_header, organization->host))
        return false;
    return organization->id == NULL || text_equal_ignoring_case(json_text_of(json, "OrganizationId"), organization->id);
}

/* Absent and null mean unknown; anything else has to be a date. */
static bool read_date(const json_t *json, char out[static TIMESTAMP_TEXT_SIZE])
{
    const json_t *member = json_object_get(json, "OperationCreatedOn");
    struct timestamp created_on;

    out[0] = '\0';
    if (member == NULL || json_is_null(member))
        return true;
    if (!json_is_string(member) || !timestamp_parse_ms_json(json_string_value(member), &created_on))
        return false;
    timestamp_format(created_on, 3, out);
    return true;
}

static struct webhook_result notify(const char *event, const char *record_type, const char *record_id,
                                    const char *occurred_at, const char *body, size_t length, json_t *headers,
                                    const char *received_at)
{
    bool has_date = *occurred_at != '\0';
    struct webhook_result result = {
        .outcome = WEBHOOK_NOTIFICATION,
        .status = 202,
        .code = "accepted",
        .notification =
            {
                .source = text_copy("dynamics-365"),
                .origin = NOTIFICATION_WEBHOOK,
                .event = text_copy(event),
                .record_type = text_copy(record_type),
                .record_id = text_copy(record_id),
                .occurred_at = has_date ? text_copy(occurred_at) : NULL,
                .received_at = text_copy(received_at),
                .headers = json_incref(headers),
                .body = text_copy_n(body, length),
            },
    };
    const struct notification *made = &result.notification;
    if (made->source == NULL || made->event == NULL || made->record_type == NULL || made->record_id == NULL ||
        (has_date && made->occurred_at == NULL) || made->received_at == NULL || made->body == NULL) {
        webhook_result_done(&result);
        return webhook_overloaded();
    }
    return result;
}

/* --- Child rows --- */

/* The lookup column of a child table that points to the opportunity; NULL for any other table. */
static const char *parent_column(const struct dynamics_organization *organization, const char *table)
{
    const struct config_map *tables = organization->child_tables;
    for (size_t i = 0; tables != NULL && i < tables->count; i++)
        if (strcmp(tables->keys[i], table) == 0)
            return tables->values[i];
    return NULL;
}

/* In [{"key", "value"}]; NULL when absent. Lists of the serialiser have no order. */
static const json_t *value_of(const json_t *list, const char *key)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (text_equal(json_text_of(json_array_get(list, i), "key"), key))
            return json_object_get(json_array_get(list, i), "value");
    return NULL;
}

/* Where a child row's parent may stand. */
struct child {
    const char *column;
    const json_t *parent; /* an EntityReference; NULL: not found */
    bool is_whole;        /* a source was there that shows the column if it has a value */
};

static void look_into_entity(struct child *child, const json_t *entity)
{
    const json_t *reference = value_of(json_object_get(entity, "Attributes"), child->column);
    if (child->parent == NULL && json_is_object(reference))
        child->parent = reference;
}

static void look_into_images(struct child *child, const json_t *images)
{
    for (size_t i = 0; i < json_array_size(images); i++) {
        const json_t *image = json_array_get(images, i);
        /* The platform adds one of its own, with the row's name only. */
        if (text_equal(json_text_of(image, "key"), "AsynchronousStepPrimaryName"))
            continue;
        child->is_whole = true;
        look_into_entity(child, json_object_get(image, "value"));
    }
}

/* As it stands after the change; of a row that is deleted or taken away, as it stood before. */
static struct child read_child(const json_t *json, const char *message, const char *column)
{
    struct child child = {.column = column};
    const json_t *target = value_of(json_object_get(json, "InputParameters"), "Target");

    /* What is created shows all its values; what is updated, only those that were sent. */
    child.is_whole = text_equal(message, "Create") && json_is_array(json_object_get(target, "Attributes"));
    look_into_entity(&child, target);
    look_into_images(&child, json_object_get(json, "PostEntityImages"));
    look_into_images(&child, json_object_get(json, "PreEntityImages"));
    return child;
}

static struct webhook_result notify_parent(const json_t *json, const char *message, const char *table,
                                           const char *column, const char *occurred_at, const char *body, size_t length,
                                           json_t *headers, const char *received_at)
{
    const struct child child = read_child(json, message, column);
    char event[EVENT_SIZE];
    char id[UUID_TEXT_SIZE];

    if (child.parent == NULL && !child.is_whole)
        return webhook_set_aside("no_parent");
    if (child.parent == NULL || !text_equal(json_text_of(child.parent, "LogicalName"), parent_table))
        return (struct webhook_result){.outcome = WEBHOOK_IGNORED, .status = 202, .code = "ignored"};
    if (!read_id(child.parent, "Id", id))
        return webhook_refused(422, "schema");
    (void)snprintf(event, sizeof(event), "%s.%s", table, message);
    return notify(event, parent_table, id, occurred_at, body, length, headers, received_at);
}

/* --- The body --- */

struct webhook_result webhook_dynamics_read(const char *body, size_t length,
                                            const struct dynamics_organization *organization,
                                            const char *organization_header, json_t *headers, const char *received_at)
{
    struct webhook_result result;
    char id[UUID_TEXT_SIZE];
    char occurred_at[TIMESTAMP_TEXT_SIZE];
    json_t *json = webhook_read_object(body, length, &context_limits, &result);

    if (json == NULL)
        goto out;
    const char *message = word_of(json, "MessageName");
    const char *table = word_of(json, "PrimaryEntityName");
    const char *column = table == NULL ? NULL : parent_column(organization, table);
    if (!is_organization(json, organization, organization_header))
        result = webhook_refused(422, "wrong_organization");
    else if (message == NULL || table == NULL || !read_id(json, "PrimaryEntityId", id))
        result = webhook_refused(422, "schema");
    else if (!read_date(json, occurred_at))
        result = webhook_set_aside("bad_date");
    else if (column != NULL)
        result = notify_parent(json, message, table, column, occurred_at, body, length, headers, received_at);
    else
        result = notify(message, table, id, occurred_at, body, length, headers, received_at);
out:
    json_decref(json);
    json_decref(headers);
    return result;
}
