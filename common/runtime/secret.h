/* Secrets as they come into the process: from a file or an environment variable, never from a command line.
 *
 * A file must be regular and open to its owner only. One newline at the end is trimmed; what is left must be one line
 * that is not empty. Errors (ERROR_CONFIG) name the file or variable, never its content. Blocking: at start-up, on
 * SIGHUP, and after a secret was refused. */
#ifndef TANDEM_RUNTIME_SECRET_H
#define TANDEM_RUNTIME_SECRET_H

#include <stddef.h>

#include "common/base/attributes.h"
#include "common/base/error.h"

enum { SECRET_BYTES_MAX = 64 * 1024 };

struct secret {
    char *bytes; /* NUL-terminated */
    size_t length;
    char *reference; /* "file:PATH" or "env:NAME", for --print-config */
};

/* Files with an access control list (systemd's LoadCredential= makes such) may also be readable by our own user. */
int secret_from_file(const char *path, struct secret *ret_secret, struct error *err) TANDEM_MUST_CHECK;
int secret_from_environment(const char *name, struct secret *ret_secret, struct error *err) TANDEM_MUST_CHECK;
/* Cleanses and frees the content. */
void secret_done(struct secret *secret);

#endif
