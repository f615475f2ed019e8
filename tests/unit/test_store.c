#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/text.h"
#include "mapper/store.h"

enum { SMALL = 1024 * 1024, PATH_SIZE = 256 };

static char directory[PATH_SIZE];

static char *path_of(const char *name, char out[static 2 * PATH_SIZE])
{
    (void)snprintf(out, 2 * PATH_SIZE, "%s/%s", directory, name);
    return out;
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "%s/tandem-store-XXXXXX",
                   getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    DIR *stream = opendir(directory);
    char path[2 * PATH_SIZE];

    (void)state;
    for (const struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream))
        (void)unlink(path_of(entry->d_name, path));
    closedir(stream);
    return rmdir(directory);
}

static struct store *open_store(void)
{
    struct store *store = NULL;
    struct error err = ERROR_INIT;

    if (store_open(directory, SMALL, &store, &err) < 0)
        fail_msg("%s: %s", err.code, err.message);
    return store;
}

static void put(struct store *store, int32_t partition, const char *key, const char *value, int64_t offset)
{
    const struct store_change change = {.partition = partition,
                                        .key = key,
                                        .key_length = strlen(key),
                                        .value = value,
                                        .value_length = value != NULL ? strlen(value) : 0};
    const struct store_position position = {.partition = partition, .offset = offset};
    struct error err = ERROR_INIT;

    if (store_write(store, &change, 1, &position, 1, &err) < 0)
        fail_msg("%s: %s", err.code, err.message);
}

/* The value, or "-" when there is none; valid until the next call. */
static const char *get(struct store *store, int32_t partition, const char *key)
{
    static char text[PATH_SIZE];
    struct error err = ERROR_INIT;
    char *value = NULL;
    size_t length = 0;

    if (store_get(store, partition, key, strlen(key), &value, &length, &err) < 0)
        return err.code[0] != '\0' ? (snprintf(text, sizeof(text), "%s", err.code), text) : "?";
    (void)snprintf(text, sizeof(text), "%.*s", (int)length, value != NULL ? value : "-");
    if (value == NULL)
        (void)snprintf(text, sizeof(text), "-");
    free(value);
    return text;
}

static int64_t position(struct store *store, int32_t partition)
{
    struct error err = ERROR_INIT;
    int64_t offset = -2;

    assert_int_equal(store_position(store, partition, &offset, &err), 0);
    return offset;
}

static void overwrite(const char *name, long at, const void *bytes, size_t count)
{
    char path[2 * PATH_SIZE];
    int fd = open(path_of(name, path), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, count, at), (ssize_t)count);
    close(fd);
}

/* Runs `body` in a process of its own, which ends by SIGKILL. */
static void die_in(void (*body)(struct store *store))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        body(open_store());
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* What was written together with an offset is there after closing and opening. */
static void test_store_keeps_deals_and_offset(void **state)
{
    struct store *store = open_store();

    (void)state;
    assert_string_equal(store_dropped(store), "new");
    assert_string_equal(get(store, 3, "deal"), "-");
    assert_int_equal(position(store, 3), -1);
    put(store, 3, "deal", "{\"a\":1}", 42);
    store_close(store);
    store = open_store();
    assert_null(store_dropped(store));
    assert_string_equal(get(store, 3, "deal"), "{\"a\":1}");
    assert_int_equal(position(store, 3), 42);
    assert_int_equal(store_count(store), 1);
    store_close(store);
}

/* The same key in two partitions is two deals, and dropping one partition leaves the other. */
static void test_store_keeps_partitions_apart(void **state)
{
    struct store *store = open_store();
    struct error err = ERROR_INIT;

    (void)state;
    put(store, 1, "deal", "one", 10);
    put(store, 256, "deal", "two", 20);
    assert_int_equal(store_drop_partition(store, 1, &err), 0);
    assert_string_equal(get(store, 1, "deal"), "-");
    assert_int_equal(position(store, 1), -1);
    assert_string_equal(get(store, 256, "deal"), "two");
    assert_int_equal(position(store, 256), 20);
    store_close(store);
}

/* A change without value takes the deal out, also one that is not there. */
static void test_store_takes_deals_out(void **state)
{
    struct store *store = open_store();

    (void)state;
    put(store, 0, "deal", "value", 1);
    put(store, 0, "deal", NULL, 2);
    put(store, 0, "other", NULL, 3);
    assert_string_equal(get(store, 0, "deal"), "-");
    assert_int_equal(position(store, 0), 3);
    store_close(store);
}

