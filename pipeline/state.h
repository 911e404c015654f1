/* Networks and trainings as files (architecture: checkpoints): what stands where in an HDF5 file of ours.
 *
 *   /weights/<name>            float32, names and shapes of the PyTorch state_dict, running statistics too
 *   /weights/<norm>.num_batches_tracked  int64
 *   /masks/<name>              uint8, prunable parameters only
 *   /signs/<name>              int8, signed-mask files only
 *   /kept/<name>               the weights to rewind to, as in /weights
 *   /start/<name>              float32, what the training began with
 *   /path/points               float64 [points][lambda, error, loss]
 *   /optimizer/first/<name>    float32, momentum or Adam's first moment
 *   /optimizer/second/<name>   float32, Adam's second moment
 *   /metrics/epochs            float64 [epochs][columns], columns named in /metrics/columns
 *
 * All functions are collective over the comm that the file was opened with, or will be written by. */
#ifndef SG_STATE_H
#define SG_STATE_H

#include "pipeline/h5.h"
#include "stages/connect.h"
#include "stages/train.h"

/* Adds what borrows from weights until the content is written. */
int sg_state_add_weights(sg_h5_content *content, const sg_weights *weights);

/* Reads /weights and, where the file has them, /masks. Missing, extra or misshapen entries: SG_DATA that
 * lists all of them. classifier_free: entries of the classifier may be absent or of another shape; they keep
 * their values. */
int sg_state_read_weights(sg_h5_file *file, sg_weights *weights, bool classifier_free);

/* signs[net->values] as sg_extract_signs makes them. read: missing, extra or misshapen entries, or an
 * attribute arch that names another architecture: SG_DATA. *classifier_matches false when the classifier is
 * missing or has another shape than the network's; its signs are then 0. */
int sg_state_add_signs(sg_h5_content *content, const sg_net *net, const int8_t *signs);
int sg_state_read_signs(sg_h5_file *file, const sg_net *net, int8_t *signs, bool *classifier_matches);

/* The weights that imp rewinds to, beside a warm-up's result. */
int sg_state_add_kept(sg_h5_content *content, const sg_weights *kept);
/* Whether the file holds a state to rewind to. */
bool sg_state_has_kept(const sg_h5_file *file, const sg_net *net);
int sg_state_read_kept(sg_h5_file *file, sg_weights *kept);

/* Finished points of a path. read: the path has its full number of
 * points already; SG_DATA when the file has more. */
int sg_state_add_path(sg_h5_content *content, const sg_path *path);
int sg_state_read_path(sg_h5_file *file, sg_path *path);

/* Gives all ranks the first one's clocks, in the metrics and of the epoch under way. Every rank writes a
 * slice of a file and all must hold the same values, so this comes before a training or its metrics are
 * written. Collective over comm. */
int sg_state_share_clocks(sg_training *training, sg_comm *comm);

/* A training at a step boundary. scratch receives memory that must live until the content is written; release
 * it with free(). training was made with the same options, from the same weights' mask. */
int sg_state_add_training(sg_h5_content *content, const sg_training *training, float **scratch);
int sg_state_read_training(sg_training **training, sg_h5_file *file, const sg_net *net,
                           const sg_train_options *options);

/* Metrics alone, for results. */
int sg_state_add_metrics(sg_h5_content *content, const sg_training *training);

/* A hash of all that a training's result says but clocks: weights, statistics, mask, the weights to rewind
 * to, metrics, and the score after recalibration (NULL: none was taken). 32 hexadecimal digits. Local. */
void sg_state_digest(const sg_training *training, const sg_score *recalibrated, char digest[33]);
void sg_state_digest_signs(const sg_net *net, const int8_t *signs, char digest[33]);
void sg_state_digest_path(const sg_path *path, char digest[33]);

#endif
