#include "pipeline/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/text.h"
#include "pipeline/paths.h"

static struct {
    bool open, quiet;
    int events; /* descriptor of log.jsonl, -1 none */
    void (*hide)(void), (*show)(void);
} the_log = {.events = -1};

static void stamp(char *text, size_t size, const char *format) {
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(text, size, format, gmtime_r(&now.tv_sec, &utc));
}

void sg_log_open(const char *dir, bool quiet) {
    the_log.open = true;
    the_log.quiet = quiet;
    if (dir == NULL) return;
    sg_path_name path = sg_run_path(dir, "log.jsonl");
    the_log.events = open(path.text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (the_log.events < 0)
        sg_log_warning("%s: cannot open: %s; events are not recorded", path.text, strerror(errno));
}

void sg_log_close(void) {
    if (the_log.events >= 0) close(the_log.events);
    the_log.events = -1;
    the_log.open = false;
    the_log.hide = the_log.show = NULL;
}

void sg_log_set_overlay(void (*hide)(void), void (*show)(void)) {
    the_log.hide = hide;
    the_log.show = show;
}

char *sg_log_escape(const char *text, char *out, unsigned long size) {
    unsigned long used = 0;
    if (size < 3) {
        if (size > 0) *out = '\0';
        return out;
    }
    out[used++] = '"';
    for (; *text != '\0' && used + 8 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            out[used++] = '\\';
            out[used++] = (char)c;
        } else if (c < 0x20) {
            used += (unsigned long)snprintf(out + used, size - used, "\\u%04x", c);
        } else {
            out[used++] = (char)c;
        }
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}

/* One write per event, so that lines of several launches never mix. */
static void append_event(char *line, size_t length) {
    line[length++] = '\n';
    if (write(the_log.events, line, length) == (ssize_t)length) return;
    int failed = the_log.events;
    the_log.events = -1;
    fprintf(stderr, "signet: log.jsonl: cannot write: %s; events are not recorded from here on\n",
            strerror(errno));
    close(failed);
}

void sg_log_event(const char *name, const char *format, ...) {
    char line[8192], date[40];
    if (!the_log.open || the_log.events < 0) return;
    stamp(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ");
    int used = snprintf(line, sizeof line, "{\"time\":\"%s\",\"event\":\"%s\"%s", date, name,
                        *format == '\0' ? "" : ",");
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 2, format, arguments);
    va_end(arguments);
    if (more < 0 || (size_t)(used + more) > sizeof line - 3) return; /* a cut line would not be JSON */
    line[used + more] = '}';
    append_event(line, (size_t)(used + more) + 1);
}

static void say(const char *level, const char *event, const char *format, va_list arguments) {
    char text[4096], quoted[6000], date[16];
    vsnprintf(text, sizeof text, format, arguments);
    sg_text_make_plain(text);
    stamp(date, sizeof date, "%H:%M:%S");
    if (the_log.hide != NULL) the_log.hide();
    fprintf(stderr, "%s %s%s\n", date, level, text);
    if (the_log.show != NULL) the_log.show();
    sg_log_event(event, "\"text\":%s", sg_log_escape(text, quoted, sizeof quoted));
}

void sg_log_info(const char *format, ...) {
    if (!the_log.open || the_log.quiet) return;
    va_list arguments;
    va_start(arguments, format);
    say("", "info", format, arguments);
    va_end(arguments);
}

void sg_log_warning(const char *format, ...) {
    if (!the_log.open) return;
    va_list arguments;
    va_start(arguments, format);
    say("warning: ", "warning", format, arguments);
    va_end(arguments);
}
