#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "ingest/register_dynamics_plan.h"
#include "tests/support/parse.h"

#define URL "https://hooks.fabrikam.example/webhooks"
#define ENDPOINT(url, authtype) \
    "{\"serviceendpointid\":\"e1\",\"name\":\"Tandem\",\"contract\":8,\"authtype\":" authtype ",\"url\":\"" url "\"}"
#define STEP(id, message, table, attributes)                                                                       \
    "{\"sdkmessageprocessingstepid\":\"" id "\",\"mode\":1,\"stage\":40,\"asyncautodelete\":true,\"statecode\":0," \
    "\"filteringattributes\":" attributes ",\"sdkmessageid\":{\"name\":\"" message                                 \
    "\"},\"sdkmessagefilterid\":{\"primaryobjecttypecode\":\"" table "\"}}"
#define IMAGE(id, step, type)                                                                                        \
    "{\"sdkmessageprocessingstepimageid\":\"" id "\",\"_sdkmessageprocessingstepid_value\":\"" step                  \
    "\",\"imagetype\":" type ",\"entityalias\":\"parent\",\"attributes\":\"opportunityid\",\"messagepropertyname\":" \
    "\"Target\"}"
#define FILTER(message, table)                                                                 \
    "{\"sdkmessagefilterid\":\"f-" message "-" table "\",\"_sdkmessageid_value\":\"m-" message \
    "\",\"primaryobjecttypecode\":\"" table "\",\"sdkmessageid\":{\"name\":\"" message "\"}}"
#define FILTERS(table)    FILTER("Create", table) "," FILTER("Update", table) "," FILTER("Delete", table)
#define UPDATE_ATTRIBUTES "\"statuscode, name,statecode\""
#define STEPS                                   \
    STEP("s1", "Create", "opportunity", "null") \
    "," STEP("s2", "Update", "opportunity", UPDATE_ATTRIBUTES) "," STEP("s3", "Delete", "opportunity", "null")
#define CHILD_STEPS                         \
    STEP("c1", "Create", "product", "null") \
    "," STEP("c2", "Update", "product", "null") "," STEP("c3", "Delete", "product", "null")
#define IMAGES IMAGE("i2", "c2", "2") "," IMAGE("i3", "c3", "0")

static char *column_names[] = {(char *)(uintptr_t) "name"};
static const struct config_list columns = {.items = column_names, .count = 1};
static char *table_names[] = {(char *)(uintptr_t) "product"};
static char *table_columns[] = {(char *)(uintptr_t) "opportunityid"};
static const struct config_map products = {.keys = table_names, .values = table_columns, .count = 1};
static const struct config_map no_tables = {0};

struct organisation {
    const char *endpoint; /* NULL: none */
    const char *steps;
    const char *images;
    const char *filters;
};

static const struct organisation empty = {NULL, "[]", "[]", "[" FILTERS("opportunity") "," FILTERS("product") "]"};
static const struct organisation complete = {ENDPOINT(URL, "5"), "[" STEPS "," CHILD_STEPS "]", "[" IMAGES "]",
                                             "[" FILTERS("opportunity") "," FILTERS("product") "]"};

static int plan_of(const struct organisation *organisation, const struct register_dynamics_wanted *wanted,
                   struct register_dynamics_plan *ret_plan, struct error *err)
{
    struct register_dynamics_found found = {.endpoint = parse(organisation->endpoint),
                                            .steps = parse(organisation->steps),
                                            .images = parse(organisation->images),
                                            .filters = parse(organisation->filters)};
    int status = register_dynamics_plan(wanted, &found, ret_plan, err);

    json_decref(found.endpoint);
    json_decref(found.steps);
    json_decref(found.images);
    json_decref(found.filters);
    return status;
}

static struct register_dynamics_plan good_plan(const struct organisation *organisation,
                                               const struct register_dynamics_wanted *wanted)
{
    struct register_dynamics_plan plan;
    struct error err = ERROR_INIT;

    if (plan_of(organisation, wanted, &plan, &err) < 0)
        fail_msg("%s", err.message);
    return plan;
}

static const struct register_part *part_of(const struct register_dynamics_plan *plan, enum register_part_kind kind,
                                           const char *name)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->parts[i].kind == kind && strcmp(plan->parts[i].name, name) == 0)
            return &plan->parts[i];
    }
    fail_msg("no part %s", name);
    return NULL;
}

