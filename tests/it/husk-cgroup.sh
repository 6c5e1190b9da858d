#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The container's cgroup on a host with cgroup v2 and no systemd: place, limits with the overhead, wrong
# ones, and that nothing stays.
set -u
# shellcheck source=SCRIPTDIR/../lib/cgroup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/cgroup.sh"
cg=/sys/fs/cgroup
mib=1048576

# Every kind of limit, and the process in it from create on.
spec '.linux.cgroupsPath = "/husk-itcg/cg/c1" | .linux.resources = {
    memory: {limit: 67108864, swap: 134217728, reservation: 33554432},
    cpu: {shares: 1024, quota: 150000, period: 100000, cpus: "0-1", mems: "0"},
    pids: {limit: 20}}'
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>"$TMP/err" ||
    fail "create: $(cat "$TMP/err")"
pid=$(cat "$TMP/pid")
is "/proc/$pid/cgroup" 0::/husk-itcg/cg/c1
d=$cg/husk-itcg/cg/c1
# 64 MiB and 64 MiB for guest kernel and agent, at least 128; 64 MiB for the VMM, 1 for page tables.
is $d/memory.max $((193 * mib))
is $d/memory.low $((32 * mib))
[ ! -e $d/memory.swap.max ] || is $d/memory.swap.max $((64 * mib))
is $d/cpu.max '150000 100000'
is $d/cpu.weight 39
is $d/cpuset.cpus 0-1
# 20 of the container, 96 of the VMM, 2 vCPUs.
is $d/pids.max 118
[ "$(jq -c .vm "$root/c1/state.json")" = \
    "{\"memory\":$((128 * mib)),\"memoryMax\":$(jq .vm.memoryMax "$root/c1/state.json"),\"guest\":$((64 * mib)),\"host\":$((64 * mib)),\"vcpus\":2,\"vcpusMax\":$(getconf _NPROCESSORS_ONLN)}" ] ||
    fail "state: $(jq -c .vm "$root/c1/state.json")"
h create --bundle "$b" c2 </dev/null 2>"$TMP/err" && fail 'two containers in one cgroup'
grep -q 'has processes in it already' "$TMP/err" || fail "two in one: $(cat "$TMP/err")"
# Killed at once, and cleaned up by delete alone.
kill -9 "$pid"
h delete --force c1 || fail 'delete --force'
gone c1
[ ! -e $cg/husk-itcg ] || fail 'parents that husk made are left'

# A parent that is not ours stays, with what it allows.
mkdir -p $cg/husk-parent
spec '.linux.cgroupsPath = "/husk-parent/c1"'
h run -d --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1 || fail 'run in a parent of others'
is $cg/husk-parent/c1/memory.max max
h delete --force c1 || fail 'delete in a parent of others'
gone c1
rmdir $cg/husk-parent || fail 'the parent of others is not as it was'

# A relative path is beside the caller's own cgroup.
mkdir -p $cg/husk-rel/caller
spec '.linux.cgroupsPath = "c1"'
# shellcheck disable=SC2016 # for the other shell
timeout 120 bash -c 'echo 0 >/sys/fs/cgroup/husk-rel/caller/cgroup.procs; exec "$@"' - \
    "$husk" --root "$root" run -d --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>&1 ||
    fail "relative path: $(cat "$TMP/out")"
is "/proc/$(cat "$TMP/pid")/cgroup" 0::/husk-rel/c1
h delete --force c1 || fail 'delete of the relative one'
gone c1
rmdir $cg/husk-rel/caller $cg/husk-rel || fail 'the caller'\''s cgroup is not empty'

# Wrong limits: refused by name, nothing left.
refused '.linux.cgroupsPath = "/husk-itcg/c1" | .linux.resources.cpu.cpus = "77"' \
    "cgroup /sys/fs/cgroup/husk-itcg/c1: cpuset.cpus = '77'"
refused '.linux.cgroupsPath = "/husk-itcg/c1" | .linux.resources.cpu.cpus = "x"' \
    'linux.resources.cpu.cpus'
refused '.linux.cgroupsPath = "/husk-itcg/c1" | .linux.resources.memory = {limit: 1000000, swap: 5}' \
    'linux.resources.memory.swap: below memory.limit'
refused '.linux.cgroupsPath = "/husk-itcg/c1" | .linux.resources.network = {classID: 1048577}' \
    'linux.resources.network: this host has cgroup v2'
refused '.linux.cgroupsPath = "/husk-itcg/../c1"' "has '..' in it"

[ $bad = 0 ]
