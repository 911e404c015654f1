/* HDF5 files of other origin, whole way: a child process reads the file, this one takes what it sends. The
 * child may crash in libhdf5 and may be killed; this process must not, and must not wait for long. The
 * program that is the child is $SIGNET. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "pipeline/h5.h"
#include "tests/fuzz/files.h"

enum { CHILD_SECONDS = 2, MOST_SECONDS = 20 /* on a machine that is busy */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char limit[16];
    const char *program = getenv("SIGNET");
    snprintf(limit, sizeof limit, "%d", CHILD_SECONDS);
    setenv("SIGNET_READ_SECONDS", limit, 1);
    time_t start = time(NULL);
    sg_h5_file *file;
    int status = sg_h5_open_foreign(&file, sg_fuzz_write("foreign.h5", data, size), NULL,
                                    program == NULL ? "./signet" : program);
    sg_fuzz_require(status == SG_OK || status == SG_DATA || status == SG_NOMEM,
                    "a damaged file is damaged data");
    sg_fuzz_require(time(NULL) - start < MOST_SECONDS, "the child is given up in time");
    for (size_t i = 0; status == SG_OK && i < sg_h5_entries(file); i++) {
        const sg_h5_entry *entry = sg_h5_entry_at(file, i);
        if (entry->type == SG_H5_STRINGS) continue;
        void *out = sg_fuzz_copy(NULL, entry->count * sg_h5_type_size(entry->type));
        if (sg_h5_read(file, entry->path, entry->type, entry->ndims, entry->dims, out) != SG_OK)
            sg_error_clear();
        free(out);
    }
    sg_h5_close(&file);
    return 0;
}
