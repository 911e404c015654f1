#include "pipeline/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "kernels/memory.h"

int sg_file_write_error(const char *path, const char *verb, int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return SG_FAIL(SG_CANTCREATE,
                       "%s: cannot %s: a directory on the way to it does not exist; create it or choose "
                       "another with --out",
                       path, verb);
    case EACCES:
    case EPERM:
        return SG_FAIL(SG_CANTCREATE,
                       "%s: cannot %s: no permission; change the directory's mode or choose another with "
                       "--out",
                       path, verb);
    case EROFS:
        return SG_FAIL(SG_CANTCREATE,
                       "%s: cannot %s: the file system is read-only; choose another with --out", path, verb);
    case ENOSPC:
        return SG_FAIL(
            SG_IO,
            "%s: cannot %s: the disk is full; free some space and run the same command again, which "
            "goes on from the last checkpoint",
            path, verb);
    case EDQUOT:
        return SG_FAIL(SG_IO,
                       "%s: cannot %s: the disk quota is used up; free some space and run the same command "
                       "again, which goes on from the last checkpoint",
                       path, verb);
    case EFBIG:
        return SG_FAIL(SG_IO, "%s: cannot %s: larger than files may be here; raise `ulimit -f`", path, verb);
    default:
        return SG_FAIL(SG_IO, "%s: cannot %s: %s", path, verb, strerror(error));
    }
}

int sg_file_read_error(const char *path, const char *verb, int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return SG_FAIL(SG_NOINPUT, "%s: no such file", path);
    case EACCES:
    case EPERM:
        return SG_FAIL(SG_NOINPUT, "%s: cannot %s: no permission to read it", path, verb);
    case EISDIR:
        return SG_FAIL(SG_NOINPUT, "%s: is a directory, a file is wanted", path);
    default:
        return SG_FAIL(SG_IO, "%s: cannot %s: %s", path, verb, strerror(error));
    }
}

int sg_file_read_at(int descriptor, const char *path, void *data, size_t bytes, uint64_t offset) {
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(descriptor, (char *)data + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return sg_file_read_error(path, "read", errno);
        SG_CHECK(got > 0, SG_DATA, "%s: ends at byte %llu, within what should be there; it is truncated",
                 path, (unsigned long long)(offset + done));
        done += (size_t)got;
    }
    return SG_OK;
}

int sg_file_write_at(int descriptor, const char *path, const void *data, size_t bytes, uint64_t offset) {
    for (size_t done = 0; done < bytes;) {
        ssize_t put = pwrite(descriptor, (const char *)data + done, bytes - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return sg_file_write_error(path, "write", errno);
        done += (size_t)put;
    }
    return SG_OK;
}

/* A FIFO of that name must not hang. */
static int open_regular(const char *path, int *descriptor, size_t *bytes) {
    int status = SG_OK;
    struct stat about;
    *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*descriptor < 0) return sg_file_read_error(path, "open", errno);
    if (fstat(*descriptor, &about) != 0)
        status = sg_file_read_error(path, "examine", errno);
    else if (!S_ISREG(about.st_mode))
        status = SG_FAIL(SG_NOINPUT, "%s: is no regular file", path);
    else
        *bytes = (size_t)about.st_size;
    if (status != SG_OK) close(*descriptor);
    return status;
}

int sg_file_read(const char *path, size_t limit, char **data, size_t *bytes) {
    int status, descriptor;
    size_t size;
    *data = NULL;
    *bytes = 0;
    SG_TRY(open_regular(path, &descriptor, &size));
    if (size > limit) {
        status =
            SG_FAIL(SG_DATA, "%s: %zu bytes are more than such a file may have (%zu)", path, size, limit);
    } else if ((status = SG_AT(SG_NEW(data, size + 1))) == SG_OK) {
        *bytes = size;
        status = SG_AT(sg_file_read_at(descriptor, path, *data, size, 0));
    }
    close(descriptor);
    if (status != SG_OK) SG_FREE(*data);
    return status;
}

int sg_file_name(char **name, const char *path, const char *suffix) {
    size_t length = strlen(path) + strlen(suffix) + 1;
    SG_TRY(SG_NEW(name, length));
    snprintf(*name, length, "%s%s", path, suffix);
    return SG_OK;
}

static int sync_directory_of(const char *path) {
    char *copy;
    SG_TRY(sg_file_name(&copy, path, ""));
    int status = SG_OK, descriptor = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system that cannot sync directories; its renames are as durable as they get. */
    if (descriptor < 0 || (fsync(descriptor) != 0 && errno != EINVAL))
        status = sg_file_write_error(path, "sync the directory of", errno);
    if (descriptor >= 0) close(descriptor);
    SG_FREE(copy);
    return status;
}

