/* What a kind of data set provides. A new kind is one data_ file and its name in SG_DATA_KINDS. */
#ifndef SG_DATA_KIND_H
#define SG_DATA_KIND_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "pipeline/data.h"

enum {
    SG_DATA_MAX_SIDE = 16384,     /* pixels of an image's side */
    SG_DATA_MAX_PIXELS = 1 << 28, /* of one image: a few kilobytes of JPEG can claim far more */
    SG_DATA_MAX_CLASSES = 1 << 20,
    SG_DATA_MAX_FILE = 1 << 28 /* bytes of an image file */
};

/* Bytes that grow. */
typedef struct sg_blob {
    unsigned char *bytes; /* owned */
    size_t size, capacity;
} sg_blob;

/* Appends size bytes (zeros when bytes is NULL). SG_NOMEM. */
int sg_blob_add(sg_blob *blob, const void *bytes, size_t size);
void sg_blob_release(sg_blob *blob);

/* What scanning finds, before limits. It is broadcast as bytes: no pointers inside the blobs. */
typedef struct sg_data_scan {
    char name[SG_DATA_NAME];
    int classes, channels, height, width;
    uint32_t samples[SG_SPLITS];
    float mean[SG_DATA_CHANNELS], deviation[SG_DATA_CHANNELS];
    bool resized; /* stored images have other sizes than height x width and are brought to it: always lazy */
    uint64_t content;     /* a hash that stands for the stored content in the fingerprint; 0: there is none */
    const sg_blob *parts; /* while scanning: what all ranks have listed, one after the other; borrowed */
    sg_blob class_names;  /* classes strings, each ended by '\0'; empty: "0", "1", ... */
    sg_blob manifest;     /* the kind's own: paths, offsets */
} sg_data_scan;

/* A sample as it is stored. */
typedef struct sg_stored {
    unsigned char *bytes; /* owned */
    size_t size;
    bool pixels;     /* [height][width][channels] of the data set; otherwise an image file */
    char name[4096]; /* for messages */
} sg_stored;

/* What plans reckon with before anybody has looked at the data. */
typedef struct sg_data_usual {
    int channels, side; /* pixels */
    uint32_t samples[SG_SPLITS];
    bool any_number; /* limits above samples are obeyed, too */
} sg_data_usual;

typedef struct sg_data_kind {
    const char *name;
    sg_data_usual usual;
    /* Lists every size-th part of what there is, on every rank; the parts go to the rank that scans, as
     * scan->parts. recall: what an earlier listing kept, if it still counts; keep: keeps it, if it can; both
     * on the rank that scans. NULL: scanning needs no list. */
    int (*list)(const sg_data_options *options, int rank, int size, sg_blob *part);
    bool (*recall)(const sg_data_options *options, sg_blob *parts);
    void (*keep)(const sg_data_options *options, const sg_blob *parts);
    /* Finds out shape and counts from names, sizes and headers; runs on one rank of all. Counts that the
     * files' real sizes do not justify are errors here: memory is allocated by them. */
    int (*scan)(const sg_data_options *options, sg_data_scan *scan);
    /* Reads samples first .. first + count - 1 of a split into image[count][height][width][channels] and
     * label[count]; runs on every rank, for a slice each, with up to options->threads threads. image NULL:
     * labels only. */
    int (*read)(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                uint32_t first, uint32_t count, uint8_t *image, int32_t *label);
    /* One stored sample, at any time after opening; thread-safe. NULL: the kind is never lazy. */
    int (*fetch)(const sg_data_options *options, const sg_data_scan *scan, enum sg_data_split split,
                 uint32_t sample, sg_stored *stored);
    /* Bytes of a stored image file; for data sets that are resized. */
    uint64_t (*stored_size)(const sg_data_scan *scan, enum sg_data_split split, uint32_t sample);
    bool manifest_counts; /* the manifest (names and sizes) stands for the content in the fingerprint */
} sg_data_kind;

