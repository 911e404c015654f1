#include "pipeline/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
