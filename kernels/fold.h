/* Sums over the local blocks of a minibatch, in the order of tree.h. */
#ifndef SG_FOLD_H
#define SG_FOLD_H

#include <stddef.h>

#include "kernels/reduce.h"

/* values[blocks] arrays of count elements, stride bytes apart: afterwards the first one holds all blocks
 * combined in the order of sg_tree_order; the others hold partial results. Local; cannot fail. */
void sg_fold(void *values, int blocks, size_t stride, size_t count, sg_combine combine);

#endif
