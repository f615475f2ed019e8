#include "mapper/store_tables.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/text.h"
#include "mapper/store_directory.h"

/* LMDB runs with MDB_NOSYNC and without MDB_WRITEMAP: a commit is write(2) of new pages and then of a meta page, and
 * nothing waits for the disk. The death of the process, at whatever instruction, leaves what was written with the
 * kernel, in that order, so either the old or the new meta page counts: nothing is lost but an unfinished commit.
 *
 * LMDB has no checksums. Each value begins with its own (FNV-1a); a file shorter than its last page is found at the
 * start, before reading it would be a bus error. */

enum {
    TABLES = 3,
    PREFIX_SIZE = 4,   /* partition, big endian: one partition's deals stand together */
    CHECKSUM_SIZE = 8, /* in front of each value */
    DROP_BATCH = 10000 /* deals taken out in one LMDB transaction */
};

#define SIZE_MAX_BYTES ((size_t)1 << 40)

static const char IDENTITY_KEY[] = "identity";

/* --- Opening and closing ------------------------------------------------------------------------------------------ */

void store_tables_close(struct store_tables *tables)
{
    if (tables->env != NULL)
        mdb_env_close(tables->env);
    tables->env = NULL;
}

/* The pages that LMDB believes in have to be in the file. */
static bool file_is_whole(const struct store_tables *tables)
{
    MDB_envinfo info;
    MDB_stat tree;
    struct stat status;
    int fd;

    if (mdb_env_get_fd(tables->env, &fd) != 0 || fstat(fd, &status) < 0 || mdb_env_info(tables->env, &info) != 0 ||
        mdb_env_stat(tables->env, &tree) != 0)
        return false;
    return (uint64_t)status.st_size >= ((uint64_t)info.me_last_pgno + 1) * tree.ms_psize;
}

