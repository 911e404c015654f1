#!/bin/bash
# The shell scripts: syntax, and what jobs/slurm/sweep.sh and jobs/setup.sh do with stand-ins for the programs they call.
set -u
cd "$(dirname "$0")/../.." || exit 70
folder=$(mktemp -d) || exit 73
trap 'rm -rf "$folder"' EXIT
failed=0

check() { # NAME WHY COMMAND...
    local name=$1 why=$2
    shift 2
    if "$@"; then
        echo "ok $name"
    else
        echo "not ok $name: $why"
        failed=1
    fi
}

for script in jobs/*.sh jobs/*/*.sh tests/*.sh tests/*/*.sh .ci/run; do
    [ -e "$script" ] || continue
    shell=$(sed -n '1s/^#!.*[/ ]//p' "$script")
    check "syntax of $script" "see standard error" "$shell" -n "$script"
done

# A launcher that, like mpirun, dies of TERM and passes USR1 on: here to itself.
cat >"$folder/mpirun" <<'END'
#!/bin/bash
echo "launched $*"
if [ -n "${STAND_IN_CODE:-}" ]; then exit "$STAND_IN_CODE"; fi
trap 'sleep 0.3; echo "checkpoint written"; exit 75' USR1
trap 'echo "killed by TERM"; exit 1' TERM
: >"$STAND_IN_READY"
for _ in $(seq 100); do sleep 0.1; done
END
cat >"$folder/scontrol" <<'END'
#!/bin/sh
echo "scontrol $*"
END
chmod +x "$folder/mpirun" "$folder/scontrol"
export PATH="$folder:$PATH" STAND_IN_READY="$folder/ready" SLURM_NTASKS=3 SLURM_CPUS_PER_TASK=2
export SLURM_SUBMIT_DIR=$PWD
unset MPIRUN SIGNET

SLURM_JOB_ID=17 bash jobs/slurm/sweep.sh a/b.cfg >"$folder/log" 2>&1 &
job=$!
for _ in $(seq 300); do
    [ -e "$folder/ready" ] && break
    sleep 0.1
done
kill -TERM "$job"
wait "$job"
code=$?
check "sweep.sh passes TERM on as USR1" "$(cat "$folder/log")" grep -q 'checkpoint written' "$folder/log"
check "sweep.sh never sends TERM to mpirun" "$(cat "$folder/log")" bash -c "! grep -q 'killed by TERM' '$folder/log'"
check "sweep.sh queues again after 75" "$(cat "$folder/log")" grep -q '^scontrol requeue 17$' "$folder/log"
check "sweep.sh ends with 0 once queued again" "exit code $code" [ "$code" = 0 ]
check "sweep.sh launches all tasks on a folder named for the configuration" "$(cat "$folder/log")" \
    grep -q -- '--map-by slot:PE=2 --bind-to core -n 3 ./signet run a/b.cfg --out runs/b --wait$' "$folder/log"

for expected in 0 1 78; do
    STAND_IN_CODE=$expected SLURM_JOB_ID=17 bash jobs/slurm/sweep.sh a.cfg out --retry-failed >"$folder/log" 2>&1
    code=$?
    check "sweep.sh ends with the run's $expected" "exit code $code" [ "$code" = "$expected" ]
    check "sweep.sh does not queue again after $expected" "$(cat "$folder/log")" \
        bash -c "! grep -q scontrol '$folder/log'"
done
check "sweep.sh passes options on" "$(cat "$folder/log")" \
    grep -q -- 'run a.cfg --out out --wait --retry-failed$' "$folder/log"
bash jobs/slurm/sweep.sh >"$folder/log" 2>&1
code=$?
check "sweep.sh without a configuration is a usage error" "exit code $code" [ "$code" = 64 ]

# No library is found, nobody is root, nothing can be installed: setup.sh says what to do.
mkdir "$folder/bin"
for tool in sh dirname make cat sed mktemp mkdir mv rm head grep uname; do
    ln -s "$(command -v "$tool")" "$folder/bin/$tool"
done
printf '#!/bin/sh\necho 1000\n' >"$folder/bin/id"
chmod +x "$folder/bin/id"
PATH="$folder/bin" BUILD="$folder/build" sh jobs/setup.sh >"$folder/log" 2>&1
code=$?
check "setup.sh that cannot install ends with 69" "exit code $code" [ "$code" = 69 ]
for remedy in 'apt-get install build-essential' 'dnf install' 'spack install' 'module load' 'mpicc is missing'; do
    check "setup.sh that cannot install says: $remedy" "$(cat "$folder/log")" grep -q "$remedy" "$folder/log"
done
bash jobs/setup.sh nonsense >"$folder/log" 2>&1
code=$?
check "setup.sh with an unknown argument is a usage error" "exit code $code" [ "$code" = 64 ]
exit "$failed"
