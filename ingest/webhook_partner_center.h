/* An authentic Partner Center event as a notification (Partner Center webhooks, 1.2 to 1.4).
 *
 * Only the referral's id is taken from the event, out of a URI of exactly the documented form; the URI is never
 * requested. The referral is read later from the API that is configured. Pure. */
#ifndef TANDEM_INGEST_WEBHOOK_PARTNER_CENTER_H
#define TANDEM_INGEST_WEBHOOK_PARTNER_CENTER_H

#include <stdbool.h>

#include "ingest/webhook.h"

struct partner_center_events {
    const char *const *resource_hosts; /* host names that a ResourceUri may have */
    size_t resource_host_count;
    bool ignore_unknown; /* an unknown event name is acknowledged and counted only */
};

/* `received_at`: RFC 3339. `headers` is stolen, also on failure; may be NULL. */
struct webhook_result webhook_partner_center_read(const char *body, size_t length,
                                                  const struct partner_center_events *events, json_t *headers,
                                                  const char *received_at);

#endif
