#include "common/systems/dynamics365_record.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/http/client.h"
#include "common/messages/record.h"
#include "common/systems/answer.h"
#include "common/systems/dynamics365_child.h"
#include "common/systems/dynamics365_choices.h"
#include "common/systems/dynamics365_column_path.h"
#include "common/systems/dynamics365_lookup.h"
#include "common/systems/dynamics365_query.h"
#include "common/systems/dynamics365_table.h"

/* Web service error codes, where they say more than the HTTP status. */
static const struct {
    const char *code;
    enum system_result result;
    const char *word;
} CODES[] = {
    {"0x80060882", SYSTEM_CONFLICT, "dynamics_365.version"},
    {"0x80060883", SYSTEM_REFUSED, "dynamics_365.no_versions"},
    {"0x8006088d", SYSTEM_REFUSED, "dynamics_365.no_versions"},
    {"0x80040217", SYSTEM_GONE, "dynamics_365.not_found"},
    {"0x80060891", SYSTEM_GONE, "dynamics_365.not_found"},
    {"0x8006088a", SYSTEM_REFUSED, "dynamics_365.no_such_table"},
    {"0x80060890", SYSTEM_REFUSED, "dynamics_365.no_such_key"},
    {"0x80060892", SYSTEM_CONFLICT, "dynamics_365.duplicate_key"},
    {"0x80040237", SYSTEM_CONFLICT, "dynamics_365.duplicate_key"},
    {"0x80073002", SYSTEM_CONFLICT, "dynamics_365.duplicate_key"},
    {"0x80040333", SYSTEM_REFUSED, "dynamics_365.duplicate_record"},
    {"0x80040220", SYSTEM_REFUSED, "dynamics_365.privilege"},
    {"0x80048306", SYSTEM_REFUSED, "dynamics_365.privilege"},
    {"0x80040256", SYSTEM_REFUSED, "dynamics_365.privilege"},
    {"0x80048405", SYSTEM_REFUSED, "dynamics_365.privilege"},
    {"0x80040225", SYSTEM_BLOCKED, "dynamics_365.user_disabled"},
    {"0x8004D24B", SYSTEM_BLOCKED, "dynamics_365.user_disabled"},
    {"0x80072560", SYSTEM_BLOCKED, "dynamics_365.not_a_member"},
    {"0x8004A104", SYSTEM_BLOCKED, "dynamics_365.organization_disabled"},
    {"0x80044331", SYSTEM_REFUSED, "dynamics_365.too_long"},
    {"0x8004431A", SYSTEM_REFUSED, "dynamics_365.no_such_choice"},
    {"0x80061005", SYSTEM_REFUSED, "dynamics_365.no_such_choice"},
    {"0x80048cfb", SYSTEM_REFUSED, "dynamics_365.currency"},
    {"0x80048cea", SYSTEM_REFUSED, "dynamics_365.currency"},
    {"0x80048408", SYSTEM_REFUSED, "dynamics_365.state"},
    {"0x80040515", SYSTEM_CONFLICT, "dynamics_365.already_closed"},
    {"0x80040516", SYSTEM_CONFLICT, "dynamics_365.cannot_close"},
    {"0x8004051a", SYSTEM_CONFLICT, "dynamics_365.already_open"},
    {"0x80040517", SYSTEM_CONFLICT, "dynamics_365.customer_inactive"},
    {"0x80040265", SYSTEM_REFUSED, "dynamics_365.plugin_refused"},
    {"0x80040216", SYSTEM_RETRY, "dynamics_365.unexpected"},
    {"0x80072322", SYSTEM_RETRY, "dynamics_365.throttled_requests"},
    {"0x80072321", SYSTEM_RETRY, "dynamics_365.throttled_time"},
    {"0x80072326", SYSTEM_RETRY, "dynamics_365.throttled_concurrency"},
    {"0x80044150", SYSTEM_RETRY, "dynamics_365.sql"},
    {"0x80044151", SYSTEM_RETRY, "dynamics_365.sql_timeout"},
    {"0x80073000", SYSTEM_RETRY, "dynamics_365.network"},
    {"0x8004A001", SYSTEM_RETRY, "dynamics_365.busy"},
    {"0x80071154", SYSTEM_RETRY, "dynamics_365.concurrent"},
    {"0x8004Ed47", SYSTEM_RETRY, "dynamics_365.lock"},
    {"0x80154B53", SYSTEM_RETRY, "dynamics_365.try_again"},
};

