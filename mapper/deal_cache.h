/* Decoded deals in memory: those of the open transaction (the overlay), and the most recently used of those before.
 *
 * An entry belongs to the cache and is valid until the next call that says otherwise. Changed entries stay until
 * deal_cache_settle(); the others are let go, least recently used first, when there are more than the limit. Knows
 * neither the store nor the topic. Loop thread only. */
#ifndef TANDEM_MAPPER_DEAL_CACHE_H
#define TANDEM_MAPPER_DEAL_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapper/deal.h"

struct deal_cache;

struct deal_entry {
    char *key;
    int32_t partition;
    struct deal deal;
    char *bytes; /* the state as last sent or read, which `deal` goes back to; NULL: nothing is known of the deal */
    size_t length;
    bool is_changed; /* in the open transaction */
    struct deal_entry *chain;
    struct deal_entry *newer;
    struct deal_entry *older;
};

int deal_cache_new(size_t limit, struct deal_cache **ret_cache, struct error *err) TANDEM_MUST_CHECK;
void deal_cache_free(struct deal_cache *cache); /* accepts NULL */

/* NULL when it is not here. */
struct deal_entry *deal_cache_find(struct deal_cache *cache, const char *key);
/* Takes over `bytes` (NULL: a new deal), also on failure. May let go of other, unchanged entries. */
int deal_cache_add(struct deal_cache *cache, int32_t partition, const char *key, char *bytes, size_t length,
                   struct deal_entry **ret_entry, struct error *err) TANDEM_MUST_CHECK;
/* The deal has changed to `bytes`, which is taken over. */
void deal_cache_change(struct deal_cache *cache, struct deal_entry *entry, char *bytes, size_t length);
/* `deal` as it was before the message that failed. */
int deal_entry_revert(struct deal_entry *entry, struct error *err) TANDEM_MUST_CHECK;

/* Calls `visit` for every changed entry; stops at the first -1 and returns it. */
int deal_cache_for_changed(struct deal_cache *cache, int (*visit)(void *arg, const struct deal_entry *entry),
                           void *arg);
size_t deal_cache_changed_count(const struct deal_cache *cache);
/* What was changed is permanent now. */
void deal_cache_settle(struct deal_cache *cache);
/* Forgets everything. */
void deal_cache_clear(struct deal_cache *cache);

#endif
