#!/bin/sh
# jobs/mpirun.sh RANKS PROGRAM [ARGUMENT]...: runs PROGRAM under mpirun wherever this is: as root in a container, on
# fewer cores than ranks, with Open MPI or another MPI. MPIRUN names another launcher.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: $0 RANKS PROGRAM [ARGUMENT]..." >&2
    exit 64
fi
ranks=$1
shift
launcher=${MPIRUN:-mpirun}
options=
case $("$launcher" --version 2>/dev/null) in
*"Open MPI"* | *OpenRTE*)
    # Not bound: one or two ranks would share a core with their threads, and with the next test's.
    options="--bind-to none"
    if [ "$ranks" -gt "$(nproc)" ]; then options="$options --oversubscribe"; fi
    if [ "$(id -u)" = 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    ;;
esac
# shellcheck disable=SC2086 # options is a list of words
exec "$launcher" $options -n "$ranks" "$@"
