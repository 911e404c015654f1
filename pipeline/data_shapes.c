/* The procedural data set: textured, rotated, squeezed, partly hidden shapes on cluttered backgrounds with
 * noise.
 *
 * Needs no files, and any sample is made from (seed, split, number) alone. The label is the outline (10
 * classes) or outline and texture (100). Arithmetic is restricted to + - * / and sqrt, which IEEE 754 rounds
 * in one way, so that every machine makes the same bytes. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/rng.h"
#include "pipeline/data_kind.h"

enum {
    SIDE = 32,
    PIXELS = SIDE * SIDE,
    OUTLINES = 10,
    TEXTURES = 10,
    SUB = 4, /* scan lines of a pixel row */
    MAX_VERTICES = 48,
    MAX_CROSSINGS = 8,
    DEFAULT_TRAIN = 10000,
    DEFAULT_TEST = 2000,
    MAX_SAMPLES = 1000000
};

/* ---- Random draws of one sample, in order. */

typedef struct stream {
    uint64_t seed;
    uint32_t split, sample, draw;
    sg_random drawn;
} stream;

static uint32_t next_word(stream *s) {
    if (s->draw % 4 == 0) s->drawn = sg_rng(s->seed, SG_RNG_SHAPES, s->split, s->sample, s->draw / 4);
    return s->drawn.word[s->draw++ % 4];
}
static float uniform(stream *s, float low, float high) {
    return low + (high - low) * sg_uniform(next_word(s));
}

typedef struct point {
    float x, y;
} point;

/* One draw a statement, here and below: C leaves the order of arguments and initialisers open. */
static point random_point(stream *s, float low, float high) {
    point p;
    p.x = uniform(s, low, high);
    p.y = uniform(s, low, high);
    return p;
}

/* A direction, uniform on the circle: a point of the disc, scaled. */
static point direction(stream *s) {
    for (;;) {
        point p = random_point(s, -1.0f, 1.0f);
        float square = p.x * p.x + p.y * p.y;
        if (square > 1.0f || square < 0.01f) continue;
        float length = sqrtf(square);
        return (point){p.x / length, p.y / length};
    }
}
static point turn(point p, point by) { return (point){p.x * by.x - p.y * by.y, p.x * by.y + p.y * by.x}; }

/* ---- Outlines: polygons in the unit disc; even-odd, so a second contour is a hole. */

typedef struct polygon {
    int vertices, first; /* the second contour begins at `first`; 0: there is one only */
    point at[MAX_VERTICES];
} polygon;

/* Steps of 15 degrees along a circle; count vertices from `step` on, backwards when by < 0. */
static void add_arc(polygon *p, point centre, float radius, int step, int count, int by) {
    const point one = {0.96592582628906829f, 0.25881904510252076f};
    for (int i = 0; i < count; i++) {
        point at = {1.0f, 0.0f};
        for (int k = 0; k < step + i * by; k++) at = turn(at, one);
        p->at[p->vertices++] = (point){centre.x + radius * at.x, centre.y + radius * at.y};
    }
}

