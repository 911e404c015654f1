/* Text that came from outside. */
#ifndef SG_TEXT_H
#define SG_TEXT_H

#include <stdbool.h>

/* Replaces control characters, but newlines and tabs, by question marks: in a terminal they move the cursor,
 * set titles and colours, and worse. Those of one byte and those of two in UTF-8 (C1). */
void sg_text_make_plain(char *text);

/* True when it would change nothing. */
bool sg_text_is_plain(const char *text);

#endif
