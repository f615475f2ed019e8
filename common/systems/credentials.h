/* Rotated refresh tokens, kept sealed in the topic `credentials`, so that every instance goes on with the newest.
 *
 * Each use of a refresh token gives a new one; the newest is in the topic before it is used. The newest is the one with
 * the highest offset. A message is keyed by account; what it holds is credential.h's.
 *
 * A person may sign in again and put the token into the configuration. So each message names the sign-ins it comes
 * after, by fingerprints of the configured tokens. A configured token that is not among them is newer than the topic:
 * it is used, and what other instances write that do not know it is not taken over from them.
 *
 * How a program uses it:
 *   1. producer_new() with TOPIC_CREDENTIALS among its topics
 *   2. credentials_new(); from then on credentials_save() with it as argument serves as token_save, so
 *      partner_center_new(loop, &settings, credentials_save, credentials, …)
 *   3. in on_token: partner_center_set_refresh_token(system, token)
 *   4. wait for on_loaded before anything that needs a token: before it, the newest is not known
 *   5. in on_failed: program_fail(); in stop: credentials_free(), then the systems, then the producer
 *
 * Producer and settings are borrowed. Loop thread only. Nothing here logs a token or puts one into an error. */
#ifndef TANDEM_SYSTEMS_CREDENTIALS_H
#define TANDEM_SYSTEMS_CREDENTIALS_H

#include <stdbool.h>

#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"

struct credentials_settings {
    struct secret key; /* 32 bytes, as hexadecimal digits or base64 */
};
extern const struct config_key CREDENTIALS_KEYS[];
extern const size_t CREDENTIALS_KEY_COUNT;
/* config_section.validate: the key's form. */
void credentials_validate(const struct config_section *section, const struct yaml_node *node,
                          struct diagnostics *diagnostics);

struct credentials_account {
    const char *name;        /* as in token_account_settings */
    const char *first_token; /* the configured one */
};

struct credentials_callbacks {
    /* The topic has been read to its end; on_token has been called where it held a newer token. */
    void (*on_loaded)(void *arg);
    /* A newer token than the account has: found at start, or rotated by another instance. Borrowed for the call. */
    void (*on_token)(void *arg, const char *account, const char *refresh_token);
    /* Cannot go on: a wrong key (ERROR_CONFIG "credentials.wrong_key"), a message nobody of us wrote, Kafka. Once. */
    void (*on_failed)(void *arg, const struct error *err);
};

struct credentials;

/* `accounts` is copied. No callback comes from inside. */
int credentials_new(struct loop *loop, const struct kafka_settings *kafka, const struct credentials_settings *settings,
                    const char *instance, struct producer *producer, const struct credentials_account *accounts,
                    size_t account_count, const struct credentials_callbacks *callbacks, void *arg,
                    struct credentials **ret_credentials, struct error *err) TANDEM_MUST_CHECK;
/* A token_save (common/http/token.h). A delivery that fails is repeated until it succeeds; done(false) comes only when
 * there is no memory, the account is unknown, or from credentials_free(). */
void credentials_save(void *credentials, const char *account, const char *refresh_token,
                      void (*done)(void *done_arg, bool is_saved), void *done_arg);
/* Ends every save that is under way with done(false), so the systems must still be there. Accepts NULL. */
void credentials_free(struct credentials *credentials);

#endif