/* "An unexpected error occurred": it is told while metadata are being changed, which passes, and for tables and columns
 * the service cannot work with, which does not. */
static const char UNEXPLAINED[] = "0x80040216";

static const char *word_of(enum system_result result)
{
    switch (result) {
    case SYSTEM_DONE:
        return "done";
    case SYSTEM_CONFLICT:
        return "dynamics_365.conflict";
    case SYSTEM_GONE:
        return "dynamics_365.not_found";
    case SYSTEM_REFUSED:
        return "dynamics_365.refused";
    case SYSTEM_RETRY:
        return "dynamics_365.unavailable";
    case SYSTEM_UNKNOWN:
        return "dynamics_365.unknown_outcome";
    case SYSTEM_BLOCKED:
        return "dynamics_365.sign_in";
    }
    return "dynamics_365.refused";
}

struct dynamics_meaning dynamics_classify(long status, const json_t *body, bool has_effect)
{
    const char *code = json_text_of(json_object_get(body, "error"), "code");
    enum system_result result = answer_of_status(status, has_effect);

    for (size_t i = 0; code != NULL && i < ARRAY_LENGTH(CODES); i++) {
        if (!text_equal_ignoring_case(code, CODES[i].code))
            continue;
        /* "Try again" does not say that nothing was done, where the status leaves that open. */
        if (result != SYSTEM_UNKNOWN || CODES[i].result != SYSTEM_RETRY)
            result = CODES[i].result;
        return (struct dynamics_meaning){
            .result = result, .code = CODES[i].word, .is_unexplained = text_equal_ignoring_case(code, UNEXPLAINED)};
    }
    return (struct dynamics_meaning){.result = result, .code = word_of(result)};
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

json_t *dynamics_document(const char *entity, json_t *record, const char *our_user_id)
{
    const char *id = json_text_of(record, dynamics_primary_key(entity));
    const char *modifier = json_text_of(record, "_modifiedby_value");
    const json_t *number = json_object_get(record, "versionnumber");
    char version[32] = "";
    char normalised[UUID_TEXT_SIZE];
    struct decimal decimal;
    char plain[DECIMAL_TEXT_SIZE];
    json_t *document;

    if (id == NULL || !uuid_is_valid(id, strlen(id)))
        return NULL;
    if (json_is_string(number) && !json_is_decimal(number))
        (void)snprintf(version, sizeof(version), "%s", json_string_value(number));
    else if (json_get_decimal(number, &decimal))
        (void)snprintf(version, sizeof(version), "%.31s", decimal_format(&decimal, -1, plain));
    document =
        record_document("crm", uuid_normalise(id, normalised), version[0] == '\0' ? NULL : version,
                        json_text_of(record, "modifiedon"), json_text_of(record, "@odata.etag"), json_incref(record));
    if (document != NULL && our_user_id != NULL && modifier != NULL)
        (void)json_object_set_new(document, "modified_by_us",
                                  json_boolean(text_equal_ignoring_case(modifier, our_user_id)));
    return document;
}

bool dynamics_id_of(const char *address, char out[static UUID_TEXT_SIZE])
{
    const char *open = address == NULL ? NULL : strrchr(address, '(');

    if (open == NULL || !uuid_is_valid(open + 1, strcspn(open + 1, ")")))
        return false;
    char id[UUID_TEXT_SIZE];
    memcpy(id, open + 1, UUID_TEXT_SIZE - 1);
    id[UUID_TEXT_SIZE - 1] = '\0';
    (void)uuid_normalise(id, out);
    return true;
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

/* A label is looked up before the record is written; no label is no value. */
static int add_label(struct dynamics_parts *parts, const char *column, const json_t *value, struct error *err)
{
    char *name = text_copy_n(column, strlen(column) - strlen(DYNAMICS_LABEL));
    int status = -1;

    if (name == NULL || !(json_is_null(value) || json_is_string(value)) || json_is_decimal(value))
        status = name == NULL ? error_no_memory(err)
                              : error_set(err, ERROR_POISON, "dynamics_365.write", "the label of '%s' is a text", name);
    else if (json_object_set_new(json_is_null(value) ? parts->columns : parts->labels, name, json_deep_copy(value)) < 0)
        (void)error_no_memory(err);
    else
        status = 0;
    free(name);
    return status;
}

static bool is_state(const char *column)
{
    return strcmp(column, "statecode") == 0 || strcmp(column, "statuscode") == 0;
}

static int take_state(const struct decision *decision, struct dynamics_parts *parts, struct error *err)
{
    const json_t *state = json_object_get(decision->write, "statecode");
    const json_t *status = json_object_get(decision->write, "statuscode");

    if (state == NULL && status == NULL)
        return 0;
    if (!json_is_integer(state) || !json_is_integer(status))
        return error_set(err, ERROR_POISON, "dynamics_365.write",
                         "statecode and statuscode are written as a pair of numbers");
    parts->has_state = true;
    parts->state = (long)json_integer_value(state);
    parts->status = (long)json_integer_value(status);
    if (text_equal(decision->record_type, "opportunity")) {
        parts->is_closing = parts->state != 0;
        parts->is_reopening = parts->state == 0 && decision->action == DECISION_UPDATE;
    }
    return 0;
}

int dynamics_parts_of(const struct decision *decision, struct dynamics_parts *ret_parts, struct error *err)
{
    struct dynamics_parts parts = {
        .columns = json_object(), .labels = json_object(), .lookups = json_object(), .children = json_array()};
    const char *column;
    json_t *value;

    if (parts.columns == NULL || parts.labels == NULL || parts.lookups == NULL || parts.children == NULL) {
        dynamics_parts_done(&parts);
        return error_no_memory(err);
    }
    if (take_state(decision, &parts, err) < 0)
        goto failed;
    json_object_foreach (decision->write, column, value) {
        const char *dot = strchr(column, '.');
        if (is_state(column))
            continue;
        if (dynamics_is_children(value)) {
            if (dynamics_children_add(decision, column, value, parts.children, err) < 0)
                goto failed;
        } else if (text_ends_with(column, DYNAMICS_LABEL)) {
            if (add_label(&parts, column, value, err) < 0)
                goto failed;
        } else if (dot != NULL) {
            if (dynamics_lookup_add(decision->lookups, parts.lookups, column, dot, value, err) < 0)
                goto failed;
        } else if (json_object_set_new(parts.columns, column, json_deep_copy(value)) < 0) {
            (void)error_no_memory(err);
            goto failed;
        }
    }
    *ret_parts = parts;
    return 0;
failed:
    dynamics_parts_done(&parts);
    return -1;
}

void dynamics_parts_done(struct dynamics_parts *parts)
{
    json_decref(parts->columns);
    json_decref(parts->labels);
    json_decref(parts->lookups);
    json_decref(parts->children);
    *parts = (struct dynamics_parts){0};
}

bool dynamics_has_audit(const struct decision *decision)
{
    return decision->audit_column != NULL && decision->audit_text != NULL;
}

/* What stands in brackets behind the text: a record whose child rows are still to come is marked apart. */
static char *marker_of(const struct decision *decision, bool is_begun)
{
    return text_format("[%s%s]", decision->id, is_begun ? " begun" : "");
}

char *dynamics_audit_text(const struct decision *decision, bool is_begun)
{
    struct timestamp at = {0};
    char time[TIMESTAMP_TEXT_SIZE];
    char *marker = marker_of(decision, is_begun);
    char *text = NULL;

    if (marker != NULL && !timestamp_parse(decision->decided_at, true, &at)) {
        text = text_format("%s %s", decision->audit_text, marker);
    } else if (marker != NULL) {
        timestamp_format(at, 0, time);
        text = text_format("%.10s %.5s - %s %s", time, time + 11, decision->audit_text, marker);
    }
    free(marker);
    return text;
}

static bool shows_marker(const json_t *record, const struct decision *decision, bool is_begun)
{
    const char *text = decision->audit_column == NULL ? NULL : json_text_of(record, decision->audit_column);
    char *marker = text == NULL ? NULL : marker_of(decision, is_begun);
    bool is_there = marker != NULL && strstr(text, marker) != NULL;

    free(marker);
    return is_there;
}

bool dynamics_has_marker(const json_t *record, const struct decision *decision)
{
    return shows_marker(record, decision, false);
}

char *dynamics_path(const char *entity, const char *record_id, const json_t *create_key)
{
    const char *set = dynamics_entity_set(entity);
    const char *column = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)create_key));
    char *literal, *encoded, *path;

    if (record_id != NULL)
        return text_format("%s(%s)", set, record_id);
    literal = dynamics_literal(json_text_of(create_key, column));
    encoded = literal == NULL ? NULL : http_encode(literal);
    path = encoded == NULL ? NULL : text_format("%s(%s='%s')", set, column, encoded);
    free(literal);
    free(encoded);
    return path;
}

