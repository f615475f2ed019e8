#include "common/runtime/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/runtime/log.h"

enum { MS_PER_SECOND = 1000, US_PER_MS = 1000, US_PER_SECOND = 1000000, NS_PER_US = 1000 };

struct post {
    void (*call)(void *arg);
    void *arg;
    struct post *next;
};

struct loop {
    struct event_base *base;
    struct event *wake_event;
    int wake_fd;
    pthread_mutex_t mutex; /* guards the posts */
    struct post *first_post, *last_post;
};

struct loop_timer {
    struct event *event;
    void (*on_expire)(void *arg);
    void *arg;
};

/* libevent would print to standard error by itself, past the format of the log. */
static void on_libevent_message(int severity, const char *message)
{
    enum log_level level = severity >= EVENT_LOG_ERR    ? LOG_LEVEL_ERROR
                           : severity >= EVENT_LOG_WARN ? LOG_LEVEL_WARNING
                                                        : LOG_LEVEL_DEBUG;
    log_write(level, "loop.libevent", &LOG_TEXT("text", message), 1);
}

static struct post *take_posts(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    struct post *posts = loop->first_post;
    loop->first_post = NULL;
    loop->last_post = NULL;
    pthread_mutex_unlock(&loop->mutex);
    return posts;
}

static void on_wake(evutil_socket_t fd, short events, void *arg)
{
    (void)events;
    eventfd_t ignored;
    (void)eventfd_read(fd, &ignored);
    /* What is posted from inside a call waits for the next turn, so that sockets and timers get theirs. */
    for (struct post *post = take_posts(arg), *next; post != NULL; post = next) {
        next = post->next;
        post->call(post->arg);
        free(post);
    }
}

/* Timers on the clock that clock_monotonic_ms() reads: libevent's default is a coarse one, by which they can expire some
 * milliseconds early. */
static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        return NULL;
    struct event_base *base = NULL;
    if (event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int loop_new(struct loop **ret_loop, struct error *err)
{
    event_set_log_callback(on_libevent_message);
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return error_no_memory(err);
    pthread_mutex_init(&loop->mutex, NULL);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        error_set(err, ERROR_FATAL, "loop.no_descriptor", "eventfd: %s", strerror(errno));
        goto fail;
    }
    loop->base = new_base();
    if (loop->base == NULL) {
        error_set(err, ERROR_FATAL, "loop.not_made", "the event loop could not be made");
        goto fail;
    }
    loop->wake_event = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
    if (loop->wake_event == NULL || event_add(loop->wake_event, NULL) < 0) {
        error_no_memory(err);
        goto fail;
    }
    *ret_loop = loop;
    return 0;

fail:
    loop_free(loop);
    return -1;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    for (struct post *post = take_posts(loop), *next; post != NULL; post = next) {
        next = post->next;
        free(post);
    }
    if (loop->wake_event != NULL)
        event_free(loop->wake_event);
    if (loop->base != NULL)
        event_base_free(loop->base);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

int loop_run(struct loop *loop, struct error *err)
{
    if (event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
        return error_set(err, ERROR_FATAL, "loop.failed", "the event loop ended: %s", strerror(errno));
    return 0;
}

void loop_stop(struct loop *loop)
{
    if (event_base_loopexit(loop->base, NULL) < 0)
        event_base_loopbreak(loop->base);
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    /* The callback may free the timer. */
    const struct loop_timer *timer = arg;
    timer->on_expire(timer->arg);
}

struct loop_timer *loop_timer_new(struct loop *loop, void (*on_expire)(void *arg), void *arg)
{
    struct loop_timer *timer = calloc(1, sizeof(*timer));
    if (timer == NULL)
        return NULL;
    timer->on_expire = on_expire;
    timer->arg = arg;
    timer->event = evtimer_new(loop->base, on_timer, timer);
    if (timer->event == NULL) {
        free(timer);
        return NULL;
    }
    return timer;
}

void loop_timer_set(struct loop_timer *timer, int64_t delay_ms)
{
    if (delay_ms < 0)
        delay_ms = 0;
    struct timeval delay = {.tv_sec = (time_t)(delay_ms / MS_PER_SECOND),
                            .tv_usec = (suseconds_t)(delay_ms % MS_PER_SECOND * US_PER_MS)};
    /* Adding fails for want of memory only. Too early is then better than never. */
    if (evtimer_add(timer->event, &delay) < 0)
        event_active(timer->event, EV_TIMEOUT, 0);
}

void loop_timer_stop(struct loop_timer *timer)
{
    (void)evtimer_del(timer->event);
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
    return evtimer_pending(timer->event, NULL) != 0;
}

void loop_timer_free(struct loop_timer *timer)
{
    if (timer == NULL)
        return;
    event_free(timer->event);
    free(timer);
}

int loop_post(struct loop *loop, void (*call)(void *arg), void *arg)
{
    struct post *post = malloc(sizeof(*post));
    if (post == NULL)
        return -1;
    *post = (struct post){.call = call, .arg = arg};
    pthread_mutex_lock(&loop->mutex);
    if (loop->last_post != NULL)
        loop->last_post->next = post;
    else
        loop->first_post = post;
    loop->last_post = post;
    pthread_mutex_unlock(&loop->mutex);
    /* Fails only when the counter is full, which wakes as well. */
    (void)eventfd_write(loop->wake_fd, 1);
    return 0;
}

void random_fill(void *bytes, size_t count)
{
    unsigned char *at = bytes;
    while (count > 0) {
        ssize_t got = getrandom(at, count, 0);
        if (got < 0) {
            /* Only a kernel without the call, or a filter that forbids it. Nothing here is safe without randomness. */
            if (errno != EINTR)
                abort();
            continue;
        }
        at += got;
        count -= (size_t)got;
    }
}

uint32_t random_u32(void)
{
    uint32_t number;
    random_fill(&number, sizeof(number));
    return number;
}
