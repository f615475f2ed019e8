#include "common/systems/dynamics365.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_operation.h"
#include "common/systems/dynamics365_read.h"
#include "common/systems/dynamics365_table.h"
#include "common/systems/dynamics365_write.h"

/* -- the way of an operation --------------------------------------------------------------------------------------- */

static int read_or_write(struct dynamics_operation *operation, struct error *err)
{
    if (operation->write.decision == NULL || operation->is_find)
        return dynamics_read_record(operation, err);
    return dynamics_write_next(operation, err);
}

static void on_who_am_i(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    json_auto_t *body = dynamics_is_success(response) ? answer_json(response) : NULL;
    const char *user = json_text_of(body, "UserId");

    if (user == NULL || !uuid_is_valid(user, strlen(user))) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY, "ask who we are");
        return;
    }
    (void)uuid_normalise(user, operation->dynamics->user_id);
    dynamics_operation_go_on(operation, read_or_write);
}

/* First of all who we are: it tells our own writes from others' (WhoAmI). */
static int begin(struct dynamics_operation *operation, struct error *err)
{
    const bool is_known = operation->dynamics->user_id[0] != '\0';

    if ((is_known ? read_or_write(operation, err) : dynamics_operation_get(operation, "WhoAmI", on_who_am_i, err)) == 0)
        return 0;
    dynamics_operation_free(operation);
    return -1;
}

/* -- the interface ------------------------------------------------------------------------------------------------- */

static int check_names(const char *entity, const char *record_id, struct error *err)
{
    if (entity == NULL || dynamics_entity_set(entity) == NULL)
        return error_set(err, ERROR_POISON, "dynamics_365.no_such_table", "a table that is not synchronised");
    if (record_id != NULL && !uuid_is_valid(record_id, strlen(record_id)))
        return error_set(err, ERROR_POISON, "dynamics_365.bad_id", "the record's id is not a GUID");
    return 0;
}

static int check_key(const struct decision *decision, struct error *err)
{
    const json_t *value = json_object_iter_value(json_object_iter(decision->create_key));

    if (!json_is_string(value) || json_is_decimal(value) || json_string_length(value) == 0)
        return error_set(err, ERROR_POISON, "dynamics_365.no_key", "a record is created only by its alternate key");
    return 0;
}

static int dynamics_read(struct system *system, const char *record_type, const char *record_id, system_callback on_done,
                         void *arg, struct error *err)
{
    struct dynamics_operation *operation;

    if (check_names(record_type, record_id, err) < 0)
        return -1;
    operation = dynamics_operation_new((struct dynamics_365 *)system, record_type, record_id, on_done, arg);
    return operation == NULL ? error_no_memory(err) : begin(operation, err);
}

static int dynamics_find(struct system *system, const struct decision *decision, system_callback on_done, void *arg,
                         struct error *err)
{
    struct dynamics_operation *operation;

    if (check_names(decision->record_type, decision->record_id, err) < 0)
        return -1;
    if (decision->record_id == NULL && check_key(decision, err) < 0)
        return -1;
    operation =
        dynamics_operation_new((struct dynamics_365 *)system, decision->record_type, decision->record_id, on_done, arg);
    if (operation == NULL)
        return error_no_memory(err);
    operation->is_find = true;
    operation->write.decision = decision;
    return begin(operation, err);
}

static int dynamics_write(struct system *system, const struct system_write *write, system_callback on_done, void *arg,
                          struct error *err)
{
    const struct decision *decision = write->decision;
    struct dynamics_operation *operation;

    if (check_names(decision->record_type, decision->record_id, err) < 0)
        return -1;
    if (decision->action == DECISION_UPDATE && (decision->record_id == NULL || decision->expected_etag == NULL))
        return error_set(err, ERROR_POISON, "dynamics_365.no_version",
                         "a record is changed only with the version it was read with");
    if (decision->action == DECISION_CREATE && check_key(decision, err) < 0)
        return -1;
    if (decision->action == DECISION_NONE)
        return error_set(err, ERROR_POISON, "dynamics_365.action", "a decision to do nothing is not written");
    operation = dynamics_operation_new((struct dynamics_365 *)system, decision->record_type,
                                       decision->action == DECISION_UPDATE ? decision->record_id : NULL, on_done, arg);
    if (operation == NULL)
        return error_no_memory(err);
    operation->write = *write;
    if (dynamics_parts_of(decision, &operation->parts, err) < 0) {
        dynamics_operation_free(operation);
        return -1;
    }
    return begin(operation, err);
}