static int put_audit_text(json_t *body, const struct decision *decision, bool is_begun)
{
    struct decision told = *decision;
    const char *given = json_text_of(body, decision->audit_column);
    char *audit;
    int status;

    if (given != NULL) /* the rules write a text of their own into the audit column */
        told.audit_text = (char *)(uintptr_t)given;
    audit = dynamics_audit_text(&told, is_begun);
    if (audit != NULL && decision->audit_former != NULL) {
        char *both = text_format("%s\n%s", audit, decision->audit_former);
        free(audit);
        audit = both;
    }
    status = audit == NULL ? -1 : json_object_set_new(body, decision->audit_column, json_string(audit));
    free(audit);
    return status;
}

char *dynamics_mark_body(const struct decision *decision, const char *remark, size_t *ret_length)
{
    const char *given = json_text_of(decision->write, decision->audit_column);
    struct decision told = *decision;
    char *audit = NULL;
    json_t *body;

    told.audit_text = text_format("%s%s", given != NULL ? given : decision->audit_text, remark);
    if (told.audit_text != NULL)
        audit = dynamics_audit_text(&told, false);
    body = audit == NULL ? NULL : json_pack("{s:s}", decision->audit_column, audit);
    free(told.audit_text);
    free(audit);
    audit = body == NULL ? NULL : json_write(body, false, ret_length);
    json_decref(body);
    return audit;
}