/* More deals than the first size has room for make it grow. */
static void test_store_grows_beyond_its_first_size(void **state)
{
    struct store *store = open_store();
    char *large = malloc(200001);
    char key[16];

    (void)state;
    assert_non_null(large);
    memset(large, 'x', 200000);
    large[200000] = '\0';
    for (int k = 0; k < 20; k++) {
        (void)snprintf(key, sizeof(key), "deal%d", k);
        put(store, 0, key, large, k + 1);
    }
    assert_int_equal(store_count(store), 20);
    assert_true(store_bytes(store) > SMALL);
    free(large);
    store_close(store);
    store = open_store();
    assert_int_equal(store_count(store), 20);
    assert_int_equal(position(store, 0), 20);
    store_close(store);
}

static void write_deal(struct store *store)
{
    put(store, 0, "deal", "kept", 7);
}

/* What was committed is there after the process was killed, without anything having been synced. */
static void test_store_survives_kill(void **state)
{
    struct store *store;

    (void)state;
    die_in(write_deal);
    store = open_store();
    assert_null(store_dropped(store));
    assert_string_equal(get(store, 0, "deal"), "kept");
    assert_int_equal(position(store, 0), 7);
    store_close(store);
}

/* Left open when the machine went down, the store may hold any mixture of pages and is not trusted. */
static void test_store_is_dropped_after_the_machine_restarted(void **state)
{
    static const char other_boot[] = "tandem-mapper-store 1 dirty 00000000-0000-0000-0000-000000000000\n";
    struct store *store;

    (void)state;
    die_in(write_deal);
    overwrite("state", 0, other_boot, sizeof(other_boot) - 1);
    store = open_store();
    assert_string_equal(store_dropped(store), "machine_restarted");
    assert_string_equal(get(store, 0, "deal"), "-");
    assert_int_equal(position(store, 0), -1);
    store_close(store);
}

/* A store that was closed in order is trusted whatever the machine did since. */
static void test_store_is_kept_when_closed_before_the_machine_restarted(void **state)
{
    static const char other_boot[] = "tandem-mapper-store 1 clean 00000000-0000-0000-0000-000000000000\n";
    struct store *store = open_store();

    (void)state;
    put(store, 0, "deal", "kept", 7);
    store_close(store);
    overwrite("state", 0, other_boot, sizeof(other_boot) - 1);
    store = open_store();
    assert_null(store_dropped(store));
    assert_string_equal(get(store, 0, "deal"), "kept");
    store_close(store);
}

/* A file cut in the middle is found before it is read. */
static void test_store_is_dropped_when_truncated(void **state)
{
    struct store *store = open_store();
    char path[2 * PATH_SIZE];

    (void)state;
    for (int k = 0; k < 100; k++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "deal%d", k);
        put(store, 0, key, "a value that takes its room in a page of the tree", k);
    }
    store_close(store);
    assert_int_equal(truncate(path_of("data.mdb", path), 3 * 4096), 0);
    store = open_store();
    assert_string_equal(store_dropped(store), "damaged");
    assert_int_equal(store_count(store), 0);
    store_close(store);
}

/* So is one whose first pages are something else. */
static void test_store_is_dropped_when_overwritten(void **state)
{
    struct store *store = open_store();
    char noise[2 * 4096];

    (void)state;
    put(store, 0, "deal", "value", 1);
    store_close(store);
    memset(noise, 0xa5, sizeof(noise));
    overwrite("data.mdb", 0, noise, sizeof(noise));
    store = open_store();
    assert_string_equal(store_dropped(store), "damaged");
    assert_string_equal(get(store, 0, "deal"), "-");
    store_close(store);
}

/* Another format begins anew. */
static void test_store_is_dropped_when_its_format_is_another(void **state)
{
    struct store *store = open_store();

    (void)state;
    put(store, 0, "deal", "value", 1);
    store_close(store);
    overwrite("state", 0, "tandem-mapper-store 0", 21);
    store = open_store();
    assert_string_equal(store_dropped(store), "format");
    assert_int_equal(position(store, 0), -1);
    store_close(store);
}