static void make_outline(polygon *p, int outline) {
    static const point square[] = {{-.8f, -.8f}, {.8f, -.8f}, {.8f, .8f}, {-.8f, .8f}};
    static const point triangle[] = {{1.0f, 0.0f}, {-.5f, .8660254f}, {-.5f, -.8660254f}};
    static const point star[] = {{1.0f, 0.0f},      {.3397f, .2469f}, {.3090f, .9511f},   {-.1298f, .3994f},
                                 {-.8090f, .5878f}, {-.42f, 0.0f},    {-.8090f, -.5878f}, {-.1298f, -.3994f},
                                 {.3090f, -.9511f}, {.3397f, -.2469f}};
    static const point cross[] = {{.3f, -.95f}, {.3f, -.3f},   {.95f, -.3f}, {.95f, .3f},
                                  {.3f, .3f},   {.3f, .95f},   {-.3f, .95f}, {-.3f, .3f},
                                  {-.95f, .3f}, {-.95f, -.3f}, {-.3f, -.3f}, {-.3f, -.95f}};
    static const point arrow[] = {{1.0f, 0.0f},  {.1f, .85f}, {.1f, .3f},  {-.95f, .3f},
                                  {-.95f, -.3f}, {.1f, -.3f}, {.1f, -.85f}};
    static const point corner[] = {{-.8f, -.8f}, {.8f, -.8f}, {.8f, -.2f},
                                   {-.2f, -.2f}, {-.2f, .8f}, {-.8f, .8f}};
    static const struct {
        const point *at;
        int vertices;
    } plain[OUTLINES] = {[1] = {square, 4}, [2] = {triangle, 3}, [3] = {star, 10},
                         [4] = {cross, 12}, [7] = {arrow, 7},    [9] = {corner, 6}};
    const point origin = {0.0f, 0.0f};
    p->vertices = p->first = 0;
    switch (outline) {
    case 0: /* disc */
        add_arc(p, origin, 1.0f, 0, 24, 1);
        break;
    case 5: /* ring */
        add_arc(p, origin, 1.0f, 0, 24, 1);
        p->first = p->vertices;
        add_arc(p, origin, 0.55f, 0, 24, 1);
        break;
    case 6: /* crescent: from 60 to 300 degrees, and back on a circle through the same two points */
        add_arc(p, origin, 1.0f, 4, 17, 1);
        add_arc(p, (point){0.5f, 0.0f}, 0.8660254f, 18, 13, -1);
        break;
    case 8: /* half disc */
        add_arc(p, (point){0.0f, -0.4f}, 1.0f, 0, 13, 1);
        break;
    default:
        p->vertices = plain[outline].vertices;
        memcpy(p->at, plain[outline].at, (size_t)p->vertices * sizeof(point));
    }
}

/* Turned, squeezed along a direction, turned again, moved. */
static void place(polygon *p, point first, float along, float across, point second, point centre) {
    for (int i = 0; i < p->vertices; i++) {
        point q = turn(p->at[i], first);
        q = turn((point){q.x * along, q.y * across}, second);
        p->at[i] = (point){q.x + centre.x, q.y + centre.y};
    }
}

/* ---- Coverage: the share of each pixel that lies inside. */

typedef struct mask {
    int top, bottom; /* rows touched: [top, bottom) */
    float cover[SIDE][SIDE];
} mask;

static int floor_int(float x) {
    int i = (int)x;
    return (float)i > x ? i - 1 : i;
}

/* The span [left, right) of one scan line. */
static void add_span(float *row, float left, float right) {
    if (left < 0.0f) left = 0.0f;
    if (right > (float)SIDE) right = (float)SIDE;
    if (right <= left) return;
    int first = (int)left, last = (int)right;
    if (first == last) {
        row[first] += (right - left) / SUB;
        return;
    }
    row[first] += ((float)(first + 1) - left) / SUB;
    for (int x = first + 1; x < last; x++) row[x] += 1.0f / SUB;
    if (last < SIDE) row[last] += (right - (float)last) / SUB;
}

static void draw_polygon(const polygon *p, mask *m) {
    float crossing[SIDE * SUB][MAX_CROSSINGS];
    unsigned char count[SIDE * SUB] = {0};
    int low = SIDE * SUB, high = 0;
    for (int i = 0; i < p->vertices; i++) {
        int next = i + 1;
        if (p->first > 0 && next == p->first) next = 0;
        if (next == p->vertices) next = p->first;
        point a = p->at[i], b = p->at[next];
        if (a.y > b.y) {
            point kept = a;
            a = b;
            b = kept;
        }
        /* Scan line j lies at (j + 1/2) / SUB; an edge covers a.y <= line < b.y, so that vertices count once.
         */
        int from = floor_int(a.y * SUB + 0.5f), to = floor_int(b.y * SUB + 0.5f);
        if (from < 0) from = 0;
        if (to > SIDE * SUB) to = SIDE * SUB;
        if (from >= to) continue;
        if (from < low) low = from;
        if (to > high) high = to;
        float slope = (b.x - a.x) / (b.y - a.y);
        for (int j = from; j < to; j++) {
            float x = a.x + (((float)j + 0.5f) / SUB - a.y) * slope;
            int k = count[j];
            if (k == MAX_CROSSINGS) continue; /* no outline here has more */
            for (; k > 0 && crossing[j][k - 1] > x; k--) crossing[j][k] = crossing[j][k - 1];
            crossing[j][k] = x;
            count[j]++;
        }
    }
    m->top = low < high ? low / SUB : 0;
    m->bottom = low < high ? (high + SUB - 1) / SUB : 0;
    for (int y = m->top; y < m->bottom; y++) memset(m->cover[y], 0, sizeof m->cover[y]);
    for (int j = low; j < high; j++)
        for (int k = 0; k + 1 < count[j]; k += 2)
            add_span(m->cover[j / SUB], crossing[j][k], crossing[j][k + 1]);
}

