/* The clock that durations and deadlines are measured with: seconds since some moment in the past, whatever
 * is done to the time of day. Local; cannot fail. */
#ifndef SG_CLOCK_H
#define SG_CLOCK_H

#include <time.h>

static inline double sg_clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
