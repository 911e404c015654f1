#!/bin/bash
# jobs/slurm/*.sh on a real Slurm of this one machine: time limits, signals, requeueing and its cap, cancelled jobs, arrays.
# Every run must end with the bits of an undisturbed one.
. "$(dirname "$0")/../testing.sh"
if [ "$(id -u)" != 0 ]; then
    echo "ok slurm # SKIP needs root, to start Slurm's daemons"
    exit 0
fi
cd "$here/.." || exit 70
folder=$work/cluster
tests/slurm/cluster start "$folder" >"$work/out" 2>&1
code=$?
expect_code "slurm: a cluster starts" 0
if [ "$code" != 0 ]; then finish; fi
trap 'tests/slurm/cluster stop "$folder"; clean' EXIT
. "$folder/env"
SIGNET=$(realpath "$signet")
REAL_SIGNET=$SIGNET
export SIGNET REAL_SIGNET OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

cat >"$work/queue.cfg" <<'END'
net = { arch = "resnet20"; classes = 10; width = 8; };
data = { kind = "shapes"; train_limit = 500; test_limit = 100; };
train = { lr = 0.05; batch = 64; };
search = { methods = ("lrr", "aws"); seeds = (1); warmup_epochs = 1; rounds = 2; round_epochs = 3; prune_fraction = 0.4; };
transfer = { modes = ("signed", "dense"); seeds = (2); rounds = (2); noise_orders = 1; epochs = 3; };
connect = { points = 3; pairs = ("signed-search", "sgd-noise"); };
run = { threads = 1; };
END
sg 1 run "$work/queue.cfg" --out "$work/reference"
expect_code "slurm: an undisturbed run" 0
reference=$(digest_of "$work/reference")

# submit SCRIPT SBATCH-OPTION... -- ARGUMENT...: leaves $id and $log.
submit() {
    local script=$1 options=(--nodes=1 --ntasks-per-node=1 --cpus-per-task=1 --ntasks=1)
    shift
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    id=$(MPIRUN="mpirun --oversubscribe --bind-to none" sbatch --parsable "${options[@]}" --output="$work/log-%A-%a" "jobs/slurm/$script" "$@" 2>>"$work/err")
    log="$work/log-$id-4294967294"
}
field() { scontrol show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1; } # JOB NAME
# Slurm lets a job that was queued again wait for two minutes. A few seconds it does need: its old credential is revoked, and
# one made in the same second is taken for that.
wait_for_state() { # JOB SECONDS STATE-PATTERN
    local deadline=$((SECONDS + $2)) waits=0
    until [[ $(field "$1" JobState) =~ ^($3)$ ]]; do
        if [ "$SECONDS" -ge "$deadline" ]; then return 1; fi
        if [ "$(field "$1" JobState)" = PENDING ]; then waits=$((waits + 1)); else waits=0; fi
        if [ "$waits" = 16 ]; then scontrol update JobId="$1" StartTime=now >/dev/null 2>&1; fi
        sleep 0.3
    done
}
wait_for_text() { # SECONDS FILE TEXT
    local deadline=$((SECONDS + $1))
    until grep -qs -- "$3" "$2"; do
        if [ "$SECONDS" -ge "$deadline" ]; then return 1; fi
        sleep 0.1
    done
}
expect_end() { # NAME JOB STATE LOG
    if wait_for_state "$2" 240 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY' && [ "$(field "$2" JobState)" = "$3" ]
    then ok "$1"
    else
        not_ok "$1" "job $2 is $(field "$2" JobState), exit code $(field "$2" ExitCode): $(tail -n 5 "$4" 2>&1)"
        tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log" | sed 's/^/    /'
    fi
}

# A limit of one minute, of which Slurm gives no warning that matters: signet asks for it, stops in time, and is queued again.
cat >"$work/late" <<'END'
#!/bin/bash
# A node that takes its time, the first time.
if [ -z "${SLURM_RESTART_COUNT:-}" ] && [ "${OMPI_COMM_WORLD_RANK:-0}" = 0 ]; then sleep 45; fi
exec "$REAL_SIGNET" "$@"
END
chmod +x "$work/late"
SIGNET=$work/late submit requeue.sh --time=1 --signal=CONT@1 -- "$work/queue.cfg" "$work/limit"
limited=$id limited_log=$log

