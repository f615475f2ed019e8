#include "common/runtime/config.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

enum { CASES_MIN = 15, FILE_MAX = 256 * 1024 };

/* --- Tables with every type of key -------------------------------------------------------------------------------- */

struct sample {
    char *name;
    char *path;
    char *work;
    char *base, *login, *token, *page, *spaced;
    struct secret password;
    int64_t count, port, huge;
    int64_t interval_ms, patience_ms, pause_ms, short_ms, quoted_ms;
    int64_t limit, tiny;
    bool is_enabled;
    int level, colour;
    struct config_list tags, files;
    struct config_map labels;
};

struct serve {
    char *address, *admin, *other, *third, *fourth, *fifth;
};

struct broker {
    char *bootstrap;
    struct config_map properties;
};

static const char *const LEVELS[] = {"debug", "info", "warning", "error", NULL};
static const char *const COLOURS[] = {"red", "blue", NULL};

#define FIELD(member_) .offset = offsetof(struct sample, member_)
static const struct config_key SAMPLE_KEYS[] = {
    {.name = "name", .type = CONFIG_TEXT, FIELD(name), .is_required = true, .help = "What it is called."},
    {.name = "path", .type = CONFIG_PATH, FIELD(path), .default_text = "data"},
    {.name = "work", .type = CONFIG_DIRECTORY, FIELD(work), .default_text = "."},
    {.name = "base", .type = CONFIG_URL, FIELD(base)},
    {.name = "login", .type = CONFIG_URL, FIELD(login)},
    {.name = "token", .type = CONFIG_URL, FIELD(token)},
    {.name = "page", .type = CONFIG_URL, FIELD(page)},
    {.name = "spaced", .type = CONFIG_URL, FIELD(spaced)},
    {.name = "password", .type = CONFIG_SECRET, FIELD(password)},
    {.name = "count", .type = CONFIG_INTEGER, FIELD(count), .default_text = "-3"},
    {.name = "port", .type = CONFIG_INTEGER, FIELD(port), .default_text = "80", .min = 1, .max = 65535},
    {.name = "huge", .type = CONFIG_INTEGER, FIELD(huge)},
    {.name = "interval",
     .type = CONFIG_DURATION,
     FIELD(interval_ms),
     .default_text = "90s",
     .max = 86400000,
     .help = "How often it happens, in words enough to fill more than a line: every so often, or seldom, or all "
             "the time."},
    {.name = "patience", .type = CONFIG_DURATION, FIELD(patience_ms), .default_text = "1d"},
    {.name = "pause", .type = CONFIG_DURATION, FIELD(pause_ms), .default_text = "0s"},
    {.name = "short", .type = CONFIG_DURATION, FIELD(short_ms), .default_text = "1s", .min = 250, .max = 60000},
    {.name = "quoted", .type = CONFIG_DURATION, FIELD(quoted_ms)},
    {.name = "limit", .type = CONFIG_SIZE, FIELD(limit), .default_text = "256KiB"},
    {.name = "tiny", .type = CONFIG_SIZE, FIELD(tiny), .default_text = "1000"},
    {.name = "enabled", .type = CONFIG_BOOLEAN, FIELD(is_enabled), .default_text = "true"},
    {.name = "level", .type = CONFIG_WORD, FIELD(level), .default_text = "info", .words = LEVELS},
    {.name = "colour", .type = CONFIG_WORD, FIELD(colour), .default_text = "blue", .words = COLOURS},
    {.name = "tags", .type = CONFIG_LIST, FIELD(tags), .default_text = "[one, two]"},
    {.name = "files", .type = CONFIG_PATH_LIST, FIELD(files)},
    {.name = "labels", .type = CONFIG_MAP, FIELD(labels)},
};

#define SERVE_FIELD(member_) .type = CONFIG_ADDRESS, .offset = offsetof(struct serve, member_)
static const struct config_key SERVE_KEYS[] = {
    {.name = "address", SERVE_FIELD(address), .default_text = "127.0.0.1:0"},
    {.name = "admin", SERVE_FIELD(admin)},
    {.name = "other", SERVE_FIELD(other)},
    {.name = "third", SERVE_FIELD(third)},
    {.name = "fourth", SERVE_FIELD(fourth)},
    {.name = "fifth", SERVE_FIELD(fifth)},
};

