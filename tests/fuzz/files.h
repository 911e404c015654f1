/* What the harnesses share: files on a memory file system, pieces of an input, and failing. */
#ifndef SG_FUZZ_FILES_H
#define SG_FUZZ_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each harness is this function: takes any bytes, returns 0, and ends the process where what it tests
 * misbehaves. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of an input. */
typedef struct sg_fuzz_input {
    const uint8_t *at;
    size_t left;
} sg_fuzz_input;

uint8_t sg_fuzz_byte(sg_fuzz_input *input);                /* 0 when nothing is left */
size_t sg_fuzz_number(sg_fuzz_input *input, size_t limit); /* 0..limit, of two bytes */

/* The next `size` bytes, or what is left of them; borrowed. */
sg_fuzz_input sg_fuzz_part(sg_fuzz_input *input, size_t size);

/* A folder of this process's own, made at the first call and removed at exit. */
const char *sg_fuzz_folder(void);

/* Writes folder/name, making the directories in it; the path is good until the next call. */
const char *sg_fuzz_write(const char *name, const void *bytes, size_t size);
void sg_fuzz_remove(const char *name);

/* A copy of exactly this size, so that a sanitizer sees what is read or written beyond it. Owned. */
void *sg_fuzz_copy(const void *bytes, size_t size);

/* Says what is wrong and aborts, unless it holds. */
void sg_fuzz_require(bool holds, const char *what);

#endif
