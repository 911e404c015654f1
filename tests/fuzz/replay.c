/* replay FILE...: gives each file to the harness, for builds without a fuzzer. A finding ends the process. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/files.h"

enum { LIMIT = 1 << 20 };

int main(int argc, char **argv) {
    uint8_t *bytes = malloc(LIMIT);
    if (bytes == NULL || argc < 2) {
        fprintf(stderr, "usage: %s FILE...\n", argv[0]);
        return 64;
    }
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "r");
        if (file == NULL) {
            perror(argv[i]);
            return 66;
        }
        size_t size = fread(bytes, 1, LIMIT, file);
        fclose(file);
        fprintf(stderr, "%s\n", argv[i]); /* seen only when the harness fails */
        void *copy = sg_fuzz_copy(bytes, size);
        LLVMFuzzerTestOneInput(copy, size);
        free(copy);
    }
    printf("ok %d inputs\n", argc - 1);
    free(bytes);
    return 0;
}
