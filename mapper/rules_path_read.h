/* What stands under a path of the rules in a system's document.
 *
 * Lists come in canonical order and objects without members that are null, so that two readings of the same content are
 * the same value. Documents are as the systems' APIs answer (record.h). Pure. */
#ifndef TANDEM_MAPPER_RULES_PATH_READ_H
#define TANDEM_MAPPER_RULES_PATH_READ_H

#include <jansson.h>

#include "common/base/attributes.h"
#include "mapper/side.h"

/* A new reference, or NULL with 0 where the document does not tell: a label, a looked-up record or rows that were not
 * asked for. -1: out of memory. Otherwise what is not there is null; rows of the CRM that are not there are an empty
 * list. `path` is without the "microsoft." of Microsoft's referral. */
int rules_path_read(const char *path, enum side side, const json_t *body, json_t **ret_value) TANDEM_MUST_CHECK;
/* Puts a value where rules_path_read() finds it, for trials. Steals it, also on failure (-1: it has no place). */
int rules_path_put(const char *path, json_t *body, json_t *value) TANDEM_MUST_CHECK;

/* What a write names: the path without its members, a column's label with its '@label'. free(); NULL: out of memory. */
char *rules_path_target(const char *path);

/* A value for `path` in the order it would be read in; a list is ordered in place. -1: out of memory. */
int rules_path_order(const char *path, json_t *value) TANDEM_MUST_CHECK;

#endif
