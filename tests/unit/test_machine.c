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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(denormals_are_flushed_in_every_thread),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
