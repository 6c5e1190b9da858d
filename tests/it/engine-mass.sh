#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Many containers through Docker, and murder in the middle: afterwards no process, mount, descriptor,
# cgroup, network namespace or directory is left. ROW containers are started, used and removed in a row (4; the
# full test takes 100), then GROUPS times GROUP of them at once (1 of 4; 5 of 20).
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start --live-restore
docker_image
say 'dockerd is up'
r=husk

use() { # use NAME: one life
    local c=$1 got
    # dockerd gives all of a removal 10 seconds, which are little where 20 come at once: then a user asks again.
    got=$(dk_run -d --init --name "$c" bb:1 sh -c 'trap "exit 3" TERM; while :; do sleep 0.2; done' &&
        dk exec "$c" sh -c "echo used >/tmp/$c; cat /tmp/$c" && { dk rm -f "$c" || dk rm -f "$c"; })
    [ "$(tail -n +2 <<<"$got")" = "used
$c" ] || fail "container $c: $got"
}
held() { # what the daemons hold: descriptors (but for those of idle connections), mounts, namespaces
    local pid
    for pid in $dockerd_pid $containerd_pid; do
        find "/proc/$pid/fd" -lname '/*' -printf '%l\n' 2>/dev/null | grep -vE '^/(dev|proc|sys)/'
    done | grep -vE 'boltdb|\.db|containers/[0-9a-f]*$' | sort | uniq -c
    cut -d' ' -f2,3 /proc/self/mounts | sort
    lsns -nt net -o NS,PATH
    engine_cgroups | grep -vx /sys/fs/cgroup/docker # of all containers; engine_clean looks whether it is empty
}
id_of() {
    dk inspect -f '{{.Id}}' "$1"
}
pid_of() {
    dk inspect -f '{{.State.Pid}}' "$1"
}
ended() { # ended NAME WHAT: the engine noticed, can remove it, and its machine is gone
    local pid=$3
    dk wait "$1" >"$E/wait" || fail "$2: wait"
    [ "$(cat "$E/wait")" = 137 ] || fail "$2: status $(cat "$E/wait")"
    dk rm -f "$1" >"$E/rm" 2>&1 || fail "$2: rm: $(cat "$E/rm")"
    LIMIT=20 until_ok test ! -e "/proc/$pid"
}

use first
held >"$E/held.before"
for ((i = 1; i < ${ROW:-4}; i++)); do
    use "row-$i"
done
say "${ROW:-4} in a row"
for ((g = 0; g < ${GROUPS_:-1}; g++)); do
    pids=()
    for ((i = 0; i < ${GROUP:-4}; i++)); do
        use "group-$g-$i" &
        pids+=($!)
    done
    wait "${pids[@]}"
done
say "${GROUPS_:-1} times ${GROUP:-4} at once"
held | diff "$E/held.before" - || fail 'the daemons hold more than before'

# Murder. The sandbox process: the container ends with 137.
dk_run -d --name m1 bb:1 sleep 1000 >"$E/id"
pid=$(pid_of m1)
kill -9 "$pid"
ended m1 'kill -9 of the sandbox process' "$pid"

# A stand-in: its process ends in the guest and exec with 137; the container goes on.
dk_run -d --init --name m2 bb:1 sleep 1000 >"$E/id"
dk exec m2 sh -c 'echo up >/up; exec sleep 2000' &
cli=$!
until_ok dk exec m2 test -s /up
shim=$(pgrep -f "containerd-shim-runc-v2.*$(cat "$E/id")")
standin=$(pgrep -P "$shim" | grep -vx "$(pid_of m2)")
[ "$(wc -w <<<"$standin")" = 1 ] || fail "children of the shim: $(pgrep -laP "$shim")"
kill -9 "$standin"
wait $cli
[ $? = 137 ] || fail 'kill -9 of a stand-in: status of exec'
until_ok dk exec m2 sh -c '! pgrep -f "sleep 2000" >/dev/null'
[ "$(dk inspect -f '{{.State.Status}}' m2)" = running ] || fail 'kill -9 of a stand-in ended the container'
say 'sandbox process and stand-in killed'

# The engine: with live-restore containers go on, and can be used by the next one.
kill -9 "$dockerd_pid"
wait "$dockerd_pid"
dockerd_start --live-restore
[ "$(dk exec m2 cat /up)" = up ] || fail 'after kill -9 of dockerd'
# containerd as well.
kill -9 "$containerd_pid"
wait "$containerd_pid"
containerd_start
until_ok dk exec m2 true
say 'engines killed'

# The shim: containerd has the runtime delete what is left.
pid=$(pid_of m2)
kill -9 "$(pgrep -f "containerd-shim-runc-v2.*$(cat "$E/id")")"
ended m2 'kill -9 of the shim' "$pid"
say 'shim killed'

dockerd_stop
umount "$E/docker" # the bind mount of the dockerd that could not take it away
engine_clean
engine_end
