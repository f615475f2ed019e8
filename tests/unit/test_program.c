#include "common/runtime/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/text.h"

enum { DEADLINE_MS = 15000, TRACE_SIZE = 32, LOG_SIZE = 64 * 1024, DATAGRAM_SIZE = 256 };

/* --- The program under test, in a child process ------------------------------------------------------------------- */

/* How the child's callbacks behave. */
struct behaviour {
    bool fails_to_start;
    bool fails_when_ready; /* program_fail() in start(), twice */
    bool ends_unasked;     /* program_drained() in start() */
    bool is_never_ready;
    bool hangs_in_start; /* blocks the loop */
    bool never_drains;
    bool hangs_in_drain;
    bool hangs_in_stop;
    int64_t drain_deadline_ms;
    char *instance;
};

struct child {
    pid_t pid;
    int trace_fd; /* one letter for each callback */
    int log_fd;
    char trace[TRACE_SIZE];
    char log[LOG_SIZE];
};

static int trace_fd;
static const struct behaviour *behaviour;
static struct program *running;

static void trace(char letter)
{
    if (write(trace_fd, &letter, 1) != 1)
        abort();
}

static void hang(void)
{
    for (;;)
        (void)pause();
}

static int on_start(void *arg, struct program *program, struct error *err)
{
    (void)arg;
    running = program;
    trace('s');
    if (behaviour->hangs_in_start)
        hang();
    if (behaviour->fails_to_start)
        return error_set(err, ERROR_FATAL, "kafka.topics", "no topics");
    if (!behaviour->is_never_ready)
        program_set_ready(program);
    if (behaviour->fails_when_ready) {
        struct error failure = ERROR_INIT;
        error_set(&failure, ERROR_FATAL, "kafka.fenced", "fenced");
        program_fail(program, exit_status_of(&failure), &failure);
        error_set(&failure, ERROR_FATAL, "postgres.lost", "lost");
        program_fail(program, exit_status_of(&failure), &failure);
    }
    if (behaviour->ends_unasked)
        program_drained(program);
    return 0;
}

static void on_drain(void *arg)
{
    (void)arg;
    trace(program_is_draining(running) ? 'd' : '?');
    if (behaviour->hangs_in_drain)
        hang();
    if (!behaviour->never_drains)
        program_drained(running);
}

static void on_reload(void *arg)
{
    (void)arg;
    trace('r');
}

static void on_stop(void *arg)
{
    (void)arg;
    trace('x');
    if (behaviour->hangs_in_stop)
        hang();
}

static struct child start_child(const struct behaviour *wanted)
{
    struct child child = {0};
    int trace_pipe[2], log_pipe[2];
    assert_int_equal(pipe2(trace_pipe, O_CLOEXEC), 0);
    assert_int_equal(pipe2(log_pipe, O_CLOEXEC), 0);
    child.pid = fork();
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        /* A test that fails leaves nothing behind. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Only what the test holds open may keep the pipes alive. */
        close(trace_pipe[0]);
        close(log_pipe[0]);
        (void)dup2(log_pipe[1], STDERR_FILENO);
        close(log_pipe[1]);
        trace_fd = trace_pipe[1];
        behaviour = wanted;
        static char any_port[] = "127.0.0.1:0";
        const struct program_settings settings = {.log_level = 1,
                                                  .admin_address = any_port,
                                                  .instance = wanted->instance,
                                                  .drain_deadline_ms =
                                                      wanted->drain_deadline_ms > 0 ? wanted->drain_deadline_ms : 9000};
        static const struct program_callbacks callbacks = {
            .start = on_start, .drain = on_drain, .reload = on_reload, .stop = on_stop};
        _exit(program_run("tandem-test", &settings, &callbacks, NULL));
    }
    close(trace_pipe[1]);
    close(log_pipe[1]);
    child.trace_fd = trace_pipe[0];
    child.log_fd = log_pipe[0];
    return child;
}

/* Waits until the fd can be read; fails the test at the deadline. */
static void await_input(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int result;
    do
        result = poll(&ready, 1, DEADLINE_MS);
    while (result < 0 && errno == EINTR);
    assert_int_equal(result, 1);
}

