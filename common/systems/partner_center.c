#include "common/systems/partner_center.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/messages/record.h"
#include "common/systems/partner_center_create.h"
#include "common/systems/partner_center_operation.h"
#include "common/systems/partner_center_read.h"
#include "common/systems/partner_center_referral.h"
#include "common/systems/partner_center_write.h"

/* -- the interface ------------------------------------------------------------------------------------------------- */

static int begin(struct center_operation *operation,
                 int (*first)(struct center_operation *operation, struct error *err), struct error *err)
{
    if (operation == NULL)
        return error_no_memory(err);
    if (first(operation, err) == 0)
        return 0;
    center_operation_free(operation);
    return -1;
}

static int partner_center_read(struct system *system, const char *record_type, const char *record_id,
                               system_callback on_done, void *arg, struct error *err)
{
    struct center_operation *operation;

    if (!uuid_is_valid(record_id, strlen(record_id)))
        return error_set(err, ERROR_POISON, "partner_center.bad_id", "the referral's id is not a GUID");
    operation = center_operation_new((struct partner_center *)system, record_id, on_done, arg);
    if (operation != NULL)
        operation->is_related = text_equal(record_type, "related-referral");
    return begin(operation, center_read_referral, err);
}

/* `write` alone has a lease to ask for. */
static int begin_creation(struct system *system, const struct system_write *write, bool is_find,
                          system_callback on_done, void *arg, struct error *err)
{
    const struct decision *decision = write->decision;
    const char *own = decision->referral_id;
    struct center_operation *operation;

    if (center_check_creation(decision, err) < 0)
        return -1;
    if (!text_equal(decision->record_type, "invitation") || own == NULL || !uuid_is_valid(own, strlen(own)))
        own = NULL;
    operation = center_operation_new((struct partner_center *)system, own, on_done, arg);
    if (operation != NULL) {
        operation->write = *write;
        operation->is_find = is_find;
    }
    return begin(operation, center_create, err);
}

static int partner_center_find(struct system *system, const struct decision *decision, system_callback on_done,
                               void *arg, struct error *err)
{
    const struct system_write nothing = {.decision = decision};

    if (decision->action == DECISION_CREATE)
        return begin_creation(system, &nothing, true, on_done, arg, err);
    if (decision->record_id == NULL)
        return error_set(err, ERROR_POISON, "partner_center.action", "an existing referral is found by its id");
    return partner_center_read(system, "referral", decision->record_id, on_done, arg, err);
}

static int partner_center_write(struct system *system, const struct system_write *write, system_callback on_done,
                                void *arg, struct error *err)
{
    const struct decision *decision = write->decision;
    struct center_operation *operation;

    if (decision->action == DECISION_CREATE)
        return begin_creation(system, write, false, on_done, arg, err);
    if (decision->action != DECISION_UPDATE || decision->record_id == NULL)
        return error_set(err, ERROR_POISON, "partner_center.action", "an existing referral is changed by its id");
    if (!uuid_is_valid(decision->record_id, strlen(decision->record_id)))
        return error_set(err, ERROR_POISON, "partner_center.bad_id", "the referral's id is not a GUID");
    if (decision->expected_etag == NULL)
        return error_set(err, ERROR_POISON, "partner_center.no_version",
                         "a referral is written only with the eTag it was read with");
    operation = center_operation_new((struct partner_center *)system, decision->record_id, on_done, arg);
    if (operation != NULL)
        operation->write = *write;
    return begin(operation, center_patch_referral, err);
}

static bool partner_center_shows(const struct system *system, const json_t *documents, const struct decision *decision,
                                 bool *ret_is_certain)
{
    (void)system;
    *ret_is_certain = false; /* a referral does not tell who changed it last */
    /* The service adds to what it creates; what was created is known by its key. */
    if (decision->action == DECISION_CREATE)
        return center_shows_creation(documents, decision);
    return referral_shows(json_object_get(record_document_of(documents, "own"), "body"), decision->write);
}

/* A change is judged by reading the referral itself, which shows it at once. */
static int64_t partner_center_settling_ms(const struct system *system, const struct decision *decision)
{
    const struct partner_center *center = (const struct partner_center *)system;

    return decision->action == DECISION_CREATE ? center->settings->settling_time_ms : 0;
}

