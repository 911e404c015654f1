/* Groups of ranks: what becomes of their communicator. */
#include "pipeline/group.h"
#include "tests/mpi/check.h"

static sg_comm *world;

/* Takes the place of MPI's. */
static int freed;
int MPI_Comm_free(MPI_Comm *comm) {
    freed++;
    return PMPI_Comm_free(comm);
}

static void create(int members, int expected) {
    const sg_machine machine = {.threads = 1};
    const sg_run_config config = {.count = 1};
    sg_comm *comm;
    sg_group *group;
    int rank = sg_comm_rank(world), ranks = sg_comm_size(world);
    CHECK_OK(sg_comm_split(&comm, world, rank < members && members <= ranks ? 0 : -1, rank));
    if (comm == NULL) return;
    freed = 0;
    int status = sg_group_create(&group, comm, &machine, &config, NULL, NULL, ".", "");
    CHECK(status == expected, "status %d, expected %d: %s", status, expected, sg_error_message());
    CHECK((group == NULL) == (status != SG_OK), "status %d, group %p", status, (void *)group);
    sg_group_destroy(&group);
    CHECK(freed == 1, "the communicator was freed %d times", freed);
}

static void a_group_frees_its_communicator(void) { create(1, SG_OK); }

static void a_group_that_cannot_be_made_frees_it_too(void) { create(3, SG_INTERNAL); }

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    CHECK_OK(sg_comm_create(&world, MPI_COMM_WORLD));
    RUN(a_group_frees_its_communicator);
    RUN(a_group_that_cannot_be_made_frees_it_too);
    sg_comm_destroy(&world);
    MPI_Finalize();
    return 0;
}
