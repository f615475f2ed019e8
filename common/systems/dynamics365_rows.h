/* Making the child rows of a new record, one request at a time, after the record is there.
 *
 * Internal to the system's parts, as dynamics365_operation.h. Loop thread only. Every row is created under an id of its own
 * (dynamics365_child.h) and only if there is none, so that a repetition makes what is missing and changes nothing. Until
 * all are there the record's audit text carries another marker (dynamics365_record.h): by it a record that was begun is
 * known, and taken up again. A row that is refused is left out; the operation ends with DONE and says so. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_ROWS_H
#define TANDEM_SYSTEMS_DYNAMICS365_ROWS_H

#include "common/systems/dynamics365_operation.h"

/* The record is there: makes its rows, puts the final audit text into it, goes on with operation->after_rows. */
int dynamics_rows_begin(struct dynamics_operation *operation, struct error *err) TANDEM_MUST_CHECK;

/* The record to create exists: if it was begun by this very decision, goes on with its rows, else the operation ends with
 * the conflict. */
int dynamics_rows_resume(struct dynamics_operation *operation, struct error *err) TANDEM_MUST_CHECK;

#endif
