#include "common/runtime/config_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/text.h"

static int fault(char *out, const char *what)
{
    (void)snprintf(out, CONFIG_PATH_FAULT_SIZE, "%s", what);
    return -1;
}

static int system_fault(char *out)
{
    char what[CONFIG_PATH_FAULT_SIZE];

    (void)snprintf(what, sizeof(what), "cannot be read: %s", strerror(errno));
    return fault(out, errno == ENOENT ? "is not there" : what);
}

static int check_open(const char *path, bool allows_directory, char *reterr_fault)
{
    /* Without O_NONBLOCK a pipe would stop the program. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    int result = 0;

    if (fd < 0)
        return system_fault(reterr_fault);
    if (fstat(fd, &status) < 0)
        result = system_fault(reterr_fault);
    else if (S_ISDIR(status.st_mode) && !allows_directory)
        result = fault(reterr_fault, "is a directory");
    close(fd);
    return result;
}

int config_path_check_file(const char *path, char reterr_fault[static CONFIG_PATH_FAULT_SIZE])
{
    return check_open(path, false, reterr_fault);
}

int config_path_check_readable(const char *path, char reterr_fault[static CONFIG_PATH_FAULT_SIZE])
{
    return check_open(path, true, reterr_fault);
}

static char *parent_of(const char *path)
{
    size_t length = strlen(path);

    while (length > 1 && path[length - 1] == '/')
        length--;
    while (length > 0 && path[length - 1] != '/')
        length--;
    while (length > 1 && path[length - 1] == '/')
        length--;
    return length == 0 ? text_copy(".") : text_copy_n(path, length);
}

int config_path_check_made(const char *path, char reterr_fault[static CONFIG_PATH_FAULT_SIZE])
{
    struct stat status;
    char *parent;
    int result = 0;

    if (stat(path, &status) == 0) {
        if (!S_ISDIR(status.st_mode))
            return fault(reterr_fault, "is not a directory");
        return access(path, R_OK | W_OK | X_OK) == 0 ? 0 : fault(reterr_fault, "cannot be written to");
    }
    if (errno != ENOENT)
        return system_fault(reterr_fault);
    parent = parent_of(path);
    if (parent == NULL)
        return fault(reterr_fault, "cannot be checked: out of memory");
    if (stat(parent, &status) < 0 || !S_ISDIR(status.st_mode))
        result = fault(reterr_fault, "cannot be made: the directory above it is not there");
    else if (access(parent, W_OK | X_OK) < 0)
        result = fault(reterr_fault, "cannot be made: the directory above it cannot be written to");
    free(parent);
    return result;
}