/* A bit that fell over inside a value is found by the checksum; the next start begins with an empty store. */
static void test_store_notices_a_changed_value(void **state)
{
    struct store *store = open_store();
    char path[2 * PATH_SIZE];
    char *content;
    char *found;
    long size;
    FILE *file;

    (void)state;
    put(store, 0, "deal", "MARKED-VALUE", 1);
    store_close(store);
    file = fopen(path_of("data.mdb", path), "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    content = malloc((size_t)size);
    assert_non_null(content);
    rewind(file);
    assert_int_equal(fread(content, 1, (size_t)size, file), (size_t)size);
    (void)fclose(file);
    found = memmem(content, (size_t)size, "MARKED-VALUE", 12);
    assert_non_null(found);
    overwrite("data.mdb", found - content, "N", 1);
    free(content);
    store = open_store();
    assert_string_equal(get(store, 0, "deal"), "store.damaged");
    store_close(store);
    store = open_store();
    assert_string_equal(store_dropped(store), "damaged");
    assert_string_equal(get(store, 0, "deal"), "-");
    store_close(store);
}

/* A copy of another cluster's topic is dropped, one of the same is kept. */
static void test_store_is_dropped_when_the_topic_is_another(void **state)
{
    struct store *store = open_store();
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(store_identify(store, "cluster/a", &err), 0);
    put(store, 0, "deal", "value", 1);
    assert_int_equal(store_identify(store, "cluster/a", &err), 0);
    assert_string_equal(get(store, 0, "deal"), "value");
    assert_int_equal(store_identify(store, "cluster/b", &err), 0);
    assert_string_equal(store_dropped(store), "identity");
    assert_string_equal(get(store, 0, "deal"), "-");
    assert_int_equal(position(store, 0), -1);
    store_close(store);
}

/* One process per directory: the second is told, and gets it once the first has ended. */
static void test_store_is_one_process_at_a_time(void **state)
{
    struct store *first = open_store();
    struct store *second = NULL;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(store_open(directory, SMALL, &second, &err), -1);
    assert_string_equal(err.code, "store.locked");
    assert_int_equal(err.class, ERROR_TRANSIENT);
    store_close(first);
    second = open_store();
    store_close(second);
}

static void die_at_message(struct store *store)
{
    crash_mark_begin(store_crash_mark(store), "records", 3, 77);
}

static void die_after_message(struct store *store)
{
    crash_mark_begin(store_crash_mark(store), "records", 3, 77);
    crash_mark_end(store_crash_mark(store));
}

static void die_at_other_message(struct store *store)
{
    crash_mark_begin(store_crash_mark(store), "records", 3, 78);
}

static bool is_deadly(int64_t offset)
{
    struct store *store = open_store();
    bool result = crash_mark_is_deadly(store_crash_mark(store), "records", 3, offset);

    store_close(store);
    return result;
}

/* The third start sets a message aside on which two processes died in a row. */
static void test_crash_mark_recognises_the_deadly_message(void **state)
{
    (void)state;
    die_in(die_at_message);
    assert_false(is_deadly(77));
    die_in(die_at_message);
    assert_true(is_deadly(77));
    assert_false(is_deadly(78));
    /* It stays so: the message may be read again after an abort. */
    assert_true(is_deadly(77));
}

/* Deaths on different messages, and between messages, make none of them deadly. */
static void test_crash_mark_acquits_innocent_messages(void **state)
{
    (void)state;
    die_in(die_at_message);
    die_in(die_at_other_message);
    die_in(die_at_message);
    assert_false(is_deadly(77));
    assert_false(is_deadly(78));
    die_in(die_after_message);
    die_in(die_after_message);
    assert_false(is_deadly(77));
}

static void die_in_store(struct store *store)
{
    crash_mark_begin(store_crash_mark(store), "records", 3, 77);
    crash_mark_enter_store(store_crash_mark(store));
}

/* Two deaths inside the store make it suspect, not the message that was being worked on. */
static void test_store_is_dropped_when_processes_die_in_it(void **state)
{
    struct store *store = open_store();

    (void)state;
    put(store, 0, "deal", "value", 1);
    store_close(store);
    die_in(die_in_store);
    die_in(die_in_store);
    store = open_store();
    assert_string_equal(store_dropped(store), "crashes");
    assert_string_equal(get(store, 0, "deal"), "-");
    assert_false(crash_mark_is_deadly(store_crash_mark(store), "records", 3, 77));
    store_close(store);
    store = open_store();
    assert_null(store_dropped(store));
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_store_keeps_deals_and_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_keeps_partitions_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_takes_deals_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_grows_beyond_its_first_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_survives_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_dropped_after_the_machine_restarted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_kept_when_closed_before_the_machine_restarted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_dropped_when_truncated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_dropped_when_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_dropped_when_its_format_is_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_notices_a_changed_value, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_dropped_when_the_topic_is_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_one_process_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crash_mark_recognises_the_deadly_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crash_mark_acquits_innocent_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_dropped_when_processes_die_in_it, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
