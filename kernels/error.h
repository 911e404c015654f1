/* Errors: one path from where something fails to the one place that prints it.
 *
 * Every function that can fail returns an int: SG_OK (0) or one of the codes below, which are also the
 * process's exit codes (sysexits.h). The message says what, where and the remedy; it is recorded once, in the
 * thread's error record, and every SG_TRY on the way up adds its place. Only main prints and ends the
 * process. */
#ifndef SG_ERROR_H
#define SG_ERROR_H

#include <stddef.h>

enum sg_code {
    SG_OK = 0,
    SG_FAILED = 1,       /* a stage failed (diverged, say); the rest of a sweep goes on */
    SG_USAGE = 64,       /* command line */
    SG_DATA = 65,        /* damaged or wrong input data */
    SG_NOINPUT = 66,     /* a file or directory that is not there or not readable */
    SG_BUSY = 69,        /* run directory in use by another job */
    SG_INTERNAL = 70,    /* a bug, or a library that broke its promise */
    SG_NOMEM = 71,       /* out of memory */
    SG_CANTCREATE = 73,  /* cannot create output */
    SG_IO = 74,          /* read, write, sync failed */
    SG_INTERRUPTED = 75, /* stopped on request; a checkpoint is written */
    SG_CONFIG = 78       /* bad or changed configuration */
};

/* Records an error and returns `code`. Starts a new record: the deepest failure wins.
 * Local; thread-safe (one record per thread). */
int sg_error_raise(const char *file, int line, const char *function, int code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Adds a place to the record when `code` is not SG_OK; returns `code`. */
int sg_error_pass(const char *file, int line, const char *function, int code);

/* The message of this thread's last error, "" if none; and the trace "file:line function" lines below it.
 * Borrowed until the thread's next error. */
const char *sg_error_message(void);
const char *sg_error_trace(void);

/* Adds what the caller knows to the front of the message ("reading x.h5: ..."); returns `code`. */
int sg_error_prefix(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Replaces the record by another thread's or rank's (a message that was sent). Returns `code`. */
int sg_error_adopt(int code, const char *message, const char *trace);

/* Forgets the record. */
void sg_error_clear(void);

/* return SG_FAIL(SG_DATA, "%s: ...", path); */
#define SG_FAIL(code, ...) sg_error_raise(__FILE__, __LINE__, __func__, (code), __VA_ARGS__)

/* status = SG_AT(call): the call's status, with this place added to the trace when it failed. */
#define SG_AT(call) sg_error_pass(__FILE__, __LINE__, __func__, (call))

/* SG_TRY(call): leave the function with the call's status when it failed. SG_CHECK(condition, code,
 * message...): leave it with a new error unless the condition holds. These two are the only macros that hide
 * a return; where something has to be released first, write `if ((status = SG_AT(call))) goto done;`. */
#define SG_TRY(call)                                                                                         \
    do {                                                                                                     \
        int sg_try_status = SG_AT(call);                                                                     \
        if (sg_try_status != SG_OK) return sg_try_status;                                                    \
    } while (0)
#define SG_CHECK(condition, code, ...)                                                                       \
    do {                                                                                                     \
        if (!(condition)) return SG_FAIL((code), __VA_ARGS__);                                               \
    } while (0)

#endif
