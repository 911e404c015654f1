#include "kernels/arena.h"

#include "kernels/memory.h"

static bool meet_in_time(const sg_piece *a, const sg_piece *b) {
    return a->first <= b->last && b->first <= a->last;
}

static bool meet_in_place(const sg_piece *a, const sg_piece *b) {
    return a->at < b->at + b->bytes && b->at < a->at + a->bytes;
}

static int by_size(const void *a, const void *b) {
    const sg_piece *one = *(sg_piece *const *)a, *two = *(sg_piece *const *)b;
    if (one->bytes != two->bytes) return one->bytes > two->bytes ? -1 : 1;
    return (one > two) - (one < two);
}

static int by_place(const void *a, const void *b) {
    const sg_piece *one = *(sg_piece *const *)a, *two = *(sg_piece *const *)b;
    return (one->at > two->at) - (one->at < two->at);
}

/* The lowest gap between `busy`, pieces that are placed and needed together with `piece`. */
static size_t lowest_gap(const sg_piece *piece, sg_piece **busy, int count) {
    size_t at = 0;
    qsort(busy, (size_t)count, sizeof *busy, by_place);
    for (int i = 0; i < count; i++) {
        if (at + piece->bytes <= busy[i]->at) break;
        size_t end = sg_round_up(busy[i]->at + busy[i]->bytes, SG_ALIGNMENT);
        if (end > at) at = end;
    }
    return at;
}

static void find_shared(sg_piece *pieces, int count) {
    for (int i = 0; i < count; i++) {
        pieces[i].shared = false;
        for (int j = 0; j < count && !pieces[i].shared; j++)
            pieces[i].shared = j != i && meet_in_place(&pieces[i], &pieces[j]);
    }
}

int sg_arena_plan(sg_piece *pieces, int count, size_t *bytes) {
    sg_piece **order;
    *bytes = 0;
    SG_TRY(SG_NEW(&order, 2 * (size_t)count));
    sg_piece **busy = order + count;
    for (int i = 0; i < count; i++) order[i] = &pieces[i];
    qsort(order, (size_t)count, sizeof *order, by_size);
    for (int i = 0; i < count; i++) {
        int together = 0;
        for (int j = 0; j < i; j++)
            if (meet_in_time(order[i], order[j])) busy[together++] = order[j];
        order[i]->at = lowest_gap(order[i], busy, together);
        size_t end = sg_round_up(order[i]->at + order[i]->bytes, SG_ALIGNMENT);
        if (end > *bytes) *bytes = end;
    }
    find_shared(pieces, count);
    free(order);
    return SG_OK;
}
