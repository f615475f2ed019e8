/* A message of `credentials`, and what is sealed in it, is a token or is refused as one of the known failures.
 *
 * First byte 'm': the rest is the message. 'p': the rest is what was sealed with our key. 's': the sealed text. 'k': a key
 * as people keep it. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/attributes.h"
#include "common/base/text.h"
#include "common/systems/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ACCOUNT "partner-center"
#define CONTEXT "tandem.credential.v1/" ACCOUNT

static const uint8_t KEY[SEAL_KEY_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t NONCE[SEAL_NONCE_SIZE] = {9, 8, 7};

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* What is read and has a writer is written as what is read the same. */
static void check_again(struct credential *credential)
{
    struct credential again = {0};
    struct error err = ERROR_INIT;
    size_t length = 0;
    char *value = credential_write(KEY, NONCE, ACCOUNT, credential, "2026-11-21T04:00:00Z", &length);

    require(value != NULL && credential_read(KEY, ACCOUNT, value, length, &again, &err) == 0);
    require(strcmp(credential->refresh_token, again.refresh_token) == 0 && credential->number == again.number);
    require(strcmp(credential->writer, again.writer) == 0);
    require(json_array_size(credential->sign_ins) == json_array_size(again.sign_ins));
    credential_done(&again);
    free(value);
}

static void check_value(const char *value, size_t length)
{
    struct credential credential = {0};
    struct error err = ERROR_INIT;

    if (credential_read(KEY, ACCOUNT, value, length, &credential, &err) < 0) {
        require(err.class == ERROR_CONFIG && credential.refresh_token == NULL && credential.sign_ins == NULL);
        require(strcmp(err.code, "credentials.malformed") == 0 || strcmp(err.code, "credentials.wrong_key") == 0);
        return;
    }
    require(credential.refresh_token[0] != '\0' && json_is_array(credential.sign_ins));
    if (credential.writer != NULL && strlen(credential.refresh_token) < SEAL_PLAIN_MAX_BYTES / 2)
        check_again(&credential);
    credential_done(&credential);
}

static void check_payload(const char *payload, size_t length)
{
    struct error err = ERROR_INIT;
    char *sealed = NULL, *value;

    if (seal_close(KEY, NONCE, CONTEXT, payload, length, &sealed, &err) < 0) {
        require(strcmp(err.code, "seal.too_large") == 0);
        return;
    }
    value = text_format("{\"sealed\": \"%s\"}", sealed);
    require(value != NULL);
    check_value(value, strlen(value));
    free(value);
    free(sealed);
}

static void check_sealed(const char *sealed)
{
    struct error err = ERROR_INIT;
    char *plain = NULL;
    size_t length = 0;

    if (seal_open(KEY, CONTEXT, sealed, &plain, &length, &err) < 0) {
        require(plain == NULL);
        require(strcmp(err.code, "seal.malformed") == 0 || strcmp(err.code, "seal.wrong_key") == 0);
        return;
    }
    require(plain[length] == '\0');
    free(plain);
}

static void check_key(const char *text)
{
    uint8_t key[SEAL_KEY_SIZE];
    struct error err = ERROR_INIT;

    if (seal_key_parse(text, key, &err) < 0)
        require(err.class == ERROR_CONFIG && strcmp(err.code, "seal.bad_key") == 0);
    else
        require(strlen(text) == 2 * sizeof(key) || strlen(text) == 44);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *rest = (const char *)data + 1;
    char *text;

    if (size == 0)
        return 0;
    text = text_copy_n(rest, size - 1);
    require(text != NULL);
    switch (data[0]) {
    case 'm':
        check_value(rest, size - 1);
        break;
    case 'p':
        check_payload(rest, size - 1);
        break;
    case 's':
        check_sealed(text);
        break;
    case 'k':
        check_key(text);
        break;
    default:
        break;
    }
    free(text);
    return 0;
}
