/* Which URLs a signing certificate may be taken from.
 *
 * The URL stands in a header of a request that is not yet known to be authentic, so it is compared, not interpreted: it
 * must begin with an allowed prefix byte for byte, and what follows may only be plain path segments. Ports, other
 * spellings of the host, userinfo, queries, fragments and escapes never match. Pure, any thread. */
#ifndef TANDEM_INGEST_CERTIFICATE_URL_H
#define TANDEM_INGEST_CERTIFICATE_URL_H

#include <stdbool.h>
#include <stddef.h>

enum { CERTIFICATE_URL_MAX_BYTES = 512 };

/* "https://host[:port]/path/": what an operator may allow. */
bool certificate_url_prefix_is_sound(const char *prefix);
/* `prefixes` are sound. */
bool certificate_url_is_allowed(const char *url, const char *const *prefixes, size_t count);

#endif
