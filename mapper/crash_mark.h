/* Remembers across the end of the process which message it was working on, to recognise the one that kills it.
 *
 * A small file mapped into memory: marking costs a few stores and no system call, and it survives every death of the
 * process (kill -9 and the kernel's out-of-memory kill included), since the pages are the kernel's. It need not survive
 * the machine: what the file then says is a message that is not met again.
 *
 *   start finds a message marked     -> it is the suspect, with one death; or one more, if it was the suspect already
 *   start finds the store marked     -> one more death inside the store
 *   two deaths on the same message   -> crash_mark_is_deadly(): set it aside unread ("third start")
 *   two deaths in a row in the store -> its copy is not to be trusted
 *
 * Two, not one: an operator's kill -9 hits some innocent message, but not the same one twice. Loop thread only. */
#ifndef TANDEM_MAPPER_CRASH_MARK_H
#define TANDEM_MAPPER_CRASH_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"

enum { CRASH_MARK_DEATHS_MAX = 2, CRASH_MARK_TOPIC_SIZE = 256 };

struct crash_mark;

/* A missing or foreign file is made anew. */
int crash_mark_open(const char *path, struct crash_mark **ret_mark, struct error *err) TANDEM_MUST_CHECK;
/* Accepts NULL. Deaths inside the store are forgotten: the process ends in order. */
void crash_mark_close(struct crash_mark *mark);

/* Around the work on one message. A death in between counts. */
void crash_mark_begin(struct crash_mark *mark, const char *topic, int32_t partition, int64_t offset);
void crash_mark_end(struct crash_mark *mark);
/* Around work inside the store, also within a message, whose fault a death is not then. */
void crash_mark_enter_store(struct crash_mark *mark);
void crash_mark_leave_store(struct crash_mark *mark);

/* Did the process die CRASH_MARK_DEATHS_MAX times on this message? */
bool crash_mark_is_deadly(const struct crash_mark *mark, const char *topic, int32_t partition, int64_t offset);
bool crash_mark_distrusts_store(const struct crash_mark *mark);
/* The last process died while a message or the store was marked. */
bool crash_mark_was_left(const struct crash_mark *mark);

#endif
