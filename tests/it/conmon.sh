#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# conmon by hand: create, start, exec, exec with a time limit, a terminal, exit files, with the command
# lines of podman and CRI-O, and what those call the runtime for themselves. Each case under runc and
# under husk has to print the same.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
mkdir "$E/exits" "$E/attach" "$E/persist"
"$engine_lib/bundle.sh" "$E/bundle" sh -c 'trap "echo bye; exit 4" TERM; echo up; while :; do sleep 0.2; done' || exit 1
# husk, with a log to look into should something go wrong.
printf '#!/bin/sh\nexec %s --log %s "$@"\n' "$husk" "$E/husk.log" >"$E/bin/husk-logged"
chmod +x "$E/bin/husk-logged"

rt() { # the runtime, as CRI-O calls it
    timeout "${LIMIT:-120}" "$bin" --root "$E/runtime-root/$r" "$@"
}
begin() { # begin JQ-FILTER: the bundle of this case
    bin=/usr/sbin/runc
    [ "$r" = runc ] || bin=$E/bin/husk-logged
    b=$E/bundle.$c
    mkdir -p "$b" "$E/persist/$c"
    jq --arg c "/it-conmon/$c" --arg root "$E/bundle/rootfs" ".linux.cgroupsPath = \$c | .root.path = \$root | .process.noNewPrivileges = false | $1" \
        "$E/bundle/config.json" >"$b/config.json"
}
conmon() { # conmon OPTION...: with what all callers give; prints its records
    "$engine_lib/conmonctl.py" sync "${lines[@]}" --api-version 1 -c "$c" -u "$c" -n "$c" -r "$bin" \
        --runtime-arg "--root=$E/runtime-root/$r" --socket-dir-path "$E/attach" --log-level warning "$@" |
        sed -E 's/"data": [0-9]{2,}/"data": PID/'
}
create() { # create OPTION...
    local lines=()
    conmon -b "$b" -p "$b/pid" -P "$b/conmon.pid" -l "k8s-file:$b/log" --exit-dir "$E/exits" \
        --persist-dir "$E/persist/$c" "$@"
}
exits() { # the container's exit file, as soon as conmon has written it
    until_ok test -s "$E/exits/$c"
    echo "exit file: $(cat "$E/exits/$c") $(cat "$E/persist/$c/exit")"
    until_ok test ! -d "/proc/$(cat "$b/conmon.pid")"
}

life() {
    begin .
    create
    test "$(tr -d 0-9 <"$b/pid" | wc -c)" = 0 && kill -0 "$(cat "$b/pid")" && echo pid file
    rt state "$c" | jq -r .status
    rc rt start "$c"
    until_ok grep -q up "$b/log"
    rt state "$c" | jq -r .status
    cat "/proc/$(cat "$b/pid")/cgroup"
    # A log that was moved away is begun anew (the CRI's ReopenContainerLog).
    mv "$b/log" "$b/log.1"
    echo '2 0 0' >"$b/ctl"
    until_ok test -e "$b/log"
    rc rt kill "$c" TERM
    exits
    rt state "$c" | jq -r '"\(.status) \(.pid)"'
    rc rt kill "$c" KILL 2>&1 | grep -oE 'no such process|container not running|status.*'
    rc rt delete --force "$c"
    rc rt state "$c" 2>&1 | grep -oE 'does not exist|status.*'
    for log in "$b/log.1" "$b/log"; do cut -d' ' -f2- "$log"; done
}
failures() {
    begin '.process.args = ["/nonexistent"]'
    create | grep -oE 'no such file or directory|"data": -1' | sort -u
    rc rt state "$c" 2>&1 | grep -oE 'does not exist|status.*'
}
# ExecSync of the CRI: conmon -e, with a log and a time limit.
execs() {
    local lines=(--lines 2)
    begin '.process.args = ["sleep", "1000"]'
    create
    rc rt start "$c"
    echo '{"args":["sh","-c","echo out; echo err >&2; exit 7"],"cwd":"/tmp","user":{"uid":0,"gid":0},
        "env":["PATH=/bin"]}' >"$b/process"
    conmon -b "$b" -e -p "$b/exec.pid" -l "k8s-file:$b/exec.log" --exec-process-spec "$b/process"
    cut -d' ' -f2- "$b/exec.log" | sort
    jq '.args = ["sh", "-c", "echo begun; sleep 1000; echo never"]' "$b/process" >"$b/slow"
    conmon -b "$b" -e -T 3 -p "$b/slow.pid" -l "k8s-file:$b/slow.log" --exec-process-spec "$b/slow" |
        sed -E 's/"data": "[^"]*"/"data": "…"/; s/"message": "[^"]*"/"message": "…"/'
    cut -d' ' -f2- "$b/slow.log"
    # CRI-O's streaming exec: in the foreground, without a pid file.
    echo data | rc rt exec --process "$b/process" "$c" 2>&1 | sort
    rc rt exec "$c" sh -c 'ps -o args | grep -c "[s]leep 1000"' # the late one is gone
    kill -9 "$(cat "$b/pid")"
    exits
    rc rt delete --force "$c"
}
# Memory that runs out: conmon's "oom" file beside the exit file.
oom() {
    begin '.process.args = ["tail", "/dev/zero"] | .linux.resources.memory = {"limit": 67108864, "swap": 67108864}'
    create
    rc rt start "$c"
    exits
    [ ! -e "$E/persist/$c/oom" ] || echo an oom file
    rc rt delete "$c"
}
# shellcheck disable=SC2016 # expanded in the container
terminal() {
    begin '.process.args = ["sh"] | .process.terminal = true | .process.consoleSize = {"width": 70, "height": 20}'
    create -t -i --leave-stdin-open
    rc rt start "$c"
    until_ok test -S "$E/attach/$c/attach"
    "$engine_lib/conmonctl.py" attach "$E/attach/$c/attach" 'stty size; tty\n' '20 70\s+/dev/pts/0'
    echo '1 44 99' >"$b/ctl"
    "$engine_lib/conmonctl.py" attach "$E/attach/$c/attach" \
        'until [ "$(stty size)" = "44 99" ]; do sleep 0.1; done; echo re"s"ized\n' 'resized'
    "$engine_lib/conmonctl.py" attach "$E/attach/$c/attach" 'echo la""st; exit 9\n' 'last'
    exits
    rc rt delete "$c"
}

for case in life failures execs terminal; do
    same $case
done
same oom 'the guest kills, and conmon reads counters of the host' '/^an oom file$/d'
find /sys/fs/cgroup -name it-conmon -exec rmdir {} + || fail 'cgroups are left'
rmdir "$E/runtime-root"/* || fail 'state is left'
engine_clean
[ $bad = 0 ] || tail -n 20 "$E/husk.log"
engine_end
