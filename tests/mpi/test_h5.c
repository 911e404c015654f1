/* Our files, written and read by several ranks: the same content as by one, and errors that all agree on.
 * libhdf5 and the system are made to fail by standing in front of their functions. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <hdf5.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/file.h"
#include "pipeline/h5.h"
#include "tests/mpi/check.h"

static sg_comm *world;
static char folder[4096];
static int fail_fsync_on = -1, fail_write_on = -1, fail_allocate_on = -1;

int fsync(int descriptor);
int fsync(int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (world != NULL && sg_comm_rank(world) == fail_fsync_on) {
        errno = EIO;
        return -1;
    }
    return real(descriptor);
}

int posix_fallocate(int descriptor, off_t offset, off_t bytes);
int posix_fallocate(int descriptor, off_t offset, off_t bytes) {
    int (*real)(int, off_t, off_t) = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, "posix_fallocate");
    return world != NULL && sg_comm_rank(world) == fail_allocate_on ? ENOSPC
                                                                    : real(descriptor, offset, bytes);
}

typedef herr_t h5_write(hid_t, hid_t, hid_t, hid_t, hid_t, const void *);
herr_t H5Dwrite(hid_t set, hid_t type, hid_t memory, hid_t space, hid_t transfer, const void *data) {
    h5_write *real = (h5_write *)dlsym(RTLD_NEXT, "H5Dwrite");
    return world != NULL && sg_comm_rank(world) == fail_write_on
               ? -1
               : real(set, type, memory, space, transfer, data);
}

static void path_of(char *path, size_t room, const char *file) {
    snprintf(path, room, "%s/%s", folder, file);
}

enum { ROWS = 1003, COLUMNS = 257, SMALL = 90 };
static float *large;
static double small[SMALL];

static sg_h5_content *some_content(void) {
    sg_h5_content *content;
    char path[64];
    CHECK_OK(sg_h5_content_create(&content, "checkpoint"));
    CHECK_OK(sg_h5_add(content, "/weights/large", SG_H5_F32, 2, (size_t[]){ROWS, COLUMNS}, large));
    CHECK_OK(sg_h5_add(content, "/weights/flat", SG_H5_F32, 3, (size_t[]){1, ROWS, COLUMNS}, large));
    for (int i = 0; i < SMALL; i++) {
        snprintf(path, sizeof path, "/metrics/value%d", i);
        CHECK_OK(sg_h5_add_array(content, path, SG_H5_F64, (size_t)i, small));
    }
    CHECK_OK(sg_h5_add_scalar(content, "/optimizer/step", SG_H5_F64, &small[3]));
    CHECK_OK(sg_h5_add_strings(content, "/metrics/text", 2, (const char *const[]){"one", "three"}));
    CHECK_OK(sg_h5_set_text(content, "configuration", "a = 1;"));
    CHECK_OK(sg_h5_set_integer(content, "epoch", 12));
    return content;
}

static void write_some(const char *path) {
    sg_h5_content *content = some_content();
    CHECK_OK(sg_h5_write(path, world, content));
    sg_h5_content_destroy(&content);
}

static void all_ranks_read_what_all_wrote(void) {
    char path[4200];
    path_of(path, sizeof path, "a.h5");
    write_some(path);
    sg_h5_file *file;
    CHECK_OK(sg_h5_open(&file, path, world));
    CHECK(sg_h5_entries(file) == SMALL + 4, "%zu entries", sg_h5_entries(file));
    float *got;
    CHECK_OK(SG_NEW(&got, ROWS * COLUMNS));
    CHECK_OK(sg_h5_read(file, "/weights/large", SG_H5_F32, 2, (size_t[]){ROWS, COLUMNS}, got));
    CHECK(memcmp(got, large, ROWS * COLUMNS * sizeof *got) == 0, "/weights/large differs");
    CHECK_OK(sg_h5_read(file, "/weights/flat", SG_H5_F32, 3, (size_t[]){1, ROWS, COLUMNS}, got));
    CHECK(memcmp(got, large, ROWS * COLUMNS * sizeof *got) == 0, "/weights/flat differs");
    for (int i = 0; i < SMALL; i++) {
        char name[64];
        double values[SMALL] = {0};
        snprintf(name, sizeof name, "/metrics/value%d", i);
        CHECK_OK(sg_h5_read_array(file, name, SG_H5_F64, (size_t)i, values));
        CHECK(memcmp(values, small, (size_t)i * sizeof *values) == 0, "%s differs", name);
    }
    char **text;
    size_t count;
    CHECK_OK(sg_h5_read_strings(file, "/metrics/text", &text, &count));
    CHECK(count == 2 && strcmp(text[1], "three") == 0, "%zu texts", count);
    SG_FREE(text);
    int64_t epoch;
    CHECK_OK(sg_h5_get_integer(file, "epoch", &epoch));
    CHECK(epoch == 12, "epoch %lld", (long long)epoch);
    CHECK_STATUS(sg_h5_read_array(file, "/weights/large", SG_H5_F32, 3, got), SG_DATA,
                 "float32[3] is wanted");
    sg_h5_close(&file);
    SG_FREE(got);
}

static void one_process_verifies_what_all_wrote(void) {
    char path[4200];
    path_of(path, sizeof path, "a.h5");
    write_some(path);
    CHECK_OK(sg_h5_verify(path, NULL, NULL));
    struct stat about;
    CHECK(stat(path, &about) == 0 && about.st_size < 3 * (off_t)(ROWS * COLUMNS * sizeof *large),
          "%lld bytes", (long long)about.st_size);
}

static void damage_is_seen_by_all(void) {
    char path[4200];
    path_of(path, sizeof path, "damaged.h5");
    write_some(path);
    if (sg_comm_rank(world) == 0) {
        struct stat about;
        CHECK(stat(path, &about) == 0, "no file");
        int descriptor = open(path, O_RDWR);
        char byte;
        CHECK(pread(descriptor, &byte, 1, about.st_size / 2) == 1, "cannot read");
        byte ^= 4;
        CHECK(pwrite(descriptor, &byte, 1, about.st_size / 2) == 1, "cannot write");
        close(descriptor);
    }
    CHECK_OK(sg_comm_agree(world, SG_OK));
    sg_h5_file *file;
    CHECK_STATUS(sg_h5_open(&file, path, world), SG_DATA, "is damaged in /weights/");
    CHECK(file == NULL, "a handle to a damaged file");
    path_of(path, sizeof path, "nowhere.h5");
    CHECK_STATUS(sg_h5_open(&file, path, world), SG_NOINPUT, "no such file");
}

/* A write that fails on rank `on` leaves the file of before, and nothing else. */
static void failing_write(int *switch_, int on, int expected, const char *text) {
    char path[4200], temporary[4210];
    path_of(path, sizeof path, "kept.h5");
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    write_some(path);
    sg_h5_content *content = some_content();
    CHECK_OK(sg_h5_set_text(content, "new", "this is not to be seen"));
    *switch_ = on;
    CHECK_STATUS(sg_h5_write(path, world, content), expected, text);
    *switch_ = -1;
    sg_h5_content_destroy(&content);
    CHECK(sg_comm_rank(world) != 0 || access(temporary, F_OK) != 0, "%s is left behind", temporary);
    sg_h5_file *file;
    CHECK_OK(sg_h5_open(&file, path, world));
    CHECK(!sg_h5_has(file, "new"), "the file of before is gone");
    sg_h5_close(&file);
}

