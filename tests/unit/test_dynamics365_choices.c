#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/systems/dynamics365_choices.h"
#include "tests/support/parse.h"

#define OPTION(value, label, other)                                            \
    "{\"Value\":" value ",\"Label\":{\"UserLocalizedLabel\":{\"Label\":" label \
    "},\"LocalizedLabels\":[{\"Label\":" label "},{\"Label\":" other "}]}}"
#define OPTIONS                                                                                              \
    "[" OPTION("100", "\"Yes\"", "\"Ja\"") "," OPTION("200", "\"No\"", "\"Nein\"") "," OPTION("300", "null", \
                                                                                              "\"Nein\"") "]"

/* An option set is asked for once; then a label in any language is its number, whatever its case and outer blanks. */
static void test_label_is_a_number(void **state)
{
    struct dynamics_choices choices;
    json_auto_t *metadata = parse("{\"OptionSet\":{\"Options\":" OPTIONS "},\"GlobalOptionSet\":null}");
    json_int_t value = 0;

    (void)state;
    assert_int_equal(dynamics_choices_init(&choices), 0);
    assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", "Yes", 0, &value), DYNAMICS_CHOICE_ASK);
    assert_int_equal(dynamics_choices_keep(&choices, "opportunity", "help", metadata, 0), 0);
    assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", " yES\n", 0, &value),
                     DYNAMICS_CHOICE_FOUND);
    assert_int_equal(value, 100);
    assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", "ja", 0, &value), DYNAMICS_CHOICE_FOUND);
    assert_int_equal(value, 100);
    assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", "no", 3600000, &value),
                     DYNAMICS_CHOICE_FOUND);
    assert_int_equal(value, 200);
    assert_int_equal(dynamics_choices_find(&choices, "lead", "help", "No", 0, &value), DYNAMICS_CHOICE_ASK);
    dynamics_choices_done(&choices);
}

/* Columns may share an option set. */
static void test_shared_option_set(void **state)
{
    struct dynamics_choices choices;
    json_auto_t *metadata = parse("{\"OptionSet\":null,\"GlobalOptionSet\":{\"Options\":" OPTIONS "}}");
    json_int_t value = 0;

    (void)state;
    assert_int_equal(dynamics_choices_init(&choices), 0);
    assert_int_equal(dynamics_choices_keep(&choices, "opportunity", "help", metadata, 0), 0);
    assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", "Yes", 0, &value), DYNAMICS_CHOICE_FOUND);
    assert_int_equal(value, 100);
    dynamics_choices_done(&choices);
}

/* An unknown label is looked for anew after a minute: somebody may have added it. One of two choices is none. */
static void test_unknown_label(void **state)
{
    static const char *const labels[] = {"Maybe", "", "Ye", "Yess", "Nein"};
    struct dynamics_choices choices;
    json_auto_t *metadata = parse("{\"OptionSet\":{\"Options\":" OPTIONS "}}");
    json_int_t value = 7;

    (void)state;
    assert_int_equal(dynamics_choices_init(&choices), 0);
    assert_int_equal(dynamics_choices_keep(&choices, "opportunity", "help", metadata, 1000), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(labels); i++) {
        assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", labels[i], 60999, &value),
                         DYNAMICS_CHOICE_NONE);
        assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", labels[i], 61000, &value),
                         DYNAMICS_CHOICE_ASK);
    }
    assert_int_equal(value, 7);
    dynamics_choices_done(&choices);
}

/* An answer without choices is not kept as an empty set. */
static void test_column_without_choices(void **state)
{
    static const char *const answers[] = {"{}", "{\"OptionSet\":{\"Options\":[]}}", "{\"OptionSet\":7}",
                                          "{\"OptionSet\":{\"Options\":[{\"Value\":\"1\"}]}}"};
    struct dynamics_choices choices;
    json_int_t value;

    (void)state;
    assert_int_equal(dynamics_choices_init(&choices), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(answers); i++) {
        json_auto_t *metadata = parse(answers[i]);
        assert_int_equal(dynamics_choices_keep(&choices, "opportunity", "help", metadata, 0), -1);
    }
    assert_int_equal(dynamics_choices_find(&choices, "opportunity", "help", "Yes", 0, &value), DYNAMICS_CHOICE_ASK);
    dynamics_choices_done(&choices);
}

static int set_up(void **state)
{
    (void)state;
    json_setup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_label_is_a_number),
        cmocka_unit_test(test_shared_option_set),
        cmocka_unit_test(test_unknown_label),
        cmocka_unit_test(test_column_without_choices),
    };
    return cmocka_run_group_tests_name("dynamics365_choices", tests, set_up, NULL);
}
