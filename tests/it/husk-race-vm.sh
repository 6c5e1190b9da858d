#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2016
# Commands that meet in a running container: many starts at once, a hundred execs at once, execs while it is
# deleted, few descriptors, the bundle and the state directory's room taken away, pause and update while it is being
# made. One sentence each, and nothing left.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
say() {
    printf '%5d s  %s\n' $SECONDS "$*"
}
create() { # create ID [OPTION...]
    h create --bundle "$b" --pid-file "$TMP/pid" "${@:2}" "$1" </dev/null >"$TMP/out" 2>&1 || {
        fail "create: $(cat "$TMP/out")"
        exit 1
    }
}
nothing() {
    local i
    for ((i = 0; i < 100; i++)); do
        { pgrep -fa -- "--root $root"; ls -A "$root"; find /sys/fs/cgroup -type d -name 'race-*'; } >"$TMP/left"
        [ -s "$TMP/left" ] || return 0
        moment
    done
    fail "$1: left: $(cat "$TMP/left")"
}
bash "$here/lib/bundle.sh" "$b" sh -c 'echo up; exec sleep 1000' || exit 1
jq '.linux.cgroupsPath = "/race-c1"' "$b/config.json" >"$TMP/plain.json" && cp "$TMP/plain.json" "$b/config.json"

# Paused and given new limits while it is being made behind the gate: both are done, then it starts. Then starts
# at once: one does it, the others say that it is under way or done.
create c1
h update --pids-limit 50 c1 || fail 'update of one that is being made'
h pause c1 || fail 'pause of one that is being made'
h start c1 2>"$TMP/err" && fail 'start of a paused one'
grep -q paused "$TMP/err" || fail "start of a paused one: $(cat "$TMP/err")"
h resume c1 || fail 'resume'
[ "$(status c1)" = created ] || fail "resumed: $(h state c1)"
pids=() done_=0
for ((i = 0; i < 8; i++)); do
    h start c1 >"$TMP/out.$i" 2>"$TMP/err.$i" &
    pids[i]=$!
done
for ((i = 0; i < 8; i++)); do
    if wait "${pids[i]}"; then
        done_=$((done_ + 1))
    else
        grep -qE 'already running|that is running' "$TMP/err.$i" && [ "$(wc -l <"$TMP/err.$i")" = 1 ] ||
            fail "one of eight starts: $(cat "$TMP/err.$i")"
    fi
done
[ $done_ = 1 ] || fail "eight starts: $done_ did it"
[ "$(h exec c1 cat /sys/fs/cgroup/pids.max </dev/null)" = 50 ] || fail 'the update while it was made got lost'
h update --pids-limit 2000 c1 || fail 'update'
say 'starts'

# The bundle goes; nothing of it is needed.
mv "$b/config.json" "$TMP/gone.json"
# A hundred execs at once; seen with two hundred.
n=${EXECS:-100}
pids=()
for ((i = 0; i < n; i++)); do
    h exec c1 sh -c "echo $i; exit $((i % 100))" </dev/null >"$TMP/x.$i" 2>&1 &
    pids[i]=$!
done
wrong=0
for ((i = 0; i < n; i++)); do
    wait "${pids[i]}"
    [ "$? $(cat "$TMP/x.$i")" = "$((i % 100)) $i" ] || { wrong=$((wrong + 1)) && cp "$TMP/x.$i" "$TMP/wrong"; }
done
[ $wrong = 0 ] || fail "$wrong of $n execs at once: the last: $(cat "$TMP/wrong")"
[ "$(h exec c1 ps -o args </dev/null | grep -c '^sh -c echo')" = 0 ] || fail 'execs are left in the guest'
[ "$(find "/proc/$(cat "$TMP/pid")/fd" -type l | wc -l)" -lt 100 ] || fail "descriptors: $(ls -l "/proc/$(cat "$TMP/pid")/fd")"
say "$n execs at once"

