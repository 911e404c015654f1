#!/bin/bash
# A Slurm cluster of this one machine, on loopback, with everything in one folder:
#
#     tests/slurm/cluster.sh start DIR     starts munged, slurmctld and slurmd, and waits until the node is idle
#     . DIR/env                            then sbatch, squeue ... talk to it
#     tests/slurm/cluster.sh stop DIR      cancels all jobs and stops the three
#
# As root. Logs: DIR/*.log. Exit code 69 when Slurm or munge is not installed (jobs/setup.sh slurm).
set -u
usage() {
    echo "usage: tests/slurm/cluster.sh start|stop DIR" >&2
    exit 64
}
[ $# = 2 ] || usage
mkdir -p "$2" || exit 73
dir=$(cd "$2" && pwd) || exit 66

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

write_files() {
    local host cpus
    host=$(hostname -s) cpus=$(nproc)
    mkdir -p "$dir/state" "$dir/spool" || exit 73
    # munge wants a socket that others can reach and a key that they cannot.
    chmod 711 "$dir"
    head -c 1024 /dev/urandom >"$dir/munge.key" && chmod 400 "$dir/munge.key"
    cat >"$dir/slurm.conf" <<END
ClusterName=signet
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
JobRequeue=1
KillWait=5
MinJobAge=3600
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
    printf 'export SLURM_CONF=%s\n' "$dir/slurm.conf" >"$dir/env"
}

start() {
    local program
    for program in munged slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || { echo "cluster.sh: $program is missing: jobs/setup.sh slurm" >&2; exit 69; }
    done
    [ "$(id -u)" = 0 ] || { echo "cluster.sh: starts daemons, and so needs root" >&2; exit 77; }
    write_files
    export SLURM_CONF="$dir/slurm.conf"
    munged --force --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" \
        --seed-file="$dir/munge.seed" --log-file="$dir/munged.log" || exit 70
    slurmctld -c || exit 70
    slurmd -c || exit 70
    for _ in $(seq 150); do
        [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && return 0
        sleep 0.2
    done
    echo "cluster.sh: the node is not idle after 30 s:" >&2
    tail -n 5 "$dir"/slurm*.log >&2
    stop
    exit 70
}

stop() {
    local name pid
    export SLURM_CONF="$dir/slurm.conf"
    timeout 10 scancel --full --state=PENDING >/dev/null 2>&1
    timeout 10 scancel --full --signal=KILL --state=RUNNING >/dev/null 2>&1
    for name in slurmd slurmctld munged; do
        pid=$(cat "$dir/$name.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null
    done
    return 0
}

case $1 in
start | stop) "$1" ;;
*) usage ;;
esac
