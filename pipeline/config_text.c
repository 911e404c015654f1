#include "pipeline/config_text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "pipeline/config.h"

enum {
    SIZE_LIMIT = 1 << 20, /* bytes, includes counted */
    DEPTH_LIMIT = 16,     /* groups and lists inside each other */
    INCLUDE_LIMIT = 8,    /* includes inside each other */
    FILE_LIMIT = 64,
    NAME_LIMIT = 64, /* bytes of one setting's name */
    SETTING_LIMIT = 4096,
    PATH_LIMIT = DEPTH_LIMIT * (NAME_LIMIT + 1)
};

typedef struct line_source {
    int file, line;
} line_source;

struct sg_config_text {
    char *bytes;
    size_t length, capacity;
    line_source *lines; /* of each line of bytes */
    size_t line_count, line_capacity;
    char *file[FILE_LIMIT]; /* owned names */
    int files;
};

typedef struct setting {
    char *path;
    int file, line;
} setting;

/* What is open where the scanner stands, over all included files. */
typedef struct scanner {
    sg_config_text *text;
    char *folder;      /* resolved folder of the configuration; NULL: no includes */
    int prefix;        /* length of the folder in the configuration's name as given, with its '/' */
    const char *given; /* that name */
    bool numbered;     /* lines count in messages */
    char bracket[DEPTH_LIMIT];
    size_t path_length[DEPTH_LIMIT]; /* of path before the bracket */
    int depth, lists;                /* lists: open '(' and '[' among the brackets */
    char path[PATH_LIMIT];           /* of the group that is open, "" at the top */
    char name[NAME_LIMIT];           /* the last name; named: no `=` came behind it yet */
    bool named;
    char key[PATH_LIMIT + NAME_LIMIT + 1];
    setting *seen;
    int seen_count;
    int settings; /* seen ones and those inside lists */
} scanner;

/* One file while it is scanned. */
typedef struct input {
    const char *name;
    const char *at, *end;
    int file, line;
    int includes; /* how deep */
    char place[SG_CONFIG_PATH + 64];
} input;

/* "demo.cfg:3", or the name alone where lines mean nothing. */
static const char *where(input *in) {
    if (in->line > 0)
        snprintf(in->place, sizeof in->place, "%s:%d", in->name, in->line);
    else
        snprintf(in->place, sizeof in->place, "%s", in->name);
    return in->place;
}

static int scan(scanner *s, input *in);

static int grow(sg_config_text *text, size_t more) {
    if (text->length + more + 1 <= text->capacity) return SG_OK;
    size_t capacity = 2 * (text->length + more + 1);
    char *bytes;
    SG_TRY(SG_NEW(&bytes, capacity));
    if (text->length > 0) memcpy(bytes, text->bytes, text->length);
    free(text->bytes);
    text->bytes = bytes;
    text->capacity = capacity;
    return SG_OK;
}

static int put(sg_config_text *text, const char *bytes, size_t count) {
    SG_TRY(grow(text, count));
    memcpy(text->bytes + text->length, bytes, count);
    text->length += count;
    text->bytes[text->length] = '\0';
    return SG_OK;
}

/* Says that the text's current line comes from line in->line. */
static int begin_line(scanner *s, const input *in) {
    sg_config_text *text = s->text;
    if (text->line_count == text->line_capacity) {
        size_t capacity = 2 * text->line_capacity + 64;
        line_source *lines;
        SG_TRY(SG_NEW(&lines, capacity));
        if (text->line_count > 0) memcpy(lines, text->lines, text->line_count * sizeof *lines);
        free(text->lines);
        text->lines = lines;
        text->line_capacity = capacity;
    }
    text->lines[text->line_count++] = (line_source){in->file, in->line};
    return SG_OK;
}

static int new_line(scanner *s, input *in) {
    SG_TRY(put(s->text, "\n", 1));
    in->line += s->numbered;
    return SG_AT(begin_line(s, in));
}

static const char *key_of(const scanner *s) { return s->key[0] != '\0' ? s->key : "(none)"; }

/* ---- tokens */

