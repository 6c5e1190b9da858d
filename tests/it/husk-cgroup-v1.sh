#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lab: --cgroup v1
# The container's cgroup on a host with cgroup v1: in every hierarchy, with limits in v1's files.
set -u
# shellcheck source=SCRIPTDIR/../lib/cgroup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/cgroup.sh"
cg=/sys/fs/cgroup
mib=1048576
[ "$(stat -fc %T $cg)" = tmpfs ] || fail "this host has no cgroup v1 but $(stat -fc %T $cg)"

spec '.linux.cgroupsPath = "/husk-it/c1" | .linux.resources = {
    memory: {limit: 67108864, reservation: 33554432},
    cpu: {shares: 512, quota: 50000, period: 100000, cpus: "1"}, pids: {limit: 20},
    network: {classID: 1048577}}'
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>"$TMP/err" ||
    fail "create: $(cat "$TMP/err")"
pid=$(cat "$TMP/pid")
[ "$(grep -cv ':/husk-it/c1$' "/proc/$pid/cgroup")" = "$(grep -c '^0::' "/proc/$pid/cgroup")" ] ||
    fail "not in every hierarchy: $(cat "/proc/$pid/cgroup")"
is $cg/memory/husk-it/c1/memory.limit_in_bytes $((193 * mib))
is $cg/memory/husk-it/c1/memory.soft_limit_in_bytes $((32 * mib))
is $cg/cpu/husk-it/c1/cpu.shares 512
is $cg/cpu/husk-it/c1/cpu.cfs_quota_us 50000
is $cg/cpuset/husk-it/c1/cpuset.cpus 1
is $cg/pids/husk-it/c1/pids.max 117
is $cg/net_cls/husk-it/c1/net_cls.classid 1048577
h start c1 || fail 'start'
h state c1 >"$TMP/state.out" || fail 'state'
[ "$(jq -r .status "$TMP/state.out")" = running ] || fail "$(cat "$TMP/state.out")"
kill -9 "$pid"
h delete --force c1 || fail 'delete --force'
gone c1
[ -z "$(cgroups_named husk-it)" ] || fail "parents are left: $(cgroups_named husk-it)"

# Killed while it is made: the CLI's end undoes, in every hierarchy.
# shellcheck disable=SC2016 # for the hook's shell
spec '.linux.cgroupsPath = "/husk-it/c1" | .hooks.createContainer = [{"path": "/bin/sh",
    "args": ["sh", "-c", "kill -9 $(cat '"$TMP"'/cli)"]}]'
# shellcheck disable=SC2016 # for the other shell
timeout 60 bash -c 'echo $$ >"$0/cli"; exec "$@"' "$TMP" "$husk" --root "$root" create --bundle "$b" c1 \
    </dev/null >"$TMP/out" 2>&1
h delete --force c1
gone c1

# A small memory limit: the guest kills inside, the machine lives.
spec '.linux.cgroupsPath = "/husk-it/c1" | .linux.resources.memory = {limit: 67108864} |
    .process.args = ["sh", "-c", "(tail -c 90000000 /dev/zero; echo rc $?); echo alive"]'
h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail "pressure: $(cat "$TMP/err")"
grep -q '^rc 137' "$TMP/out" || fail "pressure: $(cat "$TMP/out" "$TMP/err")"
grep -q '^alive' "$TMP/out" || fail "pressure: $(cat "$TMP/out")"
gone c1

spec '.linux.cgroupsPath = "/husk-it/c1" | .linux.resources.unified = {"cpu.weight": "5"}'
h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'unified keys on a v1 host'
grep -q 'linux.resources.unified: this host has cgroup v1' "$TMP/err" || fail "unified: $(cat "$TMP/err")"
gone c1
[ $bad = 0 ]