static bool dynamics_shows_decision(const struct system *system, const json_t *documents,
                                    const struct decision *decision, bool *ret_is_certain)
{
    const json_t *document = record_document_of(documents, "crm");

    (void)system;
    *ret_is_certain = json_flag_of(document, "modified_by_us", false);
    return document != NULL && dynamics_shows(json_object_get(document, "body"), decision);
}

static const char *dynamics_trouble(const struct system *system)
{
    return token_is_blocked(((const struct dynamics_365 *)system)->tokens)
               ? "the application cannot sign in: check client id and secret"
               : NULL;
}

static void dynamics_free(struct system *system)
{
    struct dynamics_365 *dynamics = (struct dynamics_365 *)system;

    token_source_free(dynamics->tokens);
    http_client_free(dynamics->client);
    token_account_free(dynamics->account);
    dynamics_memory_done(&dynamics->memory);
    dynamics_choices_done(&dynamics->choices);
    json_decref(dynamics->definitions);
    free(dynamics->base_url);
    free(dynamics);
}

static const struct system_operations DYNAMICS_365_OPERATIONS = {
    .name = "dynamics-365",
    .read = dynamics_read,
    .find = dynamics_find,
    .write = dynamics_write,
    .shows = dynamics_shows_decision,
    .trouble = dynamics_trouble,
    .free = dynamics_free,
};

static int open_account(struct dynamics_365 *dynamics, struct loop *loop, struct error *err)
{
    const struct dynamics_365_settings *settings = dynamics->settings;
    const struct http_client_settings http = {.name = "dynamics-365",
                                              .ca_file = settings->ca_file,
                                              .connect_timeout_ms = 5000,
                                              .total_timeout_ms = settings->timeout_ms,
                                              .response_max_bytes = 8 << 20,
                                              .response_headers_max_bytes = 64 << 10,
                                              .concurrent_max = (unsigned)settings->concurrent_max,
                                              .queued_max = 10000};
    char *token_url = text_format("%s/%s/oauth2/v2.0/token", settings->login_url, settings->tenant);
    char *scope = settings->scope != NULL ? text_copy(settings->scope) : text_format("%s/.default", settings->url);
    const struct token_account_settings account = {.grant = TOKEN_CLIENT_CREDENTIALS,
                                                   .token_url = token_url,
                                                   .client_id = settings->client_id,
                                                   .client_secret = settings->client_secret.bytes,
                                                   .name = "dynamics-365"};
    int status = -1;

    if (token_url == NULL || scope == NULL)
        (void)error_no_memory(err);
    else if (http_client_new(loop, &http, &dynamics->client, err) == 0 &&
             token_account_new(loop, dynamics->client, &account, NULL, NULL, &dynamics->account, err) == 0)
        status = token_source_new(dynamics->account, scope, &dynamics->tokens, err);
    free(token_url);
    free(scope);
    return status;
}

const struct api *dynamics_365_api(struct system *system)
{
    return &((struct dynamics_365 *)system)->api;
}

const char *dynamics_365_api_url(struct system *system)
{
    return ((const struct dynamics_365 *)system)->base_url;
}

int dynamics_365_new(struct loop *loop, const struct dynamics_365_settings *settings, struct system **ret_system,
                     struct error *err)
{
    struct dynamics_365 *dynamics = calloc(1, sizeof(*dynamics));

    if (dynamics == NULL)
        return error_no_memory(err);
    dynamics->system.operations = &DYNAMICS_365_OPERATIONS;
    dynamics->settings = settings;
    dynamics->base_url = text_format("%s/api/data/v9.2", settings->url);
    dynamics->definitions = json_object();
    if (dynamics->base_url == NULL || dynamics->definitions == NULL || dynamics_memory_init(&dynamics->memory) < 0 ||
        dynamics_choices_init(&dynamics->choices) < 0) {
        dynamics_free(&dynamics->system);
        return error_no_memory(err);
    }
    if (open_account(dynamics, loop, err) < 0) {
        dynamics_free(&dynamics->system);
        return error_wrap(err, "dynamics 365");
    }
    dynamics->api = (struct api){.client = dynamics->client, .tokens = dynamics->tokens};
    *ret_system = &dynamics->system;
    return 0;
}
