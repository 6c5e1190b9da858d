#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the scripts that drive husk through engines share; they source it first. It gives a script mount,
# network and PID namespaces of its own, so that daemons, bridges and mounts end with it whatever
# happens; daemons with all their data below $E; images of busybox; `same`, which does something under
# runc and under husk and compares; and `engine_clean`, which looks for what was left behind.
#
# Engines are Debian's, called by path where another one may come first in PATH.
set -u
if [ $$ != 1 ]; then
    # PID 1 of a namespace: bash reaps orphans, and the kernel ends what is left with it.
    exec unshare --mount --net --pid --fork --kill-child --mount-proc bash "$0" "$@"
fi
engine_lib=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
E=$TMP/e
husk=$E/bin/husk
export DOCKER_CONFIG=$E/docker-config XDG_RUNTIME_DIR=$E/xdg PTYRUN_LIMIT=200
bad=0

fail() {
    echo "FAIL: $*"
    bad=1
}

engine_end() { # the script's last command
    [ $bad = 0 ]
}

# Milliseconds of a clock that does not jump.
now() {
    local up
    read -r up _ </proc/uptime
    echo "${up/./}0"
}
engine_began=$(now)
say() {
    printf '%5d s  %s\n' $((($(now) - engine_began) / 1000)) "$*"
}

# until_ok CMD...: waits until it succeeds, for things that no descriptor tells; no more than LIMIT seconds.
until_ok() {
    local end=$(($(now) + ${LIMIT:-150} * 1000))
    until "$@" >"$E/until" 2>&1; do
        if [ "$(now)" -gt $end ]; then
            fail "no success within ${LIMIT:-150} s: $*: $(cat "$E/until")"
            return 1
        fi
        read -rt 0.2 <>"$E/never"
    done
    return 0
}

engine_cgroups() {
    find /sys/fs/cgroup -type d | sort
}

# Programs as they would be installed, and what there was before.
engine_setup() {
    mkdir -p "$E/bin" "$E/lib/husk" "$XDG_RUNTIME_DIR" "$DOCKER_CONFIG" || exit 1
    echo '{}' >"$DOCKER_CONFIG/config.json" # podman wants the file when the variable is set
    mkfifo "$E/never"
    cp "$HUSK_BUILD/bin/husk" "$E/bin/"
    ln -s "$HUSK_BUILD/rootfs.erofs" "$HUSK_KERNEL/vmlinux" "$E/lib/husk/"
    ip link set lo up
    engine_cgroups >"$E/cgroups.before"
    find /run/husk /run/netns /dev/shm -mindepth 1 2>/dev/null | sort >"$E/files.before"
    "$engine_lib/busybox-root.sh" "$E/root" || exit 1
}

# ---- containerd ----------------------------------------------------------------------------------

ct() {
    timeout -k 5 "${LIMIT:-200}" ctr -a "$E/containerd.sock" "$@"
}

containerd_start() {
    cat >"$E/containerd.toml" <<END
version = 2
root = "$E/containerd"
state = "$E/containerd-run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$E/containerd.sock"
END
    : >"$E/containerd.log"
    containerd -c "$E/containerd.toml" -l debug >>"$E/containerd.log" 2>&1 &
    containerd_pid=$!
    until_ok grep -q 'containerd successfully booted' "$E/containerd.log" || exit 1
}

containerd_stop() {
    kill "$containerd_pid"
    wait "$containerd_pid"
}

# ---- dockerd -------------------------------------------------------------------------------------

dk() {
    timeout "${LIMIT:-200}" /usr/bin/docker -H "unix://$E/docker.sock" "$@"
}

# Starts dockerd, with a containerd that we have started, since it gives one of its own only seconds. Without
# networks unless $BRIDGE is 1: making them takes very long in an emulated machine.
# shellcheck disable=SC2120 # arguments are some scripts'
dockerd_start() { # dockerd_start [OPTION...]
    local net=(--bridge=none --iptables=false --ip6tables=false)
    [ "${BRIDGE:-0}" = 0 ] || net=()
    [ -n "${containerd_pid-}" ] || containerd_start
    : >"$E/dockerd.log"
    /usr/sbin/dockerd --debug --data-root "$E/docker" --exec-root "$E/docker-run" \
        --pidfile "$E/docker.pid" --host "unix://$E/docker.sock" --containerd "$E/containerd.sock" \
        --exec-opt native.cgroupdriver=cgroupfs --oom-score-adjust 0 \
        --add-runtime "husk=$husk" "${net[@]}" "$@" >>"$E/dockerd.log" 2>&1 &
    dockerd_pid=$!
    until_ok grep -q 'API listen on' "$E/dockerd.log" || {
        tail -n 20 "$E/dockerd.log"
        exit 1
    }
}

dockerd_stop() {
    kill "$dockerd_pid"
    wait "$dockerd_pid"
    containerd_stop
}

docker_image() { # the image bb:1
    tar -C "$E/root" -c . | dk import - bb:1 >"$E/image.id" || exit 1
}

dk_run() { # dk_run OPTION... IMAGE...: of this case's runtime, without network
    dk run --runtime "$r" --network none "$@"
}

# dk_watch COUNT REGEX ARG...: reads what `docker ARG...` writes until COUNT lines have matched, then ends it.
dk_watch() {
    local n=$1 regex=$2 line fd pid
    shift 2
    exec {fd}< <(exec timeout "${LIMIT:-200}" /usr/bin/docker -H "unix://$E/docker.sock" "$@" 2>&1)
    pid=$!
    while [ "$n" -gt 0 ] && read -r line <&$fd; do
        [[ $line =~ $regex ]] && n=$((n - 1))
    done
    exec {fd}<&-
    kill $pid
    [ "$n" = 0 ] || echo "not seen in docker $*: $regex"
}

