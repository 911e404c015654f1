#include "pipeline/reduction.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/memory.h"
#include "pipeline/comm.h"
#include "pipeline/shared_memory.h"

enum {
    MAX_LEVELS = 31,
    LONG_BYTES = 32 << 10,   /* from here on bandwidth counts more than the number of messages */
    MESSAGE_BYTES = 1 << 30, /* counts are ints in MPI-3 */
    PATIENCE = 1000,         /* fruitless tests before the core is offered to somebody else */
    PIECE_BYTES = 4096,      /* what is added at once: it stays in L1 */
    PARALLEL_BYTES = 256 << 10
};

/* How far a rank is with the sums in an array, or the meetings at it; they are counted from 1. */
enum point {
    READY, /* its values are there, or it is itself */
    ADDED, /* its segment of a sum is in all copies */
    POINTS
};
typedef struct turn {
    _Alignas(SG_ALIGNMENT) _Atomic uint64_t number;
} turn;

/* Arrays of all ranks that all see, or one of all. */
typedef struct shared_array {
    struct shared_array *next;
    sg_shared_memory *memory; /* of each rank turn[POINTS] and, unless there is one for all, its floats */
    sg_shared_memory *common; /* the floats of all, or NULL */
    float *data;              /* this rank's, or those of all */
    size_t count;
    uint64_t begun; /* sums or meetings */
    uint64_t added; /* sums to which this rank has added its segment: one after the other */
} shared_array;

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

    shared_array *array; /* NULL: messages */
    uint64_t number;     /* of the sum in its array */

    char *buffer;
    size_t capacity;
} operation;

