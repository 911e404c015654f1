#!/bin/bash
# Two launches on one run directory, with real processes: who holds it, who waits, who takes over.
. "$(dirname "$0")/../testing.sh"
write_tiny
longer=(--set transfer.epochs=4)
sg 1 run "$work/tiny.cfg" --out "$work/reference" "${longer[@]}"
reference=$(digest_of "$work/reference")

begin() { # starts a holder of $dir and waits until it is at work
    mkdir -p "$dir"
    sg_start "$1" run "$work/tiny.cfg" --out "$dir" "${@:2}"
    if ! wait_for 60 has_files "$dir" progress 1; then not_ok "locks: a holder starts" "it did not" show; fi
}
second() { # another launch, beside the job
    timeout 100 "$here/mpirun.sh" "$1" "$signet" run "$work/tiny.cfg" --out "$dir" "${@:2}" >"$work/out2" 2>"$work/err2"
    code2=$?
}
expect_second() { # NAME EXPECTED
    if [ "$code2" = "$2" ]; then ok "$1"
    else not_ok "$1" "exit code $code2, expected $2: $(tail -n 20 "$work/err2")"; fi
}
lock_of_elsewhere() { # SECONDS since it was renewed
    printf 'host = elsewhere\npid = 77\njob = 12\nsince = yesterday\nnonce = n\n' >"$dir/lock"
    touch -d "$1 seconds ago" "$dir/lock"
}

# The second says who has it, and leaves.
dir=$work/held
begin 2 --set transfer.epochs=50
holder=$(rank_of_job 0)
second 2 --set transfer.epochs=50
expect_second "locks: a second launch" 69
expect_text "locks: the holder is named" "$work/err2" "$dir is in use by host $(hostname), process $holder"
expect_text "locks: --wait and --break-lock are offered" "$work/err2" "--break-lock"
expect_equal "locks: the first has kept it" "$(ranks_of_job | wc -l)" 2

# A killed launcher's ranks live on for a while: the next launch gives them the time, and goes on. What they had finished was
# asked for with other epochs.
kill -KILL "$job"
wait "$job" 2>/dev/null
job=
second 1 "${longer[@]}" --recompute
expect_second "locks: a launch after the holder was killed" 0
expect_equal "locks: it computes the same" "$(digest_of "$dir")" "$reference"

# --wait: when it gets the directory, everything is there.
dir=$work/wait
begin 1 "${longer[@]}"
holder=$(rank_of_job 0)
second 2 "${longer[@]}" --wait
expect_second "locks: --wait" 0
sg_wait
expect_code "locks: the launch that was waited for" 0
expect_text "locks: --wait says whom it waits for" "$work/err2" "is in use by host $(hostname), process $holder"
expect_text "locks: --wait finds everything done" "$work/err2" "12 stages, 12 done, 0 failed"
expect_equal "locks: both together compute the same" "$(digest_of "$dir")" "$reference"

# A waiting launch may be asked to stop.
dir=$work/asked
mkdir "$dir"
lock_of_elsewhere 0
sg_start 2 run "$work/tiny.cfg" --out "$dir" --wait
wait_for 20 grep -q "waiting for it" "$work/err"
ticks() { awk '{ print $14 + $15 }' "/proc/$(rank_of_job 1)/stat"; } # of 10 ms
before=$(ticks)
sleep 2
used=$(($(ticks) - before))
if [ $used -lt 40 ]; then ok "locks: the other ranks sleep while rank 0 waits"
else not_ok "locks: the other ranks sleep while rank 0 waits" "$used of 200 ticks"; fi
kill -USR1 "$job"
LIMIT=10 sg_wait
expect_code "locks: SIGUSR1 while waiting" 75

# Waiting counts for its time limit.
sg_start 2 run "$work/tiny.cfg" --out "$dir" --wait --set run.time_limit_minutes=0.1
LIMIT=15 sg_wait
expect_code "locks: the time limit while waiting" 75
expect_text "locks: it is named" "$work/err" "stopped by the time limit"

# Locks of other nodes: by their lease alone.
lock_of_elsewhere 60
second 1
expect_second "locks: a lease of another node that is not over" 69
expect_text "locks: the other node is named" "$work/err2" "in use by host elsewhere, process 77, job 12, since yesterday"
second 1 "${longer[@]}" --break-lock
expect_second "locks: --break-lock" 0
expect_text "locks: --break-lock says whose it was" "$work/err2" \
    "the lock of host elsewhere, process 77, job 12, since yesterday is broken"
lock_of_elsewhere 150
second 1 "${longer[@]}"
expect_second "locks: a lease of another node that is over" 0
expect_text "locks: it says whose it was" "$work/err2" \
    "was locked by host elsewhere, process 77, job 12, since yesterday, whose lease is over; taken over"

# Who loses the lock publishes nothing more.
dir=$work/broken
begin 2 "${longer[@]}"
second 1 "${longer[@]}" --break-lock
LIMIT=60 sg_wait
expect_code "locks: the launch whose lock was broken leaves" 69
expect_text "locks: it says who has it now" "$work/err" "no longer ours"
second 1 "${longer[@]}"
expect_second "locks: the directory stays usable" 0
expect_equal "locks: its results are those of one launch" "$(digest_of "$dir")" "$reference"
if [ -e "$dir/lock" ]; then not_ok "locks: none is left" "there is one"; else ok "locks: none is left"; fi

# The directory becomes another job's while two groups are in the middle of long stages: both leave, and write nothing more.
take_away() {
    rm "$dir/lock"
    lock_of_elsewhere 0
}
begin_two() { # both ranks have a stage of their own
    begin 2 --set run.ranks_per_stage=1 --set run.checkpoint_minutes=0 --set search.warmup_epochs=500 "$@"
    if ! wait_for 60 has_files "$dir" progress 2; then not_ok "locks: two groups start" "they did not" show; fi
}
written() { find "$dir/stages" -name '*.h5*' | sort; }
dir=$work/taken
begin_two --set search.seeds=1,2
take_away
LIMIT=20 sg_wait
expect_code "locks: long stages end when the directory is another's" 69
expect_text "locks: it says whose it is" "$work/err" "no longer ours"
expect_equal "locks: no checkpoint is written there" "$(written)" ""

# The same while a group runs one short stage after the other: it finds out for itself before it publishes the next.
dir=$work/short
begin_two --set transfer.modes=dense,signed,retrain --set transfer.seeds=2,3,4,5,6,7,8,9
if ! wait_for 60 has_files "$dir" result.h5 1; then not_ok "locks: a short stage ends" "none did" show; fi
take_away
before=$(written)
LIMIT=20 sg_wait
expect_code "locks: groups with short stages leave too" 69
expect_equal "locks: a group publishes nothing after the directory was taken" "$(written)" "$before"
finish
