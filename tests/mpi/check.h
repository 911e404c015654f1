/* Tests under mpirun: each test is a function that all ranks run. A failed check prints rank, place,
 * expectation and what came, and ends the whole job with 1, so that nobody waits for the rank that failed. */
#ifndef SG_TESTS_MPI_CHECK_H
#define SG_TESTS_MPI_CHECK_H

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/error.h"

#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            int check_rank = 0;                                                                              \
            MPI_Comm_rank(MPI_COMM_WORLD, &check_rank);                                                      \
            fprintf(stderr, "%s:%d: rank %d: %s does not hold: ", __FILE__, __LINE__, check_rank,            \
                    #condition);                                                                             \
            fprintf(stderr, __VA_ARGS__);                                                                    \
            fputc('\n', stderr);                                                                             \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                                    \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define CHECK_OK(call)                                                                                       \
    do {                                                                                                     \
        int check_status = (call);                                                                           \
        CHECK(check_status == SG_OK, "status %d: %s\n%s", check_status, sg_error_message(),                  \
              sg_error_trace());                                                                             \
    } while (0)

#define CHECK_STATUS(call, expected, text)                                                                   \
    do {                                                                                                     \
        int check_status = (call);                                                                           \
        CHECK(check_status == (expected), "status %d, expected %d: %s", check_status, (expected),            \
              sg_error_message());                                                                           \
        CHECK(strstr(sg_error_message(), (text)) != NULL, "message \"%s\" lacks \"%s\"", sg_error_message(), \
              (text));                                                                                       \
    } while (0)

#define RUN(test)                                                                                            \
    do {                                                                                                     \
        int run_rank = 0;                                                                                    \
        MPI_Comm_rank(MPI_COMM_WORLD, &run_rank);                                                            \
        test();                                                                                              \
        MPI_Barrier(MPI_COMM_WORLD);                                                                         \
        if (run_rank == 0) printf("  ok %s\n", #test), fflush(stdout);                                       \
    } while (0)

#endif
