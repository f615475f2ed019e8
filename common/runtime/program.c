#include "common/runtime/program.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/runtime/admin.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"
#include "tandem_version.h"

/* gcc says so by macros, clang by a feature test. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROGRAM_IS_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define PROGRAM_IS_SANITIZED
#endif
#endif

enum {
    READINESS_MAX = 16,
    INSTANCE_SIZE = 256,
    NOTIFY_SIZE = 128,
    /* What the process may take beyond the drain deadline to end by itself, when the loop no longer turns. */
    GRACE_MS = 1000,
    MS_PER_SECOND = 1000,
    US_PER_MS = 1000,
    NS_PER_MS = 1000000
};

static const char *const LEVEL_WORDS[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_ERROR] = "error",
    NULL,
};

const struct config_key PROGRAM_KEYS[] = {
    {.name = "log_level",
     .type = CONFIG_WORD,
     .offset = offsetof(struct program_settings, log_level),
     .default_text = "info",
     .words = LEVEL_WORDS,
     .help = "The least important lines that are written; debug shows every step, and no payloads either."},
    {.name = "admin_address",
     .type = CONFIG_ADDRESS,
     .offset = offsetof(struct program_settings, admin_address),
     .help = "Where /healthz, /readyz and /metrics are served, over plain HTTP; not served when absent."},
    {.name = "instance",
     .type = CONFIG_TEXT,
     .offset = offsetof(struct program_settings, instance),
     .help = "Name of this process among its kind, the same after a restart; the host's name when absent."},
    {.name = "drain_deadline",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct program_settings, drain_deadline_ms),
     .default_text = "10s",
     .min = 100,
     .max = 3600000,
     .help = "How long SIGTERM lets begun work finish; what is left then is delivered again to the next process."},
};
const size_t PROGRAM_KEY_COUNT = ARRAY_LENGTH(PROGRAM_KEYS);

enum state { STATE_STARTING, STATE_RUNNING, STATE_DRAINING, STATE_STOPPED };

static const struct {
    const char *name;
    unsigned next; /* bits of the states that may follow */
} STATES[] = {
    [STATE_STARTING] = {"starting", 1u << STATE_RUNNING | 1u << STATE_DRAINING | 1u << STATE_STOPPED},
    [STATE_RUNNING] = {"running", 1u << STATE_DRAINING},
    [STATE_DRAINING] = {"draining", 1u << STATE_STOPPED},
    [STATE_STOPPED] = {"stopped", 0},
};

struct readiness {
    const char *name;
    bool (*is_ready)(void *arg);
    const char *(*trouble)(void *arg); /* one of the two */
    void *arg;
};

struct program {
    const struct program_settings *settings;
    const struct program_callbacks *callbacks;
    void *arg;
    struct loop *loop;
    struct admin *admin;
    struct event *signal_event;
    struct loop_timer *drain_timer;
    struct loop_timer *watchdog_timer;
    int64_t watchdog_interval_ms;
    enum state state;
    bool is_started; /* start() was called, so drain() may be */
    bool has_failed;
    int exit_status;
    char instance[INSTANCE_SIZE];
    struct readiness readiness[READINESS_MAX];
    size_t readiness_count;
};

/* --- Signals ------------------------------------------------------------------------------------------------------ */

/* What the handlers work on. They run at any point of the program, also when the loop is blocked for good: so it is them
 * who start the last timer and count the signals, and not the loop. */
static struct {
    _Atomic int wake_fd; /* -1: no loop */
    _Atomic int stop_count;
    _Atomic bool has_hangup;
    _Atomic bool is_timer_started;
    timer_t timer;
    struct itimerspec limit;
} signals = {.wake_fd = -1};

static void end_at_deadline(int number)
{
    (void)number;
    _exit(EXIT_DRAIN_DEADLINE);
}

static void start_last_timer(void)
{
    if (!atomic_exchange(&signals.is_timer_started, true))
        (void)timer_settime(signals.timer, 0, &signals.limit, NULL);
}

/* Async-signal-safe (signal-safety(7)): lock-free atomics, timer_settime, write and _exit. */
static void on_signal(int number)
{
    int saved_errno = errno;
    if (number == SIGHUP)
        atomic_store(&signals.has_hangup, true);
    else if (atomic_fetch_add(&signals.stop_count, 1) > 0)
        _exit(EXIT_SECOND_SIGNAL);
    else
        start_last_timer();
    int fd = atomic_load(&signals.wake_fd);
    static const uint64_t one = 1;
    ssize_t ignored = fd >= 0 ? write(fd, &one, sizeof(one)) : 0;
    (void)ignored;
    errno = saved_errno;
}

