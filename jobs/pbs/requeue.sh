#!/bin/bash
#PBS -N signet
#PBS -l select=4:ncpus=64:mpiprocs=8:ompthreads=8
#PBS -l walltime=04:00:00
#PBS -j oe
#PBS -r y
#
# A sweep that is longer than a job may be, under PBS: qsub -v CONFIG=FILE[,DIR=DIR] jobs/pbs/requeue.sh
#
# MINUTES is the walltime above without what it takes to write checkpoints: then the run stops itself, and a job that goes on
# is submitted, at most RESTARTS times. SIGNET, MPIRUN and JOBS as in jobs/slurm/sweep.sh; variables go through -v.
MINUTES=${MINUTES:-235}
RESTARTS=${RESTARTS:-50}
JOBS=${JOBS:-jobs}

set -u
if [ -z "${CONFIG:-}" ]; then
    echo "usage: qsub -v CONFIG=FILE[,DIR=DIR] jobs/pbs/requeue.sh" >&2
    exit 64
fi
cd "${PBS_O_WORKDIR:-.}" || exit 66
. "$JOBS/launch.sh" || exit 66
dir=${DIR:-runs/$(basename "${CONFIG%.cfg}")}
ranks=$(wc -l <"${PBS_NODEFILE:-/dev/null}")
variables="CONFIG=$CONFIG,DIR=$dir,MINUTES=$MINUTES,RESTARTS=$RESTARTS,JOBS=$JOBS,RESTART=$((${RESTART:-0} + 1))"
variables="$variables${SIGNET:+,SIGNET=$SIGNET}${MPIRUN:+,MPIRUN=$MPIRUN}"

say "job ${PBS_JOBID:-none}, restart ${RESTART:-0}: $CONFIG -> $dir"
launch_signet "$((ranks > 0 ? ranks : 1))" "${OMP_NUM_THREADS:-1}" "$CONFIG" --out "$dir" --wait \
    --time-limit "$MINUTES"
go_on $? "${RESTART:-0}" "$RESTARTS" \
    qsub -W "depend=afterany:${PBS_JOBID:-}" -v "$variables" "$JOBS/pbs/requeue.sh"
