#include "ingest/register_dynamics_plan.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/http/client.h"
#include "ingest/register_dynamics_values.h"

enum {
    WEBHOOK = 8,     /* serviceendpoint.contract */
    WEBHOOK_KEY = 4, /* serviceendpoint.authtype */
    HTTP_HEADER = 5,
    ASYNCHRONOUS = 1,
    POST_OPERATION = 40, /* the only stage of asynchronous steps */
    PRE_IMAGE = 0,
    BOTH_IMAGES = 2,
    DIFFERENCE_BYTES_MAX = 256 * 1024,
    PATH_BYTES_MAX = 16 * 1024
};

static const char record_table[] = "opportunity";

/* Closing an opportunity is a message of its own; whether it also is an Update is unconfirmed. */
static const struct {
    const char *name;
    bool is_of_children;
    bool is_optional; /* registered where the organisation knows it */
} MESSAGES[] = {
    {"Create", true, false}, {"Update", true, false}, {"Delete", true, false},
    {"Win", false, true},    {"Lose", false, true},
};

char *register_dynamics_filters_path(const struct config_map *child_tables)
{
    struct text filter;
    char *encoded = NULL, *path = NULL;
    int status;

    text_init(&filter, PATH_BYTES_MAX);
    status = text_appendf(&filter, "(primaryobjecttypecode eq '%s'", record_table);
    for (size_t i = 0; i < child_tables->count && status == 0; i++)
        status = text_appendf(&filter, " or primaryobjecttypecode eq '%s'", child_tables->keys[i]);
    for (size_t i = 0; i < ARRAY_LENGTH(MESSAGES) && status == 0; i++)
        status = text_appendf(&filter, "%ssdkmessageid/name eq '%s'", i == 0 ? ") and (" : " or ", MESSAGES[i].name);
    if (status == 0 && text_append(&filter, ")") == 0)
        encoded = http_encode(text_string(&filter));
    if (encoded != NULL)
        path = text_format("sdkmessagefilters?$select=sdkmessagefilterid,primaryobjecttypecode,_sdkmessageid_value"
                           "&$expand=sdkmessageid($select=name)&$filter=%s",
                           encoded);
    text_done(&filter);
    free(encoded);
    return path;
}

/* --- Parts -------------------------------------------------------------------------------------------------------- */

static void part_done(struct register_part *part)
{
    free(part->name);
    free(part->difference);
    free(part->id);
    json_decref(part->body);
}

void register_dynamics_plan_done(struct register_dynamics_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        part_done(&plan->parts[i]);
    free(plan->parts);
    *plan = (struct register_dynamics_plan){0};
}

/* Takes the part over, also on failure. */
static int add_part(struct register_dynamics_plan *plan, struct register_part *part, struct error *err)
{
    struct register_part *parts = realloc(plan->parts, (plan->count + 1) * sizeof(*parts));

    if (parts != NULL)
        plan->parts = parts;
    if (parts == NULL || part->name == NULL || part->body == NULL ||
        (part->state == REGISTER_DIFFERENT && part->difference == NULL)) {
        part_done(part);
        return error_no_memory(err);
    }
    plan->parts[plan->count++] = *part;
    plan->good += part->state == REGISTER_GOOD;
    plan->missing += part->state == REGISTER_MISSING;
    plan->different += part->state == REGISTER_DIFFERENT;
    plan->surplus += part->state == REGISTER_SURPLUS;
    return 0;
}

static int set_id(struct register_part *part, const json_t *row, const char *column, struct error *err)
{
    const char *id = json_text_of(row, column);

    return id == NULL ? error_set(err, ERROR_TRANSIENT, "register.bad_response", "a row has no '%s'", column)
                      : text_assign(&part->id, id, err);
}

