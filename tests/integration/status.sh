#!/bin/bash
# What `status` shows of a run: while it runs, when it was killed, when a stage failed, when it is done.
. "$(dirname "$0")/../testing.sh"
write_tiny
dir=$work/run
sg_start 1 run "$work/tiny.cfg" --out "$dir" --set search.round_epochs=40
if wait_for 60 has_files "$dir" progress 1; then ok "status: a stage reports"; else not_ok "status: a stage reports" "none" show; fi
wait_for 60 grep -rqs 'images/s' "$dir/stages" --include progress
"$signet" status "$dir" >"$work/out" 2>"$work/err"
if grep -Eq '^running .*train .*loss [0-9.]+, accuracy [0-9.]+ %, [0-9]+ images/s' "$work/out"; then ok "status: a running stage has loss, accuracy and images/s"
else not_ok "status: a running stage has loss, accuracy and images/s" "no such line" show; fi
expect_text "status: who runs it" "$work/out" "run by host"
timeout 5 "$signet" status "$dir" --watch >"$work/watched" 2>&1
expect_equal "status: --watch goes on while stages are left" $? 124
if [ "$(grep -c 'stages done' "$work/watched")" -ge 2 ]; then ok "status: --watch shows it again and again"
else not_ok "status: --watch shows it again and again" "$(cat "$work/watched")"; fi
kill_job
sg 0 status "$dir" --json
expect_code "status: of a killed run" 0
tail -n 1 "$work/out" | "$python" -c 'import json, sys; r = json.load(sys.stdin); sys.exit(r["stages"] != 12 or "pending" not in r)' &&
    ok "status: the last line of --json is the run" || not_ok "status: the last line of --json is the run" "no" show

# A training that diverges: the stage fails, the rest waits for it, status says why and what to do.
sg 1 run "$work/tiny.cfg" --out "$work/diverged" --set train.lr=1e6
expect_code "status: a run with a failed stage" 1
sg 0 status "$work/diverged"
expect_text "status: the last error" "$work/out" "last error, "
expect_text "status: a diverged round is a symptom" "$work/out" "symptom: Diverged rounds: 1 of 1 rounds"
expect_text "status: the remedy" "$work/out" "lower train.lr"
sg 0 status "$work/diverged" --watch
expect_code "status: --watch ends where nothing can go on" 0
finish
