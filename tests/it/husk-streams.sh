#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `husk run` of a busybox bundle: exit codes, streams byte for byte, environment and arguments.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
command_is() { # the container's process.args
    jq --argjson a "$(jq -cn '$ARGS.positional' --args -- "$@")" '.process.args = $a' "$b/base.json" \
        >"$b/config.json"
}
run() { # run NAME: its status in $rc
    timeout 120 "$husk" --log "$TMP/$1.log" --log-format json run --bundle "$b" "$1"
    rc=$?
}

bash "$here/lib/bundle.sh" "$b" sh && cp "$b/config.json" "$b/base.json" || exit 1

command_is sh -c 'exit 7'
run exit7
[ $rc = 7 ] || fail "exit 7: status $rc"
# The first process of a PID namespace is deaf to a SIGKILL from inside (with runc, too): so once as an
# ordinary process and once below one.
# shellcheck disable=SC2016 # the container's shell expands it
command_is sh -c 'kill -9 $$'
jq '.linux.namespaces |= map(select(.type != "pid"))' "$b/config.json" >"$TMP/new" && mv "$TMP/new" "$b/config.json"
run kill9
[ $rc = 137 ] || fail "kill -9 of itself: status $rc"
# shellcheck disable=SC2016
command_is sh -c "sh -c 'kill -9 \$\$'; exit \$?"
run kill9below
[ $rc = 137 ] || fail "kill -9 of its child: status $rc"

# 100 MiB of noise through the container, counted by it and coming back.
head -c 104857600 /dev/urandom >"$TMP/noise"
want=$(sha256sum <"$TMP/noise")
command_is sha256sum
run sum <"$TMP/noise" >"$TMP/sum"
[ "$(cat "$TMP/sum")" = "$want" ] || fail "100 MiB to sha256sum: $(cat "$TMP/sum")"
command_is cat
run cat <"$TMP/noise" >"$TMP/back"
cmp "$TMP/noise" "$TMP/back" || fail '100 MiB through cat'
run pipe < <(cat "$TMP/noise") | cat >"$TMP/back"
cmp "$TMP/noise" "$TMP/back" || fail '100 MiB through cat and pipes'
rm -f "$TMP/noise" "$TMP/back"

# Lines on both streams, none lost, none in the wrong one, in order.
command_is sh -c 'seq 100000; seq 100000 >&2'
run lines >"$TMP/out" 2>"$TMP/err"
seq 100000 | cmp - "$TMP/out" || fail "100 000 lines on stdout: $(wc -l <"$TMP/out")"
seq 100000 | cmp - "$TMP/err" || fail "100 000 lines on stderr: $(wc -l <"$TMP/err")"

# A long environment, an argument with everything in it.
head -c 153600 /dev/urandom | base64 -w 100000 >"$TMP/long"
args=$'a b  c "d" \'e\'\nf\tg\\h äöü €'
jq --rawfile long "$TMP/long" --arg arg "$args" \
    '.process.env += ($long | rtrimstr("\n") | split("\n") | to_entries | map("LONG\(.key)=\(.value)"))
     | .process.args = ["sh", "-c", "printf %s \"$1\"; printf %s \"$LONG0$LONG1$LONG2\" >&2", "sh", $arg]' \
    "$b/base.json" >"$b/config.json"
run env >"$TMP/out" 2>"$TMP/err"
[ "$(cat "$TMP/out")" = "$args" ] || fail "argument: $(cat "$TMP/out")"
[ "$(cat "$TMP/err")" = "$(tr -d '\n' <"$TMP/long")" ] || fail 'environment of 200 KiB'

# A reader that goes away: the container gets SIGPIPE or EPIPE, and nothing hangs.
command_is sh -c 'yes; true'
run broken | head -n 1 >"$TMP/out"
[ "$(cat "$TMP/out")" = y ] || fail 'output to a reader that leaves'

# Readers that stand still, of the container and of an exec: SIGKILL does not wait for them as long as engines wait for
# it, which is 10 s.
mkfifo "$TMP/unread.c" "$TMP/unread.e"
exec 8<>"$TMP/unread.c" 9<>"$TMP/unread.e"
full() { # full FD: nothing more goes into that pipe
    python3 -c 'import select, sys
sys.exit(bool(select.select([], [int(sys.argv[1])], [], 0)[1]))' "$1"
}
command_is sh -c 'yes; true'
h create --bundle "$b" --pid-file "$TMP/pid" unread </dev/null >"$TMP/unread.c" 2>"$TMP/err" 8>&- 9>&- ||
    fail "create: $(cat "$TMP/err")"
h start unread || fail start
h exec unread sh -c 'yes; true' </dev/null >"$TMP/unread.e" 8>&- 9>&- &
cli=$!
for fd in 8 9; do
    for ((i = 0; i < 600; i++)); do
        full $fd && break
        moment
    done
    full $fd || fail "descriptor $fd never gets full"
done
began=$(date +%s%N)
h kill unread KILL || fail kill
tail --pid="$(cat "$TMP/pid")" -f /dev/null
took=$((($(date +%s%N) - began) / 1000000))
[ $took -lt 9000 ] || fail "SIGKILL with readers that stand still: $took ms"
wait $cli
rc=$?
[ $rc = 137 ] || fail "the exec of a killed container: status $rc"
grep -q '"exitStatus":137' "$root/unread/state.json" || fail "killed: $(cat "$root/unread/state.json")"
h delete unread || fail delete
exec 8<&- 9<&-

# The host's files are the container's.
command_is sh -c 'echo here >/root/made; cat /root/given; hostname'
echo there >"$b/rootfs/root/given"
run files >"$TMP/out"
[ "$(cat "$TMP/out")" = $'there\nhusk' ] || fail "files: $(cat "$TMP/out")"
[ "$(cat "$b/rootfs/root/made" 2>&1)" = here ] || fail 'a file made in the container'
[ $bad = 0 ]
