#include "mapper/preview.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/messages/record.h"
#include "mapper/file_input.h"
#include "mapper/trial.h"

static int too_long(struct error *err)
{
    return error_set(err, ERROR_CONFIG, "preview.too_long", "the preview does not fit into its buffer");
}

/* " = value\n" after `label`; nothing is said for what is not there. */
static int append_value(struct text *out, const char *label, const json_t *value)
{
    char *text = json_write(value, true, NULL);
    int status = text_appendf(out, "%s%s", label, text != NULL ? text : "?");

    free(text);
    return status;
}

static int append_fields(struct text *out, const json_t *decision)
{
    const json_t *fields = json_object_get(decision, "fields");

    for (size_t k = 0; k < json_array_size(fields); k++) {
        const json_t *field = json_array_get(fields, k);
        const json_t *old = json_object_get(field, "old");

        if (text_appendf(out, "   field %s: ", json_text_of(field, "name")) < 0 ||
            append_value(out, "", old != NULL ? old : json_null()) < 0 ||
            append_value(out, " -> ", json_object_get(field, "new")) < 0 ||
            append_value(out, "   (the other side has ", json_object_get(field, "from")) < 0 ||
            text_append(out, ")\n") < 0)
            return -1;
    }
    return 0;
}

static int append_write(struct text *out, const json_t *decision)
{
    json_t *write = json_object_get(decision, "write");
    const char *path;
    json_t *value;

    json_object_foreach (write, path, value) {
        if (text_appendf(out, "   write %s", path) < 0 || append_value(out, " = ", value) < 0 ||
            text_append(out, "\n") < 0)
            return -1;
    }
    return 0;
}

static int append_conflicts(struct text *out, const json_t *decision)
{
    const json_t *conflicts = json_object_get(decision, "conflicts");

    for (size_t k = 0; k < json_array_size(conflicts); k++) {
        const json_t *conflict = json_array_get(conflicts, k);

        if (text_appendf(out, "   conflict %s:", json_text_of(conflict, "name")) < 0 ||
            append_value(out, " Partner Center has ", json_object_get(conflict, "partner_center")) < 0 ||
            append_value(out, ", the CRM ", json_object_get(conflict, "crm")) < 0 ||
            text_appendf(out, "; %s wins by policy %s\n", json_text_of(conflict, "winner"),
                         json_text_of(conflict, "policy")) < 0)
            return -1;
    }
    return 0;
}

static int append_decision(struct text *out, size_t number, const json_t *decision)
{
    const char *action = json_text_of(decision, "action");
    const char *detail = json_text_of(decision, "detail");

    if (text_equal(action, "none"))
        return text_appendf(out, "%zu. nothing to write: %s%s%s\n", number, json_text_of(decision, "reason"),
                            detail != NULL ? " - " : "", detail != NULL ? detail : "");
    if (text_appendf(out, "%zu. %s at %s (%s), because: %s\n", number, action, json_text_of(decision, "target"),
                     json_text_of(decision, "purpose"), json_text_of(decision, "reason")) < 0)
        return -1;
    return append_fields(out, decision) < 0 || append_write(out, decision) < 0 ? -1 : append_conflicts(out, decision);
}

static int append_step(struct text *out, size_t number, const json_t *step)
{
    const json_t *decision = json_object_get(step, "decision");
    const json_t *request = json_object_get(step, "request");
    const json_t *problem = json_object_get(step, "problem");
    const json_t *record = json_object_get(step, "record");

    if (decision != NULL)
        return append_decision(out, number, decision);
    if (request != NULL)
        return text_appendf(out, "%zu. reads %s %s at %s\n", number, json_text_of(request, "record_type"),
                            json_text_of(request, "record_id"), json_text_of(request, "source"));
    if (problem != NULL)
        return text_appendf(out, "%zu. set aside for a person: %s (%s)\n", number, json_text_of(problem, "message"),
                            json_text_of(problem, "code"));
    if (text_equal(json_text_of(record, "kind"), "found"))
        return text_appendf(out, "%zu. tells the CRM record's key %s that the deal lives under %s\n", number,
                            json_text_of(record, "deal_key"), json_text_of(record, "record_id"));
    return text_appendf(out, "%zu. hands the deal over to its referral's key %s\n", number,
                        json_text_of(record, "deal_key"));
}

