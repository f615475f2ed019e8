#include "common/runtime/clock.h"

#include <time.h>

enum { US_PER_SECOND = 1000000, US_PER_MS = 1000, NS_PER_US = 1000 };

int64_t clock_monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / NS_PER_US;
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / US_PER_MS;
}

struct timestamp clock_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (struct timestamp){.seconds = now.tv_sec, .nanoseconds = (int32_t)now.tv_nsec};
}
