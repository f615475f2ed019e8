/* Reading and checking a rule file. */
#include "mapper/rules.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/uuid.h"
#include "mapper/rules_column.h"
#include "mapper/rules_condition.h"
#include "mapper/rules_field.h"
#include "mapper/rules_language.h"
#include "mapper/rules_loading.h"
#include "mapper/rules_lookup.h"
#include "mapper/rules_path.h"
#include "mapper/rules_rows.h"
#include "mapper/rules_section.h"

enum {
    VERSION_DIGITS = 16,
    TABLES_MAX = 100,
    AUDIT_LENGTH_MIN = 1000,
    AUDIT_LENGTH_DEFAULT = 2000,
    AUDIT_LENGTH_MAX = 1000000
};

const char *const RULES_SIDE_KEYS[SIDE_COUNT] = {[SIDE_PARTNER_CENTER] = "partner_center", [SIDE_CRM] = "crm"};

/* -- head ---------------------------------------------------------------------------------------------------------- */

static int read_column(const struct rules_loading *loading, const struct yaml_node *identity, const char *key,
                       bool is_required, char **ret_column)
{
    const struct yaml_node *node = yaml_get(identity, key);

    if (node == NULL)
        return is_required ? diagnostics_error(loading->diagnostics, identity->position, "the identity needs '%s'", key)
                           : 0;
    if (rules_path_check_plain(loading->diagnostics, node, SIDE_CRM) < 0)
        return -1;
    if (strchr(node->text, '.') != NULL)
        return diagnostics_error(loading->diagnostics, node->position, "'%s' must be a column of the record itself",
                                 key);
    return rules_copy_text(loading, ret_column, node->text);
}

static int read_audit_length(const struct rules_loading *loading, const struct yaml_node *identity)
{
    const struct yaml_node *node = yaml_get(identity, "audit_length");
    long long length = AUDIT_LENGTH_DEFAULT;

    if (node != NULL && (!yaml_get_integer(node, &length) || length < AUDIT_LENGTH_MIN || length > AUDIT_LENGTH_MAX))
        return diagnostics_error(loading->diagnostics, node->position,
                                 "the length of the audit column is a whole number from %d to %d",
                                 (int)AUDIT_LENGTH_MIN, (int)AUDIT_LENGTH_MAX);
    loading->rules->audit_length = (size_t)length;
    return 0;
}

static int read_identity(const struct rules_loading *loading)
{
    static const char *const links[] = {"as-soon-as-created", "with-acceptance"};
    const struct yaml_node *node = yaml_get(loading->root, "identity");
    const struct yaml_node *link = yaml_get(node, "link");
    struct rules *rules = loading->rules;
    int status = 0, word = 0;

    if (node == NULL)
        return diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'identity'");
    if (rules_language_check(loading->diagnostics, node, RULES_IDENTITY) < 0)
        status = -1;
    if (node->kind != YAML_MAPPING)
        return -1;
    if (read_column(loading, node, "identifier", true, &rules->identifier_column) < 0)
        status = -1;
    if (read_column(loading, node, "sync", true, &rules->sync_column) < 0)
        status = -1;
    if (read_column(loading, node, "audit", false, &rules->audit_column) < 0)
        status = -1;
    if (read_audit_length(loading, node) < 0)
        status = -1;
    if (link != NULL)
        word = rules_yaml_word(loading->diagnostics, link, "link", links, ARRAY_LENGTH(links));
    rules->link_waits_for_acceptance = word == 1;
    return word < 0 ? -1 : status;
}

