#include "pipeline/reduction.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/comm.h"

enum {
    MAX_LEVELS = 31,
    LONG_BYTES = 32 << 10,   /* from here on bandwidth counts more than the number of messages */
    MESSAGE_BYTES = 1 << 30, /* counts are ints in MPI-3 */
    PATIENCE = 1000          /* fruitless tests before the core is offered to somebody else */
};

/* One reduction under way. Level l of the tree pairs ranks at distance P/2 >> l. */
typedef struct operation {
    struct operation *next;
    char *data; /* borrowed */
    size_t count, element;
    sg_combine combine;
    int blocks, tag;
    bool halving;   /* the long algorithm */
    bool gathering; /* its second half: doubling back */
    int level;
    size_t first[MAX_LEVELS + 1], length[MAX_LEVELS + 1]; /* the segment this rank works on at each level */

    int partner;
    bool combines; /* the exchange brings something that is added, and not just taken over */
    const char *send;
    char *receive;
    size_t send_left, receive_left;
    MPI_Request request[2];

    char *buffer;
    size_t capacity;
} operation;

struct sg_reduction {
    MPI_Comm mpi;
    int rank, size, levels;
    size_t long_bytes, message_bytes;
    uint64_t sent;  /* bytes, since its creation */
    unsigned begun; /* counts operations; gives each its tag */
    int outstanding;
    operation *active, *idle; /* active in the order of their beginning */
};

int sg_reduction_create(sg_reduction **reduction, MPI_Comm mpi) {
    *reduction = NULL;
    int rank, size, levels = 0;
    SG_TRY(sg_comm_check(MPI_Comm_rank(mpi, &rank), "MPI_Comm_rank"));
    SG_TRY(sg_comm_check(MPI_Comm_size(mpi, &size), "MPI_Comm_size"));
    while (levels < MAX_LEVELS - 1 && (1 << levels) < size) levels++;
    SG_CHECK((1 << levels) == size, SG_INTERNAL, "a reduction needs a power of two of ranks, not %d", size);
    SG_TRY(SG_NEW(reduction, 1));
    **reduction = (sg_reduction){.mpi = mpi,
                                 .rank = rank,
                                 .size = size,
                                 .levels = levels,
                                 .long_bytes = LONG_BYTES,
                                 .message_bytes = MESSAGE_BYTES};
    return SG_OK;
}

void sg_reduction_tune(sg_reduction *reduction, size_t long_bytes, size_t message_bytes) {
    if (long_bytes > 0) reduction->long_bytes = long_bytes;
    if (message_bytes > 0 && message_bytes <= MESSAGE_BYTES) reduction->message_bytes = message_bytes;
}

/* The next messages of the current exchange, each at most message_bytes long. */
static int post(sg_reduction *r, operation *op) {
    op->request[0] = op->request[1] = MPI_REQUEST_NULL;
    if (op->receive_left > 0) {
        size_t bytes = op->receive_left < r->message_bytes ? op->receive_left : r->message_bytes;
        SG_TRY(sg_comm_check(
            MPI_Irecv(op->receive, (int)bytes, MPI_BYTE, op->partner, op->tag, r->mpi, &op->request[0]),
            "MPI_Irecv"));
        op->receive += bytes;
        op->receive_left -= bytes;
    }
    if (op->send_left > 0) {
        size_t bytes = op->send_left < r->message_bytes ? op->send_left : r->message_bytes;
        SG_TRY(sg_comm_check(
            MPI_Isend(op->send, (int)bytes, MPI_BYTE, op->partner, op->tag, r->mpi, &op->request[1]),
            "MPI_Isend"));
        op->send += bytes;
        r->sent += bytes;
        op->send_left -= bytes;
    }
    return SG_OK;
}

/* Sets up the exchange of the current level. After the levels above, rank r holds the value of index r mod
 * 2d, which exists when that index is less than blocks; so the lower one of a pair exists whenever the higher
 * does. */
static int begin_exchange(sg_reduction *r, operation *op) {
    int l = op->level, distance = r->size >> (l + 1), index = r->rank & (2 * distance - 1);
    bool low = (r->rank & distance) == 0;
    bool mine = index < op->blocks, theirs = (index ^ distance) < op->blocks;
    size_t half = op->length[l] - op->length[l] / 2; /* the lower half of a segment, and its larger one */
    size_t keep = op->first[l], kept = op->length[l], give = keep, given = kept;
    if (op->halving) {
        keep = low ? op->first[l] : op->first[l] + half;
        kept = low ? half : op->length[l] - half;
        give = low ? op->first[l] + half : op->first[l];
        given = op->length[l] - kept;
    }
    op->partner = r->rank ^ distance;
    if (op->gathering) {
        op->combines = false;
        op->send = op->data + keep * op->element;
        op->send_left = kept * op->element;
        op->receive = op->data + give * op->element;
        op->receive_left = given * op->element;
        return post(r, op);
    }
    op->first[l + 1] = keep;
    op->length[l + 1] = kept;
    op->combines = mine && theirs;
    op->send = op->data + give * op->element;
    op->send_left = mine ? given * op->element : 0;
    op->receive = op->combines ? op->buffer : op->data + keep * op->element;
    op->receive_left = theirs ? kept * op->element : 0;
    return post(r, op);
}

