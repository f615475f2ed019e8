/* Names of Dynamics 365 tables: in addresses, and of the column that holds a row's id.
 *
 * Pure. A table with a publisher's prefix ("msft_microsoftsolution") has its key in the column of its name and "id"
 * ("Create and edit tables using code"); its name in addresses is free, and most often its own and "s". For certain they
 * are told by the service ("Query table definitions using the Web API"). */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_TABLE_H
#define TANDEM_SYSTEMS_DYNAMICS365_TABLE_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/attributes.h"

/* "opportunity" -> "opportunities", "opportunityid"; NULL for a table that is not among the service's own we know. */
const char *dynamics_entity_set(const char *entity);
const char *dynamics_primary_key(const char *entity);

enum { DYNAMICS_NAME_SIZE = 132 }; /* logical names have at most 128 characters */

struct dynamics_table {
    char set[DYNAMICS_NAME_SIZE];
    char key[DYNAMICS_NAME_SIZE];
};

/* The table of a decision's lookup or rows: {"entity", "entity_set"?}. false: it cannot be told, or is too long. */
bool dynamics_table_of(const json_t *how, struct dynamics_table *ret_table) TANDEM_MUST_CHECK;

/* One of the service's own that we know. false: it is none of them. */
bool dynamics_table_known(const char *entity, struct dynamics_table *ret_table) TANDEM_MUST_CHECK;
/* Path and query of a table's definition; `entity`: letters, digits and '_'. free(); NULL when out of memory. */
char *dynamics_table_path(const char *entity);
/* The answer to it. false: it does not tell both names. */
bool dynamics_table_read(const json_t *definition, struct dynamics_table *ret_table) TANDEM_MUST_CHECK;

#endif