static int read_head(const struct rules_loading *loading)
{
    static const char *const systems[] = {"dynamics-365", "salesforce"};
    const struct yaml_node *version = yaml_get(loading->root, "version");
    const struct yaml_node *crm = yaml_get(loading->root, "crm");
    const struct yaml_node *record = yaml_get(loading->root, "record");
    long long number = 1;
    int status = 0, word;

    if (version == NULL)
        status = diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'version: 1'");
    else if (!yaml_get_integer(version, &number) || number != 1)
        status =
            diagnostics_error(loading->diagnostics, version->position, "the only version of the rule language is 1");
    if (crm == NULL) {
        status = diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'crm'");
    } else {
        word = rules_yaml_word(loading->diagnostics, crm, "CRM", systems, ARRAY_LENGTH(systems));
        if (word < 0 || rules_copy_text(loading, &loading->rules->crm, systems[word]) < 0)
            status = -1;
    }
    if (record == NULL)
        return diagnostics_error(loading->diagnostics, loading->root->position, "the rules need 'record'");
    if (record->kind != YAML_SCALAR || !rules_path_is_valid(record->text, false) || strchr(record->text, '.') != NULL)
        return diagnostics_error(loading->diagnostics, record->position,
                                 "the record is a table's name, like opportunity");
    if (rules_copy_text(loading, &loading->rules->record_type, record->text) < 0)
        return -1;
    return status;
}

/* -- tables -------------------------------------------------------------------------------------------------------- */

static int read_tables(struct rules_loading *loading)
{
    const struct yaml_node *node = yaml_get(loading->root, "tables");
    int status = 0;

    if (node == NULL)
        return 0;
    if (node->kind != YAML_MAPPING || node->count > TABLES_MAX)
        return diagnostics_error(loading->diagnostics, node->position, "tables are a mapping of at most %d names",
                                 (int)TABLES_MAX);
    loading->tables = calloc(node->count + 1, sizeof(struct table));
    if (loading->tables == NULL)
        return rules_no_memory(loading);
    for (size_t i = 0; i < node->count; i++) {
        if (table_load(loading->diagnostics, node->keys[i], node->items[i], &loading->tables[i]) < 0)
            status = -1;
        loading->table_count++;
    }
    return status;
}

static void warn_of_unused_tables(const struct rules_loading *loading)
{
    for (size_t i = 0; i < loading->table_count; i++) {
        if (!loading->tables[i].is_used)
            diagnostics_report(loading->diagnostics, DIAGNOSTIC_WARNING, loading->tables[i].position,
                               "no field uses the table '%s'", loading->tables[i].name);
    }
}

/* -- all paths ----------------------------------------------------------------------------------------------------- */

static int add_path(const struct rules_loading *loading, json_t *set, const char *path)
{
    return path == NULL || json_object_set_new(set, path, json_null()) == 0 ? 0 : rules_no_memory(loading);
}

