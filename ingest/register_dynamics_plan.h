/* What the webhooks of a Dynamics 365 organisation should be, and what that means for what is there: one service endpoint,
 * one step for each message of each table, one image for each step that has to say which opportunity a row belongs to.
 *
 * Pure: no requests. Facts: "Use webhooks to create external handlers for server events", "Register a web hook",
 * ServiceEndpoint and SdkMessageProcessingStep table references. What differs is changed only if asked for; the secret
 * cannot be compared, since the service never shows it. */
#ifndef TANDEM_INGEST_REGISTER_DYNAMICS_PLAN_H
#define TANDEM_INGEST_REGISTER_DYNAMICS_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/runtime/config.h"

/* The endpoint is known by its name. */
#define REGISTER_ENDPOINT_NAME "Tandem"

struct register_dynamics_wanted {
    const char *url;                       /* NULL: any; nothing is made or changed then */
    bool uses_webhook_key;                 /* authentication by ?code=; else by a header */
    bool renews_secret;                    /* the endpoint counts as different */
    const struct config_list *columns;     /* dynamics_365.columns */
    const struct config_map *child_tables; /* dynamics_365.child_tables */
};

/* Rows as they were read; steps and images are those of the endpoint. Arrays but for `endpoint`. */
struct register_dynamics_found {
    json_t *endpoint; /* NULL: none */
    json_t *steps;
    json_t *images;
    json_t *filters; /* which message is known of which table */
};

enum register_part_kind { REGISTER_ENDPOINT, REGISTER_STEP, REGISTER_IMAGE };
enum register_part_state {
    REGISTER_GOOD,
    REGISTER_MISSING,
    REGISTER_DIFFERENT,
    REGISTER_SURPLUS /* a step nobody asked for, or one too many */
};

struct register_part {
    enum register_part_kind kind;
    enum register_part_state state;
    char *name;       /* "Update of opportunity" */
    char *difference; /* for people; NULL unless different */
    char *id;         /* of its row; NULL: there is none yet */
    size_t step;      /* of an image: its step's place among the parts */
    json_t *body; /* columns to make or change it with; without secret, and without the binds of what it belongs to */
};

struct register_dynamics_plan {
    struct register_part *parts; /* in the order in which they are made */
    size_t count;
    size_t good, missing, different, surplus;
};

/* -1: ERROR_CONFIG "register.no_such_table" when the organisation does not know a table, or out of memory. */
int register_dynamics_plan(const struct register_dynamics_wanted *wanted, const struct register_dynamics_found *found,
                           struct register_dynamics_plan *ret_plan, struct error *err) TANDEM_MUST_CHECK;
void register_dynamics_plan_done(struct register_dynamics_plan *plan);

/* Path and query that find the messages of all tables. free(); NULL: out of memory. */
char *register_dynamics_filters_path(const struct config_map *child_tables);

#endif
