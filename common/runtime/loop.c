#include "common/runtime/loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <pthread.h>

struct posted {
    void (*call)(void *arg);
    void *arg;
    struct posted *next;
};

struct loop {
    struct event_base *base;
    struct event *wake; /* the eventfd below became readable: something was posted */
    int wake_fd;
    pthread_mutex_t lock; /* guards the list */
    struct posted *first, **last;
};

struct loop_timer {
    struct event *event;
    void (*on_expire)(void *arg);
    void *arg;
};

static struct posted *take_posted(struct loop *loop)
{
    struct posted *first;

    (void)pthread_mutex_lock(&loop->lock);
    first = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    (void)pthread_mutex_unlock(&loop->lock);
    return first;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;
    uint64_t count;

    (void)what;
    (void)!read(fd, &count, sizeof(count)); /* the counter only wakes; what is to be done stands in the list */
    for (struct posted *posted = take_posted(loop), *next; posted != NULL; posted = next) {
        next = posted->next;
        posted->call(posted->arg);
        free(posted);
    }
}

static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base;

    if (config == NULL)
        return NULL;
    /* Timers must not jump with the wall clock; libevent uses the monotonic one, precisely if asked. */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
    base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int loop_new(struct loop **ret_loop, struct error *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (loop == NULL)
        return error_no_memory(err);
    loop->last = &loop->first;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)pthread_mutex_init(&loop->lock, NULL);
    loop->base = make_base();
    if (loop->wake_fd >= 0 && loop->base != NULL)
        loop->wake = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
    if (loop->wake == NULL || event_add(loop->wake, NULL) < 0) {
        loop_free(loop);
        return error_set(err, ERROR_FATAL, "loop.setup", "the event loop cannot be set up");
    }
    *ret_loop = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    for (struct posted *posted = take_posted(loop), *next; posted != NULL; posted = next) {
        next = posted->next;
        free(posted);
    }
    if (loop->wake != NULL)
        event_free(loop->wake);
    if (loop->base != NULL)
        event_base_free(loop->base);
    if (loop->wake_fd >= 0)
        (void)close(loop->wake_fd);
    (void)pthread_mutex_destroy(&loop->lock);
    free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

int loop_run(struct loop *loop, struct error *err)
{
    if (event_base_dispatch(loop->base) < 0)
        return error_set(err, ERROR_FATAL, "loop.failed", "the event loop failed");
    return 0;
}

void loop_stop(struct loop *loop)
{
    (void)event_base_loopexit(loop->base, NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct loop_timer *timer = arg;

    (void)fd;
    (void)what;
    timer->on_expire(timer->arg); /* may free the timer */
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
    const int64_t delay = delay_ms > 0 ? delay_ms : 0;
    const struct timeval when = {.tv_sec = (time_t)(delay / 1000), .tv_usec = (suseconds_t)(delay % 1000 * 1000)};

    (void)evtimer_add(timer->event, &when);
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
    const uint64_t one = 1;
    struct posted *posted = malloc(sizeof(*posted));

    if (posted == NULL)
        return -1;
    *posted = (struct posted){.call = call, .arg = arg};
    (void)pthread_mutex_lock(&loop->lock);
    *loop->last = posted;
    loop->last = &posted->next;
    (void)pthread_mutex_unlock(&loop->lock);
    (void)!write(loop->wake_fd, &one, sizeof(one)); /* fails only when the counter is full, which wakes as well */
    return 0;
}

int64_t clock_monotonic_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

struct timestamp clock_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (struct timestamp){.seconds = now.tv_sec, .nanoseconds = (int32_t)now.tv_nsec};
}

void random_fill(void *bytes, size_t count)
{
    size_t done = 0;

    while (done < count) {
        ssize_t got = getrandom((char *)bytes + done, count - done, 0);
        if (got > 0)
            done += (size_t)got;
    }
}

uint32_t random_u32(void)
{
    uint32_t number;

    random_fill(&number, sizeof(number));
    return number;
}