static int add_conditions(const struct rules_loading *loading, json_t *set, json_t *conditions)
{
    const char *path;
    json_t *values;

    json_object_foreach (conditions, path, values) {
        if (add_path(loading, set, path) < 0)
            return -1;
    }
    return 0;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Both results are rules', also after a failure. */
static int keep_sorted(const struct rules_loading *loading, json_t *set, char ***ret_paths, size_t *ret_count)
{
    const char *path;
    json_t *nothing;

    *ret_paths = calloc(json_object_size(set) + 1, sizeof(char *));
    if (*ret_paths == NULL)
        return rules_no_memory(loading);
    json_object_foreach (set, path, nothing) {
        if (rules_copy_text(loading, &(*ret_paths)[*ret_count], path) < 0)
            return -1;
        (*ret_count)++;
    }
    qsort(*ret_paths, *ret_count, sizeof(char *), compare_paths);
    return 0;
}

static int collect_paths(const struct rules_loading *loading, enum side side)
{
    static const char *const built_in[] = {
        "id",           "engagementId", RULES_PATH_EXTERNAL_REFERENCE, "direction", "status",
        "statusReason", "substatus",    RULES_PATH_MICROSOFT_STATUS};
    struct rules *rules = loading->rules;
    json_auto_t *set = json_object();

    for (size_t i = 0; side == SIDE_PARTNER_CENTER && i < ARRAY_LENGTH(built_in); i++) {
        if (add_path(loading, set, built_in[i]) < 0)
            return -1;
    }
    if (side == SIDE_CRM &&
        (add_path(loading, set, rules->identifier_column) < 0 || add_path(loading, set, rules->sync_column) < 0 ||
         add_path(loading, set, rules->audit_column) < 0))
        return -1;
    if (add_conditions(loading, set, rules->select[side]) < 0 ||
        add_conditions(loading, set, rules->is_closed[side]) < 0)
        return -1;
    if (add_conditions(loading, set, side == SIDE_CRM ? rules->invitation.when : rules->unanswered.when) < 0)
        return -1;
    for (size_t i = 0; side == SIDE_PARTNER_CENTER && i < json_array_size(rules->leave_out); i++) {
        if (add_conditions(loading, set, json_array_get(rules->leave_out, i)) < 0)
            return -1;
    }
    for (size_t i = 0; i < rules->field_count; i++) {
        for (size_t k = 0; k < rules->fields[i].path_count[side]; k++) {
            if (add_path(loading, set, rules->fields[i].paths[side][k]) < 0)
                return -1;
        }
    }
    return keep_sorted(loading, set, &rules->paths[side], &rules->path_count[side]);
}

/* -- the whole ----------------------------------------------------------------------------------------------------- */

static int stamp_version(const struct rules_loading *loading, const struct source *source)
{
    char digest[SHA256_HEX_SIZE];

    if (sha256_hex(source->bytes, source->length, digest) == NULL)
        return rules_no_memory(loading);
    digest[VERSION_DIGITS] = '\0';
    return rules_copy_text(loading, &loading->rules->version, digest);
}

static int load(struct rules_loading *loading, const struct source *source)
{
    struct rules *rules = loading->rules;
    int status = rules_language_check(loading->diagnostics, loading->root, RULES_FILE);

    if (loading->root->kind != YAML_MAPPING)
        return -1;
    if (read_head(loading) < 0)
        status = -1;
    if (read_identity(loading) < 0)
        status = -1;
    if (rules_conditions_load(loading, "select", rules->select) < 0)
        status = -1;
    if (rules_conditions_load(loading, "closed", rules->is_closed) < 0)
        status = -1;
    if (rules_leave_out_load(loading) < 0)
        status = -1;
    if (rules_invitation_load(loading) < 0)
        status = -1;
    if (rules_unanswered_load(loading) < 0)
        status = -1;
    if (rules_removal_load(loading) < 0)
        status = -1;
    if (rules_lookups_load(loading) < 0)
        status = -1;
    if (rules_rows_load(loading) < 0)
        status = -1;
    if (read_tables(loading) < 0)
        status = -1;
    if (rules_fields_load(loading) < 0)
        status = -1;
    if (status < 0)
        return -1;
    warn_of_unused_tables(loading);
    rules_rows_warn_of_unused(loading);
    if (rules_lookups_check(loading) < 0 || collect_paths(loading, SIDE_PARTNER_CENTER) < 0 ||
        collect_paths(loading, SIDE_CRM) < 0 || rules_columns_load(loading) < 0)
        return -1;
    return stamp_version(loading, source);
}

struct rules *rules_load(struct diagnostics *diagnostics, const struct source *source)
{
    struct yaml_node *root = yaml_parse(diagnostics, source);
    struct rules_loading loading = {.diagnostics = diagnostics, .root = root};
    const size_t errors_before = diagnostics->error_count;
    int status;

    if (root == NULL)
        return NULL;
    loading.rules = calloc(1, sizeof(struct rules));
    status = loading.rules == NULL ? rules_no_memory(&loading) : load(&loading, source);
    for (size_t i = 0; i < loading.table_count; i++)
        table_done(&loading.tables[i]);
    free(loading.tables);
    free(loading.written);
    yaml_node_free(root);
    if (status == 0)
        return loading.rules;
    if (diagnostics->error_count == errors_before)
        (void)rules_no_memory(&loading); /* some values cannot tell that from another failure */
    rules_free(loading.rules);
    return NULL;
}
