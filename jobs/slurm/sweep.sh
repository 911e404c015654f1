#!/bin/bash
#SBATCH --job-name=signet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --open-mode=append
#SBATCH --output=signet-%j.log
#
# One sweep in one allocation: sbatch jobs/slurm/sweep.sh CONFIG [DIR [OPTION]...]
#
# Ends with the sweep's exit code; 75 says that time was up and that the same command goes on. Takes over what an array
# (array.sh) has finished in DIR. SIGNET and MPIRUN name other programs (MPIRUN="srun --mpi=pmix" where there is no mpirun),
# JOBS the folder that holds launch.sh.
JOBS=${JOBS:-jobs}

set -u
if [ $# -lt 1 ]; then
    echo "usage: sbatch jobs/slurm/sweep.sh CONFIG [DIR [OPTION]...]" >&2
    exit 64
fi
cd "${SLURM_SUBMIT_DIR:-.}" || exit 66
. "$JOBS/launch.sh" || exit 66
config=$1
dir=${2:-runs/$(basename "${config%.cfg}")}
shift $(($# < 2 ? $# : 2))

say "job ${SLURM_JOB_ID:-none}: $config -> $dir"
adopt_parts "$dir"
launch_signet "${SLURM_NTASKS:-1}" "${SLURM_CPUS_PER_TASK:-1}" "$config" --out "$dir" --wait "$@"
exit
