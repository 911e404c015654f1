#include "kernels/fold.h"

/* Level by level here, depth first in sg_tree_order: each value is combined with the same partners in the
 * same order. */
void sg_fold(void *values, int blocks, size_t stride, size_t count, sg_combine combine) {
    char *value = values;
    int distance = 1;
    while (distance < blocks) distance *= 2;
    for (distance /= 2; distance > 0; distance /= 2)
        for (int b = 0; b < distance && b + distance < blocks; b++)
            combine(value + (size_t)b * stride, value + (size_t)(b + distance) * stride, count);
}
