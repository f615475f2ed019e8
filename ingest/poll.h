/* The role "poll": finds what webhooks have missed.
 *
 * Each source is asked at an interval what has changed since its cursor; each change becomes a notification, which is read
 * and merged like any other. The cursor moves on only when all of them are in Kafka. Only hints are told: repeats are
 * harmless, so the windows overlap.
 *
 *     source                          asks                                    cursor
 *     poll/partner-center             all referrals, the last change first    time of the last change
 *     poll/partner-center/shared      open shared deals, for Microsoft's side none
 *     poll/dynamics-365               change tracking of the CRM's table      delta link
 *     poll/dynamics-365/TABLE/COLUMN  the same of a child table               delta link; below it each row's opportunity
 *
 * One process polls: the member of group "poll" that owns the topic `cursors`; when it dies another one goes on from the
 * cursors. A source that fails is tried again with back-off, while the others go on.
 * Producer, settings, child tables and systems are borrowed; systems have to be freed before poll_free() and after
 * poll_stop(). Loop thread only. */
#ifndef TANDEM_INGEST_POLL_H
#define TANDEM_INGEST_POLL_H

#include <stddef.h>

#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "common/systems/system.h"

struct poll_settings {
    int64_t interval_ms;            /* of changes */
    int64_t engagement_interval_ms; /* of open shared deals */
    int64_t overlap_ms;
    int64_t first_window_ms; /* how far back without a cursor */
    int64_t child_rows_max;  /* of each child table: whose opportunity is remembered */
};
extern const struct config_key POLL_KEYS[];
extern const size_t POLL_KEY_COUNT;

struct poll;

struct poll_options {
    const struct kafka_settings *kafka;
    const struct poll_settings *settings;
    const char *instance;
    struct producer *producer;
    struct system *const *systems; /* told apart by their operations' names; the array is copied */
    size_t system_count;
    const struct config_map *child_tables; /* of Dynamics 365: table -> its lookup column to the opportunity */
    /* The consumer or the reader of cursors cannot go on, or memory has run out. */
    void (*on_fatal)(void *arg, const struct error *err);
    void *arg;
};

int poll_new(struct loop *loop, const struct poll_options *options, struct poll **ret_poll, struct error *err)
    TANDEM_MUST_CHECK;
/* Asks for nothing more; what is under way is forgotten, and begun again by whoever polls next. */
void poll_stop(struct poll *poll);
/* Leaves the group; blocks at most `close_ms`. Accepts NULL. */
void poll_free(struct poll *poll, int64_t close_ms);

#endif