/* Compares the row with `wanted`, column by column; what differs goes into body and difference. */
static int compare(struct register_part *part, const json_t *row, const json_t *wanted, struct error *err)
{
    struct text difference;
    const char *column;
    json_t *value;
    int status = 0;

    text_init(&difference, DIFFERENCE_BYTES_MAX);
    json_object_foreach ((json_t *)(uintptr_t)wanted, column, value) {
        const json_t *present = json_object_get(row, column);
        const bool is_list = text_ends_with(column, "attributes");
        const bool is_same =
            is_list ? register_dynamics_same_attributes(json_string_value(present), json_string_value(value))
                    : json_same(present, value);
        char *is = present == NULL ? text_copy("nothing") : json_write(present, false, NULL);
        char *should = json_write(value, false, NULL);

        if (!is_same && status == 0)
            status = is == NULL || should == NULL || json_object_set(part->body, column, value) < 0
                         ? -1
                         : text_appendf(&difference, "%s%s is %s, wanted %s", difference.length == 0 ? "" : "; ",
                                        column, is, should);
        free(is);
        free(should);
    }
    if (status == 0 && difference.length > 0) {
        part->state = REGISTER_DIFFERENT;
        part->difference = text_take(&difference);
    }
    text_done(&difference);
    return status < 0 ? error_no_memory(err) : 0;
}

static int plan_endpoint(const struct register_dynamics_wanted *wanted, const struct register_dynamics_found *found,
                         struct register_dynamics_plan *plan, struct error *err)
{
    struct register_part part = {.kind = REGISTER_ENDPOINT, .name = text_copy(REGISTER_ENDPOINT_NAME)};
    json_auto_t *columns =
        json_pack("{s:i, s:i}", "contract", WEBHOOK, "authtype", wanted->uses_webhook_key ? WEBHOOK_KEY : HTTP_HEADER);
    int status = columns == NULL ? -1 : 0;

    if (wanted->url != NULL && status == 0)
        status = json_object_set_new(columns, "url", json_string(wanted->url));
    if (status < 0) {
        part_done(&part);
        return error_no_memory(err);
    }
    if (found->endpoint == NULL) {
        part.state = REGISTER_MISSING;
        part.body = json_incref(columns);
        (void)json_object_set_new(columns, "name", json_string(REGISTER_ENDPOINT_NAME));
        return add_part(plan, &part, err);
    }
    part.body = json_object();
    if (set_id(&part, found->endpoint, "serviceendpointid", err) < 0 ||
        compare(&part, found->endpoint, columns, err) < 0) {
        part_done(&part);
        return -1;
    }
    if (part.state == REGISTER_GOOD && wanted->renews_secret) {
        part.state = REGISTER_DIFFERENT;
        part.difference = text_copy("the secret is to be written again");
    }
    /* The way of authentication and the secret belong together. */
    if (part.state == REGISTER_DIFFERENT)
        (void)json_object_set(part.body, "authtype", json_object_get(columns, "authtype"));
    return add_part(plan, &part, err);
}

static bool is_about(const json_t *row, const char *message, const char *table)
{
    return text_equal(json_text_of(json_object_get(row, "sdkmessageid"), "name"), message) &&
           text_equal(json_text_of(json_object_get(row, "sdkmessagefilterid"), "primaryobjecttypecode"), table);
}

static const json_t *filter_of(const json_t *filters, const char *message, const char *table)
{
    for (size_t i = 0; i < json_array_size(filters); i++) {
        const json_t *filter = json_array_get(filters, i);
        if (text_equal(json_text_of(filter, "primaryobjecttypecode"), table) &&
            text_equal(json_text_of(json_object_get(filter, "sdkmessageid"), "name"), message))
            return filter;
    }
    return NULL;
}

static int bind_row(json_t *body, const char *name, const char *set, const char *id)
{
    char *column = text_format("%s@odata.bind", name);
    char *target = id == NULL ? NULL : text_format("/%s(%s)", set, id);
    int status = column == NULL || target == NULL ? -1 : json_object_set_new(body, column, json_string(target));

    free(column);
    free(target);
    return status;
}

