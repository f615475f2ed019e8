/* Dynamics 365 (Dataverse Web API) behind the system interface.
 *
 * Creates by upsert on the alternate key, changes columns with the expected version, closes by the Win and Lose actions,
 * finds or creates what lookups point to; lists rows and what has changed. Loop thread only; see system.h for the
 * contract. Owns its HTTP client and tokens; caches currencies and labels of choices for its life and the attributes of
 * other looked-up records for a few minutes. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_H
#define TANDEM_SYSTEMS_DYNAMICS365_H

#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "common/systems/system.h"

struct dynamics_365_settings {
    char *url;       /* https://contoso.crm4.dynamics.com */
    char *login_url; /* https://login.microsoftonline.com */
    char *tenant;
    char *client_id;
    struct secret client_secret;
    char *scope; /* NULL: url + "/.default" */
    char *ca_file;
    char *identifier_column;        /* alternate key of the table, holds the referral's id */
    struct config_list columns;     /* what is read, spelled as in dynamics365_column_path.h */
    struct config_map child_tables; /* table -> its lookup column that points to the opportunity */
    bool creates_conditionally;     /* If-None-Match: * on a create by alternate key */
    bool closes_with_time;          /* form of the closing date */
    int64_t concurrent_max;
    int64_t timeout_ms;
};
extern const struct config_key DYNAMICS_365_KEYS[];
extern const size_t DYNAMICS_365_KEY_COUNT;

/* config_section.validate: columns and child tables are names as the service has them. */
void dynamics_365_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                    struct diagnostics *diagnostics);

int dynamics_365_new(struct loop *loop, const struct dynamics_365_settings *settings, struct system **ret_system,
                     struct error *err) TANDEM_MUST_CHECK;

/* Which rows are listed, with which of their columns: besides the key columns (id, version, times, last modifier, state and
 * the referral's identifier). */
struct dynamics_365_listing {
    const char *entity;         /* "opportunity" */
    const char *const *columns; /* NULL-terminated; NULL: the key columns only */
    const char *filter;         /* OData, not encoded; NULL: all. Changes are never filtered */
    unsigned page_rows;         /* at most that many a page; 0: 500 */
    /* Of changes only: `entity` is a child table of any name, and this its lookup column that points to the opportunity.
     * NULL: its rows are records. `columns` do not count then. */
    const char *parent;
};

/* One page of all rows; `next`: what the page before it said, NULL for the first. Documents as in record.h, role "crm".
 * A refusal (a `next` that is too old, for one) is answered with REFUSED. */
int dynamics_365_list(struct system *system, const struct dynamics_365_listing *listing, const char *next,
                      system_page_callback on_page, void *arg, struct error *err) TANDEM_MUST_CHECK;

/* One page of what has changed. */
struct dynamics_365_changes {
    /* `next`: more follows at once. Of a child table the documents are {"id", "changed_at"?, "parent"?}: the row's own id,
     * and its opportunity's unless it has none. */
    struct system_page page;
    const json_t *deleted; /* array of ids; NULL unless DONE. Borrowed for the callback */
    const char *resume;    /* on the last page: what later changes are asked for with. Borrowed */
    bool is_expired;       /* REFUSED because the cursor is no longer taken: begin anew with all rows */
};
typedef void (*dynamics_365_changes_callback)(void *arg, const struct dynamics_365_changes *changes);

/* Change tracking ("Use change tracking to synchronize data with external systems"). `cursor`: `next` or `resume` of the
 * page before, NULL: all rows, and the beginning of a chain of changes. A cursor is good for seven days by default. Of a
 * deleted row nothing but its id is told. What a child table is called in addresses is asked once. The callback comes once
 * for every call that returned 0, never from inside it. A table that is not tracked is REFUSED. */
int dynamics_365_delta(struct system *system, const struct dynamics_365_listing *listing, const char *cursor,
                       dynamics_365_changes_callback on_changes, void *arg, struct error *err) TANDEM_MUST_CHECK;

/* For the registration of webhooks: requests with our token, and the address of the Web API. Borrowed. */
const struct api *dynamics_365_api(struct system *system);
const char *dynamics_365_api_url(struct system *system);

#endif