static void a_full_disk_is_known_before(void) { failing_write(&fail_allocate_on, 0, SG_IO, "disk is full"); }
static void a_failed_write_on_the_last_rank_stops_all(void) {
    failing_write(&fail_write_on, sg_comm_size(world) - 1, SG_IO, "cannot write a data set");
}
static void a_failed_sync_on_the_last_rank_stops_all(void) {
    failing_write(&fail_fsync_on, sg_comm_size(world) - 1, SG_IO, "cannot sync");
}

static void all_ranks_get_what_a_foreign_file_has(void) {
    char path[4200];
    path_of(path, sizeof path, "foreign.h5");
    if (sg_comm_rank(world) == 0) {
        hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        hid_t group = H5Gcreate2(file, "/weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        hid_t space = H5Screate_simple(2, (hsize_t[]){ROWS, COLUMNS}, NULL);
        hid_t set = H5Dcreate2(group, "a", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, large) >= 0, "cannot write");
        H5Dclose(set);
        H5Sclose(space);
        H5Gclose(group);
        CHECK(H5Fclose(file) >= 0, "cannot close");
    }
    CHECK_OK(sg_comm_agree(world, SG_OK));
    sg_h5_file *file;
    CHECK_STATUS(sg_h5_open(&file, path, world), SG_DATA, "that signet did not write");
    CHECK_OK(sg_h5_open_foreign(&file, path, world, NULL));
    float *got;
    CHECK_OK(SG_NEW(&got, ROWS * COLUMNS));
    CHECK_OK(sg_h5_read(file, "/weights/a", SG_H5_F32, 2, (size_t[]){ROWS, COLUMNS}, got));
    CHECK(memcmp(got, large, ROWS * COLUMNS * sizeof *got) == 0, "/weights/a differs");
    SG_FREE(got);
    sg_h5_close(&file);
    CHECK_OK(sg_comm_agree(world, SG_OK));
    if (sg_comm_rank(world) == 0) CHECK(truncate(path, 3000) == 0, "cannot truncate");
    CHECK_OK(sg_comm_agree(world, SG_OK));
    CHECK_STATUS(sg_h5_open_foreign(&file, path, world, NULL), SG_DATA, "foreign.h5");
}

