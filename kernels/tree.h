/* The binary tree over the blocks of a minibatch that fixes the order of every sum over samples.
 *
 * Blocks b = 0..B-1; at distance d = 2^ceil(log2 B) / 2, then half of it, ..., 1: v[b] = v[b] + v[b + d]
 * where both exist (absent blocks are skipped, never added as zeros). Block b lives on rank b mod P, local
 * index j = b / P, so all levels with d >= P are local and their shape depends on the local count alone. */
#ifndef SG_TREE_H
#define SG_TREE_H

#include "kernels/memory.h"

/* The local levels, depth first: visit leaf leaf[i], push its value, then merge the two topmost values
 * merges[i] times (lower one = lower one (+) topmost). After the last leaf one value is left. leaf and merges
 * have room for n. Local; cannot fail; n >= 0. */
void sg_tree_order(int n, int *leaf, int *merges);

/* The most values that ever lie on that stack: floor(log2 n) + 1, or 0 without leaves. Local; cannot fail. */
int sg_tree_depth(int n);

/* How many of B blocks rank r of P holds, and how many samples are in local block j of a minibatch. */
static inline int sg_tree_local_blocks(int blocks, int rank, int ranks) {
    return rank < blocks ? sg_divide_up(blocks - rank, ranks) : 0;
}
static inline int sg_tree_block_samples(int samples, int lanes, int local_block, int rank, int ranks) {
    int left = samples - (local_block * ranks + rank) * lanes;
    return left < 0 ? 0 : left < lanes ? left : lanes;
}

/* How many of `ranks` work on a minibatch of B blocks: the largest power of two that is neither more than
 * those nor more than B, but 1 at least. */
static inline int sg_tree_ranks(int blocks, int ranks) {
    int working = 1;
    while (2 * working <= ranks && 2 * working <= blocks) working *= 2;
    return working;
}

#endif
