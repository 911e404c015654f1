#include "pipeline/comm.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels/memory.h"
#include "pipeline/reduction.h"

enum { MESSAGE_BYTES = 1 << 30, ALONE_SECONDS = 15 };

struct sg_comm {
    MPI_Comm mpi;
    int rank, size;
    sg_reduction *reduction; /* NULL unless size is a power of two */
};

int sg_comm_check(int code, const char *call) {
    if (code == MPI_SUCCESS) return SG_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return SG_FAIL(SG_INTERNAL, "%s failed: %s; `signet doctor` checks the MPI installation", call, text);
}

/* Takes over mpi. */
static int wrap(sg_comm **comm, MPI_Comm mpi) {
    int status;
    *comm = NULL;
    if ((status = SG_AT(SG_NEW(comm, 1)))) goto failed;
    sg_comm *c = *comm;
    c->mpi = mpi;
    if ((status = SG_AT(
             sg_comm_check(MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"))) ||
        (status = SG_AT(sg_comm_check(MPI_Comm_rank(mpi, &c->rank), "MPI_Comm_rank"))) ||
        (status = SG_AT(sg_comm_check(MPI_Comm_size(mpi, &c->size), "MPI_Comm_size"))))
        goto failed;
    if ((c->size & (c->size - 1)) == 0 && (status = SG_AT(sg_reduction_create(&c->reduction, mpi))))
        goto failed;
    return SG_OK;
failed:
    SG_FREE(*comm);
    MPI_Comm_free(&mpi);
    return status;
}

int sg_comm_create(sg_comm **comm, MPI_Comm mpi) {
    *comm = NULL;
    MPI_Comm copy;
    SG_TRY(sg_comm_check(MPI_Comm_dup(mpi, &copy), "MPI_Comm_dup"));
    return SG_AT(wrap(comm, copy));
}

int sg_comm_split(sg_comm **comm, sg_comm *parent, int color, int key) {
    *comm = NULL;
    MPI_Comm part;
    int mpi_color = color < 0 ? MPI_UNDEFINED : color;
    SG_TRY(sg_comm_check(MPI_Comm_split(parent->mpi, mpi_color, key, &part), "MPI_Comm_split"));
    return part == MPI_COMM_NULL ? SG_OK : SG_AT(wrap(comm, part));
}

void sg_comm_destroy(sg_comm **comm) {
    if (comm == NULL || *comm == NULL) return;
    sg_reduction_destroy(&(*comm)->reduction);
    MPI_Comm_free(&(*comm)->mpi);
    SG_FREE(*comm);
}

int sg_comm_rank(const sg_comm *comm) { return comm->rank; }
int sg_comm_size(const sg_comm *comm) { return comm->size; }
MPI_Comm sg_comm_mpi(const sg_comm *comm) { return comm->mpi; }

int sg_comm_split_node(MPI_Comm mpi, MPI_Comm *node) {
    return SG_AT(sg_comm_check(MPI_Comm_split_type(mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, node),
                               "MPI_Comm_split_type"));
}

int sg_comm_node(sg_comm *comm, int *rank, int *ranks) {
    MPI_Comm node;
    SG_TRY(sg_comm_split_node(comm->mpi, &node));
    MPI_Comm_rank(node, rank);
    MPI_Comm_size(node, ranks);
    return SG_AT(sg_comm_check(MPI_Comm_free(&node), "MPI_Comm_free"));
}

/* An interruption is no failure: where both happened, the failure is what has to be told. */
static int severity(int status) { return status == SG_OK ? 0 : status == SG_INTERRUPTED ? 1 : 1 + status; }

/* Waits for the others to agree. A rank that failed where they have not may wait for ranks that wait for it,
 * in a sum over the group: they all would stay for ever, so it ends the job. */
static int wait_to_agree(sg_comm *comm, MPI_Request *request, int status) {
    struct timespec nap = {.tv_nsec = 1000000};
    bool failed = status != SG_OK && status != SG_INTERRUPTED;
    double end = MPI_Wtime() + ALONE_SECONDS;
    int done = 0;
    while (failed && !done) {
        SG_TRY(sg_comm_check(MPI_Test(request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (done) return SG_OK;
        if (MPI_Wtime() > end) sg_comm_abort(comm, status);
        nanosleep(&nap, NULL);
    }
    return SG_AT(sg_comm_check(MPI_Wait(request, MPI_STATUS_IGNORE), "MPI_Wait"));
}

int sg_comm_agree(sg_comm *comm, int status) {
    struct {
        int value, rank;
    } mine = {severity(status), comm->rank}, worst;
    MPI_Request request;
    SG_TRY(sg_comm_check(MPI_Iallreduce(&mine, &worst, 1, MPI_2INT, MPI_MAXLOC, comm->mpi, &request),
                         "MPI_Iallreduce"));
    SG_TRY(wait_to_agree(comm, &request, status));
    if (worst.value == 0) return SG_OK;
    struct {
        int code;
        char message[2048], trace[2048];
    } record = {.code = status};
    if (comm->rank == worst.rank) {
        snprintf(record.message, sizeof record.message, "%s", sg_error_message());
        if (comm->size == 1) return SG_AT(status);
        const char *trace = sg_error_trace();
        bool told = strncmp(trace, "rank ", 5) == 0; /* by an agreement of a smaller group */
        if (told)
            snprintf(record.trace, sizeof record.trace, "%s", trace);
        else
            snprintf(record.trace, sizeof record.trace, "rank %d:\n%s", comm->rank, trace);
    }
    SG_TRY(
        sg_comm_check(MPI_Bcast(&record, (int)sizeof record, MPI_BYTE, worst.rank, comm->mpi), "MPI_Bcast"));
    return sg_error_adopt(record.code, record.message, record.trace);
}

int sg_comm_max_int(sg_comm *comm, int *value) {
    return SG_AT(
        sg_comm_check(MPI_Allreduce(MPI_IN_PLACE, value, 1, MPI_INT, MPI_MAX, comm->mpi), "MPI_Allreduce"));
}

int sg_comm_sum_double(sg_comm *comm, double *values, int count) {
    double *all;
    SG_TRY(SG_NEW(&all, (size_t)comm->size * (size_t)count));
    int status = SG_AT(sg_comm_gather(comm, values, (size_t)count * sizeof *values, all));
    for (int i = 0; status == SG_OK && i < count; i++) {
        values[i] = all[i];
        for (int r = 1; r < comm->size; r++) values[i] += all[(size_t)r * (size_t)count + (size_t)i];
    }
    SG_FREE(all);
    return status;
}

int sg_comm_broadcast(sg_comm *comm, void *data, size_t bytes, int root) {
    for (size_t done = 0, part; done < bytes; done += part) {
        part = bytes - done < MESSAGE_BYTES ? bytes - done : MESSAGE_BYTES;
        SG_TRY(
            sg_comm_check(MPI_Bcast((char *)data + done, (int)part, MPI_BYTE, root, comm->mpi), "MPI_Bcast"));
    }
    return SG_OK;
}

int sg_comm_gather(sg_comm *comm, const void *mine, size_t bytes, void *all) {
    SG_CHECK(bytes <= INT_MAX, SG_INTERNAL, "sg_comm_gather: %zu bytes are too long for one message", bytes);
    return SG_AT(sg_comm_check(
        MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, comm->mpi), "MPI_Allgather"));
}

/* 0.1 ms at first, half as long again each time, 10 ms at most. */
static void doze(double *seconds) {
    struct timespec pause = {.tv_nsec = (long)(*seconds * 1e9)};
    nanosleep(&pause, NULL);
    *seconds = *seconds * 1.5 < 0.01 ? *seconds * 1.5 : 0.01;
}

int sg_comm_barrier_watching(sg_comm *comm, sg_comm_idle idle, void *context) {
    MPI_Request request;
    int complete = 0;
    SG_TRY(sg_comm_check(MPI_Ibarrier(comm->mpi, &request), "MPI_Ibarrier"));
    for (double pause = 1e-4;;) {
        SG_TRY(sg_comm_check(MPI_Test(&request, &complete, MPI_STATUS_IGNORE), "MPI_Test"));
        if (complete) return SG_OK;
        if (idle != NULL) SG_TRY(idle(context));
        doze(&pause);
    }
}

int sg_comm_barrier_quietly(sg_comm *comm) { return SG_AT(sg_comm_barrier_watching(comm, NULL, NULL)); }

int sg_comm_send(sg_comm *comm, const void *data, size_t bytes, int to, enum sg_tag tag) {
    SG_CHECK(bytes <= INT_MAX, SG_INTERNAL, "sg_comm_send: %zu bytes are too long for one message", bytes);
    return SG_AT(sg_comm_check(MPI_Send(data, (int)bytes, MPI_BYTE, to, (int)tag, comm->mpi), "MPI_Send"));
}

int sg_comm_wait_quietly(sg_comm *comm, int source, enum sg_tag tag, double timeout, bool *arrived, int *from,
                         size_t *bytes) {
    *arrived = false;
    double start = MPI_Wtime();
    for (double pause = 1e-4;;) {
        int flag = 0, count = 0;
        MPI_Status status;
        SG_TRY(sg_comm_check(MPI_Iprobe(source, (int)tag, comm->mpi, &flag, &status), "MPI_Iprobe"));
        if (flag) {
            MPI_Get_count(&status, MPI_BYTE, &count);
            *arrived = true;
            *from = status.MPI_SOURCE;
            *bytes = (size_t)count;
            return SG_OK;
        }
        if (timeout >= 0 && MPI_Wtime() - start >= timeout) return SG_OK;
        doze(&pause);
    }
}

int sg_comm_receive(sg_comm *comm, void *data, size_t capacity, int from, enum sg_tag tag, size_t *bytes) {
    MPI_Status status;
    int room = capacity < INT_MAX ? (int)capacity : INT_MAX, count = 0;
    SG_TRY(sg_comm_check(MPI_Recv(data, room, MPI_BYTE, from, (int)tag, comm->mpi, &status), "MPI_Recv"));
    SG_TRY(sg_comm_check(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count"));
    *bytes = (size_t)count;
    return SG_OK;
}

int sg_comm_reduce(sg_comm *comm, int threads, sg_reduce *reduce) {
    SG_CHECK(comm->reduction != NULL, SG_INTERNAL,
             "%d ranks cannot train one network: a stage's group must be a power of two", comm->size);
    sg_reduction_interface(comm->reduction, threads, reduce);
    return SG_OK;
}

uint64_t sg_comm_sent(const sg_comm *comm) {
    return comm->reduction != NULL ? sg_reduction_sent(comm->reduction) : 0;
}

void sg_comm_tune(sg_comm *comm, size_t long_bytes, size_t message_bytes) {
    if (comm->reduction != NULL) sg_reduction_tune(comm->reduction, long_bytes, message_bytes);
}

void sg_comm_abort(sg_comm *comm, int code) {
    fprintf(stderr, "signet: error: %s\n%s", sg_error_message(), sg_error_trace());
    fflush(stderr);
    MPI_Abort(comm->mpi, code);
    _Exit(code);
}
