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

/* The first collection of which the record may show only a part; NULL: all are whole. A link to the rest comes with every
 * expanded collection, so only a full page tells ("Join tables using OData"). */
const char *dynamics_cut_collection(const json_t *record, const struct config_list *columns);

#endif
