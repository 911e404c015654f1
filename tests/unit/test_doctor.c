/* What `signet doctor` concludes from plain facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/doctor.h"

static void expect(const sg_opinion *opinion, enum sg_finding finding, const char *part) {
    if (opinion->finding != finding || strstr(opinion->text, part) == NULL)
        fail_msg("expected finding %d with `%s`, got %d: %s", (int)finding, part, (int)opinion->finding,
                 opinion->text);
}

static void expect_mpi(const char *library, enum sg_finding finding, const char *part) {
    sg_opinion opinion;
    sg_judge_mpi(library, &opinion);
    expect(&opinion, finding, part);
}

static void open_mpi_5_0_0_to_5_0_5_is_a_problem(void **state) {
    (void)state;
    expect_mpi("Open MPI v5.0.0rc9, package: x", SG_PROBLEM, "load 4.1 or 5.0.6");
    expect_mpi("Open MPI v5.0.5, package: x", SG_PROBLEM, "Open MPI 5.0.5");
    expect_mpi("Open MPI v5.0.6, package: x", SG_FINE, "5.0.6");
}

static void open_mpi_2_to_3_1_3_and_4_0_0_is_a_problem(void **state) {
    (void)state;
    expect_mpi("Open MPI v2.0.0, package: x", SG_PROBLEM, "2.0.0");
    expect_mpi("Open MPI v3.1.3, package: x", SG_PROBLEM, "3.1.3");
    expect_mpi("Open MPI v3.1.4, package: x", SG_FINE, "3.1.4");
    expect_mpi("Open MPI v4.0.0, package: x", SG_PROBLEM, "4.0.0");
    expect_mpi("Open MPI v4.0.1, package: x", SG_FINE, "4.0.1");
    expect_mpi("Open MPI v4.1.4, package: x", SG_FINE, "4.1.4");
}

static void open_mpi_1_is_a_note(void **state) {
    (void)state;
    expect_mpi("Open MPI v1.10.7, package: x", SG_NOTE, "older");
}

static void another_mpi_is_named(void **state) {
    (void)state;
    expect_mpi("MPICH Version:      4.0.2\nMPICH Release date: x", SG_FINE, "MPICH Version:      4.0.2");
}

static void expect_blis(const char *kernel, bool avx2, bool avx512, enum sg_finding finding,
                        const char *part) {
    sg_opinion opinion;
    sg_judge_blis(kernel, avx2, avx512, &opinion);
    expect(&opinion, finding, part);
}

static void generic_kernels_are_a_problem(void **state) {
    (void)state;
    expect_blis("generic", true, false, SG_PROBLEM, "kernels.blis = \"haswell\"");
    expect_blis("generic", true, false, SG_PROBLEM, "BLIS_ARCH_TYPE must be unset");
    expect_blis("generic", false, false, SG_PROBLEM, "BLIS_ARCH_TYPE must be unset");
    expect_blis("sandybridge", true, false, SG_PROBLEM, "sandybridge");
    expect_blis("sandybridge", false, false, SG_FINE, "sandybridge");
}

static void kernels_older_than_the_cpu_are_a_note(void **state) {
    (void)state;
    expect_blis("haswell", true, true, SG_NOTE, "AVX-512");
    expect_blis("own", true, false, SG_NOTE, "own");
    expect_blis("skx", true, true, SG_FINE, "skx");
    expect_blis("zen3", true, false, SG_FINE, "zen3");
}

static sg_place place(const char *host, int first, int cores, int threads, int online) {
    sg_place p = {.threads = threads, .online = online};
    snprintf(p.host, sizeof p.host, "%s", host);
    for (int c = first; c < first + cores; c++) CPU_SET(c, &p.cpus);
    return p;
}

static void expect_places(const sg_place *all, int ranks, enum sg_finding finding, const char *part) {
    sg_opinion opinion;
    sg_judge_places(all, ranks, &opinion);
    expect(&opinion, finding, part);
}

static void ranks_with_cores_of_their_own_are_fine(void **state) {
    (void)state;
    sg_place all[] = {place("a", 0, 2, 2, 4), place("a", 2, 2, 2, 4), place("b", 0, 4, 4, 4)};
    expect_places(all, 3, SG_FINE, "3 ranks on 2 nodes, 8 threads");
}

static void ranks_stacked_on_one_core_are_a_problem(void **state) {
    (void)state;
    sg_place all[] = {place("a", 1, 1, 1, 4), place("a", 1, 1, 1, 4), place("a", 2, 2, 2, 4)};
    expect_places(all, 3, SG_PROBLEM, "on a 2 ranks with 2 threads share 1 core");
}

static void the_same_core_number_of_two_nodes_is_fine(void **state) {
    (void)state;
    sg_place all[] = {place("a", 0, 1, 1, 1), place("b", 0, 1, 1, 1)};
    expect_places(all, 2, SG_FINE, "2 ranks on 2 nodes");
}

static void more_threads_than_cores_are_a_problem(void **state) {
    (void)state;
    sg_place one[] = {place("a", 0, 2, 3, 2)};
    expect_places(one, 1, SG_PROBLEM, "on a 1 rank with 3 threads share 2 cores");
    sg_place all[] = {place("a", 0, 3, 2, 4), place("a", 1, 3, 3, 4)};
    expect_places(all, 2, SG_PROBLEM, "on a 2 ranks with 5 threads share 4 cores");
}

static void idle_cores_are_a_note(void **state) {
    (void)state;
    sg_place all[] = {place("a", 0, 1, 1, 8), place("a", 1, 1, 1, 8)};
    expect_places(all, 2, SG_NOTE, "on a 6 of 8 cores do nothing");
}

static void unsafe_file_systems_are_a_note(void **state) {
    (void)state;
    sg_opinion opinion;
    sg_judge_file_system(0x65735546, &opinion);
    expect(&opinion, SG_NOTE, "fuse");
    sg_judge_file_system(0x6969, &opinion);
    expect(&opinion, SG_NOTE, "nolock");
    sg_judge_file_system(0x0BD00BD0, &opinion);
    expect(&opinion, SG_FINE, "lustre");
    sg_judge_file_system(0x12345, &opinion);
    expect(&opinion, SG_FINE, "0x12345");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_mpi_5_0_0_to_5_0_5_is_a_problem),
        cmocka_unit_test(open_mpi_2_to_3_1_3_and_4_0_0_is_a_problem),
        cmocka_unit_test(open_mpi_1_is_a_note),
        cmocka_unit_test(another_mpi_is_named),
        cmocka_unit_test(generic_kernels_are_a_problem),
        cmocka_unit_test(kernels_older_than_the_cpu_are_a_note),
        cmocka_unit_test(ranks_with_cores_of_their_own_are_fine),
        cmocka_unit_test(ranks_stacked_on_one_core_are_a_problem),
        cmocka_unit_test(the_same_core_number_of_two_nodes_is_fine),
        cmocka_unit_test(more_threads_than_cores_are_a_problem),
        cmocka_unit_test(idle_cores_are_a_note),
        cmocka_unit_test(unsafe_file_systems_are_a_note),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
