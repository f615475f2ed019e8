/* The command "register" for Partner Center: its webhook registration (registration API, 2; there is one per tenant).
 *
 *     show     prints the registration
 *     events   prints the event names that may be registered
 *     create   registers a URL. What was there is printed first: it is what a person needs to go back. Another URL is
 *              replaced only if asked for; events that others registered stay on the list, unless told otherwise
 *     test     has Partner Center send a validation event and prints what it says of each delivery attempt
 *
 * One run per process. Prints results to `out`; failures go to the callback in words an operator can act on. Changes
 * are never repeated on their own. Loop thread only. */
#ifndef TANDEM_INGEST_REGISTER_PARTNER_CENTER_H
#define TANDEM_INGEST_REGISTER_PARTNER_CENTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/error.h"
#include "common/runtime/loop.h"
#include "common/systems/api.h"

enum register_action { REGISTER_SHOW, REGISTER_EVENTS, REGISTER_CREATE, REGISTER_TEST };

struct register_partner_center {
    enum register_action action;
    const char *url;       /* create */
    const char *events;    /* create: comma-separated; NULL: the events that Tandem needs */
    bool drops_others;     /* create: events that are not named do not stay */
    bool overwrites;       /* create: also when another URL is registered */
    bool wants_own_header; /* create: the signature is to come in x-ms-signature */
    bool prints_json;
    int64_t deadline_ms; /* test: how long the delivery is watched */
};
enum { REGISTER_DEADLINE_DEFAULT_MS = 60000 };

enum register_step { REGISTER_NOTHING, REGISTER_POST, REGISTER_PUT, REGISTER_REFUSED };
/* What `create` has to do, given what is registered (NULL: nothing). *ret_body: a new reference for POST and PUT, else
 * NULL. Pure. -1: out of memory. */
int register_partner_center_plan(const struct register_partner_center *request, const json_t *current,
                                 enum register_step *ret_step, json_t **ret_body) TANDEM_MUST_CHECK;

struct register_partner_center_run;

/* `base_url`: of the registration API's host. `on_done` comes once, never from inside; `err` is NULL on success. */
int register_partner_center_start(struct loop *loop, const struct api *api, const char *base_url,
                                  const struct register_partner_center *request, FILE *out,
                                  void (*on_done)(void *arg, const struct error *err), void *arg,
                                  struct register_partner_center_run **ret_run, struct error *err) TANDEM_MUST_CHECK;
/* After its exchange has ended or never began: the system has to be freed first. Accepts NULL. */
void register_partner_center_free(struct register_partner_center_run *run);

#endif
