/* UUIDs (RFC 9562) and digests as text. Pure: random bytes are an argument. */
#ifndef TANDEM_BASE_UUID_H
#define TANDEM_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UUID_TEXT_SIZE = 37, SHA256_HEX_SIZE = 65 };

/* 36 characters, hyphens in place, hexadecimal in either case. */
bool uuid_is_valid(const char *string, size_t length);
/* Version 4 from 16 random bytes. Lower case. Returns `out`. */
char *uuid_from_random(const uint8_t random[static 16], char out[static UUID_TEXT_SIZE]);
/* Version 5 from a namespace and a name. Lower case. Returns `out`; NULL when the namespace is no UUID or libcrypto
 * fails (out of memory). */
char *uuid_from_name(const char *namespace_uuid, const char *name, size_t length, char out[static UUID_TEXT_SIZE]);
/* Lower-case copy of a valid UUID. */
char *uuid_normalise(const char *string, char out[static UUID_TEXT_SIZE]);

/* Lower case. Returns `out`; NULL when libcrypto fails (out of memory). */
char *sha256_hex(const void *bytes, size_t count, char out[static SHA256_HEX_SIZE]);

#endif
