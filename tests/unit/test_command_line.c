#include "common/runtime/command_line.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { WORDS_MAX = 16, OUTPUT_SIZE = 16 * 1024 };

static const struct option_spec RUN_OPTIONS[] = {
    {"role", "NAME", "Only this role."},
    {"dry-run", NULL, "Write nothing."},
};
static const struct command_action ACTIONS[] = {
    {.name = "show", .help = "Shows.\n", .options = " dry-runs dry-run "},
    {.name = "test", .help = "Tests.\n", .options = ""},
};
static const struct command_spec COMMANDS[] = {
    {.name = NULL,
     .help = "Runs.",
     .options = RUN_OPTIONS,
     .option_count = ARRAY_LENGTH(RUN_OPTIONS),
     .needs_config = true},
    {.name = "check", .arguments = "RULES...", .help = "Checks rules."},
    {.name = "preview",
     .arguments = "RULES RECORD [OTHER]",
     .help = "Shows what would happen.",
     .details = "Exit status: 0.\n"},
    {.name = "register",
     .arguments = "ACTION",
     .help = "Registers.",
     .options = RUN_OPTIONS,
     .option_count = ARRAY_LENGTH(RUN_OPTIONS),
     .actions = ACTIONS,
     .action_count = ARRAY_LENGTH(ACTIONS),
     .needs_config = true},
};

static int describe_libraries(struct text *out)
{
    return text_append(out, "libexample 1.2\n");
}

static const struct program_description PROGRAM = {
    .name = "tandem-test",
    .summary = "Tests.",
    .commands = COMMANDS,
    .command_count = ARRAY_LENGTH(COMMANDS),
    .describe_libraries = describe_libraries,
};
static const struct program_description ONLY_COMMANDS = {
    .name = "tandem-test", .summary = "Tests.", .commands = COMMANDS + 1, .command_count = ARRAY_LENGTH(COMMANDS) - 1};

static char words[OUTPUT_SIZE];
static char *argv[WORDS_MAX + 1];
static char printed[OUTPUT_SIZE];

/* Splits at single blanks. */
static int split(const char *line)
{
    int argc = 0;
    (void)snprintf(words, sizeof(words), "%s", line);
    for (char *at = words; at != NULL; argc++) {
        assert_true(argc < WORDS_MAX);
        argv[argc] = at;
        at = strchr(at, ' ');
        if (at != NULL)
            *at++ = '\0';
    }
    argv[argc] = NULL;
    return argc;
}

/* Parses with what goes to `stream_fd` kept in `printed`. */
static int parse_capturing(const struct program_description *description, int stream_fd, const char *line,
                           struct command_line *ret_line)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    FILE *stream = stream_fd == STDERR_FILENO ? stderr : stdout;
    (void)fflush(stream);
    int saved = dup(stream_fd);
    assert_true(saved >= 0 && dup2(fileno(file), stream_fd) >= 0);
    int result = command_line_parse(description, split(line), argv, ret_line);
    (void)fflush(stream);
    assert_true(dup2(saved, stream_fd) >= 0);
    close(saved);
    ssize_t got = pread(fileno(file), printed, sizeof(printed) - 1, 0);
    assert_true(got >= 0);
    printed[got] = '\0';
    (void)fclose(file);
    return result;
}

static struct command_line parse(const char *line)
{
    struct command_line result;
    if (parse_capturing(&PROGRAM, STDERR_FILENO, line, &result) != 0)
        fail_msg("'%s': %s", line, printed);
    return result;
}

/* The program without a command takes the common options and its own, in any order and both spellings. */
static void test_options_of_the_program_itself(void **state)
{
    (void)state;
    struct command_line line = parse("tandem-test --role=serve --config /etc/t.yaml --print-config");
    assert_ptr_equal(line.command, &COMMANDS[0]);
    assert_string_equal(line.config_path, "/etc/t.yaml");
    assert_true(line.print_config);
    assert_false(line.check_only);
    assert_string_equal(command_line_option(&line, "role"), "serve");
    assert_null(command_line_option(&line, "dry-run"));
    line = parse("tandem-test --dry-run --check --config=x");
    assert_string_equal(command_line_option(&line, "dry-run"), "");
    assert_true(line.check_only);
}

/* What can be configured is told without a configuration, and without what the command works on. */
static void test_configuration_is_described_without_one(void **state)
{
    (void)state;
    struct command_line line = parse("tandem-test --describe-config");
    assert_true(line.describe_config);
    assert_null(line.config_path);
    line = parse("tandem-test register --describe-config");
    assert_true(line.describe_config);
    assert_false(parse("tandem-test --config x").describe_config);
}

/* Arguments stand together wherever they were written, and what follows "--" is none of the options. */
static void test_arguments_are_collected(void **state)
{
    (void)state;
    struct command_line line = parse("tandem-test check a.yaml - -- --help");
    assert_ptr_equal(line.command, &COMMANDS[1]);
    assert_int_equal(line.argument_count, 3);
    assert_string_equal(line.arguments[0], "a.yaml");
    assert_string_equal(line.arguments[1], "-");
    assert_string_equal(line.arguments[2], "--help");
    assert_null(line.config_path);
    line = parse("tandem-test preview r d");
    assert_int_equal(line.argument_count, 2);
    line = parse("tandem-test preview r d o");
    assert_int_equal(line.argument_count, 3);
}

