#include "common/systems/credential.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"

static void forget_text(char *text)
{
    if (text != NULL)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

/* Of a tree that is about to be released. */
static void forget_json(json_t *payload)
{
    const char *token = json_text_of(payload, "refresh_token");

    if (token != NULL)
        OPENSSL_cleanse((void *)(uintptr_t)token, strlen(token));
    json_decref(payload);
}

/* What the ciphertext is bound to. */
static char *context_of(const char *account)
{
    return text_format("tandem.credential.v1/%s", account);
}

static int malformed(const char *account, struct error *err)
{
    return error_set(err, ERROR_CONFIG, "credentials.malformed",
                     "the newest credential of account '%s' in Kafka is not readable; was the topic written by others?",
                     account);
}

/* --- Reading ------------------------------------------------------------------------------------------------------ */

static int open_sealed(const uint8_t key[static SEAL_KEY_SIZE], const char *account, const char *sealed,
                       char **ret_plain, size_t *ret_length, struct error *err)
{
    char *context = context_of(account);
    int status;

    if (context == NULL)
        return error_no_memory(err);
    status = seal_open(key, context, sealed, ret_plain, ret_length, err);
    free(context);
    if (status < 0 && strcmp(err->code, "seal.wrong_key") == 0)
        return error_set(err, ERROR_CONFIG, "credentials.wrong_key",
                         "the credential of account '%s' in Kafka was not sealed with credentials.key", account);
    return status < 0 && err->class == ERROR_POISON ? malformed(account, err) : status;
}

static int take_payload(const json_t *payload, const char *account, struct credential *ret_credential,
                        struct error *err)
{
    const char *token = json_text_of(payload, "refresh_token"), *writer = json_text_of(payload, "writer");
    json_t *sign_ins = json_object_get(payload, "sign_ins");
    struct credential credential = {0};

    if (token == NULL || token[0] == '\0' || !json_is_array(sign_ins))
        return malformed(account, err);
    credential.refresh_token = text_copy(token);
    credential.sign_ins = json_deep_copy(sign_ins);
    credential.writer = writer == NULL ? NULL : text_copy(writer);
    credential.number = json_integer_of(payload, "number", 0);
    if (credential.refresh_token == NULL || credential.sign_ins == NULL ||
        (writer != NULL && credential.writer == NULL)) {
        credential_done(&credential);
        return error_no_memory(err);
    }
    *ret_credential = credential;
    return 0;
}

int credential_read(const uint8_t key[static SEAL_KEY_SIZE], const char *account, const char *value, size_t length,
                    struct credential *ret_credential, struct error *err)
{
    json_auto_t *message = NULL;
    json_t *payload = NULL;
    struct json_fault fault;
    char *plain = NULL;
    size_t plain_length = 0;
    const char *sealed;
    int status;

    if (json_read(value, length, &JSON_LIMITS_OWN, &message, &fault) < 0 ||
        (sealed = json_text_of(message, "sealed")) == NULL)
        return malformed(account, err);
    if (open_sealed(key, account, sealed, &plain, &plain_length, err) < 0)
        return -1;
    if (json_read(plain, plain_length, &JSON_LIMITS_OWN, &payload, &fault) < 0)
        status = malformed(account, err);
    else
        status = take_payload(payload, account, ret_credential, err);
    forget_json(payload);
    OPENSSL_cleanse(plain, plain_length);
    free(plain);
    return status;
}

/* --- Writing ------------------------------------------------------------------------------------------------------ */

static char *seal_payload(const uint8_t key[static SEAL_KEY_SIZE], const uint8_t nonce[static SEAL_NONCE_SIZE],
                          const char *account, const struct credential *credential)
{
    json_t *payload =
        json_pack("{s:s, s:O, s:s, s:I}", "refresh_token", credential->refresh_token, "sign_ins", credential->sign_ins,
                  "writer", credential->writer, "number", (json_int_t)credential->number);
    char *plain = payload == NULL ? NULL : json_write(payload, false, NULL);
    char *context = context_of(account);
    char *sealed = NULL;
    struct error err = ERROR_INIT;

    if (plain == NULL || context == NULL || seal_close(key, nonce, context, plain, strlen(plain), &sealed, &err) < 0)
        sealed = NULL;
    free(context);
    forget_text(plain);
    forget_json(payload);
    return sealed;
}

char *credential_write(const uint8_t key[static SEAL_KEY_SIZE], const uint8_t nonce[static SEAL_NONCE_SIZE],
                       const char *account, const struct credential *credential, const char *saved_at,
                       size_t *ret_length)
{
    char *sealed = seal_payload(key, nonce, account, credential);
    json_auto_t *message =
        sealed == NULL ? NULL
                       : json_pack("{s:s, s:s, s:s}", "account", account, "sealed", sealed, "saved_at", saved_at);

    free(sealed);
    return message == NULL ? NULL : json_write(message, false, ret_length);
}

void credential_done(struct credential *credential)
{
    forget_text(credential->refresh_token);
    json_decref(credential->sign_ins);
    free(credential->writer);
    *credential = (struct credential){0};
}
