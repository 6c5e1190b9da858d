#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# husk exec as people and engines use it: streams, status, user, environment; detached, with a stand-in
# that is the engine's child; many at once; kills from every side; nothing left behind.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
globals=(--log-format json)
engine() { # engine NAME OPTION... -- EXEC-ARGS: the report in $TMP/NAME.json, the output before it
    local name=$1 opts=()
    shift
    while [ "$1" != -- ]; do
        opts+=("$1")
        shift
    done
    shift
    "$here/lib/engine.py" "${opts[@]}" "$husk" --root "$root" --log "$TMP/log" --log-format json exec --pid-file @PID \
        "$@" >"$TMP/$name.out" 2>"$TMP/$name.err" || fail "$name: $(cat "$TMP/$name.err")"
    tail -n 1 "$TMP/$name.out" >"$TMP/$name.json"
    sed -i '$d' "$TMP/$name.out"
}
of() { # of NAME KEY
    jq -r ".$2" "$TMP/$1.json"
}
in_guest() { # what the container's ps says of a command
    h exec c1 ps -o args | grep -c "^$1"
}
until_none() { # until_none COMMAND: no such process in the guest any more
    for ((i = 0; i < 100; i++)); do
        [ "$(in_guest "$1")" = 0 ] && return 0
        moment
    done
    fail "$1 still runs in the guest"
}
process() { # process JQ-ARGS: a process file, as an engine writes it
    jq '.process | .terminal = false' "$b/config.json" | jq "$@"
}
bash "$here/lib/bundle.sh" "$b" sh -c 'trap "exit 3" TERM; while :; do sleep 1 & wait; done' &&
    jq '.linux.cgroupsPath = "/husk-it/c1" | .process.env += ["OF=container"] | .process.oomScoreAdj = 17' \
        "$b/config.json" >"$b/new" && mv "$b/new" "$b/config.json" || exit 1
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/c1.out" 2>&1 || exit 1

# In created: engines allow it. The container is there, its process is not.
# shellcheck disable=SC2016 # the container's shell expands it
out=$(h exec c1 sh -c 'echo "created: $OF"; tr "\0" " " </proc/1/cmdline' </dev/null)
[ "${out%%$'\n'*}" = 'created: container' ] || fail "exec in created: $out"
grep -q trap <<<"$out" && fail "exec in created: the container's process runs: $out"
[ "$(h state c1 | jq -r .status)" = created ] || fail 'exec in created changed the status'
h start c1 || fail 'start after an exec in created'
[ "$(in_guest 'sh -c trap')" = 1 ] || fail "the container's process after start"

# In the foreground: streams, status, what the flags change.
[ "$(h exec c1 sh -c 'echo out; echo err >&2; exit 7' 2>"$TMP/err")" = out ] || fail 'stdout'
[ "$(cat "$TMP/err")" = err ] || fail "stderr: $(cat "$TMP/err")"
h exec c1 sh -c 'exit 7' </dev/null
rc=$?
[ $rc = 7 ] || fail "status: $rc"
[ "$(echo 'to the end' | h exec c1 cat)" = 'to the end' ] || fail 'stdin and its end'
# shellcheck disable=SC2016 # the container's shell expands it
out=$(h exec -u 1000:1001 -g 55 -g 66 -e A=b -e 'C=d e' --cwd /tmp c1 \
    sh -c 'id -u; id -g; id -G; pwd; echo "$A $C $OF $0"; cat /proc/self/oom_score_adj' -x 2>&1)
[ "$out" = $'1000\n1001\n1001 55 66\n/tmp\nb d e container -x\n17' ] || fail "flags: $out"
caps() {
    h exec "$@" c1 sed -n 's/^CapBnd:\s*//p' /proc/self/status
}
[ $((0x$(caps --cap CAP_SYS_TIME) & ~0x$(caps))) = $((1 << 25)) ] || fail "--cap: $(caps --cap CAP_SYS_TIME) $(caps)"
h exec --no-new-privs c1 grep -q 'NoNewPrivs:.*1' /proc/self/status || fail '--no-new-privs'

