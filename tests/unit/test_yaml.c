#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/base/yaml.h"
#include "tests/support/allocation.h"

static struct yaml_node *parse_n(struct diagnostics *diagnostics, const char *bytes, size_t count)
{
    const struct source *source = diagnostics_add_source(diagnostics, "f.yaml", bytes, count);
    assert_non_null(source);
    return yaml_parse(diagnostics, source);
}

static struct yaml_node *parse(struct diagnostics *diagnostics, const char *text)
{
    struct yaml_node *node = parse_n(diagnostics, text, strlen(text));
    if (node == NULL)
        fail_msg("%s", diagnostics_message(diagnostics, 0, NULL));
    return node;
}

static void assert_place(const struct yaml_node *node, size_t line, size_t column, size_t length)
{
    assert_int_equal(node->position.line, line);
    assert_int_equal(node->position.column, column);
    assert_int_equal(node->position.length, length);
}

/* Mappings, sequences and scalars in both styles become nodes that know their places. */
static void test_tree_and_places(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct yaml_node *root = parse(&diagnostics, "# rules\n"
                                                 "version: 1\n"
                                                 "f\xC3\xA4"
                                                 "hrt: {type: [Independent, \"Sh ared\"]}\n"
                                                 "fields:\n"
                                                 "  - name: deal\n"
                                                 "    text: |\n"
                                                 "      two\n"
                                                 "      lines\n"
                                                 "  - x\n");
    assert_int_equal(root->kind, YAML_MAPPING);
    assert_int_equal(root->count, 3);
    assert_place(root, 2, 1, 1);
    assert_place(root->keys[0], 2, 1, 7);
    const struct yaml_node *version = yaml_get(root, "version");
    assert_string_equal(version->text, "1");
    assert_false(version->is_quoted);
    assert_place(version, 2, 10, 1);

    const struct yaml_node *types = yaml_get(yaml_get(root, "f\xC3\xA4hrt"), "type");
    assert_int_equal(types->kind, YAML_SEQUENCE);
    assert_int_equal(types->count, 2);
    assert_null(types->text);
    assert_place(types, 3, 15, 1);
    assert_place(types->items[0], 3, 16, 11);
    assert_string_equal(types->items[1]->text, "Sh ared");
    assert_true(types->items[1]->is_quoted);
    assert_place(types->items[1], 3, 29, 9);

    const struct yaml_node *fields = yaml_get(root, "fields");
    assert_int_equal(fields->count, 2);
    const struct yaml_node *text = yaml_get(fields->items[0], "text");
    assert_string_equal(text->text, "two\nlines\n");
    assert_true(text->is_quoted);
    assert_int_equal(text->position.line, 6);
    assert_string_equal(fields->items[1]->text, "x");
    assert_place(fields->items[1], 9, 5, 1);

    assert_null(yaml_get(root, "absent"));
    assert_null(yaml_get(fields, "name"));
    assert_null(yaml_get(NULL, "name"));
    assert_int_equal(diagnostics.error_count, 0);
    yaml_node_free(root);
    diagnostics_done(&diagnostics);
}

/* Lines end in a line feed only, as in an editor, although YAML knows further line breaks; a byte order mark has no
 * column. */
static void test_places_count_like_an_editor(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct yaml_node *root = parse(&diagnostics, "\xEF\xBB\xBF"
                                                 "a: 1\r\nb: \"x\xE2\x80\xA8y\"\r\nc: 2\n");
    assert_place(root->keys[0], 1, 1, 1);
    assert_place(root->keys[1], 2, 1, 1);
    assert_place(yaml_get(root, "c"), 3, 4, 1);
    yaml_node_free(root);
    diagnostics_done(&diagnostics);
}

/* No document is an empty mapping. */
static void test_empty_documents(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# nothing\n", "---\n", "---\n...\n", "\xEF\xBB\xBF"};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        struct yaml_node *root = parse(&diagnostics, texts[i]);
        assert_int_equal(root->kind, YAML_MAPPING);
        assert_int_equal(root->count, 0);
        assert_place(root, 1, 1, 1);
        yaml_node_free(root);
        diagnostics_done(&diagnostics);
    }
}