static void await_trace(struct child *child, const char *expected)
{
    size_t length;
    while ((length = strlen(child->trace)) < strlen(expected)) {
        await_input(child->trace_fd);
        ssize_t got = read(child->trace_fd, child->trace + length, strlen(expected) - length);
        if (got <= 0)
            break;
    }
    assert_string_equal(child->trace, expected);
}

/* Reads the log until it holds the text. */
static void await_log(struct child *child, const char *expected)
{
    size_t length;
    while (strstr(child->log, expected) == NULL) {
        length = strlen(child->log);
        await_input(child->log_fd);
        ssize_t got = read(child->log_fd, child->log + length, sizeof(child->log) - 1 - length);
        if (got <= 0)
            fail_msg("the log ended without '%s':\n%s", expected, child->log);
    }
}

/* Waits for the end of the child: both pipes close. Returns its exit status. */
static int await_end(struct child *child)
{
    char ignored;
    for (;;) {
        await_input(child->trace_fd);
        if (read(child->trace_fd, &ignored, 1) <= 0)
            break;
        size_t length = strlen(child->trace);
        assert_true(length + 1 < sizeof(child->trace));
        child->trace[length] = ignored;
    }
    for (size_t length; (length = strlen(child->log)) + 1 < sizeof(child->log);) {
        await_input(child->log_fd);
        if (read(child->log_fd, child->log + length, sizeof(child->log) - 1 - length) <= 0)
            break;
    }
    close(child->trace_fd);
    close(child->log_fd);
    int status = 0;
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    if (!WIFEXITED(status))
        fail_msg("ended by signal %d:\n%s", WTERMSIG(status), child->log);
    return WEXITSTATUS(status);
}

static void expect_end(struct child *child, int status, const char *callbacks)
{
    assert_int_equal(await_end(child), status);
    assert_string_equal(child->trace, callbacks);
}

static size_t count_in(const char *string, const char *needle)
{
    size_t count = 0;
    for (const char *at = string; (at = strstr(at, needle)) != NULL; at++)
        count++;
    return count;
}

/* --- Cases -------------------------------------------------------------------------------------------------------- */

/* SIGTERM and SIGINT let the program finish its work, and it exits with 0. */
static void test_signal_drains_and_exits_with_zero(void **state)
{
    (void)state;
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
        struct child child = start_child(&(const struct behaviour){0});
        await_log(&child, "\"program.ready\"");
        assert_int_equal(kill(child.pid, numbers[i]), 0);
        expect_end(&child, EXIT_OK, "sdx");
        assert_non_null(strstr(child.log, "\"event\":\"program.draining\",\"reason\":\"signal\""));
        assert_non_null(strstr(child.log, "\"event\":\"program.stopped\",\"exit_status\":0"));
    }
}

/* A program that is not ready yet drains like one that is. */
static void test_signal_before_readiness_drains(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){.is_never_ready = true});
    await_trace(&child, "s");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    expect_end(&child, EXIT_OK, "sdx");
}

/* A second signal ends a drain at once. */
static void test_second_signal_ends_at_once(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){.never_drains = true});
    await_trace(&child, "s");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    await_trace(&child, "sd");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    expect_end(&child, EXIT_SECOND_SIGNAL, "sd");
}

/* A second signal also ends a program whose loop is blocked. */
static void test_second_signal_ends_a_blocked_loop(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){.hangs_in_drain = true});
    await_trace(&child, "s");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    await_trace(&child, "sd");
    assert_int_equal(kill(child.pid, SIGINT), 0);
    expect_end(&child, EXIT_SECOND_SIGNAL, "sd");
}

/* A drain that does not end is ended at the deadline. */
static void test_drain_ends_at_the_deadline(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){.never_drains = true, .drain_deadline_ms = 100});
    await_trace(&child, "s");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    expect_end(&child, EXIT_DRAIN_DEADLINE, "sd");
    assert_non_null(strstr(child.log, "\"program.drain_deadline\",\"deadline_ms\":100"));
}