/* `test_h5 close-fails FILE`: libhdf5 cannot close what the last rank has written. tests/fault/h5_close.sh
 * looks at what mpirun returns then, and that nothing was published. */
static bool close_fails;
herr_t H5Fclose(hid_t file) {
    herr_t (*real)(hid_t) = (herr_t(*)(hid_t))dlsym(RTLD_NEXT, "H5Fclose");
    return close_fails && sg_comm_rank(world) == sg_comm_size(world) - 1 ? -1 : real(file);
}

static void write_with_a_failing_close(const char *path) {
    close_fails = true;
    write_some(path);
    CHECK(false, "went on after a failed H5Fclose");
}

static void make_folder(void) {
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/signet-mpi-h5-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
    CHECK(mkdtemp(folder) != NULL, "%s cannot be made", folder);
}

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *at) {
    (void)found, (void)type, (void)at;
    return remove(path);
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "read-foreign") == 0) return sg_h5_foreign_child(argv[2], atoi(argv[3]));
    MPI_Init(&argc, &argv);
    CHECK_OK(sg_comm_create(&world, MPI_COMM_WORLD));
    if (sg_comm_rank(world) == 0) make_folder();
    CHECK_OK(sg_comm_broadcast(world, folder, sizeof folder, 0));
    CHECK_OK(SG_NEW(&large, ROWS * COLUMNS));
    for (int i = 0; i < ROWS * COLUMNS; i++) large[i] = (float)(i % 9973) * 0.25f - 7;
    for (int i = 0; i < SMALL; i++) small[i] = i / 3.0;
    if (argc == 3 && strcmp(argv[1], "close-fails") == 0) write_with_a_failing_close(argv[2]);
    RUN(all_ranks_read_what_all_wrote);
    RUN(all_ranks_get_what_a_foreign_file_has);
    RUN(one_process_verifies_what_all_wrote);
    RUN(damage_is_seen_by_all);
    RUN(a_full_disk_is_known_before);
    RUN(a_failed_write_on_the_last_rank_stops_all);
    RUN(a_failed_sync_on_the_last_rank_stops_all);
    SG_FREE(large);
    if (sg_comm_rank(world) == 0)
        CHECK(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, "cannot remove %s", folder);
    sg_comm_destroy(&world);
    MPI_Finalize();
    return 0;
}
