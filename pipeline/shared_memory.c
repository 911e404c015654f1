#include "pipeline/shared_memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/comm.h"

struct sg_shared_memory {
    char *base;
    size_t part, total; /* bytes of a rank's part, of all */
};

/* How the other ranks find the file, and know it: in another container its maker's number may be that of
 * somebody else. */
typedef struct invitation {
    int64_t process, descriptor; /* descriptor < 0: there is no file */
    uint64_t device, inode;
} invitation;

static invitation make_file(size_t bytes, int *descriptor) {
    struct stat made;
    struct rlimit longest; /* beyond it ftruncate would end the process by a signal */
    *descriptor = -1;
    if (bytes > INT64_MAX || getrlimit(RLIMIT_FSIZE, &longest) != 0 || bytes > longest.rlim_cur)
        return (invitation){.descriptor = -1};
    *descriptor = memfd_create("signet", MFD_CLOEXEC);
    if (*descriptor < 0 || ftruncate(*descriptor, (off_t)bytes) != 0 || fstat(*descriptor, &made) != 0)
        return (invitation){.descriptor = -1};
    return (invitation){.process = getpid(),
                        .descriptor = *descriptor,
                        .device = (uint64_t)made.st_dev,
                        .inode = (uint64_t)made.st_ino};
}

static int open_file(const invitation *to) {
    char path[64];
    struct stat found;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)to->process, (long long)to->descriptor);
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return -1;
    if (fstat(descriptor, &found) == 0 && (uint64_t)found.st_dev == to->device &&
        (uint64_t)found.st_ino == to->inode)
        return descriptor;
    close(descriptor);
    return -1;
}

static int on_one_node(MPI_Comm mpi, bool *yes) {
    MPI_Comm node;
    int ranks, here;
    SG_TRY(sg_comm_check(MPI_Comm_size(mpi, &ranks), "MPI_Comm_size"));
    SG_TRY(sg_comm_split_node(mpi, &node));
    MPI_Comm_size(node, &here);
    SG_TRY(sg_comm_check(MPI_Comm_free(&node), "MPI_Comm_free"));
    *yes = here == ranks; /* then on every rank */
    return SG_OK;
}

/* The file stays open until all have mapped it. */
static int map_together(sg_shared_memory *memory, MPI_Comm mpi, bool *mapped) {
    int rank, descriptor = -1, all = 0;
    invitation to = {.descriptor = -1};
    SG_TRY(sg_comm_check(MPI_Comm_rank(mpi, &rank), "MPI_Comm_rank"));
    if (rank == 0) to = make_file(memory->total, &descriptor);
    SG_TRY(sg_comm_check(MPI_Bcast(&to, (int)sizeof to, MPI_BYTE, 0, mpi), "MPI_Bcast"));
    if (rank != 0 && to.descriptor >= 0) descriptor = open_file(&to);
    void *base = MAP_FAILED;
    if (to.descriptor >= 0 && descriptor >= 0)
        base = mmap(NULL, memory->total, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    int mine = base != MAP_FAILED;
    if (mine) madvise(base, memory->total, MADV_HUGEPAGE); /* a hint: failure changes nothing */
    int status = SG_AT(sg_comm_check(MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, mpi), "MPI_Allreduce"));
    if (descriptor >= 0) close(descriptor);
    *mapped = status == SG_OK && all;
    if (mine && !*mapped) munmap(base, memory->total);
    if (*mapped) memory->base = base;
    return status;
}

int sg_shared_memory_create(sg_shared_memory **memory, MPI_Comm mpi, size_t bytes) {
    *memory = NULL;
    bool together = false, mapped = false;
    int ranks;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    SG_TRY(sg_comm_check(MPI_Comm_size(mpi, &ranks), "MPI_Comm_size"));
    SG_TRY(on_one_node(mpi, &together));
    if (!together) return SG_OK;
    sg_shared_memory made = {.part = sg_round_up(bytes + SG_READABLE_SLACK, page)};
    made.total = made.part * (size_t)ranks;
    SG_TRY(map_together(&made, mpi, &mapped));
    if (!mapped) return SG_OK;
    int status = SG_AT(SG_NEW(memory, 1));
    if (status == SG_OK)
        **memory = made;
    else
        munmap(made.base, made.total);
    return status;
}

void sg_shared_memory_destroy(sg_shared_memory **memory) {
    if (memory == NULL || *memory == NULL) return;
    munmap((*memory)->base, (*memory)->total);
    SG_FREE(*memory);
}

void *sg_shared_memory_of(const sg_shared_memory *memory, int rank) {
    return memory->base + (size_t)rank * memory->part;
}
