/* Which refused requests have a log line of their own, so that nobody can fill the log with requests.
 *
 * Refusals are of a kind: where, answered how, and why. The first of a kind is told at once; those that follow are
 * counted until the owner closes the interval, and come to one line. So a kind costs at most two lines an interval, and
 * there are at most REFUSAL_KINDS_MAX kinds; what is beyond counts as the last one, "other". Pure: no I/O, no clock,
 * writes no log. Single thread. A zeroed struct is empty. */
#ifndef TANDEM_INGEST_REFUSALS_H
#define TANDEM_INGEST_REFUSALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REFUSAL_KINDS_MAX = 64 };

/* All texts are literals: nothing of a request, and never freed. */
struct refusal_kind {
    const char *route;
    int status; /* 0: nothing was answered, the client has gone */
    const char *code;
    const char *detail; /* NULL: none */
};

struct refusals {
    struct {
        struct refusal_kind kind;
        uint64_t repeats; /* after the first */
    } kinds[REFUSAL_KINDS_MAX];
    size_t count;
};

/* Returns whether it is the first of its kind in this interval: to be told at once. */
bool refusals_note(struct refusals *refusals, const struct refusal_kind *kind);
/* Calls `tell` for each kind that came more than once, with how often after the first, and begins a new interval. */
void refusals_close(struct refusals *refusals,
                    void (*tell)(void *arg, const struct refusal_kind *kind, uint64_t repeats), void *arg);

#endif
