/* Memory: every allocation is zeroed, aligned to 64 bytes, checked for overflow, and readable for
 * SG_READABLE_SLACK bytes past its end (BLIS's micro-kernels load one step ahead). Freed with free() or
 * SG_FREE. */
#ifndef SG_MEMORY_H
#define SG_MEMORY_H

#include <stddef.h>
#include <stdlib.h>

#include "kernels/error.h"

enum { SG_ALIGNMENT = 64, SG_READABLE_SLACK = 256 };

/* NULL, with an SG_NOMEM error that names the size, when there is no memory. count 0 gives a valid block. */
void *sg_alloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* SG_TRY(SG_NEW(&pointer, count)): *pointer becomes an owned array of count zeroed elements. */
#define SG_NEW(pointer, count)                                                                               \
    ((*(pointer) = sg_alloc((count), sizeof **(pointer))) != NULL ? SG_OK : SG_NOMEM)

static inline int sg_min(int a, int b) { return a < b ? a : b; }
static inline int sg_max(int a, int b) { return a > b ? a : b; }

/* a / b, rounded up. */
static inline int sg_divide_up(int a, int b) { return (a + b - 1) / b; }

/* count, made a whole number of units. */
static inline size_t sg_round_up(size_t count, size_t unit) { return (count + unit - 1) / unit * unit; }

#define SG_FREE(pointer) (free(pointer), (pointer) = NULL)

#endif
