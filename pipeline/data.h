/* A data set: 8-bit samples, kept once per node in memory that the node's ranks share.
 *
 * Opening reads (or, for `shapes`, makes) every sample; the ranks of a node share the work. A data set whose
 * images differ in size or exceed the memory budget is lazy: samples are read when they are needed
 * (data_lazy.h). Everything here is read-only after opening, and the same on every rank and for every number
 * of ranks; so are the samples, lazy or not. */
#ifndef SG_DATA_H
#define SG_DATA_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/error.h"

enum sg_data_split { SG_SPLIT_TRAIN, SG_SPLIT_TEST, SG_SPLITS };
enum { SG_DATA_CHANNELS = 3, SG_DATA_NAME = 64 };

typedef struct sg_data_options {
    const char *kind; /* one of sg_data_kinds; NULL: "shapes" */
    const char *path; /* file or directory; unused by shapes */
    int classes;      /* what the network expects; 0: what the data set has. shapes: 10 (also for 0) or 100 */
    uint32_t train_limit; /* the first N samples of the data set's order; 0: all (shapes: 10,000) */
    uint32_t test_limit;  /* 0: all (shapes: 2,000) */
    uint64_t seed;        /* shapes: the samples' seed; unused by the others */
    int size;         /* side of what the network sees, for image files; 0: their own, 224 if they differ */
    double memory_gb; /* samples that a node keeps in memory; 0: half of the smallest node's memory */
    int threads;      /* OpenMP threads of this rank for decoding; 0: one */
} sg_data_options;

typedef struct sg_data_part {
    uint32_t samples;
    const uint8_t *image; /* [samples][height][width][channels]; NULL when the data set is lazy */
    const int32_t *label; /* [samples], 0 <= label < classes */
} sg_data_part;

typedef struct sg_data {
    char name[SG_DATA_NAME]; /* cifar10, shapes, the directory's name ... */
    int classes, channels, height, width;
    const char *const *class_name; /* [classes] */
    float mean[SG_DATA_CHANNELS];  /* normalisation of byte / 255: (value - mean) / deviation */
    float deviation[SG_DATA_CHANNELS];
    uint64_t fingerprint; /* XXH3 of shape, normalisation, labels in order, and images (folder: and names and
                             sizes of the files instead of images) */
    sg_data_part part[SG_SPLITS];
    bool lazy;    /* samples are read when they are needed */
    bool resized; /* stored images have other sizes and are brought to height x width; lazy */
    bool shared;  /* false: this rank has a copy of its own */
    struct sg_data_memory *memory; /* private */
} sg_data;

/* Opens a data set. Collective over world; every rank passes the same options except threads. All ranks
 * return the same code and message. SG_CONFIG: unknown kind, classes or limits that do not fit; SG_NOINPUT:
 * not there; SG_DATA: damaged; SG_NOMEM. Owned. */
int sg_data_open(sg_data **data, const sg_data_options *options, MPI_Comm world);

/* Collective over the world that opened it (it frees a communicator). NULL and *data NULL are tolerated. */
void sg_data_close(sg_data **data);

/* The kinds in order, NULL at the end. */
extern const char *const sg_data_kinds[];

/* Reads every sample once more and prints what the data set holds: size, samples and images per class, mean
 * and deviation per channel, fingerprint, and each file of a lazy data set that cannot be read. SG_DATA when
 * there are such, or a class has no sample in the training split. Local. */
int sg_data_check(const sg_data *data, FILE *out);

/* Writes the data set as one packed HDF5 file (kind `packed`), to a temporary name first, and syncs it. What
 * is not in memory is streamed, at most 64 MiB at a time: pixels or, where sizes differ, the image files as
 * they are. Local: call it on one rank. SG_CANTCREATE, SG_IO. */
int sg_data_pack(const sg_data *data, const char *path);

#endif