/* ---- Colours and textures. */

typedef struct colour {
    float channel[3];
} colour;

/* Backgrounds are darker than shapes, with an overlap; clutter is either. */
typedef struct range {
    float low, high;
} range;
static const range dark = {0.0f, 150.0f}, light = {105.0f, 255.0f}, any = {0.0f, 255.0f};

static colour random_colour(stream *s, range r) {
    colour c;
    for (int i = 0; i < 3; i++) c.channel[i] = uniform(s, r.low, r.high);
    return c;
}

static float distance(colour a, colour b) {
    float sum = 0.0f;
    for (int i = 0; i < 3; i++) sum += (a.channel[i] - b.channel[i]) * (a.channel[i] - b.channel[i]);
    return sqrtf(sum);
}

/* A colour at least `apart` from another: the farthest of a few when none is. */
static colour contrasting(stream *s, range r, colour other, float apart) {
    colour best = random_colour(s, r);
    for (int tries = 0; tries < 6 && distance(best, other) < apart; tries++) {
        colour c = random_colour(s, r);
        if (distance(c, other) > distance(best, other)) best = c;
    }
    return best;
}

typedef struct texture {
    int kind;
    colour one, two;
    point centre, axis; /* of its own coordinates; axis / size */
    float frequency, phase;
} texture;

static float fraction(float x) { return x - (float)floor_int(x); }

/* The share of the second colour at texture coordinates u, v. */
static float pattern(const texture *t, float u, float v) {
    float f = t->frequency, a = fraction(u * f + t->phase), b = fraction(v * f + t->phase);
    switch (t->kind) {
    case 1:
        return a < 0.5f; /* stripes */
    case 2:
        return (a < 0.5f) != (b < 0.5f); /* checks */
    case 3:
        return (a - 0.5f) * (a - 0.5f) + (b - 0.5f) * (b - 0.5f) < 0.1f; /* dots */
    case 4:
        return fraction(sqrtf(u * u + v * v) * f + t->phase) < 0.5f; /* rings */
    case 5:
        return u * v > 0.0f; /* quarters */
    case 6:
        return u < -1.0f ? 0.0f : u > 1.0f ? 1.0f : 0.5f + 0.5f * u; /* shade */
    case 7:
        return fraction(u * f + 2.0f * fabsf(b - 0.5f)) < 0.5f; /* zigzag */
    case 8:
        return a < 0.3f || b < 0.3f; /* grid */
    case 9:
        return u > 0.0f; /* halves */
    default:
        return 0.0f; /* plain */
    }
}

/* Where the mask covers (everywhere when NULL), the texture's colours. */
static void paint(float image[PIXELS][3], const mask *m, const texture *t) {
    for (int y = m ? m->top : 0; y < (m ? m->bottom : SIDE); y++)
        for (int x = 0; x < SIDE; x++) {
            float cover = m ? m->cover[y][x] : 1.0f;
            if (cover <= 0.0f) continue;
            float dx = (float)x + 0.5f - t->centre.x, dy = (float)y + 0.5f - t->centre.y;
            float share = t->kind == 0
                              ? 0.0f
                              : pattern(t, dx * t->axis.x + dy * t->axis.y, dy * t->axis.x - dx * t->axis.y);
            float *pixel = image[y * SIDE + x];
            for (int c = 0; c < 3; c++) {
                float value = t->one.channel[c] + share * (t->two.channel[c] - t->one.channel[c]);
                pixel[c] += cover * (value - pixel[c]);
            }
        }
}

