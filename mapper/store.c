#include "mapper/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/text.h"

/* What is written when, and why it can be trusted afterwards.
 *
 * LMDB runs with MDB_NOSYNC and without MDB_WRITEMAP: a commit is write(2) of new pages and then of a meta page, and
 * nothing waits for the disk. The death of the process, at whatever instruction, leaves what was written with the
 * kernel, in that order, so either the old or the new meta page counts: nothing is lost but an unfinished commit. The
 * death of the machine may leave any mixture of pages, and then an offset could speak of deals that are not there. The
 * file `state` tells the two apart: it says "dirty" and the machine's boot id while a process has the store open, and
 * "clean" once everything was synced. Dirty from another boot means: drop it all, it is a cache.
 *
 * LMDB has no checksums. Each value begins with its own (FNV-1a); a file shorter than its last page is found at the
 * start, before reading it would be a bus error; a tree so damaged that LMDB dies is found by the crash mark. */

#define FORMAT "1"

enum {
    FILE_MODE = 0600,
    DIRECTORY_MODE = 0700,
    TABLES = 3,
    PREFIX_SIZE = 4,   /* partition, big endian: one partition's deals stand together */
    CHECKSUM_SIZE = 8, /* in front of each value */
    BOOT_ID_SIZE = 40,
    STATE_SIZE = 128,
    DROP_BATCH = 10000 /* deals taken out in one LMDB transaction */
};

#define SIZE_MAX_BYTES ((size_t)1 << 40)

static const char IDENTITY_KEY[] = "identity";

struct store {
    char *directory;
    int lock_fd;
    struct crash_mark *mark;
    size_t size;
    MDB_env *env;
    MDB_dbi deals;
    MDB_dbi meta; /* "identity"; partition -> offset */
    const char *dropped;
    bool is_damaged;
};

/* --- Errors ------------------------------------------------------------------------------------------------------- */

static int lmdb_error(struct store *store, struct error *err, int code, const char *what)
{
    if (code == ENOSPC || code == EDQUOT)
        return error_set(err, ERROR_FATAL, "store.disk_full", "%s: %s: no space is left on the disk", store->directory,
                         what);
    if (code == ENOMEM)
        return error_no_memory(err);
    if (code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_PANIC || code == MDB_INVALID) {
        store->is_damaged = true;
        return error_set(err, ERROR_FATAL, "store.damaged", "%s: %s: %s", store->directory, what, mdb_strerror(code));
    }
    return error_set(err, ERROR_FATAL, "store.unusable", "%s: %s: %s", store->directory, what, mdb_strerror(code));
}

