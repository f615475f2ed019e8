/* Authenticated encryption of a short secret that is kept where others can read it: AES-256-GCM.
 *
 * The sealed text is base64 of nonce, ciphertext and tag. `context` is authenticated but not kept: what was sealed for
 * one purpose cannot be passed off as another. Pure: the nonce is an argument and must never be used twice with a key
 * (96 random bits; far below 2^32 messages per key). Knows no keys' files and no topics. Any thread. */
#ifndef TANDEM_BASE_SEAL_H
#define TANDEM_BASE_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

enum { SEAL_KEY_SIZE = 32, SEAL_NONCE_SIZE = 12, SEAL_TAG_SIZE = 16, SEAL_PLAIN_MAX_BYTES = 64 * 1024 };

/* A key as people keep it: 64 hexadecimal digits, or base64 of 32 bytes (with padding). The message of an error never
 * holds the text. ERROR_CONFIG "seal.bad_key". */
int seal_key_parse(const char *text, uint8_t ret_key[static SEAL_KEY_SIZE], struct error *err) TANDEM_MUST_CHECK;

/* *ret_sealed: free(). */
int seal_close(const uint8_t key[static SEAL_KEY_SIZE], const uint8_t nonce[static SEAL_NONCE_SIZE],
               const char *context, const char *plain, size_t length, char **ret_sealed, struct error *err)
    TANDEM_MUST_CHECK;
/* ERROR_POISON "seal.malformed" when it is no sealed text at all, ERROR_CONFIG "seal.wrong_key" when key or context are
 * not those it was sealed with or a bit has changed; the two cannot be told apart. *ret_plain is NUL-terminated and the
 * caller's to cleanse and free. */
int seal_open(const uint8_t key[static SEAL_KEY_SIZE], const char *context, const char *sealed, char **ret_plain,
              size_t *ret_length, struct error *err) TANDEM_MUST_CHECK;

#endif
