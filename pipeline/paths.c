#include "pipeline/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

sg_path_name sg_run_path(const char *dir, const char *name) {
    sg_path_name path;
    snprintf(path.text, sizeof path.text, "%s/%s", dir, name);
    return path;
}

sg_path_name sg_stage_path(const char *dir, const char *id, const char *name) {
    sg_path_name path;
    snprintf(path.text, sizeof path.text, "%s/stages/%s%s%s", dir, id, *name == '\0' ? "" : "/", name);
    return path;
}

sg_path_name sg_checkpoint_path(const char *dir, const char *id, int generation) {
    char name[40];
    snprintf(name, sizeof name, "checkpoint-%d.h5", generation);
    return sg_stage_path(dir, id, name);
}

int sg_make_directories(const char *path) {
    char made[PATH_MAX];
    SG_CHECK(snprintf(made, sizeof made, "%s", path) < (int)sizeof made, SG_CANTCREATE, "%.200s...: the path is too long",
             path);
    for (char *end = made + 1;; end++) {
        if (*end != '/' && *end != '\0') continue;
        char kept = *end;
        *end = '\0';
        SG_CHECK(mkdir(made, 0777) == 0 || errno == EEXIST, SG_CANTCREATE,
                 "%s: cannot make the directory: %s; choose another place with --out", made, strerror(errno));
        *end = kept;
        if (kept == '\0') return SG_OK;
    }
}

static int newest_first(const void *a, const void *b) { return *(const int *)b - *(const int *)a; }

int sg_list_checkpoints(const char *dir, const char *id, int *generation, int room, int *count) {
    sg_path_name path = sg_stage_path(dir, id, "");
    *count = 0;
    DIR *listing = opendir(path.text);
    if (listing == NULL) {
        SG_CHECK(errno == ENOENT, SG_IO, "%s: cannot list the directory: %s", path.text, strerror(errno));
        return SG_OK;
    }
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        int number, used = 0;
        if (sscanf(entry->d_name, "checkpoint-%9d.h5%n", &number, &used) == 1 && used > 0 &&
            entry->d_name[used] == '\0' && number >= 0 && *count < room)
            generation[(*count)++] = number;
    }
    closedir(listing);
    qsort(generation, (size_t)*count, sizeof *generation, newest_first);
    return SG_OK;
}

static int write_all(int descriptor, const char *text, size_t left) {
    while (left > 0) {
        ssize_t written = write(descriptor, text, left);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return -1;
        text += written;
        left -= (size_t)written;
    }
    return 0;
}

int sg_write_text(const char *path, const char *text) {
    char temporary[PATH_MAX];
    SG_CHECK(snprintf(temporary, sizeof temporary, "%s.tmp", path) < (int)sizeof temporary, SG_CANTCREATE,
             "%.200s...: the path is too long", path);
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    SG_CHECK(descriptor >= 0, SG_CANTCREATE, "%s: cannot create: %s", temporary, strerror(errno));
    int failed = write_all(descriptor, text, strlen(text)) != 0 || fsync(descriptor) != 0;
    int reason = errno;
    if (close(descriptor) != 0 && !failed) failed = 1, reason = errno;
    if (!failed && rename(temporary, path) != 0) failed = 1, reason = errno;
    if (failed) unlink(temporary);
    SG_CHECK(!failed, SG_IO, "%s: cannot write: %s", path, strerror(reason));
    return SG_OK;
}

int sg_read_text(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "re");
    SG_CHECK(file != NULL, SG_NOINPUT, "%s: cannot open: %s", path, strerror(errno));
    size_t got = fread(text, 1, size - 1, file);
    text[got] = '\0';
    fclose(file);
    return SG_OK;
}
