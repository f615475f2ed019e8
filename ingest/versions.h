/* Which version of each record was told last, so that the very version is not told once more.
 *
 * A memory and no truth: what it does not know is told. poll_window.h keeps one of what a listing showed; fetch.h one of
 * what was read, and asks it about the poller's findings only, whose messages come to the same instance as the webhooks'
 * (both are keyed by the record). That one is made to forget a record that was told to be gone or was set aside, since to
 * read the same version again is then news; and everything when a partition is taken away, since another instance may tell
 * such a thing. Pure; single thread. */
#ifndef TANDEM_INGEST_VERSIONS_H
#define TANDEM_INGEST_VERSIONS_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/error.h"

enum { VERSIONS_MAX = 10000 }; /* records; then all are forgotten, which only repeats readings */

struct versions {
    json_t *told; /* {key: eTag} */
};

int versions_init(struct versions *versions, struct error *err) TANDEM_MUST_CHECK;
void versions_done(struct versions *versions);

/* The record was told with this eTag; NULL: nobody knows which, or it was not told. Out of memory it is not remembered. */
void versions_note(struct versions *versions, const char *key, const char *etag);
void versions_clear(struct versions *versions);
/* `etag` NULL: the version is not known, so it was not told. */
bool versions_is_told(const struct versions *versions, const char *key, const char *etag);

#endif
