#include "tests/reference/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/error.h"

void assert_ok(int status) {
    if (status != SG_OK) fail_msg("status %d: %s\n%s", status, sg_error_message(), sg_error_trace());
}

void assert_error(int status, int expected, const char *text) {
    if (status != expected) fail_msg("status %d, expected %d: %s", status, expected, sg_error_message());
    if (strstr(sg_error_message(), text) == NULL)
        fail_msg("message \"%s\" does not say \"%s\"", sg_error_message(), text);
}
