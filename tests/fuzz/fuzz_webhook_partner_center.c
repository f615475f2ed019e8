/* A body of Partner Center comes to one of the known ends; of its resource nothing is kept but a GUID. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "ingest/webhook_partner_center.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hosts[] = {"api.partnercenter.microsoft.com"};
    static const struct partner_center_events events = {.resource_hosts = hosts, .resource_host_count = 1};
    struct webhook_result result =
        webhook_partner_center_read((const char *)data, size, &events, NULL, "2026-01-01T00:00:00Z");
    char id[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;

    require(result.code != NULL && result.outcome != WEBHOOK_OVERLOADED);
    if (result.outcome == WEBHOOK_REFUSED)
        require(result.status == 400 || result.status == 413 || result.status == 422);
    else
        require(result.status == 202);
    if (result.outcome == WEBHOOK_NOTIFICATION) {
        struct notification again;
        size_t length;
        char *written = notification_write(&result.notification, &length);
        require(uuid_normalise(result.notification.record_id, id) != NULL &&
                strcmp(id, result.notification.record_id) == 0);
        require(strlen(result.notification.body) == size);
        require(written != NULL && notification_read(written, length, &again, &err) == 0);
        notification_done(&again);
        free(written);
    }
    webhook_result_done(&result);
    return 0;
}
