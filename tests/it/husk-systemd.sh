#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lab: --init systemd
# --systemd-cgroup on a host with cgroup v2: scopes over the bus, their limits, their end.
set -u
# shellcheck source=SCRIPTDIR/../lib/cgroup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/cgroup.sh"
# shellcheck source=SCRIPTDIR/../lib/systemd.sh
. "$here/lib/systemd.sh"
mib=1048576
unit=crio-c1.scope
[ "$(cat /proc/1/comm)" = systemd ] || fail "process 1 is $(cat /proc/1/comm)"

spec '.linux.cgroupsPath = "huskit-pods.slice:crio:c1" | .linux.resources = {
    memory: {limit: 67108864, swap: 134217728},
    cpu: {shares: 1024, quota: 33333, period: 100000, cpus: "1"}, pids: {limit: 20}}'
look() {
    local d=/sys/fs/cgroup/huskit.slice/huskit-pods.slice/$unit
    is "/proc/$pid/cgroup" 0::/huskit.slice/huskit-pods.slice/$unit
    is $d/memory.max $((193 * mib))
    is $d/cpu.max '33333 100000'
    is $d/cpu.weight 39
    is $d/pids.max 117
    is $d/cpuset.cpus 1
    [ "$(property $unit MemoryMax)" = $((193 * mib)) ] || fail "MemoryMax: $(property $unit MemoryMax)"
    [ "$(property $unit TasksMax)" = 117 ] || fail "TasksMax: $(property $unit TasksMax)"
    [ "$(property $unit CPUWeight)" = 39 ] || fail "CPUWeight: $(property $unit CPUWeight)"
    [ "$(property $unit Delegate)" = yes ] || fail 'not delegated'
    # Who reloads systemd takes nothing back.
    systemctl daemon-reload
    is $d/memory.max $((193 * mib))
    is $d/pids.max 117
    is "/proc/$pid/cgroup" 0::/huskit.slice/huskit-pods.slice/$unit
}
life look
gone $unit
unit_gone $unit

# Without a path, and to its own end.
spec '.process.args = ["sh", "-c", "exit 3"]'
h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err"
rc=$?
[ $rc = 3 ] || fail "status $rc: $(cat "$TMP/err")"
gone husk-c1.scope
unit_gone husk-c1.scope

# The CLI killed while the container is made: the scope goes with its process.
# shellcheck disable=SC2016 # for the hook's shell
spec '.linux.cgroupsPath = ":crio:c1" | .hooks.createContainer = [{"path": "/bin/sh",
    "args": ["sh", "-c", "kill -9 $(cat '"$TMP"'/cli)"]}]'
# shellcheck disable=SC2016 # for the other shell
timeout 60 bash -c 'echo $$ >"$0/cli"; exec "$@"' "$TMP" "$husk" --root "$root" --systemd-cgroup create \
    --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1
h delete --force c1
gone $unit
unit_gone $unit

wrong_forms
# No bus: said, and nothing left.
spec '.linux.cgroupsPath = ":crio:c1"'
unshare -m bash -c 'mount -t tmpfs tmpfs /run/dbus && exec "$@"' - "$husk" --root "$root" --systemd-cgroup \
    run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'without a bus'
grep -q 'D-Bus: .*No such file' "$TMP/err" || fail "without a bus: $(cat "$TMP/err")"
gone $unit
[ $bad = 0 ]
