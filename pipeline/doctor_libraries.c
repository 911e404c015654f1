/* MPI, HDF5, BLIS, OpenMP, denormals: what this process is linked with and how it was told to run. */
#include <dlfcn.h>
#include <hdf5.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/doctor.h"

static int check_mpi(sg_doctor *d) {
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
    int length, provided;
    sg_opinion opinion;
    SG_TRY(sg_comm_check(MPI_Get_library_version(library, &length), "MPI_Get_library_version"));
    SG_TRY(sg_comm_check(MPI_Query_thread(&provided), "MPI_Query_thread"));
    sg_judge_mpi(library, &opinion);
    if (opinion.finding == SG_FINE && provided < MPI_THREAD_FUNNELED)
        sg_opine(&opinion, SG_PROBLEM,
                 "it was built without threads (MPI_THREAD_FUNNELED); load another build");
    return SG_AT(sg_doctor_say_worst(d, "mpi", &opinion));
}

static int check_hdf5(sg_doctor *d) {
    unsigned v[3];
    sg_opinion opinion;
    if (H5get_libversion(&v[0], &v[1], &v[2]) < 0) return SG_FAIL(SG_INTERNAL, "H5get_libversion failed");
    bool parallel = dlsym(RTLD_DEFAULT, "H5Pset_fapl_mpio") != NULL;
#ifndef H5_HAVE_PARALLEL
    parallel = false;
#endif
    if (!parallel)
        sg_opine(&opinion, SG_PROBLEM,
                 "%u.%u.%u was built without MPI; load a parallel build (hdf5-openmpi, hdf5/...-mpi) and "
                 "build Signet "
                 "again",
                 v[0], v[1], v[2]);
    else if (v[0] != H5_VERS_MAJOR || v[1] != H5_VERS_MINOR)
        sg_opine(&opinion, SG_PROBLEM,
                 "the library that was loaded is %u.%u.%u, Signet was built with the headers of %d.%d.%d; "
                 "load that "
                 "module, or build again",
                 v[0], v[1], v[2], H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE);
    else
        sg_opine(&opinion, SG_FINE, "%u.%u.%u with MPI", v[0], v[1], v[2]);
    return SG_AT(sg_doctor_say_worst(d, "hdf5", &opinion));
}

static int check_blis(sg_doctor *d) {
    sg_opinion opinion;
    bool avx2 = false, avx512 = false;
#if defined(__x86_64__)
    avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
#endif
    sg_judge_blis(d->machine->ukernel.name, avx2, avx512, &opinion);
    return SG_AT(sg_doctor_say_worst(d, "blis", &opinion));
}

/* Signet calls BLIS's micro-kernels from its own threads, never its threaded routines. */
static int check_blis_threads(sg_doctor *d) {
    static const char *const names[] = {"BLIS_NUM_THREADS", "BLIS_JC_NT", "BLIS_PC_NT",
                                        "BLIS_IC_NT",       "BLIS_JR_NT", "BLIS_IR_NT"};
    sg_opinion opinion;
    sg_opine(&opinion, SG_FINE, "BLIS starts none");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && atoi(value) > 1)
            sg_opine(&opinion, SG_NOTE,
                     "%s=%.20s has no effect on Signet, which has threads of its own (run.threads); "
                     "unset it",
                     names[i], value);
    }
    const char *omp = getenv("OMP_NUM_THREADS");
    if (omp != NULL && opinion.finding == SG_FINE && atoi(omp) != d->machine->threads)
        sg_opine(&opinion, SG_NOTE,
                 "OMP_NUM_THREADS=%.20s has no effect on Signet, which uses %d here; set run.threads", omp,
                 d->machine->threads);
    return SG_AT(sg_doctor_say_worst(d, "threads", &opinion));
}

/* How many threads there really are, and in how many of them denormals are not flushed. */
static void count_threads(int wanted, volatile float *numbers, int *started, int *slow) {
    int all = 0, denormal = 0;
#pragma omp parallel num_threads(wanted) reduction(+ : all, denormal)
    {
        float product = numbers[0] * numbers[1];
        all += 1;
        denormal += product != 0.0f;
    }
    *started = all;
    *slow = denormal;
}

static int check_openmp(sg_doctor *d) {
    sg_opinion opinion;
    int started, slow, rank, ranks;
    SG_TRY(sg_comm_node(d->world, &rank, &ranks));
    volatile float numbers[] = {1e-30f, 1e-12f}; /* not for the compiler to multiply */
    count_threads(d->machine->threads, numbers, &started, &slow);
    bool pinned = omp_get_proc_bind() != omp_proc_bind_false;
    if (started < d->machine->threads)
        sg_opine(&opinion, SG_PROBLEM, "%d of %d threads start; raise or unset OMP_THREAD_LIMIT", started,
                 d->machine->threads);
    else if (pinned && ranks > 1)
        sg_opine(&opinion, SG_NOTE,
                 "OMP_PROC_BIND or OMP_PLACES binds threads: ranks that share cores then crowd on the first "
                 "of them; "
                 "unset them unless each rank has cores of its own");
    else
        sg_opine(&opinion, SG_FINE, "%d %sthread%s a rank", started,
                 d->machine->allowed != NULL ? "bound " : "", started == 1 ? "" : "s");
    SG_TRY(sg_doctor_say_worst(d, "openmp", &opinion));
    if (slow > 0)
        sg_opine(&opinion, SG_NOTE,
                 "in %d of %d threads denormal numbers are not flushed to zero, and cost a hundredfold where "
                 "they occur; "
                 "this CPU needs a build for it",
                 slow, started);
    else
        sg_opine(&opinion, SG_FINE, "flushed to zero in every thread");
    return SG_AT(sg_doctor_say_worst(d, "denormals", &opinion));
}

int sg_doctor_libraries(sg_doctor *d) {
    SG_TRY(check_mpi(d));
    SG_TRY(check_hdf5(d));
    SG_TRY(check_blis(d));
    SG_TRY(check_blis_threads(d));
    return SG_AT(check_openmp(d));
}
