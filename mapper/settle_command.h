/* `tandem-mapper settle`: a person settles a conflict that policy manual has left open.
 *
 * Sends one record of kind "settle" to topic `records`, where the deal's mapper takes it in the deal's order. Says only
 * that Kafka has it; what comes of it stands in the audit. Runs a loop of its own; never beside a worker. */
#ifndef TANDEM_MAPPER_SETTLE_COMMAND_H
#define TANDEM_MAPPER_SETTLE_COMMAND_H

#include "common/kafka/client.h"
#include "mapper/rules.h"

struct settle_request {
    const char *deal_key;
    const char *field; /* name in the rules */
    const char *take;  /* "partner-center" or "crm" */
};

/* ERROR_CONFIG when the rules have no such field, or it is not settled by hand, or the deal does not exist or has no
 * conflict that waits there; ERROR_TRANSIENT when the brokers do not answer in time. */
int settle_command_run(const struct kafka_settings *kafka, const struct rules *rules,
                       const struct settle_request *request, struct error *err) TANDEM_MUST_CHECK;

#endif
