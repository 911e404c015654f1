/* The names inside a packed file, which data_pack.c writes and data_packed.c reads. */
#ifndef SG_DATA_PACKED_H
#define SG_DATA_PACKED_H

#define SG_PACKED_KIND "data-set"
#define SG_PACKED_IMAGES "/%s/images" /* uint8 [samples][height][width][channels]; %s: train, test */
#define SG_PACKED_FILES                                                                                      \
    "/%s/files" /* instead of images, where sizes differ: uint8, image files end to end                      \
                 */
#define SG_PACKED_STARTS                                                                                     \
    "/%s/starts"                      /* uint64 [samples + 1]: where in files each begins and the last ends  \
                                       */
#define SG_PACKED_LABELS "/%s/labels" /* int32 [samples] */
#define SG_PACKED_CLASSES "/class_names"     /* text [classes] */
#define SG_PACKED_MEAN "/normalisation/mean" /* float32 [channels] */
#define SG_PACKED_DEVIATION "/normalisation/deviation"
#define SG_PACKED_NAME "data_set"   /* attributes of the root: text, uint64 */
#define SG_PACKED_SIZE "image_size" /* with files: data.size where nothing else is said; int64 */
#define SG_PACKED_FINGERPRINT "data_fingerprint"

#endif
