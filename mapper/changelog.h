/* Brings the store up to date with the topic `deals` before a partition's messages are handed out.
 *
 * Reads on from the offset the store holds, or from the beginning; what cannot be read on from (the offset is not in the
 * log any more) is dropped and read anew. Writes to the store in batches, each with the offset it reaches, so that an
 * interrupted restore goes on where it was and never counts as complete. Loop thread only. */
#ifndef TANDEM_MAPPER_CHANGELOG_H
#define TANDEM_MAPPER_CHANGELOG_H

#include <stddef.h>
#include <stdint.h>

#include "common/kafka/client.h"
#include "common/runtime/loop.h"
#include "mapper/store.h"

/* "cluster/topic/topic id", which names the topic beyond doubt: one that was deleted and made again has another id.
 * Blocks at most `timeout_ms`; at start only. free(). */
int changelog_identity(const struct kafka_settings *settings, int64_t timeout_ms, char **ret_identity,
                       struct error *err) TANDEM_MUST_CHECK;

struct changelog_callbacks {
    void (*on_restored)(void *arg, int64_t deals, int64_t duration_ms); /* all partitions */
    void (*on_failed)(void *arg, const struct error *err);
};

struct changelog;

int changelog_new(struct loop *loop, const struct kafka_settings *settings, const char *instance, struct store *store,
                  const struct changelog_callbacks *callbacks, void *arg, struct changelog **ret_changelog,
                  struct error *err) TANDEM_MUST_CHECK;
/* In place of what was being restored before. One of the callbacks comes later. */
int changelog_restore(struct changelog *changelog, const int32_t *partitions, size_t count, struct error *err)
    TANDEM_MUST_CHECK;
/* No callback comes any more. */
void changelog_stop(struct changelog *changelog);
void changelog_free(struct changelog *changelog); /* accepts NULL */

#endif