static int scan_name(scanner *s, input *in) {
    const char *start = in->at;
    while (in->at < in->end && (isalnum((unsigned char)*in->at) || strchr("-_*", *in->at) != NULL) &&
           *in->at != '\0')
        in->at++;
    size_t length = (size_t)(in->at - start);
    SG_CHECK(length < NAME_LIMIT, SG_CONFIG, "%s: the name `%.20s...` is longer than %d characters",
             where(in), start, NAME_LIMIT - 1);
    memcpy(s->name, start, length);
    s->name[length] = '\0';
    s->named = true;
    return SG_AT(put(s->text, start, length));
}

/* Remembers the setting whose name was read last; a second one of the same path is an error. Groups inside
 * lists share a path, so libconfig has to look after those. */
static int begin_setting(scanner *s, input *in) {
    s->named = false;
    snprintf(s->key, sizeof s->key, "%s%s%s", s->path, s->path[0] != '\0' ? "." : "", s->name);
    SG_CHECK(s->settings < SETTING_LIMIT, SG_CONFIG, "%s: more than %d settings", where(in), SETTING_LIMIT);
    s->settings++;
    if (s->lists > 0) return SG_OK;
    for (int i = 0; i < s->seen_count; i++)
        SG_CHECK(strcmp(s->seen[i].path, s->key) != 0, SG_CONFIG,
                 "%s: key `%s` is given twice, first at %s:%d; remove one", where(in), s->key,
                 s->text->file[s->seen[i].file], s->seen[i].line);
    setting *one = &s->seen[s->seen_count];
    one->path = strdup(s->key);
    SG_CHECK(one->path != NULL, SG_NOMEM, "out of memory: reading %s", in->name);
    one->file = in->file;
    one->line = in->line;
    s->seen_count++;
    return SG_OK;
}

static int open_bracket(scanner *s, input *in) {
    SG_CHECK(s->depth < DEPTH_LIMIT, SG_CONFIG, "%s: groups and lists are nested more than %d deep",
             where(in), DEPTH_LIMIT);
    char bracket = *in->at++;
    size_t length = strlen(s->path);
    s->bracket[s->depth] = bracket;
    s->path_length[s->depth++] = length;
    if (bracket != '{')
        s->lists++;
    else if (s->name[0] != '\0')
        snprintf(s->path + length, sizeof s->path - length, "%s%s", length > 0 ? "." : "", s->name);
    s->name[0] = '\0';
    return SG_AT(put(s->text, &bracket, 1));
}

/* Whether brackets match is libconfig's to say. */
static int close_bracket(scanner *s, input *in) {
    char bracket = *in->at++;
    if (s->depth > 0) {
        s->depth--;
        if (s->bracket[s->depth] != '{') s->lists--;
        s->path[s->path_length[s->depth]] = '\0';
    }
    s->name[0] = '\0';
    return SG_AT(put(s->text, &bracket, 1));
}

static int scan_string(scanner *s, input *in) {
    const char *start = in->at++;
    while (in->at < in->end && *in->at != '"' && *in->at != '\n')
        in->at += *in->at == '\\' && in->at + 1 < in->end && in->at[1] != '\n' ? 2 : 1;
    SG_CHECK(in->at < in->end && *in->at == '"', SG_CONFIG,
             "%s: key `%s`: a string is not closed on its line", where(in), key_of(s));
    in->at++;
    return SG_AT(put(s->text, start, (size_t)(in->at - start)));
}

static int check_integer(scanner *s, input *in, const char *token) {
    const char *digits = token + (*token == '-' || *token == '+');
    bool hexadecimal = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    char *end;
    errno = 0;
    long long value = strtoll(token, &end, hexadecimal ? 16 : 10);
    bool fits = errno == 0;
    if (*token == '\0' || (strcmp(end, "") != 0 && strcmp(end, "L") != 0 && strcmp(end, "LL") != 0))
        return SG_AT(put(s->text, token, strlen(token))); /* no number at all: libconfig says so */
    SG_CHECK(fits, SG_CONFIG, "%s: key `%s`: the integer %s does not fit into 64 bits", where(in), key_of(s),
             token);
    /* libconfig 1.5 keeps 32 bits of what has no L. */
    char plain[32];
    snprintf(plain, sizeof plain, "%lld%s", value, value > INT32_MAX || value < INT32_MIN ? "L" : "");
    return SG_AT(put(s->text, plain, strlen(plain)));
}