static int open_tables(struct store_tables *tables)
{
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(tables->env, NULL, 0, &txn);

    if (code != 0)
        return code;
    code = mdb_dbi_open(txn, "deals", MDB_CREATE, &tables->deals);
    if (code == 0)
        code = mdb_dbi_open(txn, "meta", MDB_CREATE, &tables->meta);
    if (code == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

int store_tables_open(struct store_tables *tables, const char *directory)
{
    int code = mdb_env_create(&tables->env);

    if (code == 0)
        code = mdb_env_set_maxdbs(tables->env, TABLES);
    if (code == 0)
        code = mdb_env_set_mapsize(tables->env, tables->size);
    if (code == 0)
        code = mdb_env_open(tables->env, directory, MDB_NOSYNC | MDB_NORDAHEAD, STORE_FILE_MODE);
    if (code == 0 && !file_is_whole(tables))
        code = MDB_CORRUPTED;
    if (code == 0)
        code = open_tables(tables);
    if (code != 0)
        store_tables_close(tables);
    return code;
}

int store_tables_sync(struct store_tables *tables)
{
    return mdb_env_sync(tables->env, 1);
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

static int copy_value(const struct key_buffer *key, const MDB_val *found, char **ret_value, size_t *ret_length)
{
    const unsigned char *bytes = found->mv_data;
    uint64_t expected;
    size_t length;
    char *copy;

    if (found->mv_size < CHECKSUM_SIZE)
        return STORE_TABLES_CUT;
    length = found->mv_size - CHECKSUM_SIZE;
    memcpy(&expected, bytes, CHECKSUM_SIZE);
    if (expected != checksum(key, bytes + CHECKSUM_SIZE, length))
        return STORE_TABLES_CHANGED;
    copy = text_copy_n((const char *)bytes + CHECKSUM_SIZE, length);
    if (copy == NULL)
        return ENOMEM;
    *ret_value = copy;
    *ret_length = length;
    return 0;
}

/* --- Reading ------------------------------------------------------------------------------------------------------ */

static int begin_reading(struct store_tables *tables, MDB_txn **ret_txn)
{
    return mdb_txn_begin(tables->env, NULL, MDB_RDONLY, ret_txn);
}

int store_tables_get(struct store_tables *tables, int32_t partition, const char *key, size_t key_length,
                     char **ret_value, size_t *ret_length)
{
    struct key_buffer buffer;
    MDB_val wanted, found;
    MDB_txn *txn;
    int code = begin_reading(tables, &txn);

    if (code != 0)
        return code;
    make_key(&buffer, partition, key, key_length);
    wanted = key_value(&buffer);
    code = mdb_get(txn, tables->deals, &wanted, &found);
    if (code == 0)
        code = copy_value(&buffer, &found, ret_value, ret_length);
    mdb_txn_abort(txn);
    return code;
}

int store_tables_position(struct store_tables *tables, int32_t partition, int64_t *ret_offset)
{
    struct key_buffer buffer;
    MDB_val wanted, found;
    MDB_txn *txn;
    int64_t offset = -1;
    int code = begin_reading(tables, &txn);

    if (code != 0)
        return code;
    make_key(&buffer, partition, NULL, 0);
    wanted = key_value(&buffer);
    code = mdb_get(txn, tables->meta, &wanted, &found);
    if (code == 0 && found.mv_size == sizeof(offset))
        memcpy(&offset, found.mv_data, sizeof(offset));
    mdb_txn_abort(txn);
    if (code != 0 && code != MDB_NOTFOUND)
        return code;
    *ret_offset = offset;
    return 0;
}

int store_tables_is_of(struct store_tables *tables, const char *identity, bool *ret_is_same)
{
    char key_bytes[sizeof(IDENTITY_KEY)];
    MDB_val key = {.mv_size = sizeof(IDENTITY_KEY) - 1};
    MDB_val found;
    MDB_txn *txn;
    int code = begin_reading(tables, &txn);

    if (code != 0)
        return code;
    memcpy(key_bytes, IDENTITY_KEY, sizeof(key_bytes));
    key.mv_data = key_bytes;
    code = mdb_get(txn, tables->meta, &key, &found);
    if (code == 0)
        *ret_is_same = found.mv_size == strlen(identity) && memcmp(found.mv_data, identity, found.mv_size) == 0;
    mdb_txn_abort(txn);
    return code;
}

int store_tables_count(struct store_tables *tables, int64_t *ret_count)
{
    MDB_stat tree = {0};
    MDB_txn *txn;
    int code = begin_reading(tables, &txn);

    if (code != 0)
        return code;
    code = mdb_stat(txn, tables->deals, &tree);
    mdb_txn_abort(txn);
    if (code == 0)
        *ret_count = (int64_t)tree.ms_entries;
    return code;
}

int64_t store_tables_bytes(const struct store_tables *tables)
{
    MDB_envinfo info;
    MDB_stat tree;

    if (mdb_env_info(tables->env, &info) != 0 || mdb_env_stat(tables->env, &tree) != 0)
        return 0;
    return (int64_t)(((uint64_t)info.me_last_pgno + 1) * tree.ms_psize);
}

/* --- Writing ------------------------------------------------------------------------------------------------------ */

static int put_deal(MDB_txn *txn, const struct store_tables *tables, const struct store_change *change)
{
    struct key_buffer buffer;
    MDB_val key, value;
    uint64_t sum;
    int code;

    make_key(&buffer, change->partition, change->key, change->key_length);
    key = key_value(&buffer);
    if (change->value == NULL) {
        code = mdb_del(txn, tables->deals, &key, NULL);
        return code == MDB_NOTFOUND ? 0 : code;
    }
    value = (MDB_val){.mv_size = CHECKSUM_SIZE + change->value_length};
    code = mdb_put(txn, tables->deals, &key, &value, MDB_RESERVE);
    if (code != 0)
        return code;
    sum = checksum(&buffer, (const unsigned char *)change->value, change->value_length);
    memcpy(value.mv_data, &sum, CHECKSUM_SIZE);
    memcpy((char *)value.mv_data + CHECKSUM_SIZE, change->value, change->value_length);
    return 0;
}

static int put_position(MDB_txn *txn, const struct store_tables *tables, struct store_position position)
{
    struct key_buffer buffer;
    MDB_val key, value = {.mv_size = sizeof(position.offset), .mv_data = &position.offset};

    make_key(&buffer, position.partition, NULL, 0);
    key = key_value(&buffer);
    return mdb_put(txn, tables->meta, &key, &value, 0);
}

static int put_identity(MDB_txn *txn, const struct store_tables *tables, const char *identity)
{
    char key_bytes[sizeof(IDENTITY_KEY)];
    MDB_val key = {.mv_size = sizeof(IDENTITY_KEY) - 1, .mv_data = key_bytes};
    MDB_val value = {.mv_size = strlen(identity)};
    int code;

    memcpy(key_bytes, IDENTITY_KEY, sizeof(key_bytes));
    code = mdb_put(txn, tables->meta, &key, &value, MDB_RESERVE);
    if (code == 0)
        memcpy(value.mv_data, identity, value.mv_size);
    return code;
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

static int drop_deals(MDB_txn *txn, const struct store_tables *tables, struct work *work)
{
    struct key_buffer buffer;
    MDB_val key, value;
    MDB_cursor *cursor;
    size_t dropped = 0;
    int code;

    make_key(&buffer, work->drop_partition, NULL, 0);
    key = key_value(&buffer);
    code = mdb_del(txn, tables->meta, &key, NULL);
    if (code != 0 && code != MDB_NOTFOUND)
        return code;
    code = mdb_cursor_open(txn, tables->deals, &cursor);
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

static int do_work(MDB_txn *txn, const struct store_tables *tables, struct work *work)
{
    int code = 0;

    if (work->drop_partition >= 0)
        code = drop_deals(txn, tables, work);
    for (size_t k = 0; k < work->change_count && code == 0; k++)
        code = put_deal(txn, tables, &work->changes[k]);
    for (size_t k = 0; k < work->position_count && code == 0; k++)
        code = put_position(txn, tables, work->positions[k]);
    if (work->identity != NULL && code == 0)
        code = put_identity(txn, tables, work->identity);
    return code;
}

static int try_work(struct store_tables *tables, struct work *work)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(tables->env, NULL, 0, &txn);

    if (code != 0)
        return code;
    code = do_work(txn, tables, work);
    if (code == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return code;
}

static int run_work(struct store_tables *tables, struct work *work)
{
    int code = try_work(tables, work);

    while (code == MDB_MAP_FULL && tables->size < SIZE_MAX_BYTES) {
        tables->size *= 2;
        code = mdb_env_set_mapsize(tables->env, tables->size);
        if (code == 0)
            code = try_work(tables, work);
    }
    return code;
}

int store_tables_write(struct store_tables *tables, const struct store_change *changes, size_t change_count,
                       const struct store_position *positions, size_t position_count)
{
    struct work work = {.changes = changes,
                        .change_count = change_count,
                        .positions = positions,
                        .position_count = position_count,
                        .drop_partition = -1};

    return run_work(tables, &work);
}

int store_tables_write_identity(struct store_tables *tables, const char *identity)
{
    struct work work = {.identity = identity, .drop_partition = -1};

    return run_work(tables, &work);
}

int store_tables_drop_some(struct store_tables *tables, int32_t partition, bool *ret_has_more)
{
    struct work work = {.drop_partition = partition};
    int code = run_work(tables, &work);

    if (code == 0)
        *ret_has_more = work.has_more;
    return code;
}