/* Where nothing is, everything is missing, in an order in which it can be made. */
static void test_empty_organisation(void **state)
{
    const struct register_dynamics_wanted wanted = {.url = URL, .columns = &columns, .child_tables = &products};
    struct register_dynamics_plan plan = good_plan(&empty, &wanted);
    json_auto_t *endpoint = parse("{\"name\":\"Tandem\",\"contract\":8,\"authtype\":5,\"url\":\"" URL "\"}");
    json_auto_t *update = parse(
        "{\"name\":\"Tandem: Update of opportunity\",\"mode\":1,\"stage\":40,\"rank\":1,\"supporteddeployment\":0,"
        "\"asyncautodelete\":true,\"filteringattributes\":\"name,statecode,statuscode\","
        "\"sdkmessageid@odata.bind\":\"/sdkmessages(m-Update)\","
        "\"sdkmessagefilterid@odata.bind\":\"/sdkmessagefilters(f-Update-opportunity)\"}");

    (void)state;
    assert_int_equal(plan.count, 9);
    assert_int_equal(plan.missing, 9);
    assert_int_equal(plan.parts[0].kind, REGISTER_ENDPOINT);
    assert_true(json_same(plan.parts[0].body, endpoint));
    assert_true(json_same(part_of(&plan, REGISTER_STEP, "Update of opportunity")->body, update));
    assert_null(json_object_get(part_of(&plan, REGISTER_STEP, "Update of product")->body, "filteringattributes"));
    for (size_t i = 0; i < plan.count; i++) {
        if (plan.parts[i].kind == REGISTER_IMAGE)
            assert_true(plan.parts[i].step < i && strcmp(plan.parts[plan.parts[i].step].name, plan.parts[i].name) == 0);
    }
    assert_int_equal(json_integer_of(part_of(&plan, REGISTER_IMAGE, "Update of product")->body, "imagetype", -1), 2);
    assert_int_equal(json_integer_of(part_of(&plan, REGISTER_IMAGE, "Delete of product")->body, "imagetype", -1), 0);
    register_dynamics_plan_done(&plan);
}

/* Where everything is, nothing is to do. */
static void test_complete_organisation(void **state)
{
    const struct register_dynamics_wanted wanted = {.url = URL, .columns = &columns, .child_tables = &products};
    struct register_dynamics_plan plan = good_plan(&complete, &wanted);

    (void)state;
    for (size_t i = 0; i < plan.count; i++) {
        if (plan.parts[i].state != REGISTER_GOOD)
            fail_msg("%s: %s", plan.parts[i].name, plan.parts[i].difference == NULL ? "?" : plan.parts[i].difference);
    }
    assert_int_equal(plan.good, 9);
    register_dynamics_plan_done(&plan);
}

/* What differs is named, with what is wanted, and only that is written. */
static void test_differences(void **state)
{
    static const struct {
        struct organisation organisation;
        bool uses_webhook_key;
        enum register_part_kind kind;
        const char *name;
        const char *word;
        const char *body;
    } cases[] = {
        {{ENDPOINT("https://old.example/x", "5"), "[" STEPS "]", "[]", "[" FILTERS("opportunity") "]"},
         false,
         REGISTER_ENDPOINT,
         "Tandem",
         "https://old.example/x",
         "{\"url\":\"" URL "\",\"authtype\":5}"},
        {{ENDPOINT(URL, "5"), "[" STEPS "]", "[]", "[" FILTERS("opportunity") "]"},
         true,
         REGISTER_ENDPOINT,
         "Tandem",
         "authtype is 5, wanted 4",
         "{\"authtype\":4}"},
        {{ENDPOINT(URL, "5"),
          "[" STEP("s1", "Create", "opportunity", "null") "," STEP("s2", "Update", "opportunity", "\"name\"") "," STEP(
              "s3", "Delete", "opportunity", "null") "]",
          "[]", "[" FILTERS("opportunity") "]"},
         false,
         REGISTER_STEP,
         "Update of opportunity",
         "wanted \"name,statecode,statuscode\"",
         "{\"filteringattributes\":\"name,statecode,statuscode\"}"},
        {{ENDPOINT(URL, "5"),
          "[{\"sdkmessageprocessingstepid\":\"s1\",\"mode\":1,\"stage\":40,\"asyncautodelete\":true,\"statecode\":1,"
          "\"sdkmessageid\":{\"name\":\"Create\"},\"sdkmessagefilterid\":{\"primaryobjecttypecode\":\"opportunity\"}}," STEP(
              "s2", "Update", "opportunity", UPDATE_ATTRIBUTES) "," STEP("s3", "Delete", "opportunity", "null") "]",
          "[]", "[" FILTERS("opportunity") "]"},
         false,
         REGISTER_STEP,
         "Create of opportunity",
         "statecode is 1, wanted 0",
         "{\"statecode\":0,\"statuscode\":1}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct register_dynamics_wanted wanted = {
            .url = URL, .uses_webhook_key = cases[i].uses_webhook_key, .columns = &columns, .child_tables = &no_tables};
        struct register_dynamics_plan plan = good_plan(&cases[i].organisation, &wanted);
        const struct register_part *part = part_of(&plan, cases[i].kind, cases[i].name);
        json_auto_t *body = parse(cases[i].body);

        assert_int_equal(plan.different, 1);
        assert_int_equal(plan.good, plan.count - 1);
        assert_int_equal(part->state, REGISTER_DIFFERENT);
        if (strstr(part->difference, cases[i].word) == NULL)
            fail_msg("%s", part->difference);
        assert_true(json_same(part->body, body));
        register_dynamics_plan_done(&plan);
    }
}