static int file_error(const struct store *store, struct error *err, const char *name)
{
    const char *code = errno == ENOSPC || errno == EDQUOT ? "store.disk_full" : "store.unusable";

    return error_set(err, ERROR_FATAL, code, "%s/%s: %s", store->directory, name, strerror(errno));
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
static int write_state(struct store *store, const char *word, struct error *err)
{
    char boot_id[BOOT_ID_SIZE];
    char content[STATE_SIZE];
    char *path = text_format("%s/state", store->directory);
    char *draft = text_format("%s/state.new", store->directory);
    int length;
    int fd = -1;
    int directory_fd = -1;
    int result = -1;

    if (!path || !draft) {
        error_no_memory(err);
        goto out;
    }
    read_boot_id(boot_id);
    length = snprintf(content, sizeof(content), "tandem-mapper-store " FORMAT " %s %s\n", word, boot_id);
    fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    directory_fd = open(store->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || directory_fd < 0 || write(fd, content, (size_t)length) != length || fsync(fd) < 0 ||
        rename(draft, path) < 0 || fsync(directory_fd) < 0) {
        file_error(store, err, "state");
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

/* Why what is there cannot be trusted; NULL: it can. */
static const char *judge_state(const struct store *store)
{
    char *path = text_format("%s/state", store->directory);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
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
    if (!text_starts_with(content, "tandem-mapper-store " FORMAT " "))
        return "format";
    if (text_starts_with(content, "tandem-mapper-store " FORMAT " clean "))
        return NULL;
    read_boot_id(boot_id);
    (void)snprintf(expected, sizeof(expected), "tandem-mapper-store " FORMAT " dirty %s\n", boot_id);
    if (boot_id[0] != '\0' && strcmp(content, expected) == 0)
        return NULL;
    return text_starts_with(content, "tandem-mapper-store " FORMAT " dirty ") ? "machine_restarted" : "damaged";
}

/* --- Opening and closing ------------------------------------------------------------------------------------------ */

static int remove_file(const struct store *store, const char *name, struct error *err)
{
    char *path = text_format("%s/%s", store->directory, name);
    int result;

    if (!path)
        return error_no_memory(err);
    result = unlink(path) < 0 && errno != ENOENT ? file_error(store, err, name) : 0;
    free(path);
    return result;
}

static void close_environment(struct store *store)
{
    if (store->env)
        mdb_env_close(store->env);
    store->env = NULL;
}

/* The pages that LMDB believes in have to be in the file. */
static bool file_is_whole(const struct store *store)
{
    MDB_envinfo info;
    MDB_stat tree;
    struct stat status;
    int fd;

    if (mdb_env_get_fd(store->env, &fd) != 0 || fstat(fd, &status) < 0 || mdb_env_info(store->env, &info) != 0 ||
        mdb_env_stat(store->env, &tree) != 0)
        return false;
    return (uint64_t)status.st_size >= ((uint64_t)info.me_last_pgno + 1) * tree.ms_psize;
}

static int open_tables(struct store *store)
{
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(store->env, NULL, 0, &txn);

    if (code != 0)
        return code;
    code = mdb_dbi_open(txn, "deals", MDB_CREATE, &store->deals);
    if (code == 0)
        code = mdb_dbi_open(txn, "meta", MDB_CREATE, &store->meta);
    if (code == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

static int open_environment(struct store *store)
{
    int code = mdb_env_create(&store->env);

    if (code == 0)
        code = mdb_env_set_maxdbs(store->env, TABLES);
    if (code == 0)
        code = mdb_env_set_mapsize(store->env, store->size);
    if (code == 0)
        code = mdb_env_open(store->env, store->directory, MDB_NOSYNC | MDB_NORDAHEAD, FILE_MODE);
    if (code == 0 && !file_is_whole(store))
        code = MDB_CORRUPTED;
    if (code == 0)
        code = open_tables(store);
    if (code != 0)
        close_environment(store);
    return code;
}

static int take_lock(struct store *store, struct error *err)
{
    char *path = text_format("%s/lock", store->directory);

    if (!path)
        return error_no_memory(err);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    free(path);
    if (store->lock_fd < 0)
        return file_error(store, err, "lock");
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return error_set(err, ERROR_TRANSIENT, "store.locked", "%s is in use by another process", store->directory);
    return file_error(store, err, "lock");
}

static int remove_content(struct store *store, struct error *err)
{
    return remove_file(store, "data.mdb", err) < 0 || remove_file(store, "lock.mdb", err) < 0 ? -1 : 0;
}

/* An empty store in place of whatever is there. */
static int begin_anew(struct store *store, const char *reason, struct error *err)
{
    int code;

    close_environment(store);
    if (remove_content(store, err) < 0)
        return -1;
    code = open_environment(store);
    if (code != 0)
        return lmdb_error(store, err, code, "open");
    store->dropped = reason;
    store->is_damaged = false;
    return 0;
}

/* In this order: content that is not trusted must be gone before the state says that there is any to trust, and the state
 * must say "dirty" before anything is changed. */
static int open_content(struct store *store, struct error *err)
{
    int code;

    store->dropped = judge_state(store);
    if (!store->dropped && crash_mark_distrusts_store(store->mark))
        store->dropped = "crashes";
    if (store->dropped && remove_content(store, err) < 0)
        return -1;
    if (write_state(store, "dirty", err) < 0)
        return -1;
    crash_mark_enter_store(store->mark);
    code = open_environment(store);
    crash_mark_leave_store(store->mark);
    if (code == MDB_INVALID || code == MDB_CORRUPTED || code == MDB_VERSION_MISMATCH || code == MDB_PAGE_NOTFOUND)
        return begin_anew(store, "damaged", err);
    return code == 0 ? 0 : lmdb_error(store, err, code, "open");
}

int store_open(const char *directory, int64_t size_bytes, struct store **ret_store, struct error *err)
{
    struct store *store = calloc(1, sizeof(*store));
    char *mark_path = NULL;

    if (!store)
        return error_no_memory(err);
    store->lock_fd = -1;
    store->size = (size_t)size_bytes;
    store->directory = text_copy(directory);
    mark_path = text_format("%s/crash-mark", directory);
    if (!store->directory || !mark_path) {
        error_no_memory(err);
        goto out;
    }
    if (mkdir(directory, DIRECTORY_MODE) < 0 && errno != EEXIST) {
        error_set(err, ERROR_FATAL, "store.unusable", "%s: %s", directory, strerror(errno));
        goto out;
    }
    if (take_lock(store, err) < 0 || crash_mark_open(mark_path, &store->mark, err) < 0 || open_content(store, err) < 0)
        goto out;
    free(mark_path);
    *ret_store = store;
    return 0;
out:
    free(mark_path);
    close_environment(store);
    crash_mark_close(store->mark);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    free(store->directory);
    free(store);
    return -1;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    /* What cannot be synced stays dirty, what is damaged is told to the next start; neither stops the end. */
    if (store->is_damaged)
        (void)write_state(store, "damaged", NULL);
    else if (mdb_env_sync(store->env, 1) == 0)
        (void)write_state(store, "clean", NULL);
    close_environment(store);
    crash_mark_close(store->mark);
    close(store->lock_fd);
    free(store->directory);
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

/* --- Keys and values ---------------------------------------------------------------------------------------------- */

struct key_buffer {
    unsigned char bytes[PREFIX_SIZE + STORE_KEY_MAX];
    size_t length;
};

static void put_partition(int32_t partition, unsigned char out[static PREFIX_SIZE])
{
    for (size_t k = 0; k < PREFIX_SIZE; k++)
        out[k] = (unsigned char)((uint32_t)partition >> (8 * (PREFIX_SIZE - 1 - k)));
}

static void make_key(struct key_buffer *buffer, int32_t partition, const char *key, size_t key_length)
{
    put_partition(partition, buffer->bytes);
    buffer->length = PREFIX_SIZE;
    if (key_length > STORE_KEY_MAX)
        key_length = STORE_KEY_MAX;
    if (key_length > 0)
        memcpy(buffer->bytes + PREFIX_SIZE, key, key_length);
    buffer->length += key_length;
}

static MDB_val key_value(struct key_buffer *buffer)
{
    return (MDB_val){.mv_size = buffer->length, .mv_data = buffer->bytes};
}

/* Over the key as well, so that a value under a wrong key is found. */
static uint64_t checksum(const struct key_buffer *key, const unsigned char *bytes, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (size_t k = 0; k < key->length; k++)
        hash = (hash ^ key->bytes[k]) * 0x100000001b3U;
    for (size_t k = 0; k < length; k++)
        hash = (hash ^ bytes[k]) * 0x100000001b3U;
    return hash;
}

/* --- Reading ------------------------------------------------------------------------------------------------------ */

static int begin_reading(struct store *store, MDB_txn **ret_txn, struct error *err)
{
    int code;

    crash_mark_enter_store(store->mark);
    code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, ret_txn);
    if (code == 0)
        return 0;
    crash_mark_leave_store(store->mark);
    return lmdb_error(store, err, code, "read");
}

static void end_reading(struct store *store, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    crash_mark_leave_store(store->mark);
}

static int copy_value(struct store *store, const struct key_buffer *key, const MDB_val *found, char **ret_value,
                      size_t *ret_length, struct error *err)
{
    const unsigned char *bytes = found->mv_data;
    size_t length = found->mv_size - CHECKSUM_SIZE;
    uint64_t expected;
    char *copy;

    if (found->mv_size < CHECKSUM_SIZE) {
        store->is_damaged = true;
        return error_set(err, ERROR_FATAL, "store.damaged", "%s: a deal is cut", store->directory);
    }
    memcpy(&expected, bytes, CHECKSUM_SIZE);
    if (expected != checksum(key, bytes + CHECKSUM_SIZE, length)) {
        store->is_damaged = true;
        return error_set(err, ERROR_FATAL, "store.damaged", "%s: a deal's checksum is wrong", store->directory);
    }
    copy = text_copy_n((const char *)bytes + CHECKSUM_SIZE, length);
    if (!copy)
        return error_no_memory(err);
    *ret_value = copy;
    *ret_length = length;
    return 0;
}

int store_get(struct store *store, int32_t partition, const char *key, size_t key_length, char **ret_value,
              size_t *ret_length, struct error *err)
{
    struct key_buffer buffer;
    MDB_val wanted, found;
    MDB_txn *txn;
    int code, result;

    make_key(&buffer, partition, key, key_length);
    wanted = key_value(&buffer);
    if (begin_reading(store, &txn, err) < 0)
        return -1;
    code = mdb_get(txn, store->deals, &wanted, &found);
    if (code == 0) {
        result = copy_value(store, &buffer, &found, ret_value, ret_length, err);
    } else if (code == MDB_NOTFOUND) {
        *ret_value = NULL;
        *ret_length = 0;
        result = 0;
    } else {
        result = lmdb_error(store, err, code, "read");
    }
    end_reading(store, txn);
    return result;
}

static int read_position(MDB_txn *txn, const struct store *store, int32_t partition, int64_t *ret_offset)
{
    struct key_buffer buffer;
    MDB_val wanted, found;
    int code;

    make_key(&buffer, partition, NULL, 0);
    wanted = key_value(&buffer);
    code = mdb_get(txn, store->meta, &wanted, &found);
    *ret_offset = -1;
    if (code == 0 && found.mv_size == sizeof(*ret_offset))
        memcpy(ret_offset, found.mv_data, sizeof(*ret_offset));
    return code == MDB_NOTFOUND ? 0 : code;
}

int store_position(struct store *store, int32_t partition, int64_t *ret_offset, struct error *err)
{
    int64_t offset = -1;
    MDB_txn *txn;
    int code;

    if (begin_reading(store, &txn, err) < 0)
        return -1;
    code = read_position(txn, store, partition, &offset);
    end_reading(store, txn);
    if (code != 0)
        return lmdb_error(store, err, code, "read");
    *ret_offset = offset;
    return 0;
}

int64_t store_count(struct store *store)
{
    MDB_stat tree = {0};
    MDB_txn *txn;

    if (begin_reading(store, &txn, NULL) < 0)
        return 0;
    (void)mdb_stat(txn, store->deals, &tree);
    end_reading(store, txn);
    return (int64_t)tree.ms_entries;
}

int64_t store_bytes(const struct store *store)
{
    MDB_envinfo info;
    MDB_stat tree;

    if (mdb_env_info(store->env, &info) != 0 || mdb_env_stat(store->env, &tree) != 0)
        return 0;
    return (int64_t)(((uint64_t)info.me_last_pgno + 1) * tree.ms_psize);
}

/* --- Writing ------------------------------------------------------------------------------------------------------ */

static int put_deal(MDB_txn *txn, const struct store *store, const struct store_change *change)
{
    struct key_buffer buffer;
    MDB_val key, value;
    uint64_t sum;
    int code;

    make_key(&buffer, change->partition, change->key, change->key_length);
    key = key_value(&buffer);
    if (!change->value) {
        code = mdb_del(txn, store->deals, &key, NULL);
        return code == MDB_NOTFOUND ? 0 : code;
    }
    value = (MDB_val){.mv_size = CHECKSUM_SIZE + change->value_length};
    code = mdb_put(txn, store->deals, &key, &value, MDB_RESERVE);
    if (code != 0)
        return code;
    sum = checksum(&buffer, (const unsigned char *)change->value, change->value_length);
    memcpy(value.mv_data, &sum, CHECKSUM_SIZE);
    memcpy((char *)value.mv_data + CHECKSUM_SIZE, change->value, change->value_length);
    return 0;
}

static int put_position(MDB_txn *txn, const struct store *store, struct store_position position)
{
    struct key_buffer buffer;
    MDB_val key, value = {.mv_size = sizeof(position.offset), .mv_data = &position.offset};

    make_key(&buffer, position.partition, NULL, 0);
    key = key_value(&buffer);
    return mdb_put(txn, store->meta, &key, &value, 0);
}

/* What one LMDB transaction does; repeated with more room when it was too little. */
struct work {
    const struct store_change *changes;
    size_t change_count;
    const struct store_position *positions;
    size_t position_count;
    const char *identity;   /* to be written; NULL: none */
    int32_t drop_partition; /* up to DROP_BATCH deals of it and its position are taken out; -1: none */
    bool has_more;          /* set when deals of it are left */
};

static int drop_deals(MDB_txn *txn, const struct store *store, struct work *work)
{
    struct key_buffer buffer;
    MDB_val key, value;
    MDB_cursor *cursor;
    size_t dropped = 0;
    int code;

    make_key(&buffer, work->drop_partition, NULL, 0);
    key = key_value(&buffer);
    code = mdb_del(txn, store->meta, &key, NULL);
    if (code != 0 && code != MDB_NOTFOUND)
        return code;
    code = mdb_cursor_open(txn, store->deals, &cursor);
    if (code != 0)
        return code;
    work->has_more = true;
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (code == 0 && dropped < DROP_BATCH) {
        if (key.mv_size < PREFIX_SIZE || memcmp(key.mv_data, buffer.bytes, PREFIX_SIZE) != 0) {
            code = MDB_NOTFOUND;
            break;
        }
        code = mdb_cursor_del(cursor, 0);
        dropped++;
        if (code == 0)
            code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (code == MDB_NOTFOUND) {
        work->has_more = false;
        code = 0;
    }
    mdb_cursor_close(cursor);
    return code;
}

static int do_work(MDB_txn *txn, const struct store *store, struct work *work)
{
    int code = 0;

    if (work->drop_partition >= 0)
        code = drop_deals(txn, store, work);
    for (size_t k = 0; k < work->change_count && code == 0; k++)
        code = put_deal(txn, store, &work->changes[k]);
    for (size_t k = 0; k < work->position_count && code == 0; k++)
        code = put_position(txn, store, work->positions[k]);
    if (work->identity && code == 0) {
        MDB_val key = {.mv_size = sizeof(IDENTITY_KEY) - 1};
        MDB_val value = {.mv_size = strlen(work->identity)};
        char key_bytes[sizeof(IDENTITY_KEY)];

        memcpy(key_bytes, IDENTITY_KEY, sizeof(key_bytes));
        key.mv_data = key_bytes;
        code = mdb_put(txn, store->meta, &key, &value, MDB_RESERVE);
        if (code == 0)
            memcpy(value.mv_data, work->identity, value.mv_size);
    }
    return code;
}

static int try_work(struct store *store, struct work *work)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(store->env, NULL, 0, &txn);

    if (code != 0)
        return code;
    code = do_work(txn, store, work);
    if (code == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

static int run_work(struct store *store, struct work *work, const char *what, struct error *err)
{
    int code;

    crash_mark_enter_store(store->mark);
    code = try_work(store, work);
    while (code == MDB_MAP_FULL && store->size < SIZE_MAX_BYTES) {
        store->size *= 2;
        code = mdb_env_set_mapsize(store->env, store->size);
        if (code == 0)
            code = try_work(store, work);
    }
    crash_mark_leave_store(store->mark);
    return code == 0 ? 0 : lmdb_error(store, err, code, what);
}

int store_write(struct store *store, const struct store_change *changes, size_t change_count,
                const struct store_position *positions, size_t position_count, struct error *err)
{
    struct work work = {.changes = changes,
                        .change_count = change_count,
                        .positions = positions,
                        .position_count = position_count,
                        .drop_partition = -1};

    return run_work(store, &work, "write", err);
}

int store_drop_partition(struct store *store, int32_t partition, struct error *err)
{
    struct work work = {.drop_partition = partition};

    do {
        if (run_work(store, &work, "drop", err) < 0)
            return -1;
    } while (work.has_more);
    return 0;
}

int store_drop(struct store *store, const char *reason, struct error *err)
{
    return begin_anew(store, reason, err);
}

static int read_identity(struct store *store, const char *identity, bool *ret_has_one, bool *ret_is_same,
                         struct error *err)
{
    char key_bytes[sizeof(IDENTITY_KEY)];
    MDB_val key = {.mv_size = sizeof(IDENTITY_KEY) - 1};
    MDB_val found;
    MDB_txn *txn;
    int code;

    memcpy(key_bytes, IDENTITY_KEY, sizeof(key_bytes));
    key.mv_data = key_bytes;
    if (begin_reading(store, &txn, err) < 0)
        return -1;
    code = mdb_get(txn, store->meta, &key, &found);
    *ret_has_one = code == 0;
    *ret_is_same =
        code == 0 && found.mv_size == strlen(identity) && memcmp(found.mv_data, identity, found.mv_size) == 0;
    end_reading(store, txn);
    return code == 0 || code == MDB_NOTFOUND ? 0 : lmdb_error(store, err, code, "read");
}

int store_identify(struct store *store, const char *identity, struct error *err)
{
    struct work work = {.identity = identity, .drop_partition = -1};
    bool has_one, is_same;

    if (read_identity(store, identity, &has_one, &is_same, err) < 0)
        return -1;
    if (is_same)
        return 0;
    if (has_one && begin_anew(store, "identity", err) < 0)
        return -1;
    return run_work(store, &work, "write", err);
}
