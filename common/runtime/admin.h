/* The admin address of a program: GET /healthz, /readyz and /metrics over plain HTTP, and nothing else.
 *
 * For supervisors and Prometheus, on a loopback or cluster-internal address; it takes no input beyond the path, and
 * shows no data of deals. Requests are bounded in size and time, connections are closed after one answer. Loop thread
 * only. */
#ifndef TANDEM_RUNTIME_ADMIN_H
#define TANDEM_RUNTIME_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/runtime/loop.h"

struct admin;

/* Binds `address` ("host:port" or "[IPv6]:port"; port 0: any free one) and logs admin.listening with the real port.
 * `is_ready` decides on /readyz: 200 or 503, with what it appends as the body; /healthz is 200 and says "ok", then the
 * same reasons. ERROR_FATAL "admin.listen" when the
 * address cannot be bound. */
int admin_new(struct loop *loop, const char *address, bool (*is_ready)(void *arg, struct text *out), void *arg,
              struct admin **ret_admin, struct error *err) TANDEM_MUST_CHECK;
uint16_t admin_port(const struct admin *admin);
void admin_free(struct admin *admin); /* accepts NULL; open connections are closed */

#endif
