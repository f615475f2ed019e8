/* The clocks of the I/O shell; the pure core gets time from here as an argument. Any thread. */
#ifndef TANDEM_RUNTIME_CLOCK_H
#define TANDEM_RUNTIME_CLOCK_H

#include <stdint.h>

#include "common/base/timestamp.h"

int64_t clock_monotonic_ms(void);
int64_t clock_monotonic_us(void);
struct timestamp clock_now(void); /* UTC */

#endif
