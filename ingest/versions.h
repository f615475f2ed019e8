/* Which version of each record was told last, so that what the poller finds is not read once more when a reading, mostly a
 * webhook's, has told that very version.
 *
 * A memory and no truth: what it does not know is read. It is never asked about anything but the poller's findings, whose
 * messages come to the same instance as the webhooks' (both are keyed by the record). Its owner has it forget a record that
 * was told to be gone or was set aside, since to read the same version again is then news; and everything when a partition
 * is taken away, since another instance may tell such a thing. Pure; single thread. */
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