/* A new record is open: only its status reason can be given ("statecode: not valid on create"). */
static int put_state(json_t *body, const struct decision *decision, const struct dynamics_parts *parts)
{
    if (!parts->has_state || parts->is_closing || parts->is_reopening)
        return 0;
    if (decision->action != DECISION_CREATE && json_object_set_new(body, "statecode", json_integer(parts->state)) < 0)
        return -1;
    return json_object_set_new(body, "statuscode", json_integer(parts->status));
}

char *dynamics_body(const struct decision *decision, const struct dynamics_parts *parts, const json_t *binds,
                    size_t *ret_length)
{
    json_auto_t *body = json_deep_copy(parts->columns);

    if (body == NULL || json_object_update(body, (json_t *)(uintptr_t)binds) < 0 ||
        put_state(body, decision, parts) < 0)
        return NULL;
    if (dynamics_has_audit(decision) && put_audit_text(body, decision, json_array_size(parts->children) > 0) < 0)
        return NULL;
    /* Key columns stand in the address; in the body they would win over it ("Use Upsert"). */
    if (decision->action == DECISION_CREATE)
        (void)json_object_del(body, json_object_iter_key(json_object_iter(decision->create_key)));
    return json_write(body, false, ret_length);
}

char *dynamics_reopen_body(const struct dynamics_parts *parts, size_t *ret_length)
{
    json_auto_t *body =
        json_pack("{s:I, s:I}", "statecode", (json_int_t)parts->state, "statuscode", (json_int_t)parts->status);

    return body == NULL ? NULL : json_write(body, false, ret_length);
}

