/* Shared memory, and the directory that runs are to write to. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/doctor.h"
#include "pipeline/file.h"
#include "pipeline/h5.h"
#include "pipeline/paths.h"

static const double MEBIBYTE = 1 << 20;
enum {
    SHM_MEBIBYTES = 32 /* Open MPI's segments of one rank, with room */,
    LEAST_MEBIBYTES = 64,
    USUAL_MEBIBYTES = 2048,
    ROUND_TRIP = 100003
};

static int check_shared_memory(sg_doctor *d) {
    struct statvfs space;
    sg_opinion opinion;
    int rank, ranks;
    SG_TRY(sg_comm_node(d->world, &rank, &ranks));
    if (statvfs("/dev/shm", &space) != 0) {
        sg_opine(&opinion, SG_NOTE,
                 "/dev/shm: %s; ranks of a node talk through files in TMPDIR instead, slowly",
                 strerror(errno));
    } else {
        double room = (double)space.f_bavail * (double)space.f_frsize / MEBIBYTE;
        if (room < (double)SHM_MEBIBYTES * ranks)
            sg_opine(&opinion, SG_PROBLEM,
                     "/dev/shm has %.0f MiB free for %d rank%s, at least %d are needed; remove what killed "
                     "jobs left "
                     "there, or start the container with --shm-size",
                     room, ranks, ranks == 1 ? "" : "s", SHM_MEBIBYTES * ranks);
        else
            sg_opine(&opinion, SG_FINE, "/dev/shm has %.0f MiB free", room);
    }
    return SG_AT(sg_doctor_say_worst(d, "shared memory", &opinion));
}

static void name_probe(const sg_doctor *d, const char *suffix, sg_path_name *path) {
    char name[80];
    snprintf(name, sizeof name, ".signet-doctor-%ld-%d%s", (long)getpid(), sg_comm_rank(d->world), suffix);
    *path = sg_run_path(d->dir, name);
}

/* What checkpoints and the lock of a run directory rest on: write, sync, rename, link, read back. */
static void try_files(const sg_doctor *d, sg_opinion *opinion) {
    static const char text[] = "signet doctor\n";
    sg_path_name path, other;
    char *back = NULL;
    size_t bytes;
    name_probe(d, "", &path);
    name_probe(d, ".link", &other);
    if (sg_file_write(path.text, text, sizeof text) != SG_OK) {
        sg_opine(opinion, SG_PROBLEM, "%s", sg_error_message());
        sg_error_clear();
        return;
    }
    if (link(path.text, other.text) != 0)
        sg_opine(opinion, SG_PROBLEM,
                 "%s: hard links fail (%s), and the lock of a run directory is one; choose another "
                 "file system with --out",
                 d->dir, strerror(errno));
    else if (sg_file_read(other.text, sizeof text, &back, &bytes) != SG_OK || bytes != sizeof text ||
             memcmp(back, text, sizeof text) != 0)
        sg_opine(opinion, SG_PROBLEM,
                 "%s: a file does not read as it was written; choose another file system", d->dir);
    else
        sg_opine(opinion, SG_FINE, "%s can be written, files renamed and linked", d->dir);
    sg_error_clear();
    free(back);
    unlink(other.text);
    if (unlink(path.text) != 0)
        sg_opine(opinion, SG_PROBLEM, "%s: a file cannot be removed again: %s", path.text, strerror(errno));
}

static int check_directory(sg_doctor *d, bool *usable) {
    struct stat is;
    sg_opinion opinion;
    if (stat(d->dir, &is) != 0)
        sg_opine(&opinion, SG_PROBLEM, "%s: %s; create it, or choose another with --out", d->dir,
                 strerror(errno));
    else if (!S_ISDIR(is.st_mode))
        sg_opine(&opinion, SG_PROBLEM, "%s is not a directory; choose another with --out", d->dir);
    else
        try_files(d, &opinion);
    int bad = opinion.finding == SG_PROBLEM;
    SG_TRY(sg_comm_max_int(d->world, &bad));
    *usable = !bad;
    return SG_AT(sg_doctor_say_worst(d, "directory", &opinion));
}

/* A lock on a whole file, as MPI-IO takes them on some file systems when several ranks write one HDF5 file.
 * The lock of a run directory needs none: it is a hard link. */