/* Each thing that is refused is named at its place. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: error: duplicate key 'a'"},
        {"a: {b: 1, \"b\": 2}\n", "f.yaml:1:11: error: duplicate key 'b'"},
        {"a: &x 1\n", "f.yaml:1:4: error: anchors ('&name') are not supported"},
        {"a: *x\n", "f.yaml:1:4: error: aliases ('*name') are not supported"},
        {"a: !t 1\n", "f.yaml:1:4: error: tags ('!name') are not supported"},
        {"a: !!int 1\n", "f.yaml:1:4: error: tags ('!name') are not supported"},
        {"a: &x [1]\n", "f.yaml:1:4: error: anchors ('&name') are not supported"},
        {"!t {a: 1}\n", "f.yaml:1:1: error: tags ('!name') are not supported"},
        {"? [1, 2]\n: 3\n", "f.yaml:1:3: error: a key must be a single word or text"},
        {"{[1]: 2}\n", "f.yaml:1:2: error: a key must be a single word or text"},
        {"*x : 1\n", "f.yaml:1:1: error: aliases ('*name') are not supported"},
        {"a: 1\n---\nb: 2\n", "f.yaml:2:1: error: a second document begins here; only one is allowed"},
        {"a: \"x\\0\"\n", "f.yaml:1:4: error: text must not hold the NUL character"},
        {"\xC3\xA4: \xFF\n", "f.yaml:1:4: error: not valid UTF-8"},
        {"\xFF\xFE"
         "a",
         "f.yaml:1:1: error: not valid UTF-8"},
        {"a: 1\nb: \x01\n", "f.yaml:2:4: error: control characters are not allowed"},
        {"\xEF\xBB\xBF"
         "a: \x01\n",
         "f.yaml:1:4: error: control characters are not allowed"},
        {"a:\n\tb: 1\n", "f.yaml:2:1: error: tabs cannot indent; use spaces"},
        {"a: b: c\n",
         "f.yaml:1:5: error: a ':' is not expected here; put the text into quotes, or check the indentation"},
        {"a: @x\n", "f.yaml:1:4: error: a value cannot begin with '@'; put it into quotes"},
        {"a: \"x\nb: 1\n", "f.yaml:1:4: error: the quoted text is not closed"},
        {"a: [1, 2\nb: 3\n", "f.yaml:2:2: error: a ',' or the closing ']' is missing"},
        {"a: {b: 1\n", "f.yaml:2:1: error: a ',' or the closing '}' is missing"},
        {"a:\n  - 1\n b: 2\n", "f.yaml:3:2: error: a key is expected here; check the indentation"},
        {"a: 1\nb\n", "f.yaml:3:1: error: a ':' is missing after the key"},
        {"a: \"\\q\"\n", "f.yaml:1:5: error: found unknown escape character"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        struct yaml_node *root = parse_n(&diagnostics, cases[i].text, strlen(cases[i].text));
        const char *message = diagnostics_message(&diagnostics, 0, NULL);
        if (root != NULL || message == NULL)
            fail_msg("accepted: %s", cases[i].text);
        assert_string_equal(message, cases[i].expected);
        diagnostics_done(&diagnostics);
    }
}

/* All faults of meaning are found in one pass; a duplicate tells where the first one is. */
static void test_all_faults_at_once(void **state)
{
    (void)state;
    static const char text[] = "a: &x 1\nb: *x\na: !t 3\n";
    static const char *const expected[] = {
        "f.yaml:1:4: error: anchors ('&name') are not supported",
        "f.yaml:2:4: error: aliases ('*name') are not supported",
        "f.yaml:3:1: error: duplicate key 'a'",
        "f.yaml:1:1: note: it stands here already",
        "f.yaml:3:4: error: tags ('!name') are not supported",
    };
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    assert_null(parse_n(&diagnostics, text, sizeof(text) - 1));
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++)
        assert_string_equal(diagnostics_message(&diagnostics, i, NULL), expected[i]);
    assert_null(diagnostics_message(&diagnostics, ARRAY_LENGTH(expected), NULL));
    diagnostics_done(&diagnostics);
}

/* Errors of another file do not make this one wrong. */
static void test_earlier_errors_do_not_count(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    diagnostics_error(&diagnostics, (struct position){0}, "from elsewhere");
    struct yaml_node *root = parse(&diagnostics, "a: 1\n");
    yaml_node_free(root);
    diagnostics_done(&diagnostics);
}

/* Size, depth and number of values have ends, which hold exactly. */
static void test_limits(void **state)
{
    (void)state;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    char nested[2 * YAML_DEPTH_MAX + 3] = "";
    memset(nested, '[', YAML_DEPTH_MAX);
    memset(nested + YAML_DEPTH_MAX, ']', YAML_DEPTH_MAX);
    yaml_node_free(parse(&diagnostics, nested));
    memset(nested, '[', YAML_DEPTH_MAX + 1);
    memset(nested + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
    assert_null(parse_n(&diagnostics, nested, 2 * YAML_DEPTH_MAX + 2));
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL), "f.yaml:1:33: error: nested more than 32 deep");
    diagnostics_done(&diagnostics);

    size_t count = YAML_BYTES_MAX + 1;
    char *bytes = malloc(count);
    assert_non_null(bytes);
    memset(bytes, '\n', count);
    yaml_node_free(parse_n(&diagnostics, bytes, count - 1));
    assert_int_equal(diagnostics.error_count, 0);
    assert_null(parse_n(&diagnostics, bytes, count));
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL),
                        "f.yaml: error: the file is larger than 4194304 bytes");
    diagnostics_done(&diagnostics);

    /* The sequence itself is a value. */
    for (size_t i = 0; i < 2 * YAML_NODES_MAX; i++)
        bytes[i] = i == 0 ? '[' : i % 2 == 1 ? '1' : ',';
    bytes[2 * (YAML_NODES_MAX - 1)] = ']';
    yaml_node_free(parse_n(&diagnostics, bytes, 2 * (YAML_NODES_MAX - 1) + 1));
    assert_int_equal(diagnostics.error_count, 0);
    bytes[2 * (YAML_NODES_MAX - 1)] = ',';
    bytes[2 * YAML_NODES_MAX] = ']';
    assert_null(parse_n(&diagnostics, bytes, 2 * YAML_NODES_MAX + 1));
    assert_non_null(strstr(diagnostics_message(&diagnostics, 0, NULL), "more than 200000 values in one file"));
    diagnostics_done(&diagnostics);
    free(bytes);
}