/* The deadline holds as well when the loop is blocked, wherever that is, and when the clean-up hangs. */
static void test_deadline_holds_without_the_loop(void **state)
{
    (void)state;
    static const struct {
        struct behaviour behaviour;
        const char *callbacks;
    } rows[] = {
        {{.hangs_in_start = true, .drain_deadline_ms = 100}, "s"},
        {{.hangs_in_drain = true, .drain_deadline_ms = 100}, "sd"},
        {{.hangs_in_stop = true, .drain_deadline_ms = 100}, "sdx"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct child child = start_child(&rows[i].behaviour);
        await_trace(&child, "s");
        assert_int_equal(kill(child.pid, SIGTERM), 0);
        expect_end(&child, EXIT_DRAIN_DEADLINE, rows[i].callbacks);
    }
}

/* A start that fails ends the program with the status of its error; drain() is not called, stop() is. */
static void test_failed_start_decides_the_exit_status(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){.fails_to_start = true});
    expect_end(&child, EXIT_KAFKA, "sx");
    assert_non_null(strstr(child.log, "\"program.start_failed\",\"exit_status\":71"));
}

/* A failure drains; the first of several decides the exit status, and each is logged once. */
static void test_first_failure_decides_the_exit_status(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){.fails_when_ready = true});
    expect_end(&child, EXIT_FENCED, "sdx");
    assert_int_equal(count_in(child.log, "\"kafka.fenced\""), 1);
    assert_int_equal(count_in(child.log, "\"postgres.lost\""), 1);
}

/* A command that has done its work ends without being asked. */
static void test_program_can_end_unasked(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){.ends_unasked = true});
    expect_end(&child, EXIT_OK, "sx");
}

/* SIGHUP reloads, any number of times, and the program goes on. */
static void test_hangup_reloads(void **state)
{
    (void)state;
    struct child child = start_child(&(const struct behaviour){0});
    await_log(&child, "\"program.ready\"");
    assert_int_equal(kill(child.pid, SIGHUP), 0);
    await_trace(&child, "sr");
    assert_int_equal(kill(child.pid, SIGHUP), 0);
    await_trace(&child, "srr");
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    expect_end(&child, EXIT_OK, "srrdx");
}

/* The real port of the admin address is in the log, and the instance's name is the configured one. */
static void test_log_tells_port_and_instance(void **state)
{
    (void)state;
    char name[] = "worker-3";
    struct child child = start_child(&(const struct behaviour){.instance = name});
    await_log(&child, "\"instance\":\"worker-3\"");
    const char *port = strstr(child.log, "\"admin.listening\",\"host\":\"127.0.0.1\",\"port\":");
    assert_non_null(port);
    assert_null(strstr(port, "\"port\":0"));
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    assert_int_equal(await_end(&child), EXIT_OK);
}

static char supervisor_directory[] = "/tmp/test_program.XXXXXX";

/* A socket as systemd makes it; its path is in $NOTIFY_SOCKET. */
static int listen_as_supervisor(const char *path, bool is_abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (is_abstract)
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
    return fd;
}

/* Receives until a datagram begins so; those of the watchdog in between are counted. */
static size_t await_datagram(int fd, const char *start)
{
    for (size_t others = 0;; others++) {
        char datagram[DATAGRAM_SIZE] = {0};
        await_input(fd);
        assert_true(recv(fd, datagram, sizeof(datagram) - 1, 0) > 0);
        if (text_starts_with(datagram, start))
            return others;
        assert_string_equal(datagram, "WATCHDOG=1");
    }
}

/* systemd is told READY, RELOADING with a time, READY again and STOPPING, at a path as well as an abstract name. */
static void test_supervisor_is_told(void **state)
{
    (void)state;
    char path[64], name[64];
    assert_non_null(mkdtemp(supervisor_directory));
    (void)snprintf(path, sizeof(path), "%s/notify", supervisor_directory);
    (void)snprintf(name, sizeof(name), "@%s", supervisor_directory);
    const char *const addresses[] = {path, name};
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++) {
        int fd = listen_as_supervisor(addresses[i], i == 1);
        struct child child = start_child(&(const struct behaviour){0});
        assert_int_equal(await_datagram(fd, "READY=1"), 0);
        assert_int_equal(kill(child.pid, SIGHUP), 0);
        assert_int_equal(await_datagram(fd, "RELOADING=1\nMONOTONIC_USEC="), 0);
        assert_int_equal(await_datagram(fd, "READY=1"), 0);
        assert_int_equal(kill(child.pid, SIGTERM), 0);
        assert_int_equal(await_datagram(fd, "STOPPING=1"), 0);
        expect_end(&child, EXIT_OK, "srdx");
        close(fd);
    }
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    (void)unlink(path);
    assert_int_equal(rmdir(supervisor_directory), 0);
}

