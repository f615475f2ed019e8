#include "common/http/token.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/retry.h"
#include "common/base/text.h"
#include "common/http/token_response.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum {
    BLOCKED_PROBE_MS = 300000 /* how often a blocked account looks whether somebody mended it elsewhere */
};

/* After an endpoint that does not answer: whoever asks before the pause is over is told the last error at once. */
static const struct retry_policy ENDPOINT_RETRY = {.first_delay_ms = 200, .delay_max_ms = 30000};

struct waiter {
    token_callback on_token;
    void *arg;
    struct waiter *next;
};

struct token_source {
    struct token_account *account;
    char *audience;
    char *token;         /* NULL: none */
    int64_t renew_at_ms; /* monotonic */
    int64_t use_until_ms;
    bool is_wanted; /* a token has to be fetched as soon as the account is free */
    struct waiter *first, **last;
    struct retry_state retry;
    int64_t not_before_ms; /* of the next request, after failures */
    struct error last_error;
    struct token_source *next;
};

/*   IDLE -> REQUESTING -> IDLE                    (client credentials, or the refresh token came back unchanged)
 *           REQUESTING -> SAVING -> IDLE          (rotated: durable before it is used) */
enum account_state { ACCOUNT_IDLE, ACCOUNT_REQUESTING, ACCOUNT_SAVING };

struct token_account {
    struct loop *loop;
    struct http_client *client;
    enum token_grant grant;
    char *token_url, *client_id, *client_secret, *name;
    char *refresh_token;
    char *unsaved_refresh_token; /* the newest; not durable yet, and the older may be spent */
    token_save save;
    void *save_arg;
    enum account_state state;
    struct token_source *served;        /* whose request is under way; NULL when it was freed meanwhile */
    struct token_grant_answer obtained; /* waits for its refresh token to be durable */
    int64_t requested_ms;
    bool is_superseded; /* another refresh token became known while the request with the old one was under way */
    bool is_blocked;
    int64_t blocked_since_ms;
    struct error blocked_error;
    bool is_closing;
    struct token_source *sources;
    struct loop_timer *turn; /* hands out tokens and starts requests outside the callers' stacks */
    struct metric *renewals;
};

static void on_answer(void *arg, const struct http_response *response);

/* -- waiters -------------------------------------------------------------------------------------------------------- */

static void tell(struct token_source *source, const char *token, const struct error *err)
{
    /* Those who ask again from their callback wait for the next turn. */
    struct waiter *waiter = source->first;

    source->first = NULL;
    source->last = &source->first;
    while (waiter != NULL) {
        struct waiter *next = waiter->next;
        waiter->on_token(waiter->arg, token, err);
        free(waiter);
        waiter = next;
    }
}

static bool has_usable_token(const struct token_source *source, int64_t now_ms)
{
    return source->token != NULL && now_ms < source->use_until_ms;
}

/* -- the request ---------------------------------------------------------------------------------------------------- */

static int request_token(struct token_account *account, struct token_source *source, struct error *err)
{
    const bool is_refresh = account->grant == TOKEN_REFRESH_TOKEN;
    const struct http_form_field fields[] = {
        {"grant_type", is_refresh ? "refresh_token" : "client_credentials"},
        {"client_id", account->client_id},
        {"client_secret", account->client_secret},
        {"refresh_token", is_refresh ? account->refresh_token : NULL},
        {"resource", is_refresh ? source->audience : NULL},
        {"scope", is_refresh ? "openid" : source->audience},
    };
    const struct http_header headers[] = {{"Content-Type", "application/x-www-form-urlencoded"},
                                          {"Accept", "application/json"}};
    char *form = http_form_encode(fields, ARRAY_LENGTH(fields));
    const struct http_request request = {.method = HTTP_POST,
                                         .url = account->token_url,
                                         .headers = headers,
                                         .header_count = ARRAY_LENGTH(headers),
                                         .body = form,
                                         .body_length = form == NULL ? 0 : strlen(form)};
    int status;

    if (form == NULL)
        return error_no_memory(err);
    status = http_send(account->client, &request, on_answer, account, err);
    token_secret_free(form);
    return status;
}

