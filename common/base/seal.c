#include "common/base/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEALED_TEXT_MAX = (SEAL_NONCE_SIZE + SEAL_PLAIN_MAX_BYTES + SEAL_TAG_SIZE + 2) / 3 * 4,
    KEY_HEX_DIGITS = 2 * SEAL_KEY_SIZE,
    KEY_BASE64_LENGTH = (SEAL_KEY_SIZE + 2) / 3 * 4
};

/* --- Base64, strict: no blanks, full padding (RFC 4648, 4) -------------------------------------------------------- */

static char *base64_write(const uint8_t *bytes, size_t count)
{
    char *text = malloc((count + 2) / 3 * 4 + 1);

    if (text != NULL)
        (void)EVP_EncodeBlock((unsigned char *)text, bytes, (int)count);
    return text;
}

/* NULL when malformed or out of memory; the result has room for one byte more than *ret_count. */
static uint8_t *base64_read(const char *text, size_t length, size_t *ret_count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t padding = 0;
    uint8_t *bytes;

    if (length == 0 || length % 4 != 0 || length > SEALED_TEXT_MAX)
        return NULL;
    while (padding < 2 && text[length - 1 - padding] == '=')
        padding++;
    if (strspn(text, digits) != length - padding)
        return NULL;
    bytes = malloc(length / 4 * 3 + 1);
    if (bytes == NULL)
        return NULL;
    if (EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length) < 0) {
        free(bytes);
        return NULL;
    }
    *ret_count = length / 4 * 3 - padding;
    return bytes;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool hex_read(const char *text, uint8_t out[static SEAL_KEY_SIZE])
{
    for (size_t i = 0; i < SEAL_KEY_SIZE; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int seal_key_parse(const char *text, uint8_t ret_key[static SEAL_KEY_SIZE], struct error *err)
{
    size_t length = strlen(text);
    uint8_t hex[SEAL_KEY_SIZE];
    uint8_t *decoded = NULL;
    size_t count = 0;
    int status = 0;

    if (length == KEY_HEX_DIGITS && hex_read(text, hex)) {
        memcpy(ret_key, hex, SEAL_KEY_SIZE);
    } else if (length == KEY_BASE64_LENGTH && (decoded = base64_read(text, length, &count)) != NULL &&
               count == SEAL_KEY_SIZE) {
        memcpy(ret_key, decoded, SEAL_KEY_SIZE);
    } else {
        status = error_set(err, ERROR_CONFIG, "seal.bad_key",
                           "a key is 32 bytes, written as 64 hexadecimal digits or as base64");
    }
    OPENSSL_cleanse(hex, sizeof(hex));
    if (decoded != NULL)
        OPENSSL_cleanse(decoded, count);
    free(decoded);
    return status;
}

/* --- Sealing ------------------------------------------------------------------------------------------------------ */

static int no_cipher(struct error *err)
{
    return error_set(err, ERROR_TRANSIENT, "seal.libcrypto", "AES-256-GCM cannot be used (out of memory?)");
}

int seal_close(const uint8_t key[static SEAL_KEY_SIZE], const uint8_t nonce[static SEAL_NONCE_SIZE],
               const char *context, const char *plain, size_t length, char **ret_sealed, struct error *err)
{
    EVP_CIPHER_CTX *cipher = NULL;
    uint8_t *bytes = NULL;
    char *sealed = NULL;
    int written = 0;
    int status = -1;

    if (length > SEAL_PLAIN_MAX_BYTES)
        return error_set(err, ERROR_POISON, "seal.too_large", "more than %d bytes to be sealed", SEAL_PLAIN_MAX_BYTES);
    cipher = EVP_CIPHER_CTX_new();
    bytes = malloc(SEAL_NONCE_SIZE + length + SEAL_TAG_SIZE);
    if (cipher == NULL || bytes == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    memcpy(bytes, nonce, SEAL_NONCE_SIZE);
    if (EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) != 1 ||
        EVP_EncryptUpdate(cipher, NULL, &written, (const unsigned char *)context, (int)strlen(context)) != 1 ||
        EVP_EncryptUpdate(cipher, bytes + SEAL_NONCE_SIZE, &written, (const unsigned char *)plain, (int)length) != 1 ||
        EVP_EncryptFinal_ex(cipher, bytes + SEAL_NONCE_SIZE + length, &written) != 1 ||
        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, SEAL_TAG_SIZE, bytes + SEAL_NONCE_SIZE + length) != 1) {
        (void)no_cipher(err);
        goto out;
    }
    sealed = base64_write(bytes, SEAL_NONCE_SIZE + length + SEAL_TAG_SIZE);
    if (sealed == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    *ret_sealed = sealed;
    status = 0;
out:
    EVP_CIPHER_CTX_free(cipher);
    free(bytes);
    return status;
}

int seal_open(const uint8_t key[static SEAL_KEY_SIZE], const char *context, const char *sealed, char **ret_plain,
              size_t *ret_length, struct error *err)
{
    size_t count = 0;
    uint8_t *bytes = base64_read(sealed, strlen(sealed), &count);
    EVP_CIPHER_CTX *cipher = NULL;
    char *plain = NULL;
    size_t length = 0;
    int written = 0;
    int status = -1;

    if (bytes == NULL || count < SEAL_NONCE_SIZE + SEAL_TAG_SIZE) {
        (void)error_set(err, ERROR_POISON, "seal.malformed", "not a sealed text");
        goto out;
    }
    length = count - SEAL_NONCE_SIZE - SEAL_TAG_SIZE;
    cipher = EVP_CIPHER_CTX_new();
    plain = malloc(length + 1);
    if (cipher == NULL || plain == NULL) {
        (void)error_no_memory(err);
        goto out;
    }
    if (EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, bytes) != 1 ||
        EVP_DecryptUpdate(cipher, NULL, &written, (const unsigned char *)context, (int)strlen(context)) != 1 ||
        EVP_DecryptUpdate(cipher, (unsigned char *)plain, &written, bytes + SEAL_NONCE_SIZE, (int)length) != 1 ||
        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, SEAL_TAG_SIZE, bytes + SEAL_NONCE_SIZE + length) != 1) {
        (void)no_cipher(err);
        goto out;
    }
    if (EVP_DecryptFinal_ex(cipher, (unsigned char *)plain + length, &written) != 1) {
        (void)error_set(err, ERROR_CONFIG, "seal.wrong_key", "sealed with another key, or damaged");
        goto out;
    }
    plain[length] = '\0';
    *ret_plain = plain;
    *ret_length = length;
    plain = NULL;
    status = 0;
out:
    if (plain != NULL)
        OPENSSL_cleanse(plain, length);
    free(plain);
    EVP_CIPHER_CTX_free(cipher);
    free(bytes);
    return status;
}
