#!/bin/bash
# A sweep in parts, each in a directory of its own, put together again: the same bits as in one piece.
. "$(dirname "$0")/../testing.sh"
cat >"$work/parts.cfg" <<'END'
net = { arch = "mlp"; classes = 10; width = 16; };
data = { kind = "shapes"; train_limit = 64; test_limit = 32; };
train = { lr = 0.05; batch = 32; };
search = { methods = ("lrr", "aws"); seeds = (1, 2); warmup_epochs = 1; rounds = 1; round_epochs = 1; };
transfer = { modes = ("signed", "dense"); seeds = (3); rounds = (1); epochs = 1; noise_orders = 1; };
connect = { points = 3; pairs = ("signed-search", "sgd-noise"); };
run = { threads = 1; };
END
sg 1 run "$work/parts.cfg" --out "$work/whole"
expect_code "parts: in one piece" 0
for part in 1 2 3; do
    sg 1 run "$work/parts.cfg" --out "$work/run/part-$part" --part "$part/3"
    expect_code "parts: part $part of 3" 0
done
results() { (cd "$1" && find . -name result.h5 | sort); }
expect_equal "parts: none computes what another does" \
    "$(for part in 1 2 3; do results "$work/run/part-$part"; done | sort | uniq -d)" ""
expect_text "parts: what is elsewhere is said to be" "$work/run/part-1/report/index.html" "another part of the run computes it"
sg 1 run "$work/parts.cfg" --out "$work/run/part-1" --part 1/3
expect_code "parts: a finished part ends at once" 0
. "$here/../jobs/launch.sh"
adopt_parts "$work/run" >/dev/null
before=$(results "$work/run/stages")
sg 1 run "$work/parts.cfg" --out "$work/run"
expect_code "parts: put together" 0
# The data orders of a dense network begin chains of their own, so the path between them needs two parts; no other does.
expect_equal "parts: only what crosses parts was left to do" "$(comm -13 <(echo "$before") <(results "$work/run/stages"))" \
    ./mlp-w16-shapes/connect/sgd-noise-dense-s3-o1003/result.h5
expect_equal "parts: what crosses parts is in the tables" \
    "$(cut -d, -f1,8 "$work/run/connectivity.csv" | grep -c '^sgd-noise,.*/sgd-noise-dense-s3-o1003$')" 1
expect_equal "parts: the same bits" "$(digest_of "$work/run")" "$(digest_of "$work/whole")"
for part in 0/3 4/3 2 a/b 1/2x /; do
    sg 1 run "$work/parts.cfg" --out "$work/none" --part "$part"
    expect_code "parts: --part $part is refused" 64
done
expect_text "parts: the remedy is named" "$work/err" "such as 2/4"
finish