/* Columns of a step by which it is compared. New reference; NULL: out of memory. */
static json_t *step_columns(const struct register_dynamics_wanted *wanted, const char *message, const char *table)
{
    json_t *columns = json_pack("{s:i, s:i, s:b, s:i}", "mode", ASYNCHRONOUS, "stage", POST_OPERATION,
                                "asyncautodelete", 1, "statecode", 0);
    char *attributes;
    int status = 0;

    if (columns == NULL || strcmp(message, "Update") != 0 || strcmp(table, record_table) != 0)
        return columns;
    attributes = register_dynamics_attributes(wanted->columns);
    status = attributes == NULL ? -1 : json_object_set_new(columns, "filteringattributes", json_string(attributes));
    free(attributes);
    if (status == 0)
        return columns;
    json_decref(columns);
    return NULL;
}

static int complete_new_step(json_t *body, const json_t *filter, const char *name)
{
    char *title = text_format(REGISTER_ENDPOINT_NAME ": %s", name);
    int status = -1;

    /* A new step is enabled; its state cannot be given. */
    (void)json_object_del(body, "statecode");
    if (title != NULL && json_object_set_new(body, "name", json_string(title)) == 0 &&
        json_object_set_new(body, "rank", json_integer(1)) == 0 &&
        json_object_set_new(body, "supporteddeployment", json_integer(0)) == 0 &&
        bind_row(body, "sdkmessageid", "sdkmessages", json_text_of(filter, "_sdkmessageid_value")) == 0)
        status = bind_row(body, "sdkmessagefilterid", "sdkmessagefilters", json_text_of(filter, "sdkmessagefilterid"));
    free(title);
    return status;
}

static const json_t *step_of(const json_t *steps, const char *message, const char *table)
{
    for (size_t i = 0; i < json_array_size(steps); i++) {
        if (is_about(json_array_get(steps, i), message, table))
            return json_array_get(steps, i);
    }
    return NULL;
}

static int plan_step(const struct register_dynamics_wanted *wanted, const struct register_dynamics_found *found,
                     const char *message, const char *table, const json_t *filter, struct register_dynamics_plan *plan,
                     struct error *err)
{
    const json_t *step = step_of(found->steps, message, table);
    struct register_part part = {.kind = REGISTER_STEP, .name = text_format("%s of %s", message, table)};
    json_auto_t *columns = step_columns(wanted, message, table);
    int status = -1;

    if (part.name == NULL || columns == NULL) {
        (void)error_no_memory(err);
    } else if (step == NULL) {
        part.state = REGISTER_MISSING;
        part.body = json_incref(columns);
        status = complete_new_step(columns, filter, part.name) < 0 ? error_no_memory(err) : 0;
    } else {
        part.body = json_object();
        status = set_id(&part, step, "sdkmessageprocessingstepid", err);
        if (status == 0)
            status = compare(&part, step, columns, err);
        if (status == 0 && json_object_get(part.body, "statecode") != NULL)
            (void)json_object_set_new(part.body, "statuscode", json_integer(1));
    }
    if (status == 0)
        return add_part(plan, &part, err);
    part_done(&part);
    return -1;
}

/* What an update sends does not hold the opportunity, and what is deleted shows nothing. */
static int plan_image(const struct register_dynamics_found *found, const char *message, const char *column,
                      struct register_dynamics_plan *plan, struct error *err)
{
    const size_t step = plan->count - 1;
    const char *step_id = plan->parts[step].id;
    struct register_part part = {.kind = REGISTER_IMAGE, .step = step, .name = text_copy(plan->parts[step].name)};
    json_auto_t *columns =
        json_pack("{s:i, s:s, s:s, s:s}", "imagetype", strcmp(message, "Delete") == 0 ? PRE_IMAGE : BOTH_IMAGES,
                  "entityalias", "parent", "attributes", column, "messagepropertyname", "Target");
    const json_t *image = NULL;
    int status = 0;

