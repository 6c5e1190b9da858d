#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Memory that runs out, as engines see it: the guest kernel kills the process and its status is 137; the host's cgroup,
# which runc's shim watches, has killed nothing, so that there is no event and no OOMKilled. When the host kills the VM
# for its cgroup's limit, both are as under runc. docs/engines.md says so; this sees that it is true.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
(exec timeout 800 ctr -a "$E/containerd.sock" events) >"$E/events" 2>&1 &
events=$!
say 'dockerd is up'
ooms() { # how many events of containerd
    grep -c /tasks/oom "$E/events"
}
oom_killed() {
    dk inspect -f '{{.State.OOMKilled}}' "$1"
}

# What it looks like under runc.
r=runc
dk_run -d --name c0 -m 64m bb:1 sh -c 'exec tail /dev/zero' >"$E/id"
[ "$(dk wait c0)" = 137 ] || fail 'runc: status of one out of memory'
shown=$(oom_killed c0)
dk rm c0 >"$E/rm"
before=$(ooms)
say "runc: OOMKilled $shown, events $before"

# The workload's first process wants more than the container may have.
r=husk
dk_run -d --name c1 -m 64m bb:1 sh -c 'exec tail /dev/zero' >"$E/id"
[ "$(dk wait c1)" = 137 ] || fail "status of one out of memory: $(dk inspect -f '{{.State.ExitCode}}' c1)"
[ "$(oom_killed c1)" = false ] || fail 'OOMKilled for an OOM of the guest: docs/engines.md says no'
dk rm c1 >"$E/rm"
# A process below the first: the container goes on, and husk tells of it.
dk_run -d --init --name c2 -m 64m bb:1 sh -c 'while :; do sleep 1; done' >"$E/id"
id=$(dk inspect -f '{{.Id}}' c2)
dk exec c2 tail /dev/zero
[ $? = 137 ] || fail 'status of an exec out of memory'
[ "$(dk inspect -f '{{.State.Status}}' c2)" = running ] || fail 'an OOM of an exec ended the container'
root=$(dirname "$(find "$E"/docker-run/runtime-* -type d -name "$id")")
"$husk" --root "$root" events --stats "$id" >"$E/stats" || fail 'events --stats'
jq -e '.data.memory.usage.usage < 70000000' "$E/stats" >"$E/stats.ok" || fail "events --stats: not the guest's: $(cat "$E/stats")"
[ "$(ooms)" = "$before" ] || fail "an event of an OOM in the guest: $(grep oom "$E/events")"
# Statistics are those of the VM.
dk stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' c2 | tee "$E/stats.docker"
grep -qE '^[0-9.]+MiB / [0-9.]+MiB [0-9]+$' "$E/stats.docker" || fail "docker stats: $(cat "$E/stats.docker")"
ct -n moby task metrics "$id" >"$E/metrics" || fail 'ctr task metrics'
grep -E 'memory.usage|pids.current|cpu.usage' "$E/metrics"
say 'guest'

# The host: the VM's own cgroup has no room any more.
pid=$(dk inspect -f '{{.State.Pid}}' c2)
echo $((8 << 20)) >"/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")/memory.max"
[ "$(dk wait c2)" = 137 ] || fail 'status of a VM that the host has killed'
[ "$(oom_killed c2)" = "$shown" ] || fail "OOMKilled is $(oom_killed c2) when the host has killed the VM, $shown under runc"
dk rm c2 >"$E/rm"
[ "$before" = 0 ] || [ "$(ooms)" -gt "$before" ] || fail 'no event when the host has killed the VM'
kill $events
wait $events
dockerd_stop
engine_clean
engine_end