static int scan_number(scanner *s, input *in) {
    char token[64];
    size_t length = 0;
    const char *start = in->at;
    while (in->at < in->end) {
        char c = *in->at;
        bool sign = (c == '+' || c == '-') && (length == 0 || strchr("eE", in->at[-1]) != NULL);
        if (!sign && !isalnum((unsigned char)c) && c != '.') break;
        SG_CHECK(length + 1 < sizeof token, SG_CONFIG,
                 "%s: key `%s`: the number %.20s... is longer than %zu digits", where(in), key_of(s), start,
                 sizeof token - 1);
        token[length++] = c;
        in->at++;
    }
    token[length] = '\0';
    const char *digits = token + strspn(token, "+-");
    if (strpbrk(token, ".eE") == NULL || digits[1] == 'x' || digits[1] == 'X')
        return SG_AT(check_integer(s, in, token));
    char *end;
    errno = 0;
    double value = strtod(token, &end);
    SG_CHECK(errno == 0, SG_CONFIG, "%s: key `%s`: the number %s is too %s for a double", where(in),
             key_of(s), token, value > 1 || value < -1 ? "large" : "small");
    return SG_AT(put(s->text, token, length));
}

static int skip_comment(scanner *s, input *in) {
    if (*in->at == '#' || in->at[1] == '/') {
        while (in->at < in->end && *in->at != '\n') in->at++;
        return SG_OK;
    }
    input opened = *in;
    in->at += 2;
    while (in->end - in->at >= 2 && !(in->at[0] == '*' && in->at[1] == '/')) {
        if (*in->at == '\n') SG_TRY(new_line(s, in));
        in->at++;
    }
    SG_CHECK(in->end - in->at >= 2, SG_CONFIG, "%s: a comment is opened here and not closed", where(&opened));
    in->at += 2;
    return SG_AT(put(s->text, " ", 1));
}

/* ---- files */

/* The file's bytes, at most `limit` of them. The caller frees *bytes. */
static int read_file(const char *path, const char *where, size_t limit, char **bytes, size_t *length) {
    *bytes = NULL;
    int status = SG_OK;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    SG_CHECK(file >= 0, SG_NOINPUT, "%s%s: cannot be opened: %s", where, path, strerror(errno));
    struct stat facts;
    size_t used = 0;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        status = SG_FAIL(*where != '\0' ? SG_CONFIG : SG_NOINPUT, "%s%s: is not a regular file", where, path);
        goto done;
    }
    if ((status = SG_AT(SG_NEW(bytes, limit + 1)))) goto done;
    for (ssize_t got = 1; got != 0 && used <= limit;) {
        got = read(file, *bytes + used, limit + 1 - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = SG_FAIL(SG_NOINPUT, "%s%s: cannot be read: %s", where, path, strerror(errno));
            goto done;
        }
        used += (size_t)got;
    }
    if (used > limit) {
        status = SG_FAIL(SG_CONFIG, "%s%s: configurations are limited to %d bytes, includes counted", where,
                         path, SIZE_LIMIT);
        goto done;
    }
    *length = used;
done:
    close(file);
    if (status != SG_OK) SG_FREE(*bytes);
    return status;
}