/* Who can be given the old token, which is good until its own end, is given it in the next turn instead. */
static void tell_failure(struct token_source *source, const struct error *err, int64_t now_ms)
{
    if (!has_usable_token(source, now_ms))
        tell(source, NULL, err);
}

/* `retry_after_ms`: what the endpoint asked for, -1 if nothing. */
static void fail_source(struct token_source *source, const struct error *err, int64_t now_ms, int64_t retry_after_ms)
{
    struct retry_decision decision;

    source->retry.attempts++;
    decision = retry_decide(&ENDPOINT_RETRY, &source->retry, now_ms, retry_after_ms, random_u32());
    source->not_before_ms = decision.at_ms;
    source->last_error = *err;
    tell_failure(source, err, now_ms);
}

static void block(struct token_account *account, const struct error *err, int64_t now_ms)
{
    if (!account->is_blocked)
        log_error("token.blocked", LOG_TEXT("account", account->name), LOG_ERROR(err));
    account->is_blocked = true;
    account->blocked_since_ms = now_ms;
    account->blocked_error = *err;
    for (struct token_source *source = account->sources; source != NULL; source = source->next)
        tell_failure(source, err, now_ms);
}

/* Blocked, and not yet time to look whether somebody mended it. */
static bool is_resting(const struct token_account *account, int64_t now_ms)
{
    return account->is_blocked && now_ms - account->blocked_since_ms < BLOCKED_PROBE_MS;
}

static void take_turn(struct token_account *account)
{
    loop_timer_set(account->turn, 0);
}

static void conclude(struct token_account *account)
{
    account->state = ACCOUNT_IDLE;
    account->served = NULL;
    token_grant_answer_done(&account->obtained);
    take_turn(account);
}

/* The grant may be used: its refresh token, if it brought one, is durable. */
static void use_grant(struct token_account *account)
{
    struct token_source *source = account->served;

    account->is_blocked = false;
    if (source != NULL) {
        token_secret_free(source->token);
        source->token = account->obtained.access_token;
        account->obtained.access_token = NULL;
        source->renew_at_ms = account->requested_ms + token_renewal_ms(account->obtained.life_ms, random_u32());
        source->use_until_ms = account->requested_ms + token_use_ms(account->obtained.life_ms);
        source->retry = (struct retry_state){0};
        source->not_before_ms = 0;
        source->is_wanted = false; /* whoever asked meanwhile is served by this one */
        log_info("token.renewed", LOG_TEXT("account", account->name), LOG_TEXT("audience", source->audience),
                 LOG_INTEGER("life_ms", account->obtained.life_ms));
        tell(source, source->token, NULL);
    }
    conclude(account);
}

static void account_free_now(struct token_account *account)
{
    token_grant_answer_done(&account->obtained);
    token_secret_free(account->client_secret);
    token_secret_free(account->refresh_token);
    token_secret_free(account->unsaved_refresh_token);
    loop_timer_free(account->turn);
    free(account->token_url);
    free(account->client_id);
    free(account->name);
    free(account);
}

static void on_saved(void *arg, bool is_saved)
{
    struct token_account *account = arg;
    struct error err = ERROR_INIT;

    account->state = ACCOUNT_IDLE;
    if (account->is_closing) {
        account_free_now(account);
        return;
    }
    if (!is_saved) {
        (void)error_set(&err, ERROR_TRANSIENT, "token.not_saved",
                        "the rotated refresh token could not be kept, so the token is not used yet");
        if (account->served != NULL)
            fail_source(account->served, &err, clock_monotonic_ms(), -1);
        conclude(account);
        return;
    }
    token_secret_free(account->refresh_token);
    account->refresh_token = account->unsaved_refresh_token;
    account->unsaved_refresh_token = NULL;
    if (account->obtained.access_token != NULL)
        use_grant(account);
    else
        conclude(account);
}

