#include "common/runtime/command_line.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/diagnostic.h"
#include "tandem_version.h"

enum {
    OUTPUT_BYTES_MAX = 64 * 1024,
    COMMANDS_MAX = 32, /* considered for a suggestion */
    HELP_COLUMN = 26,
    INDENT = 2
};

enum {
    CONFIG_OPTION_COUNT = 4,
    COMMON_OPTION_COUNT = 2,
    KNOWN_MAX = COMMAND_OPTIONS_MAX + CONFIG_OPTION_COUNT + COMMON_OPTION_COUNT
};

static const struct option_spec CONFIG_OPTIONS[CONFIG_OPTION_COUNT] = {
    {"config", "FILE", "The configuration, one YAML file for all programs."},
    {"check", NULL, "Check the configuration and end."},
    {"print-config", NULL, "Print the configuration in effect, with defaults and without secrets, and end."},
    {"describe-config", NULL,
     "Print every key of the configuration: what it takes, limits, default, meaning; and end."},
};
static const struct option_spec COMMON_OPTIONS[COMMON_OPTION_COUNT] = {
    {"version", NULL, "Print the version of the program and of its libraries."},
    {"help", NULL, "Print this."},
};

struct known_option {
    const struct option_spec *spec;
    const char *value; /* NULL: not given */
};

struct parsing {
    const struct program_description *description;
    const struct command_spec *command;
    struct known_option known[KNOWN_MAX];
    size_t known_count;
    int argc;
    char **argv;
    int next;              /* the next word to read */
    size_t argument_count; /* kept in argv[1] and on */
};

/* --- Answers ------------------------------------------------------------------------------------------------------ */

/* "tandem-x" or "tandem-x command". */
static int append_name(struct text *out, const struct program_description *description,
                       const struct command_spec *command)
{
    const char *name = command != NULL ? command->name : NULL;
    return text_appendf(out, "%s%s%s", description->name, name != NULL ? " " : "", name != NULL ? name : "");
}

static int usage_error(const struct parsing *parsing, const char *format, ...) TANDEM_PRINTF(2, 3);

static int usage_error(const struct parsing *parsing, const char *format, ...)
{
    struct text out;
    text_init(&out, OUTPUT_BYTES_MAX);
    va_list arguments;
    va_start(arguments, format);
    int result = text_appendf(&out, "%s: ", parsing->description->name);
    if (result == 0)
        result = text_vappendf(&out, format, arguments);
    va_end(arguments);
    if (result == 0)
        result = text_append(&out, "\nTry '");
    if (result == 0)
        result = append_name(&out, parsing->description, parsing->command);
    if (result == 0)
        result = text_append(&out, " --help'.\n");
    (void)fputs(result == 0 ? text_string(&out) : "bad usage\n", stderr);
    text_done(&out);
    return -1;
}

/* Two columns; a wide first one stands on a line of its own. */
static int append_row(struct text *out, const char *left, const char *help)
{
    size_t width = strlen(left);
    if (text_appendf(out, "%*s%s", (int)INDENT, "", left) < 0)
        return -1;
    if (width + INDENT + 2 > HELP_COLUMN && text_append_char(out, '\n') < 0)
        return -1;
    size_t padding = width + INDENT + 2 > HELP_COLUMN ? HELP_COLUMN : HELP_COLUMN - width - INDENT;
    return text_appendf(out, "%*s%s\n", (int)padding, "", help);
}

static bool is_of_action(const struct command_action *action, const char *option)
{
    const size_t length = strlen(option);

    for (const char *at = action->options; (at = strstr(at, option)) != NULL; at += length) {
        if (at > action->options && at[-1] == ' ' && at[length] == ' ')
            return true;
    }
    return false;
}

