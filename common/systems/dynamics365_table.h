/* The tables of Dynamics 365 that are read and written, by their logical names. Pure. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_TABLE_H
#define TANDEM_SYSTEMS_DYNAMICS365_TABLE_H

/* "opportunity" -> "opportunities", "opportunityid"; NULL for a table we do not write. */
const char *dynamics_entity_set(const char *entity);
const char *dynamics_primary_key(const char *entity);

#endif
