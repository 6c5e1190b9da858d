#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lab: --init systemd --cgroup v1
# --systemd-cgroup on a host with cgroup v1: scopes, and the hierarchies that systemd leaves alone.
set -u
# shellcheck source=SCRIPTDIR/../lib/cgroup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/cgroup.sh"
# shellcheck source=SCRIPTDIR/../lib/systemd.sh
. "$here/lib/systemd.sh"
cg=/sys/fs/cgroup
mib=1048576
unit=docker-c1.scope
[ "$(cat /proc/1/comm)" = systemd ] || fail "process 1 is $(cat /proc/1/comm)"
[ "$(stat -fc %T $cg)" = tmpfs ] || fail "this host has no cgroup v1 but $(stat -fc %T $cg)"

spec '.linux.cgroupsPath = "system.slice:docker:c1" | .linux.resources = {
    memory: {limit: 67108864}, cpu: {shares: 512, quota: 50000, cpus: "1"}, pids: {limit: 20}}'
look() {
    local others
    others=$(grep -v ":/system.slice/$unit\$" "/proc/$pid/cgroup" | grep -v '^0::')
    [ -z "$others" ] || fail "not in every hierarchy: $others"
    is $cg/memory/system.slice/$unit/memory.limit_in_bytes $((193 * mib))
    is $cg/cpu/system.slice/$unit/cpu.shares 512
    is $cg/cpu/system.slice/$unit/cpu.cfs_quota_us 50000
    is $cg/cpuset/system.slice/$unit/cpuset.cpus 1
    is $cg/pids/system.slice/$unit/pids.max 117
    [ "$(property $unit MemoryLimit)" = $((193 * mib)) ] || fail "MemoryLimit: $(property $unit MemoryLimit)"
}
life look
gone $unit
unit_gone $unit
wrong_forms
[ $bad = 0 ]
