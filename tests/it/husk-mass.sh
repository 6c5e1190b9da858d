#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Many containers without an engine, in a row and at once, and murder at every stage of their lives: afterwards
# no process, VM, mount, cgroup, network namespace, interface or directory is left. ROW containers in a row (3;
# the full test takes 100), then WAVES times WAVE of them at once (1 of 4; 5 of 20).
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
h() { # a wave of VMs on an emulated machine is slow
    timeout 280 "$husk" --root "$root" "$@"
}
say() {
    printf '%5d s  %s\n' $SECONDS "$*"
}
bash "$here/lib/bundle.sh" "$b" sh -c 'echo up; trap "exit 3" TERM; while :; do sleep 0.2 & wait; done' || exit 1
mv "$b/config.json" "$TMP/base.json"
make_bundle() { # make_bundle ID: the same root, a cgroup of its own
    mkdir -p "$TMP/b/$1"
    jq --arg c "/husk-mass/$1" --arg r "$b/rootfs" '.linux.cgroupsPath = $c | .root.path = $r' \
        "$TMP/base.json" >"$TMP/b/$1/config.json"
}

# What the host has. The machine's own loops (udev, kernel threads) are not in it.
held() {
    cut -d' ' -f2,3 /proc/self/mounts | sort
    lsns -nt net -o NS | sort
    find /sys/fs/cgroup -type d | sort
    find /sys/kernel/debug/kvm -mindepth 1 -maxdepth 1 -type d 2>/dev/null | sort
    ip -o link | cut -d: -f2
    find "$root" /dev/shm /run/husk "$TMP/tmp" 2>/dev/null | sort
    pgrep -fa -- "--root $root"
    ls "/proc/$$/fd"
}
mkdir -p "$root" "$TMP/tmp"
export TMPDIR=$TMP/tmp
nothing() { # nothing WHAT: the host has what it had before, at once or a moment later (a killed VM's pages)
    local i
    for ((i = 0; i < 100; i++)); do
        held >"$TMP/held.now"
        cmp -s "$TMP/held" "$TMP/held.now" && return
        moment
    done
    fail "$1: left: $(diff "$TMP/held" "$TMP/held.now" | head -n 20)"
}

# Two ways through a life. Each prints the same.
life_run() {
    h run --detach --bundle "$TMP/b/$1" --pid-file "$TMP/$1.pid" "$1" </dev/null >"$TMP/$1.out" 2>&1 ||
        fail "$1: run: $(cat "$TMP/$1.out")"
    use "$1"
}
life_create() {
    h create --bundle "$TMP/b/$1" --pid-file "$TMP/$1.pid" "$1" </dev/null >"$TMP/$1.out" 2>&1 ||
        fail "$1: create: $(cat "$TMP/$1.out")"
    h start "$1" || fail "$1: start"
    use "$1"
}
use() {
    local got
    got=$(h exec "$1" sh -c "echo used >/tmp/$1; cat /tmp/$1; rm /tmp/$1" </dev/null 2>&1)
    [ "$got" = used ] || fail "$1: exec: $got"
    h kill "$1" TERM || fail "$1: kill"
    tail --pid="$(cat "$TMP/$1.pid")" -f /dev/null
    grep -q '"exitStatus":3' "$root/$1/state.json" || fail "$1: $(cat "$root/$1/state.json")"
    h delete "$1" || fail "$1: delete"
    [ "$(cat "$TMP/$1.out")" = up ] || fail "$1: said $(cat "$TMP/$1.out")"
}

make_bundle warm
life_run warm
mkdir -p /sys/fs/cgroup/husk-mass
held >"$TMP/held"
for ((i = 0; i < ${ROW:-3}; i++)); do
    make_bundle "r$i"
    if ((i % 2)); then life_run "r$i"; else life_create "r$i"; fi
    rm -r "$TMP/b/r$i"
done
nothing "${ROW:-3} in a row"
say "${ROW:-3} in a row"
for ((w = 0; w < ${WAVES:-1}; w++)); do
    pids=()
    for ((i = 0; i < ${WAVE:-4}; i++)); do
        make_bundle "w$w-$i"
        (
            if ((i % 2)); then life_run "w$w-$i"; else life_create "w$w-$i"; fi
            exit $bad
        ) &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || bad=1
    done
    say "wave $w: ${WAVE:-4} at once"
done
nothing "${WAVES:-1} times ${WAVE:-4} at once"

# kill -9 of the sandbox process at moments of its boot, and with execs under way; then delete --force is all
# that is needed. Which stage of the boot a moment meets differs from machine to machine.
make_bundle k
for s in ${MOMENTS:-0 0.3 2}; do
    h create --bundle "$TMP/b/k" --pid-file "$TMP/k.pid" k </dev/null >"$TMP/k.out" 2>&1 || fail "create: $(cat "$TMP/k.out")"
    [ "$s" = 0 ] || moment "$s"
    kill -9 "$(cat "$TMP/k.pid")"
    h delete --force k || fail "kill -9 after $s s: delete --force"
    nothing "kill -9 after $s s"
done
for s in ${MOMENTS:-0.1 1}; do
    h create --bundle "$TMP/b/k" --pid-file "$TMP/k.pid" k </dev/null >"$TMP/k.out" 2>&1 || fail "create: $(cat "$TMP/k.out")"
    h start k 2>"$TMP/start.err" &
    [ "$s" = 0 ] || moment "$s"
    kill -9 "$(cat "$TMP/k.pid")"
    wait $! && [ ! -s "$TMP/k.out" ] && fail "kill -9 $s s into start: start says it has started"
    [ "$(wc -l <"$TMP/start.err")" -le 1 ] || fail "kill -9 $s s into start: $(cat "$TMP/start.err")"
    h delete --force k || fail "kill -9 $s s into start: delete --force"
    nothing "kill -9 $s s into start"
done
life=(run --detach --bundle "$TMP/b/k" --pid-file "$TMP/k.pid" k)
h "${life[@]}" </dev/null >"$TMP/k.out" 2>&1 || fail "run: $(cat "$TMP/k.out")"
for ((i = 0; i < 5; i++)); do
    h exec k sleep 1000 </dev/null >"$TMP/e.$i" 2>&1 &
    pids[i]=$!
done
h exec k sh -c 'until ps -o args | grep -c "^sleep 1000" | grep -qx 5; do sleep 0.1; done' </dev/null || fail 'five execs'
kill -9 "$(cat "$TMP/k.pid")"
for ((i = 0; i < 5; i++)); do
    wait "${pids[i]}"
    [ $? = 137 ] || fail "an exec whose sandbox process was killed: not 137: $(cat "$TMP/e.$i")"
done
h delete --force k || fail 'delete --force after execs'
nothing 'kill -9 with execs'
rmdir /sys/fs/cgroup/husk-mass
[ $bad = 0 ]
