/* The value of a message of topic `credentials`: a rotated refresh token, sealed, and which sign-ins it comes after.
 *
 * {"account", "sealed", "saved_at"}; sealed (AES-256-GCM, the account authenticated with it) is {"refresh_token",
 * "sign_ins", "writer", "number"}. Which message counts is credentials.c's. Pure: the nonce and the time are arguments.
 * A credential owns its content; credential_done() cleanses it. No error holds a token. Any thread. */
#ifndef TANDEM_SYSTEMS_CREDENTIAL_H
#define TANDEM_SYSTEMS_CREDENTIAL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/seal.h"

struct credential {
    char *refresh_token;
    json_t *sign_ins; /* array of fingerprints of configured tokens */
    char *writer;     /* the process that wrote it; NULL: it does not tell */
    int64_t number;   /* of the writer's messages, from 1; 0: it does not tell */
};

/* ERROR_CONFIG "credentials.wrong_key" when it was not sealed with this key for this account, ERROR_CONFIG
 * "credentials.malformed" when it is nothing of ours: going on with an older token could spend the account. */
int credential_read(const uint8_t key[static SEAL_KEY_SIZE], const char *account, const char *value, size_t length,
                    struct credential *ret_credential, struct error *err) TANDEM_MUST_CHECK;
/* `nonce`: never used before with this key. `saved_at`: RFC 3339. Returns text for free(), *ret_length bytes without its
 * NUL; NULL: out of memory, or too long to be sealed. */
char *credential_write(const uint8_t key[static SEAL_KEY_SIZE], const uint8_t nonce[static SEAL_NONCE_SIZE],
                       const char *account, const struct credential *credential, const char *saved_at,
                       size_t *ret_length);
void credential_done(struct credential *credential);

#endif