static const char *partner_center_trouble(const struct system *system)
{
    const struct partner_center *center = (const struct partner_center *)system;

    return token_is_blocked(center->tokens) ? "the service user has to sign in again" : NULL;
}

/* -- life ---------------------------------------------------------------------------------------------------------- */

static void partner_center_free(struct system *system)
{
    struct partner_center *center = (struct partner_center *)system;

    token_source_free(center->tokens);
    token_source_free(center->registration_tokens);
    http_client_free(center->client);
    token_account_free(center->account);
    json_decref(center->engagements);
    free(center->base_url);
    free(center);
}

static const struct system_operations PARTNER_CENTER_OPERATIONS = {
    .name = "partner-center",
    .read = partner_center_read,
    .find = partner_center_find,
    .write = partner_center_write,
    .shows = partner_center_shows,
    .settling_ms = partner_center_settling_ms,
    .trouble = partner_center_trouble,
    .free = partner_center_free,
};

static void keep_in_memory(void *arg, const char *account, const char *refresh_token,
                           void (*done)(void *done_arg, bool is_saved), void *done_arg)
{
    (void)arg;
    (void)account;
    (void)refresh_token;
    done(done_arg, true);
}

static int open_account(struct partner_center *center, struct loop *loop, token_save save, void *save_arg,
                        struct error *err)
{
    const struct partner_center_settings *settings = center->settings;
    const struct http_client_settings http = {.name = "partner-center",
                                              .ca_file = settings->ca_file,
                                              .connect_timeout_ms = 5000,
                                              .total_timeout_ms = settings->timeout_ms,
                                              .response_max_bytes = 8 << 20,
                                              .response_headers_max_bytes = 64 << 10,
                                              .concurrent_max = (unsigned)settings->concurrent_max,
                                              .queued_max = 10000};
    char *token_url = text_format("%s/%s/oauth2/token", settings->login_url, settings->tenant);
    const struct token_account_settings account = {.grant = TOKEN_REFRESH_TOKEN,
                                                   .token_url = token_url,
                                                   .client_id = settings->client_id,
                                                   .client_secret = settings->client_secret.bytes,
                                                   .refresh_token = settings->refresh_token.bytes,
                                                   .name = "partner-center"};
    int status = -1;

    if (token_url == NULL)
        return error_no_memory(err);
    if (http_client_new(loop, &http, &center->client, err) == 0 &&
        token_account_new(loop, center->client, &account, save != NULL ? save : keep_in_memory, save_arg,
                          &center->account, err) == 0 &&
        token_source_new(center->account, settings->audience, &center->tokens, err) == 0)
        status = token_source_new(center->account, settings->registration_audience, &center->registration_tokens, err);
    free(token_url);
    return status;
}

int partner_center_new(struct loop *loop, const struct partner_center_settings *settings, token_save save,
                       void *save_arg, struct system **ret_system, struct error *err)
{
    struct partner_center *center = calloc(1, sizeof(*center));

    if (center == NULL)
        return error_no_memory(err);
    center->system.operations = &PARTNER_CENTER_OPERATIONS;
    center->settings = settings;
    center->engagements = json_object();
    center->base_url = text_format("%s/v1.0/engagements/referrals", settings->api_url);
    if (center->engagements == NULL || center->base_url == NULL) {
        partner_center_free(&center->system);
        return error_no_memory(err);
    }
    if (open_account(center, loop, save, save_arg, err) < 0) {
        partner_center_free(&center->system);
        return error_wrap(err, "partner center");
    }
    center->api = (struct api){.client = center->client, .tokens = center->tokens};
    center->registration = (struct api){.client = center->client, .tokens = center->registration_tokens};
    *ret_system = &center->system;
    return 0;
}

int partner_center_set_refresh_token(struct system *system, const char *refresh_token)
{
    return token_account_set_refresh_token(((struct partner_center *)system)->account, refresh_token);
}

const struct api *partner_center_registration(struct system *system)
{
    return &((struct partner_center *)system)->registration;
}