struct sg_reduction {
    MPI_Comm mpi;
    int rank, size, levels, threads;
    size_t long_bytes, message_bytes;
    uint64_t sent;  /* bytes given to others, since its creation */
    unsigned begun; /* counts operations; gives each its tag */
    int outstanding;
    operation *active, *idle; /* active in the order of their beginning */
    shared_array *arrays;
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
                                 .threads = 1,
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

/* Elements of a piece. */
static size_t piece_of(const operation *op) {
    return op->element < PIECE_BYTES ? PIECE_BYTES / op->element : 1;
}

/* mine = low (+) high, whichever of them is mine. */
static void merge(const sg_reduction *r, operation *op) {
    bool low = (r->rank & (r->size >> (op->level + 1))) == 0;
    size_t count = op->length[op->level + 1], element = op->element, step = piece_of(op);
    char *mine = op->data + op->first[op->level + 1] * element;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (count * element >= PARALLEL_BYTES)
    for (size_t at = 0; at < count; at += step) {
        size_t n = count - at < step ? count - at : step;
        char *own = mine + at * element, *theirs = op->buffer + at * element;
        op->combine(low ? own : theirs, low ? theirs : own, n);
        if (!low) memcpy(own, theirs, n * element);
    }
}

static turn *turns_of(const shared_array *array, int rank) {
    return sg_shared_memory_of(array->memory, rank);
}

static float *floats_of(const shared_array *array, int rank) {
    return (float *)(void *)(turns_of(array, rank) + POINTS);
}

static void reach(const sg_reduction *r, const shared_array *array, enum point point, uint64_t number) {
    atomic_store_explicit(&turns_of(array, r->rank)[point].number, number, memory_order_release);
}

static bool all_reached(const sg_reduction *r, const shared_array *array, enum point point, uint64_t number) {
    for (int q = 0; q < r->size; q++)
        if (atomic_load_explicit(&turns_of(array, q)[point].number, memory_order_acquire) < number)
            return false;
    return true;
}

/* The tree over ranks for n floats from `first` on, counted from the array's first. */
static void add_piece(const sg_reduction *r, const operation *op, size_t first, size_t n) {
    for (int distance = r->size / 2; distance >= 1; distance /= 2)
        for (int q = 0; q < distance && q + distance < op->blocks; q++)
            sg_combine_float(floats_of(op->array, q) + first, floats_of(op->array, q + distance) + first, n);
    for (int q = 1; q < r->size; q++)
        memcpy(floats_of(op->array, q) + first, floats_of(op->array, 0) + first, n * sizeof(float));
}

static void add_segment(sg_reduction *r, const operation *op) {
    size_t from, to, first = (size_t)((float *)(void *)op->data - op->array->data);
    sg_reduce_share(r->rank, r->size, op->count, &from, &to);
    size_t step = piece_of(op), bytes = (to - from) * sizeof(float);
#pragma omp parallel for num_threads(r->threads) schedule(static) if (bytes >= PARALLEL_BYTES)
    for (size_t at = from; at < to; at += step) add_piece(r, op, first + at, to - at < step ? to - at : step);
    if (r->rank < op->blocks) r->sent += op->count * sizeof(float) - bytes;
    r->sent += bytes * (size_t)(r->size - 1);
}

/* Sums in one array are added in the order of their beginning, since a rank tells only of the last: one for
 * which all have become ready meanwhile waits for those ahead of it, which were looked at before. */
static bool move_shared(sg_reduction *r, operation *op) {
    shared_array *array = op->array;
    if (op->number == array->added + 1 && all_reached(r, array, READY, op->number)) {
        add_segment(r, op);
        reach(r, array, ADDED, op->number);
        array->added = op->number;
    }
    return op->number <= array->added && all_reached(r, array, ADDED, op->number);
}

static int move_messages(sg_reduction *r, operation *op, bool *done) {
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

/* The operation at *link is over. */
static void retire(sg_reduction *r, operation **link) {
    operation *op = *link;
    *link = op->next;
    op->next = r->idle;
    r->idle = op;
    r->outstanding--;
}

/* Moves each operation as far as it goes without waiting. */
static int progress(void *context) {
    sg_reduction *r = context;
    for (operation **link = &r->active; *link != NULL;) {
        operation *op = *link;
        bool done;
        if (op->array != NULL)
            done = move_shared(r, op);
        else
            SG_TRY(move_messages(r, op, &done));
        if (done)
            retire(r, link);
        else
            link = &op->next;
    }
    return SG_OK;
}

/* Waiting for others, again and again without effect: the core may be wanted. */
static void be_patient(int tries) {
    if (tries >= PATIENCE) sched_yield();
}

static int wait_until(sg_reduction *r, int outstanding) {
    int before = r->outstanding;
    for (int tries = 0; r->outstanding > outstanding; tries++) {
        SG_TRY(progress(r));
        if (r->outstanding != before) tries = 0, before = r->outstanding;
        be_patient(tries);
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

/* The array that data lies in, one of each rank's, or NULL. */
static shared_array *array_of_sum(const sg_reduction *r, const void *data) {
    shared_array *at = r->arrays;
    while (at != NULL && (at->common != NULL || (const float *)data < at->data ||
                          (const float *)data >= at->data + at->count))
        at = at->next;
    return at;
}

static int begin(sg_reduction *r, void *data, size_t count, size_t element, sg_combine combine, int blocks) {
    if (r->size == 1 || blocks <= 0 || count == 0) return SG_OK;
    SG_TRY(wait_until(r, SG_TAG_SUMS - 1)); /* no two under way with the same tag */
    shared_array *shared = combine == sg_combine_float ? array_of_sum(r, data) : NULL;
    bool halving = shared == NULL && count * element >= r->long_bytes;
    size_t received = shared != NULL ? 0 : halving ? count - count / 2 : count;
    operation *op = NULL;
    SG_TRY(take_idle(r, received * element, &op));
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
                      .array = shared,
                      .buffer = buffer,
                      .capacity = capacity};
    operation **link = &r->active;
    while (*link != NULL) link = &(*link)->next;
    *link = op;
    r->outstanding++;
    if (shared == NULL) return begin_exchange(r, op);
    op->number = ++shared->begun;
    reach(r, shared, READY, op->number);
    return SG_OK;
}

/* Takes over what `made` has of memory. */
static int add_array(sg_reduction *r, shared_array made, float **data) {
    shared_array *array;
    int status = SG_AT(SG_NEW(&array, 1));
    if (status == SG_OK) {
        made.next = r->arrays;
        *array = made;
        r->arrays = array;
        *data = made.data;
        return SG_OK;
    }
    sg_shared_memory_destroy(&made.memory);
    sg_shared_memory_destroy(&made.common);
    return status;
}

static int allocate(void *context, size_t count, float **data) {
    sg_reduction *r = context;
    shared_array made = {.count = count};
    *data = NULL;
    if (r->size > 1)
        SG_TRY(sg_shared_memory_create(&made.memory, r->mpi, sizeof(turn[POINTS]) + count * sizeof(float)));
    if (made.memory == NULL) return SG_AT(SG_NEW(data, count));
    made.data = floats_of(&made, r->rank);
    return SG_AT(add_array(r, made, data));
}

static int share(void *context, size_t count, float **data) {
    sg_reduction *r = context;
    shared_array made = {.count = count};
    size_t size = (size_t)r->size;
    *data = NULL;
    if (size == 1) return SG_OK;
    SG_TRY(sg_shared_memory_create(&made.memory, r->mpi, sizeof(turn[POINTS])));
    int status = SG_OK;
    if (made.memory != NULL)
        status =
            SG_AT(sg_shared_memory_create(&made.common, r->mpi, (count + size - 1) / size * sizeof(float)));
    if (status != SG_OK || made.common == NULL) {
        sg_shared_memory_destroy(&made.memory);
        return status;
    }
    made.data = sg_shared_memory_of(made.common, 0);
    return SG_AT(add_array(r, made, data));
}

static void release(void *context, float **data) {
    sg_reduction *r = context;
    shared_array **link = &r->arrays;
    while (*link != NULL && (*link)->data != *data) link = &(*link)->next;
    shared_array *found = *link;
    if (found == NULL) {
        SG_FREE(*data);
        return;
    }
    *link = found->next;
    /* Sums are under way in it when one that failed lets go. */
    for (operation **op = &r->active; *op != NULL;)
        if ((*op)->array == found)
            retire(r, op);
        else
            op = &(*op)->next;
    sg_shared_memory_destroy(&found->memory);
    sg_shared_memory_destroy(&found->common);
    free(found);
    *data = NULL;
}

static int meet(void *context, float *data) {
    sg_reduction *r = context;
    shared_array *array = r->arrays;
    while (array != NULL && array->data != data) array = array->next;
    SG_CHECK(array != NULL, SG_INTERNAL, "ranks meet at memory that they do not share");
    reach(r, array, READY, ++array->begun);
    for (int tries = 0; !all_reached(r, array, READY, array->begun); tries++) be_patient(tries);
    return SG_OK;
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
        be_patient(tries);
    }
}

uint64_t sg_reduction_sent(const sg_reduction *reduction) { return reduction->sent; }

void sg_reduction_interface(sg_reduction *reduction, int threads, sg_reduce *reduce) {
    reduction->threads = threads;
    *reduce = (sg_reduce){.context = reduction,
                          .rank = reduction->rank,
                          .size = reduction->size,
                          .combine = combine_now,
                          .allocate = allocate,
                          .release = release,
                          .share = share,
                          .meet = meet,
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
    while (r->arrays != NULL) release(r, &(float *){r->arrays->data});
    SG_FREE(*reduction);
}
