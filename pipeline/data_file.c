/* Reading files: every failure names the file, the byte and what was expected. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/data_kind.h"

char sg_data_file_type(const char *path) {
    struct stat found;
    if (stat(path, &found) != 0) return 0;
    return S_ISDIR(found.st_mode) ? 'd' : S_ISREG(found.st_mode) ? 'f' : 0;
}

char *sg_data_file_join(const char *directory, const char *name) {
    size_t length = strlen(directory), size = length + strlen(name) + 2;
    char *path = sg_alloc(size, 1);
    if (path != NULL)
        snprintf(path, size, "%s%s%s", directory, length > 0 && directory[length - 1] == '/' ? "" : "/",
                 name);
    return path;
}

/* Opens a regular file and finds its size. */
static int open_file(const char *path, int *file, uint64_t *size) {
    *file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang */
    SG_CHECK(*file >= 0, SG_NOINPUT, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat found;
    if (fstat(*file, &found) != 0 || !S_ISREG(found.st_mode)) {
        close(*file);
        return SG_FAIL(SG_NOINPUT, "%s: is not a regular file", path);
    }
    *size = (uint64_t)found.st_size;
    return SG_OK;
}

static int read_fully(int file, const char *path, uint64_t offset, void *to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(file, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        SG_CHECK(got >= 0, SG_IO, "%s: reading at byte %" PRIu64 " failed: %s", path, offset + done,
                 strerror(errno));
        SG_CHECK(got > 0, SG_DATA,
                 "%s: ends at byte %" PRIu64
                 ", where %zu more were expected; it is truncated: fetch it again",
                 path, offset + done, bytes - done);
        done += (size_t)got;
    }
    return SG_OK;
}

int sg_data_file_size(const char *path, uint64_t *size) {
    int file;
    SG_TRY(open_file(path, &file, size));
    close(file);
    return SG_OK;
}

int sg_data_file_read(const char *path, uint64_t offset, void *to, size_t bytes) {
    int file;
    uint64_t size;
    SG_TRY(open_file(path, &file, &size));
    int status = SG_AT(read_fully(file, path, offset, to, bytes));
    close(file);
    return status;
}

int sg_data_file_load(const char *path, uint64_t limit, unsigned char **bytes, size_t *size) {
    int file, status;
    uint64_t found;
    *bytes = NULL;
    SG_TRY(open_file(path, &file, &found));
    if (found > limit) {
        status = SG_FAIL(SG_DATA, "%s: has %" PRIu64 " bytes; at most %" PRIu64 " were expected", path, found,
                         limit);
        goto done;
    }
    *size = (size_t)found;
    if ((status = SG_AT(SG_NEW(bytes, *size + 1)))) goto done; /* the zero behind it ends a text */
    if ((status = SG_AT(read_fully(file, path, 0, *bytes, *size)))) SG_FREE(*bytes);
done:
    close(file);
    return status;
}

int sg_data_file_names(const char *path, int count, sg_blob *names) {
    unsigned char *text;
    size_t size;
    SG_TRY(sg_data_file_load(path, 1 << 24, &text, &size));
    int found = 0, status = SG_OK;
    for (char *line = (char *)text, *end; *line != '\0'; line = end) {
        size_t length = strcspn(line, "\r\n");
        end = line + length;
        while (*end == '\r' || *end == '\n') end++;
        if (length == 0) continue;
        line[length] = '\0'; /* end has already moved past it */
        if ((status = SG_AT(sg_blob_add(names, line, length + 1)))) goto done;
        found++;
    }
    if (found != count)
        status = SG_FAIL(SG_DATA, "%s: names %d classes where %d were expected; fetch it again or remove it",
                         path, found, count);
done:
    free(text);
    return status;
}
