/* What `signet doctor` looks at. Every check says one line: what it found and, unless all is well, the
 * remedy. Checks of one rank's surroundings are gathered, so that rank 0 speaks for all. */
#ifndef SG_DOCTOR_H
#define SG_DOCTOR_H

#include <sched.h>
#include <stdbool.h>

#include "kernels/machine.h"
#include "pipeline/comm.h"

enum sg_finding { SG_FINE, SG_NOTE, SG_PROBLEM };

typedef struct sg_doctor {
    sg_comm *world; /* owned, like machine */
    sg_machine *machine;
    const char *dir;     /* where runs are to write */
    int problems, notes; /* said so far, on every rank */
} sg_doctor;

/* Prints "ok", "note" or "PROBLEM", the check's name and the text on rank 0. Every rank passes the same
 * finding. */
void sg_doctor_say(sg_doctor *doctor, enum sg_finding finding, const char *check, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* What one rank found by itself. */
typedef struct sg_opinion {
    enum sg_finding finding;
    char text[360];
} sg_opinion;

void sg_opine(sg_opinion *opinion, enum sg_finding finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Says the worst opinion, the lowest rank's that has it, with that rank's host when it is no SG_FINE.
 * Collective. */
int sg_doctor_say_worst(sg_doctor *doctor, const char *check, const sg_opinion *mine);

/* The checks, in their order. Collective. */
int sg_doctor_libraries(sg_doctor *doctor);
int sg_doctor_ranks(sg_doctor *doctor);
int sg_doctor_files(sg_doctor *doctor);

/* ---- What they are made of. Local. */

/* Of MPI_Get_library_version's text: Open MPI 2.x to 3.1.3, 4.0.0 and 5.0.0 to 5.0.5 damage or hang parallel
 * HDF5. */
void sg_judge_mpi(const char *library, sg_opinion *opinion);

/* Of BLIS's micro-kernel for a CPU that has these instructions. */
void sg_judge_blis(const char *kernel, bool avx2, bool avx512, sg_opinion *opinion);

/* Where a rank runs. */
typedef struct sg_place {
    char host[64];
    cpu_set_t cpus; /* its affinity */
    int threads;
    int online; /* cores of its node */
} sg_place;

/* Of all ranks: threads without a core of their own, and cores without a thread. */
void sg_judge_places(const sg_place *place, int ranks, sg_opinion *opinion);

/* Of a file system's magic number (statfs): what is known of it. */
void sg_judge_file_system(unsigned long magic, sg_opinion *opinion);

#endif