# ---- podman --------------------------------------------------------------------------------------

podman_setup() {
    cat >"$E/containers.conf" <<END
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
runtime_supports_json = ["husk", "runc"]
[engine.runtimes]
husk = ["$husk"]
runc = ["/usr/sbin/runc"]
END
    export CONTAINERS_CONF=$E/containers.conf
    podman_opts=(--root "$E/podman" --runroot "$E/podman-run" --tmpdir "$E/podman-tmp" --storage-driver overlay)
}

pm() {
    timeout "${LIMIT:-200}" podman "${podman_opts[@]}" "$@"
}

podman_end() { # unmounts its storage
    ! mountpoint -q "$E/podman/overlay" || umount "$E/podman/overlay"
    grep -q libpod_lock "$E/files.before" || rm /dev/shm/libpod_lock
}

# ---- networks ------------------------------------------------------------------------------------

# inside_of dk|pm NAME COMMAND TEXT...: what it prints in that container has these texts, sooner or later
inside_of() {
    local text missing i out
    for ((i = 0; i < 10; i++)); do
        missing=
        out=$("$1" exec "$2" sh -c "$3" 2>&1)
        for text in "${@:4}"; do
            [[ $out == *"$text"* ]] || missing=$text
        done
        [ -n "$missing" ] || return 0
    done
    fail "in $2: $3: no '$missing' in: $out"
}

here() { # here COMMAND of netprobe, on the host
    "$HUSK_BUILD/bin/netprobe" "$@" >"$E/out" || fail "netprobe $*: $(cat "$E/out")"
}

# ---- side by side --------------------------------------------------------------------------------

# What differs from run to run: names of containers, identifiers, times.
engine_plain() {
    sed -E "s#$TMP#TMP#g; s/(^|[^a-z])$1([^a-z]|\$)/\1RT\2/g; s/[0-9a-f]{64}/ID/g; s/\b[0-9a-f]{12}\b/ID/g
        s/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g; /error waiting for container: context canceled/d"
}

# same FUNCTION [WHY SED]: calls FUNCTION for runc and for husk, each in a process of its own with $r the
# runtime and $c a name for a container, and compares all that they print. WHY and SED explain a
# difference: SED, put over both outputs, has to make it go away, and there has to be one, or the
# explanation has outlived its reason. CASES, when set, chooses among the functions of a script.
same() {
    local name=$1 why=${2-} sed=${3-} r c pids=() began
    [[ -z ${CASES-} || " $CASES " == *" $name "* ]] || return 0
    began=$(now)
    for r in runc husk; do
        # shellcheck disable=SC2034 # the function's
        c=$name-$r
        (
            exec >"$E/same.$name.$r" 2>&1 </dev/null
            "$name"
        ) &
        pids+=($!)
    done
    wait "${pids[@]}"
    for r in runc husk; do
        engine_plain $r <"$E/same.$name.$r" >"$E/same.$name.$r.plain"
    done
    if [ -n "$why" ]; then
        if cmp -s "$E/same.$name.runc.plain" "$E/same.$name.husk.plain"; then
            fail "$name: no difference any more: $why"
        fi
        for r in runc husk; do
            sed -i -E "$sed" "$E/same.$name.$r.plain"
        done
    fi
    if diff -u --label runc --label husk "$E/same.$name.runc.plain" "$E/same.$name.husk.plain"; then
        say "same: $name ($((($(now) - began) / 1000)) s)${why:+; but $why}"
    else
        fail "$name: husk differs from runc"
        return 1
    fi
}

# on_tty STEPS CMD...: CMD on a terminal of its own, driven by STEPS of ptyrun, for the case $c; then its status.
# A shell's redrawing depends on time, so that nothing is shown: what matters is in the steps.
on_tty() {
    local steps=$1
    shift
    printf '%s\n' "$steps" >"$E/steps.$c"
    TERM=xterm "$engine_lib/ptyrun.py" "$E/steps.$c" "$@" >"$E/tty.$c"
    echo "status $?"
}

# rc CMD...: does it, then prints the status.
rc() {
    "$@"
    echo "status $?"
}

# ---- leftovers -----------------------------------------------------------------------------------

# Only shells of this script are in its PID namespace, or their names are told.
engine_alone() {
    ! pgrep -la . | grep -vE '^[0-9]+ (bash|pgrep|grep) '
}

# Call it when every engine has been stopped and every container removed. Whatever is there now and
# was not at the beginning is a failure: processes, mounts, cgroups, network namespaces, state.
engine_clean() {
    LIMIT=5 until_ok engine_alone
    ! grep -E " $TMP(/| )" /proc/self/mounts || fail 'these mounts are left'
    # What engines make for all their containers they leave themselves; it has to be empty.
    find /sys/fs/cgroup -depth -maxdepth 3 -type d -regextype posix-extended \
        -regex '.*/(docker|default|libpod_parent(/conmon)?)' -exec rmdir {} + 2>/dev/null
    engine_cgroups | comm -13 "$E/cgroups.before" - >"$E/left"
    [ ! -s "$E/left" ] || fail "cgroups are left: $(cat "$E/left")"
    find /run/husk /run/netns /dev/shm -mindepth 1 2>/dev/null | sort | comm -13 "$E/files.before" - >"$E/left"
    find "$E"/docker-run/runtime-* "$E"/docker-run/netns "$E"/runtime-root "$E"/podman-run/netns -mindepth 2 \
        2>/dev/null >>"$E/left"
    [ ! -s "$E/left" ] || fail "files are left: $(cat "$E/left")"
    [ "$(lsns -nt net -o NS | wc -l)" = 1 ] || fail "network namespaces are left: $(lsns -t net)"
}
