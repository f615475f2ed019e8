/* Lookups of Dynamics 365 records as data: how the record one points to is found, named and made, and what is remembered
 * of it.
 *
 * Pure: no requests; the clock is an argument. A lookup is an entry of dynamics_parts.lookups: {"entity", "match": [..],
 * "create": bool, "values": {attribute: value}}. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_LOOKUP_H
#define TANDEM_SYSTEMS_DYNAMICS365_LOOKUP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/uuid.h"
#include "common/runtime/config.h"

/* The column that holds the id of what a navigation property (`length` bytes) points to: "transactioncurrencyid" ->
 * "_transactioncurrencyid_value", "customerid_account" -> "_customerid_value". free(); NULL when out of memory. */
char *dynamics_lookup_column(const char *navigation, size_t length);

/* OData string literal without the quotes: inner quotes doubled. free(); NULL when out of memory. */
char *dynamics_literal(const char *text);

/* Adds to `lookups` what a dotted column writes, whose first dot is at `dot`; `described`: the rules' lookups, by navigation
 * property. ERROR_POISON "dynamics_365.write" where they do not say what it points to. */
int dynamics_lookup_add(const json_t *described, json_t *lookups, const char *column, const char *dot,
                        const json_t *value, struct error *err) TANDEM_MUST_CHECK;

/* Path and query that find at most two records matching the lookup, with the attributes the columns name. *ret_path:
 * free(). ERROR_POISON "lookup.value" for a value nothing can be found by (an object, a text beyond 1,000 bytes). */
int dynamics_lookup_search(const json_t *lookup, const char *navigation, const struct config_list *columns,
                           char **ret_path, struct error *err) TANDEM_MUST_CHECK;
/* Id of the record to make when there is none: derived from what identifies it, so that two workers, or one that
 * repeats, make the same record. -1: out of memory. */
int dynamics_lookup_id(const json_t *lookup, char out[static UUID_TEXT_SIZE]) TANDEM_MUST_CHECK;

/* What is remembered, so that a write's own answer, which has only ids, is complete. Loses entries when memory ends. */
struct dynamics_memory {
    json_t *attributes; /* {"navigation/id": {"values", "until"}} */
    json_t *currencies; /* {"EUR": id}; for good */
    json_t *found;      /* {"table/identity": {"id", "until"}}: what lookups of child rows have found */
};

int dynamics_memory_init(struct dynamics_memory *memory) TANDEM_MUST_CHECK;
void dynamics_memory_done(struct dynamics_memory *memory);
/* Keeps the attributes of `record` that the columns name for this navigation property; for five minutes. */
void dynamics_memory_keep(struct dynamics_memory *memory, const struct config_list *columns, const char *navigation,
                          const char *id, const json_t *record, int64_t now_ms);
/* The same for everything a read record shows expanded. */
void dynamics_memory_keep_expanded(struct dynamics_memory *memory, const struct config_list *columns,
                                   const json_t *record, int64_t now_ms);
/* Puts what is remembered into a record as $expand would have. *ret_is_complete: nothing is missing; child rows and what
 * lies behind lookups of lookups always are. -1: out of memory. */
int dynamics_memory_expand(const struct dynamics_memory *memory, const struct config_list *columns, json_t *record,
                           int64_t now_ms, bool *ret_is_complete) TANDEM_MUST_CHECK;
/* The currency a lookup wants; borrowed, NULL when it is no currency or not known. */
const char *dynamics_memory_currency(const struct dynamics_memory *memory, const json_t *lookup);
void dynamics_memory_keep_currency(struct dynamics_memory *memory, const json_t *lookup, const char *id);
/* What a lookup has found or made, for five minutes; borrowed, NULL when it is not known. */
const char *dynamics_memory_found(const struct dynamics_memory *memory, const json_t *lookup, int64_t now_ms);
void dynamics_memory_keep_found(struct dynamics_memory *memory, const json_t *lookup, const char *id, int64_t now_ms);
/* A lookup led nowhere: what is remembered may be wrong. */
void dynamics_memory_forget(struct dynamics_memory *memory);

#endif