static int scan_bytes(scanner *s, const char *name, const char *bytes, size_t length, int includes) {
    SG_CHECK(s->text->files < FILE_LIMIT, SG_CONFIG, "%s: more than %d files are included", name, FILE_LIMIT);
    char *copy = strdup(name);
    SG_CHECK(copy != NULL, SG_NOMEM, "out of memory: reading %s", name);
    s->text->file[s->text->files] = copy;
    input in = {
        .name = copy, .at = bytes, .end = bytes + length, .file = s->text->files++, .includes = includes};
    in.line = s->numbered ? 1 : 0;
    const char *zero = memchr(bytes, '\0', length);
    if (zero != NULL) {
        for (const char *c = bytes; c < zero && s->numbered; c++) in.line += *c == '\n';
        return SG_FAIL(SG_CONFIG, "%s: a NUL byte; this is not a text file", where(&in));
    }
    if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) in.at += 3;
    SG_TRY(begin_line(s, &in));
    return SG_AT(scan(s, &in));
}

/* in->at stands behind the word @include. */
static int include(scanner *s, input *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t')) in->at++;
    const char *start = in->at + 1;
    const char *stop = in->at < in->end && *in->at == '"' ? start : NULL;
    while (stop != NULL && stop < in->end && *stop != '"' && *stop != '\n' && *stop != '\\') stop++;
    SG_CHECK(stop != NULL && stop < in->end && *stop == '"', SG_CONFIG,
             "%s: @include takes one file name in double quotes", where(in));
    in->at = stop + 1;
    SG_CHECK(s->folder != NULL, SG_CONFIG, "%s: @include is possible in files only", where(in));
    SG_CHECK(in->includes < INCLUDE_LIMIT, SG_CONFIG, "%s: files include each other more than %d deep",
             where(in), INCLUDE_LIMIT);
    char name[SG_CONFIG_PATH], before[SG_CONFIG_PATH + 80];
    SG_CHECK(stop - start < (ptrdiff_t)sizeof name / 2, SG_CONFIG, "%s: @include: the file name is too long",
             where(in));
    snprintf(name, sizeof name, "%.*s", (int)(stop - start), start);
    snprintf(before, sizeof before, "%s: @include: ", where(in));

    int status = SG_OK;
    char *joined = NULL, *resolved = NULL, *bytes = NULL;
    if (asprintf(&joined, "%s/%s", s->folder, name) < 0)
        return SG_FAIL(SG_NOMEM, "out of memory: %sreading", before);
    resolved = name[0] == '/' ? realpath(name, NULL) : realpath(joined, NULL);
    if (resolved == NULL) {
        status = SG_FAIL(SG_CONFIG, "%s%s: %s", before, name, strerror(errno));
        goto done;
    }
    size_t inside = strcmp(s->folder, "/") == 0 ? 0 : strlen(s->folder);
    if (strncmp(resolved, s->folder, inside) != 0 || resolved[inside] != '/') {
        status = SG_FAIL(SG_CONFIG,
                         "%s%s: lies outside the configuration's folder %s; only files below it can be "
                         "included",
                         before, name, s->folder);
        goto done;
    }
    size_t length = 0;
    if ((status = SG_AT(read_file(resolved, before, SIZE_LIMIT, &bytes, &length)))) goto done;
    if (s->text->length + length > SIZE_LIMIT) {
        status = SG_FAIL(SG_CONFIG, "%s%s: configurations are limited to %d bytes, includes counted", before,
                         name, SIZE_LIMIT);
        goto done;
    }
    snprintf(name, sizeof name, "%.*s%s", s->prefix, s->given, resolved + inside + 1);
    if ((status = SG_AT(put(s->text, "\n", 1)))) goto done;
    if ((status = SG_AT(scan_bytes(s, name, bytes, length, in->includes + 1)))) goto done;
    if ((status = SG_AT(put(s->text, "\n", 1)))) goto done;
    status = SG_AT(begin_line(s, in));
done:
    free(joined);
    free(resolved);
    free(bytes);
    return status;
}

