#!/bin/bash
# Requests to stop, as batch systems and people send them: a checkpoint at the next step, exit code 75 within ten seconds,
# and nothing lost. The demonstration is asked again and again, and goes on each time.
. "$(dirname "$0")/../testing.sh"
write_tiny
demo=$here/../configs/demo.cfg dir=$work/demo
mkdir "$dir"
never=(--set run.checkpoint_minutes=0) # none but those that are asked for

now() { date +%s%3N; }
checkpoints() { find "$dir" -name 'checkpoint-*.h5' -printf '%h %f\n' | sort; }

# stop_demo NAME VICTIMS SIGNAL...: sends each signal in turn to mpirun, to rank N or to all ranks.
stop_demo() {
    local name=$1 victims=$2 began before
    shift 2
    before=$(checkpoints)
    rm -f "$dir"/stages/*/*/*/progress
    sg_start 2 run "$demo" --out "$dir" "${never[@]}"
    if ! wait_for 60 has_files "$dir" progress 2; then not_ok "signals: $name" "two stages were to run" show; fi
    case $victims in
    mpirun) victims=$job ;;
    ranks) victims=$(ranks_of_job) ;;
    *) victims=$(rank_of_job "$victims") ;;
    esac
    began=$(now)
    for signal in "$@"; do
        # shellcheck disable=SC2086 # a list of numbers
        kill -"$signal" $victims 2>/dev/null
    done
    LIMIT=60 sg_wait
    took=$(($(now) - began))
    expect_code "signals: $name" 75
    if [ $took -le 10000 ]; then ok "signals: $name: within 10 s"
    else not_ok "signals: $name: within 10 s" "after $took ms"; fi
    written=$(comm -13 <(echo "$before") <(checkpoints) | wc -l)
    expect_equal "signals: $name: a checkpoint of each running stage" "$written" 2
    if [ -n "$before" ]; then
        expect_equal "signals: $name: both had gone on" "$(grep -c 'goes on from checkpoint-' "$work/err")" 2
    fi
}

stop_demo "SIGUSR1 to mpirun" mpirun USR1
stop_demo "SIGUSR2 to mpirun" mpirun USR2
stop_demo "SIGUSR1 to one rank" 0 USR1
stop_demo "SIGUSR2 to another rank" 1 USR2
stop_demo "SIGTERM to the ranks" ranks TERM
stop_demo "a second and a third signal" ranks USR1 USR2 TERM
expect_text "signals: one of them is named" "$work/err" "stopped by SIG"

# Half of a short limit is left for saving: 3 of these 6 s.
sg_start 2 run "$demo" --out "$dir" "${never[@]}" --time-limit 0.1
began=$(now)
LIMIT=60 sg_wait
took=$(($(now) - began))
expect_code "signals: --time-limit" 75
if [ $took -ge 3000 ] && [ $took -le 13000 ]; then ok "signals: --time-limit: within 10 s"
else not_ok "signals: --time-limit: within 10 s" "after $took ms"; fi
sg 0 verify "$dir"
expect_code "signals: all checkpoints are whole" 0

# A rank without work, whose leader or rank 0 must be told: RANKS of which RANK waits, in groups of SIZE.
stop_idle() { # NAME RANKS SIZE RANK
    sg_start "$2" run "$work/tiny.cfg" --out "$work/idle-$2-$3" "${never[@]}" --set run.ranks_per_stage="$3" \
        --set search.warmup_epochs=500
    wait_for 60 has_files "$work/idle-$2-$3" progress 1
    kill -USR1 "$(rank_of_job "$4")"
    LIMIT=10 sg_wait
    expect_code "signals: SIGUSR1 to $1" 75
    if has_files "$work/idle-$2-$3" 'checkpoint-*.h5' 1; then ok "signals: SIGUSR1 to $1: a checkpoint"
    else not_ok "signals: SIGUSR1 to $1: a checkpoint" "there is none" show; fi
}
stop_idle "a group's leader without work" 2 1 1
stop_idle "a follower without work" 4 2 3
stop_idle "a rank of no group" 3 2 2

# Open MPI kills the ranks a second or two after SIGTERM or SIGINT to mpirun. What was saved stays.
longer=(--set transfer.epochs=4 --set run.checkpoint_minutes=0.0001)
sg 1 run "$work/tiny.cfg" --out "$work/reference" "${longer[@]}"
reference=$(digest_of "$work/reference")
for signal in TERM INT; do
    dir=$work/$signal
    sg_start 2 run "$work/tiny.cfg" --out "$dir" "${longer[@]}"
    if ! wait_for 60 has_files "$dir" 'checkpoint-*.h5' 1; then not_ok "signals: SIG$signal to mpirun" "no checkpoint" show; fi
    kill -"$signal" "$job"
    LIMIT=20 sg_wait
    if [ "$code" != 0 ] && [ "$code" != 124 ]; then ok "signals: SIG$signal to mpirun ends the job"
    else not_ok "signals: SIG$signal to mpirun ends the job" "exit code $code" show; fi
    left=$(checkpoints | wc -l) # none when it came between two stages
    sg 2 run "$work/tiny.cfg" --out "$dir" "${longer[@]}"
    expect_code "signals: after SIG$signal to mpirun" 0
    if [ "$left" != 0 ]; then
        expect_text "signals: after SIG$signal to mpirun checkpoints serve" "$work/err" "goes on from checkpoint-"
    fi
    expect_equal "signals: after SIG$signal to mpirun nothing is lost" "$(digest_of "$dir")" "$reference"
done
finish