char *dynamics_close_body(const struct decision *decision, const struct dynamics_parts *parts, bool with_time,
                          size_t *ret_length)
{
    struct timestamp at = {0};
    char time[TIMESTAMP_TEXT_SIZE];
    char *bind = text_format("/opportunities(%s)", decision->record_id);
    char *text = NULL;
    json_t *body = NULL;

    (void)timestamp_parse(decision->decided_at, true, &at);
    timestamp_format(at, 0, time);
    if (!with_time)
        time[10] = '\0'; /* the calendar date */
    if (bind != NULL)
        body = json_pack("{s:i, s:{s:s, s:s, s:s}}", "Status", (int)parts->status, "OpportunityClose", "subject",
                         "Closed in Partner Center", "opportunityid@odata.bind", bind, "actualend", time);
    if (body != NULL)
        text = json_write(body, false, ret_length);
    json_decref(body);
    free(bind);
    return text;
}

/* "help@label": by what the service shows beside the number. */
static bool label_stands(const json_t *record, const char *column, const json_t *wanted)
{
    const int length = (int)(strlen(column) - strlen(DYNAMICS_LABEL));
    char *name = text_format("%.*s" DYNAMICS_FORMATTED_VALUE, length, column);
    const char *present = name == NULL ? NULL : json_text_of(record, name);

    free(name);
    if (json_is_null(wanted))
        return present == NULL;
    return present != NULL && json_is_string(wanted) && dynamics_label_is_same(present, json_string_value(wanted));
}

/* `with_state`: also that it is as open or closed as wanted, which a request of its own sees to. */
static bool values_stand(const json_t *record, const struct decision *decision, bool with_state)
{
    const char *column;
    json_t *wanted;

    json_object_foreach (decision->write, column, wanted) {
        const json_t *present = json_at(record, column, false);
        if (dynamics_is_children(wanted) || (!with_state && is_state(column)))
            continue; /* child rows are records of their own */
        if (text_ends_with(column, DYNAMICS_LABEL)) {
            if (!label_stands(record, column, wanted))
                return false;
            continue;
        }
        if (present == NULL ? !json_is_null(wanted) : !json_same(present, wanted))
            return false;
    }
    return true;
}

bool dynamics_shows(const json_t *record, const struct decision *decision)
{
    const json_t *state = json_object_get(decision->write, "statecode");

    /* The marker is set by the change of columns; a closing follows as a request of its own. */
    if (json_is_integer(state) && json_integer_value(state) != 0 &&
        json_integer_of(record, "statecode", -1) != json_integer_value(state))
        return false;
    if (dynamics_has_audit(decision))
        return dynamics_has_marker(record, decision);
    return values_stand(record, decision, true);
}

bool dynamics_was_begun(const json_t *record, const struct decision *decision)
{
    bool has_rows = false;
    const char *column;
    json_t *wanted;

    json_object_foreach (decision->write, column, wanted)
        has_rows = has_rows || (dynamics_is_children(wanted) && json_array_size(wanted) > 0);
    if (!has_rows || decision->action != DECISION_CREATE)
        return false;
    return dynamics_has_audit(decision) ? shows_marker(record, decision, true) : values_stand(record, decision, false);
}