static void keep_refresh_token(struct token_account *account)
{
    account->state = ACCOUNT_SAVING;
    account->save(account->save_arg, account->name, account->unsaved_refresh_token, on_saved, account);
}

/* There is no token, for the time being or until a person acts. */
static void on_refusal(struct token_account *account, const struct http_response *response, const struct error *err)
{
    const int64_t now_ms = clock_monotonic_ms();
    const int64_t retry_after_ms =
        retry_after_parse(http_response_header(response, "Retry-After"), timestamp_to_ms(clock_now()));

    if (err->class == ERROR_CONFIG && account->is_superseded) { /* it was the old refresh token that was refused */
        if (account->served != NULL)
            account->served->is_wanted = true;
    } else if (err->class == ERROR_CONFIG) {
        block(account, err, now_ms);
    } else if (account->served != NULL) {
        fail_source(account->served, err, now_ms, retry_after_ms);
    }
    conclude(account);
}

static void on_answer(void *arg, const struct http_response *response)
{
    struct token_account *account = arg;
    struct error err = ERROR_INIT;
    int status = -1;

    if (response->result == HTTP_CANCELLED) {
        account->state = ACCOUNT_IDLE;
        if (account->served != NULL)
            tell(account->served, NULL, &response->error);
        account->served = NULL;
        return;
    }
    if (response->result == HTTP_ANSWERED)
        status =
            token_response_judge(response->status, response->body, response->body_length, &account->obtained, &err);
    else
        err = response->error;
    metric_count(account->renewals, account->name, status == 0 ? "ok" : "failed", NULL, NULL);
    if (status < 0) {
        (void)error_wrap(&err, "token of account '%s'", account->name);
        on_refusal(account, response, &err);
        return;
    }
    if (account->grant == TOKEN_REFRESH_TOKEN && account->obtained.refresh_token != NULL &&
        !text_equal(account->obtained.refresh_token, account->refresh_token)) {
        token_secret_free(account->unsaved_refresh_token);
        account->unsaved_refresh_token = account->obtained.refresh_token;
        account->obtained.refresh_token = NULL;
        keep_refresh_token(account);
        return;
    }
    use_grant(account);
}

/* -- turns ---------------------------------------------------------------------------------------------------------- */

/* Hands out what is there; asks for what is not. */
static void serve_source(struct token_source *source, int64_t now_ms)
{
    const struct token_account *account = source->account;

    if (source->first != NULL && has_usable_token(source, now_ms)) {
        source->is_wanted |= now_ms >= source->renew_at_ms;
        tell(source, source->token, NULL);
    }
    if (source->first == NULL)
        return;
    if (is_resting(account, now_ms))
        tell(source, NULL, &account->blocked_error);
    else if (now_ms < source->not_before_ms)
        tell(source, NULL, &source->last_error);
    else
        source->is_wanted = true;
}

static void start_request(struct token_account *account, struct token_source *source, int64_t now_ms)
{
    struct error err = ERROR_INIT;

    source->is_wanted = false;
    account->served = source;
    account->requested_ms = now_ms;
    if (account->unsaved_refresh_token != NULL) { /* first things first: the newest refresh token is not durable yet */
        source->is_wanted = true;
        keep_refresh_token(account);
        return;
    }
    account->state = ACCOUNT_REQUESTING;
    account->is_superseded = false;
    if (request_token(account, source, &err) == 0)
        return;
    account->state = ACCOUNT_IDLE;
    account->served = NULL;
    fail_source(source, &err, now_ms, -1);
}

static void on_turn(void *arg)
{
    struct token_account *account = arg;
    const int64_t now_ms = clock_monotonic_ms();

    for (struct token_source *source = account->sources; source != NULL; source = source->next)
        serve_source(source, now_ms);
    for (struct token_source *source = account->sources; source != NULL; source = source->next) {
        if (account->state == ACCOUNT_IDLE && source->is_wanted && now_ms >= source->not_before_ms &&
            !is_resting(account, now_ms))
            start_request(account, source, now_ms);
    }
}

