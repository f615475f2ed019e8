#include "common/runtime/secret.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/base/text.h"

enum {
    READ_SIZE = SECRET_BYTES_MAX + 3, /* a trailing "\r\n" and one byte that shows the file is too long */
    ACL_ENTRIES_MAX = 64,
    MODE_OF_OTHERS = S_IRWXG | S_IRWXO
};

static const char ACL_ATTRIBUTE[] = "system.posix_acl_access";

/* Takes over `bytes` (of `size`), also on failure. `what`: "secret file" or "variable". */
static int accept_content(const char *what, const char *name, const char *scheme, char *bytes, size_t length,
                          size_t size, struct secret *ret_secret, struct error *err)
{
    int result = -1;
    char *reference = NULL;
    if (length > 0 && bytes[length - 1] == '\n')
        length -= length > 1 && bytes[length - 2] == '\r' ? 2 : 1;
    if (length == 0) {
        error_set(err, ERROR_CONFIG, "config.secret", "%s '%s' is empty", what, name);
        goto out;
    }
    if (length > SECRET_BYTES_MAX) {
        error_set(err, ERROR_CONFIG, "config.secret", "%s '%s' holds more than %d bytes", what, name,
                  (int)SECRET_BYTES_MAX);
        goto out;
    }
    if (memchr(bytes, '\0', length) != NULL) {
        error_set(err, ERROR_CONFIG, "config.secret", "%s '%s' holds a NUL byte", what, name);
        goto out;
    }
    if (memchr(bytes, '\n', length) != NULL || memchr(bytes, '\r', length) != NULL) {
        error_set(err, ERROR_CONFIG, "config.secret", "%s '%s' holds more than one line", what, name);
        goto out;
    }
    reference = text_format("%s:%s", scheme, name);
    if (reference == NULL) {
        error_no_memory(err);
        goto out;
    }
    bytes[length] = '\0';
    *ret_secret = (struct secret){.bytes = text_copy_n(bytes, length), .length = length, .reference = reference};
    if (ret_secret->bytes == NULL) {
        *ret_secret = (struct secret){0};
        error_no_memory(err);
        goto out;
    }
    reference = NULL;
    result = 0;
out:
    free(reference);
    OPENSSL_cleanse(bytes, size);
    free(bytes);
    return result;
}

/* Whether the file's access control list gives nobody anything but root, the owner and us. A file that has a list shows
 * the list's mask where the mode has the group's bits (acl(5)), so the mode says nothing. */
static bool is_acl_private(int fd, bool *ret_has_acl)
{
    struct {
        struct posix_acl_xattr_header header;
        struct posix_acl_xattr_entry entries[ACL_ENTRIES_MAX];
    } acl;
    ssize_t size = fgetxattr(fd, ACL_ATTRIBUTE, &acl, sizeof(acl));
    *ret_has_acl = size >= 0 || errno == ERANGE;
    if (size < (ssize_t)sizeof(acl.header) || acl.header.a_version != POSIX_ACL_XATTR_VERSION)
        return false;
    size_t count = ((size_t)size - sizeof(acl.header)) / sizeof(acl.entries[0]);
    for (size_t i = 0; i < count; i++) {
        const struct posix_acl_xattr_entry *entry = &acl.entries[i];
        uint16_t tag = le16toh(entry->e_tag);
        uint32_t user = le32toh(entry->e_id);
        bool is_ours = tag == ACL_USER_OBJ || tag == ACL_MASK || (tag == ACL_USER && (user == 0 || user == geteuid()));
        if (!is_ours && entry->e_perm != 0)
            return false;
    }
    return true;
}

static int check_file(int fd, const char *path, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(err, ERROR_CONFIG, "config.secret", "secret file '%s': %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(err, ERROR_CONFIG, "config.secret", "secret file '%s' is not a regular file", path);
    if ((status.st_mode & MODE_OF_OTHERS) == 0)
        return 0;
    bool has_acl = false;
    if (is_acl_private(fd, &has_acl))
        return 0;
    if (has_acl)
        return error_set(err, ERROR_CONFIG, "config.secret",
                         "secret file '%s' is open to others by its access control list; run: setfacl -b '%s' && "
                         "chmod 600 '%s'",
                         path, path, path);
    return error_set(err, ERROR_CONFIG, "config.secret",
                     "secret file '%s' is open to its group or to others (mode %04o); run: chmod 600 '%s'", path,
                     (unsigned)(status.st_mode & 07777), path);
}

int secret_from_file(const char *path, struct secret *ret_secret, struct error *err)
{
    /* Without O_NONBLOCK a FIFO would stop the program before it could be refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, ERROR_CONFIG, "config.secret", "secret file '%s': %s", path, strerror(errno));
    int result = check_file(fd, path, err);
    char *bytes = result == 0 ? malloc(READ_SIZE) : NULL;
    size_t length = 0;
    if (result == 0 && bytes == NULL)
        result = error_no_memory(err);
    while (result == 0 && length < READ_SIZE) {
        ssize_t got = read(fd, bytes + length, READ_SIZE - length);
        if (got == 0)
            break;
        if (got > 0)
            length += (size_t)got;
        else if (errno != EINTR)
            result = error_set(err, ERROR_CONFIG, "config.secret", "secret file '%s': %s", path, strerror(errno));
    }
    close(fd);
    if (result == 0)
        return accept_content("secret file", path, "file", bytes, length, READ_SIZE, ret_secret, err);
    if (bytes != NULL)
        OPENSSL_cleanse(bytes, READ_SIZE);
    free(bytes);
    return -1;
}

int secret_from_environment(const char *name, struct secret *ret_secret, struct error *err)
{
    const char *value = getenv(name);
    if (value == NULL)
        return error_set(err, ERROR_CONFIG, "config.secret", "environment variable '%s' is not set", name);
    size_t length = strlen(value);
    char *bytes = text_copy_n(value, length);
    if (bytes == NULL)
        return error_no_memory(err);
    return accept_content("environment variable", name, "env", bytes, length, length + 1, ret_secret, err);
}

void secret_done(struct secret *secret)
{
    if (secret->bytes != NULL)
        OPENSSL_cleanse(secret->bytes, secret->length);
    free(secret->bytes);
    free(secret->reference);
    *secret = (struct secret){0};
}
