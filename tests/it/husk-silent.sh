#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest whose agent says that it is there and answers nothing, and a sandbox process that is stopped:
# whoever waits is told within the limits, and what was begun is gone afterwards.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
h() { # longer than the longest limit
    timeout 200 "$husk" --root "$root" --log "$TMP/log" "$@"
}

# The agent: READY, then an ACK for the host's VERSION, which has the id 1, and not a word more.
# shellcheck disable=SC2016 # the guest's shell expands it
printf '%s\n' '#!/bin/sh' 'mount -t devtmpfs none /dev; mount -t sysfs none /sys' \
    'while [ -z "$p" ]; do p=$(grep -l husk.ctl /sys/class/virtio-ports/*/name); done' \
    'p=${p%/name}; p=/dev/${p##*/}; exec 3<>$p' \
    'ready='\''{"protocol":{"min":1,"max":1},"version":"silent"}'\' \
    'printf "\0\0\0\010\0\0\0\101\0\0\0\0\0\0\0\0%s" "$ready" >&3' \
    'head -c 16 <&3 >/dev/null; printf "\0\0\0\011\0\0\0\020\0\0\0\001\0\0\0\0" >&3' \
    'cat <&3 >/dev/null' 'while :; do sleep 1000; done' >"$TMP/init"
"$here/lib/mkinitrd.sh" "$TMP/initrd" "$TMP/init" || exit 1
bash "$here/lib/bundle.sh" "$b" sleep 1000 || exit 1
make() { # make ID [INITRD]
    jq --arg id "$1" --arg i "${2-}" '.linux.cgroupsPath = "/husk-it/" + $id |
        if $i != "" then .vm = {kernel: {path: $ENV.KERNEL, initrd: $i}} else . end' "$b/config.json" >"$b/new"
    mkdir -p "$TMP/$1" && cp -r "$b/rootfs" "$TMP/$1/" && cp "$b/new" "$TMP/$1/config.json"
    h create --bundle "$TMP/$1" --pid-file "$TMP/$1.pid" "$1" </dev/null >"$TMP/$1.out" 2>&1 || fail "create $1: $(cat "$TMP/$1.out")"
}
export KERNEL=$HUSK_KERNEL/vmlinux
make started "$TMP/initrd"
make execed "$TMP/initrd"
make stopped

# All wait at the same time.
h start started >"$TMP/start.out" 2>&1 &
start=$!
h exec execed true >"$TMP/exec.out" 2>&1 &
exec=$!
h start stopped || fail 'start'
kill -STOP "$(cat "$TMP/stopped.pid")"
began=$SECONDS
h ps stopped >"$TMP/ps.out" 2>&1 && fail 'ps of a stopped sandbox process went well'
[ $((SECONDS - began)) -ge 45 ] || fail "ps did not wait: $((SECONDS - began)) s"
grep -q 'the sandbox process has not answered for 45 seconds' "$TMP/ps.out" || fail "ps: $(cat "$TMP/ps.out")"
# A signal waits for it, as for any process that is stopped; going on and SIGKILL do not.
h kill stopped USR1 || fail 'kill USR1 of a stopped one'
h kill stopped CONT || fail 'kill CONT of a stopped one'
h ps stopped >"$TMP/ps.out" 2>&1 || fail "ps after CONT: $(cat "$TMP/ps.out")"
kill -STOP "$(cat "$TMP/stopped.pid")"
h kill stopped KILL || fail 'kill KILL of a stopped one'
until_is stopped stopped
h delete stopped || fail "delete: $(h state stopped)"

wait $start && fail 'start went well without an agent'
grep -q "the guest's agent did not begin within 60 seconds" "$TMP/start.out" || fail "start: $(cat "$TMP/start.out")"
wait $exec
[ $? = 255 ] || fail "exec ended with $?"
grep -q "the guest's agent did not begin within 60 seconds" "$TMP/exec.out" || fail "exec: $(cat "$TMP/exec.out")"
# What could not be started ends by itself; the other one says why when it is to start, and ends then.
until_is started stopped
h delete started || fail "delete: $(h state started)"
[ "$(h state execed | jq -r .status)" = created ] || fail "after the exec: $(h state execed)"
h start execed >"$TMP/start.out" 2>&1 && fail 'start of the other one went well'
grep -q "did not begin within 60 seconds" "$TMP/start.out" || fail "start of the other one: $(cat "$TMP/start.out")"
h delete --force execed || fail 'delete --force'
for id in started execed stopped; do
    kill -0 "$(cat "$TMP/$id.pid")" 2>/dev/null && fail "$id: its process is left"
    [ -d "/sys/fs/cgroup/husk-it/$id" ] && fail "$id: its cgroup is left"
done
[ -z "$(h list -q)" ] || fail "left: $(h list)"
rmdir /sys/fs/cgroup/husk-it 2>/dev/null
[ $bad = 0 ]
