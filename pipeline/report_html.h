/* Writing HTML: whatever the text, it stays text. Local. */
#ifndef SG_REPORT_HTML_H
#define SG_REPORT_HTML_H

#include <stdio.h>

/* Text between tags or inside a quoted attribute. Control characters and bytes that are no UTF-8 become
 * U+FFFD, lines stay lines. */
void sg_html_text(FILE *out, const char *text);
void sg_html_printf(FILE *out, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* escaped as a whole */

/* A stage's id as a path in a URL: all but letters, digits and -_.~/ percent-encoded. */
void sg_html_url(FILE *out, const char *path);

/* <head> with the style sheet, down to <body>; and the script that sorts tables. */
void sg_html_head(FILE *out, const char *title);
void sg_html_foot(FILE *out);

#endif
