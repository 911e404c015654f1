#include "pipeline/report_plots.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/memory.h"

enum { OUTPUT_LIMIT = 4 << 20, MARKS = 12 };

extern char **environ;

/* ---- The script. */

/* Okabe and Ito's colours, told apart by the colour-blind; marks and dashes tell them apart in grey. */
static const struct style {
    const char *colour;
    int mark, dash;
} styles[] = {{"#000000", 3, 2},  {"#0072B2", 7, 1},  {"#D55E00", 5, 1}, {"#009E73", 9, 4},
              {"#CC79A7", 11, 3}, {"#E69F00", 13, 5}, {"#56B4E9", 6, 1}, {"#7F7F7F", 4, 2}};
enum { STYLES = sizeof styles / sizeof *styles };

/* In single quotes gnuplot knows one special character, the quote, doubled to stand for itself. */
static void quote(FILE *out, const char *text) {
    fputc('\'', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\'')
            fputs("''", out);
        else
            fputc(c < 0x20 || c == 0x7f || c == '`' || c >= 0x80 ? ' ' : c, out);
    }
    fputc('\'', out);
}

static void find_range(const sg_figure *figure, double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (int s = 0; s < figure->table.count; s++) {
        const sg_series *series = &figure->table.series[s];
        for (int i = 0; !series->level && i < series->cells; i++) {
            *low = fmin(*low, series->cell[i].x);
            *high = fmax(*high, series->cell[i].x);
        }
    }
    if (*low > *high) *low = *high = 1.0; /* levels alone */
}

static void write_axes(FILE *out, const sg_figure *figure) {
    double low, high;
    find_range(figure, &low, &high);
    if (figure->axis == SG_AXIS_DENSITY) {
        low = fmax(low, 1e-6);
        high = fmax(high, low);
        double margin = high / low < 1.5 ? 1.6 : 1.12;
        fprintf(out, "set logscale x 10\nset xrange [%.9g:%.9g]\n", high * margin, low / margin);
        if (high / low < 8.0)
            fputs("set xtics (1,1.5,2,3,4,5,7,10,15,20,25,30,40,50,65,80,100)\n", out);
        else
            fputs("set xtics (0.1,0.2,0.5,1,2,5,10,20,50,100)\n", out);
    } else {
        double margin = high > low ? 0.04 * (high - low) : 1.0;
        fprintf(out, "set xrange [%.9g:%.9g]\n", low - margin, high + margin);
    }
    fputs("set xlabel ", out);
    quote(out, figure->x_label);
    fputs(" offset 0,0.4\nset ylabel ", out);
    quote(out, figure->y_label);
    fputc('\n', out);
}

static void write_data(FILE *out, const sg_table *table) {
    for (int s = 0; s < table->count; s++) {
        if (table->series[s].level) continue;
        fprintf(out, "$d%d << EOD\n", s);
        for (int i = 0; i < table->series[s].cells; i++) {
            const sg_cell *cell = &table->series[s].cell[i];
            fprintf(out, "%.9g %.9g %.9g %.9g\n", cell->x, cell->mean, cell->low, cell->high);
        }
        fputs("EOD\n", out);
    }
}

/* Bars at one density would hide each other: on that axis series stand a little apart. */
static double shift(const sg_figure *figure, int number) {
    return figure->axis == SG_AXIS_DENSITY ? pow(1.012, number - 0.5 * (figure->table.count - 1)) : 1.0;
}

static void write_series(FILE *out, const sg_figure *figure, int number) {
    const sg_series *series = &figure->table.series[number];
    const struct style *look = &styles[series->style % STYLES];
    if (series->level)
        fprintf(out, "%.9g with lines", series->cell[0].mean);
    else if (series->cells > 2 * MARKS) /* bars at every epoch would hide the curve */
        fprintf(out, "$d%d using 1:2 with linespoints pointinterval %d", number, series->cells / MARKS + 1);
    else
        fprintf(out, "$d%d using ($1*%.6g):2:3:4 with yerrorlines", number, shift(figure, number));
    fprintf(out, " linewidth 1.6 dashtype %d linecolor rgb '%s'", look->dash, look->colour);
    if (!series->level) fprintf(out, " pointtype %d pointsize 0.6", look->mark);
    fputs(" title ", out);
    quote(out, series->label);
}

