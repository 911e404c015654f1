#!/bin/bash
# Every command's help and exit codes, and the commands on the outputs of a real run.
. "$(dirname "$0")/../testing.sh"
write_tiny
dir=$work/run

for command in run plan status collect train eval connect inspect verify data bench doctor; do
    sg 0 "$command" --help
    expect_code "commands: $command --help" 0
    expect_text "commands: $command --help shows its usage" "$work/out" "signet $command"
    sg 0 "$command" --no-such-option
    expect_code "commands: $command refuses an unknown option" 64
    expect_text "commands: $command names the unknown option" "$work/err" "no-such-option"
done
sg 0 --help
expect_code "commands: --help" 0
sg 0 --version
expect_code "commands: --version" 0
sg 0
expect_code "commands: a command is needed" 64
sg 0 rnu "$work/tiny.cfg"
expect_code "commands: an unknown command" 64
expect_text "commands: the nearest command is named" "$work/err" "nearest: run"

for command in run plan train; do
    sg 0 "$command" "$work/missing.cfg"
    expect_code "commands: $command of a missing file" 66
done
for command in status collect inspect verify; do
    sg 0 "$command" "$work/missing"
    expect_code "commands: $command of a missing directory" 66
done
echo 'train = { lr = "fast"; };' >"$work/bad.cfg"
sg 0 run "$work/bad.cfg" --out "$work/never"
expect_code "commands: run of a bad configuration" 78
expect_text "commands: the bad key is named" "$work/err" "train.lr"
if [ -e "$work/never/stages" ]; then not_ok "commands: a bad configuration makes no stages" "it did"; fi

sg 1 run "$work/tiny.cfg" --out "$dir"
expect_code "commands: run" 0
sg 0 status "$dir"
expect_code "commands: status" 0
expect_text "commands: status says that all is done" "$work/out" "12 of 12 stages done, 100 % of the work"
sg 0 status "$dir" --json
expect_equal "commands: status --json has a line per stage" "$(grep -c '"state":"done"' "$work/out")" 12
sg 0 verify "$dir"
expect_code "commands: verify" 0
expect_text "commands: verify counts files" "$work/out" "13 files checked, 0 damaged"
sg 0 plan "$work/tiny.cfg" --out "$dir"
expect_code "commands: plan --out" 0
sg 0 plan "$work/tiny.cfg" --resolved
cp "$work/out" "$work/resolved.cfg"
sg 0 plan "$work/resolved.cfg" --resolved
if cmp -s "$work/out" "$work/resolved.cfg"; then ok "commands: a resolved configuration resolves to itself"
else not_ok "commands: a resolved configuration resolves to itself" "$(diff "$work/out" "$work/resolved.cfg" | head -3)"; fi
sg 0 run "$work/resolved.cfg" --out "$dir"
expect_code "commands: a resolved configuration is the same run" 0

# eval reproduces what the run has recorded of a result.
result=$(find "$dir/stages" -path '*round-02/signed-s2/result.h5')
sg 0 inspect "$result"
recorded=$(sed -n 's/^ *row.test_accuracy: //p' "$work/out")
sg 1 eval "$work/tiny.cfg" --weights "$result" --logits "$work/logits.h5"
expect_code "commands: eval" 0
expect_equal "commands: eval gives the recorded accuracy" "$(sed -n 's/^test_accuracy //p' "$work/out")" \
    "$(printf %.4f "$recorded")"
sg 0 verify "$work/logits.h5"
expect_code "commands: verify of the logits" 0
cp "$work/logits.h5" "$work/one.h5"
sg 2 eval "$work/tiny.cfg" --weights "$result" --logits "$work/logits.h5"
if "$python" - "$work/one.h5" "$work/logits.h5" <<'END'
import sys, h5py, numpy
a, b = (h5py.File(name)["logits"][:] for name in sys.argv[1:])
sys.exit(not (a.shape == (100, 10) and numpy.isfinite(a).all() and (a == b).all()))
END
then ok "commands: logits are the same on two ranks"; else not_ok "commands: logits are the same on two ranks" "they differ"; fi

