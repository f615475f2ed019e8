/* Shared secrets that a sender proves to know by sending them.
 *
 * Two may be valid at a time, so that one can be replaced without a gap. The comparison takes the same time wherever
 * the difference is and whatever the lengths are. Pure. Fails to "no match". */
#ifndef TANDEM_INGEST_SECRETS_H
#define TANDEM_INGEST_SECRETS_H

#include <stdbool.h>
#include <stddef.h>

enum { SECRET_MIN_BYTES = 24 };

/* Whether `given` is the first or the second secret; NULL stands for one that is not there and matches nothing. */
bool secret_matches(const char *given, const char *first, const char *second);

#endif
