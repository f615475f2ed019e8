/* Lets the n-th allocation of the code under test fail, so that every way out is taken once.
 *
 * For programs linked with --wrap=malloc, calloc and realloc; what shared libraries allocate for themselves is not
 * touched, unless they were given these functions. One thread. */
#ifndef TANDEM_TESTS_ALLOCATION_H
#define TANDEM_TESTS_ALLOCATION_H

#include <stdbool.h>

/* From now on the n-th allocation (from 1) fails, once; 0: none. */
void allocation_fail_at(unsigned n);
/* Whether it has come to that since. */
bool allocation_has_failed(void);

#endif
