/* What the three programs have in common around their work: options, start order, signals, drain, readiness, exit.
 *
 *   STARTING -> RUNNING -> DRAINING -> STOPPED
 *       \__________________^
 *
 * SIGTERM and SIGINT drain: the program stops taking work, finishes what it has begun and then calls program_drained();
 * after `drain_deadline` the process ends with EXIT_DRAIN_DEADLINE, a second signal ends it at once with
 * EXIT_SECOND_SIGNAL. SIGHUP reloads. systemd is told READY, RELOADING, STOPPING. Loop thread only. */
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

/* The sections `log`, `admin` and `instance` of every program. */
struct program_settings {
    int log_level;
    char *admin_address; /* NULL: no admin server */
    char *instance;      /* name of this process among its kind, stable over restarts; default: host name */
    int64_t drain_deadline_ms;
};
extern const struct config_key PROGRAM_KEYS[];
extern const size_t PROGRAM_KEY_COUNT;

struct program;

struct program_callbacks {
    /* Called once the loop runs. -1: the program ends with exit_status_of(err). */
    int (*start)(void *arg, struct program *program, struct error *err);
    void (*drain)(void *arg);  /* stop taking work; call program_drained() when all is done, at once or later */
    void (*reload)(void *arg); /* SIGHUP; may be NULL */
};

/* Runs to the end and returns the exit status. */
int program_run(const char *name, const struct program_settings *settings, const struct program_callbacks *callbacks,
                void *arg);
struct loop *program_loop(struct program *program);
const char *program_instance(const struct program *program);
bool program_is_draining(const struct program *program);
void program_set_ready(struct program *program); /* logs program.ready, tells systemd, opens /readyz */
void program_drained(struct program *program);
/* Something that cannot be survived: drains with this exit status. Logs the error once. */
void program_fail(struct program *program, int exit_status, const struct error *err);

/* /readyz answers 200 when the program is ready and every check says true; the body names those that do not.
 * `name` is a literal. At most 16. */
void program_add_readiness(struct program *program, const char *name, bool (*is_ready)(void *arg), void *arg);

/* Command line: `tandem-x [COMMAND] --config FILE [--check] [--print-config] [--version] [--help]`, with the program's
 * own commands and options from tables; unknown words get a suggestion. */
struct option_spec {
    const char *name;  /* without the dashes */
    const char *value; /* name of its value in --help, NULL for a flag */
    const char *help;
};
struct command_spec {
    const char *name;      /* NULL: the program without a command */
    const char *arguments; /* "RULES RECORD…", NULL: none */
    const char *help;
    const struct option_spec *options;
    size_t option_count;
    bool needs_config;
};
struct command_line {
    const struct command_spec *command;
    const char *config_path;
    bool check_only;
    bool print_config;
    const char *const *arguments;
    size_t argument_count;
    const char *option_values[16]; /* parallel to command->options; "" for a given flag, NULL when absent */
};
/* 0: go on; 1: the answer was printed (--help, --version), exit 0; -1: bad usage, told on stderr, exit EXIT_USAGE. */
int command_line_parse(const char *program, const char *summary, const struct command_spec *commands, size_t count,
                       int argc, char **argv, struct command_line *ret_line);
const char *command_line_option(const struct command_line *line, const char *name);

#endif
