#!/bin/bash
# tests/fault/flips.sh [FLIPS [SEED]]: FLIPS random changed bytes (50), and a tenth as many truncations and additions, of
# each kind of file that Signet writes; `signet verify` must find every one.
. "$(dirname "$0")/../testing.sh"
flips=${1:-50}
seed=${2:-$$}
echo "# $flips changed bytes of each kind, seed $seed"
write_tiny
sg_start 1 run "$work/tiny.cfg" --out "$work/run" --set run.checkpoint_minutes=0.0001
wait_for 100 has_files "$work/run" 'checkpoint-*.h5' 1
for _ in 1 2 3 4 5; do # a checkpoint may be removed while it is copied
    cp "$(find "$work/run" -name 'checkpoint-*.h5' | head -1)" "$work/checkpoint.h5" 2>/dev/null && break
done
sg_wait
if [ "$code" != 0 ]; then not_ok "flips: the run finishes" "exit code $code" show; finish; fi
cp "$work/run/results.h5" "$work/tables.h5"
cp "$(find "$work/run" -path '*extract/result.h5' | head -1)" "$work/signed-mask.h5"
cp "$(find "$work/run" -path '*round-02/signed-s2/result.h5')" "$work/result.h5"
cp "$(find "$work/run" -path '*connect*' -name result.h5 | head -1)" "$work/path.h5"
sg 0 data pack "$work/tiny.cfg" --out "$work/data-set.h5"
expect_code "flips: a data set is packed" 0

cat >"$work/damage.py" <<'END'
import random, subprocess, sys
signet, work, flips, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
kinds = ["checkpoint", "result", "signed-mask", "path", "tables", "data-set"]
whole = {k: open(f"{work}/{k}.h5", "rb").read() for k in kinds}
random.seed(seed)
def verify(path):
    try: return subprocess.run([signet, "verify", path], capture_output=True, timeout=20).returncode
    except subprocess.TimeoutExpired: return "no end"
bad = 0
for kind in kinds:
    code = verify(f"{work}/{kind}.h5")
    if code != 0: print(f"not ok flips: a whole {kind}: exit code {code}"); bad += 1
missed = {k: [] for k in kinds}
ways = ["flip"] * flips + ["cut", "grow"] * max(1, flips // 10)
for kind in kinds:
    for how in ways:
        data = bytearray(whole[kind])
        # The header is small and all else hangs on it, so it gets a share of its own.
        at = random.randrange(4096) if random.random() < 0.2 else random.randrange(len(data))
        if how == "flip" and random.random() < 0.5: data[at] ^= 1 << random.randrange(8)
        elif how == "flip": data[at] = (data[at] + random.randrange(1, 256)) % 256
        elif how == "cut": del data[at:]
        else: data += bytes(random.randrange(1, 5000))
        path = f"{work}/damaged.h5"
        open(path, "wb").write(data)
        code = verify(path)
        if code != 65: missed[kind].append(f"{how} at {at} of {len(whole[kind])}: exit code {code}")
for kind in kinds:
    if not missed[kind]: print(f"ok flips: {flips} changed bytes, {2 * max(1, flips // 10)} other lengths of a {kind} are found")
    for text in missed[kind]: print(f"not ok flips: {kind}: {text}"); bad += 1
sys.exit(bad > 0)
END
"$python" "$work/damage.py" "$signet" "$work" "$flips" "$seed" || failures=$((failures + 1))
finish