/* -- the interface -------------------------------------------------------------------------------------------------- */

int token_get(struct token_source *source, token_callback on_token, void *arg)
{
    struct waiter *waiter = calloc(1, sizeof(*waiter));

    if (waiter == NULL)
        return -1;
    waiter->on_token = on_token;
    waiter->arg = arg;
    *source->last = waiter;
    source->last = &waiter->next;
    take_turn(source->account);
    return 0;
}

void token_reject(struct token_source *source, const char *token)
{
    if (source->token == NULL || token == NULL || !text_equal(source->token, token))
        return; /* renewed meanwhile */
    token_secret_free(source->token);
    source->token = NULL;
}

bool token_is_blocked(const struct token_source *source)
{
    return source->account->is_blocked;
}

int token_source_new(struct token_account *account, const char *audience, struct token_source **ret_source,
                     struct error *err)
{
    struct token_source *source = calloc(1, sizeof(*source));

    if (source == NULL || (source->audience = text_copy(audience)) == NULL) {
        free(source);
        return error_no_memory(err);
    }
    source->account = account;
    source->last = &source->first;
    source->next = account->sources;
    account->sources = source;
    *ret_source = source;
    return 0;
}

void token_source_free(struct token_source *source)
{
    struct error err = ERROR_INIT;
    struct token_source **link;

    if (source == NULL)
        return;
    for (link = &source->account->sources; *link != source; link = &(*link)->next)
        ;
    *link = source->next;
    if (source->account->served == source)
        source->account->served = NULL;
    (void)error_set(&err, ERROR_TRANSIENT, "token.closing", "the account is being closed");
    tell(source, NULL, &err);
    token_secret_free(source->token);
    free(source->audience);
    free(source);
}

static bool copy_account(struct token_account *account, const struct token_account_settings *settings)
{
    account->token_url = text_copy(settings->token_url);
    account->client_id = text_copy(settings->client_id);
    account->client_secret = text_copy(settings->client_secret);
    account->name = text_copy(settings->name);
    if (settings->refresh_token != NULL)
        account->refresh_token = text_copy(settings->refresh_token);
    return account->token_url != NULL && account->client_id != NULL && account->client_secret != NULL &&
           account->name != NULL && (settings->refresh_token == NULL || account->refresh_token != NULL);
}

int token_account_new(struct loop *loop, struct http_client *client, const struct token_account_settings *settings,
                      token_save save, void *save_arg, struct token_account **ret_account, struct error *err)
{
    struct token_account *account = calloc(1, sizeof(*account));

    if (account == NULL)
        return error_no_memory(err);
    account->loop = loop;
    account->client = client;
    account->grant = settings->grant;
    account->save = save;
    account->save_arg = save_arg;
    account->renewals = metrics_declare(METRIC_COUNTER, "tandem_token_renewals_total", "account,result",
                                        "Access tokens asked for by account and result.");
    account->turn = loop_timer_new(loop, on_turn, account);
    if (account->turn == NULL || !copy_account(account, settings)) {
        account_free_now(account);
        return error_no_memory(err);
    }
    *ret_account = account;
    return 0;
}

void token_account_free(struct token_account *account)
{
    if (account == NULL)
        return;
    account->is_closing = true;
    if (account->state != ACCOUNT_SAVING) /* else when the store has answered */
        account_free_now(account);
}

int token_account_set_refresh_token(struct token_account *account, const char *refresh_token)
{
    char *copy = text_copy(refresh_token);

    if (copy == NULL)
        return -1;
    account->is_superseded |= !text_equal(account->refresh_token, refresh_token);
    token_secret_free(account->refresh_token);
    account->refresh_token = copy;
    account->is_blocked = false;
    take_turn(account);
    return 0;
}
