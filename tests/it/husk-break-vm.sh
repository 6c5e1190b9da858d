#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015
# Running containers under an engine that is unlucky or rude: output that nobody reads when it is killed,
# delete while `run` waits, starts and kills at once, a start whose caller is killed, clients that flood the
# socket, stdin without end, an image full of traps.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
until_file() { # until_file REGEX FILE
    for ((i = 0; i < 600; i++)); do
        grep -qE "$1" "$2" 2>"$TMP/err2" && return 0
        moment
    done
    fail "$2 has no $1: $(cat "$2")"
}
config() { # config SCRIPT [FILTER]
    jq --arg s "$1" "del(.linux.cgroupsPath) | .process.args = [\"sh\", \"-c\", \$s] | ${2:-.}" \
        "$TMP/plain.json" >"$b/config.json" || exit 1
}
nothing() {
    [ -z "$(ls -A "$root")" ] || fail "$1: left: $(ls -AR "$root")"
    ! pgrep -f -- "--root $root" >"$TMP/left" || fail "$1: left: $(xargs ps -o pid,args -p <"$TMP/left")"
}
mkfifo "$TMP/pipe"
bash "$here/lib/bundle.sh" "$b" sh -c : && mv "$b/config.json" "$TMP/plain.json" || exit 1

# It has ended, its last output waits for a reader who does not read: SIGKILL ends that, at once.
config 'head -c 300000 /dev/zero >&2; exit 5'
exec 7<>"$TMP/pipe"
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>"$TMP/pipe" || fail 'create 1'
h start c1 || fail 'start 1'
for ((i = 0; i < 300; i++)); do # until the container's end: then nothing is to be signalled
    h kill c1 URG 2>"$TMP/err" || break
    moment
done
grep -q 'not running' "$TMP/err" || fail "kill after the end: $(cat "$TMP/err")"
[ "$(status c1)" = running ] || fail "its output is not read and it is $(status c1)"
h kill c1 KILL 2>"$TMP/err"
until_is c1 stopped 30
[ "$(jq .exitStatus "$root/c1/state.json")" = 5 ] || fail "status of a drained one: $(cat "$root/c1/state.json")"
h delete c1 || fail 'delete 1'
# The same, killed while it runs: given up after a while, without another word.
config 'while :; do head -c 300000 /dev/zero >&2; done'
h create --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/pipe" || fail 'create 2'
h start c1 || fail 'start 2'
h kill c1 KILL || fail 'kill 2'
until_is c1 stopped 60
[ "$(jq .exitStatus "$root/c1/state.json")" = 137 ] || fail "status of a killed one: $(cat "$root/c1/state.json")"
h delete c1 || fail 'delete 2'
exec 7<&-
nothing 'unread output'

# Deleted by somebody while run waits; stdin without end that nobody reads; an id of 255 characters.
config 'echo up; exec sleep 1000'
id=$(printf 'i%.0s' {1..255})
yes | h run --bundle "$b" "$id" >"$TMP/out" 2>"$TMP/err" &
run=$!
until_file up "$TMP/out"
timeout 40 "$husk" --root "$root" delete --force "$id" || fail 'delete --force while run waits'
wait $run
rc=$?
[ $rc = 137 ] && [ ! -s "$TMP/err" ] || fail "run of one that was deleted: $rc $(cat "$TMP/err")"
nothing 'delete during run'

# Five starts: one of them does it. The socket flooded meanwhile. Kills of a container that is just starting.
config 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done'
h create --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1 || fail 'create 3'
h kill c1 STOP || fail 'SIGSTOP before start'
[ "$(status c1)" = created ] || fail "SIGSTOP before start: $(status c1)"
python3 - "$root/c1/husk.sock" <<'P' &
import os, signal, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
c = []
for i in range(600):
    s = socket.socket(socket.AF_UNIX)
    s.connect("husk.sock")
    s.send([b"\0\2\3\0\0\0\0\7\0\xff\xff\xff{", b"GET /", b"\0\2\3\0\0\0\0\7\0\0\0\2{}", b"\0\2\3"][i % 4])
    if i % 3:
        c.append(s)
signal.sigwait([signal.SIGTERM]) if not signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]) else 0
P
flood=$!
pids=()
for i in 1 2 3 4 5; do
    h start c1 2>"$TMP/start$i" &
    pids+=($!)
done
ok=0
for p in "${pids[@]}"; do
    wait "$p" && ok=$((ok + 1))
done
[ $ok = 1 ] || fail "of five starts, $ok made it: $(cat "$TMP"/start?)"
until_file up "$TMP/out"
kill $flood
wait $flood
h kill c1 TERM || fail 'kill 3'
until_is c1 stopped 30
[ "$(jq .exitStatus "$root/c1/state.json")" = 9 ] || fail "status: $(cat "$root/c1/state.json")"
h delete c1 || fail 'delete 3'
for ms in 0 100 400 900; do
    h create --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1 || fail "create, killed $ms ms after start"
    timeout -s KILL 0.05 "$husk" --root "$root" start c1 # its caller dies; it starts all the same
    h start c1 2>"$TMP/err" &
    moment "0.$(printf %03d $ms)"
    h kill c1 KILL 2>"$TMP/err2"
    wait $!
    until_is c1 stopped 40
    h delete c1 || fail "delete, killed $ms ms after start"
    nothing "killed $ms ms after start"
done

# An image whose /proc, /dev and /sys are links out of it, and a FIFO for a password file.
mkdir "$TMP/precious"
r=$b/rootfs
rm -r "${r:?}"/{proc,dev,sys,etc/passwd}
ln -s "$TMP/precious" "$r/proc"
ln -s / "$r/dev"
ln -s ../../../../../../../sys "$r/sys"
mkfifo "$r/etc/passwd"
config 'echo inside' '.process.user.uid = 1000'
timeout 90 "$husk" --root "$root" run --bundle "$b" c1 >"$TMP/out" 2>"$TMP/err" </dev/null
rc=$?
[ $rc != 124 ] || fail 'an image of links: no end'
[ $rc = 0 ] && [ "$(cat "$TMP/out")" = inside ] || [ "$(wc -l <"$TMP/err")" = 1 ] ||
    fail "an image of links: $rc, $(cat "$TMP/out" "$TMP/err")"
echo "an image of links: $rc $(cat "$TMP/err")"
[ -z "$(ls -A "$TMP/precious")" ] || fail 'an image of links: something came out of it'
h delete --force c1
nothing 'an image of links'
[ $bad = 0 ]
