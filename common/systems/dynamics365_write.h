/* Writing a decision to Dynamics 365: lookups found or made and bound, then the record reopened, written, closed.
 *
 * Internal to the system's parts, as dynamics365_operation.h. Loop thread only. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_WRITE_H
#define TANDEM_SYSTEMS_DYNAMICS365_WRITE_H

#include "common/systems/dynamics365_operation.h"

/* The next request of a write that has its parts; further ones follow by themselves until the operation has ended. */
int dynamics_write_next(struct dynamics_operation *operation, struct error *err) TANDEM_MUST_CHECK;

#endif