static const struct config_key BROKER_KEYS[] = {
    {.name = "bootstrap", .type = CONFIG_TEXT, .offset = offsetof(struct broker, bootstrap), .is_required = true},
    {.name = "properties", .type = CONFIG_MAP, .offset = offsetof(struct broker, properties)},
};

static const char *const FOREIGN[] = {"mapper", "pusher", NULL};

static void validate_sample(const struct config_section *section, const struct yaml_node *node,
                            struct diagnostics *diagnostics)
{
    const struct sample *sample = section->target;
    const struct yaml_node *patience = yaml_get(node, "patience");
    if (sample->patience_ms < sample->interval_ms)
        diagnostics_error(diagnostics, patience != NULL ? patience->position : node->position,
                          "'patience' must not be shorter than 'interval'");
}

struct settings {
    struct sample sample;
    struct serve serve;
    struct broker broker;
    bool has_broker;
};

static int load(const char *path, struct settings *settings, struct diagnostics *diagnostics,
                struct config **ret_config)
{
    memset(settings, 0, sizeof(*settings));
    const struct config_section sections[] = {
        {.name = "sample",
         .keys = SAMPLE_KEYS,
         .key_count = ARRAY_LENGTH(SAMPLE_KEYS),
         .target = &settings->sample,
         .validate = validate_sample},
        {.name = "kafka",
         .keys = BROKER_KEYS,
         .key_count = ARRAY_LENGTH(BROKER_KEYS),
         .target = &settings->broker,
         .is_optional = true,
         .present_flag = &settings->has_broker},
        {.name = "sample.serve", .keys = SERVE_KEYS, .key_count = ARRAY_LENGTH(SERVE_KEYS), .target = &settings->serve},
    };
    return config_load(path, sections, ARRAY_LENGTH(sections), FOREIGN, diagnostics, ret_config);
}

/* --- Files -------------------------------------------------------------------------------------------------------- */

static char directory[PATH_MAX];
static char path_buffer[2 * PATH_MAX];

static const char *in_directory(const char *name)
{
    (void)snprintf(path_buffer, sizeof(path_buffer), "%s/%s", directory, name);
    return path_buffer;
}

static const char *write_bytes(const char *name, const char *bytes, size_t count, mode_t mode)
{
    const char *path = in_directory(name);
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), (ssize_t)count);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static const char *write_file(const char *name, const char *content, mode_t mode)
{
    return write_bytes(name, content, strlen(content), mode);
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/test_config.XXXXXX");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    DIR *entries = opendir(directory);
    if (entries == NULL)
        return -1;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)remove(in_directory(entry->d_name));
    }
    closedir(entries);
    return rmdir(directory);
}

static void load_text(const char *content, struct settings *settings, struct config **ret_config)
{
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    *ret_config = NULL;
    if (load(write_file("tandem.yaml", content, 0644), settings, &diagnostics, ret_config) < 0)
        fail_msg("%s", diagnostics_message(&diagnostics, 0, NULL));
    diagnostics_done(&diagnostics);
}

/* --- What is accepted --------------------------------------------------------------------------------------------- */