# The same bytes without the user block are a file of other origin: h5py's.
"$python" - "$result" "$work/foreign.h5" <<'END'
import sys, h5py
with h5py.File(sys.argv[1]) as a, h5py.File(sys.argv[2], "w") as b:
    a.copy("weights", b)
    a.copy("masks", b)
END
sg 1 eval "$work/tiny.cfg" --weights "$work/foreign.h5"
expect_code "commands: eval of a file by h5py" 0
expect_equal "commands: it has the same accuracy" "$(sed -n 's/^test_accuracy //p' "$work/out")" "$(printf %.4f "$recorded")"
sg 1 eval "$work/tiny.cfg" --weights "$result" --set net.width=8
expect_code "commands: eval with another network" 65
sg 1 eval "$work/tiny.cfg" --weights "$work/missing.h5"
expect_code "commands: eval of a missing file" 66
sg 1 eval "$work/tiny.cfg"
expect_code "commands: eval needs weights" 64
head -c 5000 /dev/urandom >"$work/noise.h5"
sg 1 eval "$work/tiny.cfg" --weights "$work/noise.h5"
expect_code "commands: eval of noise" 65

# connect reproduces the path of the run.
retrain=$(find "$dir/stages" -path '*round-02/retrain-s2/result.h5')
sg 1 connect "$work/tiny.cfg" "$result" "$retrain" --out "$work/path.csv"
expect_code "commands: connect" 0
if "$python" - "$work/path.csv" "$dir/curves.csv" <<'END'
import csv, sys
path = [(r["lambda"], r["error"], r["loss"]) for r in csv.DictReader(open(sys.argv[1]))]
run = [(r["lambda"], r["error"], r["loss"]) for r in csv.DictReader(open(sys.argv[2])) if r["kind"] == "signed-retrain"]
sys.exit(0 if path == run and len(path) == 3 else f"{path} is not {run}")
END
then ok "commands: connect gives the run's curve"; else not_ok "commands: connect gives the run's curve" "see above"; fi
warmup=$(find "$dir/stages" -path '*warmup/result.h5')
sg 1 connect "$work/tiny.cfg" "$result" "$warmup"
expect_code "commands: connect of two masks is refused" 78

# inspect
sg 0 inspect "$result" --digest
expect_equal "commands: a digest has 32 digits" "$(grep -cE '^[0-9a-f]{32}$' "$work/out")" 1
sg 0 inspect "$dir/results.h5"
expect_code "commands: inspect of tables" 0

# collect makes the same tables again.
cp "$dir/results.csv" "$work/results.csv"
rm "$dir/results.csv" "$dir/curves.csv"
sg 0 collect "$dir"
expect_code "commands: collect" 0
if cmp -s "$dir/results.csv" "$work/results.csv"; then ok "commands: collect makes the same results.csv"
else not_ok "commands: collect makes the same results.csv" "it differs"; fi

# train: interrupted and resumed on other ranks equals undisturbed.
train=(train "$work/tiny.cfg" --set single.epochs=6 --set run.checkpoint_minutes=0.0001)
sg 1 "${train[@]}" --out "$work/whole.h5"
expect_code "commands: train" 0
sg_start 2 "${train[@]}" --out "$work/parts.h5"
if wait_for 60 test -e "$work/parts.h5.checkpoint"; then kill -USR1 "$job"; fi
sg_wait
expect_code "commands: train stops on SIGUSR1" 75
sg 1 "${train[@]}" --seed 7 --out "$work/parts.h5"
expect_code "commands: train refuses another seed's checkpoint" 78
cp "$work/parts.h5.checkpoint" "$work/damaged.h5.checkpoint"
sg 1 "${train[@]}" --out "$work/parts.h5"
expect_code "commands: train goes on" 0
expect_equal "commands: train in two parts equals train in one" "$(digest_of "$work/parts.h5")" "$(digest_of "$work/whole.h5")"
if [ -e "$work/parts.h5.checkpoint" ]; then not_ok "commands: train removes its checkpoint" "it is still there"
else ok "commands: train removes its checkpoint"; fi
flip_byte "$work/damaged.h5.checkpoint" $(($(stat -c %s "$work/damaged.h5.checkpoint") / 2))
cp "$work/damaged.h5.checkpoint" "$work/flipped"
sg 1 "${train[@]}" --out "$work/damaged.h5"
expect_code "commands: train with a damaged checkpoint" 0
expect_text "commands: train says where the damaged checkpoint is" "$work/err" "kept as $work/damaged.h5.checkpoint.damaged"
expect_equal "commands: train begins anew" "$(digest_of "$work/damaged.h5")" "$(digest_of "$work/whole.h5")"
if cmp -s "$work/flipped" "$work/damaged.h5.checkpoint.damaged"; then ok "commands: train keeps the damaged checkpoint"
else not_ok "commands: train keeps the damaged checkpoint" "it is gone or another"; fi
mkdir "$work/unread.h5.checkpoint"
sg 1 "${train[@]}" --out "$work/unread.h5"
expect_code "commands: train does not begin beside a checkpoint that it cannot read" 66

