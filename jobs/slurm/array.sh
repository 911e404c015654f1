#!/bin/bash
#SBATCH --job-name=signet-part
#SBATCH --array=1-4
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=signet-%A-part-%a.log
#
# The chains of a sweep (searches with what starts from them, dense networks) dealt out to the tasks of an array, each in a
# directory of its own, DIR/part-N; then one job that puts them together and does what needs several of them:
#
#     job=$(sbatch --parsable jobs/slurm/array.sh CONFIG DIR [OPTION]...)
#     sbatch --dependency=afterok:$job jobs/slurm/sweep.sh CONFIG DIR [OPTION]...
#
# Tasks that reach their limit go back to the queue as in requeue.sh. SIGNET, MPIRUN and JOBS as in sweep.sh.
RESTARTS=${RESTARTS:-50}
JOBS=${JOBS:-jobs}

set -u
if [ $# -lt 2 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    echo "usage: sbatch [--array=1-N] jobs/slurm/array.sh CONFIG DIR [OPTION]..." >&2
    exit 64
fi
cd "${SLURM_SUBMIT_DIR:-.}" || exit 66
. "$JOBS/launch.sh" || exit 66
config=$1 dir=$2
shift 2
# PARTS says how many there are where a piece of the array is submitted again, such as --array=3.
part=$SLURM_ARRAY_TASK_ID parts=${PARTS:-$SLURM_ARRAY_TASK_MAX}

say "job ${SLURM_JOB_ID:-none}, restart ${SLURM_RESTART_COUNT:-0}: part $part of $parts of $config -> $dir/part-$part"
launch_signet "${SLURM_NTASKS:-1}" "${SLURM_CPUS_PER_TASK:-1}" "$config" --out "$dir/part-$part" \
    --part "$part/$parts" --wait "$@"
go_on $? "${SLURM_RESTART_COUNT:-0}" "$RESTARTS" \
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-}_$SLURM_ARRAY_TASK_ID" # the job id of one task names the whole array
