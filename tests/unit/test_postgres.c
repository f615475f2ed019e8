#include "pusher/postgres.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/attributes.h"

static char host[] = "db.fabrikam.example", user[] = "tandem_1", database[] = "tandem", password[] = "correct-horse";

static struct postgres_settings settings_of_tests(void)
{
    return (struct postgres_settings){
        .host = host, .port = 5432, .user = user, .database = database, .password = {.bytes = password}};
}

#define SERVER "connection to server at \"db.fabrikam.example\" (192.0.2.7), port 5432 failed: "

/* Each way of not being let in says what is wrong, and whether a person has to act. */
static void test_refusal_table(void **state)
{
    static const struct {
        const char *message;
        bool needs_password;
        enum error_class class;
        const char *code, *says;
    } cases[] = {
        {SERVER "FATAL:  28P01\n", false, ERROR_CONFIG, "postgres.password", "password of login 'tandem_1'"},
        {SERVER "\u81f4\u547d\u9519\u8bef:  28P01\n", false, ERROR_CONFIG, "postgres.password", "28P01"},
        {SERVER "fe_sendauth: no password supplied\n", true, ERROR_CONFIG, "postgres.password", "is not set"},
        {SERVER "FATAL:  28000\n", false, ERROR_CONFIG, "postgres.login", "pg_hba.conf"},
        {SERVER "FATAL:  3D000\n", false, ERROR_CONFIG, "postgres.no_database", "no database 'tandem'"},
        {SERVER "FATAL:  42501\n", false, ERROR_CONFIG, "postgres.permission", "may not connect"},
        {SERVER "FATAL:  53300\n", false, ERROR_TRANSIENT, "postgres.unavailable", "53300"},
        {SERVER "FATAL:  57P03\n", false, ERROR_TRANSIENT, "postgres.unavailable", "57P03"},
        {SERVER "SSL error: certificate verify failed\n", false, ERROR_CONFIG, "postgres.tls", "ca_file"},
        {SERVER "server does not support SSL, but SSL was required\n", false, ERROR_CONFIG, "postgres.tls", "sslmode"},
        {SERVER "Connection refused\n\tIs the server running?\n", false, ERROR_TRANSIENT, "postgres.unavailable",
         "db.fabrikam.example, port 5432"},
        {"", false, ERROR_TRANSIENT, "postgres.unavailable", "no answer"},
    };
    const struct postgres_settings settings = settings_of_tests();

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(postgres_judge_refusal(&err, cases[i].message, cases[i].needs_password, &settings), -1);
        if (err.class != cases[i].class || strcmp(err.code, cases[i].code) != 0 ||
            strstr(err.message, cases[i].says) == NULL)
            fail_msg("%s: %s, %s", cases[i].message, err.code, err.message);
    }
}

/* Whatever the server or libpq writes, none of its words are passed on. */
static void test_refusal_passes_nothing_on(void **state)
{
    const struct postgres_settings settings = settings_of_tests();
    struct error err = ERROR_INIT;

    (void)state;
    (void)postgres_judge_refusal(&err, "invalid connection option \"password=correct-horse\"\n", false, &settings);
    assert_null(strstr(err.message, "horse"));
    (void)postgres_judge_refusal(&err, "FATAL:  password authentication failed for correct-horse\n", false, &settings);
    assert_null(strstr(err.message, "horse"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusal_table),
        cmocka_unit_test(test_refusal_passes_nothing_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
