/* How the threads of a parallel region divide work among them. */
#ifndef SG_SHARE_H
#define SG_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* from..to, `to` excluded. */
typedef struct sg_span {
    size_t from, to;
} sg_span;

/* Contiguous shares of n items: that of member i of `members`. */
static inline sg_span sg_share(size_t n, int member, int members) {
    return (sg_span){n * (size_t)member / (size_t)members, n * ((size_t)member + 1) / (size_t)members};
}

/* What is left of a member's share, on a cache line of its own. */
typedef struct sg_queue {
    _Alignas(64) atomic_size_t next;
    size_t to;
} sg_queue;

/* queue[members] becomes the shares of n items. */
static inline void sg_fill_queues(sg_queue *queue, size_t n, int members) {
    for (int member = 0; member < members; member++) {
        sg_span share = sg_share(n, member, members);
        atomic_store_explicit(&queue[member].next, share.from, memory_order_relaxed);
        queue[member].to = share.to;
    }
}

/* The next items for a member, in a row and at most so many: of its own share, which its caches know from
 * layer to layer, then of what others have left. Half of what is left of a share, so that the last ones,
 * which the members wait for, are few; one member takes as many as it may. False when all are taken. */
static inline bool sg_take_some(sg_queue *queue, int member, int members, size_t most, sg_span *items) {
    for (int i = 0; i < members; i++) {
        sg_queue *q = &queue[(member + i) % members];
        size_t next = atomic_load_explicit(&q->next, memory_order_relaxed);
        if (next >= q->to) continue;
        size_t left = q->to - next, count = members > 1 ? (left + 1) / 2 : left;
        if (count > most) count = most;
        items->from = atomic_fetch_add_explicit(&q->next, count, memory_order_relaxed);
        items->to = items->from + count < q->to ? items->from + count : q->to;
        if (items->from < q->to) return true;
    }
    return false;
}

/* The same, one at a time. */
static inline bool sg_take(sg_queue *queue, int member, int members, size_t *item) {
    sg_span items;
    if (!sg_take_some(queue, member, members, 1, &items)) return false;
    *item = items.from;
    return true;
}

/* The same, each member's share from its end on. The queues hold the shares of n items. */
static inline bool sg_take_backwards(sg_queue *queue, int member, int members, size_t n, size_t *item) {
    if (!sg_take(queue, members - 1 - member, members, item)) return false;
    *item = n - 1 - *item;
    return true;
}

#endif
