/* The rule language as tables: which sections and keys there are, what each means, how paths are written.
 *
 * The loader checks keys by them and the reference is printed from them (reference.h), so neither knows a key the other
 * does not. What a key's value may be is the loader's to check. Constant data. */
#ifndef TANDEM_MAPPER_RULES_LANGUAGE_H
#define TANDEM_MAPPER_RULES_LANGUAGE_H

#include <stddef.h>

#include "common/base/diagnostic.h"
#include "common/base/yaml.h"

struct rules_key {
    const char *name;
    const char *value; /* what stands there: "path or list of paths" */
    const char *help;
};

enum { RULES_KEYS_MAX = 16 };

struct rules_section {
    const char *title;                         /* in the reference */
    const char *what;                          /* in messages: "unknown key 'x' in <what>" */
    const char *help;                          /* may be NULL */
    const char *example;                       /* YAML; may be NULL */
    struct rules_key keys[RULES_KEYS_MAX + 1]; /* ended by a NULL name */
};

enum rules_section_id {
    RULES_FILE,
    RULES_IDENTITY,
    RULES_INVITATION,
    RULES_UNANSWERED,
    RULES_REMOVAL,
    RULES_FIELD,
    RULES_LOOKUP,
    RULES_ROWS,
    RULES_TABLE,
    RULES_TABLE_ROW,
    RULES_SECTION_COUNT
};
extern const struct rules_section RULES_SECTIONS[RULES_SECTION_COUNT];

struct rules_path_form {
    const char *example;
    const char *side; /* "partner_center", "crm" or "both" */
    const char *help;
};
extern const struct rules_path_form RULES_PATH_FORMS[];
extern const size_t RULES_PATH_FORM_COUNT;

/* `node` is a mapping with no other keys than the section's; -1 after an error was reported. */
int rules_language_check(struct diagnostics *diagnostics, const struct yaml_node *node, enum rules_section_id id)
    TANDEM_MUST_CHECK;

#endif
