#include "common/kafka/blocking.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct blocking_job {
    void (*job)(void *arg);
    void (*done)(void *arg);
    void *arg;
    struct blocking_job *next;
};

struct job_list {
    struct blocking_job *first, *last;
};

struct blocking {
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the three below */
    pthread_cond_t changed;
    struct job_list waiting;
    struct job_list finished;
    bool is_ending;
    int fd; /* readable when something has finished */
    struct event *event;
};

static void put(struct job_list *list, struct blocking_job *job)
{
    job->next = NULL;
    if (list->last != NULL)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

static struct blocking_job *take(struct job_list *list)
{
    struct blocking_job *job = list->first;

    if (job != NULL) {
        list->first = job->next;
        if (list->first == NULL)
            list->last = NULL;
    }
    return job;
}

static void *run_jobs(void *arg)
{
    struct blocking *blocking = arg;

    pthread_mutex_lock(&blocking->mutex);
    for (;;) {
        struct blocking_job *job = take(&blocking->waiting);

        if (job != NULL) {
            pthread_mutex_unlock(&blocking->mutex);
            job->job(job->arg);
            pthread_mutex_lock(&blocking->mutex);
            put(&blocking->finished, job);
            (void)eventfd_write(blocking->fd, 1);
        } else if (blocking->is_ending) {
            break;
        } else {
            pthread_cond_wait(&blocking->changed, &blocking->mutex);
        }
    }
    pthread_mutex_unlock(&blocking->mutex);
    return NULL;
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
    struct blocking *blocking = arg;
    struct blocking_job *job;
    eventfd_t count;
    bool has_more;

    (void)what;
    (void)eventfd_read(fd, &count);
    pthread_mutex_lock(&blocking->mutex);
    job = take(&blocking->finished);
    has_more = blocking->finished.first != NULL;
    pthread_mutex_unlock(&blocking->mutex);
    if (has_more)
        (void)eventfd_write(blocking->fd, 1);
    if (job != NULL) {
        void (*done)(void *arg) = job->done;
        void *done_arg = job->arg;

        free(job);
        if (done != NULL)
            done(done_arg);
    }
}

/* Signals are the main thread's. */
static int start_thread(struct blocking *blocking)
{
    sigset_t all;
    sigset_t before;
    int failure;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failure = pthread_create(&blocking->thread, NULL, run_jobs, blocking);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

int blocking_new(struct loop *loop, struct blocking **ret_blocking, struct error *err)
{
    struct blocking *blocking = calloc(1, sizeof(*blocking));
    int failure;

    if (blocking == NULL)
        return error_no_memory(err);
    pthread_mutex_init(&blocking->mutex, NULL);
    pthread_cond_init(&blocking->changed, NULL);
    blocking->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (blocking->fd < 0) {
        failure = errno;
        goto out;
    }
    blocking->event = event_new(loop_base(loop), blocking->fd, EV_READ | EV_PERSIST, on_finished, blocking);
    if (blocking->event == NULL || event_add(blocking->event, NULL) < 0) {
        failure = ENOMEM;
        goto out;
    }
    failure = start_thread(blocking);
out:
    if (failure != 0) {
        if (blocking->event != NULL)
            event_free(blocking->event);
        if (blocking->fd >= 0)
            close(blocking->fd);
        pthread_cond_destroy(&blocking->changed);
        pthread_mutex_destroy(&blocking->mutex);
        free(blocking);
        return error_set(err, ERROR_TRANSIENT, "kafka.no_thread", "cannot start a thread: %s", strerror(failure));
    }
    *ret_blocking = blocking;
    return 0;
}

int blocking_run(struct blocking *blocking, void (*job)(void *arg), void (*done)(void *arg), void *arg)
{
    struct blocking_job *entry = calloc(1, sizeof(*entry));

    if (entry == NULL)
        return -1;
    entry->job = job;
    entry->done = done;
    entry->arg = arg;
    pthread_mutex_lock(&blocking->mutex);
    put(&blocking->waiting, entry);
    pthread_cond_signal(&blocking->changed);
    pthread_mutex_unlock(&blocking->mutex);
    return 0;
}

void blocking_free(struct blocking *blocking)
{
    struct blocking_job *job;

    if (blocking == NULL)
        return;
    pthread_mutex_lock(&blocking->mutex);
    blocking->is_ending = true;
    pthread_cond_signal(&blocking->changed);
    pthread_mutex_unlock(&blocking->mutex);
    pthread_join(blocking->thread, NULL);
    while ((job = take(&blocking->finished)) != NULL)
        free(job);
    event_free(blocking->event);
    close(blocking->fd);
    pthread_cond_destroy(&blocking->changed);
    pthread_mutex_destroy(&blocking->mutex);
    free(blocking);
}
