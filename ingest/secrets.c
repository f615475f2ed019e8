#include "ingest/secrets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

enum { DIGEST_LENGTH = 32 };

/* Digests have one length, so that comparing them tells nothing of the lengths of the secrets. */
static bool digest(const char *text, unsigned char out[static DIGEST_LENGTH])
{
    return EVP_Digest(text, strlen(text), out, NULL, EVP_sha256(), NULL) == 1;
}

static bool is_same(const char *given, const char *secret)
{
    unsigned char a[DIGEST_LENGTH];
    unsigned char b[DIGEST_LENGTH];
    bool is_equal = digest(given, a) && digest(secret, b) && CRYPTO_memcmp(a, b, DIGEST_LENGTH) == 0;
    OPENSSL_cleanse(a, sizeof(a));
    OPENSSL_cleanse(b, sizeof(b));
    return is_equal;
}

bool secret_matches(const char *given, const char *first, const char *second)
{
    bool matches_first = given != NULL && first != NULL && is_same(given, first);
    bool matches_second = given != NULL && second != NULL && is_same(given, second);
    return matches_first || matches_second;
}
