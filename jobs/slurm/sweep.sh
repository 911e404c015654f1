#!/bin/bash
#SBATCH --job-name=signet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=signet-%j.log
#
# One sweep in one allocation: sbatch jobs/slurm/sweep.sh CONFIG [DIR [OPTION]...]
#
# Five minutes before the limit Slurm sends TERM to this script. mpirun kills its ranks soon after a TERM of its own, so the
# script sends it USR1 instead, which reaches the ranks: they write checkpoints and leave with 75, and the job goes back to
# the queue. SIGNET and MPIRUN name other programs (MPIRUN="srun --mpi=pmix" where there is no mpirun).
set -u
if [ $# -lt 1 ]; then
    echo "usage: sbatch jobs/slurm/sweep.sh CONFIG [DIR [OPTION]...]" >&2
    exit 64
fi
config=$1
dir=${2:-runs/$(basename "${config%.cfg}")}
shift $(($# < 2 ? $# : 2))
cd "${SLURM_SUBMIT_DIR:-.}" || exit 66
read -r -a launcher <<<"${MPIRUN:-mpirun --map-by slot:PE=${SLURM_CPUS_PER_TASK:-1} --bind-to core}"

child=
stopped=
# shellcheck disable=SC2317 # called by trap
stop() {
    stopped=1
    echo "$(date '+%F %T') asked to stop; checkpoints are written"
    if [ -n "$child" ]; then kill -USR1 "$child"; fi
}
trap stop TERM USR1

echo "$(date '+%F %T') job ${SLURM_JOB_ID:-none}, restart ${SLURM_RESTART_COUNT:-0}: $config -> $dir"
"${launcher[@]}" -n "${SLURM_NTASKS:-1}" "${SIGNET:-./signet}" run "$config" --out "$dir" --wait "$@" &
child=$!
# A trapped signal ends wait early; then it waits again, for the launcher's own code.
while :; do
    stopped=
    wait "$child"
    code=$?
    if [ -z "$stopped" ]; then break; fi
done
echo "$(date '+%F %T') signet left with $code"
if [ "$code" = 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit "$code"