# What fails: 255, and the texts that engines look for, on stderr and in the log.
refused() { # refused STATUS TEXT ARGS...
    local status=$1 text=$2
    shift 2
    : >"$TMP/log"
    h exec "$@" </dev/null >"$TMP/out" 2>"$TMP/err"
    rc=$?
    [ $rc = "$status" ] || fail "$*: status $rc"
    grep -qF -- "$text" "$TMP/err" || fail "$*: $(cat "$TMP/err")"
    jq -e --arg t "$text" 'select(.level == "error") | .msg | contains($t)' "$TMP/log" >"$TMP/out" ||
        fail "$*: the log says: $(cat "$TMP/log")"
}
# shellcheck disable=SC2016 # it is the text
refused 255 'executable file not found in $PATH' c1 no-such-thing
refused 255 'no such file or directory' c1 /no/such/thing
refused 255 'permission denied' c1 /etc/passwd
refused 255 'does not exist' nobody true
refused 255 'option --user' -u root c1 true
refused 255 'must be an absolute path' --cwd tmp c1 true
refused 255 'process file' --process "$TMP/no-file" c1
refused 255 'cannot allocate tty if husk will detach without setting console socket' -t -d c1 true
refused 255 'cannot use console socket if husk will not detach or allocate tty' -d --console-socket x c1 true
refused 1 'process args cannot be empty' c1
refused 1 '--preserve-fds' --preserve-fds 1 c1 true
refused 1 '--process-label' --process-label x c1 true
refused 1 '--apparmor' --apparmor x c1 true
refused 1 '--cgroup' --cgroup sub c1 true
refused 1 'needs the ID'

# As containerd's shim calls it: a process file, detached, its own streams.
process '.args = ["sh", "-c", "cat; echo last; exit 5"] | .env += ["X=y"]' >"$TMP/p.json"
head -c 3000000 /dev/urandom | base64 >"$TMP/in"
engine go --in "$TMP/in" -- --pidfd-socket @PIDFD --process "$TMP/p.json" --detach c1
[ "$(of go cli) $(of go parent) $(of go status)" = '0 true 5' ] || fail "go-runc's exec: $(cat "$TMP/go.json")"
{ cat "$TMP/in" && echo last; } | cmp - "$TMP/go.out" || fail "go-runc's exec: its output"

# The stand-in: where it is, what it has, what it may.
process '.args = ["sh", "-c", "trap \"echo got; exit 9\" USR1; echo up; while :; do sleep 1 & wait; done"]' >"$TMP/p.json"
h exec --process "$TMP/p.json" --detach --pid-file "$TMP/pid2" c1 </dev/null >"$TMP/out" 2>&1 || fail 'exec -d'
pid=$(cat "$TMP/pid2")
[ "$(cat "/proc/$pid/cgroup")" = 0::/husk-it/c1 ] || fail "the stand-in's cgroup: $(cat "/proc/$pid/cgroup")"
[ "$(ps -o sid= -p "$pid" | tr -d ' ')" = "$pid" ] || fail 'the stand-in has no session of its own'
readlink "/proc/$pid/fd/"* | grep -vE '^(/dev/null|socket:.*|anon_inode:\[signalfd\])$' && fail 'the stand-in holds the above'
for want in 'Seccomp:.2' 'NoNewPrivs:.1' 'CapEff:.0000000000000000'; do
    grep -q "$want" "/proc/$pid/status" || fail "the stand-in: not $want"
done
rss=$(sed -n 's/^Private_Dirty: *\([0-9]*\) kB/\1/p' "/proc/$pid/smaps_rollup")
[ "$rss" -le 512 ] || fail "the stand-in has $rss KiB of its own"
kill -9 "$pid"
until_none 'sh -c trap "echo got'

