/* A body of Dataverse comes to one of the known ends; a notification made of it is one that can be read again, is about a
 * row by its GUID, and carries the body as it came. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "ingest/webhook_dynamics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_notification(const struct notification *made, const char *body, size_t size)
{
    char id[UUID_TEXT_SIZE];
    struct notification again;
    struct error err = ERROR_INIT;
    size_t length;

    require(uuid_normalise(made->record_id, id) != NULL && strcmp(id, made->record_id) == 0);
    require(made->body != NULL && strlen(made->body) == size && memcmp(made->body, body, size) == 0);
    char *written = notification_write(made, &length);
    require(written != NULL && notification_read(written, length, &again, &err) == 0);
    notification_done(&again);
    free(written);
}

static void check_end(const struct dynamics_organization *organization, const char *host, const char *body, size_t size)
{
    struct webhook_result result = webhook_dynamics_read(body, size, organization, host, NULL, "2026-01-01T00:00:00Z");

    require(result.code != NULL);
    switch (result.outcome) {
    case WEBHOOK_NOTIFICATION:
        require(result.status == 202);
        check_notification(&result.notification, body, size);
        break;
    case WEBHOOK_IGNORED:
    case WEBHOOK_SET_ASIDE:
        require(result.status == 202);
        break;
    case WEBHOOK_REFUSED:
        require(result.status == 400 || result.status == 413 || result.status == 422);
        break;
    case WEBHOOK_OVERLOADED:
        abort();
    }
    webhook_result_done(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char table[] = "contoso_line", column[] = "contoso_opportunityid";
    static char *keys[] = {table}, *values[] = {column};
    static const struct config_map child_tables = {.keys = keys, .values = values, .count = 1};
    static const struct dynamics_organization any = {0}, with_children = {.child_tables = &child_tables},
                                              one = {.id = "5d1f2a30-9c4e-4b57-8a21-0c5e7f3b9d10",
                                                     .host = "org.crm4.dynamics.example"};
    const char *body = (const char *)data;

    check_end(&any, NULL, body, size);
    check_end(&with_children, NULL, body, size);
    check_end(&one, "org.crm4.dynamics.example", body, size);
    check_end(&one, "other.crm4.dynamics.example", body, size);
    return 0;
}
