/* Dynamics 365 records as data: what is asked for, what an answer means, what a decision becomes on the wire.
 *
 * Pure: no requests, no clock. Facts: Dataverse Web API v9.2 ("Compose HTTP requests and handle errors", "Perform
 * conditional operations", "Web service error codes", "WinOpportunity action"). */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_RECORD_H
#define TANDEM_SYSTEMS_DYNAMICS365_RECORD_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/messages/decision.h"
#include "common/systems/system.h"

/* What a failed answer means. */
struct dynamics_meaning {
    enum system_result result;
    const char *code;    /* a stable word */
    bool is_unexplained; /* as in system_answer */
};
/* By the error body's code where it is known, else by the status. */
struct dynamics_meaning dynamics_classify(long status, const json_t *body, bool has_effect);

/* The parts a decision's `write` falls into. Owned; dynamics_parts_done(). */
struct dynamics_parts {
    json_t *columns;  /* plain columns, without state, labels and lookups */
    json_t *labels;   /* {column: label of its choice} */
    json_t *lookups;  /* {navigation: {"entity", "match": [..], "create": bool, "values": {attribute: value}}} */
    json_t *children; /* rows to be made after the record (dynamics365_child.h) */
    bool has_state;
    long state, status; /* statecode and statuscode to reach */
    bool is_closing;    /* of an opportunity: by an action, after the columns */
    bool is_reopening;  /* of an opportunity: by itself, before the columns, which are read-only while it is closed */
};
/* ERROR_POISON "dynamics_365.write" when a dotted column has no lookup, or the state is no pair of numbers. */
int dynamics_parts_of(const struct decision *decision, struct dynamics_parts *ret_parts, struct error *err)
    TANDEM_MUST_CHECK;
void dynamics_parts_done(struct dynamics_parts *parts);

/* "2026-11-21 04:00 - Updated from Partner Center [key#3]": the text for the seller with the marker of the decision;
 * `is_begun`: the one of a record whose child rows are still to be made. NULL: out of memory. */
char *dynamics_audit_text(const struct decision *decision, bool is_begun);
bool dynamics_has_audit(const struct decision *decision);
bool dynamics_has_marker(const json_t *record, const struct decision *decision);

/* "opportunities(4d3c…)", or by the alternate key when there is no id yet: "opportunities(column='…')". free(); NULL when
 * out of memory. `create_key`: one text. */
char *dynamics_path(const char *entity, const char *record_id, const json_t *create_key);

/* Body that changes or creates the record: its columns, `binds` of its lookups, audit text with marker (of one just begun,
 * where child rows follow), state where no other request sets it. free(); NULL when out of memory. */
char *dynamics_body(const struct decision *decision, const struct dynamics_parts *parts, const json_t *binds,
                    size_t *ret_length);

/* Body that puts the final audit text and marker into a record that was begun; `remark` ends the text. NULL: out of
 * memory. */
char *dynamics_mark_body(const struct decision *decision, const char *remark, size_t *ret_length);

/* Body of the change that reopens an opportunity or changes its status while it is open. NULL: out of memory. */
char *dynamics_reopen_body(const struct dynamics_parts *parts, size_t *ret_length);

/* Body of WinOpportunity or LoseOpportunity. `with_time`: the closing date carries time and zone. NULL: out of memory. */
char *dynamics_close_body(const struct decision *decision, const struct dynamics_parts *parts, bool with_time,
                          size_t *ret_length);

/* "opportunities(4d3c…)" in an address (OData-EntityId) -> the GUID; false when there is none. */
bool dynamics_id_of(const char *address, char out[static UUID_TEXT_SIZE]);

/* An entry of `documents`; new reference. */
json_t *dynamics_document(const char *entity, json_t *record, const char *our_user_id);

/* Does the record stand as the decision wanted it? Marker first, then every value; a closing must have closed. */
bool dynamics_shows(const json_t *record, const struct decision *decision);
/* Was the record created by this decision, and may its child rows be missing? */
bool dynamics_was_begun(const json_t *record, const struct decision *decision);

#endif