static int handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    (void)sigfillset(&action.sa_mask);
    return sigaction(number, &action, NULL);
}

static int install_handlers(const struct program_settings *settings, struct error *err)
{
    int64_t limit_ms = settings->drain_deadline_ms + GRACE_MS;
    struct sigevent expiry = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    signals.limit.it_value = (struct timespec){.tv_sec = (time_t)(limit_ms / MS_PER_SECOND),
                                               .tv_nsec = (long)(limit_ms % MS_PER_SECOND * NS_PER_MS)};
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return error_set(err, ERROR_FATAL, "program.signals", "eventfd: %s", strerror(errno));
    atomic_store(&signals.wake_fd, fd);
    if (timer_create(CLOCK_MONOTONIC, &expiry, &signals.timer) < 0 || handle(SIGALRM, end_at_deadline) < 0 ||
        handle(SIGTERM, on_signal) < 0 || handle(SIGINT, on_signal) < 0 || handle(SIGHUP, on_signal) < 0)
        return error_set(err, ERROR_FATAL, "program.signals", "%s", strerror(errno));
    return 0;
}

/* The handlers stay: a second signal, or the last timer, also ends a clean-up that hangs. */
static void close_wake_fd(void)
{
    int fd = atomic_exchange(&signals.wake_fd, -1);
    if (fd >= 0)
        close(fd);
}

/* --- Talking to systemd (sd_notify(3)) ---------------------------------------------------------------------------- */

/* One datagram to $NOTIFY_SOCKET. Nobody listening is no fault. */
static void notify(const char *message)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = path != NULL ? strlen(path) : 0;
    if (length < 2 || length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(fd);
}

static void notify_reloading(void)
{
    char message[NOTIFY_SIZE];
    (void)snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_monotonic_us());
    notify(message);
}

/* Half of what systemd waits at most (sd_watchdog_enabled(3)); 0 when it does not watch this process. */
static int64_t watchdog_interval(void)
{
    const char *interval_text = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    unsigned long long interval_us, pid;
    if (interval_text == NULL || !text_parse_unsigned(interval_text, INT64_MAX, &interval_us))
        return 0;
    if (pid_text != NULL && (!text_parse_unsigned(pid_text, INT64_MAX, &pid) || (pid_t)pid != getpid()))
        return 0;
    int64_t interval_ms = (int64_t)(interval_us / US_PER_MS / 2);
    return interval_us > 0 && interval_ms == 0 ? 1 : interval_ms;
}

/* A loop that is blocked does not come here, which is what the watchdog is for. */
static void on_watchdog(void *arg)
{
    struct program *program = arg;
    notify("WATCHDOG=1");
    loop_timer_set(program->watchdog_timer, program->watchdog_interval_ms);
}

/* --- States ------------------------------------------------------------------------------------------------------- */

static void move(struct program *program, enum state next)
{
    assert((STATES[program->state].next & 1u << next) != 0);
    log_info("program.state", LOG_TEXT("from", STATES[program->state].name), LOG_TEXT("to", STATES[next].name));
    metric_count(metrics_declare(METRIC_COUNTER, "tandem_program_states_total", "state",
                                 "How often the process has entered each state of its life."),
                 STATES[next].name, NULL, NULL, NULL);
    program->state = next;
}

static void leave_work(struct program *program)
{
    move(program, STATE_DRAINING);
    notify("STOPPING=1");
}

static void finish(struct program *program)
{
    if (program->state == STATE_STOPPED)
        return;
    if (program->state == STATE_RUNNING)
        leave_work(program);
    move(program, STATE_STOPPED);
    /* What is left is the clean-up, which must end, too. */
    start_last_timer();
    loop_stop(program->loop);
}

/* The work that is left is as safe as after a crash, and tearing it down could take as long as it likes. */
static void on_drain_deadline(void *arg)
{
    const struct program *program = arg;
    log_error("program.drain_deadline", LOG_INTEGER("deadline_ms", program->settings->drain_deadline_ms));
    _exit(EXIT_DRAIN_DEADLINE);
}

