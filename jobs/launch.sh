#!/bin/bash
# For the job scripts of all schedulers (bash; source it).

say() { echo "$(date '+%F %T') $*"; }

# launch COMMAND...: runs it and returns its exit code. Whatever the scheduler sends here (USR1, USR2 or TERM) reaches it as
# USR1: mpirun passes that on to its ranks, which write checkpoints and leave with 75, while a TERM of its own makes it kill
# them a second later.
cancelled=
launch() {
    local code stopped=1
    "$@" &
    child=$!
    trap 'pass_on' USR1 USR2
    trap 'cancelled=1; pass_on' TERM
    # A trapped signal ends wait early; then it waits again, for the command's own code.
    while [ -n "$stopped" ]; do
        stopped=
        wait "$child"
        code=$?
    done
    trap - TERM USR1 USR2
    # Ranks that were not ready for USR1 yet die of it, and nothing is lost.
    if [ "$code" = 138 ]; then code=75; fi
    say "signet left with $code"
    return "$code"
}

# launch_signet RANKS THREADS ARGUMENT...: `signet run` on so many ranks, each bound to as many cores as it has threads.
launch_signet() {
    local ranks=$1 threads=$2 launcher
    shift 2
    read -r -a launcher <<<"${MPIRUN:-mpirun --map-by slot:PE=$threads --bind-to core}"
    launch "${launcher[@]}" -n "$ranks" "${SIGNET:-./signet}" run "$@"
}

pass_on() {
    stopped=1
    say "asked to stop; checkpoints are written"
    kill -USR1 "$child" 2>/dev/null
}

# go_on CODE DONE CAP COMMAND...: after exit code 75 (interrupted, checkpoints are written) queues again with COMMAND, unless
# that was done CAP times already, or TERM came: that is a cancelled job, or one that the scheduler itself queues again. Leaves
# the script.
go_on() {
    local code=$1 done=$2 cap=$3
    shift 3
    if [ "$code" != 75 ] || [ -n "$cancelled" ]; then exit "$code"; fi
    if [ "$done" -ge "$cap" ]; then
        say "stopped in time, but queued again $done times already: submit it again to go on, or raise RESTARTS"
        exit 75
    fi
    say "queued again, $((done + 1)) of at most $cap"
    "$@" && exit 0
    say "cannot be queued again; submit it again to go on"
    exit 75
}

# adopt_parts DIR: takes over what the tasks of an array have finished in DIR/part-*. Links where the file system has them.
adopt_parts() {
    local part
    for part in "$1"/part-*/stages; do
        [ -d "$part" ] || continue
        say "results of $part are taken over"
        cp -Rnl "$part" "$1/" 2>/dev/null || cp -Rn "$part" "$1/"
    done
}