/* `action`: only those that are for it; NULL: all. */
static int append_options(struct text *out, const struct option_spec *options, size_t count,
                          const struct command_action *action)
{
    for (size_t i = 0; i < count; i++) {
        if (action != NULL && !is_of_action(action, options[i].name))
            continue;
        struct text left;
        text_init(&left, OUTPUT_BYTES_MAX);
        const char *value = options[i].value;
        int result =
            text_appendf(&left, "--%s%s%s", options[i].name, value != NULL ? " " : "", value != NULL ? value : "");
        if (result == 0)
            result = append_row(out, text_string(&left), options[i].help);
        text_done(&left);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int append_commands(struct text *out, const struct program_description *description)
{
    bool is_first = true;
    for (size_t i = 0; i < description->command_count; i++) {
        const struct command_spec *command = &description->commands[i];
        if (command->name == NULL)
            continue;
        if (is_first && text_append(out, "\nCommands:\n") < 0)
            return -1;
        is_first = false;
        if (append_row(out, command->name, command->help) < 0)
            return -1;
    }
    return is_first ? 0 : text_appendf(out, "'%s COMMAND --help' tells more.\n", description->name);
}

/* NULL: the words name none that there is. */
static const struct command_action *find_action(const struct parsing *parsing)
{
    const struct command_spec *command = parsing->command;

    for (size_t i = 0; command != NULL && parsing->argument_count > 0 && i < command->action_count; i++) {
        if (strcmp(command->actions[i].name, parsing->argv[1]) == 0)
            return &command->actions[i];
    }
    return NULL;
}

static int append_usage(struct text *out, const struct parsing *parsing, const struct command_action *action)
{
    const struct command_spec *command = parsing->command;

    if (text_append(out, "Usage: ") < 0 || append_name(out, parsing->description, command) < 0)
        return -1;
    if (action != NULL)
        return text_appendf(out, " %s [OPTION...]\n\n%s", action->name, action->help);
    if (text_append(out, command == NULL ? " COMMAND [OPTION...]" : " [OPTION...]") < 0 ||
        (command != NULL && command->arguments != NULL && text_appendf(out, " %s", command->arguments) < 0))
        return -1;
    if (command == NULL || command->name == NULL)
        return text_appendf(out, "\n\n%s\n", parsing->description->summary);
    return text_appendf(out, "\n\n%s\n", command->help);
}

static int append_help(struct text *out, const struct parsing *parsing)
{
    const struct command_spec *command = parsing->command;
    const struct command_action *action = find_action(parsing);
    bool is_whole = command == NULL || command->name == NULL;

    if (append_usage(out, parsing, action) < 0)
        return -1;
    if (action == NULL && command != NULL && command->details != NULL &&
        text_appendf(out, "\n%s", command->details) < 0)
        return -1;
    if (is_whole && append_commands(out, parsing->description) < 0)
        return -1;
    if (text_append(out, "\nOptions:\n") < 0)
        return -1;
    if (command != NULL && append_options(out, command->options, command->option_count, action) < 0)
        return -1;
    if (command != NULL && command->needs_config && append_options(out, CONFIG_OPTIONS, CONFIG_OPTION_COUNT, NULL) < 0)
        return -1;
    return append_options(out, COMMON_OPTIONS, COMMON_OPTION_COUNT, NULL);
}

static int append_version(struct text *out, const struct program_description *description)
{
    if (text_appendf(out, "%s %s\n", description->name, TANDEM_VERSION) < 0)
        return -1;
    return description->describe_libraries != NULL ? description->describe_libraries(out) : 0;
}

/* Prints what was asked for. Returns 1. */
static int answer(const struct parsing *parsing, bool is_help)
{
    struct text out;
    text_init(&out, OUTPUT_BYTES_MAX);
    int result = is_help ? append_help(&out, parsing) : append_version(&out, parsing->description);
    if (result == 0) {
        (void)fputs(text_string(&out), stdout);
        (void)fflush(stdout);
    }
    text_done(&out);
    return 1;
}

/* --- Words -------------------------------------------------------------------------------------------------------- */

static const struct command_spec *find_command(const struct program_description *description, const char *name)
{
    for (size_t i = 0; i < description->command_count; i++) {
        if (text_equal(description->commands[i].name, name))
            return &description->commands[i];
    }
    return NULL;
}

static bool has_named_commands(const struct program_description *description)
{
    for (size_t i = 0; i < description->command_count; i++) {
        if (description->commands[i].name != NULL)
            return true;
    }
    return false;
}

static int unknown_command(const struct parsing *parsing, const char *word)
{
    const char *names[COMMANDS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < parsing->description->command_count && count < COMMANDS_MAX; i++) {
        if (parsing->description->commands[i].name != NULL)
            names[count++] = parsing->description->commands[i].name;
    }
    const char *nearest = diagnostic_suggest(word, names, count);
    if (nearest != NULL)
        return usage_error(parsing, "unknown command '%s' (did you mean '%s'?)", word, nearest);
    return usage_error(parsing, "unknown command '%s'", word);
}

/* The first word is the command, when the program has any and it is no option. */
static int choose_command(struct parsing *parsing)
{
    const char *word = parsing->argc > 1 ? parsing->argv[1] : NULL;
    parsing->command = find_command(parsing->description, NULL);
    if (word == NULL || word[0] == '-' || !has_named_commands(parsing->description))
        return 0;
    const struct command_spec *command = find_command(parsing->description, word);
    if (command == NULL)
        return unknown_command(parsing, word);
    parsing->command = command;
    parsing->next++;
    return 0;
}

static void add_known(struct parsing *parsing, const struct option_spec *options, size_t count)
{
    for (size_t i = 0; i < count; i++)
        parsing->known[parsing->known_count++] = (struct known_option){.spec = &options[i]};
}

static int unknown_option(const struct parsing *parsing, const char *word, const char *name)
{
    const char *names[KNOWN_MAX];
    for (size_t i = 0; i < parsing->known_count; i++)
        names[i] = parsing->known[i].spec->name;
    const char *nearest = diagnostic_suggest(name, names, parsing->known_count);
    if (nearest != NULL)
        return usage_error(parsing, "unknown option '%s' (did you mean '--%s'?)", word, nearest);
    return usage_error(parsing, "unknown option '%s'", word);
}

/* `word`: "--name", "--name=value" or anything else that begins with '-'. The value after '=' may be a secret that was
 * given in error, so messages hold the name alone. */
static int take_option(struct parsing *parsing, const char *word)
{
    char name[64];
    size_t length = strcspn(word, "=");
    const char *assigned = word[length] == '=' ? word + length + 1 : NULL;
    (void)snprintf(name, sizeof(name), "%.*s", length < sizeof(name) ? (int)length : (int)sizeof(name) - 1, word);
    if (strcmp(word, "-h") == 0)
        (void)snprintf(name, sizeof(name), "--help");
    if (!text_starts_with(name, "--"))
        return unknown_option(parsing, name, name + 1);

    struct known_option *option = NULL;
    for (size_t i = 0; i < parsing->known_count && option == NULL; i++) {
        if (strcmp(parsing->known[i].spec->name, name + 2) == 0)
            option = &parsing->known[i];
    }
    if (option == NULL)
        return unknown_option(parsing, name, name + 2);
    if (option->value != NULL)
        return usage_error(parsing, "option '%s' is given twice", name);
    if (option->spec->value == NULL) {
        option->value = "";
        return assigned == NULL ? 0 : usage_error(parsing, "option '%s' takes no value", name);
    }
    if (assigned == NULL && parsing->next < parsing->argc)
        assigned = parsing->argv[parsing->next++];
    if (assigned == NULL || assigned[0] == '\0')
        return usage_error(parsing, "option '%s' needs a value: %s %s", name, name, option->spec->value);
    option->value = assigned;
    return 0;
}

static const char *value_of(const struct parsing *parsing, const char *name)
{
    for (size_t i = 0; i < parsing->known_count; i++) {
        if (strcmp(parsing->known[i].spec->name, name) == 0)
            return parsing->known[i].value;
    }
    return NULL;
}

/* Holds the arguments against "RULES [OTHER] RECORD...": words in brackets may be absent, the last may repeat. */
static int check_arguments(const struct parsing *parsing)
{
    const char *spec = parsing->command->arguments != NULL ? parsing->command->arguments : "";
    size_t words = 0;
    size_t needed = 0;
    bool is_open = text_ends_with(spec, "...");
    for (const char *at = spec; *at != '\0'; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        words++;
        needed += at[0] == '[' ? 0 : 1;
        if (needed > parsing->argument_count)
            return usage_error(parsing, "argument %.*s is missing", (int)length, at);
        at += length;
    }
    if (parsing->argument_count > words && !is_open)
        return usage_error(parsing, "unexpected argument '%s'", parsing->argv[1 + words]);
    return 0;
}

/* Reads all words; arguments move together to argv[1] and on, which is behind what was read already. */
static int take_words(struct parsing *parsing)
{
    bool are_options_over = false;
    while (parsing->next < parsing->argc) {
        char *word = parsing->argv[parsing->next++];
        if (are_options_over || word[0] != '-' || word[1] == '\0') {
            parsing->argv[1 + parsing->argument_count++] = word;
        } else if (strcmp(word, "--") == 0) {
            are_options_over = true;
        } else if (take_option(parsing, word) < 0) {
            return -1;
        }
    }
    return 0;
}

int command_line_parse(const struct program_description *description, int argc, char **argv,
                       struct command_line *ret_line)
{
    struct parsing parsing = {.description = description, .argc = argc, .argv = argv, .next = 1};
    if (choose_command(&parsing) < 0)
        return -1;
    const struct command_spec *command = parsing.command;
    if (command != NULL) {
        assert(command->option_count <= COMMAND_OPTIONS_MAX);
        add_known(&parsing, command->options, command->option_count);
        if (command->needs_config)
            add_known(&parsing, CONFIG_OPTIONS, CONFIG_OPTION_COUNT);
    }
    add_known(&parsing, COMMON_OPTIONS, COMMON_OPTION_COUNT);

    if (take_words(&parsing) < 0)
        return -1;
    if (value_of(&parsing, "help") != NULL || value_of(&parsing, "version") != NULL)
        return answer(&parsing, value_of(&parsing, "help") != NULL);
    if (command == NULL)
        return usage_error(&parsing, "a command is missing");
    bool describes_config = value_of(&parsing, "describe-config") != NULL;
    if (!describes_config && check_arguments(&parsing) < 0)
        return -1;
    if (command->needs_config && value_of(&parsing, "config") == NULL && !describes_config)
        return usage_error(&parsing, "--config FILE is missing");

    *ret_line = (struct command_line){
        .command = command,
        .config_path = value_of(&parsing, "config"),
        .check_only = value_of(&parsing, "check") != NULL,
        .print_config = value_of(&parsing, "print-config") != NULL,
        .describe_config = describes_config,
        .arguments = (const char *const *)(argv + 1),
        .argument_count = parsing.argument_count,
    };
    for (size_t i = 0; i < command->option_count; i++)
        ret_line->option_values[i] = parsing.known[i].value;
    return 0;
}

const char *command_line_option(const struct command_line *line, const char *name)
{
    for (size_t i = 0; i < line->command->option_count; i++) {
        if (strcmp(line->command->options[i].name, name) == 0)
            return line->option_values[i];
    }
    assert(false && "an option the command does not have");
    return NULL;
}
