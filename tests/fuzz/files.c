#include "tests/fuzz/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/error.h"

static char folder[64], path[4096];

uint8_t sg_fuzz_byte(sg_fuzz_input *input) {
    if (input->left == 0) return 0;
    input->left--;
    return *input->at++;
}

size_t sg_fuzz_number(sg_fuzz_input *input, size_t limit) {
    size_t high = sg_fuzz_byte(input), low = sg_fuzz_byte(input);
    return (256 * high + low) % (limit + 1);
}

sg_fuzz_input sg_fuzz_part(sg_fuzz_input *input, size_t size) {
    sg_fuzz_input part = {input->at, size < input->left ? size : input->left};
    input->at += part.left;
    input->left -= part.left;
    return part;
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) fprintf(stderr, "%s is not removed\n", folder);
}

const char *sg_fuzz_folder(void) {
    if (folder[0] == '\0') {
        strcpy(folder,
               access("/dev/shm", W_OK) == 0 ? "/dev/shm/signet-fuzz-XXXXXX" : "/tmp/signet-fuzz-XXXXXX");
        if (mkdtemp(folder) == NULL) {
            perror(folder);
            exit(73);
        }
        atexit(remove_folder);
    }
    return folder;
}

static const char *path_of(const char *name) {
    snprintf(path, sizeof path, "%s/%s", sg_fuzz_folder(), name);
    return path;
}

const char *sg_fuzz_write(const char *name, const void *bytes, size_t size) {
    path_of(name);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        exit(74);
    }
    return path;
}

void sg_fuzz_remove(const char *name) { unlink(path_of(name)); }

void *sg_fuzz_copy(const void *bytes, size_t size) {
    void *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) exit(71);
    if (size > 0 && bytes != NULL) memcpy(copy, bytes, size);
    return copy;
}

void sg_fuzz_require(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "not so: %s; the last error is \"%s\"\n%s", what, sg_error_message(), sg_error_trace());
    abort();
}