static texture random_texture(stream *s, int kind, colour one, range r, float apart, point centre,
                              float size) {
    texture t = {.kind = kind, .one = one, .centre = centre};
    t.two = contrasting(s, r, one, apart);
    t.frequency = uniform(s, 1.2f, 2.0f);
    t.phase = uniform(s, 0.0f, 1.0f);
    point axis = direction(s);
    t.axis = (point){axis.x / size, axis.y / size};
    return t;
}

/* ---- One sample. */

/* Clutter: a triangle or quadrilateral, irregular, or a bar. */
static void random_fragment(stream *s, polygon *p, point centre, float size) {
    p->first = 0;
    p->vertices = sg_below(next_word(s), 2) ? 3 : 4;
    static const point corner[] = {{1.0f, 0.0f}, {0.0f, 1.0f}, {-1.0f, 0.0f}, {0.0f, -1.0f}};
    for (int i = 0; i < p->vertices; i++) {
        float radius = uniform(s, 0.4f, 1.0f);
        p->at[i] = (point){corner[i].x * radius, corner[i].y * radius};
    }
    float squeeze = uniform(s, 0.25f, 1.0f);
    point first = direction(s), second = direction(s);
    place(p, first, size, size * squeeze, second, centre);
}

static void draw_fragments(stream *s, float image[PIXELS][3], int count, float low, float high) {
    for (int i = 0; i < count; i++) {
        polygon p;
        mask m;
        point centre = random_point(s, 0.0f, SIDE);
        float size = uniform(s, low, high);
        random_fragment(s, &p, centre, size);
        draw_polygon(&p, &m);
        int kind = sg_below(next_word(s), 2) ? (int)sg_below(next_word(s), TEXTURES) : 0;
        colour body = random_colour(s, any);
        texture t = random_texture(s, kind, body, any, 60.0f, centre, size);
        paint(image, &m, &t);
    }
}

