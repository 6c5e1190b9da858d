#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Terminals: a console socket as engines use it, for create and exec; by hand on a terminal of one's own,
# run and exec; sizes, Ctrl-C, hang-up, and the terminal as it was before.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
steps() { # steps FILE: from stdin
    cat >"$TMP/$1.steps"
}
console() { # console NAME HUSK-ARGS: as an engine; the report in $TMP/NAME.json
    local name=$1
    shift
    "$here/lib/engine.py" --console "$TMP/$name.steps" "$husk" --root "$root" --log "$TMP/log" "$@" \
        >"$TMP/$name.out" 2>"$TMP/$name.err" || fail "$name: $(cat "$TMP/$name.err")"
    tail -n 1 "$TMP/$name.out" >"$TMP/$name.json"
}
by_hand() { # by_hand NAME HUSK-ARGS: on a terminal; the status in $rc
    local name=$1
    shift
    "$here/lib/ptyrun.py" "$TMP/$name.steps" "$husk" --root "$root" --log "$TMP/log" "$@" >"$TMP/$name.out" 2>"$TMP/$name.err"
    rc=$?
    [ $rc != 125 ] || fail "$name: $(cat "$TMP/$name.err")"
}
bash "$here/lib/bundle.sh" "$b" sh -c 'trap "exit 3" TERM; while :; do sleep 1 & wait; done' &&
    cp "$b/config.json" "$TMP/base.json" || exit 1
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/c1.out" 2>&1 && h start c1 || exit 1

# What is typed and what a size does take different ways into the guest, so a size is waited for there;
# and Ctrl-C comes once the program it is for has spoken itself: ash loses one that comes while it forks.

# exec with a console socket: size before and while it runs, one carriage return a line, the line
# discipline of the guest alone, its Ctrl-C, its status.
jq '.process | .terminal = true | .consoleSize = {"width": 71, "height": 17} | .args = ["sh"]' "$TMP/base.json" >"$TMP/p.json"
steps exec <<'END'
onlcr
expect # 
send tty; stty size\n
expect /dev/pts/[0-9]+\r\n17 71\r\n
send (trap 'stty size; exit' WINCH; echo wait""ing; while :; do sleep 1; done)\n
expect waiting\r\n
size 132 43
expect 43 132\r\n
expect # 
send sh -c "echo slee""ping; exec sleep 1000"\n
expect sleeping\r\n
send \x03
expect # 
send stty -echo; echo hi""dden\n
expect \nhidden\r\n
send exit 6\n
END
console exec exec --process "$TMP/p.json" --tty --detach --pid-file @PID --console-socket @SOCK c1
[ "$(jq -r '"\(.cli) \(.cli_out) \(.parent) \(.status)"' "$TMP/exec.json")" = '0  true 6' ] ||
    fail "exec with a console socket: $(cat "$TMP/exec.json")"

# The engine hangs up: the process hears of it.
jq '.args = ["sh", "-c", "trap \"echo gone >/root/hangup; exit 1\" HUP; echo up; while :; do sleep 1 & wait; done"]' \
    "$TMP/p.json" >"$TMP/p2.json"
steps hangup <<'END'
expect up
hangup
END
console hangup exec --process "$TMP/p2.json" --detach --pid-file @PID --console-socket @SOCK c1
[ "$(jq -r .status "$TMP/hangup.json") $(cat "$b/rootfs/root/hangup")" = '1 gone' ] ||
    fail "hang-up: $(cat "$TMP/hangup.json")"

# A failure: no pid, one sentence in what the engine captures.
jq '.args = ["no-such-thing"]' "$TMP/p.json" >"$TMP/p3.json"
steps refused </dev/null
console refused exec --process "$TMP/p3.json" --detach --pid-file @PID --console-socket @SOCK c1
[ "$(jq -r '"\(.cli) \(.cli_out | contains("executable file not found"))"' "$TMP/refused.json")" = '255 true' ] ||
    fail "an exec that fails: $(cat "$TMP/refused.json")"

