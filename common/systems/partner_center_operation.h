/* One read or write at Partner Center while it is under way: its state, its requests one at a time, its one answer.
 *
 * Internal to partner_center.c, which begins operations, and to partner_center_read.c, _write.c and _create.c, which
 * know what is asked next. Owns what an operation gathers; the decision is the caller's until on_done. Every
 * operation ends in one answer, which frees it: center_operation_answer() or one of the failures. Loop thread only. */
#ifndef TANDEM_SYSTEMS_PARTNER_CENTER_OPERATION_H
#define TANDEM_SYSTEMS_PARTNER_CENTER_OPERATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/systems/api.h"
#include "common/systems/partner_center.h"

struct partner_center {
    struct system system;
    const struct partner_center_settings *settings;
    struct http_client *client;
    struct token_account *account;
    struct token_source *tokens, *registration_tokens;
    struct api api, registration;
    json_t *engagements; /* related referral id -> engagement id */
    char *base_url;      /* …/v1.0/engagements/referrals */
};

/*   read:    REFERRAL (-> ENGAGEMENT*)
 *   find:    LOOK* (-> REFERRAL -> ENGAGEMENT*)
 *   update:  PATCH (-> REFERRAL -> ENGAGEMENT*)
 *   create:  LOOK* -> POST (-> LOOK* when it is said to exist)    what is found or invited to: REFERRAL -> ENGAGEMENT*
 */
struct center_operation {
    struct partner_center *center;
    system_callback on_done;
    void *arg;
    char *record_id;           /* lower case; NULL until known */
    bool is_related;           /* the id may be another party's referral */
    json_t *referrals;         /* gathered so far */
    char *engagement_id;       /* NULL until known */
    unsigned pages;            /* of the listing under way */
    struct system_write write; /* decision NULL: only reading */
    bool is_find;              /* of what the decision would create */
    char *body;                /* of a POST */
    size_t body_length;
    char *invited_id; /* Microsoft's referral, once found or invited */
    bool has_clashed; /* a POST was told that there is something already */
    bool was_written; /* the write was taken; how the referral stands is still to be read */
    bool is_created;  /* by this operation */
    int64_t started_us;
    unsigned calls;
};

/* What a request was about. */
enum center_request_kind {
    CENTER_REQUEST_READ,
    CENTER_REQUEST_LIST, /* no answer to it says that a referral is gone */
    CENTER_REQUEST_CHANGE,
    CENTER_REQUEST_CREATE
};

/* What an answer that is no success means, also one with a success status that shows nothing of use. */
enum system_result center_judge(const struct http_response *response, enum center_request_kind kind,
                                const char **ret_code);
/* Adds the headers every request has. */
int center_send(const struct partner_center *center, struct api_request *request, api_callback on_response, void *arg,
                struct error *err) TANDEM_MUST_CHECK;
/* The listing of which a link's query shows the next page. free(); NULL when out of memory. */
char *center_page_url(const struct partner_center *center, const char *query);
/* The array of a page's referrals, with the page in *ret_page (a new reference); NULL when the response shows none. */
json_t *center_page_of(const struct http_response *response, json_t **ret_page);

/* `record_id`: NULL when it is to be found. NULL when out of memory. */
struct center_operation *center_operation_new(struct partner_center *center, const char *record_id,
                                              system_callback on_done, void *arg);
/* Without an answer: only for one that never began. */
void center_operation_free(struct center_operation *operation);
bool center_operation_is_creation(const struct center_operation *operation);
bool center_operation_is_invitation(const struct center_operation *operation);

/* Everything in `request` is copied. -1: nothing was sent, and the operation goes on living. */
int center_operation_send(struct center_operation *operation, struct api_request *request, api_callback on_response,
                          struct error *err) TANDEM_MUST_CHECK;
/* Makes the next request; what cannot even be asked is answered here. */
void center_operation_go_on(struct center_operation *operation,
                            int (*next)(struct center_operation *operation, struct error *err));

/* The operation's end. Adds to `with` what the operation knows of itself. */
void center_operation_answer(struct center_operation *operation, struct system_answer *with);
/* A response that is no success, or none at all (then `err` says why). `what`: the step, for people. */
void center_operation_fail(struct center_operation *operation, const struct http_response *response,
                           const struct error *err, enum center_request_kind kind, const char *what);
/* It fails here, not at the service. */
void center_operation_fail_locally(struct center_operation *operation, enum system_result result,
                                   const struct error *err);

#endif
