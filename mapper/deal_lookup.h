/* The state of one deal, read from topic `deals` for a command: what the last committed merge has left.
 *
 * Reads the deal's partition from its beginning, as a restore does (changelog.h), and nothing of the running mapper's
 * store. Runs a loop of its own; never beside a worker. */
#ifndef TANDEM_MAPPER_DEAL_LOOKUP_H
#define TANDEM_MAPPER_DEAL_LOOKUP_H

#include "common/kafka/client.h"
#include "mapper/deal.h"

/* The deal of this key; where it lives on under another key, that one's. The caller owns it: deal_done(). ERROR_CONFIG
 * "deal.unknown" when there is none; ERROR_TRANSIENT when the brokers do not answer in time; ERROR_FATAL when the topics are not
 * as they must be. */
int deal_lookup(const struct kafka_settings *kafka, const char *key, struct deal *ret_deal, struct error *err)
    TANDEM_MUST_CHECK;

#endif
