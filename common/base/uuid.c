#include "common/base/uuid.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_hyphen_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool uuid_is_valid(const char *string, size_t length)
{
    if (string == NULL || length != UUID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (is_hyphen_place(i) ? string[i] != '-' : hex_value(string[i]) < 0)
            return false;
    }
    return true;
}

/* Sets version and variant (RFC 9562 4.1, 4.2) and writes the text. */
static char *format_uuid(const uint8_t bytes[static 16], uint8_t version, char out[static UUID_TEXT_SIZE])
{
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        uint8_t byte = bytes[i];
        if (i == 6)
            byte = (uint8_t)((byte & 0x0F) | (version << 4));
        else if (i == 8)
            byte = (uint8_t)((byte & 0x3F) | 0x80);
        if (is_hyphen_place(at))
            out[at++] = '-';
        out[at++] = hex_digits[byte >> 4];
        out[at++] = hex_digits[byte & 0x0F];
    }
    out[at] = '\0';
    return out;
}

char *uuid_from_random(const uint8_t random[static 16], char out[static UUID_TEXT_SIZE])
{
    return format_uuid(random, 4, out);
}

char *uuid_from_name(const char *namespace_uuid, const char *name, size_t length, char out[static UUID_TEXT_SIZE])
{
    if (namespace_uuid == NULL || !uuid_is_valid(namespace_uuid, strlen(namespace_uuid)))
        return NULL;

    uint8_t namespace_bytes[16];
    size_t count = 0;
    for (size_t i = 0; i < UUID_TEXT_SIZE - 1; i += 2) {
        if (is_hyphen_place(i))
            i++;
        namespace_bytes[count++] = (uint8_t)(hex_value(namespace_uuid[i]) << 4 | hex_value(namespace_uuid[i + 1]));
    }

    uint8_t digest[SHA_DIGEST_LENGTH];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_done = context != NULL && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1 &&
                   EVP_DigestUpdate(context, namespace_bytes, sizeof(namespace_bytes)) == 1 &&
                   EVP_DigestUpdate(context, name, length) == 1 && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    return is_done ? format_uuid(digest, 5, out) : NULL;
}

char *uuid_normalise(const char *string, char out[static UUID_TEXT_SIZE])
{
    for (size_t i = 0; i < UUID_TEXT_SIZE - 1; i++)
        out[i] = is_hyphen_place(i) ? '-' : hex_digits[hex_value(string[i]) & 0x0F];
    out[UUID_TEXT_SIZE - 1] = '\0';
    return out;
}

char *sha256_hex(const void *bytes, size_t count, char out[static SHA256_HEX_SIZE])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    if (EVP_Digest(bytes, count, digest, NULL, EVP_sha256(), NULL) != 1)
        return NULL;
    for (size_t i = 0; i < sizeof(digest); i++) {
        out[2 * i] = hex_digits[digest[i] >> 4];
        out[2 * i + 1] = hex_digits[digest[i] & 0x0F];
    }
    out[SHA256_HEX_SIZE - 1] = '\0';
    return out;
}
