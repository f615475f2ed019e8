/* The command "backfill": takes up the deals that both systems hold already.
 *
 *     cursor read -> referrals listed -> rows listed -> newest referrals again -> paired -> told -> finished
 *
 * Both systems are listed (ids, links and times are kept: backfill_pairing.h), then each record of a clear deal is told as
 * a notification of origin "backfill". From there on it goes the way of every other record; this command writes to no
 * system. How far it has told is kept in the topic `cursors`, after the delivery reports, under "backfill/all" or
 * "backfill/linked": a run that was ended in whatever way lists anew and goes on telling behind that position. What is told
 * twice is read twice, no more.
 *
 * One listing's page at a time, one batch of notifications at a time, at most `per_second`. What a system refuses for now
 * is asked again with back-off, not before its Retry-After.
 * Producer and systems are borrowed; systems have to be freed before backfill_free() and after backfill_stop(). Loop
 * thread only. */
#ifndef TANDEM_INGEST_BACKFILL_H
#define TANDEM_INGEST_BACKFILL_H

#include <stdio.h>

#include "common/kafka/client.h"
#include "common/kafka/producer.h"
#include "common/runtime/command_line.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "common/systems/system.h"

struct backfill_settings {
    int64_t per_second;
    int64_t records_max;
    int64_t page_rows;
    char *sync_column;
};
extern const struct config_key BACKFILL_KEYS[];
extern const size_t BACKFILL_KEY_COUNT;

/* config_section.validate: the column is a name. */
void backfill_settings_validate(const struct config_section *section, const struct yaml_node *node,
                                struct diagnostics *diagnostics);

struct backfill_request {
    bool is_dry_run;
    bool linked_only;
    bool begins_again;
    const char *report_path; /* NULL: none */
};
extern const struct option_spec BACKFILL_OPTIONS[];
extern const size_t BACKFILL_OPTION_COUNT;

struct backfill_request backfill_request_read(const struct command_line *line);

struct backfill;

struct backfill_options {
    const struct kafka_settings *kafka;
    const struct backfill_settings *settings;
    const struct backfill_request *request;
    const char *identifier_column;
    const char *instance;
    struct producer *producer;
    struct system *partner_center;
    struct system *dynamics_365;
    FILE *out;      /* the table */
    FILE *progress; /* for people: a bar if it is a terminal, else a line every few seconds */
    /* Once; `err` NULL: all is told, or was told before. ERROR_TRANSIENT "backfill.interrupted" after a drain. */
    void (*on_done)(void *arg, const struct error *err);
    void *arg;
};

int backfill_new(struct loop *loop, const struct backfill_options *options, struct backfill **ret_backfill,
                 struct error *err) TANDEM_MUST_CHECK;
/* Waits for the delivery reports under way and keeps the position; on_done comes first if it has not come yet. */
void backfill_drain(struct backfill *backfill, void (*on_drained)(void *arg), void *arg);
/* No callback of its own comes any more. */
void backfill_stop(struct backfill *backfill);
void backfill_free(struct backfill *backfill); /* accepts NULL */

#endif
