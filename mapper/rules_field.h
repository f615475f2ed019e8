/* The fields of a rule file: their paths, directions, conditions and transforms.
 *
 * Internal to the rules' loader. After the lookups and tables, which fields name. Pure. */
#ifndef TANDEM_MAPPER_RULES_FIELD_H
#define TANDEM_MAPPER_RULES_FIELD_H

#include "mapper/rules_loading.h"

/* -1 after all errors of all fields were reported. Notes what is written in `loading`. */
int rules_fields_load(struct rules_loading *loading) TANDEM_MUST_CHECK;

#endif