static int try_lock(const sg_doctor *d) {
    sg_path_name path;
    name_probe(d, ".lock", &path);
    int file = open(path.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return errno;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int error = fcntl(file, F_SETLK, &lock) == 0 ? 0 : errno;
    close(file);
    unlink(path.text);
    return error;
}

static int check_file_system(sg_doctor *d) {
    struct statfs is;
    sg_opinion opinion;
    int error;
    if (statfs(d->dir, &is) != 0)
        sg_opine(&opinion, SG_PROBLEM, "%s: %s", d->dir, strerror(errno));
    else
        sg_judge_file_system((unsigned long)is.f_type, &opinion);
    if (opinion.finding != SG_PROBLEM && (error = try_lock(d)) != 0)
        sg_opine(&opinion, SG_NOTE,
                 "%s: files cannot be locked (%s), which MPI-IO may ask for when several ranks write one "
                 "file; should checkpoints fail, mount it with locks (Lustre: -o flock) or set "
                 "run.ranks_per_stage = 1",
                 d->dir, strerror(error));
    return SG_AT(sg_doctor_say_worst(d, "file system", &opinion));
}

/* All ranks must mean the same directory: each looks for the file that rank 0 made. */
static int check_sharing(sg_doctor *d) {
    sg_path_name path;
    sg_opinion opinion;
    int status = SG_OK;
    if (sg_comm_rank(d->world) == 0) {
        name_probe(d, ".shared", &path);
        status = SG_AT(sg_file_write(path.text, "", 0));
    }
    SG_TRY(sg_comm_agree(d->world, status));
    SG_TRY(sg_comm_broadcast(d->world, &path, sizeof path, 0));
    if (access(path.text, F_OK) != 0)
        sg_opine(&opinion, SG_PROBLEM,
                 "%s is another directory here than on the first rank's node, or shows new files late; "
                 "choose one that "
                 "all nodes share",
                 d->dir);
    else
        sg_opine(&opinion, SG_FINE, "every rank sees what the first one writes");
    status = SG_AT(sg_doctor_say_worst(d, "sharing", &opinion));
    if (sg_comm_rank(d->world) == 0) unlink(path.text);
    return status;
}

static int check_space(sg_doctor *d) {
    struct statvfs space;
    sg_opinion opinion;
    if (statvfs(d->dir, &space) != 0) {
        sg_opine(&opinion, SG_PROBLEM, "%s: %s", d->dir, strerror(errno));
        return SG_AT(sg_doctor_say_worst(d, "disk", &opinion));
    }
    double room = (double)space.f_bavail * (double)space.f_frsize / MEBIBYTE;
    if (room < LEAST_MEBIBYTES || (space.f_files > 0 && space.f_favail == 0))
        sg_opine(&opinion, SG_PROBLEM,
                 "%.0f MiB and %llu files are free; remove something or choose another place with "
                 "--out",
                 room, (unsigned long long)space.f_favail);
    else if (room < USUAL_MEBIBYTES)
        sg_opine(&opinion, SG_NOTE, "%.0f MiB are free; `signet plan CONFIG` says how much a sweep needs",
                 room);
    else
        sg_opine(&opinion, SG_FINE, "%.0f GiB are free", room / 1024.0);
    return SG_AT(sg_doctor_say_worst(d, "disk", &opinion));
}

/* ---- a real file, written by all ranks and read back */

static float value(int i) { return (float)i * 0.5f; }

static int write_file(const sg_doctor *d, const char *path, float *data) {
    sg_h5_content *content;
    for (int i = 0; i < ROUND_TRIP; i++) data[i] = value(i);
    SG_TRY(sg_h5_content_create(&content, "doctor"));
    int status = SG_AT(sg_h5_add_array(content, "/doctor/values", SG_H5_F32, ROUND_TRIP, data));
    status = SG_AT(sg_comm_agree(d->world, status));
    if (status == SG_OK) status = SG_AT(sg_h5_write(path, d->world, content));
    sg_h5_content_destroy(&content);
    return status;
}

static int read_file(const sg_doctor *d, const char *path, float *data) {
    sg_h5_file *file;
    memset(data, 0, ROUND_TRIP * sizeof *data);
    SG_TRY(sg_h5_open(&file, path, d->world));
    int status = SG_AT(sg_h5_read_array(file, "/doctor/values", SG_H5_F32, ROUND_TRIP, data));
    sg_h5_close(&file);
    for (int i = 0; i < ROUND_TRIP && status == SG_OK; i++)
        if (data[i] != value(i))
            status = SG_FAIL(SG_DATA, "%s: value %d was written as %g and reads as %g", path, i,
                             (double)value(i), (double)data[i]);
    return status;
}

static int check_hdf5_file(sg_doctor *d) {
    sg_path_name path;
    sg_opinion opinion;
    float *data;
    name_probe(d, ".h5", &path);
    SG_TRY(sg_comm_broadcast(d->world, &path, sizeof path, 0));
    int status = SG_AT(sg_comm_agree(d->world, SG_AT(SG_NEW(&data, ROUND_TRIP))));
    if (status != SG_OK) return status;
    status = SG_AT(write_file(d, path.text, data));
    if (status == SG_OK) status = SG_AT(read_file(d, path.text, data));
    if (status == SG_OK)
        sg_opine(&opinion, SG_FINE, "%d rank%s wrote one file together and read it back",
                 sg_comm_size(d->world), sg_comm_size(d->world) == 1 ? "" : "s");
    else
        sg_opine(&opinion, SG_PROBLEM, "%.200s; choose another file system with --out, or another MPI",
                 sg_error_message());
    sg_error_clear();
    free(data);
    status = SG_AT(sg_doctor_say_worst(d, "parallel file", &opinion));
    if (sg_comm_rank(d->world) == 0) unlink(path.text);
    return status;
}

int sg_doctor_files(sg_doctor *d) {
    bool usable;
    SG_TRY(check_shared_memory(d));
    SG_TRY(check_directory(d, &usable));
    if (!usable) return SG_OK;
    SG_TRY(check_file_system(d));
    SG_TRY(check_space(d));
    SG_TRY(check_sharing(d));
    return SG_AT(check_hdf5_file(d));
}
