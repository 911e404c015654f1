/* The names inside a packed file, which data_pack.c writes and data_packed.c reads.
 *
 * For each split (%s: train, test), and once for the file:
 *
 *   IMAGES       uint8 [samples][height][width][channels]
 *   FILES        uint8, instead of images where sizes differ: image files end to end
 *   STARTS       uint64 [samples + 1], where in FILES each begins and the last ends
 *   LABELS       int32 [samples]
 *   CLASSES      text [classes]
 *   MEAN         float32 [channels]
 *   DEVIATION    float32 [channels]
 *
 * Attributes of the root:
 *
 *   NAME         text
 *   SIZE         int64, with FILES: data.size where nothing else is said
 *   FINGERPRINT  uint64 */
#ifndef SG_DATA_PACKED_H
#define SG_DATA_PACKED_H

#define SG_PACKED_KIND "data-set"

#define SG_PACKED_IMAGES "/%s/images"
#define SG_PACKED_FILES "/%s/files"
#define SG_PACKED_STARTS "/%s/starts"
#define SG_PACKED_LABELS "/%s/labels"
#define SG_PACKED_CLASSES "/class_names"
#define SG_PACKED_MEAN "/normalisation/mean"
#define SG_PACKED_DEVIATION "/normalisation/deviation"

#define SG_PACKED_NAME "data_set"
#define SG_PACKED_SIZE "image_size"
#define SG_PACKED_FINGERPRINT "data_fingerprint"

#endif
