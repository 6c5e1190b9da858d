#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Docker: changing containers while they run: cp both ways, diff, commit, pause, update. Each case under runc and
# under husk has to print the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
say 'dockerd is up'

copies() {
    dk_run -d --init --name "$c" bb:1 sleep 10000
    mkdir -p "$E/cp.$r/dir"
    head -c 100000 /dev/urandom >"$E/cp.$r/dir/data"
    ln -s data "$E/cp.$r/dir/link"
    rc dk cp "$E/cp.$r/dir" "$c:/tmp/"
    dk exec "$c" sh -c 'cd /tmp/dir && ls -A && readlink link && md5sum <data >sum && echo in >/tmp/x && cat sum' |
        sed "s/$(md5sum <"$E/cp.$r/dir/data")/the sum/"
    rc dk cp "$c:/tmp/dir" "$E/back.$r"
    ls -A "$E/back.$r"
    cmp "$E/back.$r/data" "$E/cp.$r/dir/data" && echo equal
    dk diff "$c" | sort
    dk commit "$c" "$c:kept" >"$E/commit.$r" && echo committed
    dk_run --rm "$c:kept" cat /tmp/x
    dk rmi "$c:kept" >"$E/rmi.$r"
    dk rm -f "$c"
}
pauses() {
    mkdir "$E/vol.$r"
    # shellcheck disable=SC2016
    dk_run -d --init --name "$c" -v "$E/vol.$r:/e" bb:1 sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/e/n; sleep 0.1; done'
    until_ok test -s "$E/vol.$r/n"
    rc dk pause "$c"
    dk inspect -f '{{.State.Status}} {{.State.Paused}}' "$c"
    cat "$E/vol.$r/n" >"$E/then.$r"
    rc dk exec "$c" true
    cmp "$E/vol.$r/n" "$E/then.$r" && echo stands still
    rc dk unpause "$c"
    until_ok sh -c "! cmp -s '$E/vol.$r/n' '$E/then.$r'"
    dk inspect -f '{{.State.Status}} {{.State.Paused}}' "$c"
    rc dk unpause "$c"
    rc dk pause "$c"
    rc dk rm -f "$c"
}
updates() {
    dk_run -d --init --name "$c" --memory 64m --memory-swap 64m bb:1 sleep 10000
    dk exec "$c" cat /sys/fs/cgroup/memory.max
    rc dk update --memory 48m --memory-swap 48m --pids-limit 33 --cpus 0.5 "$c"
    dk exec "$c" sh -c 'cd /sys/fs/cgroup; cat memory.max pids.max cpu.max'
    rc dk update --memory 96m --memory-swap 96m "$c"
    dk exec "$c" cat /sys/fs/cgroup/memory.max
    dk rm -f "$c"
}

for case in copies pauses updates; do
    same $case
done
dockerd_stop
engine_clean
engine_end
