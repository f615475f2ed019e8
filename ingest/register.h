/* The command "register": where the outside systems send their webhooks. Its command line; the work is that of
 * register_partner_center.h and register_dynamics.h.
 *
 *     register show | events | create | test       at Partner Center
 *     register dynamics-365                        at Dynamics 365
 *
 * Pure. */
#ifndef TANDEM_INGEST_REGISTER_H
#define TANDEM_INGEST_REGISTER_H

#include <stdbool.h>

#include "common/base/error.h"
#include "common/runtime/command_line.h"
#include "ingest/register_dynamics.h"
#include "ingest/register_partner_center.h"

struct register_request {
    bool is_dynamics_365; /* else at Partner Center */
    struct register_partner_center partner_center;
    struct register_dynamics dynamics_365;
};

/* The options of the command and what it can do, for the program's description. */
extern const char REGISTER_DETAILS[];
extern const struct option_spec REGISTER_OPTIONS[];
extern const size_t REGISTER_OPTION_COUNT;
extern const struct command_action REGISTER_ACTIONS[];
extern const size_t REGISTER_ACTION_COUNT;

/* From the command line; -1 with ERROR_CONFIG "register.usage". Texts point into the command line. */
int register_request_read(const struct command_line *line, struct register_request *ret_request, struct error *err)
    TANDEM_MUST_CHECK;

#endif
