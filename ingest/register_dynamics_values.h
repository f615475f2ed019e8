/* Values of a Dynamics 365 webhook registration: the columns a step listens to, and how the endpoint proves who it is.
 *
 * Pure. */
#ifndef TANDEM_INGEST_REGISTER_DYNAMICS_VALUES_H
#define TANDEM_INGEST_REGISTER_DYNAMICS_VALUES_H

#include <stdbool.h>

#include "common/runtime/config.h"

/* The columns whose changes make a reading worth it, as `filteringattributes` wants them: sorted, with commas. A lookup
 * counts as itself, what it points to does not; child rows have steps of their own. free(); NULL: out of memory. */
char *register_dynamics_attributes(const struct config_list *columns);

/* The same names, in any order, with or without blanks. */
bool register_dynamics_same_attributes(const char *a, const char *b);

/* `authvalue` of the endpoint: the secret, or settings in XML with the header's name (unconfirmed: "Register a web hook"
 * leaves the form to Microsoft's tool). free(); NULL: out of memory. */
char *register_dynamics_auth_value(bool uses_webhook_key, const char *header, const char *secret);

#endif
