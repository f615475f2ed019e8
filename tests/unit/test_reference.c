#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "mapper/reference.h"
#include "mapper/rules.h"
#include "mapper/rules_language.h"
#include "mapper/rules_path.h"
#include "mapper/transform.h"

#define DOCUMENT "docs/rules.md"
#define BEGIN    "<!-- tandem-mapper reference: begin -->\n"
#define END      "<!-- tandem-mapper reference: end -->\n"

enum { BYTES_MAX = 256 * 1024 };

static char *read_document(void)
{
    char *bytes = malloc(BYTES_MAX);
    FILE *file = fopen(DOCUMENT, "rb");
    assert_non_null(bytes);
    if (file == NULL)
        fail_msg("%s: cannot be opened", DOCUMENT);
    size_t count = fread(bytes, 1, BYTES_MAX - 1, file);
    (void)fclose(file);
    bytes[count] = '\0';
    return bytes;
}

/* The documentation is what the program knows, word for word. */
static void test_document_holds_the_reference(void **state)
{
    (void)state;
    char *document = read_document();
    const char *begin = strstr(document, BEGIN);
    const char *end = begin == NULL ? NULL : strstr(begin, END);
    struct text reference;

    text_init(&reference, BYTES_MAX);
    assert_int_equal(reference_append(&reference), 0);
    if (end == NULL)
        fail_msg("%s has not both marker lines", DOCUMENT);
    begin += strlen(BEGIN);
    if ((size_t)(end - begin) != reference.length || memcmp(begin, text_string(&reference), reference.length) != 0)
        fail_msg("%s: what stands between the marker lines is not what 'tandem-mapper reference' prints", DOCUMENT);
    text_done(&reference);
    free(document);
}

/* Each transform has its heading, its example, and each argument its row. */
static void test_every_transform_is_told(void **state)
{
    (void)state;
    struct text reference;
    char wanted[64];

    text_init(&reference, BYTES_MAX);
    assert_int_equal(reference_append(&reference), 0);
    for (size_t i = 0; i < TRANSFORM_TYPE_COUNT; i++) {
        (void)snprintf(wanted, sizeof(wanted), "\n#### `%s`\n", TRANSFORM_TYPES[i].name);
        const char *part = strstr(text_string(&reference), wanted);
        assert_non_null(part);
        assert_non_null(strstr(part, TRANSFORM_TYPES[i].help));
        assert_non_null(strstr(part, TRANSFORM_TYPES[i].example));
        for (const struct argument *argument = TRANSFORM_TYPES[i].arguments; argument->name != NULL; argument++) {
            (void)snprintf(wanted, sizeof(wanted), "\n| `%s` | ", argument->name);
            assert_non_null(strstr(part, wanted));
        }
    }
    text_done(&reference);
}

/* What the tables give as examples is what the loader takes. */
static void test_examples_are_right(void **state)
{
    (void)state;
    for (int id = 0; id < RULES_SECTION_COUNT; id++) {
        const struct rules_section *section = &RULES_SECTIONS[id];
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        assert_non_null(section->title);
        assert_non_null(section->what);
        for (const struct rules_key *key = section->keys; key->name != NULL; key++)
            assert_true(key->value != NULL && key->help != NULL);
        if (section->example != NULL) {
            struct yaml_node *node =
                yaml_parse(&diagnostics,
                           diagnostics_add_source(&diagnostics, "example", section->example, strlen(section->example)));
            if (node == NULL)
                fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
            assert_int_equal(rules_language_check(&diagnostics, node, RULES_FILE), 0);
            yaml_node_free(node);
        }
        diagnostics_done(&diagnostics);
    }
    for (size_t i = 0; i < RULES_PATH_FORM_COUNT; i++) {
        const struct rules_path_form *form = &RULES_PATH_FORMS[i];
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        char *text = text_format("\"%s\"", form->example);
        struct yaml_node *node =
            yaml_parse(&diagnostics, diagnostics_add_source(&diagnostics, "example", text, strlen(text)));
        assert_non_null(node);
        for (int side = 0; side < SIDE_COUNT; side++) {
            static const char *const sides[SIDE_COUNT] = {"partner_center", "crm"};
            if (strcmp(form->side, "both") == 0 || strcmp(form->side, sides[side]) == 0)
                assert_int_equal(rules_path_check(&diagnostics, node, (enum side)side), 0);
        }
        yaml_node_free(node);
        free(text);
        diagnostics_done(&diagnostics);
    }
}

/* All sections' examples together, with a field for every value of a lookup, are rules that load. */
static void test_examples_make_a_rule_file(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct text text;

    text_init(&text, BYTES_MAX);
    assert_int_equal(text_append(&text, "version: 1\ncrm: dynamics-365\nrecord: opportunity\n"), 0);
    for (int id = 0; id < RULES_SECTION_COUNT; id++) {
        if (RULES_SECTIONS[id].example == NULL)
            continue;
        assert_int_equal(text_append(&text, RULES_SECTIONS[id].example), 0);
        if (id == RULES_FIELD)
            assert_int_equal(text_append(&text,
                                         "  - {name: stage, partner_center: [status, substatus], crm: [statecode, "
                                         "statuscode], table: deal_stages}\n"
                                         "  - {name: account, partner_center: customerProfile.name, crm: "
                                         "customerid_account.name}\n"
                                         "  - {name: code, partner_center: customerProfile.address.postalCode, crm: "
                                         "customerid_account.address1_postalcode}\n"),
                             0);
    }
    struct rules *rules =
        rules_load(&diagnostics, diagnostics_add_source(&diagnostics, "examples", text_string(&text), text.length));
    if (rules == NULL)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
    rules_free(rules);
    text_done(&text);
    diagnostics_done(&diagnostics);
}

/* The file the document begins with loads, also with the field it shows later on. */
static void test_documents_examples_load(void **state)
{
    (void)state;
    static const char fence[] = "```yaml\n";
    char *document = read_document();
    const char *first = strstr(document, fence) + strlen(fence), *second = strstr(first, fence) + strlen(fence);
    const char *tables = strstr(first, "tables:\n");
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct text text;

    text_init(&text, BYTES_MAX);
    assert_int_equal(text_append_n(&text, first, (size_t)(tables - first)), 0);
    assert_int_equal(text_append_n(&text, second, (size_t)(strstr(second, "```") - second)), 0);
    assert_int_equal(text_append_n(&text, tables, (size_t)(strstr(tables, "```") - tables)), 0);
    struct rules *rules =
        rules_load(&diagnostics, diagnostics_add_source(&diagnostics, DOCUMENT, text_string(&text), text.length));
    if (rules == NULL)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
    assert_int_equal(rules->field_count, 3);
    rules_free(rules);
    text_done(&text);
    diagnostics_done(&diagnostics);
    free(document);
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document_holds_the_reference), cmocka_unit_test(test_every_transform_is_told),
        cmocka_unit_test(test_examples_are_right),           cmocka_unit_test(test_examples_make_a_rule_file),
        cmocka_unit_test(test_documents_examples_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
