/* The command "register dynamics-365": reads what webhooks are registered in a Dynamics 365 organisation, prints what is
 * there and what is not, and makes what is missing (register_dynamics_plan.h).
 *
 * Idempotent: a second run changes nothing, and one that was interrupted is finished by the next. Where something differs
 * from what is wanted, nothing at all is changed unless it was asked for. One run per process. Prints results to `out`;
 * failures go to the callback in words an operator can act on. Loop thread only. */
#ifndef TANDEM_INGEST_REGISTER_DYNAMICS_H
#define TANDEM_INGEST_REGISTER_DYNAMICS_H

#include <stdbool.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"
#include "common/systems/api.h"

struct register_dynamics {
    const char *url; /* where the events are to be sent; NULL: only shown, and not compared */
    bool only_shows;
    bool replaces;         /* also changes what differs and removes what is too much */
    bool renews_secret;    /* with `replaces` */
    bool uses_webhook_key; /* the secret comes as ?code=; else in a header */
};

/* What it works with, all borrowed. */
struct register_dynamics_environment {
    struct loop *loop;
    const struct api *api;
    const char *api_url; /* …/api/data/v9.2 */
    const struct config_list *columns;
    const struct config_map *child_tables;
    const char *secret_header;
    const char *secret; /* NULL: none is configured, which is an error unless it only shows */
    FILE *out;
};

struct register_dynamics_run;

/* `on_done` comes once, never from inside; `err` is NULL on success. */
int register_dynamics_start(const struct register_dynamics_environment *environment,
                            const struct register_dynamics *request,
                            void (*on_done)(void *arg, const struct error *err), void *arg,
                            struct register_dynamics_run **ret_run, struct error *err) TANDEM_MUST_CHECK;
/* After its exchange has ended or never began: the system has to be freed first. Accepts NULL. */
void register_dynamics_free(struct register_dynamics_run *run);

#endif
