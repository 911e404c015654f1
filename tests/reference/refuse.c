#include "tests/reference/refuse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "pipeline/config.h"

static void parse(const char *text, const char *override) {
    sg_run_config *config;
    int status = sg_config_parse(&config, "test.cfg", text, &override, override != NULL ? 1 : 0);
    assert_null(config);
    if (status != SG_CONFIG) fail_msg("status %d, expected %d: %s", status, SG_CONFIG, sg_error_message());
}

void refuses_under(const char *text, const char *override, const char *message) {
    parse(text, override);
    assert_string_equal(sg_error_message(), message);
}

void refuses(const char *text, const char *message) { refuses_under(text, NULL, message); }

void refuses_with(const char *text, const char *part) {
    parse(text, NULL);
    if (strstr(sg_error_message(), part) == NULL) fail_msg("expected `%s` in `%s`", part, sg_error_message());
}
