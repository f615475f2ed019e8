#include "mapper/reference.h"

#include <string.h>

#include "mapper/refusal.h"
#include "mapper/rules_language.h"
#include "mapper/transform.h"
#include "mapper/value.h"

/* A bar would end the cell. */
static int append_cell(struct text *out, const char *content)
{
    int status = 0;

    for (; *content != '\0' && status == 0; content++)
        status = *content == '|' ? text_append(out, "\\|") : text_append_char(out, *content);
    return status;
}

/* Indented by four blanks. */
static int append_example(struct text *out, const char *example)
{
    int status = text_append(out, "\n");

    while (*example != '\0' && status == 0) {
        const size_t length = strcspn(example, "\n");
        status = text_appendf(out, "    %.*s\n", (int)length, example);
        example += length + (example[length] == '\n');
    }
    return status;
}

static int append_key(struct text *out, const struct rules_key *key)
{
    if (text_appendf(out, "| `%s` | ", key->name) < 0 || append_cell(out, key->value) < 0 ||
        text_append(out, " | ") < 0 || append_cell(out, key->help) < 0)
        return -1;
    return text_append(out, " |\n");
}

static int append_section(struct text *out, const struct rules_section *section)
{
    if (text_appendf(out, "\n### %s\n", section->title) < 0 ||
        (section->help != NULL && text_appendf(out, "\n%s\n", section->help) < 0) ||
        text_append(out, "\n| key | value | meaning |\n|---|---|---|\n") < 0)
        return -1;
    for (const struct rules_key *key = section->keys; key->name != NULL; key++) {
        if (append_key(out, key) < 0)
            return -1;
    }
    return section->example == NULL ? 0 : append_example(out, section->example);
}

/* -- paths and conditions ------------------------------------------------------------------------------------------ */

static int append_paths(struct text *out)
{
    if (text_append(out, "\n### Paths\n\n| path | side | meaning |\n|---|---|---|\n") < 0)
        return -1;
    for (size_t i = 0; i < RULES_PATH_FORM_COUNT; i++) {
        const struct rules_path_form *form = &RULES_PATH_FORMS[i];
        if (text_appendf(out, "| `%s` | %s | %s |\n", form->example, form->side, form->help) < 0)
            return -1;
    }
    return text_append(out, "\nWhat Partner Center does not tell, or tells as null, is unknown there and never clears "
                            "anything. In the CRM null is an empty column and a list without rows is empty; unknown is "
                            "only what was not read. Braces and brackets need quotes inside a YAML `{…}` or `[…]`.\n");
}

static int append_conditions(struct text *out)
{
    return text_append(out,
                       "\n### Conditions\n\n"
                       "A mapping of paths to a value or a list of values, one of which is there. Texts are compared "
                       "without regard to case. The plain word `present` stands for any value that says something: "
                       "not null, false, an empty text or an empty list.\n");
}

/* -- transforms ---------------------------------------------------------------------------------------------------- */

static const char *kind_of(const struct argument *argument)
{
    static const char *const names[] = {
        [ARGUMENT_TABLE] = "name of a table",
        [ARGUMENT_PAIRS] = "mapping of texts to values",
        [ARGUMENT_TEXT] = "text",
        [ARGUMENT_VALUE] = "value",
        [ARGUMENT_DEFAULT] = "value, or leave",
        [ARGUMENT_NUMBER] = "number",
        [ARGUMENT_INTEGER] = "whole number",
        [ARGUMENT_BOOLEAN] = "true or false",
        [ARGUMENT_WORD] = "",
        [ARGUMENT_ZONE] = "UTC or offset",
        [ARGUMENT_MEMBERS] = "mapping of names to names, or to lists of them",
        [ARGUMENT_CONSTANTS] = "mapping of names to values",
        [ARGUMENT_NAMES] = "name or list of names",
    };

    return names[argument->kind];
}

static int append_argument(struct text *out, const struct argument *argument)
{
    int status = text_appendf(out, "| `%s` | %s", argument->name, kind_of(argument));

    for (size_t i = 0; argument->kind == ARGUMENT_WORD && argument->words[i] != NULL && status == 0; i++)
        status = text_appendf(out, "%s%s", i == 0 ? "" : ", ", argument->words[i]);
    if (argument->kind == ARGUMENT_INTEGER && status == 0)
        status = text_appendf(out, ", %lld to %lld", argument->minimum, argument->maximum);
    if (status == 0)
        status = text_appendf(out, "%s | %s |\n", argument->is_required ? "; needed" : "", argument->help);
    return status;
}

