#include "pipeline/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int newest_first(const void *a, const void *b) {
    int one = *(const int *)a, two = *(const int *)b;
    return (one < two) - (one > two);
}

static int append(int **list, int *count, int *room, int number) {
    if (*count == *room) {
        int larger = *room == 0 ? 16 : 2 * *room;
        int *grown = realloc(*list, (size_t)larger * sizeof *grown);
        SG_CHECK(grown != NULL, SG_NOMEM, "out of memory: a list of %d checkpoints", larger);
        *list = grown;
        *room = larger;
    }
    (*list)[(*count)++] = number;
    return SG_OK;
}

int sg_list_checkpoints(const char *dir, const char *id, int **generation, int *count) {
    sg_path_name path = sg_stage_path(dir, id, "");
    int room = 0, status = SG_OK;
    *generation = NULL;
    *count = 0;
    DIR *listing = opendir(path.text);
    if (listing == NULL) {
        SG_CHECK(errno == ENOENT, SG_IO, "%s: cannot list the directory: %s", path.text, strerror(errno));
        return SG_OK;
    }
    for (struct dirent *entry; status == SG_OK && (entry = readdir(listing)) != NULL;) {
        int number, used = 0;
        if (sscanf(entry->d_name, "checkpoint-%9d.h5%n", &number, &used) == 1 && used > 0 &&
            entry->d_name[used] == '\0' && number >= 0)
            status = SG_AT(append(generation, count, &room, number));
    }
    closedir(listing);
    if (status != SG_OK) {
        free(*generation);
        *generation = NULL;
        *count = 0;
    }
    if (*count > 0) qsort(*generation, (size_t)*count, sizeof **generation, newest_first);
    return status;
}

int sg_remove_checkpoints(const char *dir, const char *id, int keep) {
    int *generation, count;
    SG_TRY(sg_list_checkpoints(dir, id, &generation, &count));
    for (int i = keep; i < count; i++) unlink(sg_checkpoint_path(dir, id, generation[i]).text);
    free(generation);
    return SG_OK;
}