/* mine = low (+) high, whichever of them is mine. */
static void merge(const sg_reduction *r, operation *op) {
    int distance = r->size >> (op->level + 1);
    size_t count = op->length[op->level + 1];
    char *mine = op->data + op->first[op->level + 1] * op->element;
    if ((r->rank & distance) == 0) {
        op->combine(mine, op->buffer, count);
    } else if (op->combine == sg_combine_float) { /* gradients: spare them the copy */
        float *high = (float *)(void *)mine;
        const float *low = (const float *)(const void *)op->buffer;
        for (size_t i = 0; i < count; i++) high[i] = low[i] + high[i];
    } else {
        op->combine(op->buffer, mine, count);
        memcpy(mine, op->buffer, count * op->element);
    }
}

/* Moves one operation as far as it goes without waiting. */
static int move(sg_reduction *r, operation *op, bool *done) {
    *done = false;
    for (;;) {
        int complete = 0;
        SG_TRY(sg_comm_check(MPI_Testall(2, op->request, &complete, MPI_STATUSES_IGNORE), "MPI_Testall"));
        if (!complete) return SG_OK;
        if (op->send_left > 0 || op->receive_left > 0) {
            SG_TRY(post(r, op));
            continue;
        }
        if (op->combines) merge(r, op);
        if (!op->gathering && op->level + 1 < r->levels) {
            op->level++;
        } else if (!op->gathering && op->halving) {
            op->gathering = true; /* the last pair first, back up to the first */
        } else if (op->gathering && op->level > 0) {
            op->level--;
        } else {
            *done = true;
            return SG_OK;
        }
        SG_TRY(begin_exchange(r, op));
    }
}

static int progress(void *context) {
    sg_reduction *r = context;
    for (operation **link = &r->active; *link != NULL;) {
        operation *op = *link;
        bool done;
        SG_TRY(move(r, op, &done));
        if (done) {
            *link = op->next;
            op->next = r->idle;
            r->idle = op;
            r->outstanding--;
        } else {
            link = &op->next;
        }
    }
    return SG_OK;
}

static int wait_until(sg_reduction *r, int outstanding) {
    int before = r->outstanding;
    for (int tries = 0; r->outstanding > outstanding; tries++) {
        SG_TRY(progress(r));
        if (r->outstanding != before) tries = 0, before = r->outstanding;
        if (tries >= PATIENCE) sched_yield();
    }
    return SG_OK;
}

static int take_idle(sg_reduction *r, size_t bytes, operation **taken) {
    if (r->idle == NULL) SG_TRY(SG_NEW(&r->idle, 1));
    operation *op = r->idle;
    if (op->capacity < bytes) {
        SG_FREE(op->buffer);
        op->capacity = 0;
        SG_TRY(SG_NEW(&op->buffer, bytes));
        op->capacity = bytes;
    }
    r->idle = op->next;
    *taken = op;
    return SG_OK;
}

static int begin(sg_reduction *r, void *data, size_t count, size_t element, sg_combine combine, int blocks) {
    if (r->size == 1 || blocks <= 0 || count == 0) return SG_OK;
    SG_TRY(wait_until(r, SG_TAG_SUMS - 1)); /* no two under way with the same tag */
    bool halving = count * element >= r->long_bytes;
    operation *op = NULL;
    SG_TRY(take_idle(r, (halving ? count - count / 2 : count) * element, &op));
    char *buffer = op->buffer;
    size_t capacity = op->capacity;
    *op = (operation){.data = data,
                      .count = count,
                      .element = element,
                      .combine = combine,
                      .blocks = blocks,
                      .tag = SG_TAG_SUM + (int)(r->begun++ % SG_TAG_SUMS),
                      .halving = halving,
                      .length = {count},
                      .buffer = buffer,
                      .capacity = capacity};
    operation **link = &r->active;
    while (*link != NULL) link = &(*link)->next;
    *link = op;
    r->outstanding++;
    return begin_exchange(r, op);
}

static int sum_begin(void *context, float *data, size_t count, int blocks) {
    return begin(context, data, count, sizeof *data, sg_combine_float, blocks);
}

static int finish(void *context) { return wait_until(context, 0); }

static int combine_now(void *context, void *data, size_t count, size_t element, sg_combine combine,
                       int blocks) {
    sg_reduction *r = context;
    if (r->size == 1 || blocks <= 0 || count == 0) return SG_OK;
    SG_TRY(begin(r, data, count, element, combine, blocks));
    operation *mine = r->active;
    while (mine->next != NULL) mine = mine->next;
    /* Sums that were begun before go on meanwhile; only this one is waited for. */
    for (int tries = 0;; tries++) {
        SG_TRY(progress(r));
        const operation *op = r->active;
        while (op != NULL && op != mine) op = op->next;
        if (op == NULL) return SG_OK;
        if (tries >= PATIENCE) sched_yield();
    }
}

uint64_t sg_reduction_sent(const sg_reduction *reduction) { return reduction->sent; }

void sg_reduction_interface(sg_reduction *reduction, sg_reduce *reduce) {
    *reduce = (sg_reduce){.context = reduction,
                          .rank = reduction->rank,
                          .size = reduction->size,
                          .combine = combine_now,
                          .sum_begin = sum_begin,
                          .progress = progress,
                          .finish = finish};
}

void sg_reduction_destroy(sg_reduction **reduction) {
    sg_reduction *r = *reduction;
    if (r == NULL) return;
    /* After a failed one MPI may still write into the buffers of what is active: those are left alone. */
    if (finish(r) != SG_OK) sg_error_clear();
    for (operation *op = r->idle, *next; op != NULL; op = next) {
        next = op->next;
        SG_FREE(op->buffer);
        free(op);
    }
    SG_FREE(*reduction);
}
