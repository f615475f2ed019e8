#include "mapper/rules_section.h"

#include "common/base/json.h"
#include "mapper/rules_condition.h"
#include "mapper/rules_language.h"
#include "mapper/rules_path.h"
#include "mapper/value.h"

/* A constant of any shape; new reference. NULL: out of memory. */
static json_t *constant_from_yaml(const struct yaml_node *node)
{
    json_t *made;

    if (node->kind == YAML_SCALAR)
        return value_from_yaml(node);
    made = node->kind == YAML_SEQUENCE ? json_array() : json_object();
    for (size_t i = 0; i < node->count && made != NULL; i++) {
        json_t *item = constant_from_yaml(node->items[i]);
        int status = node->kind == YAML_SEQUENCE ? json_array_append_new(made, item)
                                                 : json_object_set_new(made, node->keys[i]->text, item);
        if (status < 0) {
            json_decref(made);
            made = NULL;
        }
    }
    return made;
}

/* {path of Partner Center: constant}. */
static int read_write(const struct rules_loading *loading, const struct yaml_node *node, json_t **ret_write)
{
    json_t *write;
    int status = 0;

    if (node->kind != YAML_MAPPING)
        return diagnostics_error(loading->diagnostics, node->position, "a mapping of paths to values is expected");
    write = json_object();
    for (size_t i = 0; i < node->count; i++) {
        if (rules_path_check_plain(loading->diagnostics, node->keys[i], SIDE_PARTNER_CENTER) < 0)
            status = -1;
        else if (json_object_set_new(write, node->keys[i]->text, constant_from_yaml(node->items[i])) < 0)
            status = rules_no_memory(loading);
    }
    if (status < 0)
        json_decref(write);
    else
        *ret_write = write;
    return status;
}

/* The section's conditions, without which it would say nothing. */
static int read_when(const struct rules_loading *loading, const struct yaml_node *section, const char *name,
                     enum side side, json_t **ret_when)
{
    const struct yaml_node *when = yaml_get(section, RULES_SIDE_KEYS[side]);

    if (when == NULL)
        return diagnostics_error(loading->diagnostics, section->position, "'%s' needs '%s': when it applies", name,
                                 RULES_SIDE_KEYS[side]);
    return rules_condition_load(loading, when, side, ret_when);
}

int rules_leave_out_load(const struct rules_loading *loading)
{
    const struct yaml_node *section = yaml_get(loading->root, "leave_out");
    int status = 0;

    if (section == NULL)
        return 0;
    if (section->kind != YAML_SEQUENCE)
        return diagnostics_error(loading->diagnostics, section->position,
                                 "a list is expected, of conditions on the referral that make it none of ours");
    loading->rules->leave_out = json_array();
    for (size_t i = 0; i < section->count; i++) {
        json_t *conditions = NULL;
        if (rules_condition_load(loading, section->items[i], SIDE_PARTNER_CENTER, &conditions) < 0)
            status = -1;
        else if (json_array_append_new(loading->rules->leave_out, conditions) < 0)
            status = rules_no_memory(loading);
    }
    return status;
}

int rules_invitation_load(const struct rules_loading *loading)
{
    const struct yaml_node *section = yaml_get(loading->root, "invitation");
    const struct yaml_node *write = yaml_get(section, "write");
    struct rules_invitation *invitation = &loading->rules->invitation;
    int status;

    if (section == NULL)
        return 0;
    status = rules_language_check(loading->diagnostics, section, RULES_INVITATION);
    if (section->kind != YAML_MAPPING)
        return -1;
    if (read_when(loading, section, "invitation", SIDE_CRM, &invitation->when) < 0)
        status = -1;
    if (write != NULL && read_write(loading, write, &invitation->write) < 0)
        status = -1;
    return status;
}

/* {value: value}: what stands instead. */
static int check_substitutes(const struct rules_loading *loading, const struct yaml_node *node)
{
    int status = 0;

    if (node->kind != YAML_MAPPING)
        return diagnostics_error(loading->diagnostics, node->position, "a mapping of paths to values is expected");
    for (size_t i = 0; i < node->count; i++) {
        if (node->items[i]->kind != YAML_MAPPING)
            status = diagnostics_error(loading->diagnostics, node->items[i]->position,
                                       "a mapping is expected, of each value to what stands instead");
    }
    return status;
}

int rules_unanswered_load(const struct rules_loading *loading)
{
    const struct yaml_node *section = yaml_get(loading->root, "unanswered");
    const struct yaml_node *substitute = yaml_get(section, "substitute");
    const struct yaml_node *write = yaml_get(section, "write");
    struct rules_unanswered *unanswered = &loading->rules->unanswered;
    int status;

    if (section == NULL)
        return 0;
    status = rules_language_check(loading->diagnostics, section, RULES_UNANSWERED);
    if (section->kind != YAML_MAPPING)
        return -1;
    if (read_when(loading, section, "unanswered", SIDE_PARTNER_CENTER, &unanswered->when) < 0)
        status = -1;
    if (substitute != NULL &&
        (check_substitutes(loading, substitute) < 0 || read_write(loading, substitute, &unanswered->substitute) < 0))
        status = -1;
    if (write != NULL && read_write(loading, write, &unanswered->write) < 0)
        status = -1;
    return status;
}

int rules_removal_load(const struct rules_loading *loading)
{
    static const char *const sync_off[] = {"pause", "hold"};
    static const char *const crm_deleted[] = {"keep", "recreate"};
    static const char *const referral_gone[] = {"keep"};
    static const struct {
        const char *key;
        const char *const *words;
        size_t count;
    } POLICIES[] = {{"sync_off", sync_off, ARRAY_LENGTH(sync_off)},
                    {"crm_deleted", crm_deleted, ARRAY_LENGTH(crm_deleted)},
                    {"referral_gone", referral_gone, ARRAY_LENGTH(referral_gone)}};
    const struct yaml_node *section = yaml_get(loading->root, "removal");
    int chosen[ARRAY_LENGTH(POLICIES)] = {0};
    int status;

    if (section == NULL)
        return 0;
    status = rules_language_check(loading->diagnostics, section, RULES_REMOVAL);
    if (section->kind != YAML_MAPPING)
        return -1;
    for (size_t i = 0; i < ARRAY_LENGTH(POLICIES); i++) {
        const struct yaml_node *node = yaml_get(section, POLICIES[i].key);
        if (node == NULL)
            continue;
        chosen[i] = rules_yaml_word(loading->diagnostics, node, POLICIES[i].key, POLICIES[i].words, POLICIES[i].count);
        if (chosen[i] < 0)
            status = -1;
    }
    if (status == 0) {
        loading->rules->sync_off = (enum rules_sync_off)chosen[0];
        loading->rules->crm_deleted = (enum rules_crm_deleted)chosen[1];
    }
    return status;
}
