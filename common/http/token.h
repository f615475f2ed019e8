/* OAuth 2.0 access tokens of one account for one audience: client credentials, or refresh token with rotation.
 *
 * One token request at a time; whoever asks meanwhile waits for its answer. A token is renewed at 80 % of its life,
 * with jitter; after a 401 token_reject() forces one renewal. A rotated refresh token is handed to `save` and used only
 * after that has reported success, so that no crash leaves only a spent one. `invalid_grant` and its kin stop the
 * source (ERROR_CONFIG "token.sign_in_needed") until new credentials are set. Secrets are cleansed and never logged.
 * Several audiences share one refresh token: make one struct token_account and a token_source per audience.
 * Loop thread only. Fails to the callback, exactly once each, never from inside the call. */
#ifndef TANDEM_HTTP_TOKEN_H
#define TANDEM_HTTP_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/http/client.h"
#include "common/runtime/loop.h"

enum token_grant {
    TOKEN_CLIENT_CREDENTIALS, /* identity-platform v2: scope=… */
    TOKEN_REFRESH_TOKEN       /* v1: resource=…, rotating */
};

struct token_account_settings {
    enum token_grant grant;
    const char *token_url;
    const char *client_id;
    const char *client_secret;
    const char *refresh_token; /* the first one; a newer one may come by token_account_set_refresh_token() */
    const char *name;          /* for logs and the store, e.g. "partner-center" */
};

/* Keeps a rotated refresh token durably; must call `done` exactly once, later. */
typedef void (*token_save)(void *arg, const char *account, const char *refresh_token,
                           void (*done)(void *done_arg, bool is_saved), void *done_arg);

struct token_account;
struct token_source;

int token_account_new(struct loop *loop, struct http_client *client, const struct token_account_settings *settings,
                      token_save save, void *save_arg, struct token_account **ret_account, struct error *err)
    TANDEM_MUST_CHECK;
void token_account_free(struct token_account *account); /* after its sources; accepts NULL */
/* A newer refresh token became known (start-up, or another instance rotated it). */
int token_account_set_refresh_token(struct token_account *account, const char *refresh_token) TANDEM_MUST_CHECK;

/* `audience`: the value of `scope` or `resource`. */
int token_source_new(struct token_account *account, const char *audience, struct token_source **ret_source,
                     struct error *err) TANDEM_MUST_CHECK;
void token_source_free(struct token_source *source);

/* `token` is NULL on failure. Valid during the callback. */
typedef void (*token_callback)(void *arg, const char *token, const struct error *err);
int token_get(struct token_source *source, token_callback on_token, void *arg) TANDEM_MUST_CHECK;
/* The service refused this token with 401: forget it if it is still the current one. */
void token_reject(struct token_source *source, const char *token);
bool token_is_blocked(const struct token_source *source); /* a person must sign in again */

#endif