/* Each wrong command line is refused with one sentence that names the word, and where help is. */
static void test_wrong_usage_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *message;
    } rows[] = {
        {"tandem-test", "tandem-test: --config FILE is missing\nTry 'tandem-test --help'.\n"},
        {"tandem-test chekc a", "tandem-test: unknown command 'chekc' (did you mean 'check'?)\n"},
        {"tandem-test sing", "tandem-test: unknown command 'sing'\n"},
        {"tandem-test --conifg x", "tandem-test: unknown option '--conifg' (did you mean '--config'?)\n"},
        {"tandem-test --passwd=hunter2", "tandem-test: unknown option '--passwd'\n"},
        {"tandem-test -c x", "tandem-test: unknown option '-c'\n"},
        {"tandem-test --config", "tandem-test: option '--config' needs a value: --config FILE\n"},
        {"tandem-test --config=", "tandem-test: option '--config' needs a value: --config FILE\n"},
        {"tandem-test --dry-run=yes --config x", "tandem-test: option '--dry-run' takes no value\n"},
        {"tandem-test --config x --config y", "tandem-test: option '--config' is given twice\n"},
        {"tandem-test --config x run", "tandem-test: unexpected argument 'run'\n"},
        {"tandem-test check", "tandem-test: argument RULES... is missing\nTry 'tandem-test check --help'.\n"},
        {"tandem-test check a --config x", "tandem-test: unknown option '--config'\n"},
        {"tandem-test preview a", "tandem-test: argument RECORD is missing\n"},
        {"tandem-test preview a b c d", "tandem-test: unexpected argument 'd'\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct command_line line = {.argument_count = 77};
        int result = parse_capturing(&PROGRAM, STDERR_FILENO, rows[i].line, &line);
        if (result != -1 || !text_starts_with(printed, rows[i].message))
            fail_msg("'%s': %d, told\n%s", rows[i].line, result, printed);
        assert_int_equal(line.argument_count, 77);
    }
    struct command_line line;
    assert_int_equal(parse_capturing(&ONLY_COMMANDS, STDERR_FILENO, "tandem-test", &line), -1);
    assert_string_equal(printed, "tandem-test: a command is missing\nTry 'tandem-test --help'.\n");
}

/* --help lists commands and options; of a command, only its own. */
static void test_help_is_printed_from_the_tables(void **state)
{
    (void)state;
    struct command_line line;
    assert_int_equal(parse_capturing(&PROGRAM, STDOUT_FILENO, "tandem-test --help", &line), 1);
    assert_string_equal(printed,
                        "Usage: tandem-test [OPTION...]\n"
                        "\n"
                        "Tests.\n"
                        "\n"
                        "Commands:\n"
                        "  check                   Checks rules.\n"
                        "  preview                 Shows what would happen.\n"
                        "  register                Registers.\n"
                        "'tandem-test COMMAND --help' tells more.\n"
                        "\n"
                        "Options:\n"
                        "  --role NAME             Only this role.\n"
                        "  --dry-run               Write nothing.\n"
                        "  --config FILE           The configuration, one YAML file for all programs.\n"
                        "  --check                 Check the configuration and end.\n"
                        "  --print-config          Print the configuration in effect, with defaults and without "
                        "secrets, and end.\n"
                        "  --describe-config       Print every key of the configuration: what it takes, limits, "
                        "default, meaning; and end.\n"
                        "  --version               Print the version of the program and of its libraries.\n"
                        "  --help                  Print this.\n");
    assert_int_equal(parse_capturing(&PROGRAM, STDOUT_FILENO, "tandem-test preview -h", &line), 1);
    assert_true(text_starts_with(
        printed, "Usage: tandem-test preview [OPTION...] RULES RECORD [OTHER]\n\nShows what would happen.\n\n"
                 "Exit status: 0.\n\nOptions:\n"));
    assert_null(strstr(printed, "--config"));
    assert_int_equal(parse_capturing(&ONLY_COMMANDS, STDOUT_FILENO, "tandem-test --help", &line), 1);
    assert_true(text_starts_with(printed, "Usage: tandem-test COMMAND [OPTION...]\n"));
}

/* Of an action, --help tells it alone, with the options that are for it. */
static void test_help_of_an_action_is_its_own(void **state)
{
    (void)state;
    struct command_line line;
    assert_int_equal(parse_capturing(&PROGRAM, STDOUT_FILENO, "tandem-test register show --help", &line), 1);
    assert_true(text_starts_with(printed, "Usage: tandem-test register show [OPTION...]\n\nShows.\n\nOptions:\n"
                                          "  --dry-run               Write nothing.\n  --config FILE"));
    assert_null(strstr(printed, "--role"));
    assert_int_equal(parse_capturing(&PROGRAM, STDOUT_FILENO, "tandem-test register --help test", &line), 1);
    assert_non_null(strstr(printed, "Tests."));
    assert_null(strstr(printed, "--dry-run"));
    assert_int_equal(parse_capturing(&PROGRAM, STDOUT_FILENO, "tandem-test register other --help", &line), 1);
    assert_true(text_starts_with(printed, "Usage: tandem-test register [OPTION...] ACTION\n\nRegisters.\n"));
}

/* --version tells the program's version and, from the program, its libraries'. */
static void test_version_names_the_libraries(void **state)
{
    (void)state;
    struct command_line line;
    assert_int_equal(parse_capturing(&PROGRAM, STDOUT_FILENO, "tandem-test --version", &line), 1);
    assert_true(text_starts_with(printed, "tandem-test "));
    assert_true(text_ends_with(printed, "\nlibexample 1.2\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_the_program_itself),
        cmocka_unit_test(test_arguments_are_collected),
        cmocka_unit_test(test_wrong_usage_is_told),
        cmocka_unit_test(test_help_is_printed_from_the_tables),
        cmocka_unit_test(test_help_of_an_action_is_its_own),
        cmocka_unit_test(test_version_names_the_libraries),
        cmocka_unit_test(test_configuration_is_described_without_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
