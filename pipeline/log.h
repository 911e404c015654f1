/* What the program says: plain lines for people on stderr, events for machines in DIR/log.jsonl. Ranks that
 * opened a log write; elsewhere the calls do nothing. The log is the program's only global. Local;
 * never fails: a log that cannot be written is said once on stderr. */
#ifndef SG_LOG_H
#define SG_LOG_H

#include <stdbool.h>

/* Lines go to stderr on this rank from now on; events to DIR/log.jsonl when dir is not NULL (appended, one
 * write per event). quiet: no lines below warnings. */
void sg_log_open(const char *dir, bool quiet);
void sg_log_close(void);

void sg_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sg_log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* {"time":"...","event":name, ...}: fields is the inside of a JSON object ("\"epoch\":3,\"loss\":1.5"), ""
 * for none. Text in fields goes through sg_log_escape. */
void sg_log_event(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* text as a JSON string with its quotes; cut off at size. Returns out. */
char *sg_log_escape(const char *text, char *out, unsigned long size);

/* Something that holds the terminal's last line (live progress) hides it while a line is written. */
void sg_log_set_overlay(void (*hide)(void), void (*show)(void));

#endif
