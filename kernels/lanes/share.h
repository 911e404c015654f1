/* How the threads of a parallel region divide work among them. */
#ifndef SG_SHARE_H
#define SG_SHARE_H

#include <stddef.h>

/* from..to, `to` excluded. */
typedef struct sg_span {
    size_t from, to;
} sg_span;

/* Contiguous shares of n items: that of member i of `members`. */
static inline sg_span sg_share(size_t n, int member, int members) {
    return (sg_span){n * (size_t)member / (size_t)members, n * ((size_t)member + 1) / (size_t)members};
}

#endif
