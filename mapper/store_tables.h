/* The LMDB database of the local store: the tables `deals` and `meta`, how their keys and values look, and one
 * transaction on them at a time.
 *
 * Does not know when what is there may be trusted, nor what follows from a failure: that is store.c's, which owns it. Internal to it.
 * So the functions return 0, a code of LMDB, an errno, or one of enum store_tables_code. Loop thread only. */
#ifndef TANDEM_MAPPER_STORE_TABLES_H
#define TANDEM_MAPPER_STORE_TABLES_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "mapper/store.h"

/* Beside LMDB's own codes, which are below -30000, and errno, which is positive. */
enum store_tables_code {
    STORE_TABLES_CUT = -1,    /* a deal is shorter than its checksum */
    STORE_TABLES_CHANGED = -2 /* a deal is not what was written */
};

struct store_tables {
    MDB_env *env; /* NULL: closed */
    size_t size;  /* of the map; survives closing, so that a new database has the room the old one needed */
    MDB_dbi deals;
    MDB_dbi meta; /* "identity"; partition -> offset */
};

/* `tables->size` is set. The file is made if it is not there; shorter than LMDB believes it to be, MDB_CORRUPTED. */
int store_tables_open(struct store_tables *tables, const char *directory) TANDEM_MUST_CHECK;
void store_tables_close(struct store_tables *tables); /* accepts closed ones */
/* Waits for the disk. */
int store_tables_sync(struct store_tables *tables) TANDEM_MUST_CHECK;

/* MDB_NOTFOUND: no such deal. *ret_value: free(). */
int store_tables_get(struct store_tables *tables, int32_t partition, const char *key, size_t key_length,
                     char **ret_value, size_t *ret_length) TANDEM_MUST_CHECK;
/* *ret_offset -1: nothing is held of the partition. */
int store_tables_position(struct store_tables *tables, int32_t partition, int64_t *ret_offset) TANDEM_MUST_CHECK;
/* MDB_NOTFOUND: it has no identity yet. */
int store_tables_is_of(struct store_tables *tables, const char *identity, bool *ret_is_same) TANDEM_MUST_CHECK;
/* Deals of all partitions. */
int store_tables_count(struct store_tables *tables, int64_t *ret_count) TANDEM_MUST_CHECK;
int64_t store_tables_bytes(const struct store_tables *tables);

/* Writing is all or nothing, and makes room where there is too little. */
int store_tables_write(struct store_tables *tables, const struct store_change *changes, size_t change_count,
                       const struct store_position *positions, size_t position_count) TANDEM_MUST_CHECK;
int store_tables_write_identity(struct store_tables *tables, const char *identity) TANDEM_MUST_CHECK;
/* The partition's position and a good many of its deals; *ret_has_more: call it again. */
int store_tables_drop_some(struct store_tables *tables, int32_t partition, bool *ret_has_more) TANDEM_MUST_CHECK;

#endif
