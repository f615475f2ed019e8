/* One interface for the outside systems that hold records: read a record, write a decision, judge what is read.
 *
 * An implementation turns a decision into its system's requests and an answer into one of a few results; it retries
 * nothing (except one renewed token after a 401) and keeps no deal state. It may cache what does not change (currencies).
 * Loop thread only. Callbacks come exactly once per call that returned 0, never from inside it; also when the system is
 * freed. Documents are as in messages/record.h. */
#ifndef TANDEM_SYSTEMS_SYSTEM_H
#define TANDEM_SYSTEMS_SYSTEM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/uuid.h"
#include "common/messages/decision.h"

enum system_result {
    SYSTEM_DONE,     /* read, or written: `documents` show the record */
    SYSTEM_CONFLICT, /* the expected version no longer stands, or the record to create exists: read it again */
    SYSTEM_GONE,     /* there is no such record, or it is not visible to us */
    SYSTEM_REFUSED,  /* not as it is: a person has to change data, rules or settings */
    SYSTEM_RETRY,    /* nothing was done; again later, not before retry_after_ms */
    SYSTEM_UNKNOWN,  /* it may have been done: repeat, then judge by reading; a create: settle, find, then repeat */
    SYSTEM_BLOCKED   /* the account as a whole: sign-in, licence, permission, organisation disabled */
};

enum { SYSTEM_FIELD_SIZE = 96 };

struct system_answer {
    enum system_result result;
    const json_t *documents; /* array; NULL unless DONE (and readable). Borrowed for the callback */
    const char *record_id;   /* of the record read or written; may be NULL */
    const char *deal_key;    /* what the record says of its deal (design 3); NULL unless read */
    bool is_created;         /* a create made a new record */
    bool is_unexplained;     /* RETRY or UNKNOWN without a reason, so perhaps for ever: repeat it only so often */
    bool is_certain;         /* `documents` come from the write's own answer, or the last modifier is us */
    long status;             /* of the last HTTP answer, 0 without one */
    int64_t retry_after_ms;  /* -1: the system did not say */
    unsigned calls;          /* requests sent */
    int64_t duration_us;     /* from first request to last answer */
    bool is_unfinished;      /* found: the decision was begun here and not finished; writing it again goes on with it */
    struct error error;      /* set unless DONE; of DONE: what was left out of the write because it was refused */
    char field[SYSTEM_FIELD_SIZE]; /* what of the record the service says the error is about; "": it does not */
};

typedef void (*system_callback)(void *arg, const struct system_answer *answer);

struct system_write {
    const struct decision *decision;
    /* Asked right before each request leaves; false: not sent (SYSTEM_RETRY, "lease_lost"). */
    bool (*may_send)(void *arg);
    void *may_send_arg;
};

/* One page of a listing. */
struct system_page {
    enum system_result result;
    const json_t *documents; /* array, in the listing's order; NULL unless DONE. Borrowed for the callback */
    size_t skipped;          /* entries that show no id */
    const char *next;        /* what the next page is asked for with; NULL: there is none. Borrowed */
    long status;             /* of the HTTP answer, 0 without one */
    int64_t retry_after_ms;  /* -1: the system did not say */
    int64_t duration_us;
    struct error error; /* set unless DONE */
};

typedef void (*system_page_callback)(void *arg, const struct system_page *page);

struct system;

struct system_operations {
    const char *name; /* "partner-center", "dynamics-365" */
    /* The current record, with what belongs to it (related referrals; attributes of lookups). */
    int (*read)(struct system *system, const char *record_type, const char *record_id, system_callback on_done,
                void *arg, struct error *err);
    /* The record a create would make, found by the decision's create_key; GONE when none is seen. What was just written
     * may not be seen yet: see settling_ms. */
    int (*find)(struct system *system, const struct decision *decision, system_callback on_done, void *arg,
                struct error *err);
    int (*write)(struct system *system, const struct system_write *write, system_callback on_done, void *arg,
                 struct error *err);
    /* Pure: do these documents show that the decision was carried out (marker, or every value as written)? And is it
     * certain that nobody wrote since? */
    bool (*shows)(const struct system *system, const json_t *documents, const struct decision *decision,
                  bool *ret_is_certain);
    /* How long after a write whose outcome is in doubt `find` may still overlook what it made. NULL: find sees
     * everything at once. */
    int64_t (*settling_ms)(const struct system *system, const struct decision *decision);
    /* Why it cannot work just now, for /readyz and logs; NULL when it can. */
    const char *(*trouble)(const struct system *system);
    void (*free)(struct system *system);
};

/* The first member of every implementation. */
struct system {
    const struct system_operations *operations;
};

static inline void system_free(struct system *system)
{
    if (system != NULL)
        system->operations->free(system);
}

#endif
