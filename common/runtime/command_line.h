/* The command line of a program, read by tables:
 *
 *     tandem-x [COMMAND] [OPTION...] [ARGUMENT...]
 *
 * with --config FILE, --check, --print-config, --describe-config, --version and --help for all, and a program's own commands and options.
 * Values follow as `--name VALUE` or `--name=VALUE`; `--` ends the options. Unknown words get a suggestion. Values point
 * into argv and the tables; nothing is allocated. Does not read the configuration. Main thread. */
#ifndef TANDEM_RUNTIME_COMMAND_LINE_H
#define TANDEM_RUNTIME_COMMAND_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/text.h"

enum { COMMAND_OPTIONS_MAX = 16 };

struct option_spec {
    const char *name;  /* without the dashes */
    const char *value; /* name of its value in --help, NULL for a flag */
    const char *help;
};

/* What a command does whose first argument says it: `register show`. */
struct command_action {
    const char *name;
    const char *help;    /* whole lines that --help shows below the usage */
    const char *options; /* names of the command's options that are for it, each between blanks: " url events " */
};

struct command_spec {
    const char *name;      /* NULL: the program without a command */
    const char *arguments; /* "RULES RECORD...": how many; "..." after the last: one or more of it. NULL: none */
    const char *help;
    const char *details; /* whole lines that --help shows below; NULL: none */
    const struct option_spec *options;
    size_t option_count;                  /* at most COMMAND_OPTIONS_MAX */
    bool needs_config;                    /* --config is required, and the options about the configuration exist */
    const struct command_action *actions; /* `COMMAND ACTION --help` tells one of them alone; NULL: none */
    size_t action_count;
};

struct program_description {
    const char *name;    /* "tandem-mapper" */
    const char *summary; /* one sentence */
    const struct command_spec *commands;
    size_t command_count;
    /* Appends a line "name version" for each library the program runs with, to --version. May be NULL. */
    int (*describe_libraries)(struct text *out);
};

struct command_line {
    const struct command_spec *command;
    const char *config_path; /* NULL unless given */
    bool check_only;
    bool print_config;
    bool describe_config; /* needs neither a configuration nor the command's arguments */
    const char *const *arguments;
    size_t argument_count;
    const char
        *option_values[COMMAND_OPTIONS_MAX]; /* parallel to command->options; "" for a given flag, NULL: absent */
};

/* 0: go on; 1: the answer was printed (--help, --version), exit 0; -1: bad usage, told on standard error, exit
 * EXIT_USAGE. Reorders argv so that arguments stand together. */
int command_line_parse(const struct program_description *description, int argc, char **argv,
                       struct command_line *ret_line) TANDEM_MUST_CHECK;
/* Value of one of the command's own options; "" for a given flag, NULL when absent. */
const char *command_line_option(const struct command_line *line, const char *name);

#endif