# Where the learning rate moves nothing, what comes out is what it began with, under the mask.
extract=$(find "$dir" -path '*round-02/extract/result.h5')
still=(train "$work/tiny.cfg" --set single.epochs=1 --set train.lr=1e-30)
sg 1 "${still[@]}" --init "$work/whole.h5" --mask "$extract" --out "$work/still.h5"
expect_code "commands: train --init --mask" 0
sg 1 "${still[@]}" --mask "$extract" --out "$work/fresh.h5"
expect_code "commands: train --mask" 0
sg 1 train "$work/tiny.cfg" --set single.epochs=1 --init "$work/whole.h5" --mask "$extract" --out "$work/moved.h5"
expect_code "commands: train that moves weights under a mask" 0
if "$python" - "$extract" "$work"/{whole,still,fresh,moved}.h5 >"$work/out" 2>"$work/err" <<'END'
import sys, h5py, numpy
signs, whole, still, fresh, moved = (h5py.File(name) for name in sys.argv[1:])
def want(name, holds):
    if not holds: sys.exit(name)
def same(a, b, name): return numpy.array_equal(a["weights"][name][()], b["weights"][name][()])
masks = [name for name in signs["signs"] if name in whole["masks"]]
want("only %d masks" % len(masks), len(masks) > 20)
pruned = [name for name in masks if (signs["signs"][name][()] == 0).any()]
want("only %d tensors are pruned" % len(pruned), len(pruned) > 10)
for result in (still, fresh, moved):
    want("other masks: %s" % (set(result["masks"]) ^ set(masks)), set(result["masks"]) == set(masks))
    for name in masks:
        s, w = signs["signs"][name][()], result["weights"][name][()]
        want("the mask of " + name, numpy.array_equal(result["masks"][name][()], s != 0))
        want("a pruned weight of %s is not 0" % name, (w[s == 0] == 0).all())
for name in whole["weights"]:
    if "running" in name or "num_batches" in name: continue
    start, came = whole["weights"][name][()], still["weights"][name][()]
    kept = signs["signs"][name][()] != 0 if name in masks else numpy.ones(start.shape, bool)
    want("%s is not that of --init" % name, numpy.array_equal(came, numpy.where(kept, start, 0)))
for name in pruned:
    want("%s is that of --init without --init" % name, not same(fresh, still, name))
    want("%s does not move" % name, not same(moved, still, name))
END
then ok "commands: train begins with --init under --mask and stays under it"
else not_ok "commands: train begins with --init under --mask and stays under it" "$(tail -n 1 "$work/err")"; fi

# Weights of another network: every entry that does not fit is named.
"$python" - "$work/whole.h5" "$work/other.h5" <<'END'
import h5py, sys
one, two = h5py.File(sys.argv[1]), h5py.File(sys.argv[2], "w")
for name, value in one["weights"].items():
    if name != "conv1.weight": two["weights/" + name] = value[()][:-1] if name == "fc.bias" else value[()]
two["weights/extra.weight"] = [1.0]
END
sg 1 eval "$work/tiny.cfg" --weights "$work/other.h5"
expect_code "commands: weights of another network are refused" 65
for text in "missing /weights/conv1.weight" "misshapen /weights/fc.bias" "extra /weights/extra.weight"; do
    expect_text "commands: $text is named" "$work/err" "$text"
done
finish
