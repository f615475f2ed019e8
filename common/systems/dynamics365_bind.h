/* Binding what a row's lookups point to: each is remembered, or found, or made, one request at a time.
 *
 * Internal to the system's parts, as dynamics365_operation.h, whose `binding` says which lookups are left and what comes
 * then: those of the record itself before it is written, those of its child rows afterwards. Loop thread only. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_BIND_H
#define TANDEM_SYSTEMS_DYNAMICS365_BIND_H

#include "common/systems/dynamics365_operation.h"

/* The next lookup of operation->binding, of which there is one; `next` follows when it is bound. */
int dynamics_bind_next(struct dynamics_operation *operation, struct error *err) TANDEM_MUST_CHECK;

#endif
