#include "common/http/token_response.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"

enum {
    USE_MARGIN_MS = 10000 /* the longest a request may take to reach the service after it was given its token */
};

/* An answer has a dozen members; strings may exceed the token's limit, so that the fault is told by its name. */
static const struct json_limits answer_limits = {
    .bytes_max = 256 * 1024,
    .depth_max = 8,
    .nodes_max = 256,
    .string_bytes_max = 128 * 1024,
    .number_digits_max = 32,
};

struct error_word {
    const char *word;
    const char *code;
};

/* RFC 6749 5.2, OpenID Connect Core 3.1.2.6, and Entra's own. Logic is by word, since Microsoft reserves the right to
 * change the numbers (Entra authentication error codes). */
static const struct error_word final_errors[] = {
    {"invalid_grant", "token.sign_in_needed"},
    {"invalid_client", "token.sign_in_needed"},
    {"interaction_required", "token.sign_in_needed"},
    {"consent_required", "token.sign_in_needed"},
    {"login_required", "token.sign_in_needed"},
    {"access_denied", "token.refused"},
    {"invalid_request", "token.refused"},
    {"invalid_resource", "token.refused"},
    {"invalid_scope", "token.refused"},
    {"unauthorized_client", "token.refused"},
    {"unsupported_grant_type", "token.refused"},
};

void token_secret_free(char *secret)
{
    if (secret == NULL)
        return;
    explicit_bzero(secret, strlen(secret));
    free(secret);
}

void token_grant_answer_done(struct token_grant_answer *answer)
{
    token_secret_free(answer->access_token);
    token_secret_free(answer->refresh_token);
    *answer = (struct token_grant_answer){0};
}

static int bad_response(struct error *err, const char *reason)
{
    return error_set(err, ERROR_TRANSIENT, "token.bad_response", "the token endpoint's answer cannot be used: %s",
                     reason);
}

/* Characters a token may have on its way into a header or a form (RFC 6749 A.12, A.17), without the space, which no
 * issuer uses and which would end a Bearer credential. */
static bool is_token(const char *string, size_t length)
{
    if (length == 0 || length > TOKEN_MAX_BYTES)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (string[i] <= 0x20 || string[i] > 0x7E)
            return false;
    }
    return true;
}

/* Copies a token member. An absent one gives NULL; one of another type or with other characters is refused. */
static int read_token(const json_t *answer, const char *key, char **ret_token, struct error *err)
{
    const json_t *member = json_object_get(answer, key);
    if (member == NULL || json_is_null(member)) {
        *ret_token = NULL;
        return 0;
    }
    if (!json_is_string(member) || !is_token(json_string_value(member), json_string_length(member)))
        return error_set(err, ERROR_TRANSIENT, "token.bad_response",
                         "the token endpoint's answer cannot be used: %s is not a token of at most %d characters", key,
                         TOKEN_MAX_BYTES);
    char *token = text_copy(json_string_value(member));
    if (token == NULL)
        return error_no_memory(err);
    *ret_token = token;
    return 0;
}

/* Seconds as a number (Entra v2) or as digits in a string (Entra v1). */
static int read_life(const json_t *answer, int64_t *ret_life_ms, struct error *err)
{
    const json_t *member = json_object_get(answer, "expires_in");
    if (member == NULL || json_is_null(member)) {
        *ret_life_ms = TOKEN_LIFE_DEFAULT_MS;
        return 0;
    }
    long long seconds = 0;
    if (json_is_integer(member))
        seconds = json_integer_value(member);
    else if (!json_is_string(member) || !text_parse_signed(json_string_value(member), &seconds))
        return bad_response(err, "expires_in is not a number of seconds");
    if (seconds <= 0)
        return bad_response(err, "the token is already expired");
    *ret_life_ms = seconds < TOKEN_LIFE_MAX_MS / 1000 ? seconds * 1000 : TOKEN_LIFE_MAX_MS;
    return 0;
}

static int read_grant(const json_t *answer, struct token_grant_answer *ret_answer, struct error *err)
{
    const char *type = json_text_of(answer, "token_type");
    if (type == NULL || !text_equal_ignoring_case(type, "Bearer"))
        return bad_response(err, "token_type is not Bearer");

    struct token_grant_answer grant = {0};
    int result = read_life(answer, &grant.life_ms, err);
    if (result == 0)
        result = read_token(answer, "access_token", &grant.access_token, err);
    if (result == 0 && grant.access_token == NULL)
        result = bad_response(err, "there is no access_token");
    if (result == 0)
        result = read_token(answer, "refresh_token", &grant.refresh_token, err);
    if (result < 0) {
        token_grant_answer_done(&grant);
        return -1;
    }
    *ret_answer = grant;
    return 0;
}

static const struct error_word *find_final_error(const char *word)
{
    for (size_t i = 0; word != NULL && i < ARRAY_LENGTH(final_errors); i++) {
        if (strcmp(word, final_errors[i].word) == 0)
            return &final_errors[i];
    }
    return NULL;
}

static int read_refusal(long status, const json_t *answer, struct error *err)
{
    /* A service in trouble answers with anything; its word does not count then. */
    const struct error_word *final = NULL;
    if (status >= 400 && status < 500 && status != 408 && status != 429)
        final = find_final_error(json_text_of(answer, "error"));
    if (final == NULL)
        return error_set(err, ERROR_TRANSIENT, "token.unavailable", "the token endpoint answered with status %ld",
                         status);

    const json_t *number = json_array_get(json_object_get(answer, "error_codes"), 0);
    if (json_is_integer(number) && json_integer_value(number) > 0)
        return error_set(err, ERROR_CONFIG, final->code, "the token endpoint refused: %s (AADSTS%lld)", final->word,
                         (long long)json_integer_value(number));
    return error_set(err, ERROR_CONFIG, final->code, "the token endpoint refused: %s", final->word);
}

int token_response_judge(long status, const char *body, size_t length, struct token_grant_answer *ret_answer,
                         struct error *err)
{
    json_auto_t *answer = NULL;
    struct json_fault fault;
    bool is_json = json_read(body, length, &answer_limits, &answer, &fault) == 0;
    if (status != 200)
        return read_refusal(status, is_json ? answer : NULL, err);
    if (!is_json)
        return error_set(err, ERROR_TRANSIENT, "token.bad_response",
                         "the token endpoint's answer cannot be used: %s at line %zu, column %zu",
                         json_problem_code(fault.problem), fault.line, fault.column);
    if (!json_is_object(answer))
        return bad_response(err, "it is not an object");
    return read_grant(answer, ret_answer, err);
}

int64_t token_renewal_ms(int64_t life_ms, uint32_t random)
{
    int64_t spread = life_ms / 10;
    return life_ms / 10 * 8 - (int64_t)((uint64_t)spread * random >> 32);
}

int64_t token_use_ms(int64_t life_ms)
{
    int64_t margin = life_ms / 10;
    return life_ms - (margin < USE_MARGIN_MS ? margin : USE_MARGIN_MS);
}
