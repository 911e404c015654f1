/* The text of a configuration before libconfig sees it: includes put in place, comments blanked, numbers
 * checked.
 *
 * libconfig 1.5 ends the process on `@include` of a directory, wraps integers that do not fit, reads 1e400 as
 * infinity and overflows its stack on deep nesting; so all of this is settled here, and libconfig gets plain,
 * bounded text. */
#ifndef SG_CONFIG_TEXT_H
#define SG_CONFIG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sg_config_text sg_config_text;

/* Reads a file and what it includes (regular files below its own folder). SG_NOINPUT, SG_CONFIG. Owned. */
int sg_config_text_read(sg_config_text **text, const char *file);

/* Takes text as it is; `name` stands for a file in messages, with line numbers if numbered; includes are
 * refused. SG_CONFIG. Owned. */
int sg_config_text_take(sg_config_text **text, const char *name, const char *bytes, size_t length,
                        bool numbered);

void sg_config_text_destroy(sg_config_text **text);

/* The text for libconfig. Borrowed. */
const char *sg_config_text_bytes(const sg_config_text *text);

/* Where line `line` (from 1) of that text came from: "demo.cfg:12", into place. */
void sg_config_text_place(const sg_config_text *text, int line, char *place, size_t size);

#endif