static int append_steps(struct text *out, const json_t *steps)
{
    for (size_t k = 0; k < json_array_size(steps); k++) {
        if (append_step(out, k + 1, json_array_get(steps, k)) < 0)
            return -1;
    }
    return json_array_size(steps) == 0 ? text_append(out, "nothing to write\n") : 0;
}

/* New references: the record itself, which a reading holds among its documents (NULL: not that of this side); the others go
 * to *ret_related, which may be NULL. */
static int take_documents(json_t *content, enum side side, json_t **ret_record, json_t **ret_related, struct error *err)
{
    json_t *documents = json_object_get(content, "documents");
    json_t *own = record_document_of(documents, side == SIDE_CRM ? "crm" : "own");

    if (!json_is_array(documents)) {
        *ret_record = json_incref(content);
        return 0;
    }
    *ret_record = json_incref(json_object_get(own, "body"));
    if (own == NULL || ret_related == NULL)
        return 0;
    *ret_related = json_array();
    for (size_t k = 0; k < json_array_size(documents); k++) {
        if (json_array_get(documents, k) != own && json_array_append(*ret_related, json_array_get(documents, k)) < 0)
            return error_no_memory(err);
    }
    return *ret_related != NULL ? 0 : error_no_memory(err);
}

static int read_record(const char *path, enum side side, struct trial_input *input, struct error *err)
{
    json_auto_t *content = NULL;

    if (strcmp(path, "-") == 0)
        return 0;
    if (file_input_json(path, &content, err) < 0 ||
        take_documents(content, side, &input->now[side], side == SIDE_PARTNER_CENTER ? &input->related : NULL, err) < 0)
        return -1;
    if (!json_is_object(input->now[side]))
        return error_set(err, ERROR_CONFIG, "preview.record", "%s: holds no %s", path,
                         side == SIDE_CRM ? "CRM record" : "referral");
    return 0;
}

static int read_base(const char *path, struct trial_input *input, struct error *err)
{
    json_auto_t *base = NULL;

    if (path == NULL)
        return 0;
    if (file_input_json(path, &base, err) < 0 ||
        take_documents(json_object_get(base, "partner_center"), SIDE_PARTNER_CENTER, &input->base[SIDE_PARTNER_CENTER],
                       &input->base_related, err) < 0 ||
        take_documents(json_object_get(base, "crm"), SIDE_CRM, &input->base[SIDE_CRM], NULL, err) < 0)
        return -1;
    if (!json_is_object(input->base[SIDE_PARTNER_CENTER]) || !json_is_object(input->base[SIDE_CRM]))
        return error_set(err, ERROR_CONFIG, "preview.base", "%s: holds objects 'partner_center' and 'crm'", path);
    if (input->now[SIDE_PARTNER_CENTER] == NULL || input->now[SIDE_CRM] == NULL)
        return error_set(err, ERROR_CONFIG, "preview.base",
                         "%s: records that have agreed both exist, and '-' is no record", path);
    return 0;
}

static int print_steps(const json_t *steps, bool as_json, struct text *out, struct error *err)
{
    char *json;
    int status;

    if (!as_json)
        return append_steps(out, steps) < 0 ? too_long(err) : 0;
    json = json_write(steps, false, NULL);
    if (json == NULL)
        return error_no_memory(err);
    status = text_appendf(out, "%s\n", json);
    free(json);
    return status < 0 ? too_long(err) : 0;
}

int preview_run(const struct rules *rules, const struct preview_request *request, struct text *out, struct error *err)
{
    struct trial_input input = {.deal = request->deal};
    json_t *steps = NULL;
    int status = -1;

    if (read_record(request->partner_center, SIDE_PARTNER_CENTER, &input, err) == 0 &&
        read_record(request->crm, SIDE_CRM, &input, err) == 0 && read_base(request->base, &input, err) == 0 &&
        trial_run(rules, &input, &steps, err) == 0)
        status = print_steps(steps, request->as_json, out, err);
    json_decref(steps);
    json_decref(input.related);
    json_decref(input.base_related);
    for (int side = 0; side < SIDE_COUNT; side++) {
        json_decref(input.now[side]);
        json_decref(input.base[side]);
    }
    return status;
}
