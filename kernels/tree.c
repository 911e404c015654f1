#include "kernels/tree.h"

/* The subtree of blocks first, first + step, first + 2 step, ...: its two halves are the even and the odd
 * ones. */
static int visit(int n, int first, int step, int top, int *leaf, int *merges, int visited) {
    if (step >= top) {
        leaf[visited] = first;
        merges[visited] = 0;
        return visited + 1;
    }
    visited = visit(n, first, 2 * step, top, leaf, merges, visited);
    if (first + step < n) {
        visited = visit(n, first + step, 2 * step, top, leaf, merges, visited);
        merges[visited - 1]++;
    }
    return visited;
}

void sg_tree_order(int n, int *leaf, int *merges) {
    int top = 1;
    while (top < n) top *= 2;
    if (n > 0) visit(n, 0, 1, top, leaf, merges, 0);
}

int sg_tree_depth(int n) {
    int depth = 0;
    for (; n > 0; n /= 2) depth++;
    return depth;
}