/* The watchdog is fed again and again while the loop turns, and not when it watches another process. */
static void test_watchdog_is_fed_by_the_loop(void **state)
{
    (void)state;
    char name[64];
    (void)snprintf(name, sizeof(name), "@test_program.%ld", (long)getpid());
    int fd = listen_as_supervisor(name, true);
    assert_int_equal(setenv("WATCHDOG_USEC", "20000", 1), 0);
    struct child child = start_child(&(const struct behaviour){.is_never_ready = true});
    for (int i = 0; i < 3; i++)
        assert_int_equal(await_datagram(fd, "WATCHDOG=1"), 0);
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    (void)await_datagram(fd, "STOPPING=1");
    assert_int_equal(await_end(&child), EXIT_OK);

    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0);
    child = start_child(&(const struct behaviour){0});
    assert_int_equal(await_datagram(fd, "READY=1"), 0);
    assert_int_equal(kill(child.pid, SIGTERM), 0);
    assert_int_equal(await_datagram(fd, "STOPPING=1"), 0);
    assert_int_equal(await_end(&child), EXIT_OK);
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    (void)unsetenv("NOTIFY_SOCKET");
    close(fd);
}

/* Exit status: a bit for each protection that is missing. Sanitizers need the two against core dumps off. */
static int missing_protections(void)
{
    struct sigaction pipe_action;
    int missing = 0;
    program_setup();
    if (sigaction(SIGPIPE, NULL, &pipe_action) < 0 || pipe_action.sa_handler != SIG_IGN)
        missing |= 1;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
    struct rlimit core;
    if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
        missing |= 2;
    if (prctl(PR_GET_DUMPABLE) != 0)
        missing |= 4;
#endif
    return missing;
}

/* A broken connection ends no process, and no core file holds what the process knew. */
static void test_setup_protects_the_process(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(missing_protections());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Errors have the exit statuses that supervisors decide by. */
static void test_exit_status_follows_code_and_class(void **state)
{
    (void)state;
    static const struct {
        enum error_class class;
        const char *code;
        int status;
    } rows[] = {
        {ERROR_NONE, "", EXIT_OK},
        {ERROR_FATAL, "kafka.fenced", EXIT_FENCED},
        {ERROR_ABORT, "kafka.fenced_instance", EXIT_FENCED},
        {ERROR_FATAL, "kafka.topics_missing", EXIT_KAFKA},
        {ERROR_TRANSIENT, "kafka.timeout", EXIT_ERROR},
        {ERROR_CONFIG, "kafka.bad_property", EXIT_BAD_CONFIG},
        {ERROR_FATAL, "postgres.schema", EXIT_DATABASE},
        {ERROR_CONFIG, "rules.invalid", EXIT_BAD_CONFIG},
        {ERROR_FATAL, "admin.listen", EXIT_ERROR},
        {ERROR_TRANSIENT, "out_of_memory", EXIT_ERROR},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct error err = ERROR_INIT;
        if (rows[i].class != ERROR_NONE)
            error_set(&err, rows[i].class, rows[i].code, "x");
        if (exit_status_of(&err) != rows[i].status)
            fail_msg("%s: %d, not %d", rows[i].code, exit_status_of(&err), rows[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signal_drains_and_exits_with_zero),
        cmocka_unit_test(test_signal_before_readiness_drains),
        cmocka_unit_test(test_second_signal_ends_at_once),
        cmocka_unit_test(test_second_signal_ends_a_blocked_loop),
        cmocka_unit_test(test_drain_ends_at_the_deadline),
        cmocka_unit_test(test_deadline_holds_without_the_loop),
        cmocka_unit_test(test_failed_start_decides_the_exit_status),
        cmocka_unit_test(test_first_failure_decides_the_exit_status),
        cmocka_unit_test(test_program_can_end_unasked),
        cmocka_unit_test(test_hangup_reloads),
        cmocka_unit_test(test_log_tells_port_and_instance),
        cmocka_unit_test(test_supervisor_is_told),
        cmocka_unit_test(test_watchdog_is_fed_by_the_loop),
        cmocka_unit_test(test_setup_protects_the_process),
        cmocka_unit_test(test_exit_status_follows_code_and_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
