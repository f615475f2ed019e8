#include "mapper/store.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>

#include "common/base/text.h"
#include "mapper/store_directory.h"
#include "mapper/store_tables.h"

/* Why what is read can be trusted: the files around the database tell how its last user ended (store_directory.c), the
 * database tells when a part of it is not what was written (store_tables.c), and a tree so damaged that LMDB dies is
 * found by the crash mark, which is set around every call into it. */

struct store {
    struct store_directory directory;
    struct crash_mark *mark;
    struct store_tables tables;
    const char *dropped;
    bool is_damaged;
};

static int tables_error(struct store *store, struct error *err, int code, const char *what)
{
    const char *directory = store->directory.path;

    switch (code) {
    case ENOSPC:
    case EDQUOT:
        return error_set(err, ERROR_FATAL, "store.disk_full", "%s: %s: no space is left on the disk", directory, what);
    case ENOMEM:
        return error_no_memory(err);
    case STORE_TABLES_CUT:
        store->is_damaged = true;
        return error_set(err, ERROR_FATAL, "store.damaged", "%s: a deal is cut", directory);
    case STORE_TABLES_CHANGED:
        store->is_damaged = true;
        return error_set(err, ERROR_FATAL, "store.damaged", "%s: a deal's checksum is wrong", directory);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
    case MDB_INVALID:
        store->is_damaged = true;
        return error_set(err, ERROR_FATAL, "store.damaged", "%s: %s: %s", directory, what, mdb_strerror(code));
    default:
        return error_set(err, ERROR_FATAL, "store.unusable", "%s: %s: %s", directory, what, mdb_strerror(code));
    }
}

/* --- Opening and closing ------------------------------------------------------------------------------------------ */

/* An empty store in place of whatever is there. */
static int begin_anew(struct store *store, const char *reason, struct error *err)
{
    int code;

    store_tables_close(&store->tables);
    if (store_directory_empty(&store->directory, err) < 0)
        return -1;
    code = store_tables_open(&store->tables, store->directory.path);
    if (code != 0)
        return tables_error(store, err, code, "open");
    store->dropped = reason;
    store->is_damaged = false;
    return 0;
}

/* In this order: content that is not trusted must be gone before the state says that there is any to trust, and the
 * state must say "dirty" before anything is changed. */
static int open_content(struct store *store, struct error *err)
{
    int code;

    store->dropped = store_directory_judge(&store->directory);
    if (store->dropped == NULL && crash_mark_distrusts_store(store->mark))
        store->dropped = "crashes";
    if (store->dropped != NULL && store_directory_empty(&store->directory, err) < 0)
        return -1;
    if (store_directory_set_state(&store->directory, STORE_STATE_DIRTY, err) < 0)
        return -1;
    crash_mark_enter_store(store->mark);
    code = store_tables_open(&store->tables, store->directory.path);
    crash_mark_leave_store(store->mark);
    if (code == MDB_INVALID || code == MDB_CORRUPTED || code == MDB_VERSION_MISMATCH || code == MDB_PAGE_NOTFOUND)
        return begin_anew(store, "damaged", err);
    return code == 0 ? 0 : tables_error(store, err, code, "open");
}

int store_open(const char *directory, int64_t size_bytes, struct store **ret_store, struct error *err)
{
    struct store *store = calloc(1, sizeof(*store));
    char *mark_path = text_format("%s/crash-mark", directory);

    if (store == NULL || mark_path == NULL) {
        error_no_memory(err);
        goto out;
    }
    store->tables.size = (size_t)size_bytes;
    if (store_directory_open(&store->directory, directory, err) < 0 ||
        crash_mark_open(mark_path, &store->mark, err) < 0 || open_content(store, err) < 0)
        goto out;
    free(mark_path);
    *ret_store = store;
    return 0;
out:
    free(mark_path);
    if (store != NULL) {
        store_tables_close(&store->tables);
        crash_mark_close(store->mark);
        store_directory_close(&store->directory);
    }
    free(store);
    return -1;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    /* What cannot be synced stays dirty, what is damaged is told to the next start; neither stops the end. */
    if (store->is_damaged)
        (void)store_directory_set_state(&store->directory, STORE_STATE_DAMAGED, NULL);
    else if (store_tables_sync(&store->tables) == 0)
        (void)store_directory_set_state(&store->directory, STORE_STATE_CLEAN, NULL);
    store_tables_close(&store->tables);
    crash_mark_close(store->mark);
    store_directory_close(&store->directory);
    free(store);
}

const char *store_dropped(const struct store *store)
{
    return store->dropped;
}

struct crash_mark *store_crash_mark(struct store *store)
{
    return store->mark;
}

int store_identify(struct store *store, const char *identity, struct error *err)
{
    bool is_same = false;
    int code;

    crash_mark_enter_store(store->mark);
    code = store_tables_is_of(&store->tables, identity, &is_same);
    crash_mark_leave_store(store->mark);
    if (code != 0 && code != MDB_NOTFOUND)
        return tables_error(store, err, code, "read");
    if (is_same)
        return 0;
    if (code == 0 && begin_anew(store, "identity", err) < 0)
        return -1;
    crash_mark_enter_store(store->mark);
    code = store_tables_write_identity(&store->tables, identity);
    crash_mark_leave_store(store->mark);
    return code == 0 ? 0 : tables_error(store, err, code, "write");
}

int store_drop(struct store *store, const char *reason, struct error *err)
{
    return begin_anew(store, reason, err);
}

/* --- Reading and writing ------------------------------------------------------------------------------------------ */

int store_get(struct store *store, int32_t partition, const char *key, size_t key_length, char **ret_value,
              size_t *ret_length, struct error *err)
{
    int code;

    crash_mark_enter_store(store->mark);
    code = store_tables_get(&store->tables, partition, key, key_length, ret_value, ret_length);
    crash_mark_leave_store(store->mark);
    if (code == MDB_NOTFOUND) {
        *ret_value = NULL;
        *ret_length = 0;
        return 0;
    }
    return code == 0 ? 0 : tables_error(store, err, code, "read");
}

int store_position(struct store *store, int32_t partition, int64_t *ret_offset, struct error *err)
{
    int code;

    crash_mark_enter_store(store->mark);
    code = store_tables_position(&store->tables, partition, ret_offset);
    crash_mark_leave_store(store->mark);
    return code == 0 ? 0 : tables_error(store, err, code, "read");
}

int64_t store_count(struct store *store)
{
    int64_t count = 0;
    int code;

    crash_mark_enter_store(store->mark);
    code = store_tables_count(&store->tables, &count);
    crash_mark_leave_store(store->mark);
    if (code != 0)
        (void)tables_error(store, NULL, code, "read");
    return count;
}

int64_t store_bytes(const struct store *store)
{
    return store_tables_bytes(&store->tables);
}

int store_write(struct store *store, const struct store_change *changes, size_t change_count,
                const struct store_position *positions, size_t position_count, struct error *err)
{
    int code;

    crash_mark_enter_store(store->mark);
    code = store_tables_write(&store->tables, changes, change_count, positions, position_count);
    crash_mark_leave_store(store->mark);
    return code == 0 ? 0 : tables_error(store, err, code, "write");
}

int store_drop_partition(struct store *store, int32_t partition, struct error *err)
{
    bool has_more = true;
    int code = 0;

    while (has_more && code == 0) {
        crash_mark_enter_store(store->mark);
        code = store_tables_drop_some(&store->tables, partition, &has_more);
        crash_mark_leave_store(store->mark);
    }
    return code == 0 ? 0 : tables_error(store, err, code, "drop");
}