static int scan(scanner *s, input *in) {
    while (in->at < in->end) {
        char c = *in->at, next = in->at + 1 < in->end ? in->at[1] : '\0';
        if (c == '\n') {
            SG_TRY(new_line(s, in));
            in->at++;
        } else if (c == '#' || (c == '/' && (next == '/' || next == '*'))) {
            SG_TRY(skip_comment(s, in));
        } else if (c == '"') {
            SG_TRY(scan_string(s, in));
        } else if (c == '@') {
            SG_CHECK(in->end - in->at > 8 && memcmp(in->at, "@include", 8) == 0, SG_CONFIG,
                     "%s: `@` can only begin an @include", where(in));
            in->at += 8;
            SG_TRY(include(s, in));
        } else if (isalpha((unsigned char)c) || c == '*') {
            SG_TRY(scan_name(s, in));
        } else if (isdigit((unsigned char)c) || ((c == '-' || c == '+' || c == '.') && next != '\0')) {
            SG_TRY(scan_number(s, in));
        } else if (c == '{' || c == '(' || c == '[') {
            SG_TRY(open_bracket(s, in));
        } else if (c == '}' || c == ')' || c == ']') {
            SG_TRY(close_bracket(s, in));
        } else {
            if ((c == '=' || c == ':') && s->named) SG_TRY(begin_setting(s, in));
            SG_TRY(put(s->text, c == '\r' ? " " : &c, 1));
            in->at++;
        }
    }
    return SG_OK;
}

/* ---- public */

static int finish(scanner *s, int status) {
    for (int i = 0; i < s->seen_count; i++) free(s->seen[i].path);
    free(s->seen);
    free(s->folder);
    if (status != SG_OK) sg_config_text_destroy(&s->text);
    return status;
}

static int begin(scanner *s) {
    SG_TRY(SG_NEW(&s->text, 1));
    if (SG_AT(SG_NEW(&s->seen, SETTING_LIMIT)) != SG_OK) return finish(s, SG_NOMEM);
    return SG_OK;
}

int sg_config_text_take(sg_config_text **text, const char *name, const char *bytes, size_t length,
                        bool numbered) {
    *text = NULL;
    SG_CHECK(length <= SIZE_LIMIT, SG_CONFIG, "%s: configurations are limited to %d bytes", name, SIZE_LIMIT);
    scanner s = {.numbered = numbered};
    SG_TRY(begin(&s));
    int status = finish(&s, SG_AT(scan_bytes(&s, name, bytes, length, 0)));
    *text = s.text;
    return status;
}

int sg_config_text_read(sg_config_text **text, const char *file) {
    *text = NULL;
    char *bytes;
    size_t length;
    SG_TRY(read_file(file, "", SIZE_LIMIT, &bytes, &length));
    scanner s = {.numbered = true};
    int status = SG_AT(begin(&s));
    if (status == SG_OK) {
        char *resolved = realpath(file, NULL);
        char *slash = resolved != NULL ? strrchr(resolved, '/') : NULL;
        if (slash == NULL) {
            status = SG_FAIL(SG_NOINPUT, "%s: %s", file, strerror(errno));
        } else {
            slash[slash == resolved] = '\0';
            s.folder = resolved;
            s.given = file;
            s.prefix = strrchr(file, '/') != NULL ? (int)(strrchr(file, '/') - file) + 1 : 0;
            resolved = NULL;
            status = SG_AT(scan_bytes(&s, file, bytes, length, 0));
        }
        free(resolved);
        status = finish(&s, status);
    }
    free(bytes);
    *text = s.text;
    return status;
}

void sg_config_text_destroy(sg_config_text **text) {
    if (text == NULL || *text == NULL) return;
    for (int i = 0; i < (*text)->files; i++) free((*text)->file[i]);
    free((*text)->lines);
    free((*text)->bytes);
    SG_FREE(*text);
}

const char *sg_config_text_bytes(const sg_config_text *text) {
    return text->bytes != NULL ? text->bytes : "";
}

void sg_config_text_place(const sg_config_text *text, int line, char *place, size_t size) {
    if (line < 1) line = 1;
    if ((size_t)line > text->line_count) line = (int)text->line_count;
    if (line < 1) {
        snprintf(place, size, "%s", text->files > 0 ? text->file[0] : "?");
        return;
    }
    const line_source *source = &text->lines[line - 1];
    if (source->line > 0)
        snprintf(place, size, "%s:%d", text->file[source->file], source->line);
    else
        snprintf(place, size, "%s", text->file[source->file]);
}
