/* What a reading asks for, by the columns that are read, and what of its answer is kept.
 *
 * Pure. Facts: Dataverse Web API v9.2, "Query data using the Web API" and "Retrieve a table row". Columns are spelled as
 * in dynamics365_column_path.h; what is not spelled so has been refused at the start and is passed over. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_QUERY_H
#define TANDEM_SYSTEMS_DYNAMICS365_QUERY_H

#include <jansson.h>
#include <stdbool.h>

#include "common/runtime/config.h"

/* The annotation that carries a choice's label beside its number. */
#define DYNAMICS_FORMATTED_VALUE "@OData.Community.Display.V1.FormattedValue"

/* Query with $select and $expand for the columns, always with the version, the last modifier and the state. Without
 * `expands` (on writes, where the service ignores $expand) only $select. free(); NULL when out of memory. */
char *dynamics_query(const char *entity, const struct config_list *columns, bool expands);

/* Value of Prefer that has the labels come; NULL when no column is a label: they cost the service's cache. */
const char *dynamics_label_preference(const struct config_list *columns);

/* Removes the annotations nobody asked for: the service formats every value once it formats one. */
void dynamics_keep_labels(json_t *record, const struct config_list *columns);

/* Are child rows read? Then the service may answer from a cache, unless told not to ("Join tables using OData"). */
bool dynamics_reads_collections(const struct config_list *columns);

/* How much of the child rows a record shows. Links to more rows come with every collection and say nothing. */
enum dynamics_collections {
    DYNAMICS_COLLECTIONS_WHOLE,
    DYNAMICS_COLLECTIONS_OPEN, /* what lookups of child rows point to is missing: the rows are to be read by themselves */
    DYNAMICS_COLLECTIONS_CUT   /* as many rows as one answer holds: there may be more */
};
/* `done`: {navigation: true} for what was read by itself already. *ret_column: the first column that is not whole. */
enum dynamics_collections dynamics_collections_of(const json_t *record, const struct config_list *columns,
                                                  const json_t *done, const char **ret_column);
/* Query of the child rows that a column is about, for a request of their own. free(); NULL when out of memory. */
char *dynamics_collection_query(const char *entity, const struct config_list *columns, const char *column);

#endif
