#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/text.h"
#include "ingest/register.h"

#define URL "https://hooks.fabrikam.example/webhooks"

struct given {
    const char *action;
    const char *options[4]; /* name=value, or a flag */
};

/* As the command line's own parser fills it. */
static int read_request(const struct given *given, struct register_request *ret_request, struct error *err)
{
    const struct command_spec command = {
        .name = "register", .options = REGISTER_OPTIONS, .option_count = REGISTER_OPTION_COUNT};
    struct command_line line = {.command = &command, .arguments = &given->action, .argument_count = 1};

    for (size_t i = 0; i < ARRAY_LENGTH(given->options) && given->options[i] != NULL; i++) {
        const char *option = given->options[i];
        const size_t length = strcspn(option, "=");
        size_t known = 0;
        while (known < REGISTER_OPTION_COUNT && (strlen(REGISTER_OPTIONS[known].name) != length ||
                                                 strncmp(REGISTER_OPTIONS[known].name, option, length) != 0))
            known++;
        assert_true(known < REGISTER_OPTION_COUNT);
        line.option_values[known] = option[length] == '=' ? option + length + 1 : "";
    }
    return register_request_read(&line, ret_request, err);
}

/* Each system has its own options. */
static void test_good_requests(void **state)
{
    static const struct {
        struct given given;
        struct register_request wanted;
    } cases[] = {
        {{"show", {NULL}}, {.partner_center = {.action = REGISTER_SHOW, .deadline_ms = 60000}}},
        {{"create", {"url=" URL, "overwrite"}},
         {.partner_center = {.action = REGISTER_CREATE, .url = URL, .overwrites = true, .deadline_ms = 60000}}},
        {{"test", {"wait=5s"}}, {.partner_center = {.action = REGISTER_TEST, .deadline_ms = 5000}}},
        {{"dynamics-365", {"show"}}, {.is_dynamics_365 = true, .dynamics_365 = {.only_shows = true}}},
        {{"dynamics-365", {"url=" URL, "replace", "new-secret", "webhook-key"}},
         {.is_dynamics_365 = true,
          .dynamics_365 = {.url = URL, .replaces = true, .renews_secret = true, .uses_webhook_key = true}}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct register_request *wanted = &cases[i].wanted;
        struct register_request request;
        struct error err = ERROR_INIT;
        if (read_request(&cases[i].given, &request, &err) < 0)
            fail_msg("%s: %s", cases[i].given.action, err.message);
        assert_int_equal(request.is_dynamics_365, wanted->is_dynamics_365);
        assert_int_equal(request.partner_center.action, wanted->partner_center.action);
        assert_int_equal(request.partner_center.overwrites, wanted->partner_center.overwrites);
        assert_int_equal(request.partner_center.deadline_ms, wanted->partner_center.deadline_ms);
        assert_int_equal(request.dynamics_365.only_shows, wanted->dynamics_365.only_shows);
        assert_int_equal(request.dynamics_365.replaces, wanted->dynamics_365.replaces);
        assert_int_equal(request.dynamics_365.renews_secret, wanted->dynamics_365.renews_secret);
        assert_int_equal(request.dynamics_365.uses_webhook_key, wanted->dynamics_365.uses_webhook_key);
        assert_true(text_equal(request.partner_center.url, wanted->partner_center.url));
        assert_true(text_equal(request.dynamics_365.url, wanted->dynamics_365.url));
    }
}

/* What cannot be meant is refused with the word that is wrong. */
static void test_bad_requests(void **state)
{
    static const struct {
        struct given given;
        const char *word;
    } cases[] = {
        {{"remove", {NULL}}, "one of"},
        {{"create", {NULL}}, "--url"},
        {{"create", {"url=http://hooks.fabrikam.example/x"}}, "--url"},
        {{"show", {"overwrite"}}, "--overwrite"},
        {{"test", {"wait=soon"}}, "--wait"},
        {{"create", {"url=" URL, "replace"}}, "--replace"},
        {{"show", {"show"}}, "--show"},
        {{"dynamics-365", {NULL}}, "--url"},
        {{"dynamics-365", {"url=http://hooks.fabrikam.example/x"}}, "--url"},
        {{"dynamics-365", {"show", "replace"}}, "--replace"},
        {{"dynamics-365", {"url=" URL, "new-secret"}}, "--new-secret"},
        {{"dynamics-365", {"url=" URL, "json"}}, "--json"},
        {{"dynamics-365", {"url=" URL, "overwrite"}}, "--overwrite"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct register_request request;
        struct error err = ERROR_INIT;
        if (read_request(&cases[i].given, &request, &err) == 0)
            fail_msg("%s %s was taken", cases[i].given.action, cases[i].word);
        assert_int_equal(err.class, ERROR_CONFIG);
        if (strstr(err.message, cases[i].word) == NULL)
            fail_msg("%s: %s", cases[i].word, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_requests),
        cmocka_unit_test(test_bad_requests),
    };
    return cmocka_run_group_tests_name("register", tests, NULL, NULL);
}
