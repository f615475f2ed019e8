#include "common/systems/dynamics365_bind.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_table.h"

/* What child rows point to is the same for many deals. */
static void remember(struct dynamics_operation *operation, const json_t *lookup, const char *id)
{
    if (operation->binding.does_remember)
        dynamics_memory_keep_found(&operation->dynamics->memory, lookup, id, clock_monotonic_ms());
}

static int bind_lookup(struct dynamics_operation *operation, const char *id)
{
    const json_t *lookup = json_object_get(operation->binding.lookups, operation->navigation);
    struct dynamics_table table;
    const bool has_table = dynamics_table_of(lookup, &table);
    char *column = text_format("%s@odata.bind", operation->navigation);
    char *target = has_table ? text_format("/%s(%s)", table.set, id) : NULL;
    int status = -1;

    if (column != NULL && target != NULL &&
        json_object_set_new(operation->binding.binds, column, json_string(target)) == 0)
        status = json_object_del(operation->binding.lookups, operation->navigation);
    free(column);
    free(target);
    free(operation->navigation);
    operation->navigation = NULL;
    return status;
}

static void bound(struct dynamics_operation *operation, const char *id)
{
    struct error err = ERROR_INIT;

    if (bind_lookup(operation, id) < 0) {
        (void)error_no_memory(&err);
        dynamics_operation_fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_RETRY, &err);
        return;
    }
    dynamics_operation_go_on(operation, operation->binding.next);
}

static void on_lookup_made(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    const json_t *lookup = json_object_get(operation->binding.lookups, operation->navigation);
    bool is_there = dynamics_is_success(response);
    char id[UUID_TEXT_SIZE];
    struct error local = ERROR_INIT;

    if (!is_there && response != NULL && response->result == HTTP_ANSWERED) {
        /* A worker beside us, or an earlier attempt of ours, made it. */
        json_auto_t *body = answer_json(response);
        is_there = dynamics_classify(response->status, body, false).result == SYSTEM_CONFLICT;
    }
    if (!is_there) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY,
                                "create the record a lookup points to");
        return;
    }
    if (dynamics_lookup_id(lookup, id) < 0) {
        (void)error_no_memory(&local);
        dynamics_operation_fail_locally(operation, operation->was_written ? SYSTEM_UNKNOWN : SYSTEM_RETRY, &local);
        return;
    }
    if (dynamics_is_success(response)) /* else it may be there under another id */
        remember(operation, lookup, id);
    bound(operation, id);
}

/* Creates the record under the id its identity gives, never touching one that is there. */
static int make_lookup(struct dynamics_operation *operation, struct error *err)
{
    const json_t *lookup = json_object_get(operation->binding.lookups, operation->navigation);
    struct dynamics_table table;
    char id[UUID_TEXT_SIZE];
    size_t length = 0;
    char *body = json_write(json_object_get(lookup, "values"), false, &length);
    char *path = NULL;

    if (dynamics_table_of(lookup, &table) && dynamics_lookup_id(lookup, id) == 0)
        path = text_format("%s(%s)", table.set, id);
    return dynamics_operation_patch(operation, path, body, length, "If-None-Match", "*", NULL, on_lookup_made, err);
}

static void on_lookup(void *arg, const struct http_response *response, const struct error *err)
{
    struct dynamics_operation *operation = arg;
    struct dynamics_365 *dynamics = operation->dynamics;
    const json_t *lookup = json_object_get(operation->binding.lookups, operation->navigation);
    const char *entity = json_text_of(lookup, "entity");
    struct dynamics_table table;
    const bool has_table = dynamics_table_of(lookup, &table);
    json_auto_t *page = dynamics_is_success(response) ? answer_json(response) : NULL;
    const json_t *found = json_object_get(page, "value");
    const char *id = has_table ? json_text_of(json_array_get(found, 0), table.key) : NULL;
    struct error local = ERROR_INIT;

    if (!json_is_array(found) || (json_array_size(found) > 0 && (id == NULL || !uuid_is_valid(id, strlen(id))))) {
        dynamics_operation_fail(operation, response, err, DYNAMICS_REQUEST_AUXILIARY,
                                "find the record a lookup points to");
    } else if (json_array_size(found) > 1) {
        (void)error_set(&local, ERROR_POISON, "lookup.ambiguous",
                        "several records of table '%s' match what the rules look for; keep one of them", entity);
        dynamics_operation_fail_locally(operation, SYSTEM_REFUSED, &local);
    } else if (id != NULL) {
        dynamics_memory_keep_currency(&dynamics->memory, lookup, id);
        dynamics_memory_keep(&dynamics->memory, &dynamics->settings->columns, operation->navigation, id,
                             json_array_get(found, 0), clock_monotonic_ms());
        remember(operation, lookup, id);
        bound(operation, id);
    } else if (json_flag_of(lookup, "create", false)) {
        dynamics_operation_go_on(operation, make_lookup);
    } else {
        (void)error_set(&local, ERROR_POISON, "lookup.not_found",
                        "no record of table '%s' matches what the rules look for; add it in the CRM", entity);
        dynamics_operation_fail_locally(operation, SYSTEM_REFUSED, &local);
    }
}

static int find_lookup(struct dynamics_operation *operation, struct error *err)
{
    const json_t *lookup = json_object_get(operation->binding.lookups, operation->navigation);
    char *path;
    int status;

    if (dynamics_lookup_search(lookup, operation->navigation, &operation->dynamics->settings->columns, &path, err) < 0)
        return -1;
    status = dynamics_operation_get(operation, path, on_lookup, err);
    free(path);
    return status;
}

/* One that is remembered is bound at once, any other is looked for. */
int dynamics_bind_next(struct dynamics_operation *operation, struct error *err)
{
    const struct dynamics_memory *memory = &operation->dynamics->memory;
    void *first = json_object_iter(operation->binding.lookups);
    const json_t *lookup = json_object_iter_value(first);
    const char *known = dynamics_memory_currency(memory, lookup);

    if (known == NULL && operation->binding.does_remember)
        known = dynamics_memory_found(memory, lookup, clock_monotonic_ms());
    free(operation->navigation); /* of one that could not be bound */
    operation->navigation = text_copy(json_object_iter_key(first));
    if (operation->navigation == NULL)
        return error_no_memory(err);
    if (known == NULL)
        return find_lookup(operation, err);
    if (bind_lookup(operation, known) < 0)
        return error_no_memory(err);
    return operation->binding.next(operation, err);
}
