#include "mapper/file_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/text.h"

static int unreadable(struct error *err, const char *path, const char *why)
{
    return error_set(err, ERROR_CONFIG, "file.unreadable", "%s: %s", path, why);
}

static int read_all(int fd, const char *path, size_t size, char *bytes, struct error *err)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = read(fd, bytes + done, size - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return unreadable(err, path, got < 0 ? strerror(errno) : "became shorter while it was read");
        done += (size_t)got;
    }
    return 0;
}

int file_input_read(const char *path, char **ret_bytes, size_t *ret_length, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    char *bytes = NULL;
    int result = -1;

    if (fd < 0 || fstat(fd, &status) < 0) {
        unreadable(err, path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(status.st_mode)) {
        unreadable(err, path, "is not a regular file");
        goto out;
    }
    if (status.st_size > FILE_INPUT_MAX) {
        unreadable(err, path, "is larger than 4 MiB");
        goto out;
    }
    bytes = calloc((size_t)status.st_size + 1, 1);
    if (bytes == NULL) {
        error_no_memory(err);
        goto out;
    }
    if (read_all(fd, path, (size_t)status.st_size, bytes, err) < 0)
        goto out;
    *ret_bytes = bytes;
    *ret_length = (size_t)status.st_size;
    bytes = NULL;
    result = 0;
out:
    free(bytes);
    if (fd >= 0)
        close(fd);
    return result;
}

const struct source *file_input_source(struct diagnostics *diagnostics, const char *path)
{
    const struct position nowhere = {0};
    const struct source *source;
    struct error err = ERROR_INIT;
    char *bytes;
    size_t length;

    if (file_input_read(path, &bytes, &length, &err) < 0) {
        diagnostics_error(diagnostics, nowhere, "%s", err.message);
        return NULL;
    }
    source = diagnostics_add_source(diagnostics, path, bytes, length);
    free(bytes);
    if (source == NULL)
        diagnostics_error(diagnostics, nowhere, "%s: out of memory", path);
    return source;
}

struct rules *file_input_rules(struct diagnostics *diagnostics, const char *path)
{
    const struct source *source = file_input_source(diagnostics, path);

    return source != NULL ? rules_load(diagnostics, source) : NULL;
}

int file_input_json(const char *path, json_t **ret_json, struct error *err)
{
    struct json_fault fault;
    json_t *json;
    char *bytes;
    size_t length;
    int status;

    if (file_input_read(path, &bytes, &length, err) < 0)
        return -1;
    status = json_read(bytes, length, &JSON_LIMITS_OWN, &json, &fault);
    free(bytes);
    if (status < 0)
        return error_set(err, ERROR_CONFIG, "file.invalid_json", "%s:%zu:%zu: %s", path, fault.line, fault.column,
                         json_problem_code(fault.problem));
    if (!json_is_object(json)) {
        json_decref(json);
        return error_set(err, ERROR_CONFIG, "file.invalid_json", "%s: does not hold an object", path);
    }
    *ret_json = json;
    return 0;
}