/* The stored sample of an open lazy data set. Thread-safe, local. */
int sg_data_fetch(const sg_data *data, enum sg_data_split split, uint32_t sample, sg_stored *stored);

uint64_t sg_data_stored_size(const sg_data *data, enum sg_data_split split, uint32_t sample);

/* Threads that opened the data set, for work on all of it. */
int sg_data_threads(const sg_data *data);

/* SG_CONFIG, naming the kinds. */
int sg_data_kind_find(const char *name, const sg_data_kind **kind);

/* Every kind there is; the order is that of messages. */
#define SG_DATA_KINDS(X) X(shapes) X(cifar10) X(cifar100) X(idx) X(folder) X(packed)
#define SG_DATA_DECLARE(name) extern const sg_data_kind sg_data_##name;
SG_DATA_KINDS(SG_DATA_DECLARE)

/* "train", "test". */
const char *sg_data_split_name(enum sg_data_split split);

/* Normalisation constants by protocol. */
void sg_data_normalise(sg_data_scan *scan, const float mean[SG_DATA_CHANNELS],
                       const float deviation[SG_DATA_CHANNELS]);

/* The first failure by sample number among the threads of a loop: whichever thread meets it first, the one
 * with the lowest number is reported. */
typedef struct sg_data_failure {
    uint32_t sample;
    int code;
    char message[2048], trace[2048];
} sg_data_failure;

void sg_data_failure_note(sg_data_failure *failure, uint32_t sample, int code); /* thread-safe */
bool sg_data_failure_before(sg_data_failure *failure, uint32_t sample); /* one before sample: go no further */
int sg_data_failure_result(const sg_data_failure *failure);             /* adopts it; SG_OK if none */

/* ---- Files (data_file.c). */

/* kind of what is at path: 'f' file, 'd' directory, 0 nothing (or not to be reached). */
char sg_data_file_type(const char *path);

/* Owned path "directory/name". NULL with an SG_NOMEM error. */
char *sg_data_file_join(const char *directory, const char *name);

/* Size in bytes of a regular file. SG_NOINPUT. */
int sg_data_file_size(const char *path, uint64_t *size);

/* Reads exactly `bytes` at `offset`. SG_NOINPUT; SG_DATA naming the offset where the file ends early; SG_IO.
 */
int sg_data_file_read(const char *path, uint64_t offset, void *to, size_t bytes);

/* The whole file, its size bounded by limit. Owned. */
int sg_data_file_load(const char *path, uint64_t limit, unsigned char **bytes, size_t *size);

/* Adds the lines of a text file to names; SG_DATA unless there are `count` of them. */
int sg_data_file_names(const char *path, int count, sg_blob *names);

/* ---- Images (data_image.c). */

/* True when the file's name ends like a JPEG's or PNG's. */
bool sg_data_image_named(const char *name);

/* The size an image (the bytes of its file) claims, from its header; name is for messages. */
int sg_data_image_probe(const char *name, const unsigned char *bytes, size_t size, int *height, int *width);

/* Decodes an image of height x width pixels to RGB, or a JPEG to eighths / 8 of its size (1, 2, 4 or 8; in
 * the frequency domain, each side rounded up). Grey, palette and CMYK are converted, alpha and Exif are
 * dropped, as torchvision's loader does. SG_DATA naming the image and the byte. */
int sg_data_image_decode(const char *name, const unsigned char *bytes, size_t size, int height, int width,
                         int eighths, uint8_t *rgb);
int sg_data_image_reduced(int side, int eighths); /* pixels of a side after it */
bool sg_data_image_is_png(const unsigned char *bytes, size_t size);

/* Decodes a JPEG or PNG of exactly height x width into rgb[height][width][3]; grey, palette and CMYK are
 * converted, alpha is dropped. SG_DATA naming file and byte offset. */
int sg_data_image_read(const char *path, int height, int width, uint8_t *rgb);

#endif