static void call_drain(void *arg)
{
    struct program *program = arg;
    if (program->state == STATE_DRAINING)
        program->callbacks->drain(program->arg);
}

static void drain(struct program *program, const char *reason)
{
    if (program->state == STATE_DRAINING || program->state == STATE_STOPPED)
        return;
    leave_work(program);
    log_info("program.draining", LOG_TEXT("reason", reason),
             LOG_INTEGER("deadline_ms", program->settings->drain_deadline_ms));
    start_last_timer();
    loop_timer_set(program->drain_timer, program->settings->drain_deadline_ms);
    if (!program->is_started)
        finish(program);
    /* In a turn of its own, since what failed may be in the middle of the caller's work. */
    else if (loop_post(program->loop, call_drain, program) < 0)
        call_drain(program);
}

static void reload_if_asked(struct program *program)
{
    if (program->state != STATE_RUNNING || !atomic_exchange(&signals.has_hangup, false))
        return;
    if (program->callbacks->reload == NULL) {
        log_warning("program.reload_ignored", LOG_TEXT("reason", "this program has nothing to reload"));
        return;
    }
    log_info("program.reloading", LOG_TEXT("instance", program->instance));
    notify_reloading();
    program->callbacks->reload(program->arg);
    notify("READY=1");
}

static void on_signal_event(evutil_socket_t fd, short events, void *arg)
{
    (void)events;
    struct program *program = arg;
    eventfd_t ignored;
    (void)eventfd_read(fd, &ignored);
    if (atomic_load(&signals.stop_count) > 0)
        drain(program, "signal");
    reload_if_asked(program);
}

static void begin(void *arg)
{
    struct program *program = arg;
    if (program->state != STATE_STARTING)
        return;
    program->is_started = true;
    struct error err = ERROR_INIT;
    if (program->callbacks->start(program->arg, program, &err) == 0)
        return;
    if (!program->has_failed) {
        program->has_failed = true;
        program->exit_status = exit_status_of(&err);
    }
    log_error("program.start_failed", LOG_INTEGER("exit_status", program->exit_status), LOG_ERROR(&err));
    finish(program);
}

/* --- Readiness ---------------------------------------------------------------------------------------------------- */

static bool check_readiness(void *arg, struct text *out)
{
    const struct program *program = arg;
    bool is_ready = program->state == STATE_RUNNING;
    int result = 0;
    if (!is_ready)
        result = text_appendf(out, "%s\n", STATES[program->state].name);
    for (size_t i = 0; i < program->readiness_count; i++) {
        const struct readiness *check = &program->readiness[i];
        const char *trouble = check->trouble != NULL ? check->trouble(check->arg) : NULL;
        if (check->trouble != NULL ? trouble == NULL : check->is_ready(check->arg))
            continue;
        is_ready = false;
        if (result == 0)
            result = text_appendf(out, "not ready: %s%s%s\n", check->name, trouble != NULL ? ": " : "",
                                  trouble != NULL ? trouble : "");
    }
    if (is_ready)
        result = text_append(out, "ready\n");
    return is_ready && result == 0;
}

static void add_check(struct program *program, const struct readiness *check)
{
    assert(program->readiness_count < READINESS_MAX);
    if (program->readiness_count < READINESS_MAX)
        program->readiness[program->readiness_count++] = *check;
}

void program_add_readiness(struct program *program, const char *name, bool (*is_ready)(void *arg), void *arg)
{
    add_check(program, &(struct readiness){.name = name, .is_ready = is_ready, .arg = arg});
}

void program_add_trouble(struct program *program, const char *name, const char *(*trouble)(void *arg), void *arg)
{
    add_check(program, &(struct readiness){.name = name, .trouble = trouble, .arg = arg});
}

/* --- Life --------------------------------------------------------------------------------------------------------- */

