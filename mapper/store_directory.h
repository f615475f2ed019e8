/* The files of the local store around its database: the lock, and the file `state` that tells whether what is there can
 * be trusted. Knows nothing of what the database holds (store_tables.h).
 *
 * Owned by store.c. Failures of the disk are ERROR_FATAL "store.disk_full" or "store.unusable". Loop thread only. */
#ifndef TANDEM_MAPPER_STORE_DIRECTORY_H
#define TANDEM_MAPPER_STORE_DIRECTORY_H

#include "common/base/error.h"

enum { STORE_FILE_MODE = 0600 };

enum store_state {
    STORE_STATE_DIRTY,  /* a process has the store open */
    STORE_STATE_CLEAN,  /* everything was synced */
    STORE_STATE_DAMAGED /* something was found that is not as it was written */
};

struct store_directory {
    char *path;
    int lock_fd;
};

/* Makes the directory if it is not there (its parent must be) and locks it. -1 ERROR_TRANSIENT "store.locked" while
 * another process has it. */
int store_directory_open(struct store_directory *directory, const char *path, struct error *err) TANDEM_MUST_CHECK;
/* Accepts one that is zeroed or whose opening has failed. */
void store_directory_close(struct store_directory *directory);

/* Why what is there cannot be trusted: "new", "format", "machine_restarted", "damaged"; NULL: it can. */
const char *store_directory_judge(const struct store_directory *directory);
/* On the disk when it returns, wholly or not at all. */
int store_directory_set_state(const struct store_directory *directory, enum store_state state, struct error *err);
/* Removes the database, which must be closed. */
int store_directory_empty(const struct store_directory *directory, struct error *err) TANDEM_MUST_CHECK;

#endif
