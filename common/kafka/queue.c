#include "common/kafka/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What librdkafka writes: an eventfd adds up 8-byte numbers. */
static const uint64_t WAKE_UP = 1;

struct queue_watch {
    rd_kafka_queue_t *queue;
    int fd;
    struct event *event;
    bool (*serve)(void *arg);
    void *arg;
};

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct queue_watch *watch = arg;
    eventfd_t count;

    (void)what;
    (void)eventfd_read(fd, &count);
    /* Writing to the descriptor, not event_active(): the loop then looks at all other descriptors first. */
    if (watch->serve(watch->arg))
        queue_watch_wake(watch);
}

int queue_watch_new(struct loop *loop, rd_kafka_queue_t *queue, bool (*serve)(void *arg), void *arg,
                    struct queue_watch **ret_watch, struct error *err)
{
    struct queue_watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL)
        return error_no_memory(err);
    watch->queue = queue;
    watch->serve = serve;
    watch->arg = arg;
    watch->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (watch->fd < 0) {
        (void)error_set(err, ERROR_TRANSIENT, "kafka.no_descriptor", "eventfd: %s", strerror(errno));
        free(watch);
        return -1;
    }
    watch->event = event_new(loop_base(loop), watch->fd, EV_READ | EV_PERSIST, on_readable, watch);
    if (watch->event == NULL || event_add(watch->event, NULL) < 0) {
        queue_watch_free(watch);
        return error_no_memory(err);
    }
    rd_kafka_queue_io_event_enable(queue, watch->fd, &WAKE_UP, sizeof(WAKE_UP));
    /* What came before the watch raises no event. */
    queue_watch_wake(watch);
    *ret_watch = watch;
    return 0;
}

void queue_watch_wake(struct queue_watch *watch)
{
    (void)eventfd_write(watch->fd, WAKE_UP);
}

void queue_watch_free(struct queue_watch *watch)
{
    if (watch == NULL)
        return;
    rd_kafka_queue_io_event_enable(watch->queue, -1, NULL, 0);
    if (watch->event != NULL)
        event_free(watch->event);
    close(watch->fd);
    free(watch);
}

struct queue_turn queue_turn_begin(void)
{
    return (struct queue_turn){.end_us = clock_monotonic_us() + QUEUE_TURN_US_MAX};
}

bool queue_turn_goes_on(struct queue_turn *turn)
{
    turn->events++;
    return turn->events < QUEUE_TURN_EVENTS_MAX && clock_monotonic_us() < turn->end_us;
}