/* Every type of value arrives in its field as written. */
static void test_every_type_is_read(void **state)
{
    (void)state;
    write_file("secret", "s3cret\n", 0400);
    write_file("file", "", 0400);
    struct settings settings;
    struct config *config;
    load_text("sample:\n"
              "  name: \"J\\u00f6rg\"\n"
              "  path: ./file\n"
              "  base: https://crm.example:8443/api//\n"
              "  login: https://[::1]/\n"
              "  password: {file: secret}\n"
              "  count: -9223372036854775808\n"
              "  port: 65535\n"
              "  interval: 250ms\n"
              "  patience: 30d\n"
              "  pause: 24h\n"
              "  short: 1m\n"
              "  limit: 2MiB\n"
              "  tiny: 17\n"
              "  enabled: no\n"
              "  level: error\n"
              "  tags: [x, 'y z']\n"
              "  files: [/dev/null, ./file]\n"
              "  labels: {linger.ms: 5, empty: ''}\n"
              "  serve:\n"
              "    address: '[::]:0'\n"
              "    admin: host-1.example:65535\n"
              "kafka:\n"
              "  bootstrap: broker.example:9092\n"
              "pusher:\n"
              "  whatever: [1, 2]\n",
              &settings, &config);
    const struct sample *sample = &settings.sample;
    char expected_path[PATH_MAX + 32];
    (void)snprintf(expected_path, sizeof(expected_path), "%s/./file", directory);
    assert_string_equal(sample->name, "J\xC3\xB6rg");
    assert_string_equal(sample->path, expected_path);
    assert_string_equal(sample->base, "https://crm.example:8443/api");
    assert_string_equal(sample->login, "https://[::1]");
    assert_string_equal(sample->password.bytes, "s3cret");
    assert_int_equal(sample->password.length, 6);
    assert_true(sample->count == INT64_MIN);
    assert_int_equal(sample->port, 65535);
    assert_int_equal(sample->interval_ms, 250);
    assert_int_equal(sample->patience_ms, INT64_C(30) * 86400000);
    assert_int_equal(sample->pause_ms, 86400000);
    assert_int_equal(sample->short_ms, 60000);
    assert_int_equal(sample->limit, 2097152);
    assert_int_equal(sample->tiny, 17);
    assert_false(sample->is_enabled);
    assert_int_equal(sample->level, 3);
    assert_int_equal(sample->colour, 1);
    assert_int_equal(sample->tags.count, 2);
    assert_string_equal(sample->tags.items[1], "y z");
    assert_int_equal(sample->files.count, 2);
    assert_string_equal(sample->files.items[0], "/dev/null");
    assert_string_equal(sample->files.items[1], expected_path);
    assert_int_equal(sample->labels.count, 2);
    assert_string_equal(sample->labels.keys[0], "linger.ms");
    assert_string_equal(sample->labels.values[0], "5");
    assert_string_equal(settings.serve.address, "[::]:0");
    assert_string_equal(settings.serve.admin, "host-1.example:65535");
    assert_null(settings.serve.other);
    assert_true(settings.has_broker);
    assert_string_equal(settings.broker.bootstrap, "broker.example:9092");
    config_free(config);
}

/* What the file leaves out has its default, and an optional section that is absent stays empty. */
static void test_absent_keys_have_their_defaults(void **state)
{
    (void)state;
    struct settings settings;
    struct config *config;
    load_text("sample: {name: only}\n", &settings, &config);
    assert_string_equal(settings.sample.path, in_directory("data"));
    assert_int_equal(settings.sample.interval_ms, 90000);
    assert_int_equal(settings.sample.count, -3);
    assert_true(settings.sample.is_enabled);
    assert_int_equal(settings.sample.level, 1);
    assert_int_equal(settings.sample.tags.count, 2);
    assert_string_equal(settings.sample.tags.items[0], "one");
    assert_int_equal(settings.sample.files.count, 0);
    assert_null(settings.sample.base);
    assert_null(settings.sample.password.bytes);
    assert_string_equal(settings.serve.address, "127.0.0.1:0");
    assert_false(settings.has_broker);
    assert_null(settings.broker.bootstrap);
    config_free(config);
}

/* Freeing the configuration takes back everything it gave. */
static void test_free_zeroes_the_targets(void **state)
{
    (void)state;
    struct settings settings;
    struct config *config;
    load_text("sample: {name: only, password: {env: HOME}}\nkafka: {bootstrap: b}\n", &settings, &config);
    config_free(config);
    struct settings nothing;
    memset(&nothing, 0, sizeof(nothing));
    assert_null(settings.sample.name);
    assert_memory_equal(&settings.sample.password, &nothing.sample.password, sizeof(struct secret));
    assert_memory_equal(&settings.sample.tags, &nothing.sample.tags, sizeof(struct config_list));
    assert_int_equal(settings.sample.interval_ms, 0);
    assert_false(settings.has_broker);
    config_free(NULL);
}

/* What --print-config writes loads to the same settings and prints the same again, and holds no secret. */
static void test_printed_configuration_loads_again(void **state)
{
    (void)state;
    write_file("the secret", "s3cret\n", 0600);
    write_file("data", "", 0600);
    struct settings settings;
    struct config *config;
    load_text("kafka: {bootstrap: b, properties: {\"a\\\"b\\\\\": \"x\\ny\", c: d}}\n"
              "sample:\n"
              "  name: 'quote \" colon: # \xC3\xA4'\n"
              "  password: {file: the secret}\n"
              "  interval: 90m\n"
              "  patience: 48h\n"
              "  limit: 3072\n"
              "  tags: []\n",
              &settings, &config);
    struct text first, second;
    text_init(&first, FILE_MAX);
    text_init(&second, FILE_MAX);
    assert_int_equal(config_print(config, &first), 0);
    config_free(config);
    assert_null(strstr(text_string(&first), "s3cret"));
    assert_non_null(strstr(text_string(&first), "  interval: 90m\n  patience: 2d\n"));
    assert_non_null(strstr(text_string(&first), "  limit: 3KiB\n"));
    assert_non_null(strstr(text_string(&first), "\n  serve:\n    address: \"127.0.0.1:0\"\n"));

    load_text(text_string(&first), &settings, &config);
    assert_string_equal(settings.sample.password.bytes, "s3cret");
    assert_string_equal(settings.broker.properties.keys[0], "a\"b\\");
    assert_string_equal(settings.broker.properties.values[0], "x\ny");
    assert_int_equal(config_print(config, &second), 0);
    assert_string_equal(text_string(&first), text_string(&second));
    config_free(config);
    text_done(&first);
    text_done(&second);
}

