/* One read or write at Dynamics 365 while it is under way: its state, its requests one at a time, its one answer.
 *
 * Internal to dynamics365.c, which begins operations, and to dynamics365_read.c and dynamics365_write.c, which know what
 * is asked next. Owns what an operation gathers; the decision is the caller's until on_done. Every operation ends in one
 * answer, which frees it: dynamics_operation_answer() or one of the failures. Loop thread only. */
#ifndef TANDEM_SYSTEMS_DYNAMICS365_OPERATION_H
#define TANDEM_SYSTEMS_DYNAMICS365_OPERATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/uuid.h"
#include "common/systems/api.h"
#include "common/systems/dynamics365.h"
#include "common/systems/dynamics365_choices.h"
#include "common/systems/dynamics365_lookup.h"
#include "common/systems/dynamics365_record.h"

struct dynamics_365 {
    struct system system;
    const struct dynamics_365_settings *settings;
    struct http_client *client;
    struct token_account *account;
    struct token_source *tokens;
    struct api api;
    char *base_url;               /* …/api/data/v9.2 */
    char user_id[UUID_TEXT_SIZE]; /* our application user; "" until WhoAmI answered */
    struct dynamics_memory memory;
    struct dynamics_choices choices;
    json_t *definitions; /* {table: what a child table is called (dynamics365_table.h)} */
};

/*   read, find:  WHOAMI? -> READ -> COLLECTION*
 *   create:      WHOAMI? -> LABELS* -> LOOKUP* (-> MAKE_LOOKUP) -> CREATE -> ROWS? -> CLOSE? -> READ?
 *   create that exists, with rows:                               -> CREATE -> BEGUN -> ROWS -> CLOSE? -> READ
 *   ROWS:        (LOOKUP* (-> MAKE_LOOKUP) -> ROW)* -> MARK?
 *   update:      WHOAMI? -> LABELS* -> LOOKUP* (-> MAKE_LOOKUP) -> REOPEN? -> UPDATE -> CLOSE? -> READ?
 */
struct dynamics_operation;

/* The lookups that are being bound, and what comes when all are. */
struct dynamics_binding {
    json_t *lookups;    /* those left; borrowed */
    json_t *binds;      /* gets what they are bound to; borrowed */
    bool does_remember; /* what was found a short while ago is taken without asking */
    int (*next)(struct dynamics_operation *operation, struct error *err);
};

/* Where the making of child rows stands. */
struct dynamics_row_progress {
    size_t place;     /* of the row under way */
    json_t *lookups;  /* of that row: those left; NULL: not begun */
    json_t *binds;    /* the same: bound */
    bool is_repeated; /* what its lookups point to was missing, and they are looked for anew */
    size_t refused;   /* rows that were */
    struct error why; /* the first of them */
};

struct dynamics_operation {
    struct dynamics_365 *dynamics;
    system_callback on_done;
    void *arg;
    char *entity;
    char *record_id;           /* NULL until known */
    struct system_write write; /* decision NULL: only reading */
    struct dynamics_parts parts;
    json_t *binds; /* columns that bind lookups */
    struct dynamics_binding binding;
    struct dynamics_row_progress row;
    /* Takes what would end the operation as REFUSED, where that need not be its end; NULL: it is. */
    int (*on_refused)(struct dynamics_operation *operation, const struct error *why, struct error *err);
    int (*after_rows)(struct dynamics_operation *operation, struct error *err);
    char *etag;        /* of the record just reopened; NULL: the decision's holds */
    char *navigation;  /* the lookup being resolved */
    json_t *record;    /* as read, while its child rows are completed */
    json_t *completed; /* {navigation: true} */
    bool is_find;      /* read by alternate key */
    bool was_written;  /* a request with effect was answered with success */
    bool is_created;
    int64_t started_us;
    unsigned calls;
};

/* What a request was about. */
enum dynamics_request_kind {
    DYNAMICS_REQUEST_READ,      /* the record itself */
    DYNAMICS_REQUEST_AUXILIARY, /* something else: no answer says our record is gone or changed; repeating is safe */
    DYNAMICS_REQUEST_WRITE      /* the record itself, with effect */
};

struct dynamics_request {
    enum http_method method;
    const char *path; /* below the API's address, with the query */
    const char *body; /* JSON; NULL: none */
    size_t body_length;
    const char *precondition_name; /* "If-Match"; NULL: none */
    const char *precondition;
    const char *prefer; /* NULL: none */
};

/* NULL when out of memory. `record_id` may be NULL. */
struct dynamics_operation *dynamics_operation_new(struct dynamics_365 *dynamics, const char *entity,
                                                  const char *record_id, system_callback on_done, void *arg);
/* Without an answer: only for one that never began. */
void dynamics_operation_free(struct dynamics_operation *operation);

/* Sends a request as this service wants it, for an operation or for none. Everything in `request` is copied. */
int dynamics_send(const struct dynamics_365 *dynamics, const struct dynamics_request *request,
                  const struct system_write *write, api_callback on_response, void *arg, struct error *err)
    TANDEM_MUST_CHECK;

/* The same for an operation. -1: nothing was sent, and the operation goes on living. */
int dynamics_operation_send(struct dynamics_operation *operation, const struct dynamics_request *request,
                            api_callback on_response, struct error *err) TANDEM_MUST_CHECK;
int dynamics_operation_get(struct dynamics_operation *operation, const char *path, api_callback on_response,
                           struct error *err) TANDEM_MUST_CHECK;
/* Changes or creates a record. Frees `path` and `body`; where one of them is NULL there was no memory for it. */
int dynamics_operation_patch(struct dynamics_operation *operation, char *path, char *body, size_t length,
                             const char *precondition_name, const char *precondition, const char *prefer,
                             api_callback on_response, struct error *err) TANDEM_MUST_CHECK;
bool dynamics_is_success(const struct http_response *response);
/* Makes the next request; what cannot even be asked is answered here. */
void dynamics_operation_go_on(struct dynamics_operation *operation,
                              int (*next)(struct dynamics_operation *operation, struct error *err));

/* The operation's end. Adds to `with` what the operation knows of itself. */
void dynamics_operation_answer(struct dynamics_operation *operation, struct system_answer *with);
/* A response that is no success, or none at all (then `err` says why). `what`: the step, for people. */
void dynamics_operation_fail(struct dynamics_operation *operation, const struct http_response *response,
                             const struct error *err, enum dynamics_request_kind kind, const char *what);
/* It fails here, not at the service. */
void dynamics_operation_fail_locally(struct dynamics_operation *operation, enum system_result result,
                                     const struct error *err);

#endif