static int append_kinds(struct text *out, const struct transform_type *type)
{
    char taken[VALUE_SHOWN_SIZE], given[VALUE_SHOWN_SIZE];
    const char *accepts = type->accepts == VALUE_ANY ? "anything" : value_kinds_name(type->accepts, taken);

    if (type->gives == 0)
        return text_appendf(out, "\nTakes %s and gives what it took", accepts);
    return text_appendf(out, "\nTakes %s and gives %s", accepts, value_kinds_name(type->gives, given));
}

static int append_way_back(struct text *out, const struct transform_type *type)
{
    switch (type->inverse) {
    case INVERSE_NONE:
        return text_append(out, " Cannot be undone, so it stands in `to_crm` or `to_partner_center`.\n");
    case INVERSE_PASSES:
        return text_append(out, " On the way back in a shared chain the value stays as it is.\n");
    case INVERSE_SAME:
        return text_append(out, " Does the same on the way back.\n");
    case INVERSE_OWN:
        break;
    }
    return text_appendf(out, " %s: %s\n",
                        type->is_by_side ? "Towards Partner Center, in whatever chain" : "On the way back",
                        type->inverse_help);
}

static int append_transform(struct text *out, const struct transform_type *type)
{
    if (text_appendf(out, "\n#### `%s`\n\n%s\n", type->name, type->help) < 0)
        return -1;
    if (type->arguments[0].name != NULL && text_append(out, "\n| argument | value | meaning |\n|---|---|---|\n") < 0)
        return -1;
    for (const struct argument *argument = type->arguments; argument->name != NULL; argument++) {
        if (append_argument(out, argument) < 0)
            return -1;
    }
    if (append_kinds(out, type) < 0 || text_append(out, type->takes_null ? ", also of null." : ".") < 0 ||
        append_way_back(out, type) < 0)
        return -1;
    return append_example(out, type->example);
}

static int append_transforms(struct text *out)
{
    if (text_append(out,
                    "\n### Transforms\n\n"
                    "A chain is a list of names, or of pairs of name and arguments: `[text, {truncate: 100}]`. The "
                    "first argument may stand alone in place of a mapping. Null passes through every transform "
                    "that does not say otherwise. A value that cannot be mapped is told and not written.\n") < 0)
        return -1;
    for (size_t i = 0; i < TRANSFORM_TYPE_COUNT; i++) {
        if (append_transform(out, &TRANSFORM_TYPES[i]) < 0)
            return -1;
    }
    return 0;
}

/* -- what sellers are told ----------------------------------------------------------------------------------------- */

static int append_quoted_cell(struct text *out, const char *content)
{
    if (content == NULL)
        return text_append(out, " |");
    if (strcmp(content, "*") == 0)
        return text_append(out, " any that is known |");
    return text_appendf(out, " `%s` |", content);
}

static int append_refusals(struct text *out)
{
    if (text_append(out,
                    "\n### Refusals\n\n"
                    "What a seller reads when a system has refused a write, by the code of the refusal (in the audit "
                    "`error_code`) and the field it is about. The first row that fits holds. The field is the one the "
                    "service names, where the write or this table knows it; else, where the write held one field only, "
                    "that one. A field stands for all that lies below it, too.\n\n"
                    "| code | field | words |\n|---|---|---|\n") < 0)
        return -1;
    for (size_t i = 0; i < REFUSAL_ROW_COUNT; i++) {
        const struct refusal_row *row = &REFUSAL_ROWS[i];
        if (text_append(out, "|") < 0 ||
            (row->code == NULL ? text_append(out, " any other |") : append_quoted_cell(out, row->code)) < 0 ||
            append_quoted_cell(out, row->field) < 0 || text_append(out, " ") < 0 || append_cell(out, row->text) < 0 ||
            text_append(out, " |\n") < 0)
            return -1;
    }
    return 0;
}

int reference_append(struct text *out)
{
    for (int id = 0; id < RULES_SECTION_COUNT; id++) {
        if (append_section(out, &RULES_SECTIONS[id]) < 0)
            return -1;
        if (id == RULES_FIELD && (append_paths(out) < 0 || append_conditions(out) < 0))
            return -1;
    }
    return append_transforms(out) < 0 ? -1 : append_refusals(out);
}
