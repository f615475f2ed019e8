/* A running tandem-ingest: starts what its roles or its command need, in order, and ends it in reverse.
 *
 *     topics verified -> producer -> serve listens -> credentials read -> systems, fetch, poll (or the command)
 *
 * The registration at Dynamics 365 and the reading of one of its records need its system only, and no Kafka.
 * serve does not wait for the credentials: webhooks are taken from the first moment. A process that only fetches is
 * ready when it knows the newest credentials, and is not ready while a system does not let it in. One that serves as
 * well is ready as long as it can take webhooks: taken out of service it would lose them.
 * Loop thread only. */
#ifndef TANDEM_INGEST_ROLES_H
#define TANDEM_INGEST_ROLES_H

#include <stdbool.h>

#include "common/kafka/client.h"
#include "common/runtime/program.h"
#include "common/systems/credentials.h"
#include "common/systems/dynamics365.h"
#include "common/systems/partner_center.h"
#include "ingest/backfill.h"
#include "ingest/certificates.h"
#include "ingest/fetch.h"
#include "ingest/poll.h"
#include "ingest/read_command.h"
#include "ingest/register.h"
#include "ingest/serve.h"

struct roles_settings {
    struct program_settings program;
    struct kafka_settings kafka;
    struct credentials_settings credentials;
    struct partner_center_settings partner_center;
    struct dynamics_365_settings dynamics_365;
    bool has_dynamics_365;
    struct serve_settings serve;
    struct certificates_settings certificates;
    struct fetch_settings fetch;
    struct poll_settings poll;
    struct backfill_settings backfill;
};

struct roles {
    bool serves;
    bool fetches;
    bool polls;
    /* A command instead of roles; else NULL. */
    const struct register_request *registers;
    const struct backfill_request *backfills;
    const struct read_request *reads;
};

/* Runs to the end; returns the exit status. Everything is borrowed. */
int roles_run(const char *program_name, const struct roles_settings *settings, const struct roles *roles);

#endif
