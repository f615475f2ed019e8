/* `--word create` or `--word verify`; prints the report on standard output. */
#include "common/kafka/topics.h"

#include <stdio.h>
#include <string.h>

#include "tests/component/kafka/driver.h"

enum { TIMEOUT_MS = 20000, REPORT_BYTES_MAX = 64 * 1024 };

static void on_term(void *arg)
{
    (void)arg;
}

int main(int argc, char **argv)
{
    struct driver driver;
    struct error err = ERROR_INIT;
    struct text report;
    int status = 0;

    driver_begin(&driver, argc, argv, on_term, NULL);
    text_init(&report, REPORT_BYTES_MAX);
    if ((strcmp(driver.word, "create") == 0 ? topics_create : topics_verify)(&driver.settings, TIMEOUT_MS, &report,
                                                                             &err) < 0)
        status = driver_failed("failed", &err);
    (void)fputs(text_string(&report), stdout);
    text_done(&report);
    driver_end(&driver);
    return status;
}
