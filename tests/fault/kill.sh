#!/bin/bash
# tests/fault/kill.sh [KILLS [SEED]]: SIGKILL at KILLS random moments (10), to the whole job or to one rank, with
# checkpoints all the time, resuming each time on 1, 2 or 4 ranks. The digest must be the undisturbed run's.
. "$(dirname "$0")/../testing.sh"
kills=${1:-10}
RANDOM=${2:-$$}
echo "# $kills kills, seed ${2:-$$}"
write_tiny
often=(--set run.checkpoint_minutes=0.0001 --set transfer.epochs=3)
sg 1 run "$work/tiny.cfg" --out "$work/reference" "${often[@]}"
if [ "$code" != 0 ]; then not_ok "kill: undisturbed" "exit code $code" show; finish; fi
reference=$(digest_of "$work/reference")
counts=(1 2 4)
round=0 sequence=0

steps() { find "$1/stages" -name 'result.h5' -o -name 'checkpoint-*.h5' 2>/dev/null | xargs -r stat -c '%n %Y %s' 2>/dev/null | md5sum; }

# Until the run directory moves on, so that each launch gets somewhere however slow the machine is; then a random
# moment, which at these sizes often lies in the writing of a checkpoint.
run_and_kill() { # DIR
    local before ranks victim
    ranks=${counts[RANDOM % 3]}
    sg_start "$ranks" run "$1" --out "$2" "${often[@]}"
    before=$(steps "$2")
    moved() { [ "$(steps "$2")" != "$1" ]; }
    wait_for 100 moved "$before" "$2"
    sleep "0.$(printf %03d $((RANDOM % 700)))"
    if ! kill -0 "$job" 2>/dev/null; then
        sg_wait
        return 1 # it finished first
    fi
    if [ $((RANDOM % 2)) = 0 ]; then kill_job
    else
        victim=$(ranks_of_job | shuf -n 1 --random-source=<(yes "$RANDOM"))
        if [ -n "$victim" ]; then kill -KILL "$victim" 2>/dev/null; fi
        sg_wait
        [ "$code" != 124 ] || { not_ok "kill: a job with a killed rank ends" "it hung"; return 0; }
    fi
    sequence=$((sequence + 1))
}

while [ "$sequence" -lt "$kills" ]; do
    dir=$work/run-$round
    while [ "$sequence" -lt "$kills" ]; do run_and_kill "$work/tiny.cfg" "$dir" || break; done
    sg "${counts[RANDOM % 3]}" run "$work/tiny.cfg" --out "$dir" "${often[@]}"
    if [ "$code" != 0 ]; then not_ok "kill: run $round is finished after $sequence kills" "exit code $code" show
    else expect_equal "kill: run $round after $sequence kills has the undisturbed digest" "$(digest_of "$dir")" "$reference"; fi
    sg 0 verify "$dir"
    expect_code "kill: every file of run $round is whole" 0
    expect_equal "kill: killed processes left no temporary files of their own in run $round" \
        "$(find "$dir" -name '*.????????-*.tmp')" ""
    grep -c 'goes on from checkpoint' "$dir"/log* 2>/dev/null | sed 's/^/# resumed from checkpoints: /'
    rm -rf "$dir"
    round=$((round + 1))
    [ $round -le "$kills" ] || { not_ok "kill: $kills kills" "only $sequence hit a running job"; break; }
done
if [ "$sequence" -ge "$kills" ]; then ok "kill: $sequence kills"; fi
finish
