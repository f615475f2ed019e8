/* What the three programs have in common around their work: start order, signals, drain, readiness, exit status.
 *
 *   STARTING -> RUNNING -> DRAINING -> STOPPED      STARTING -> STOPPED only when the start fails
 *       \__________________^
 *
 * SIGTERM and SIGINT drain: the program stops taking work, finishes what it has begun and then calls program_drained();
 * after `drain_deadline` the process ends with EXIT_DRAIN_DEADLINE, a second signal ends it at once with
 * EXIT_SECOND_SIGNAL. Both hold as well when the loop is blocked or the clean-up after it hangs, and end the process by
 * _exit(): what was unfinished is delivered again. SIGHUP reloads. systemd (sd_notify(3)) is told READY, RELOADING and
 * STOPPING, and WATCHDOG for as long as the loop turns. Loop thread only; one program per process. */
#ifndef TANDEM_RUNTIME_PROGRAM_H
#define TANDEM_RUNTIME_PROGRAM_H

#include <stdbool.h>

#include "common/base/error.h"
#include "common/runtime/config.h"
#include "common/runtime/loop.h"

enum {
    EXIT_OK = 0,
    EXIT_ERROR = 1,
    EXIT_USAGE = 64,
    EXIT_FENCED = 70, /* another process runs under our instance name */
    EXIT_KAFKA = 71,  /* topics, offsets or authorisation are not as they must be */
    EXIT_DATABASE = 72,
    EXIT_BAD_CONFIG = 78,
    EXIT_DRAIN_DEADLINE = 90,
    EXIT_SECOND_SIGNAL = 91
};

/* The section `program`. */
struct program_settings {
    int log_level;
    char *admin_address; /* NULL: no admin server */
    char *instance;      /* name of this process among its kind, stable over restarts; default: host name */
    int64_t drain_deadline_ms;
};
extern const struct config_key PROGRAM_KEYS[];
extern const size_t PROGRAM_KEY_COUNT;

/* First thing in main(), before secrets are read: no core dumps, no SIGPIPE, JSON's hash seed. */
void program_setup(void);

/* What the process exits with when this ends it. ERROR_NONE is EXIT_OK. */
int exit_status_of(const struct error *err);

struct program;

struct program_callbacks {
    /* Called once the loop runs. -1: the program ends with exit_status_of(err). */
    int (*start)(void *arg, struct program *program, struct error *err);
    void (*drain)(void *arg);  /* stop taking work; call program_drained() when all is done, at once or later */
    void (*reload)(void *arg); /* SIGHUP, once the program is ready; may be NULL */
    /* Called once after start(), whatever it returned, when the loop has ended and is still there: frees what belongs to
     * the loop. May be NULL. */
    void (*stop)(void *arg);
};

/* Runs to the end and returns the exit status. `name`, `settings` and `callbacks` are borrowed until then. */
int program_run(const char *name, const struct program_settings *settings, const struct program_callbacks *callbacks,
                void *arg);
struct loop *program_loop(struct program *program);
const char *program_instance(const struct program *program);
bool program_is_draining(const struct program *program);
void program_set_ready(struct program *program); /* logs program.ready, tells systemd, opens /readyz */
/* All work is done; the loop ends after this turn. Also unasked, by a command that has nothing more to do. */
void program_drained(struct program *program);
/* Something that cannot be survived: drains with this exit status; the first one counts. Logs the error. */
void program_fail(struct program *program, int exit_status, const struct error *err);

/* /readyz answers 200 when the program is ready and every check says true; the body names those that do not.
 * `name` is a literal. At most 16. */
void program_add_readiness(struct program *program, const char *name, bool (*is_ready)(void *arg), void *arg);
/* The same, told with the reason: `trouble` returns it (no secret, no customer's data), or NULL when all is well. */
void program_add_trouble(struct program *program, const char *name, const char *(*trouble)(void *arg), void *arg);

#endif
