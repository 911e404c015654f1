/* Files of other origin. The parent starts a child (this program's hidden subcommand), which alone gives the
 * file to libhdf5, under limits, and writes a listing with all data to a pipe. Whatever the child sends is
 * checked. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/h5_common.h"

extern char **environ;

/* GCC defines a macro, Clang has a feature. */
#ifdef __SANITIZE_ADDRESS__
#define ADDRESS_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZED
#endif
#endif

enum {
    MAX_LINKS = 100000,
    MAX_NAME_BYTES = 1024,
    BYTES_PER_SECOND = 20 << 20, /* of a very slow file system */
    PIPE_END = 3                 /* the descriptor that the child writes to */
};

static const uint64_t stream_magic = 0x31464753; /* "SGF1" */

/* What a file of this size can hold: compressed masks unfold, weights hardly do. */
static uint64_t most_bytes(uint64_t file_bytes) { return (UINT64_C(64) << 20) + 8 * file_bytes; }

static double limit_seconds(uint64_t file_bytes) {
    const char *text = getenv("SIGNET_READ_SECONDS");
    double base = text == NULL ? 0 : strtod(text, NULL);
    return (base > 0 ? base : 30) + (double)file_bytes / BYTES_PER_SECOND;
}

/* ---- The child */

typedef struct source {
    const char *path;
    hid_t file;
    uint64_t bytes, left; /* of the file; that may still be read */
    sg_h5_listing items;
    uint64_t count;
} source;

/* Only links that lead to an object of this very file. */
static int check_link(const source *s, hid_t at, const char *name) {
    H5L_info_t info;
    if (H5Lget_info(at, name, &info, H5P_DEFAULT) < 0) return sg_h5_error(SG_DATA, s->path, name);
    SG_CHECK(info.type == H5L_TYPE_HARD, SG_DATA,
             "%s: %s is a soft or external link; weights must be in the file itself", s->path, name);
    return SG_OK;
}

/* What can be refused before anything is read. *type: as read. */
static int check_set(source *s, hid_t set, const char *path, sg_h5_entry *entry) {
    hid_t creation = H5Dget_create_plist(set), stored = H5Dget_type(set), space = H5Dget_space(set);
    int status = SG_OK, known = -1, ndims = -1, filters = 0;
    hsize_t dims[SG_H5_MAX_DIMS], storage = H5Dget_storage_size(set);
    size_t width = 0;
    *entry = (sg_h5_entry){.path = path, .count = 1};
    if (creation < 0 || stored < 0 || space < 0) {
        status = sg_h5_error(SG_DATA, s->path, path);
        goto done;
    }
    H5D_layout_t layout = H5Pget_layout(creation);
    if (H5Pget_external_count(creation) != 0 ||
        (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT)) {
        status =
            SG_FAIL(SG_DATA, "%s: %s has its data outside the file (external storage or a virtual data set)",
                    s->path, path);
        goto done;
    }
    known = sg_h5_type_of(stored, &width);
    if (known != SG_H5_F32 && known != SG_H5_F64 && known != SG_H5_U8 && known != SG_H5_I8 &&
        known != SG_H5_I64) {
        status = SG_FAIL(SG_DATA, "%s: %s is neither float32, float64, uint8, int8 nor int64", s->path, path);
        goto done;
    }
    H5S_class_t class = H5Sget_simple_extent_type(space);
    ndims = H5Sget_simple_extent_ndims(space);
    if ((class != H5S_SIMPLE && class != H5S_SCALAR) || ndims < 0 || ndims > SG_H5_MAX_DIMS ||
        H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        status = SG_FAIL(SG_DATA, "%s: %s has a shape that no network's parameter has", s->path, path);
        goto done;
    }
    filters = H5Pget_nfilters(creation);
    entry->ndims = ndims;
    uint64_t bytes = width;
    bool fits = true;
    for (int d = 0; d < ndims; d++) {
        entry->dims[d] = (size_t)dims[d];
        fits = fits && !__builtin_mul_overflow(bytes, (uint64_t)dims[d], &bytes);
        entry->count = fits ? entry->count * (size_t)dims[d] : 0;
    }
    /* A data set that was never written takes no space and reads as any size. */
    fits = fits && bytes <= s->left && storage <= s->bytes && (filters > 0 || storage >= bytes);
    if (!fits) {
        status = SG_FAIL(SG_DATA, "%s: %s claims more data than a file of %" PRIu64 " bytes can hold",
                         s->path, path, s->bytes);
        goto done;
    }
    s->left -= bytes;
    entry->type = known == SG_H5_F64 ? SG_H5_F32 : (enum sg_h5_type)known;
done:
    if (creation >= 0) H5Pclose(creation);
    if (stored >= 0) H5Tclose(stored);
    if (space >= 0) H5Sclose(space);
    return status;
}

