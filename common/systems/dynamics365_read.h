/* Reading a record of Dynamics 365, and the answer that shows one.
 *
 * Internal to the system's parts, as dynamics365_operation.h. Loop thread only. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_READ_H
#define TANDEM_SYSTEMS_DYNAMICS365_READ_H

#include "common/systems/dynamics365_operation.h"

/* Asks for the record at `record`, a path within the service, which it frees; NULL where there was no memory for it. */
int dynamics_read_at(struct dynamics_operation *operation, char *record, api_callback on_response, struct error *err)
    TANDEM_MUST_CHECK;
/* Asks for the record, by its id or else by the decision's create key; its answer ends the operation. */
int dynamics_read_record(struct dynamics_operation *operation, struct error *err) TANDEM_MUST_CHECK;
/* Ends the operation with the record. `is_from_write`: it is the write's own answer. */
void dynamics_read_answer(struct dynamics_operation *operation, json_t *record, bool is_from_write);

#endif
