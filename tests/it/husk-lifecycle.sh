#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The OCI life cycle: create, state, start, kill, delete, and that nothing stays behind; the same after
# kill -9 of the sandbox process and of the CLI while it creates; ten at once.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
gone() { # nothing of ID is left, and no process of ours
    [ ! -e "$root/$1" ] || fail "$1: $(ls -R "$root/$1") is left"
    [ -z "$(find /sys/fs/cgroup -path '*husk-it*' -name "$1")" ] || fail "$1: its cgroup is left"
    grep "$b" /proc/self/mounts && fail "$1: mounts are left"
    return 0
}
bash "$here/lib/bundle.sh" "$b" sh -c 'trap "exit 3" TERM; echo ready; while :; do sleep 1; done' &&
    jq '.linux.cgroupsPath = "/husk-it/c1" | .annotations = {"a.b": "c"}' "$b/config.json" >"$b/new" &&
    mv "$b/new" "$b/config.json" || exit 1

# One life.
h create --bundle "$b" --pid-file "$TMP/pid" c1 >"$TMP/out" 2>"$TMP/err" </dev/null || fail 'create'
pid=$(cat "$TMP/pid")
[ "$(head -c 99 "$TMP/pid" | tr -d 0-9 | wc -c)" = 0 ] || fail 'pid file: not digits alone'
[ "$(status c1)" = created ] || fail "after create: $(status c1)"
[ "$(h state c1 | jq -r '"\(.pid) \(.id) \(.annotations["a.b"]) \(.bundle)"')" = "$pid c1 c $b" ] ||
    fail "state: $(h state c1)"
kill -0 "$pid" || fail 'the pid is not alive'
[ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ] || fail 'netns is the host'\''s'
[ "$(cat "/proc/$pid/cgroup")" = 0::/husk-it/c1 ] || fail "cgroup: $(cat "/proc/$pid/cgroup")"
[ "$(h list -q)" = c1 ] || fail 'list -q'
h list | grep -q '^c1 .*created' || fail 'list'
h create --bundle "$b" c1 2>"$TMP/err2" && fail 'the same id twice'
grep -q 'already exists' "$TMP/err2" || fail "the same id twice: $(cat "$TMP/err2")"
h start c1 || fail 'start'
[ "$(status c1)" = running ] || fail "after start: $(status c1)"
h start c1 2>"$TMP/err2" && fail 'a second start'
h delete c1 2>"$TMP/err2" && fail 'delete of a running container'
read -rt 60 line < <(tail -n +1 -f "$TMP/out" --pid="$pid")
[ "$line" = ready ] || fail "its output: $line"
h kill c1 TERM || fail 'kill'
until_is c1 stopped
[ "$(h state c1 | jq .pid)" = 0 ] || fail 'the pid of a stopped container'
h kill c1 TERM 2>"$TMP/err2" && fail 'kill of a stopped container'
grep -q 'container not running' "$TMP/err2" || fail "kill of a stopped one: $(cat "$TMP/err2")"
h start c1 2>"$TMP/err2" && fail 'start of a stopped container'
h delete c1 || fail 'delete'
gone c1
h state c1 2>"$TMP/err2" && fail 'state of a deleted container'
grep -q 'does not exist' "$TMP/err2" || fail "state of a deleted one: $(cat "$TMP/err2")"
h delete c1 2>"$TMP/err2" && fail 'delete of a deleted one'
h delete --force c1 || fail 'delete --force of nothing'

# A program that Linux does not execute. Who starts it hears of its end, its stderr and the log of the reason;
# `run`, which waits, says it itself.
echo 'no program' >"$b/rootfs/nothing" && chmod +x "$b/rootfs/nothing" || exit 1
cp "$b/config.json" "$TMP/base.json" && jq '.process.args = ["/nothing"]' "$TMP/base.json" >"$b/config.json" || exit 1
h create --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail 'create of no program'
h start c1 || fail 'start of no program'
until_is c1 stopped
[ "$(cat "$TMP/err")" = 'exec /nothing: exec format error' ] || fail "its stderr: $(cat "$TMP/err")"
grep -q 'level=error msg="exec /nothing: exec format error"' "$TMP/log" || fail 'not in the log'
h delete c1 || fail 'delete of no program'
h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err"
rc=$?
[ $rc = 126 ] || fail "run of no program: status $rc"
[ "$(cat "$TMP/err")" = 'husk: exec /nothing: exec format error' ] || fail "run of no program: $(cat "$TMP/err")"
cp "$TMP/base.json" "$b/config.json"
gone c1

# Delete of one that was only created (containerd does that).
h create --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1 || fail 'create 2'
h delete c1 || fail 'delete of a created container'
gone c1

# kill -9 of the sandbox process, created and running.
for when in created running; do
    h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>&1 || fail "create 3 $when"
    [ $when = created ] || h start c1 || fail 'start 3'
    kill -9 "$(cat "$TMP/pid")"
    until_is c1 stopped
    h delete c1 || fail "delete after kill -9 while $when"
    gone c1
done

# kill -9 of the CLI at many points of create: delete --force cleans up whatever there is.
for ms in 0 20 50 100 200 400 800; do
    "$husk" --root "$root" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1 &
    cli=$!
    moment "0.$(printf %03d $ms)"
    kill -9 $cli 2>"$TMP/err2"
    wait $cli 2>"$TMP/err2"
    h delete --force c1 || fail "delete --force after kill -9 of the CLI after $ms ms"
    for ((i = 0; i < 100; i++)); do
        pgrep -f "$root create" >"$TMP/left" || break
        moment
    done
    [ ! -s "$TMP/left" ] || fail "a sandbox process outlives its CLI killed after $ms ms"
    h delete --force c1
    gone c1
done

# Ten at once.
pids=()
for i in 0 1 2 3 4 5 6 7 8 9; do
    mkdir -p "$TMP/b$i"
    ln -sfn "$b/rootfs" "$TMP/b$i/rootfs"
    jq --arg i "$i" '.process.args = ["sh", "-c", "echo I am \($i); exit \($i)"]
        | del(.linux.cgroupsPath) | .root.readonly = true' "$b/config.json" >"$TMP/b$i/config.json"
    timeout 300 "$husk" --root "$root" run --bundle "$TMP/b$i" "p$i" >"$TMP/out$i" 2>&1 </dev/null &
    pids+=($!)
done
for i in 0 1 2 3 4 5 6 7 8 9; do
    wait "${pids[i]}"
    rc=$?
    [ $rc = "$i" ] || fail "container $i of ten: status $rc: $(cat "$TMP/out$i")"
    [ "$(cat "$TMP/out$i")" = "I am $i" ] || fail "container $i of ten: $(cat "$TMP/out$i")"
done
[ -z "$(ls -A "$root")" ] || fail "left: $(ls -A "$root")"
[ $bad = 0 ]
