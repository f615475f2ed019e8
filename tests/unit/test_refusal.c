#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/attributes.h"
#include "common/base/json.h"
#include "mapper/refusal.h"

#define DEAL  "crm:22222222-2222-4222-8222-222222222222"
#define FOUND "the deal's story in Tandem's audit under " DEAL "."
#define STORY "an administrator finds " FOUND

/* The words for this refusal begin so, or are these. */
static void assert_told(const char *code, const char *named, json_t *write, const char *words)
{
    char *told = refusal_text(DEAL, code, named, write);

    assert_non_null(told);
    if (strncmp(told, words, strlen(words)) != 0)
        fail_msg("%s, %s: \"%s\" instead of \"%s\"", code == NULL ? "no code" : code,
                 named == NULL ? "no field" : named, told, words);
    free(told);
    json_decref(write);
}

/* Row by row: each is found by its code and field, none is hidden by one before it, and its words are whole. */
static void test_every_row_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < REFUSAL_ROW_COUNT; i++) {
        const struct refusal_row *row = &REFUSAL_ROWS[i];
        const bool is_any = row->field != NULL && strcmp(row->field, "*") == 0;
        const char *code = row->code == NULL ? "never.heard_of" : row->code;
        const char *path = is_any ? "own.column" : row->field;
        json_auto_t *write = path == NULL ? json_pack("{s:i, s:i}", "a", 1, "b", 2) : json_pack("{s:i}", path, 1);
        char *told = refusal_text(DEAL, code, path, write);
        const size_t same = strcspn(row->text, "{");

        assert_non_null(told);
        if (strncmp(told, row->text, same) != 0)
            fail_msg("row %zu (%s, %s) says \"%s\"", i, code, path == NULL ? "-" : path, told);
        assert_null(strpbrk(told, "{}"));
        assert_true(told[strlen(told) - 1] == '.');
        assert_int_equal(strstr(row->text, "{field}") != NULL, strstr(told, "own.column") != NULL);
        assert_int_equal(strstr(row->text, "{code}") != NULL, strstr(told, code) != NULL);
        assert_int_equal(strstr(row->text, "{deal}") != NULL, strstr(told, FOUND) != NULL);
        free(told);
        /* In either case a refusal of the other kinds is told in other words, unless they say the same on purpose. */
        for (size_t k = 0; k < i; k++)
            assert_false(row->code == REFUSAL_ROWS[k].code && row->field != NULL && REFUSAL_ROWS[k].field != NULL &&
                         strcmp(row->field, REFUSAL_ROWS[k].field) == 0);
    }
}

/* What the service names counts in whatever form it writes a path, also for what lies below a row's field. */
static void test_paths_of_services_are_understood(void **state)
{
    static const char *const forms[] = {"details.requirements.solutions", "/details/requirements/solutions/0/id",
                                        "details.requirements.solutions[2].id", "Details.Requirements.Solutions",
                                        "/details/requirements/solutions/-"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(forms); i++)
        assert_told("partner_center.refused", forms[i], json_pack("{s:i, s:i}", "name", 1, "team", 1),
                    "Partner Center does not know one of the solutions");
    assert_told("partner_center.refused", "details.requirements.solutions",
                json_pack("{s:i, s:i}", "name", 1, "details.requirements.solutions[]{id,price}", 1),
                "Partner Center does not know one of the solutions");
    assert_told("partner_center.refused", "customerProfile.address.country", json_pack("{s:i, s:i}", "a", 1, "b", 1),
                "Partner Center does not know the customer's country");
    assert_told("partner_center.refused", "customerProfile.address.city", NULL,
                "Partner Center does not take the customer's address");
}

/* A write of one field that is refused is refused for that field; status, substatus and reason are one. */
static void test_single_field_needs_no_name(void **state)
{
    (void)state;
    assert_told("partner_center.refused", NULL, json_pack("{s:i}", "details.dealValue", 1),
                "Partner Center does not take the deal's value");
    assert_told("partner_center.refused", "referral", json_pack("{s:i}", "details.dealValue", 1),
                "Partner Center does not take the deal's value");
    assert_told("partner_center.refused", NULL, json_pack("{s:i, s:i}", "status", 1, "substatus", 1),
                "Partner Center does not allow this step");
    assert_told("partner_center.refused", NULL,
                json_pack("{s:i, s:i, s:i}", "statusReason", 1, "status", 1, "substatus", 1),
                "Partner Center does not");
    assert_told("partner_center.refused", NULL, json_pack("{s:i, s:i}", "name", 1, "details.dealValue", 1),
                "Partner Center does not take the deal as it is and does not say why.");
    assert_told("dynamics_365.too_long", NULL, json_pack("{s:s}", "description", "x"),
                "There are too many characters in description.");
}

/* A name that neither the write nor the table knows is not repeated: it could be anything. */
static void test_unknown_names_are_not_told(void **state)
{
    static const char *const names[] = {"Contoso", "customerProfile", "details", "../..", "[0]", ""};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        assert_told("partner_center.refused", names[i], json_pack("{s:i, s:i}", "name", 1, "team", 1),
                    "Partner Center does not take the deal as it is");
    assert_told("partner_center.refused", "salesStage.Contoso", json_pack("{s:i, s:i}", "name", 1, "salesStage", 1),
                "Partner Center does not take the value of salesStage. ");
}

/* A code the table does not know is told as it is, with where the deal's story is found; so is none at all. */
static void test_unknown_codes_are_told_with_the_story(void **state)
{
    (void)state;
    assert_told("a.new_code", NULL, NULL,
                "The change was refused (a.new_code). Correct the record and save it again; " STORY);
    assert_told(NULL, NULL, NULL, "The change was refused (no code). ");
    assert_told("a.new_code", NULL, json_pack("{s:i}", "my_column", 1),
                "The value of my_column was refused (a.new_code).");
}

int main(void)
{
    json_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_found),
        cmocka_unit_test(test_paths_of_services_are_understood),
        cmocka_unit_test(test_single_field_needs_no_name),
        cmocka_unit_test(test_unknown_names_are_not_told),
        cmocka_unit_test(test_unknown_codes_are_told_with_the_story),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