# Signals through it, SIGKILL of it, the status that its parent sees.
engine usr1 --kill USR1 -- --process "$TMP/p.json" --detach c1
[ "$(of usr1 status) $(cat "$TMP/usr1.out")" = $'9 up\ngot' ] || fail "USR1: $(cat "$TMP/usr1.json" "$TMP/usr1.out")"
engine term --kill TERM -- --process "$TMP/p.json" --detach c1
[ "$(of term status)" = 143 ] || fail "TERM: $(cat "$TMP/term.json")"
engine kill --kill KILL -- --process "$TMP/p.json" --detach c1
[ "$(of kill status)" = 137 ] || fail "KILL: $(cat "$TMP/kill.json")"
until_none 'sh -c trap "echo got'

# kill -9 of the command in the foreground; signals through it.
h exec c1 sleep 1000 </dev/null &
cli=$!
for ((i = 0; i < 100; i++)); do
    [ "$(in_guest 'sleep 1000')" = 1 ] && break
done
kill -9 "$(pgrep -f 'exec c1 sleep 1000' | tail -n 1)"
wait $cli
until_none 'sleep 1000'
"$husk" --root "$root" exec c1 sh -c 'trap "exit 4" INT; echo up; while :; do sleep 1 & wait; done' >"$TMP/int.out" </dev/null &
cli=$!
read -rt 60 line < <(tail -n +1 -f "$TMP/int.out" --pid=$cli)
kill -INT $cli
wait $cli
rc=$?
[ "$rc $line" = '4 up' ] || fail "INT in the foreground: $rc $line"

# Fifty at once; one whose reader stalls does not hold them up.
mkfifo "$TMP/stall"
h exec c1 cat /dev/zero >"$TMP/stall" 2>"$TMP/stall.err" </dev/null &
stalled=$!
exec 9<"$TMP/stall"
pids=()
for ((i = 0; i < 50; i++)); do
    h exec c1 sh -c "cat; echo done $i; exit $i" <<<"in $i" >"$TMP/many.$i" 2>&1 &
    pids+=($!)
done
for ((i = 0; i < 50; i++)); do
    wait "${pids[i]}"
    rc=$?
    [ "$rc $(cat "$TMP/many.$i")" = "$i in $i"$'\n'"done $i" ] || fail "one of fifty, $i: $rc $(cat "$TMP/many.$i")"
done
exec 9<&-
wait $stalled
until_none 'cat /dev/zero'

# kill --all reaches execs; the end of the container ends them, and its stand-ins say 137.
h exec -d --pid-file "$TMP/pid2" c1 sleep 2000 </dev/null >"$TMP/out" 2>&1 || fail 'exec -d sleep'
h kill --all c1 KILL || fail 'kill --all'
for ((i = 0; i < 100; i++)); do
    [ "$(h state c1 | jq -r .status)" = stopped ] && break
    moment
done
[ "$(h state c1 | jq -r .status)" = stopped ] || fail 'kill --all does not stop it'
for ((i = 0; i < 100; i++)); do
    kill -0 "$(cat "$TMP/pid2")" 2>"$TMP/out" || break
    moment
done
kill -0 "$(cat "$TMP/pid2")" 2>"$TMP/out" && fail 'a stand-in outlives its container'
refused 255 'container not running' c1 true
h delete c1 || fail 'delete'
[ ! -e /sys/fs/cgroup/husk-it/c1 ] || fail 'its cgroup is left'

# kill -9 of the sandbox process while an exec runs: 137, soon.
h run -d --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/c1.out" 2>&1 || fail 'run -d'
h exec c1 sh -c 'echo up; sleep 1000' >"$TMP/lost.out" </dev/null &
cli=$!
read -rt 60 line < <(tail -n +1 -f "$TMP/lost.out" --pid=$cli)
kill -9 "$(cat "$TMP/pid")"
wait $cli
rc=$?
[ "$rc $line" = '137 up' ] || fail "the sandbox process killed: $rc $line"
h delete --force c1 || fail 'delete --force'
[ -z "$(ls -A "$root")" ] || fail "left: $(ls -A "$root")"
[ $bad = 0 ]
