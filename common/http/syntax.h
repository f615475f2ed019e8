/* What may stand in a URL, a header and a form body of a request we send, and how text is put there.
 *
 * Pure: no I/O, no state, any thread. Does not send anything (client.h) and does not judge addresses (address.h).
 * Results that are returned as char * belong to the caller (free()). */
#ifndef TANDEM_HTTP_SYNTAX_H
#define TANDEM_HTTP_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"

enum {
    HTTP_URL_MAX_BYTES = 32768, /* the longest URL Dataverse takes */
    HTTP_HEADER_VALUE_MAX_BYTES = 32768
};

/* Absolute https URL of RFC 3986 characters only, with a host and without user information, fragment or an encoded
 * host. Otherwise ERROR_POISON "http.bad_url"; the message never holds the URL. */
int http_url_check(const char *url, struct error *err) TANDEM_MUST_CHECK;
/* "host" or "host:port" of a URL that http_url_check() has passed, for messages. NULL when out of memory. */
char *http_url_authority(const char *url);

/* RFC 9110 5.1: a token of at least one character. */
bool http_header_name_is_valid(const char *name);
/* Visible ASCII and inner spaces, at most HTTP_HEADER_VALUE_MAX_BYTES: nothing that could end a line or begin another
 * header, and none of the bytes two parsers may read differently. */
bool http_header_value_is_valid(const char *value);

/* Percent-encodes everything but RFC 3986 unreserved characters. NULL when out of memory. */
char *http_encode(const char *text);

struct http_form_field {
    const char *name;
    const char *value; /* NULL: the field is left out */
};
/* application/x-www-form-urlencoded, every name and value percent-encoded. Made in one allocation, so that cleansing
 * the result cleanses every copy. NULL when out of memory. */
char *http_form_encode(const struct http_form_field *fields, size_t count);

#endif
