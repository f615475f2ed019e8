#include "mapper/store_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/text.h"

/* The database is not synced while it is in use. The death of the process leaves what was written with the kernel, in
 * order; the death of the machine may leave any mixture of pages, and then an offset could speak of deals that are not
 * there. The file `state` tells the two apart: it says "dirty" and the machine's boot id while a process has the store
 * open, and "clean" once everything was synced. Dirty from another boot means: drop it all, it is a cache. */

#define MAGIC "tandem-mapper-store 1 " /* with the number of the format */

enum { DIRECTORY_MODE = 0700, BOOT_ID_SIZE = 40, STATE_SIZE = 128 };

static int file_error(const struct store_directory *directory, struct error *err, const char *name)
{
    const char *code = errno == ENOSPC || errno == EDQUOT ? "store.disk_full" : "store.unusable";

    return error_set(err, ERROR_FATAL, code, "%s/%s: %s", directory->path, name, strerror(errno));
}

/* --- The file `state` --------------------------------------------------------------------------------------------- */

/* "" where the kernel does not tell; then a store left dirty is never trusted. */
static void read_boot_id(char out[static BOOT_ID_SIZE])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, out, BOOT_ID_SIZE - 1);

    out[length > 0 ? length : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
}

/* Durable and whole: a new file that takes the old one's place. */
int store_directory_set_state(const struct store_directory *directory, enum store_state state, struct error *err)
{
    static const char *const words[] = {
        [STORE_STATE_DIRTY] = "dirty", [STORE_STATE_CLEAN] = "clean", [STORE_STATE_DAMAGED] = "damaged"};
    char boot_id[BOOT_ID_SIZE];
    char content[STATE_SIZE];
    char *path = text_format("%s/state", directory->path);
    char *draft = text_format("%s/state.new", directory->path);
    int length;
    int fd = -1;
    int directory_fd = -1;
    int result = -1;

    if (path == NULL || draft == NULL) {
        error_no_memory(err);
        goto out;
    }
    read_boot_id(boot_id);
    length = snprintf(content, sizeof(content), MAGIC "%s %s\n", words[state], boot_id);
    fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, STORE_FILE_MODE);
    directory_fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || directory_fd < 0 || write(fd, content, (size_t)length) != length || fsync(fd) < 0 ||
        rename(draft, path) < 0 || fsync(directory_fd) < 0) {
        file_error(directory, err, "state");
        goto out;
    }
    result = 0;
out:
    if (fd >= 0)
        close(fd);
    if (directory_fd >= 0)
        close(directory_fd);
    free(path);
    free(draft);
    return result;
}

const char *store_directory_judge(const struct store_directory *directory)
{
    char *path = text_format("%s/state", directory->path);
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char content[STATE_SIZE];
    char expected[STATE_SIZE];
    char boot_id[BOOT_ID_SIZE];
    ssize_t length = fd < 0 ? 0 : read(fd, content, sizeof(content) - 1);

    if (fd >= 0)
        close(fd);
    free(path);
    content[length > 0 ? length : 0] = '\0';
    if (content[0] == '\0')
        return "new";
    if (!text_starts_with(content, MAGIC))
        return "format";
    if (text_starts_with(content, MAGIC "clean "))
        return NULL;
    read_boot_id(boot_id);
    (void)snprintf(expected, sizeof(expected), MAGIC "dirty %s\n", boot_id);
    if (boot_id[0] != '\0' && strcmp(content, expected) == 0)
        return NULL;
    return text_starts_with(content, MAGIC "dirty ") ? "machine_restarted" : "damaged";
}

/* --- The directory ------------------------------------------------------------------------------------------------ */

static int take_lock(struct store_directory *directory, struct error *err)
{
    char *path = text_format("%s/lock", directory->path);

    if (path == NULL)
        return error_no_memory(err);
    directory->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, STORE_FILE_MODE);
    free(path);
    if (directory->lock_fd < 0)
        return file_error(directory, err, "lock");
    if (flock(directory->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return error_set(err, ERROR_TRANSIENT, "store.locked", "%s is in use by another process", directory->path);
    return file_error(directory, err, "lock");
}

int store_directory_open(struct store_directory *directory, const char *path, struct error *err)
{
    *directory = (struct store_directory){.path = text_copy(path), .lock_fd = -1};
    if (directory->path == NULL)
        return error_no_memory(err);
    if (mkdir(path, DIRECTORY_MODE) < 0 && errno != EEXIST) {
        error_set(err, ERROR_FATAL, "store.unusable", "%s: %s", path, strerror(errno));
        store_directory_close(directory);
        return -1;
    }
    if (take_lock(directory, err) < 0) {
        store_directory_close(directory);
        return -1;
    }
    return 0;
}

void store_directory_close(struct store_directory *directory)
{
    if (directory->path == NULL)
        return;
    if (directory->lock_fd >= 0)
        close(directory->lock_fd);
    free(directory->path);
    *directory = (struct store_directory){.lock_fd = -1};
}

static int remove_file(const struct store_directory *directory, const char *name, struct error *err)
{
    char *path = text_format("%s/%s", directory->path, name);
    int result;

    if (path == NULL)
        return error_no_memory(err);
    result = unlink(path) < 0 && errno != ENOENT ? file_error(directory, err, name) : 0;
    free(path);
    return result;
}

int store_directory_empty(const struct store_directory *directory, struct error *err)
{
    return remove_file(directory, "data.mdb", err) < 0 || remove_file(directory, "lock.mdb", err) < 0 ? -1 : 0;
}
