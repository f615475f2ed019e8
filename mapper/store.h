/* Local copy of the compacted topic `deals`, in LMDB, so that a restart does not read the whole topic again.
 *
 * A cache, never the truth: it holds per partition the deals and the changelog offset up to which it holds them,
 * written together in one LMDB transaction after the Kafka transaction has committed; so it may be behind the topic,
 * never ahead. What cannot be trusted is dropped and read again: another format, cluster or topic, a damaged file, or a
 * machine that went down (store_directory.c tells why). Partitions that were given away stay as they are and go on from
 * their offset.
 *
 * One process per directory, held by a lock. Loop thread only; calls are short, nothing waits for the disk but
 * store_close(). A full disk is ERROR_FATAL "store.disk_full"; a damaged value ERROR_FATAL "store.damaged", and the
 * next store_open() begins with an empty store. */
#ifndef TANDEM_MAPPER_STORE_H
#define TANDEM_MAPPER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "mapper/crash_mark.h"

enum {
    STORE_KEY_MAX = 256 /* bytes of a deal key */
};

struct store;

struct store_change {
    int32_t partition;
    const char *key; /* at most STORE_KEY_MAX bytes */
    size_t key_length;
    const char *value; /* NULL: the deal is taken out */
    size_t value_length;
};

/* Where the changelog stands that the store holds of a partition: the offset to read on from. */
struct store_position {
    int32_t partition;
    int64_t offset;
};

/* Makes the directory if it is not there (its parent must be). `size_bytes`: room to begin with, doubled when it is
 * used up. -1 ERROR_TRANSIENT "store.locked" while another process has the directory. */
int store_open(const char *directory, int64_t size_bytes, struct store **ret_store, struct error *err)
    TANDEM_MUST_CHECK;
/* `identity` names the topic this is a copy of, beyond doubt: cluster, topic, its id. Content of another is dropped. */
int store_identify(struct store *store, const char *identity, struct error *err) TANDEM_MUST_CHECK;
/* Why the store began empty: "new", "damaged", "machine_restarted", "format", "identity", "crashes"; NULL: it did
 * not. */
const char *store_dropped(const struct store *store);
/* Of this directory; borrowed. */
struct crash_mark *store_crash_mark(struct store *store);

/* *ret_value NULL when there is no such deal; else free(). */
int store_get(struct store *store, int32_t partition, const char *key, size_t key_length, char **ret_value,
              size_t *ret_length, struct error *err) TANDEM_MUST_CHECK;
/* All or nothing. */
int store_write(struct store *store, const struct store_change *changes, size_t change_count,
                const struct store_position *positions, size_t position_count, struct error *err) TANDEM_MUST_CHECK;
/* -1: nothing is held of the partition. */
int store_position(struct store *store, int32_t partition, int64_t *ret_offset, struct error *err) TANDEM_MUST_CHECK;
int store_drop_partition(struct store *store, int32_t partition, struct error *err) TANDEM_MUST_CHECK;
int store_drop(struct store *store, const char *reason, struct error *err) TANDEM_MUST_CHECK;
/* Deals of all partitions held. */
int64_t store_count(struct store *store);
int64_t store_bytes(const struct store *store);

/* Writes everything to the disk and leaves a mark that it did. Accepts NULL. */
void store_close(struct store *store);

#endif