    for (size_t i = 0; i < json_array_size(found->images) && image == NULL; i++) {
        const json_t *candidate = json_array_get(found->images, i);
        if (step_id != NULL && text_equal(json_text_of(candidate, "_sdkmessageprocessingstepid_value"), step_id))
            image = candidate;
    }
    if (part.name == NULL || columns == NULL) {
        status = error_no_memory(err);
    } else if (image == NULL) {
        part.state = REGISTER_MISSING;
        part.body = json_incref(columns);
        status = json_object_set_new(columns, "name", json_string("parent")) < 0 ? error_no_memory(err) : 0;
    } else {
        part.body = json_object();
        status = set_id(&part, image, "sdkmessageprocessingstepimageid", err);
        if (status == 0)
            status = compare(&part, image, columns, err);
    }
    if (status == 0)
        return add_part(plan, &part, err);
    part_done(&part);
    return -1;
}

/* `column`: of a child table; NULL: the opportunity's own. */
static int plan_table(const struct register_dynamics_wanted *wanted, const struct register_dynamics_found *found,
                      const char *table, const char *column, struct register_dynamics_plan *plan, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(MESSAGES); i++) {
        const char *message = MESSAGES[i].name;
        const json_t *filter = filter_of(found->filters, message, table);

        if ((column != NULL && !MESSAGES[i].is_of_children) || (filter == NULL && MESSAGES[i].is_optional))
            continue;
        if (filter == NULL)
            return error_set(err, ERROR_CONFIG, "register.no_such_table",
                             "the organisation has no message %s for the table '%s'%s", message, table,
                             column == NULL ? "" : "; correct dynamics_365.child_tables");
        if (plan_step(wanted, found, message, table, filter, plan, err) < 0)
            return -1;
        if (column != NULL && strcmp(message, "Create") != 0 && plan_image(found, message, column, plan, err) < 0)
            return -1;
    }
    return 0;
}

static bool is_planned(const struct register_dynamics_plan *plan, const char *id)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->parts[i].kind == REGISTER_STEP && text_equal(plan->parts[i].id, id))
            return true;
    }
    return false;
}

static int plan_surplus(const struct register_dynamics_found *found, struct register_dynamics_plan *plan,
                        struct error *err)
{
    for (size_t i = 0; i < json_array_size(found->steps); i++) {
        const json_t *step = json_array_get(found->steps, i);
        const char *message = json_text_of(json_object_get(step, "sdkmessageid"), "name");
        const char *table = json_text_of(json_object_get(step, "sdkmessagefilterid"), "primaryobjecttypecode");
        struct register_part part = {.kind = REGISTER_STEP, .state = REGISTER_SURPLUS};

        if (is_planned(plan, json_text_of(step, "sdkmessageprocessingstepid")))
            continue;
        part.name = text_format("%s of %s", message == NULL ? "?" : message, table == NULL ? "?" : table);
        part.body = json_object();
        if (set_id(&part, step, "sdkmessageprocessingstepid", err) < 0) {
            part_done(&part);
            return -1;
        }
        if (add_part(plan, &part, err) < 0)
            return -1;
    }
    return 0;
}

int register_dynamics_plan(const struct register_dynamics_wanted *wanted, const struct register_dynamics_found *found,
                           struct register_dynamics_plan *ret_plan, struct error *err)
{
    struct register_dynamics_plan plan = {0};
    const struct config_map *children = wanted->child_tables;
    int status = plan_endpoint(wanted, found, &plan, err);

    if (status == 0)
        status = plan_table(wanted, found, record_table, NULL, &plan, err);
    for (size_t i = 0; i < children->count && status == 0; i++)
        status = plan_table(wanted, found, children->keys[i], children->values[i], &plan, err);
    if (status == 0)
        status = plan_surplus(found, &plan, err);
    if (status == 0)
        *ret_plan = plan;
    else
        register_dynamics_plan_done(&plan);
    return status;
}