# Meanwhile: a signal as --signal sends it, to the batch script alone.
submit requeue.sh --time=10 -- "$work/queue.cfg" "$work/signal" --set run.checkpoint_minutes=0
if wait_for_text 60 "$log" 'epoch 1'; then scancel --batch --signal=USR1 "$id"
else not_ok "slurm: the job starts" "$(cat "$log")"; fi
expect_end "slurm: a job that got USR1 ends after being queued again" "$id" COMPLETED "$log"
expect_equal "slurm: it was queued again once" "$(field "$id" Restarts)" 1
expect_text "slurm: its log says so" "$log" "queued again, 1 of at most 50"
expect_text "slurm: its log was appended to" "$log" "restart 1:"
expect_equal "slurm: USR1: the same bits" "$(digest_of "$work/signal")" "$reference"

# Ranks that are not ready for the signal yet.
SIGNET=$work/late submit requeue.sh --time=10 -- "$work/queue.cfg" "$work/early"
early=$id early_log=$log
if wait_for_text 60 "$early_log" 'restart 0' && sleep 2; then scancel --batch --signal=USR1 "$early"; fi

# The cap.
RESTARTS=0 submit requeue.sh --time=10 -- "$work/queue.cfg" "$work/cap"
if wait_for_text 60 "$log" 'epoch 1'; then scancel --batch --signal=USR1 "$id"; fi
expect_end "slurm: at the cap a job ends" "$id" FAILED "$log"
expect_equal "slurm: with exit code 75" "$(field "$id" ExitCode)" 75:0
expect_text "slurm: and says how to go on" "$log" "submit it again to go on"

# Another job goes on from there, is cancelled, and one more ends it.
submit requeue.sh --time=10 -- "$work/queue.cfg" "$work/cap"
if wait_for_text 60 "$log" ' epoch '; then scancel "$id"; fi
expect_end "slurm: a cancelled job" "$id" CANCELLED "$log"
submit sweep.sh --time=10 -- "$work/queue.cfg" "$work/cap"
expect_end "slurm: the next job ends it" "$id" COMPLETED "$log"
expect_equal "slurm: the cap and a cancelled job: the same bits" "$(digest_of "$work/cap")" "$reference"

# An array over the chains, and the job that puts its parts together.
submit array.sh --array=1-2 --time=10 -- "$work/queue.cfg" "$work/array"
array=$id
submit sweep.sh --dependency=afterok:"$array" --time=10 -- "$work/queue.cfg" "$work/array"
expect_end "slurm: the job after an array" "$id" COMPLETED "$log"
expect_text "slurm: it takes over the parts" "$log" "part-2/stages are taken over"
expect_equal "slurm: only the path between its two parts was left to it" "$(sed -n 's/.* \([^ ]*\) done \[.*/\1/p' "$log")" \
    resnet20-w8-shapes/connect/sgd-noise-dense-s2-o1002
expect_equal "slurm: an array: the same bits" "$(digest_of "$work/array")" "$reference"

expect_end "slurm: a job that got USR1 before it could begin ends" "$early" COMPLETED "$early_log"
expect_equal "slurm: it was queued again, too" "$(field "$early" Restarts)" 1
expect_equal "slurm: an early USR1: the same bits" "$(digest_of "$work/early")" "$reference"
expect_end "slurm: a job longer than its limit ends" "$limited" COMPLETED "$limited_log"
expect_text "slurm: it was stopped by the limit that Slurm told" "$limited_log" "stopped by the time limit"
if [ "$(field "$limited" Restarts)" -ge 1 ]; then ok "slurm: it was queued again"
else not_ok "slurm: it was queued again" "$(cat "$limited_log")"; fi
expect_equal "slurm: the limit: the same bits" "$(digest_of "$work/limit")" "$reference"
finish