static int take_set(source *s, hid_t group, const char *group_name, const char *name) {
    char path[MAX_NAME_BYTES + 16];
    sg_h5_entry entry;
    snprintf(path, sizeof path, "/%s/%s", group_name, name);
    SG_TRY(check_link(s, group, name));
    hid_t set = H5Oopen(group, name, H5P_DEFAULT);
    if (set < 0) return sg_h5_error(SG_DATA, s->path, path);
    int status = H5Iget_type(set) == H5I_DATASET
                     ? SG_AT(check_set(s, set, path, &entry))
                     : SG_FAIL(SG_DATA, "%s: %s is no data set; all must be right below /%s", s->path, path,
                               group_name);
    if (status == SG_OK) {
        size_t width = sg_h5_type_size(entry.type);
        char *data = sg_alloc(entry.count, width);
        if (data == NULL)
            status = SG_NOMEM;
        else if (entry.count > 0 &&
                 H5Dread(set, sg_h5_memory_type(entry.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
            status = sg_h5_error(SG_DATA, s->path, path);
        if (status == SG_OK) {
            sg_h5_listing_item(&s->items, &entry, width, data, entry.count * width);
            s->count++;
        }
        free(data);
    }
    H5Oclose(set);
    return status;
}

static int take_group(source *s, const char *name, bool *there) {
    htri_t exists = H5Lexists(s->file, name, H5P_DEFAULT);
    if (exists < 0) return sg_h5_error(SG_DATA, s->path, name);
    if (exists == 0) return SG_OK;
    *there = true;
    SG_TRY(check_link(s, s->file, name));
    hid_t group = H5Gopen2(s->file, name, H5P_DEFAULT);
    if (group < 0) return sg_h5_error(SG_DATA, s->path, name);
    H5G_info_t about;
    int status = H5Gget_info(group, &about) < 0 ? sg_h5_error(SG_DATA, s->path, name) : SG_OK;
    if (status == SG_OK && about.nlinks > MAX_LINKS)
        status = SG_FAIL(SG_DATA, "%s: /%s has more entries than any network has parameters", s->path, name);
    for (hsize_t i = 0; status == SG_OK && i < about.nlinks; i++) {
        char child[MAX_NAME_BYTES];
        ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, child, sizeof child, H5P_DEFAULT);
        if (length <= 0 || length >= (ssize_t)sizeof child)
            status = SG_FAIL(SG_DATA, "%s: /%s has an entry whose name cannot be used", s->path, name);
        else
            status = SG_AT(take_set(s, group, name, child));
    }
    H5Gclose(group);
    return status;
}

static int read_all(source *s, sg_h5_listing *listing) {
    static const char *const groups[] = {"weights", "masks", "signs"};
    bool there = false;
    SG_TRY(sg_h5_prepare());
    s->file = H5Fopen(s->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (s->file < 0) return sg_h5_error(SG_DATA, s->path, "is no HDF5 file, or a damaged one");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) SG_TRY(take_group(s, groups[i], &there));
    SG_CHECK(there, SG_DATA,
             "%s: has neither /weights nor /masks nor /signs; each parameter is wanted as a data set "
             "below /weights, named as in PyTorch's state_dict",
             s->path);
    sg_h5_listing_number(listing, 1);
    sg_h5_listing_text(listing, "", 1); /* kind */
    sg_h5_listing_number(listing, s->count);
    sg_h5_listing_text(listing, s->items.byte, s->items.bytes);
    sg_h5_listing_number(listing, 0); /* attributes */
    return s->items.status != SG_OK ? s->items.status : listing->status;
}

/* Before libhdf5 sees the file. Address space is no limit where AddressSanitizer takes terabytes of it. */
static void limit_self(uint64_t file_bytes) {
    struct rlimit seconds = {.rlim_cur = (rlim_t)limit_seconds(file_bytes) + 1};
    seconds.rlim_max = seconds.rlim_cur;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CPU, &seconds);
    setrlimit(RLIMIT_CORE, &none);
#ifndef ADDRESS_SANITIZED
    struct rlimit memory = {.rlim_cur = (rlim_t)((UINT64_C(1) << 30) + 5 * most_bytes(file_bytes))};
    memory.rlim_max = memory.rlim_cur;
    setrlimit(RLIMIT_AS, &memory);
#endif
}

static bool send_all(int descriptor, const void *data, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t put = write(descriptor, (const char *)data + done, bytes - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        done += (size_t)put;
    }
    return true;
}

int sg_h5_foreign_child(const char *path, int descriptor) {
    source s = {.path = path, .file = H5I_INVALID_HID};
    sg_h5_listing listing = {0};
    int plain, status = SG_AT(sg_h5_open_plain(&plain, path, &s.bytes));
    if (status == SG_OK) {
        close(plain);
        limit_self(s.bytes);
        s.left = most_bytes(s.bytes);
        status = SG_AT(read_all(&s, &listing));
    }
    const char *payload = status == SG_OK ? listing.byte : sg_error_message();
    uint64_t bytes = status == SG_OK ? listing.bytes : strlen(payload);
    uint64_t header[4] = {stream_magic, (uint64_t)status, bytes, sg_h5_checksum(payload, bytes)};
    bool sent = send_all(descriptor, header, sizeof header) && send_all(descriptor, payload, bytes);
    /* Nothing of libhdf5's runs again: its state may be anything by now. */
    _Exit(sent ? 0 : 1);
}

/* ---- The parent */

enum arrival { ARRIVED, ENDED, LATE };

static enum arrival receive(int descriptor, void *data, size_t bytes, double until) {
    for (size_t done = 0; done < bytes;) {
        double left = until - sg_clock_now();
        if (left <= 0) return LATE;
        struct pollfd wait = {.fd = descriptor, .events = POLLIN};
        if (poll(&wait, 1, left < 1000 ? (int)(1000 * left) + 1 : 1000000) <= 0) continue;
        ssize_t got = read(descriptor, (char *)data + done, bytes - done);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return ENDED;
        done += (size_t)got;
    }
    return ARRIVED;
}

static int start_child(const char *program, const char *path, pid_t *child, int *from) {
    int ends[2];
    char number[16];
    snprintf(number, sizeof number, "%d", PIPE_END);
    char *arguments[] = {(char *)(uintptr_t)program, "read-foreign", (char *)(uintptr_t)path, number, NULL};
    if (pipe(ends) != 0) return SG_FAIL(SG_IO, "no pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    /* dup2 onto itself would keep close-on-exec off, which is what is wanted. */
    posix_spawn_file_actions_adddup2(&actions, ends[1], PIPE_END);
    if (ends[1] != PIPE_END) posix_spawn_file_actions_addclose(&actions, ends[1]);
    int error = posix_spawn(child, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *from = ends[0];
    if (error == 0) return SG_OK;
    close(ends[0]);
    return SG_FAIL(SG_INTERNAL, "%s cannot be started to read %s: %s", program, path, strerror(error));
}

/* Takes what the child sends: a listing, or an error of the child's. */
static int take_stream(int from, const char *path, uint64_t file_bytes, double seconds,
                       sg_h5_listing *listing, enum arrival *arrival) {
    double until = sg_clock_now() + seconds;
    uint64_t header[4];
    *arrival = receive(from, header, sizeof header, until);
    if (*arrival != ARRIVED) return SG_DATA;
    uint64_t most = most_bytes(file_bytes) + (UINT64_C(4) << 10) * MAX_LINKS;
    SG_CHECK(header[0] == stream_magic && header[2] <= most && header[1] <= SG_CONFIG, SG_DATA,
             "%s: the process that read it sent nonsense", path);
    SG_TRY(SG_NEW(&listing->byte, header[2] + 1));
    listing->bytes = listing->room = (size_t)header[2];
    *arrival = receive(from, listing->byte, listing->bytes, until);
    if (*arrival != ARRIVED) return SG_DATA;
    SG_CHECK(sg_h5_checksum(listing->byte, listing->bytes) == header[3], SG_DATA,
             "%s: the process that read it sent nonsense", path);
    if (header[1] == SG_OK) return SG_OK;
    return SG_FAIL((int)header[1], "%s", listing->byte);
}

static int read_by_child(sg_h5_file *file, const char *program) {
    int from = -1, descriptor, ended = 0;
    uint64_t bytes;
    pid_t child;
    SG_TRY(sg_h5_open_plain(&descriptor, file->path, &bytes));
    close(descriptor);
    double seconds = limit_seconds(bytes);
    SG_TRY(start_child(program, file->path, &child, &from));
    enum arrival arrival = ARRIVED;
    int status = SG_AT(take_stream(from, file->path, bytes, seconds, &file->listing, &arrival));
    close(from);
    if (arrival != ENDED) kill(child, SIGKILL); /* it has nothing more to do, or takes too long */
    while (waitpid(child, &ended, 0) < 0 && errno == EINTR) continue;
    if (arrival == LATE)
        return SG_FAIL(
            SG_DATA,
            "%s: reading it took more than %.0f s, as damaged HDF5 files may; for a very slow file "
            "system set SIGNET_READ_SECONDS higher",
            file->path, seconds);
    if (arrival == ENDED && WIFSIGNALED(ended))
        return SG_FAIL(SG_DATA, "%s: libhdf5 crashed on it (signal %d): it is damaged, or made to do harm",
                       file->path, WTERMSIG(ended));
    if (arrival == ENDED)
        return SG_FAIL(SG_DATA, "%s: the process that read it gave up (exit code %d)", file->path,
                       WEXITSTATUS(ended));
    return status;
}

/* Does it have our magic? Then the user block's word counts. */
static int is_ours(const char *path, int *ours) {
    int descriptor;
    uint64_t bytes;
    char first[6] = "";
    SG_TRY(sg_h5_open_plain(&descriptor, path, &bytes));
    int status =
        bytes < sizeof first ? SG_OK : SG_AT(sg_file_read_at(descriptor, path, first, sizeof first, 0));
    close(descriptor);
    *ours = memcmp(first, "SIGNET", sizeof first) == 0;
    return status;
}

int sg_h5_open_foreign(sg_h5_file **file, const char *path, sg_comm *comm, const char *program) {
    *file = NULL;
    int ours = 0, first = comm == NULL || sg_comm_rank(comm) == 0;
    int status = first ? SG_AT(is_ours(path, &ours)) : SG_OK;
    if (comm != NULL) {
        SG_TRY(sg_comm_agree(comm, status));
        SG_TRY(sg_comm_broadcast(comm, &ours, sizeof ours, 0));
    } else if (status != SG_OK) {
        return status;
    }
    if (ours) return SG_AT(sg_h5_open(file, path, comm));
    status = SG_AT(SG_NEW(file, 1));
    if (status == SG_OK) {
        (*file)->comm = comm;
        (*file)->file = H5I_INVALID_HID;
        (*file)->foreign = true;
        status = SG_AT(sg_file_name(&(*file)->path, path, ""));
    }
    if (comm != NULL) status = SG_AT(sg_comm_agree(comm, status));
    if (status == SG_OK) {
        if (first) status = SG_AT(read_by_child(*file, program == NULL ? "/proc/self/exe" : program));
        status = SG_AT(sg_h5_share_listing(*file, status));
    }
    if (status != SG_OK) sg_h5_close(file);
    return status;
}