static void write_script(FILE *out, const sg_figure *figure) {
    const sg_table *table = &figure->table;
    fputs("set encoding utf8\n"
          "set terminal svg size 440,350 dynamic noenhanced font 'sans-serif,14' background '#ffffff'\n"
          "set key below samplen 3 noenhanced\nset grid linecolor rgb '#d8d8d8' linewidth 0.6\n"
          "set border 3\nset tics nomirror\nset bars small\nset offsets 0,0,graph 0.06,graph 0.04\n",
          out);
    write_axes(out, figure);
    write_data(out, table);
    for (int s = 0; s < table->count; s++) {
        const sg_series *series = &table->series[s];
        if (series->level && series->cell[0].n > 1)
            fprintf(
                out,
                "set object rectangle from graph 0, first %.9g to graph 1, first %.9g behind fillcolor rgb "
                "'#e4e4e4' fillstyle solid noborder\n",
                series->cell[0].low, series->cell[0].high);
    }
    fputs("plot ", out);
    for (int s = 0; s < table->count; s++) {
        if (s > 0) fputs(", \\\n     ", out);
        write_series(out, figure, s);
    }
    fputs("\nunset output\n", out);
}

int sg_plot_script(const sg_figure *figure, char **script) {
    size_t size;
    *script = NULL;
    FILE *out = open_memstream(script, &size);
    SG_CHECK(out != NULL, SG_NOMEM, "out of memory: plot %s", figure->id);
    write_script(out, figure);
    int failed = ferror(out);
    if (fclose(out) == 0 && !failed) return SG_OK;
    SG_FREE(*script);
    return SG_FAIL(SG_NOMEM, "out of memory: plot %s", figure->id);
}

/* ---- The child. */

typedef struct child {
    pid_t pid;
    int to, from; /* its input and output; -1: closed */
    char *text;   /* what it has written, with a NUL behind */
    size_t bytes, room;
} child;

static void close_one(int *descriptor) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
}

static int prepare_spawn(posix_spawn_file_actions_t *actions, int in, int out) {
    int error = posix_spawn_file_actions_adddup2(actions, in, STDIN_FILENO);
    if (error == 0) error = posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    return error;
}

/* -d: no start-up files of the user's. */
static int spawn(child *c, int in, int out) {
    char *const arguments[] = {"gnuplot", "-d", "-", NULL};
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = prepare_spawn(&actions, in, out);
    if (error == 0) error = posix_spawnp(&c->pid, "gnuplot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* A socket instead of a pipe, so that writing to a child that is gone is an error and no signal. */
static int start(child *c) {
    int input[2], output[2];
    SG_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) == 0, SG_IO, "gnuplot: no socket: %s",
             strerror(errno));
    if (pipe2(output, O_CLOEXEC) != 0) {
        int error = errno;
        close(input[0]);
        close(input[1]);
        return SG_FAIL(SG_IO, "gnuplot: no pipe: %s", strerror(error));
    }
    c->to = input[0];
    c->from = output[0];
    int error = spawn(c, input[1], output[1]);
    close(input[1]);
    close(output[1]);
    SG_CHECK(error != ENOENT, SG_NOINPUT, "gnuplot is not installed");
    SG_CHECK(error == 0, SG_NOINPUT, "gnuplot cannot be started: %s", strerror(error));
    fcntl(c->to, F_SETFL, O_NONBLOCK);
    return SG_OK;
}

static int take_output(child *c) {
    if (c->bytes + 65536 > c->room) {
        SG_CHECK(c->room < OUTPUT_LIMIT, SG_IO, "gnuplot wrote more than %d bytes", OUTPUT_LIMIT);
        size_t room = c->room == 0 ? 1 << 18 : 2 * c->room;
        char *larger = sg_alloc(room + 1, 1);
        if (larger == NULL) return SG_NOMEM;
        if (c->bytes > 0) memcpy(larger, c->text, c->bytes);
        free(c->text);
        c->text = larger;
        c->room = room;
    }
    ssize_t n = read(c->from, c->text + c->bytes, 65536);
    SG_CHECK(n >= 0 || errno == EINTR, SG_IO, "gnuplot: cannot read its output: %s", strerror(errno));
    if (n > 0) c->bytes += (size_t)n;
    if (n == 0) close_one(&c->from);
    return SG_OK;
}