int sg_file_publish(const char *temporary, const char *path) {
    if (rename(temporary, path) != 0) return sg_file_write_error(path, "rename to", errno);
    return SG_AT(sync_directory_of(path));
}

/* ---- Temporary names. */

enum { ABANDONED_SECONDS = 24 * 3600 };

/* Host and process namespace: where a process number means the same process. */
static unsigned place_of_processes(void) {
    char text[256] = "";
    if (gethostname(text, 127) != 0) text[0] = '\0';
    size_t used = strlen(text) + 1;
    ssize_t got = readlink("/proc/self/ns/pid", text + used, sizeof text - used);
    return (unsigned)(XXH3_64bits(text, used + (got > 0 ? (size_t)got : 0)) & 0xffffffffu);
}

/* Whoever writes a file of that name in this folder is gone. */
static bool is_abandoned(int folder, const char *name, bool here, long pid) {
    struct stat about;
    if (here) return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
    return fstatat(folder, name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
           time(NULL) - about.st_mtime > ABANDONED_SECONDS;
}

/* What cannot be listed or removed stays; the next writer tries again. */
static void remove_abandoned(const char *path, unsigned place) {
    char *copy;
    const char *base = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
    size_t length = strlen(base);
    if (sg_file_name(&copy, path, "") != SG_OK) {
        sg_error_clear();
        return;
    }
    DIR *folder = opendir(dirname(copy));
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        unsigned there;
        long pid;
        int end = 0;
        const char *rest = entry->d_name + length;
        if (strncmp(entry->d_name, base, length) != 0 ||
            sscanf(rest, ".%8x-%9ld.tmp%n", &there, &pid, &end) != 2 || end == 0 || rest[end] != '\0')
            continue;
        if (is_abandoned(dirfd(folder), entry->d_name, there == place, pid))
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder != NULL) closedir(folder);
    SG_FREE(copy);
}

int sg_file_temporary(char **name, const char *path) {
    char suffix[48];
    unsigned place = place_of_processes();
    remove_abandoned(path, place);
    snprintf(suffix, sizeof suffix, ".%08x-%ld.tmp", place, (long)getpid());
    return SG_AT(sg_file_name(name, path, suffix));
}

static int write_whole(const char *path, const void *data, size_t bytes, bool durable) {
    char *temporary;
    SG_TRY(sg_file_temporary(&temporary, path));
    int status = SG_OK, descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        status = sg_file_write_error(temporary, "create", errno);
        goto done;
    }
    status = SG_AT(sg_file_write_at(descriptor, temporary, data, bytes, 0));
    if (status == SG_OK && durable && fsync(descriptor) != 0)
        status = sg_file_write_error(temporary, "sync", errno);
    if (close(descriptor) != 0 && status == SG_OK) status = sg_file_write_error(temporary, "close", errno);
    if (status == SG_OK && durable)
        status = SG_AT(sg_file_publish(temporary, path));
    else if (status == SG_OK && rename(temporary, path) != 0)
        status = sg_file_write_error(path, "rename to", errno);
    if (status != SG_OK) unlink(temporary);
done:
    SG_FREE(temporary);
    return status;
}

int sg_file_write(const char *path, const void *data, size_t bytes) {
    return SG_AT(write_whole(path, data, bytes, true));
}

int sg_file_write_fleeting(const char *path, const void *data, size_t bytes) {
    return SG_AT(write_whole(path, data, bytes, false));
}

int sg_file_make_directories(const char *path) {
    char *part;
    SG_TRY(sg_file_name(&part, path, ""));
    int status = SG_OK;
    for (char *end = part + 1; status == SG_OK; end++) {
        char kept = *end;
        if (kept != '/' && kept != '\0') continue;
        *end = '\0';
        if (mkdir(part, 0777) != 0) {
            struct stat about;
            int error = errno;
            if (stat(part, &about) != 0)
                status = sg_file_write_error(part, "create the directory", error);
            else if (!S_ISDIR(about.st_mode))
                status =
                    SG_FAIL(SG_CANTCREATE, "%s: is in the way: a directory of that name is wanted", part);
        }
        *end = kept;
        if (kept == '\0') break;
    }
    SG_FREE(part);
    return status;
}

int sg_file_write_text(const char *path, const char *text) {
    return SG_AT(sg_file_write(path, text, strlen(text)));
}

int sg_file_read_text(const char *path, char *text, size_t size) {
    int descriptor;
    size_t bytes;
    text[0] = '\0';
    SG_TRY(open_regular(path, &descriptor, &bytes));
    if (bytes > size - 1) bytes = size - 1;
    int status = SG_AT(sg_file_read_at(descriptor, path, text, bytes, 0));
    text[status == SG_OK ? bytes : 0] = '\0';
    close(descriptor);
    return status;
}