/* Only plain scalars have a type, and only the words this project knows. */
static void test_typed_scalars(void **state)
{
    (void)state;
    static const struct {
        const char *text; /* the value of a key */
        bool is_null;
        int boolean; /* -1: none */
        bool is_integer;
        long long integer;
    } cases[] = {
        {"~", true, -1, false, 0},
        {"null", true, -1, false, 0},
        {"", true, -1, false, 0},
        {"'~'", false, -1, false, 0},
        {"\"\"", false, -1, false, 0},
        {"NULL", false, -1, false, 0},
        {"true", false, 1, false, 0},
        {"yes", false, 1, false, 0},
        {"false", false, 0, false, 0},
        {"no", false, 0, false, 0},
        {"'true'", false, -1, false, 0},
        {"True", false, -1, false, 0},
        {"on", false, -1, false, 0},
        {"42", false, -1, true, 42},
        {"-7", false, -1, true, -7},
        {"'42'", false, -1, false, 0},
        {"4.2", false, -1, false, 0},
        {"0x10", false, -1, false, 0},
        {"9223372036854775808", false, -1, false, 0},
        {"[1]", false, -1, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        char text[64] = "k: ";
        strncat(text, cases[i].text, sizeof(text) - 4);
        struct yaml_node *root = parse(&diagnostics, text);
        const struct yaml_node *value = yaml_get(root, "k");
        bool boolean = false;
        long long integer = 0;
        assert_int_equal(yaml_is_null(value), cases[i].is_null);
        assert_int_equal(yaml_get_boolean(value, &boolean), cases[i].boolean >= 0);
        assert_int_equal(boolean, cases[i].boolean == 1);
        assert_int_equal(yaml_get_integer(value, &integer), cases[i].is_integer);
        assert_int_equal(integer, cases[i].integer);
        yaml_node_free(root);
        diagnostics_done(&diagnostics);
    }
    assert_false(yaml_is_null(NULL));
}

/* A mapping with very many keys is checked for duplicates in no time. */
static void test_many_keys(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, YAML_BYTES_MAX);
    for (int i = 0; i < 50000; i++)
        assert_int_equal(text_appendf(&text, "key%d: 1\n", i), 0);
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct yaml_node *root = parse(&diagnostics, text_string(&text));
    assert_int_equal(root->count, 50000);
    yaml_node_free(root);
    assert_int_equal(text_append(&text, "key17: 1\n"), 0);
    assert_null(parse_n(&diagnostics, text.data, text.length));
    assert_string_equal(diagnostics_message(&diagnostics, 0, NULL), "f.yaml:50001:1: error: duplicate key 'key17'");
    diagnostics_done(&diagnostics);
    text_done(&text);
}

/* Whichever allocation of ours fails, there is no tree but an error, and nothing leaks. */
static void test_every_failed_allocation_is_survived(void **state)
{
    (void)state;
    static const char text[] = "a: [1, 2, {b: c}]\nd:\n  - e\n  - 'f'\n";
    bool has_failed = true;
    for (unsigned n = 1; has_failed; n++) {
        struct diagnostics diagnostics = DIAGNOSTICS_INIT;
        const struct source *source = diagnostics_add_source(&diagnostics, "f", text, sizeof(text) - 1);
        assert_non_null(source);
        allocation_fail_at(n);
        struct yaml_node *root = yaml_parse(&diagnostics, source);
        has_failed = allocation_has_failed();
        allocation_fail_at(0);
        assert_int_equal(root == NULL, has_failed);
        assert_int_equal(diagnostics.error_count > 0, has_failed);
        yaml_node_free(root);
        diagnostics_done(&diagnostics);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_and_places),
        cmocka_unit_test(test_places_count_like_an_editor),
        cmocka_unit_test(test_empty_documents),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_all_faults_at_once),
        cmocka_unit_test(test_earlier_errors_do_not_count),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_typed_scalars),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
