/* Child rows that are made with a new Dynamics 365 record, as data: what a decision says of them, the id each gets, what
 * is sent.
 *
 * Pure: no requests. Making them is dynamics365_rows.h's. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_CHILD_H
#define TANDEM_SYSTEMS_DYNAMICS365_CHILD_H

#include <jansson.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/uuid.h"
#include "common/messages/decision.h"

/* Partner Center takes no more than 50 solutions in a deal. */
enum { DYNAMICS_CHILDREN_MAX = 50 };

/* Is this member of a write a list of child rows? */
bool dynamics_is_children(const json_t *value);

/* Adds the rows of one list of the write, under `navigation`, to `children`, an array of
 *   {"table": {"entity", "entity_set"?}, "parent": "msft_opportunityid", "seed": text, "columns": {column: value},
 *    "lookups": as dynamics_parts.lookups}.
 * ERROR_POISON "dynamics_365.write" where the decision does not say how they are made, or for more than the maximum. */
int dynamics_children_add(const struct decision *decision, const char *navigation, const json_t *rows, json_t *children,
                          struct error *err) TANDEM_MUST_CHECK;

/* The row's id: derived from the record's and from what the row says, so that a repetition makes the same row. Equal rows
 * of one list are told apart by their number among each other. -1: out of memory. */
int dynamics_child_id(const json_t *child, const char *parent_id, char out[static UUID_TEXT_SIZE]) TANDEM_MUST_CHECK;

/* What is sent to make it. `parent_set`: the record's table in addresses; `binds`: of its lookups. free(); NULL when out
 * of memory. */
char *dynamics_child_body(const json_t *child, const char *parent_set, const char *parent_id, const json_t *binds,
                          size_t *ret_length);

#endif