# delete --force in the middle of execs that come and go: each has its status or one sentence, none hangs.
touch "$TMP/go"
exec_on() {
    local k rc
    for ((k = 0; k < 100; k++)); do
        [ -e "$TMP/go" ] || return 0
        h exec c1 sh -c 'echo ok' </dev/null >"$TMP/d.$1" 2>&1
        rc=$?
        case "$rc $(cat "$TMP/d.$1")" in
        '0 ok' | '137 ok' | '137 ') ;;
        '255 husk: '*) [ "$(wc -l <"$TMP/d.$1")" = 1 ] || fail "exec during delete: $(cat "$TMP/d.$1")" ;;
        *) fail "exec during delete: $rc $(cat "$TMP/d.$1")" ;;
        esac
    done
    return $bad
}
pids=()
for ((i = 0; i < 8; i++)); do
    (
        bad=0
        exec_on $i
        exit $bad
    ) &
    pids[i]=$!
done
until [ "$(cat "$TMP/d.0" 2>/dev/null)" = ok ]; do moment; done
h delete --force c1 || fail 'delete --force during execs'
rm "$TMP/go"
for i in "${pids[@]}"; do
    wait "$i" || bad=1
done
mv "$TMP/gone.json" "$b/config.json"
nothing 'delete during execs'
say 'delete during execs'

# Sixty-four descriptors and no right to more: what does not fit is refused in a sentence, the rest goes on.
setpriv --bounding-set -sys_resource --inh-caps -sys_resource prlimit --nofile=64:64 \
    "$husk" --root "$root" create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>&1 ||
    fail "64 descriptors: create: $(cat "$TMP/out")"
grep -q 'open files  *64 ' "/proc/$(cat "$TMP/pid")/limits" || fail "$(grep open "/proc/$(cat "$TMP/pid")/limits")"
h start c1 || fail '64 descriptors: start'
pids=() fits=0
for ((i = 0; i < 30; i++)); do
    h exec c1 sh -c 'echo in; read x' <"$TMP/never" >"$TMP/x.$i" 2>&1 &
    pids[i]=$!
done
refused=0
for ((i = 0; i < 600 && fits + refused < 30; i++)); do
    fits=$(cat "$TMP"/x.? "$TMP"/x.?? | grep -c '^in$')
    refused=$(cat "$TMP"/x.? "$TMP"/x.?? | grep -c '^husk: ')
    moment
done
[ $((fits + refused)) = 30 ] && [ "$fits" -gt 2 ] && [ "$refused" -gt 2 ] ||
    fail "64 descriptors: $fits in, $refused refused: $(cat "$TMP"/x.? "$TMP"/x.?? | sort | uniq -c)"
for i in "${pids[@]}"; do
    kill -KILL "$i" 2>"$TMP/err"
    wait "$i" 2>"$TMP/err"
done
[ "$(h exec c1 echo still </dev/null 2>&1)" = still ] || fail '64 descriptors: no exec afterwards'
h kill c1 KILL || fail '64 descriptors: kill'
until_is c1 stopped
h delete c1 || fail '64 descriptors: delete'
nothing '64 descriptors'
say '64 descriptors'

# No room in the state directory after create: what it does it does, its state is told right, and it can be deleted.
mkdir -p "$root" && mount -t tmpfs -o size=64k tmpfs "$root" || exit 1
create c1
head -c 100000 /dev/zero >"$root/full" 2>"$TMP/err"
h start c1 2>"$TMP/err" || fail "full: start: $(cat "$TMP/err")"
[ "$(h exec c1 echo in </dev/null 2>&1)" = in ] || fail 'full: exec'
[ "$(status c1)" = running ] || fail "full: $(h state c1)"
h kill c1 KILL || fail 'full: kill'
until_is c1 stopped
h delete c1 || fail 'full: delete'
[ "$(ls -A "$root")" = full ] || fail "full: left: $(ls -AR "$root")"
umount "$root"
nothing 'no room'
[ $bad = 0 ]
