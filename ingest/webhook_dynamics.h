/* An authentic Dataverse execution context as a notification (Dataverse webhooks, 16 and 17).
 *
 * Only the identity members are read: which row of which table changed how, when, in which organisation. They are there
 * also when Dataverse has cut the body for its size. A row of a child table is told as its opportunity, which is what is
 * read anew; for that alone the parameters and images are looked into, for the one column that names it. Parent contexts
 * never are. Pure. */
#ifndef TANDEM_INGEST_WEBHOOK_DYNAMICS_H
#define TANDEM_INGEST_WEBHOOK_DYNAMICS_H

#include "common/runtime/config.h"
#include "ingest/webhook.h"

struct dynamics_organization {
    const char *id;                        /* OrganizationId of every body; NULL: any */
    const char *host;                      /* x-ms-dynamics-organization of every request; NULL: any */
    const struct config_map *child_tables; /* table -> its lookup column to the opportunity; NULL: none */
};

/* The header's value in a request that only asks whether somebody is there. */
#define DYNAMICS_PROBE "URL_VALIDATION"

/* A child row that belongs to no opportunity is ignored; one whose body does not say which it belongs to is set aside as
 * "no_parent". `organization_header`: value of x-ms-dynamics-organization, NULL when absent. `received_at`: RFC 3339. `headers` is
 * stolen, also on failure; may be NULL. */
struct webhook_result webhook_dynamics_read(const char *body, size_t length,
                                            const struct dynamics_organization *organization,
                                            const char *organization_header, json_t *headers, const char *received_at);

#endif