/* An optional section that is not in the file is not printed, since its presence means something. */
static void test_absent_optional_section_is_not_printed(void **state)
{
    (void)state;
    struct settings settings;
    struct config *config;
    load_text("sample: {name: only}\n", &settings, &config);
    struct text out;
    text_init(&out, FILE_MAX);
    assert_int_equal(config_print(config, &out), 0);
    assert_null(strstr(text_string(&out), "kafka"));
    text_done(&out);
    config_free(config);
}

/* Each key has its paragraph: the full name, what it takes within which limits, its default, what it is for. */
static void test_tables_describe_themselves(void **state)
{
    (void)state;
    const struct config_section sections[] = {
        {.name = "sample", .keys = SAMPLE_KEYS, .key_count = ARRAY_LENGTH(SAMPLE_KEYS)},
        {.name = "kafka", .keys = BROKER_KEYS, .key_count = ARRAY_LENGTH(BROKER_KEYS), .is_optional = true},
    };
    struct text out;
    text_init(&out, FILE_MAX);
    assert_int_equal(config_describe(sections, ARRAY_LENGTH(sections), &out), 0);
    static const char *const rows[] = {
        "sample.name\n    text; required\n    What it is called.\n\nsample.path\n",
        "\nsample.interval\n    duration, 0s to 1d; default: 90s\n    How often it happens, in words enough to fill more than a "
        "line: every so often, or seldom, or\n    all the time.\n\nsample.patience\n",
        "\nsample.patience\n    duration, such as 250ms, 5s, 10m, 24h, 30d; default: 1d\n",
        "\nsample.level\n    debug, info, warning or error; default: info\n",
        "\nsample.files\n    list of files; relative to the configuration file; no default\n",
        "\nsample.work\n    directory; relative to the configuration file; default: .\n",
        "\nsample.password\n    secret: {file: PATH} or {env: NAME}; no default\n",
        "\nkafka.bootstrap (the section may be left out)\n    text; required\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (strstr(text_string(&out), rows[i]) == NULL)
            fail_msg("%s\ndoes not hold\n%s", text_string(&out), rows[i]);
    }
    text_done(&out);
}

/* A command that runs elsewhere, or needs a part of a section only, takes paths as they are. */
static void test_files_of_another_run_need_not_be_here(void **state)
{
    (void)state;
    const char *path =
        write_file("elsewhere.yaml", "sample: {name: x, path: no/such/file, work: no/such/place}\n", 0600);
    struct sample sample = {0};
    struct config_section section = {.name = "sample",
                                     .keys = SAMPLE_KEYS,
                                     .key_count = ARRAY_LENGTH(SAMPLE_KEYS),
                                     .target = &sample,
                                     .is_elsewhere = true};
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct config *config = NULL;
    assert_int_equal(config_load(path, &section, 1, NULL, &diagnostics, &config), 0);
    assert_true(text_ends_with(sample.path, "/no/such/file"));
    config_free(config);
    section.is_elsewhere = false;
    assert_int_equal(config_load(path, &section, 1, NULL, &diagnostics, &config), -1);
    assert_int_equal(diagnostics.error_count, 2);
    diagnostics_done(&diagnostics);
}

/* --- What is refused: tests/cases/config-errors ------------------------------------------------------------------- */

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    char *content = calloc(1, FILE_MAX);
    assert_non_null(content);
    size_t got = fread(content, 1, FILE_MAX - 1, file);
    assert_true(got < FILE_MAX - 1);
    (void)fclose(file);
    return content;
}

