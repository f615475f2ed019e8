/* The paths a rule file may name, and how they are written.
 *
 *   details.dealValue, customerProfile.team.0.email   Partner Center: names, numbers of a list's items
 *   estimatedvalue, customerid_account.name           CRM: a column, an attribute of a looked-up record
 *   msft_microsoftpartnercenterhelp@label             CRM: the label of a choice
 *   parentcontactid{firstname,lastname}               an object with just these members
 *   details.requirements.solutions[]{id,price}        a list of such objects; in the CRM the rows of a collection-valued
 *   rows[]{price,productid.name}                      navigation property, also with attributes of a row's lookup
 *
 * Knows how a path is written, not what it holds (rules_path_read.h). A valid path has no blanks: rules_path_new() takes
 * them out. Pure. */
#ifndef TANDEM_MAPPER_RULES_PATH_H
#define TANDEM_MAPPER_RULES_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/yaml.h"
#include "mapper/side.h"

enum { RULES_PATH_BYTES_MAX = 400, RULES_PATH_MEMBERS_MAX = 20 };

#define RULES_PATH_LABEL "@label"

enum { RULE_PATHS_MAX = 8 /* of a field on one side */ };

enum rules_path_shape {
    RULES_PATH_PLAIN,
    RULES_PATH_CHOICE_LABEL, /* column@label */
    RULES_PATH_OBJECT,       /* name{a,b} */
    RULES_PATH_LIST          /* name[]{a,b} */
};

/* Names, and where it `may_index` numbers of a list's items, with single dots between them. */
bool rules_path_is_valid(const char *path, bool may_index);
/* All return -1 after an error was reported. A CRM path is a column, or lookup.attribute; */
int rules_path_check_plain(struct diagnostics *diagnostics, const struct yaml_node *node, enum side side)
    TANDEM_MUST_CHECK;
/* or one of the other shapes. */
int rules_path_check(struct diagnostics *diagnostics, const struct yaml_node *node, enum side side) TANDEM_MUST_CHECK;
/* A name alone: a column, a table, an attribute. `what` as in "the entity is no name". */
int rules_path_check_name(struct diagnostics *diagnostics, const struct yaml_node *node, const char *what)
    TANDEM_MUST_CHECK;

/* A copy without the blanks a file may have between members (free()); NULL when out of memory. */
char *rules_path_new(const char *text);

/* Of valid paths: */
enum rules_path_shape rules_path_shape(const char *path);
/* Bytes of what stands before '@', '[' or '{'. */
size_t rules_path_base_length(const char *path);
/* The first member of an object's or a list's path, NULL where there is none, and the one after it. */
const char *rules_path_members(const char *path, size_t *ret_length);
const char *rules_path_next_member(const char *member, size_t *length);
/* One holds the other: "details" and "details.dealValue", "team[]{email}" and "team". */
bool rules_paths_overlap(const char *a, const char *b);
/* Does it lead through an item of a list? */
bool rules_path_has_index(const char *path);

#endif