# By hand, on a terminal of one's own.
steps hand <<'END'
expect # 
send stty size\n
expect 30 90\r\n
send w() { until [ "$(stty size)" = "$1" ]; do sleep 1; done; echo "is $1"; }\n
expect # 
size 101 37
send w '37 101'; cat\n
expect is 37 101\r\n
send echoed\x04
send \x04
expect echoedechoed
expect # 
send sh -c "echo slee""ping; exec sleep 1000"\n
expect sleeping\r\n
send \x03
expect # 
send exit 4\n
cooked
END
by_hand hand exec -t c1 sh
[ $rc = 4 ] || fail "exec -t by hand: status $rc"
# shellcheck disable=SC2016 # the container's shell expands it
steps killed <<'END'
expect up
kill TERM
expect got it
cooked
END
by_hand killed exec -t c1 sh -c 'trap "echo got it; exit 8" TERM; echo up; while :; do sleep 1 & wait; done'
[ $rc = 8 ] || fail "exec -t and a signal: status $rc"
setsid -w "$husk" --root "$root" exec -t c1 true </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'exec -t without a terminal'
grep -q 'is a terminal' "$TMP/err" || fail "exec -t without a terminal: $(cat "$TMP/err")"
h delete --force c1 || fail 'delete'

# A container with a terminal: create as containerd does, then start; its size, its end.
jq '.process.terminal = true | .process.args = ["sh"]' "$TMP/base.json" >"$b/config.json"
h create --bundle "$b" c2 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'a terminal without a console socket'
grep -q 'cannot allocate tty if husk will detach without setting console socket' "$TMP/err" || fail "create: $(cat "$TMP/err")"
cat >"$TMP/starter" <<END
#!/bin/sh
"$husk" --root "$root" --log "$TMP/log" create --bundle "$b" --pid-file "\$1" --console-socket "\$2" c2 &&
    "$husk" --root "$root" --log "$TMP/log" start c2
END
chmod +x "$TMP/starter"
steps create <<'END'
size 77 22
expect # 
send w() { until [ "$(stty size)" = "$1" ]; do sleep 1; done; echo "is $1"; }\n
expect # 
send w '22 77'; ls -l /dev/console | cut -c1; tty\n
expect is 22 77\r\nc\r\n
size 111 33
send w '33 111'\n
expect is 33 111\r\n
send sh -c "echo slee""ping; exec sleep 1000"\n
expect sleeping\r\n
send \x03
expect # 
send exit 9\n
END
"$here/lib/engine.py" --console "$TMP/create.steps" "$TMP/starter" @PID @SOCK >"$TMP/create.out" 2>"$TMP/create.err" ||
    fail "create with a console socket: $(cat "$TMP/create.err")"
[ "$(tail -n 1 "$TMP/create.out" | jq -r '"\(.cli) \(.parent) \(.status)"')" = '0 true 9' ] ||
    fail "create with a console socket: $(tail -n 1 "$TMP/create.out")"
h delete c2 || fail 'delete of c2'

# husk run on a terminal.
steps run <<'END'
expect # 
send stty size\n
expect 30 90\r\n
send w() { until [ "$(stty size)" = "$1" ]; do sleep 1; done; echo "is $1"; }\n
expect # 
size 66 44
send w '44 66'\n
expect is 44 66\r\n
send exit 5\n
cooked
END
by_hand run run --bundle "$b" c3
[ $rc = 5 ] || fail "run on a terminal: status $rc"
h run --bundle "$b" --console-socket "$TMP/none" c4 </dev/null 2>"$TMP/err" && fail 'run with a console socket'
grep -q 'cannot use console socket' "$TMP/err" || fail "run with a console socket: $(cat "$TMP/err")"
[ -z "$(ls -A "$root")" ] || fail "left: $(ls -A "$root")"
[ $bad = 0 ]