/* The directory of the cases differs between checkouts; messages name files by absolute paths. */
static char *without_directory(const char *output)
{
    char current[PATH_MAX];
    assert_non_null(getcwd(current, sizeof(current)));
    struct text out;
    text_init(&out, FILE_MAX);
    const char *at = output;
    for (const char *hit; (hit = strstr(at, current)) != NULL; at = hit + strlen(current)) {
        assert_int_equal(text_append_n(&out, at, (size_t)(hit - at)), 0);
        assert_int_equal(text_append(&out, "<cases>"), 0);
    }
    assert_int_equal(text_append(&out, at), 0);
    return text_take(&out);
}

static int is_case(const struct dirent *entry)
{
    return text_ends_with(entry->d_name, ".yaml");
}

static void check_case(const char *name)
{
    struct settings settings;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct config *config = NULL;
    int result = load(name, &settings, &diagnostics, &config);
    struct text out;
    text_init(&out, FILE_MAX);
    assert_int_equal(diagnostics_print(&diagnostics, &out), 0);
    char *output = without_directory(text_string(&out));

    char expected_path[PATH_MAX];
    (void)snprintf(expected_path, sizeof(expected_path), "%.*s.expected", (int)(strlen(name) - strlen(".yaml")), name);
    char *expected = read_file(expected_path);
    if (result == 0 || expected == NULL || strcmp(output, expected) != 0)
        fail_msg("%s: %s, told\n%s\nexpected\n%s", name, result == 0 ? "loaded" : "refused", output,
                 expected != NULL ? expected : "(no file)");
    assert_null(config);
    assert_null(settings.sample.name);
    free(expected);
    free(output);
    text_done(&out);
    diagnostics_done(&diagnostics);
}

/* Each wrong file is refused with exactly the messages that stand beside it. */
static void test_wrong_files_are_refused_with_their_messages(void **state)
{
    (void)state;
    int home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(chdir(TANDEM_SOURCE_DIR "/tests/cases/config-errors"), 0);
    struct dirent **entries = NULL;
    int count = scandir(".", &entries, is_case, alphasort);
    assert_true(count >= CASES_MIN);
    for (int i = 0; i < count; i++) {
        check_case(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(fchdir(home), 0);
    close(home);
}

static void expect_refusal(const char *path, const char *message)
{
    struct settings settings;
    struct diagnostics diagnostics = DIAGNOSTICS_INIT;
    struct config *config = NULL;
    assert_int_equal(load(path, &settings, &diagnostics, &config), -1);
    const char *told = diagnostics_message(&diagnostics, 0, NULL);
    if (told == NULL || strstr(told, message) == NULL)
        fail_msg("'%s' does not hold '%s'", told != NULL ? told : "(nothing)", message);
    diagnostics_done(&diagnostics);
}

/* A configuration that is not there, or no file, says so. */
static void test_configuration_must_be_a_file(void **state)
{
    (void)state;
    expect_refusal("/nonexistent/tandem.yaml",
                   "error: configuration file '/nonexistent/tandem.yaml': No such file or directory");
    expect_refusal(directory, "is not a regular file");
}

/* --- Secrets ------------------------------------------------------------------------------------------------------ */

static void expect_secret_refusal(const char *message)
{
    expect_refusal(write_file("tandem.yaml", "sample: {name: x, password: {file: secret}}\n", 0644), message);
}

/* A secret file that its group or others can open is refused, also when it is root's, with what to run. */
static void test_secret_file_must_be_private(void **state)
{
    (void)state;
    static const mode_t modes[] = {0440, 0640, 0604, 0620, 0601};
    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        write_file("secret", "s3cret", modes[i]);
        expect_secret_refusal("run: chmod 600 '");
    }
}

/* What is no regular file is refused, without waiting for a FIFO's writer. */
static void test_secret_must_be_a_regular_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_directory("secret"), 0700), 0);
    expect_secret_refusal("is not a regular file");
    assert_int_equal(rmdir(in_directory("secret")), 0);
    assert_int_equal(mkfifo(in_directory("secret"), 0600), 0);
    expect_secret_refusal("is not a regular file");
    assert_int_equal(unlink(in_directory("secret")), 0);
    assert_int_equal(symlink("secret", in_directory("secret")), 0);
    expect_secret_refusal("Too many levels of symbolic links");
}