/* Any URL is good when none is wanted, and the secret is written again when that is. */
static void test_what_may_be_left_open(void **state)
{
    const struct register_dynamics_wanted any = {.columns = &columns, .child_tables = &products};
    const struct register_dynamics_wanted renewed = {
        .url = URL, .renews_secret = true, .columns = &columns, .child_tables = &products};
    struct register_dynamics_plan plan = good_plan(&complete, &any);

    (void)state;
    assert_int_equal(plan.good, plan.count);
    register_dynamics_plan_done(&plan);
    plan = good_plan(&complete, &renewed);
    assert_int_equal(plan.different, 1);
    assert_int_equal(plan.parts[0].state, REGISTER_DIFFERENT);
    register_dynamics_plan_done(&plan);
}

/* Steps of tables that are no longer wanted, and second ones, are too much. */
static void test_surplus_steps(void **state)
{
    static const struct organisation organisation = {
        ENDPOINT(URL, "5"), "[" STEPS "," STEP("s4", "Update", "opportunity", UPDATE_ATTRIBUTES) "," CHILD_STEPS "]",
        "[" IMAGES "]", "[" FILTERS("opportunity") "]"};
    const struct register_dynamics_wanted wanted = {.url = URL, .columns = &columns, .child_tables = &no_tables};
    struct register_dynamics_plan plan = good_plan(&organisation, &wanted);

    (void)state;
    assert_int_equal(plan.surplus, 4);
    assert_int_equal(plan.good, 4);
    assert_string_equal(plan.parts[4].id, "s4");
    register_dynamics_plan_done(&plan);
}

/* Winning and losing are listened to where the organisation has messages for them. */
static void test_closing_messages_where_there_are_any(void **state)
{
    static const struct organisation organisation = {
        NULL, "[]", "[]",
        "[" FILTERS("opportunity") "," FILTER("Win", "opportunity") "," FILTER("Lose", "opportunity") "]"};
    const struct register_dynamics_wanted wanted = {.url = URL, .columns = &columns, .child_tables = &no_tables};
    struct register_dynamics_plan plan = good_plan(&organisation, &wanted);

    (void)state;
    assert_int_equal(plan.count, 6);
    assert_int_equal(part_of(&plan, REGISTER_STEP, "Win of opportunity")->state, REGISTER_MISSING);
    register_dynamics_plan_done(&plan);
}

/* A table the organisation does not know is told by its name, before anything is changed. */
static void test_unknown_table(void **state)
{
    static const struct organisation organisation = {NULL, "[]", "[]", "[" FILTERS("opportunity") "]"};
    const struct register_dynamics_wanted wanted = {.url = URL, .columns = &columns, .child_tables = &products};
    struct register_dynamics_plan plan;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(plan_of(&organisation, &wanted, &plan, &err), -1);
    assert_int_equal(err.class, ERROR_CONFIG);
    assert_non_null(strstr(err.message, "'product'"));
    assert_non_null(strstr(err.message, "dynamics_365.child_tables"));
}

/* A row without its id is no row to be changed. */
static void test_row_without_id(void **state)
{
    static const struct organisation organisation = {"{\"name\":\"Tandem\"}", "[]", "[]", "[]"};
    const struct register_dynamics_wanted wanted = {.url = URL, .columns = &columns, .child_tables = &no_tables};
    struct register_dynamics_plan plan;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(plan_of(&organisation, &wanted, &plan, &err), -1);
    assert_int_equal(err.class, ERROR_TRANSIENT);
}

/* All messages of all tables are found by one request. */
static void test_filters_path(void **state)
{
    char *path = register_dynamics_filters_path(&products);

    (void)state;
    assert_non_null(strstr(path, "primaryobjecttypecode%20eq%20%27opportunity%27"));
    assert_non_null(strstr(path, "primaryobjecttypecode%20eq%20%27product%27"));
    assert_non_null(strstr(path, "sdkmessageid%2Fname%20eq%20%27Lose%27"));
    free(path);
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
        cmocka_unit_test(test_empty_organisation), cmocka_unit_test(test_complete_organisation),
        cmocka_unit_test(test_differences),        cmocka_unit_test(test_what_may_be_left_open),
        cmocka_unit_test(test_surplus_steps),      cmocka_unit_test(test_closing_messages_where_there_are_any),
        cmocka_unit_test(test_unknown_table),      cmocka_unit_test(test_row_without_id),
        cmocka_unit_test(test_filters_path),
    };
    return cmocka_run_group_tests_name("register_dynamics_plan", tests, set_up, NULL);
}
