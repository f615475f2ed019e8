/* How a column that is read is spelled in configuration and rules, "a flat column":
 *
 *     name                                  a column of the record
 *     help@label                            the label of a choice of the record
 *     parentcontactid.lastname              a column of the row a lookup points to; further lookups nest
 *     products[].price                      a column of each child row
 *     products[].productid.name             of the row that a lookup of the child row points to
 *
 * Pure. Paths point into the text they were read from. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_COLUMN_PATH_H
#define TANDEM_SYSTEMS_DYNAMICS365_COLUMN_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attributes.h"

struct dynamics_column_path {
    size_t head_length; /* bytes of the column or navigation property it begins with */
    bool is_label;
    bool is_collection;
    bool is_nested;   /* `rest` leads through a lookup itself */
    const char *rest; /* after the navigation property; NULL: a column of the record */
};

/* The ending of a column whose label is meant. */
#define DYNAMICS_LABEL "@label"

/* false: not spelled like this. */
bool dynamics_column_path_read(const char *column, struct dynamics_column_path *ret_path) TANDEM_MUST_CHECK;

#endif
