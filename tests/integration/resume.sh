#!/bin/bash
# Interrupted by signals, by time, by kills; damaged files; changed configurations; failed stages.
. "$(dirname "$0")/../testing.sh"
write_tiny
often=(--set run.checkpoint_minutes=0.0001) # a checkpoint after every step
sg 1 run "$work/tiny.cfg" --out "$work/reference"
expect_code "resume: undisturbed" 0
reference=$(digest_of "$work/reference")

finish_and_compare() { # NAME RANKS DIR
    sg "$2" run "$work/tiny.cfg" --out "$3" "${often[@]}"
    if [ "$code" != 0 ]; then not_ok "$1" "exit code $code on resuming" show
    else expect_equal "$1" "$(digest_of "$3")" "$reference"; fi
}

# SIGKILL to all ranks in the middle of a training, then on another number of ranks.
for pair in 1:2 2:4 4:1; do
    dir=$work/kill-$pair
    sg_start "${pair%:*}" run "$work/tiny.cfg" --out "$dir" "${often[@]}"
    if wait_for 60 has_files "$dir" 'checkpoint-*.h5' 1; then kill_job; else sg_wait; not_ok "resume: a checkpoint was seen" none show; fi
    finish_and_compare "resume: killed on ${pair%:*} ranks, resumed on ${pair#*:}" "${pair#*:}" "$dir"
done

# SIGUSR1: exit code 75, a checkpoint, and it goes on.
dir=$work/usr1
sg_start 2 run "$work/tiny.cfg" --out "$dir" --set run.checkpoint_minutes=0
wait_for 60 has_files "$dir" progress 1 && kill -USR1 "$job"
sg_wait
expect_code "resume: SIGUSR1" 75
expect_text "resume: SIGUSR1 says how to go on" "$work/err" "start the same command again"
expect_text "resume: SIGUSR1 says how to collect" "$work/err" "signet collect $dir"
if [ -e "$dir/results.csv" ]; then not_ok "resume: SIGUSR1 leaves no time for collecting" "there is a results.csv"
else ok "resume: SIGUSR1 leaves no time for collecting"; fi
if has_files "$dir" 'checkpoint-*.h5' 1; then ok "resume: SIGUSR1 leaves a checkpoint"
else not_ok "resume: SIGUSR1 leaves a checkpoint" "there is none" show; fi
finish_and_compare "resume: after SIGUSR1" 1 "$dir"

# A time limit that is over before the first step.
dir=$work/limit
sg 1 run "$work/tiny.cfg" --out "$dir" --time-limit 0.00001
expect_code "resume: --time-limit" 75
expect_text "resume: --time-limit is named" "$work/err" "the time limit"
finish_and_compare "resume: after --time-limit" 1 "$dir"

# A finished run does nothing the second time.
times() { find "$1/stages" -name result.h5 -printf '%p %T@\n' | sort; }
before=$(times "$dir")
sg 2 run "$work/tiny.cfg" --out "$dir"
expect_code "resume: a finished run ends at once" 0
expect_equal "resume: a finished run writes no result" "$(times "$dir")" "$before"

# A changed configuration is refused; --recompute redoes just what is concerned.
sg 1 run "$work/tiny.cfg" --out "$dir" --set connect.points=4 --set transfer.epochs=3 --set search.round_epochs=2
expect_code "resume: a changed configuration" 78
for change in "points: 3 -> 4" "transfer.epochs: 2 -> 3" "search.round_epochs: 1 -> 2"; do
    expect_text "resume: field, old and new value are named: $change" "$work/err" "$change"
done
expect_text "resume: the remedy is named" "$work/err" "--recompute"
expect_equal "resume: nothing was touched" "$(digest_of "$dir") $(times "$dir")" "$reference $before"
sg 1 run "$work/tiny.cfg" --out "$dir" --set connect.points=4 --recompute
expect_code "resume: --recompute" 0
expect_equal "resume: --recompute leaves trainings alone" "$(times "$dir" | grep -v connect)" "$(echo "$before" | grep -v connect)"
sg 1 run "$work/tiny.cfg" --out "$dir" --recompute
expect_code "resume: --recompute, and back" 0
expect_equal "resume: the old configuration has the old digest" "$(digest_of "$dir")" "$reference"

