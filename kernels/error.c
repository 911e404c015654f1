#include "kernels/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/text.h"

/* One record per thread, like errno: the only state that outlives a call. */
static _Thread_local struct {
    char message[2048];
    char trace[2048];
} record;

static void add_place(const char *file, int line, const char *function) {
    size_t used = strlen(record.trace);
    snprintf(record.trace + used, sizeof record.trace - used, "  at %s:%d %s\n", file, line, function);
}

int sg_error_raise(const char *file, int line, const char *function, int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(record.message, sizeof record.message, format, arguments);
    va_end(arguments);
    sg_text_make_plain(record.message); /* names and values in it may come from a hostile file */
    record.trace[0] = '\0';
    add_place(file, line, function);
    return code;
}

int sg_error_pass(const char *file, int line, const char *function, int code) {
    if (code != SG_OK) add_place(file, line, function);
    return code;
}

int sg_error_prefix(int code, const char *format, ...) {
    char old[sizeof record.message];
    memcpy(old, record.message, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(record.message, sizeof record.message, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof record.message)
        snprintf(record.message + used, sizeof record.message - (size_t)used, "%s", old);
    sg_text_make_plain(record.message);
    return code;
}

int sg_error_adopt(int code, const char *message, const char *trace) {
    snprintf(record.message, sizeof record.message, "%s", message);
    snprintf(record.trace, sizeof record.trace, "%s", trace);
    return code;
}

const char *sg_error_message(void) { return record.message; }

const char *sg_error_trace(void) { return record.trace; }

void sg_error_clear(void) { record.message[0] = record.trace[0] = '\0'; }
