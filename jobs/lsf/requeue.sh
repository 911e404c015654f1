#!/bin/bash
#BSUB -J signet
#BSUB -n 32
#BSUB -R "span[ptile=8] affinity[core(8)]"
#BSUB -W 4:00
#BSUB -wa USR1 -wt 5
#BSUB -r
#BSUB -o signet-%J.log
#
# A sweep that is longer than a job may be, under LSF: CONFIG=FILE [DIR=DIR] bsub < jobs/lsf/requeue.sh
#
# Five minutes before the limit LSF sends USR1: checkpoints are written and the job goes back to the queue (brequeue), at most
# RESTARTS times; DIR/restarts counts them. SIGNET, MPIRUN and JOBS as in jobs/slurm/sweep.sh.
RESTARTS=${RESTARTS:-50}
JOBS=${JOBS:-jobs}

set -u
if [ -z "${CONFIG:-}" ]; then
    echo "usage: CONFIG=FILE [DIR=DIR] bsub < jobs/lsf/requeue.sh" >&2
    exit 64
fi
cd "${LS_SUBCWD:-.}" || exit 66
. "$JOBS/launch.sh" || exit 66
dir=${DIR:-runs/$(basename "${CONFIG%.cfg}")}
mkdir -p "$dir" || exit 73
restart=$(cat "$dir/restarts" 2>/dev/null || echo 0)

# shellcheck disable=SC2317 # called by go_on
queue_again() {
    echo $((restart + 1)) >"$dir/restarts" && brequeue "${LSB_JOBID:-}"
}
say "job ${LSB_JOBID:-none}, restart $restart: $CONFIG -> $dir"
launch_signet "${LSB_DJOB_NUMPROC:-1}" "${OMP_NUM_THREADS:-1}" "$CONFIG" --out "$dir" --wait
code=$?
if [ "$code" != 75 ]; then rm -f "$dir/restarts"; fi
go_on "$code" "$restart" "$RESTARTS" queue_again