# The same with changed data: one pixel of one image.
make_idx() { # PIXEL
    mkdir -p "$work/idx"
    "$python" -c 'import struct, sys
for split, n in ("train", 40), ("t10k", 20):
    pixels = bytearray((i * 37 + i // 64 * 11) % 251 for i in range(64 * n))
    if split == "train": pixels[1000] = int(sys.argv[2])
    with open(f"{sys.argv[1]}/{split}-images-idx3-ubyte", "wb") as f: f.write(struct.pack(">4i", 2051, n, 8, 8) + pixels)
    with open(f"{sys.argv[1]}/{split}-labels-idx1-ubyte", "wb") as f:
        f.write(struct.pack(">2i", 2049, n) + bytes(i % 10 for i in range(n)))' "$work/idx" "$1"
}
sed -e "s,kind = \"shapes\".*,kind = \"idx\"; path = \"$work/idx\"; };," \
    -e 's/"resnet20"; classes = 10; width = 4/"mlp"; classes = 10; width = 8/' "$work/tiny.cfg" >"$work/idx.cfg"
data=$work/data
make_idx 1
sg 1 run "$work/idx.cfg" --out "$data"
expect_code "resume: a run on files" 0
first=$(digest_of "$data")
make_idx 2
sg 1 run "$work/idx.cfg" --out "$data"
expect_code "resume: changed data" 78
if grep -qE '^ *data: [0-9a-f]{16} -> [0-9a-f]{16}$' "$work/err"; then ok "resume: old and new fingerprint are named"
else not_ok "resume: old and new fingerprint are named" "they are not" show; fi
sg 1 run "$work/idx.cfg" --out "$work/elsewhere"
expect_code "resume: another --out" 0
expect_equal "resume: another --out leaves the old results" "$(digest_of "$data")" "$first"
sg 1 run "$work/idx.cfg" --out "$data" --recompute
expect_code "resume: --recompute with changed data" 0
expect_equal "resume: it gives what another --out gave" "$(digest_of "$data")" "$(digest_of "$work/elsewhere")"

# A damaged result is set aside, named and computed again, alone.
before=$(times "$dir")
victim=$(find "$dir/stages" -path '*round-02/signed-s2/result.h5')
flip_byte "$victim" $(($(stat -c %s "$victim") / 2))
sg 0 verify "$dir"
expect_code "resume: verify finds the damage" 65
expect_text "resume: verify names the file" "$work/out" "$victim"
mkfifo "$dir/stages/pipe.h5" # which cannot be read as a file, whoever asks
sg 0 verify "$dir"
rm "$dir/stages/pipe.h5"
expect_code "resume: verify with an unreadable file" 65
expect_text "resume: verify names the unreadable file" "$work/out" "DAMAGED $dir/stages/pipe.h5"
expect_text "resume: verify says what is the matter with it" "$work/out" "is no regular file"
expect_text "resume: verify goes on to the others" "$work/out" "DAMAGED $victim"
expect_text "resume: verify counts all" "$work/out" "14 files checked, 2 damaged"
sg 1 run "$work/tiny.cfg" --out "$dir"
expect_code "resume: a damaged result is no obstacle" 0
expect_text "resume: the damage is reported" "$work/err" "result.damaged"
expect_equal "resume: it is computed again to the same digest" "$(digest_of "$dir")" "$reference"
expect_equal "resume: the others are left alone" "$(times "$dir" | grep -v round-02/signed-s2/result)" \
    "$(echo "$before" | grep -v round-02/signed-s2/result)"

# A damaged checkpoint: the older generation serves.
dir=$work/checkpoint
sg_start 1 run "$work/tiny.cfg" --out "$dir" "${often[@]}"
wait_for 60 has_files "$dir" 'checkpoint-*.h5' 2
kill_job
newest=$(find "$dir" -name 'checkpoint-*.h5' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
folder=$(dirname "$newest")
if [ "$(count_files "$folder" 'checkpoint-*.h5')" = 1 ]; then # killed between two stages or before the second one
    cp "$newest" "$folder/checkpoint-999.h5"
    newest=$folder/checkpoint-999.h5
else
    newest=$(find "$folder" -name 'checkpoint-*.h5' | sort -V | tail -1)
fi
flip_byte "$newest" $(($(stat -c %s "$newest") - 100))
finish_and_compare "resume: a damaged checkpoint gives the same digest" 1 "$dir"
expect_text "resume: the damaged checkpoint is passed over" "$work/err" "checkpoint passed over"
expect_text "resume: the older generation serves" "$work/err" "goes on from checkpoint-"

# More generations than one would expect: the newest serves, and none outlives the result.
dir=$work/many
sg_start 1 run "$work/tiny.cfg" --out "$dir" "${often[@]}"
wait_for 60 has_files "$dir" 'checkpoint-*.h5' 1
kill_job
newest=$(find "$dir" -name 'checkpoint-*.h5' | sort -V | tail -1)
folder=$(dirname "$newest")
mv "$newest" "$folder/checkpoint-900.h5"
for n in $(seq 100 299); do echo nonsense >"$folder/checkpoint-$n.h5"; done
finish_and_compare "resume: the newest of 201 checkpoints gives the same digest" 1 "$dir"
expect_text "resume: the newest of 201 checkpoints serves" "$work/err" "goes on from checkpoint-900.h5"
expect_equal "resume: no checkpoint outlives the result" "$(count_files "$dir" 'checkpoint-*.h5')" 0

# Divergence: the stage failed, descendants are blocked, the rest is done.
dir=$work/a-directory-whose-name-alone-is-longer-than-sixty-characters/diverge
sed -e 's/lr = 0.1/lr = 1000000/' -e 's/"resnet20"; classes = 10; width = 4/"lenet"; classes = 10/' "$work/tiny.cfg" >"$work/diverge.cfg"
sg 2 run "$work/diverge.cfg" --out "$dir"
expect_code "resume: a diverging run" 1
expect_text "resume: the diverged stage is named" "$work/err" "warmup failed"
expect_text "resume: the command that tells the reasons is whole" "$work/err" "Reasons: \`signet status $dir\`"
sg 0 status "$dir"
expect_equal "resume: one stage failed" "$(grep -c '^failed' "$work/out")" 1
expect_equal "resume: its descendants are blocked" "$(grep -c '^blocked' "$work/out")" 11
sg 1 run "$work/diverge.cfg" --out "$dir"
expect_code "resume: a failed stage stays failed" 1
folder=$(dirname "$(find "$dir" -name failed)")
for n in $(seq 100 299); do echo nonsense >"$folder/checkpoint-$n.h5"; done
sg 1 run "$work/diverge.cfg" --out "$dir" --retry-failed
expect_code "resume: --retry-failed tries again" 1
expect_text "resume: --retry-failed computes" "$work/err" "warmup failed"
expect_equal "resume: --retry-failed begins without checkpoints" "$(count_files "$folder" 'checkpoint-*.h5')" 0
finish
