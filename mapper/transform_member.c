/* Checking what transforms of lists say against the paths of their field. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/rules_path.h"
#include "mapper/rules_yaml.h"
#include "mapper/transform_loading.h"

/* The members the paths of one side name. */
struct members {
    char names[RULE_PATHS_MAX * RULES_PATH_MEMBERS_MAX][RULES_PATH_BYTES_MAX + 1];
    const char *pointers[RULE_PATHS_MAX * RULES_PATH_MEMBERS_MAX];
    size_t count;
};

static void collect(const struct transform_setup *setup, enum side side, struct members *ret_members)
{
    const bool is_target = side == setup->target;
    char *const *paths = is_target ? setup->target_paths : setup->source_paths;
    const size_t count = paths == NULL ? 0 : is_target ? setup->target_count : setup->source_count;

    ret_members->count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length;
        for (const char *member = rules_path_members(paths[i], &length); member != NULL;
             member = rules_path_next_member(member, &length)) {
            char *name = ret_members->names[ret_members->count];
            (void)snprintf(name, RULES_PATH_BYTES_MAX + 1, "%.*s", (int)length, member);
            ret_members->pointers[ret_members->count++] = name;
        }
    }
}

/* Paths that name no members hold whatever the system sends. */
static int check_name(const struct transform_setup *setup, struct position position, const char *name, enum side side,
                      const struct members *members)
{
    const char *suggestion;

    for (size_t i = 0; i < members->count; i++) {
        if (strcmp(members->pointers[i], name) == 0)
            return 0;
    }
    if (members->count == 0)
        return 0;
    suggestion = diagnostic_suggest(name, members->pointers, members->count);
    if (suggestion != NULL)
        return diagnostics_error(setup->diagnostics, position,
                                 "'%s' is not among the members of the field's '%s' path (did you mean '%s'?)", name,
                                 side_name(side), suggestion);
    return diagnostics_error(setup->diagnostics, position, "'%s' is not among the members of the field's '%s' path",
                             name, side_name(side));
}

/* The keys of a mapping, or with `is_crm` its values, each of them a name or a list of names. */
static int check_mapping(const struct transform_setup *setup, const struct yaml_node *node, bool is_crm,
                         const struct members *members)
{
    int status = 0;

    for (size_t i = 0; node != NULL && i < node->count; i++) {
        const struct yaml_node *names = is_crm ? node->items[i] : node->keys[i];
        const size_t count = names->kind == YAML_SEQUENCE ? names->count : 1;
        for (size_t k = 0; k < count; k++) {
            const struct yaml_node *name = names->kind == YAML_SEQUENCE ? names->items[k] : names;
            if (check_name(setup, name->position, name->text, is_crm ? SIDE_CRM : SIDE_PARTNER_CENTER, members) < 0)
                status = -1;
        }
    }
    return status;
}

/* An entry cannot have what is neither mapped nor constant. */
static int check_needs(const struct transform_setup *setup, const struct yaml_node *arguments,
                       const struct transform *step)
{
    const struct yaml_node *needs = yaml_get(arguments, "needs");
    const json_t *names = json_object_get(step->arguments, "needs");
    const json_t *members = json_object_get(step->arguments, "members");

    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (json_object_get(members, name) == NULL)
            return diagnostics_error(setup->diagnostics, needs->position, "'%s' is not among the 'members'", name);
    }
    return 0;
}

/* `members` is as large as all paths can be, so it is not on the stack. */
static int check_list(const struct transform_setup *setup, const struct yaml_node *arguments,
                      const struct transform *step, struct members *members)
{
    int status = check_needs(setup, arguments, step);

    collect(setup, SIDE_PARTNER_CENTER, members);
    if (check_mapping(setup, yaml_get(arguments, "members"), false, members) < 0)
        status = -1;
    if (check_mapping(setup, yaml_get(arguments, "with"), false, members) < 0)
        status = -1;
    collect(setup, SIDE_CRM, members);
    if (check_mapping(setup, yaml_get(arguments, "members"), true, members) < 0)
        status = -1;
    return status;
}

static int check_unique(const struct transform_setup *setup, const struct yaml_node *arguments,
                        const struct transform *step, struct members *members)
{
    const char *by = json_text_of(step->arguments, "by");
    const struct yaml_node *node = arguments->kind == YAML_SCALAR ? arguments : yaml_get(arguments, "by");

    /* Before a `list` the members are the source's, after it the target's. */
    collect(setup, setup->target, members);
    for (size_t i = 0; i < members->count; i++) {
        if (strcmp(members->pointers[i], by) == 0)
            return 0;
    }
    collect(setup, side_other(setup->target), members);
    return check_name(setup, node->position, by, side_other(setup->target), members);
}

static int check_tag(const struct transform_setup *setup, struct position position, const struct transform *step)
{
    const size_t types = json_array_size(json_object_get(step->arguments, "types"));
    const size_t paths = setup->target == SIDE_CRM ? setup->target_count : setup->source_count;

    if (types == paths)
        return 0;
    return diagnostics_error(setup->diagnostics, position, "%zu type%s for %zu path%s of crm", types,
                             types == 1 ? "" : "s", paths, paths == 1 ? "" : "s");
}

static int check_pick(const struct transform_setup *setup, struct position position, const struct flow *flow,
                      const struct transform *step)
{
    const size_t place = (size_t)json_integer_of(step->arguments, "place", 0);

    if (flow->is_unknown || (flow->is_source && flow->count > 1 && place < flow->count))
        return 0;
    return diagnostics_error(setup->diagnostics, position, "there is no place %zu among %zu path%s", place,
                             setup->source_count, setup->source_count == 1 ? "" : "s");
}

int transform_check_members(const struct transform_setup *setup, const struct yaml_node *arguments,
                            struct position position, const struct flow *flow, const struct transform *step)
{
    const char *name = step->type->name;
    const bool is_list = strcmp(name, "list") == 0;
    struct members *members;
    int status;

    if (strcmp(name, "tag") == 0)
        return check_tag(setup, position, step);
    if (strcmp(name, "pick") == 0)
        return check_pick(setup, position, flow, step);
    if (!is_list && strcmp(name, "unique") != 0)
        return 0;
    members = malloc(sizeof(*members));
    if (members == NULL) {
        rules_yaml_no_memory(setup->diagnostics);
        return -1;
    }
    status = is_list ? check_list(setup, arguments, step, members) : check_unique(setup, arguments, step, members);
    free(members);
    return status;
}