/* Labels are balanced: every run of `classes` samples has each class once, in an order of its own. */
static int label_of(uint64_t seed, uint32_t split, uint32_t sample, int classes) {
    uint8_t order[OUTLINES * TEXTURES] = {0};
    uint32_t run = sample / (uint32_t)classes;
    for (int i = 0; i < classes; i++) order[i] = (uint8_t)i;
    for (int i = classes; i-- > 1;) {
        uint32_t j = sg_below(sg_rng(seed, SG_RNG_SHAPES, SG_SPLITS + split, run, (uint32_t)i).word[0],
                              (uint32_t)i + 1);
        uint8_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    return order[sample % (uint32_t)classes];
}

/* Noise of a triangular distribution, two bytes a value. */
static void add_noise(stream *s, float image[PIXELS][3], float amplitude, uint8_t *out) {
    for (int i = 0; i < PIXELS * 3; i += 2) {
        uint32_t word = next_word(s);
        for (int k = 0; k < 2; k++, word >>= 16) {
            float noise = (float)((int)(word & 255) + (int)(word >> 8 & 255) - 255) * (amplitude / 255.0f);
            float value = image[(i + k) / 3][(i + k) % 3] + noise + 0.5f;
            out[i + k] = value < 0.0f ? 0 : value >= 255.0f ? 255 : (uint8_t)value;
        }
    }
}

static void make_sample(uint64_t seed, uint32_t split, uint32_t sample, int classes, uint8_t *out,
                        int32_t *label) {
    stream s = {.seed = seed, .split = split, .sample = sample};
    float image[PIXELS][3] = {{0.0f}};
    *label = label_of(seed, split, sample, classes);
    int outline = classes == OUTLINES ? *label : *label / TEXTURES;
    int kind = classes == OUTLINES ? (int)sg_below(next_word(&s), TEXTURES) : *label % TEXTURES;

    const point middle = {SIDE / 2.0f, SIDE / 2.0f};
    colour ground = random_colour(&s, dark);
    texture back =
        random_texture(&s, (int)sg_below(next_word(&s), TEXTURES), ground, dark, 0.0f, middle, 10.0f);
    float blend = uniform(&s, 0.1f, 0.6f); /* the background's texture is fainter than the shape's */
    for (int c = 0; c < 3; c++)
        back.two.channel[c] = ground.channel[c] + blend * (back.two.channel[c] - ground.channel[c]);
    paint(image, NULL, &back);
    int behind = 3 + (int)sg_below(next_word(&s), 5);
    draw_fragments(&s, image, behind, 2.0f, 6.0f);

    polygon p;
    mask m;
    float size = uniform(&s, 6.0f, 11.5f), squeeze = uniform(&s, 0.75f, 1.3f);
    point centre = random_point(&s, 10.0f, 22.0f), first = direction(&s), second = direction(&s);
    make_outline(&p, outline);
    place(&p, first, size * squeeze, size / squeeze, second, centre);
    draw_polygon(&p, &m);
    colour body = contrasting(&s, light, ground, 110.0f);
    texture skin = random_texture(&s, kind, body, light, classes == OUTLINES ? 30.0f : 90.0f, centre, size);
    paint(image, &m, &skin);

    int before = (int)sg_below(next_word(&s), 3);
    draw_fragments(&s, image, before, 2.0f, 5.0f);
    float amplitude = uniform(&s, 8.0f, 40.0f);
    add_noise(&s, image, amplitude, out);
}

static int scan_shapes(const sg_data_options *options, sg_data_scan *scan) {
    static const char *const outline[OUTLINES] = {"disc", "square",   "triangle", "star",      "cross",
                                                  "ring", "crescent", "arrow",    "half-disc", "corner"};
    static const char *const skin[TEXTURES] = {"plain",    "stripes", "checks", "dots", "rings",
                                               "quarters", "shade",   "zigzag", "grid", "halves"};
    static const float mean[] = {0.360f, 0.360f, 0.360f}, deviation[] = {0.214f, 0.214f, 0.214f};
    int classes = options->classes ? options->classes : OUTLINES;
    SG_CHECK(classes == OUTLINES || classes == OUTLINES * TEXTURES, SG_CONFIG,
             "net.classes = %d, but data set shapes has 10 or 100 classes: set net.classes to one of them",
             classes);
    SG_CHECK(options->train_limit <= MAX_SAMPLES && options->test_limit <= MAX_SAMPLES, SG_CONFIG,
             "data.%s_limit = %" PRIu32 ": data set shapes makes at most %d samples",
             options->train_limit > MAX_SAMPLES ? "train" : "test",
             options->train_limit > MAX_SAMPLES ? options->train_limit : options->test_limit, MAX_SAMPLES);
    snprintf(scan->name, sizeof scan->name, "shapes");
    scan->classes = classes;
    scan->channels = 3;
    scan->height = scan->width = SIDE;
    scan->samples[SG_SPLIT_TRAIN] = options->train_limit ? options->train_limit : DEFAULT_TRAIN;
    scan->samples[SG_SPLIT_TEST] = options->test_limit ? options->test_limit : DEFAULT_TEST;
    sg_data_normalise(scan, mean, deviation);
    for (int c = 0; c < classes; c++) {
        char name[64];
        if (classes == OUTLINES)
            snprintf(name, sizeof name, "%s", outline[c]);
        else
            snprintf(name, sizeof name, "%s-%s", skin[c % TEXTURES], outline[c / TEXTURES]);
        SG_TRY(sg_blob_add(&scan->class_names, name, strlen(name) + 1));
    }
    return SG_OK;
}

static int read_shapes(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                       uint32_t first, uint32_t count, uint8_t *image, int32_t *label) {
    int threads = options->threads > 0 ? options->threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (uint32_t i = 0; i < count; i++)
        make_sample(options->seed, (uint32_t)split, first + i, scan->classes, image + (size_t)i * PIXELS * 3,
                    label + i);
    return SG_OK;
}

const sg_data_kind sg_data_shapes = {
    .name = "shapes", .usual = {3, 32, {10000, 2000}, true}, .scan = scan_shapes, .read = read_shapes};