/* A secret is one line that is not empty, of at most 64 KiB. */
static void test_secret_content_is_one_line(void **state)
{
    (void)state;
    write_file("secret", "", 0600);
    expect_secret_refusal("is empty");
    write_file("secret", "\n", 0600);
    expect_secret_refusal("is empty");
    write_file("secret", "one\n\n", 0600);
    expect_secret_refusal("holds more than one line");
    write_file("secret", "one\rtwo\n", 0600);
    expect_secret_refusal("holds more than one line");
    write_bytes("secret", "a\0b", 3, 0600);
    expect_secret_refusal("holds a NUL byte");
    char *large = malloc(SECRET_BYTES_MAX + 2);
    assert_non_null(large);
    memset(large, 'x', SECRET_BYTES_MAX + 2);
    write_bytes("secret", large, SECRET_BYTES_MAX + 1, 0600);
    expect_secret_refusal("holds more than 65536 bytes");

    large[SECRET_BYTES_MAX] = '\n';
    write_bytes("secret", large, SECRET_BYTES_MAX + 1, 0600);
    free(large);
    struct settings settings;
    struct config *config;
    load_text("sample: {name: x, password: {file: secret}}\n", &settings, &config);
    assert_int_equal(settings.sample.password.length, SECRET_BYTES_MAX);
    config_free(config);
}

/* A secret also comes from an environment variable, by the same rules. */
static void test_secret_comes_from_the_environment(void **state)
{
    (void)state;
    struct settings settings;
    struct config *config;
    assert_int_equal(setenv("TANDEM_TEST_SECRET", "from-env\n", 1), 0);
    load_text("sample: {name: x, password: {env: TANDEM_TEST_SECRET}}\n", &settings, &config);
    assert_string_equal(settings.sample.password.bytes, "from-env");
    assert_string_equal(settings.sample.password.reference, "env:TANDEM_TEST_SECRET");
    config_free(config);
    assert_int_equal(setenv("TANDEM_TEST_SECRET", "", 1), 0);
    expect_refusal(write_file("tandem.yaml", "sample: {name: x, password: {env: TANDEM_TEST_SECRET}}\n", 0644),
                   "environment variable 'TANDEM_TEST_SECRET' is empty");
}

struct acl {
    struct posix_acl_xattr_header header;
    struct posix_acl_xattr_entry entries[5];
};

/* user::r, user:`user`:r, group::`group`, mask::r, other::-, as systemd makes for LoadCredential=. */
static bool set_acl(const char *path, uint32_t user, uint16_t group)
{
    const uint32_t none = UINT32_MAX;
    const struct acl acl = {.header = {POSIX_ACL_XATTR_VERSION},
                            .entries = {{ACL_USER_OBJ, ACL_READ, none},
                                        {ACL_USER, ACL_READ, user},
                                        {ACL_GROUP_OBJ, group, none},
                                        {ACL_MASK, ACL_READ, none},
                                        {ACL_OTHER, 0, none}}};
    return setxattr(path, "system.posix_acl_access", &acl, sizeof(acl), 0) == 0;
}

/* The group's bits of a file with an access control list are its mask: what counts is whom the list names. */
static void test_access_control_list_decides_where_there_is_one(void **state)
{
    (void)state;
    char path[PATH_MAX + 16];
    (void)snprintf(path, sizeof(path), "%s", write_file("secret", "s3cret", 0400));
    if (!set_acl(path, geteuid(), 0))
        skip();
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0440);
    struct settings settings;
    struct config *config;
    load_text("sample: {name: x, password: {file: secret}}\n", &settings, &config);
    config_free(config);

    assert_true(set_acl(path, geteuid() + 1, 0));
    expect_secret_refusal("open to others by its access control list");
    assert_true(set_acl(path, geteuid(), ACL_READ));
    expect_secret_refusal("open to others by its access control list");
}

int main(void)
{
#define CASE(test_) cmocka_unit_test_setup_teardown(test_, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_every_type_is_read),
        CASE(test_absent_keys_have_their_defaults),
        CASE(test_free_zeroes_the_targets),
        CASE(test_printed_configuration_loads_again),
        CASE(test_absent_optional_section_is_not_printed),
        CASE(test_tables_describe_themselves),
        CASE(test_files_of_another_run_need_not_be_here),
        CASE(test_wrong_files_are_refused_with_their_messages),
        CASE(test_configuration_must_be_a_file),
        CASE(test_secret_file_must_be_private),
        CASE(test_secret_must_be_a_regular_file),
        CASE(test_secret_content_is_one_line),
        CASE(test_secret_comes_from_the_environment),
        CASE(test_access_control_list_decides_where_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
