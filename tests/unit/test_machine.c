/* The machine: denormals are flushed in every thread, and what this CPU or BLIS lacks is refused by name. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/machine.h"

enum { THREADS = 3 };

/* 1e-30 * 1e-12 is denormal, and so is 1e-40 before it is multiplied. */
static void denormals_are_flushed_in_every_thread(void **state) {
    (void)state;
    sg_machine *machine;
    volatile float small = 1e-30f, smaller = 1e-12f, denormal = 1e-40f, large = 1e20f;
    int threads = 0, kept = 0;
#if !defined(__x86_64__)
    skip();
#endif
    if (getenv("SIGNET_TEST_BRIEF") != NULL) skip(); /* valgrind flushes nothing */
    assert_int_equal(sg_machine_create(&machine, "auto", "auto", THREADS), SG_OK);
    for (int region = 0; region < 2; region++) {
#pragma omp parallel num_threads(THREADS) reduction(+ : threads, kept)
        {
            threads++;
            kept += small * smaller != 0.0f;
            kept += denormal * large != 0.0f;
        }
    }
    assert_int_equal(threads, 2 * THREADS);
    assert_int_equal(kept, 0);
    sg_machine_destroy(&machine);
}

static void refuses(const char *isa, const char *blis, const char *part) {
    sg_machine *machine;
    assert_int_equal(sg_machine_create(&machine, isa, blis, 1), SG_CONFIG);
    assert_null(machine);
    if (strstr(sg_error_message(), part) == NULL)
        fail_msg("message \"%s\" does not say \"%s\"", sg_error_message(), part);
}

static void unknown_names_are_refused(void **state) {
    (void)state;
    refuses("sse9", "auto", "kernels.isa = \"sse9\" is not known");
    refuses("auto", "zen99", "kernels.blis = \"zen99\" is not a kernel set");
}

/* Of two regions: whether each thread may run on one CPU, the one of the region before, and no two on the
 * same. */
static bool every_thread_has_its_cpu(int threads) {
    cpu_set_t seen, *own = calloc((size_t)threads, sizeof *own);
    bool good = true;
    for (int region = 0; region < 2; region++) {
        CPU_ZERO(&seen);
        int single = 0, moved = 0;
#pragma omp parallel num_threads(threads) reduction(+ : single, moved)
        {
            cpu_set_t mine;
            CPU_ZERO(&mine);
            sched_getaffinity(0, sizeof mine, &mine);
            int thread = omp_get_thread_num();
            single += CPU_COUNT(&mine) == 1;
            moved += region > 0 && !CPU_EQUAL(&mine, &own[thread]);
            own[thread] = mine;
#pragma omp critical
            CPU_OR(&seen, &seen, &mine);
        }
        good = good && single == threads && moved == 0 && CPU_COUNT(&seen) == threads;
    }
    free(own);
    return good;
}

static bool every_thread_may_run_on(const cpu_set_t *cpus, int threads) {
    int alike = 0;
#pragma omp parallel num_threads(threads) reduction(+ : alike)
    {
        cpu_set_t mine;
        CPU_ZERO(&mine);
        sched_getaffinity(0, sizeof mine, &mine);
        alike += CPU_EQUAL(&mine, cpus) != 0;
    }
    return alike == threads;
}

static void threads_are_bound_to_cpus_of_their_own(void **state) {
    (void)state;
    sg_machine *machine;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int cpus = CPU_COUNT(&before);
    if (cpus == 1) skip();
    unsetenv("OMP_PROC_BIND");
    unsetenv("OMP_PLACES");
    unsetenv("GOMP_CPU_AFFINITY");
    assert_int_equal(sg_machine_create(&machine, "auto", "auto", cpus), SG_OK);
    assert_true(every_thread_may_run_on(&before, cpus));
    assert_int_equal(sg_machine_bind(machine), SG_OK);
    assert_int_equal(sg_machine_bind(machine), SG_OK);
    assert_true(every_thread_has_its_cpu(cpus));
    sg_machine_destroy(&machine);
    assert_true(every_thread_may_run_on(&before, cpus));
}

static void threads_stay_unbound(const char *proc_bind, int threads) {
    sg_machine *machine;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    if (proc_bind != NULL) setenv("OMP_PROC_BIND", proc_bind, 1);
    assert_int_equal(sg_machine_create(&machine, "auto", "auto", threads), SG_OK);
    assert_int_equal(sg_machine_bind(machine), SG_OK);
    assert_true(every_thread_may_run_on(&before, threads));
    sg_machine_destroy(&machine);
    unsetenv("OMP_PROC_BIND");
}

static void threads_are_left_to_the_user_and_to_the_system(void **state) {
    (void)state;
    cpu_set_t all;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    threads_stay_unbound("false", CPU_COUNT(&all));
    threads_stay_unbound(NULL, CPU_COUNT(&all) + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(denormals_are_flushed_in_every_thread),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(threads_are_bound_to_cpus_of_their_own),
        cmocka_unit_test(threads_are_left_to_the_user_and_to_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
