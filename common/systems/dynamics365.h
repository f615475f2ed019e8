/* Dynamics 365 (Dataverse Web API) behind the system interface.
 *
 * Creates by upsert on the alternate key, changes columns with the expected version, closes by the Win and Lose actions,
 * finds or creates what lookups point to. Loop thread only; see system.h for the contract. Owns its HTTP client and
 * tokens; caches currencies for its life and the attributes of other looked-up records for a few minutes. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_H
#define TANDEM_SYSTEMS_DYNAMICS365_H

#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "common/systems/system.h"

struct dynamics_365_settings {
    char *url;       /* https://contoso.crm4.dynamics.com */
    char *login_url; /* https://login.microsoftonline.com */
    char *tenant;
    char *client_id;
    struct secret client_secret;
    char *scope; /* NULL: url + "/.default" */
    char *ca_file;
    char *identifier_column;    /* alternate key of the table, holds the referral's id */
    struct config_list columns; /* what is read; a dot: attribute of the record a lookup points to */
    bool creates_conditionally; /* If-None-Match: * on a create by alternate key */
    bool closes_with_time;      /* form of the closing date */
    int64_t concurrent_max;
    int64_t timeout_ms;
};
extern const struct config_key DYNAMICS_365_KEYS[];
extern const size_t DYNAMICS_365_KEY_COUNT;

int dynamics_365_new(struct loop *loop, const struct dynamics_365_settings *settings, struct system **ret_system,
                     struct error *err) TANDEM_MUST_CHECK;

#endif
