#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# podman with conmon, what podman.sh has not: terminals of run and exec, an imported image, init and attach, top,
# stats, update, healthcheck, directories copied both ways, restart, wait, kill, logs that follow. Each case under
# runc and under husk has to print the same.
# shellcheck disable=SC2016 # expanded in the container
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
podman_setup
export DISABLE_HC_SYSTEMD=true # no timers: the checks are run by hand
tar -C "$E/root" -cf "$E/root.tar" .
pm import -q -c 'CMD ["sh"]' -c 'ENV PATH=/bin' "$E/root.tar" localhost/bb:1 >"$E/import.log" 2>&1 ||
    fail "import: $(cat "$E/import.log")"
say 'the image is there'

pr() { # podman, with this case's runtime
    pm --runtime "$r" "$@"
}
pr_run() {
    pr run --network none --cgroups enabled "$@"
}
tty() { # tty STEPS ARG...: podman ARG... on a terminal of its own
    on_tty "$1" podman "${podman_opts[@]}" --runtime "$r" "${@:2}"
}

terminal() {
    tty 'expect # 
send tty; stty size; echo $TERM\n
expect pts/0\s+30 90\s+xterm
size 100 40
send until [ "$(stty size)" = "40 100" ]; do sleep 0.1; done; echo siz""ed\n
expect sized
expect # 
send sh -c "echo go""ing; exec sleep 1000"\n
expect going\s
send \x03
expect # 
send exit 7\n
cooked' run --network none --cgroups enabled --name "$c" -it localhost/bb:1 sh
    rc pr rm "$c" | tail -n 1
    tty 'expect # 
send exit 8\n
cooked' run --network none --cgroups enabled --rm -it --rootfs "$E/root" /bin/sh
}
exec_terminal() {
    pr_run -d --name "$c" localhost/bb:1 sleep 1000 >"$E/id.$c"
    tty 'expect # 
send until [ "$(stty size)" = "30 90" ]; do sleep 0.1; done; tty\n
expect pts/0
size 77 33
send until [ "$(stty size)" = "33 77" ]; do sleep 0.1; done; echo siz""ed\n
expect sized
send exit 5\n
cooked' exec -it "$c" sh
    rc pr exec -d "$c" sh -c 'echo detached >/tmp/d'
    until_ok pr exec "$c" grep -q detached /tmp/d
    rc pr kill "$c" | tail -n 1
    rc pr wait "$c"
    rc pr rm "$c" | tail -n 1
}
running() {
    [ "$(pm inspect -f '{{.State.Status}}' "$c")" = "$1" ]
}
manage() {
    rc pr create --network none --cgroups enabled -m 200m --name "$c" --health-cmd 'test -e /ok' --health-retries 1 \
        --health-interval disable localhost/bb:1 sh -c 'trap "echo bye; exit 4" TERM; echo up; read x; echo "$x"; while :; do sleep 0.2; done' |
        tail -n 1
    rc pr init "$c"
    running initialized || pm inspect -f '{{.State.Status}}' "$c"
    mkdir -p "$E/dir.$c/sub"
    echo inner >"$E/dir.$c/sub/file"
    rc pr cp "$E/dir.$c" "$c:/tmp/dir"
    rc pr start "$c"
    rc pr exec "$c" cat /tmp/dir/sub/file
    rc pr exec "$c" sh -c 'mkdir /tmp/out; echo outer >/tmp/out/file'
    rc pr cp "$c:/tmp/out" "$E/back.$c"
    cat "$E/back.$c/file"
    rc pr top "$c" -o pid,comm | head -n 2
    echo "top without ps: $(pr top "$c" | sed 1d | wc -l)"
    rc pr stats --no-stream --format '{{.Name}} {{.MemLimit}} {{.PIDs}}' "$c" | sed -E 's/ [0-9]+$/ N/'
    rc pr healthcheck run "$c" | tail -n 1
    pr exec "$c" touch /ok
    rc pr healthcheck run "$c" | tail -n 1
    pm inspect -f '{{.State.Health.Status}}' "$c"
    rc pr update --memory 100m "$c" | tail -n 1
    rc pr exec "$c" cat /sys/fs/cgroup/memory.max
    rc pr restart -t 30 "$c" | tail -n 1
    rc pr exec "$c" cat /tmp/out/file
    rc pr stop -t 30 "$c" | tail -n 1
    pm inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$c"
    rc pr cp "$c:/tmp/out/file" -  | tar -xO
    rc pr logs "$c"
    rc pr rm "$c" | tail -n 1
}
# Attached input and output; a container that is removed while it runs.
attach() {
    { echo one && echo two; } | rc pr_run -i --name "$c" localhost/bb:1 sh -c 'cat; echo end; exit 6'
    rc pr start -a "$c" </dev/null
    rc pr rm "$c" | tail -n 1
    rc pr_run -d --name "$c" localhost/bb:1 sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done; exec sleep 1000' | tail -n 1
    timeout 100 podman "${podman_opts[@]}" logs -f "$c" 2>&1 | head -n 3
    rc pr rm -f -t 0 "$c" | tail -n 1
    rc pr ps -aq --filter "name=$c"
}

for case in terminal exec_terminal attach; do
    same $case
done
same manage 'podman itself reads /proc on the host, and the container has its own in the guest' '/^top without ps: [0-9]+$/d'
podman_end
[ ! -d /sys/fs/cgroup/podman_probe ] || rmdir /sys/fs/cgroup/podman_probe # podman's own, of its update
engine_clean
engine_end
