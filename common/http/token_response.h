/* What the answer of an OAuth 2.0 token endpoint means: a token, "later", or "a person is needed".
 *
 * Pure: body and status in, judgement out. Knows the answers of Microsoft Entra (v1 writes numbers as strings, v2 as
 * numbers) and of Salesforce (no expires_in). Nothing of the answer but the grant itself and Entra's numeric error code
 * leaves this module: neither tokens nor descriptions ever stand in an error. Any thread. */
#ifndef TANDEM_HTTP_TOKEN_RESPONSE_H
#define TANDEM_HTTP_TOKEN_RESPONSE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

enum {
    TOKEN_MAX_BYTES = 16384,              /* access or refresh token; real ones have some 2,500 */
    TOKEN_LIFE_MAX_MS = 24 * 3600 * 1000, /* a longer promise is cut to this */
    /* Without expires_in: below the shortest session time a Salesforce administrator can choose, 15 minutes. */
    TOKEN_LIFE_DEFAULT_MS = 10 * 60 * 1000
};

struct token_grant_answer {
    char *access_token;  /* visible ASCII, fit for an Authorization header */
    char *refresh_token; /* NULL: none came */
    int64_t life_ms;     /* from 1 s to TOKEN_LIFE_MAX_MS, from the moment the request was sent */
};

/* 0 with a grant, or -1 with
 *   ERROR_CONFIG "token.sign_in_needed"  the grant or the credentials are no longer good (invalid_grant, ...)
 *   ERROR_CONFIG "token.refused"         the request is wrong for this account (invalid_scope, ...)
 *   ERROR_TRANSIENT "token.unavailable"  429, 5xx and every other status without a known error word
 *   ERROR_TRANSIENT "token.bad_response" status 200, but nothing that may be used. */
int token_response_judge(long status, const char *body, size_t length, struct token_grant_answer *ret_answer,
                         struct error *err) TANDEM_MUST_CHECK;
/* Cleanses and frees the tokens. */
void token_grant_answer_done(struct token_grant_answer *answer);

/* How long after the request to renew: up to a tenth of its life before 80 % of it, so that tokens obtained together
 * are not renewed together. `random`: uniform 32 bits. */
int64_t token_renewal_ms(int64_t life_ms, uint32_t random);
/* How long after the request the token is still handed out: a request under way must not arrive with a dead one. */
int64_t token_use_ms(int64_t life_ms);

/* Cleanses and frees; accepts NULL. */
void token_secret_free(char *secret);

#endif
