#include "kernels/text.h"

/* How many bytes at `at` are a control character; before: the byte before it. */
static int control(const unsigned char *at, unsigned char before) {
    if ((at[0] < 0x20 && at[0] != '\n' && at[0] != '\t') || at[0] == 0x7f) return 1;
    if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) return 2;
    /* Alone, where a terminal does not take UTF-8. */
    return at[0] >= 0x80 && at[0] < 0xa0 && before < 0x80;
}

bool sg_text_is_plain(const char *text) {
    unsigned char before = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; before = *c++)
        if (control(c, before) > 0) return false;
    return true;
}

void sg_text_make_plain(char *text) {
    unsigned char before = 0;
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; before = *c++)
        for (int i = control(c, before) - 1; i >= 0; i--) c[i] = '?';
}