static int talk(child *c, const char *script) {
    size_t left = strlen(script);
    double deadline = sg_clock_now() + SG_PLOT_SECONDS;
    while (c->from >= 0) {
        struct pollfd wait[2] = {{.fd = c->from, .events = POLLIN}, {.fd = c->to, .events = POLLOUT}};
        double rest = deadline - sg_clock_now();
        SG_CHECK(rest > 0.0, SG_IO, "gnuplot took more than %d seconds", SG_PLOT_SECONDS);
        int ready = poll(wait, 2, (int)(1000.0 * rest) + 1);
        SG_CHECK(ready >= 0 || errno == EINTR, SG_IO, "gnuplot: cannot wait for it: %s", strerror(errno));
        if (ready <= 0) continue;
        if (c->to >= 0 && wait[1].revents != 0) {
            ssize_t n = send(c->to, script, left, MSG_NOSIGNAL);
            if (n > 0) script += n, left -= (size_t)n;
            if (left == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) close_one(&c->to);
        }
        if (wait[0].revents != 0) SG_TRY(take_output(c));
    }
    return SG_OK;
}

/* Its output is closed, or it is of no more use: it ends now. */
static int finish(child *c, bool kill_it) {
    int code = 0;
    if (kill_it) kill(c->pid, SIGKILL);
    double deadline = sg_clock_now() + SG_PLOT_SECONDS;
    for (pid_t gone = 0; gone != c->pid;) {
        gone = waitpid(c->pid, &code, WNOHANG);
        SG_CHECK(gone >= 0 || errno == EINTR, SG_IO, "gnuplot: %s", strerror(errno));
        if (gone == c->pid) break;
        if (sg_clock_now() > deadline) kill(c->pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    /* posix_spawn may tell so that there is no such program. */
    SG_CHECK(kill_it || !WIFEXITED(code) || WEXITSTATUS(code) != 127, SG_NOINPUT, "gnuplot is not installed");
    SG_CHECK(!WIFSIGNALED(code) || kill_it, SG_IO, "gnuplot died of signal %d", WTERMSIG(code));
    SG_CHECK(kill_it || WEXITSTATUS(code) == 0, SG_IO, "gnuplot ended with exit code %d", WEXITSTATUS(code));
    return SG_OK;
}

/* ---- The element. */

/* Ids are one namespace in the whole page, so each gets the figure's in front. The page has a title of its
 * own for the element. */
static void copy_unique(FILE *out, const char *text, const char *end, const char *id) {
    static const char *const before[] = {"id='", "id=\"", "href='#", "href=\"#", "url(#"};
    static const char title[] = "<title>Gnuplot</title>";
    while (text < end) {
        size_t length = 0;
        if ((size_t)(end - text) > sizeof title && memcmp(text, title, sizeof title - 1) == 0)
            text += sizeof title - 1;
        for (size_t i = 0; i < sizeof before / sizeof *before && length == 0; i++) {
            size_t n = strlen(before[i]);
            if ((size_t)(end - text) > n && memcmp(text, before[i], n) == 0) length = n;
        }
        fwrite(text, 1, length == 0 ? 1 : length, out);
        if (length > 0) fprintf(out, "%s-", id);
        text += length == 0 ? 1 : length;
    }
}

static int make_element(const child *c, const char *id, char **svg) {
    size_t size;
    const char *from = c->text == NULL ? NULL : strstr(c->text, "<svg"),
               *end = from == NULL ? NULL : strstr(from, "</svg>");
    SG_CHECK(end != NULL, SG_IO, "gnuplot drew nothing; version 5 or newer with its svg terminal is needed");
    FILE *out = open_memstream(svg, &size);
    SG_CHECK(out != NULL, SG_NOMEM, "out of memory: plot %s", id);
    copy_unique(out, from, end + strlen("</svg>"), id);
    fclose(out);
    SG_CHECK(*svg != NULL, SG_NOMEM, "out of memory: plot %s", id);
    return SG_OK;
}

int sg_plot_draw(const sg_figure *figure, char **svg) {
    child c = {.to = -1, .from = -1};
    char *script;
    *svg = NULL;
    SG_TRY(sg_plot_script(figure, &script));
    int status = SG_AT(start(&c));
    if (status == SG_OK) {
        status = SG_AT(talk(&c, script));
        int ended = finish(&c, status != SG_OK);
        if (status == SG_OK) status = SG_AT(ended);
    }
    if (status == SG_OK) status = SG_AT(make_element(&c, figure->id, svg));
    close_one(&c.to);
    close_one(&c.from);
    free(c.text);
    free(script);
    return status;
}
