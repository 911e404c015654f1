#!/bin/bash
#SBATCH --job-name=signet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=signet-%j.log
#
# A sweep that is longer than a job may be: sbatch jobs/slurm/requeue.sh CONFIG [DIR [OPTION]...]
#
# Five minutes before the limit Slurm sends USR1: checkpoints are written and the job goes back to the queue, at most RESTARTS
# times; its log is appended to. SIGNET, MPIRUN and JOBS as in sweep.sh.
RESTARTS=${RESTARTS:-50}
JOBS=${JOBS:-jobs}

set -u
if [ $# -lt 1 ]; then
    echo "usage: sbatch jobs/slurm/requeue.sh CONFIG [DIR [OPTION]...]" >&2
    exit 64
fi
cd "${SLURM_SUBMIT_DIR:-.}" || exit 66
. "$JOBS/launch.sh" || exit 66
config=$1
dir=${2:-runs/$(basename "${config%.cfg}")}
shift $(($# < 2 ? $# : 2))

say "job ${SLURM_JOB_ID:-none}, restart ${SLURM_RESTART_COUNT:-0}: $config -> $dir"
launch_signet "${SLURM_NTASKS:-1}" "${SLURM_CPUS_PER_TASK:-1}" "$config" --out "$dir" --wait "$@"
go_on $? "${SLURM_RESTART_COUNT:-0}" "$RESTARTS" scontrol requeue "${SLURM_JOB_ID:-}"
