/* A page of Dynamics 365 rows as data: what is asked for, what the answer shows and how it goes on.
 *
 * Pure. Facts: Dataverse Web API v9.2, "Query data using the Web API", "Use change tracking to synchronize data with
 * external systems". Links to further pages come from outside: only their query is used, at our own address. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_PAGE_H
#define TANDEM_SYSTEMS_DYNAMICS365_PAGE_H

#include <jansson.h>
#include <stdbool.h>

#include "common/systems/dynamics365.h"
#include "common/systems/dynamics365_table.h"

/* Path and query of the page; `table`: the names of the listing's; `cursor`: the query of a link, NULL: the first page.
 * free(); NULL when out of memory. `identifier_column` may be NULL. */
char *dynamics_page_path(const struct dynamics_365_listing *listing, const struct dynamics_table *table,
                         const char *identifier_column, const char *cursor);
/* A cursor is a query and nothing else: it cannot lead to another address, path or header. */
bool dynamics_page_is_cursor(const char *cursor);
/* Value of Prefer. The preference of change tracking goes with all pages but those of a delta link, which has it; of a
 * child table also what tells which table its lookup points to. free(); NULL when out of memory. */
char *dynamics_page_preference(const struct dynamics_365_listing *listing, bool tracks, const char *cursor);

struct dynamics_page {
    json_t *documents; /* of the rows that show an id; what they hold is said in dynamics365.h */
    json_t *deleted;   /* ids */
    size_t skipped;
    const char *next;   /* query of the link to the next page, borrowed from the answer; NULL: this is the last */
    const char *resume; /* of the delta link */
};
enum dynamics_page_problem {
    DYNAMICS_PAGE_GOOD,
    DYNAMICS_PAGE_NO_MEMORY,
    DYNAMICS_PAGE_NO_LIST,
    DYNAMICS_PAGE_BAD_LINK,
    DYNAMICS_PAGE_NOT_TRACKED /* changes were asked for, and the last page does not say how to go on */
};
/* On success the page is to be released with dynamics_page_done(). `our_user_id` may be NULL. */
enum dynamics_page_problem dynamics_page_read(const struct dynamics_365_listing *listing,
                                              const struct dynamics_table *table, const json_t *answer, bool tracks,
                                              const char *our_user_id, struct dynamics_page *ret_page);
void dynamics_page_done(struct dynamics_page *page);

/* Is a refusal of this cursor for good, so that everything has to be read anew? Status and code of an expired one are
 * not documented: any 4xx that is not about sign-in, permission or load. */
bool dynamics_page_is_expired(long status, const char *cursor);

#endif
