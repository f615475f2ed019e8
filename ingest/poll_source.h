/* One source of the role "poll": what is asked for, and what of an answer is news.
 *
 * A table of functions per source; poll.c drives them through rounds and knows nothing of the systems. A round asks for
 * page after page, hands each to take(), tells what it calls news, and ends with end(), whose position becomes the cursor.
 * Internal to poll.c and the sources, poll_*.c. Loop thread only. */
#ifndef TANDEM_INGEST_POLL_SOURCE_H
#define TANDEM_INGEST_POLL_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/timestamp.h"
#include "common/systems/system.h"
#include "ingest/poll.h"
#include "ingest/poll_parents.h"
#include "ingest/poll_window.h"

struct poll_source;

/* What is to be told of one record. */
struct poll_news {
    const char *event;       /* "changed", "deleted", "shared" */
    const char *record_type; /* "referral", "related-referral", "opportunity" */
    const char *record_id;
    const char *occurred_at; /* RFC 3339 or NULL */
    const char *etag;        /* of the version the news are about; NULL: they are about more than that record's own */
};

struct poll_source_type {
    const char *cursor; /* key in topic `cursors`; of one source per child table what it begins with */
    const char *system; /* name of its system, and source of its notifications */
    bool has_cursor;
    bool is_slow; /* runs at the engagement interval */
    /* A round begins. `position`: of the cursor, NULL: there is none; `now_ms`: since the epoch. */
    int (*begin)(struct poll_source *source, const char *position, int64_t now_ms, struct error *err);
    /* Asks for the next page; the answer comes to `on_page` with the source. */
    int (*ask)(struct poll_source *source, system_page_callback on_page, void *arg, struct error *err);
    /* Calls tell() for each news of the page. *ret_is_over: no further page is wanted. */
    int (*take)(struct poll_source *source, const struct system_page *page,
                int (*tell)(void *arg, const struct poll_news *news, struct error *err), void *arg, bool *ret_is_over,
                struct error *err);
    /* Everything is told; the cursor's new position, borrowed, NULL: it stays. */
    const char *(*end)(struct poll_source *source);
    /* The round failed; `page` tells how, NULL: not by an answer. */
    void (*abandon)(struct poll_source *source, const struct system_page *page);

    /* What a source keeps beside its cursor; all three NULL: nothing. A page is told: calls send() for each entry that has
     * changed, `value` NULL: it goes. */
    int (*keep)(struct poll_source *source,
                int (*send)(void *arg, const char *name, const char *value, struct error *err), void *arg,
                struct error *err);
    /* They are all in Kafka. */
    int (*kept)(struct poll_source *source, struct error *err);
    /* An entry as Kafka has it. */
    int (*learn)(struct poll_source *source, const char *name, const char *value, struct error *err);
};

/* State of the sources' own. */
struct poll_source {
    const struct poll_source_type *type;
    const struct poll_settings *settings;
    struct system *system;
    char *cursor;              /* key in topic `cursors` */
    const char *table;         /* of Dynamics 365; borrowed */
    const char *parent_column; /* of a child table: the lookup to the opportunity; borrowed */
    char *next;                /* page to ask for; NULL: the first */
    const char *since;         /* RFC 3339: what was changed before is not told; NULL: everything is */
    char since_text[TIMESTAMP_TEXT_SIZE];
    json_t *deleted;  /* ids told with the page under way; owned */
    bool is_expired;  /* the cursor was no longer taken: the next round tells everything */
    unsigned listing; /* of several, one after the other */
    char *position;   /* to end with */
    struct poll_window window;
    bool has_window;
    struct poll_parents parents;
};

/* A source of the given type at its system; `table` and `parent_column`: of a child table, else NULL. Everything but its
 * cursor is borrowed. On failure nothing is left behind. */
int poll_source_init(struct poll_source *source, const struct poll_source_type *type,
                     const struct poll_settings *settings, struct system *system, const char *table,
                     const char *parent_column, struct error *err) TANDEM_MUST_CHECK;
void poll_source_done(struct poll_source *source);

extern const struct poll_source_type POLL_PARTNER_CENTER_CHANGES;
extern const struct poll_source_type POLL_PARTNER_CENTER_SHARED;
extern const struct poll_source_type POLL_DYNAMICS_365_CHANGES;
extern const struct poll_source_type POLL_DYNAMICS_365_CHILDREN;

#endif