void program_setup(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    json_setup();
    /* Secrets and customers' data must not end in a core file. LeakSanitizer needs ptrace, which this forbids. */
#if !defined(PROGRAM_IS_SANITIZED)
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

int exit_status_of(const struct error *err)
{
    if (err->class == ERROR_NONE)
        return EXIT_OK;
    if (text_starts_with(err->code, "kafka.fenced"))
        return EXIT_FENCED;
    if (text_starts_with(err->code, "kafka.") && err->class == ERROR_FATAL)
        return EXIT_KAFKA;
    if (text_starts_with(err->code, "postgres."))
        return EXIT_DATABASE;
    return err->class == ERROR_CONFIG ? EXIT_BAD_CONFIG : EXIT_ERROR;
}

static int name_instance(struct program *program, struct error *err)
{
    const char *configured = program->settings->instance;
    if (configured == NULL && gethostname(program->instance, sizeof(program->instance) - 1) < 0)
        return error_set(err, ERROR_FATAL, "program.instance", "the host has no name: %s", strerror(errno));
    if (configured != NULL && strlen(configured) >= sizeof(program->instance))
        return error_set(err, ERROR_CONFIG, "program.instance", "the instance name is too long");
    if (configured != NULL)
        memcpy(program->instance, configured, strlen(configured) + 1);
    return 0;
}

static int set_up(struct program *program, const char *name, struct error *err)
{
    if (name_instance(program, err) < 0 || install_handlers(program->settings, err) < 0 ||
        loop_new(&program->loop, err) < 0)
        return -1;
    program->signal_event = event_new(loop_base(program->loop), atomic_load(&signals.wake_fd), EV_READ | EV_PERSIST,
                                      on_signal_event, program);
    program->drain_timer = loop_timer_new(program->loop, on_drain_deadline, program);
    program->watchdog_timer = loop_timer_new(program->loop, on_watchdog, program);
    if (program->signal_event == NULL || event_add(program->signal_event, NULL) < 0 || program->drain_timer == NULL ||
        program->watchdog_timer == NULL)
        return error_no_memory(err);
    program->watchdog_interval_ms = watchdog_interval();
    if (program->watchdog_interval_ms > 0)
        on_watchdog(program);
    metric_set(metrics_series(metrics_declare(METRIC_GAUGE, "tandem_build_info", "program,version,instance",
                                              "Always 1; what runs here."),
                              (const char *const[]){name, TANDEM_VERSION, program->instance, NULL}),
               1);
    if (program->settings->admin_address != NULL &&
        admin_new(program->loop, program->settings->admin_address, check_readiness, program, &program->admin, err) < 0)
        return -1;
    return loop_post(program->loop, begin, program) < 0 ? error_no_memory(err) : 0;
}

static void tear_down(struct program *program)
{
    admin_free(program->admin);
    loop_timer_free(program->watchdog_timer);
    loop_timer_free(program->drain_timer);
    if (program->signal_event != NULL)
        event_free(program->signal_event);
    loop_free(program->loop);
    close_wake_fd();
}

int program_run(const char *name, const struct program_settings *settings, const struct program_callbacks *callbacks,
                void *arg)
{
    struct program program = {.settings = settings, .callbacks = callbacks, .arg = arg};
    struct error err = ERROR_INIT;
    log_setup(name, (enum log_level)settings->log_level);
    program_setup();
    if (set_up(&program, name, &err) < 0 || loop_run(program.loop, &err) < 0) {
        program.exit_status = exit_status_of(&err);
        log_error("program.start_failed", LOG_INTEGER("exit_status", program.exit_status), LOG_ERROR(&err));
    }
    if (program.is_started && callbacks->stop != NULL)
        callbacks->stop(arg);
    log_info("program.stopped", LOG_INTEGER("exit_status", program.exit_status));
    tear_down(&program);
    return program.exit_status;
}

struct loop *program_loop(struct program *program)
{
    return program->loop;
}

const char *program_instance(const struct program *program)
{
    return program->instance;
}

bool program_is_draining(const struct program *program)
{
    return program->state == STATE_DRAINING || program->state == STATE_STOPPED;
}

void program_set_ready(struct program *program)
{
    if (program->state != STATE_STARTING)
        return;
    move(program, STATE_RUNNING);
    log_info("program.ready", LOG_TEXT("instance", program->instance), LOG_TEXT("version", TANDEM_VERSION));
    notify("READY=1");
    reload_if_asked(program);
}

void program_drained(struct program *program)
{
    if (program->state == STATE_STARTING)
        leave_work(program);
    finish(program);
}

void program_fail(struct program *program, int exit_status, const struct error *err)
{
    if (program->has_failed) {
        log_warning("program.failed_again", LOG_INTEGER("exit_status", exit_status), LOG_ERROR(err));
        return;
    }
    program->has_failed = true;
    program->exit_status = exit_status;
    log_error("program.failed", LOG_INTEGER("exit_status", exit_status), LOG_ERROR(err));
    drain(program, "failure");
}
