/* Which offsets of a partition may be committed: everything below the lowest unfinished one.
 *
 * Work finishes out of order; offsets have holes (control records, compaction), so contiguity is counted in delivered
 * messages, never by arithmetic. Pure, no I/O; one tracker per partition. */
#ifndef TANDEM_KAFKA_OFFSETS_H
#define TANDEM_KAFKA_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attributes.h"

struct offsets;

struct offsets *offsets_new(void);
void offsets_free(struct offsets *offsets);
/* A message was delivered, which was written at that time; offsets strictly increase. -1: out of memory. */
int offsets_begin(struct offsets *offsets, int64_t offset, int64_t written_ms) TANDEM_MUST_CHECK;
/* Its work is done. Unknown or finished offsets are ignored (a redelivery ended twice). */
void offsets_finish(struct offsets *offsets, int64_t offset);
/* The offset to commit (last finished before the lowest unfinished, plus one), or -1 when it has not moved since the
 * last offsets_committed(). */
int64_t offsets_to_commit(const struct offsets *offsets);
void offsets_committed(struct offsets *offsets, int64_t offset);
size_t offsets_unfinished(const struct offsets *offsets);
/* The lowest unfinished message; false: there is none. */
bool offsets_first_unfinished(const struct offsets *offsets, int64_t *ret_offset, int64_t *ret_written_ms);

#endif
