#include "common/runtime/config_path.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/text.h"

static char directory[] = "/tmp/tandem-config-path-XXXXXX";
static char path_buffer[PATH_MAX];

static const char *in_directory(const char *name)
{
    (void)snprintf(path_buffer, sizeof(path_buffer), "%s/%s", directory, name);
    return path_buffer;
}

static int set_up(void **state)
{
    int fd;

    (void)state;
    if (mkdtemp(directory) == NULL || mkfifo(in_directory("pipe"), 0600) < 0)
        return -1;
    fd = open(in_directory("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(in_directory("file"));
    (void)unlink(in_directory("pipe"));
    return rmdir(directory);
}

typedef int check(const char *path, char *reterr_fault);

static void expect(check *checks, const char *name, const char *fault)
{
    char told[CONFIG_PATH_FAULT_SIZE] = "";
    int result = checks(in_directory(name), told);

    if (strcmp(told, fault) != 0 || result != (fault[0] == '\0' ? 0 : -1))
        fail_msg("%s: %d, told '%s', expected '%s'", name, result, told, fault);
}

/* Something to read is good, also a pipe nobody writes to, which must not be waited for. */
static void test_file_is_something_that_can_be_read(void **state)
{
    (void)state;
    expect(config_path_check_file, "file", "");
    expect(config_path_check_file, "pipe", "");
    expect(config_path_check_file, ".", "is a directory");
    expect(config_path_check_file, "none", "is not there");
    expect(config_path_check_file, "file/below", "cannot be read: Not a directory");
    expect(config_path_check_readable, ".", "");
    expect(config_path_check_readable, "none", "is not there");
}

/* A directory that the program makes may be absent, but not the one above it. */
static void test_directory_may_be_made(void **state)
{
    (void)state;
    expect(config_path_check_made, ".", "");
    expect(config_path_check_made, "none", "");
    expect(config_path_check_made, "none//", "");
    expect(config_path_check_made, "none/below", "cannot be made: the directory above it is not there");
    expect(config_path_check_made, "file", "is not a directory");
    expect(config_path_check_made, "file/below", "cannot be read: Not a directory");
}

/* What may not be read or written is told; root may everything. */
static void test_permissions_are_asked_for(void **state)
{
    (void)state;
    if (geteuid() == 0)
        skip();
    assert_int_equal(chmod(in_directory("file"), 0), 0);
    expect(config_path_check_file, "file", "cannot be read: Permission denied");
    assert_int_equal(chmod(directory, 0500), 0);
    expect(config_path_check_made, ".", "cannot be written to");
    expect(config_path_check_made, "none", "cannot be made: the directory above it cannot be written to");
    assert_int_equal(chmod(directory, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_is_something_that_can_be_read),
        cmocka_unit_test(test_directory_may_be_made),
        cmocka_unit_test(test_permissions_are_asked_for),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
