/* Preloaded into a run: from the SG_FAIL_AFTER-th on, calls of SG_FAIL_CALL (read, write, fsync, reserve) on
 * files whose path holds SG_FAIL_PATH fail with the error number SG_FAIL_ERRNO, as on a full or broken disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(const char *call, int descriptor) {
    static int calls;
    const char *wanted = getenv("SG_FAIL_CALL"), *path = getenv("SG_FAIL_PATH");
    char link[64], target[4096];
    if (wanted == NULL || path == NULL || strcmp(wanted, call) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length <= 0) return 0;
    target[length] = '\0';
    if (strstr(target, path) == NULL) return 0;
    const char *after = getenv("SG_FAIL_AFTER"), *number = getenv("SG_FAIL_ERRNO");
    if (__sync_add_and_fetch(&calls, 1) <= (after != NULL ? atoi(after) : 0)) return 0;
    errno = number != NULL ? atoi(number) : EIO;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread(int descriptor, void *data, size_t bytes, off_t offset) {
    return fails("read", descriptor) ? -1 : REAL(pread)(descriptor, data, bytes, offset);
}
ssize_t write(int descriptor, const void *data, size_t bytes) {
    return fails("write", descriptor) ? -1 : REAL(write)(descriptor, data, bytes);
}
ssize_t pwrite(int descriptor, const void *data, size_t bytes, off_t offset) {
    return fails("write", descriptor) ? -1 : REAL(pwrite)(descriptor, data, bytes, offset);
}
ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    return fails("write", descriptor) ? -1 : REAL(pwritev)(descriptor, parts, count, offset);
}
int fsync(int descriptor) { return fails("fsync", descriptor) ? -1 : REAL(fsync)(descriptor); }
int posix_fallocate(int descriptor, off_t offset, off_t bytes) {
    return fails("reserve", descriptor) ? errno : REAL(posix_fallocate)(descriptor, offset, bytes);
}
