#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# pause and resume (nothing moves, no CPU is used, signals and requests meanwhile), ps, update with what
# the container sees of it, events with figures that are caused on purpose, out of memory, list.
# shellcheck disable=SC2016
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
refused() { # refused TEXT VERB...: fails, and says so
    local text=$1
    shift
    h "$@" >"$TMP/out2" 2>"$TMP/err2" && fail "$* went well"
    grep -q -- "$text" "$TMP/err2" || fail "$*: no '$text' in: $(cat "$TMP/err2")"
}
ticks() { # CPU time of the sandbox process, in hundredths of a second
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}
count() {
    cat "$b/rootfs/count" 2>/dev/null
}
moves() { # the container gets on
    local was i
    was=$(count)
    for ((i = 0; i < 300; i++)); do
        [ "$(count)" != "$was" ] && return 0
        moment 0.1
    done
    fail "$1: the container stands still"
}
stands() {
    local was
    was=$(count)
    moment 1
    [ "$(count)" = "$was" ] || fail "$1: the container moves: $was, $(count)"
}
inside() { # runs a line in the container's shell and prints what it says
    local line='' out='' i
    echo "$1" >&7
    # Without the container nobody answers: not worth a wait of minutes for each line.
    for ((i = 0; i < 12; i++)); do
        while IFS= read -rt 10 -u 8 line; do
            [ "$line" = '#end' ] && break 2
            out+=$line$'\n'
        done
        kill -0 "$pid" 2>/dev/null || break
    done
    [ "$line" = '#end' ] || fail "inside: $1: no answer"
    printf %s "$out"
}
mkfifo "$TMP/in" "$TMP/out"
exec 7<>"$TMP/in" 8<>"$TMP/out"

# A shell that obeys, and a loop below it that writes to the root all the time.
bash "$here/lib/bundle.sh" "$b" sh -c 'trap "echo got >/term" TERM
( n=0; while :; do n=$((n + 1)); echo $n >/count.new; mv /count.new /count; done ) &
while :; do if read -r l; then eval "$l"; echo "#end"; fi; done' &&
    jq '.linux.cgroupsPath = "/husk-it/ops" |
        .process.capabilities[] += ["CAP_NET_RAW"] |
        .linux.resources.memory.limit = 134217728 | .linux.resources.pids.limit = 100 |
        .mounts += [{destination: "/sys/fs/cgroup", type: "cgroup", options: ["ro"]}]' \
        "$b/config.json" >"$b/new" && mv "$b/new" "$b/config.json" || exit 1
h create --bundle "$b" --pid-file "$TMP/pid" c1 <"$TMP/in" >"$TMP/out" 2>"$TMP/err" || fail "create: $(cat "$TMP/err")"
pid=$(cat "$TMP/pid")

h features | jq -e '.potentiallyUnsafeConfigAnnotations == ["io.husk."] and .linux.cgroup.v2 and
    (.linux.capabilities | index("CAP_NET_RAW")) and (.hooks | length) == 6 and (.mountOptions | index("rro"))' >/dev/null || fail 'features'

# Before the start: the guest stops, nothing can be asked of it, and it can go on.
refused 'not running' ps c1
[ "$(h ps --format json c1)" = "[$pid]" ] || fail "ps --format json of a created one: $(h ps --format json c1)"
h pause c1 || fail 'pause of a created container'
[ "$(status c1)" = paused ] || fail "after pause: $(status c1)"
refused 'paused' start c1
h resume c1 || fail 'resume of a created container'
[ "$(status c1)" = created ] || fail "after resume: $(status c1)"
h update --pids-limit 90 c1 || fail 'update of a created container'
h start c1 || fail 'start'
[ "$(inside 'cat /sys/fs/cgroup/pids.max')" = 90 ] || fail 'the limit that was changed before the start'
refused 'not paused' resume c1

# Paused under I/O: the counter stands, and the VM uses no CPU.
moves 'before the pause'
h pause c1 || fail 'pause'
[ "$(status c1)" = paused ] || fail "after pause: $(status c1)"
[ "$(h list --format json | jq -r '.[0].status')" = paused ] || fail 'list --format json of a paused one'
before=$(ticks "$pid")
stands paused
moment 1
used=$(($(ticks "$pid") - before))
[ "$used" -le 10 ] || fail "a paused VM used $used hundredths of a second"
refused 'paused already' pause c1
refused 'it is paused' delete c1
refused 'cannot start' start c1
refused 'container paused' exec c1 true
# What is asked meanwhile is answered, and the container sees nothing of it.
[ "$(h ps --format json c1)" = "[$pid]" ] || fail 'ps --format json while paused'
h ps c1 >"$TMP/ps" || fail 'ps while paused'
[ "$(head -n 1 "$TMP/ps" | tr -s ' ')" = 'UID PID PPID C STIME TTY TIME CMD' ] || fail "ps: $(cat "$TMP/ps")"
grep -qE '^root +1 +0 .*sh -c trap' "$TMP/ps" || fail "ps: $(cat "$TMP/ps")"
h events --stats c1 | jq -e '.type == "stats" and .id == "c1" and .data.pids.limit == 90' >/dev/null || fail 'stats while paused'
h update --pids-limit 80 c1 || fail 'update while paused'
# An exec that is not to mind is made, and held back with the rest until the container goes on.
h exec --ignore-paused c1 sh -c 'echo from an exec >/exec' >"$TMP/exec.out" 2>&1 &
exec=$!
h kill c1 TERM || fail 'kill while paused'
stands 'still paused'
[ ! -e "$b/rootfs/term" ] || fail 'a paused process has handled a signal'
[ ! -e "$b/rootfs/exec" ] || fail 'an exec ran in a paused container'
kill -0 $exec 2>/dev/null || fail "exec --ignore-paused has ended: $(cat "$TMP/exec.out")"
[ "$(status c1)" = paused ] || fail "after requests: $(status c1)"
h resume c1 || fail 'resume'
[ "$(status c1)" = running ] || fail "after resume: $(status c1)"
moves 'after the resume'
wait $exec || fail "exec --ignore-paused: $? $(cat "$TMP/exec.out")"
[ "$(cat "$b/rootfs/exec")" = 'from an exec' ] || fail 'the exec that waited'
[ "$(inside 'cat /sys/fs/cgroup/pids.max')" = 80 ] || fail 'the limit that was changed while paused'
[ "$(inside 'cat /term')" = got ] || fail 'the signal that was sent while paused'
for ((i = 0; i < 15; i++)); do
    if ! h pause c1 || ! h resume c1; then
        fail "pause and resume, round $i"
        break
    fi
done
moves 'after many pauses'
inside 'kill $!' >/dev/null # enough of it: the rest is quicker without

# ps: the guest's processes for people, the stand-ins for engines.
h exec -d --pid-file "$TMP/xpid" c1 sleep 1234 || fail 'exec'
[ "$(h ps -f json c1)" = "[$pid,$(cat "$TMP/xpid")]" ] || fail "ps --format json with an exec: $(h ps -f json c1)"
h ps c1 | grep -qE '^root +[0-9]+ +0 .* sleep 1234$' || fail "ps with an exec: $(h ps c1)"
kill "$(cat "$TMP/xpid")"
h ps c1 -o pid,comm,args >"$TMP/ps" || fail 'ps -o'
[ "$(head -n 1 "$TMP/ps" | xargs)" = 'PID COMMAND COMMAND' ] || fail "ps -o: $(cat "$TMP/ps")"
h ps c1 aux | grep -qE '^root +1 +[0-9]+\.[0-9] +[0-9]+\.[0-9] +[0-9]+ +[0-9]+ ' || fail "ps aux: $(h ps c1 aux)"
refused 'not known here' ps c1 -Z
refused 'does not exist' ps c2

# Limits, as the container sees them, and as they are kept.
h update --memory 96m --memory-reservation 32m --cpu-quota 40000 --cpu-period 80000 --cpu-share 2048 c1 || fail 'update'
[ "$(inside 'cd /sys/fs/cgroup; echo $(cat memory.max memory.low cpu.max cpu.weight pids.max)')" = '100663296 33554432 40000 80000 79 80' ] ||
    fail "limits inside: $(inside 'cd /sys/fs/cgroup; echo $(cat memory.max memory.low cpu.max cpu.weight pids.max)')"
[ "$(cat /sys/fs/cgroup/husk-it/ops/cpu.max)" = '40000 80000' ] || fail "cpu.max on the host: $(cat /sys/fs/cgroup/husk-it/ops/cpu.max)"
h update --cpu-quota 20000 c1 || fail 'a quota alone'
[ "$(inside 'cat /sys/fs/cgroup/cpu.max')" = '20000 80000' ] || fail 'a quota alone lost its period'
h update --cpu-quota -1 c1 || fail 'no quota'
[ "$(inside 'cat /sys/fs/cgroup/cpu.max')" = 'max 80000' ] || fail 'no quota'
echo '{"memory":{"limit":100000000},"pids":{"limit":70},"unified":{"memory.high":"90001408"}}' | h update --resources=- c1 || fail 'update --resources=-'
[ "$(inside 'cd /sys/fs/cgroup; echo $(cat memory.max pids.max memory.high)')" = '99999744 70 90001408' ] || fail 'update --resources=-'
[ "$(jq -c '.linux.resources | [.memory.limit, .pids.limit, .cpu.period]' "$root/c1/config.json")" = '[100000000,70,80000]' ] ||
    fail "config.json keeps: $(jq -c .linux.resources "$root/c1/config.json")"
# All or nothing, and by name.
echo '{"pids":{"limit":60},"unified":{"memory.high":"many"}}' >"$TMP/res"
refused 'memory.high' update -r "$TMP/res" c1
[ "$(inside 'cat /sys/fs/cgroup/pids.max')" = 70 ] || fail 'half an update'
echo '{"pids":{"limit":"60"}}' >"$TMP/res"
refused 'pids.limit' update -r "$TMP/res" c1
refused "beyond what the VM may have" update --memory 1t c1
refused 'no such' update --cpu-rt-runtime 1000 c1
refused 'exclude' update -r "$TMP/res" --memory 64m c1
refused 'not a size' update --memory lots c1

# Figures: what is done on purpose is in them.
inside 'i=0; while [ $i -lt 30 ]; do sleep 1000 & i=$((i + 1)); done' >/dev/null
inside 'dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; ping -c 5 127.0.0.1 >/dev/null' >/dev/null
h events --stats c1 >"$TMP/stats" || fail 'events --stats'
[ "$(wc -l <"$TMP/stats")" = 1 ] || fail "events --stats: $(cat "$TMP/stats")"
jq -e '.type == "stats" and .id == "c1" and .data.pids.current >= 31 and .data.pids.limit == 70 and
    .data.memory.usage.usage >= 20971520 and .data.memory.usage.limit == 99999744 and
    .data.memory.usage.max >= .data.memory.usage.usage and .data.memory.raw.shmem >= 20971520 and
    .data.cpu.usage.total > 0 and .data.cpu.usage.user > 0 and .data.cpu.throttling.periods > 0 and
    (.data.network_interfaces[] | select(.Name == "lo") | .RxPackets >= 5 and .TxBytes >= 280) and
    (.data.hugetlb | has("2MB")) and (.data.blkio | type) == "object"' "$TMP/stats" >/dev/null ||
    fail "figures: $(cat "$TMP/stats")"
refused 'not a time' events --interval 0s c1

h update -r - c1 <<<'{"unified":{"memory.high":"max"}}' || fail 'update of memory.high'
h update --memory 40m c1 || fail 'update --memory 40m'
# Memory runs out: an event, and the container lives. Then it ends, and so do the events.
"$husk" --root "$root" events --interval 1h c1 >"$TMP/events" & # as long as the container lives
events=$!
inside 'rm /dev/shm/x; dd if=/dev/zero of=/dev/null bs=60000000 count=1' >/dev/null
for ((i = 0; i < 300; i++)); do
    grep -q oom "$TMP/events" && break
    moment 0.1
done
[ "$(jq -c . "$TMP/events" | sort -u)" = '{"type":"oom","id":"c1"}' ] || fail "events: $(cat "$TMP/events")"
inside 'cat /sys/fs/cgroup/memory.events' | grep -q '^oom_kill [1-9]' || fail 'nothing was killed'

# A limit beyond the VM makes it grow, and what is there can be used; below it memory goes back.
total=$(inside 'grep MemTotal /proc/meminfo' | tr -dc 0-9)
h update --memory 300m c1 || fail 'update --memory 300m'
[ "$(inside 'cat /sys/fs/cgroup/memory.max')" = 314572800 ] || fail "the limit inside: $(inside 'cat /sys/fs/cgroup/memory.max')"
[ "$(inside 'grep MemTotal /proc/meminfo' | tr -dc 0-9)" -gt $((total + 120000)) ] || fail "the VM has not grown from $total kB: $(inside 'grep MemTotal /proc/meminfo')"
[ "$(cat /sys/fs/cgroup/husk-it/ops/memory.max)" -gt 380000000 ] || fail "the host's limit: $(cat /sys/fs/cgroup/husk-it/ops/memory.max)"
[ "$(inside 'dd if=/dev/zero of=/dev/null bs=190000000 count=1 2>/dev/null; echo $?')" = 0 ] || fail 'the memory that was added cannot be used'
rss() {
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$pid/status"
}
less() { # less KB WHAT
    for ((i = 0; i < 300 && $(rss) > $1; i++)); do
        moment 0.1
    done
    [ "$(rss)" -le "$1" ] || fail "$2: $(rss) kB, not $1 or less"
}
# What is free goes back to the host by itself (a process has just had 190 MB of it).
less 190000 'free memory does not go back'
# And with a lower limit the VM is smaller: the guest cannot even have it for files.
h update --memory 64m c1 || fail 'update --memory 64m'
available() {
    inside 'grep MemAvailable /proc/meminfo' | tr -dc 0-9
}
# How near to 128 MiB it gets depends on where the guest has put what cannot be moved.
for ((i = 0; i < 300 && $(available) > 200000; i++)); do
    moment 0.1
done
[ "$(available)" -le 200000 ] || fail "the VM has not shrunk: $(available) kB are available in it"
less 150000 'memory does not go back'
h update --memory 300m c1 || fail 'update back to 300m'
[ "$(available)" -ge 250000 ] || fail "the VM has not grown back: $(available) kB are available in it"

# Table, json, ids.
h create --bundle "$b" --pid-file "$TMP/pid2" a-second-one-with-a-long-name-that-does-not-fit </dev/null >/dev/null 2>&1 && fail 'two in one cgroup'
jq '.linux.cgroupsPath = "/husk-it/ops2"' "$b/config.json" >"$b/new" && mv "$b/new" "$b/config.json"
h create --bundle "$b" c2 </dev/null >/dev/null 2>&1 || fail 'a second one'
[ "$(h list -q | tr '\n' ' ')" = 'c1 c2 ' ] || fail "list -q: $(h list -q)"
h list >"$TMP/list"
[ "$(head -n 1 "$TMP/list" | tr -s ' ')" = 'ID PID STATUS BUNDLE CREATED OWNER' ] || fail "list: $(cat "$TMP/list")"
grep -qE "^c1 +$pid +running +$b +20[0-9T:.-]+Z +root\$" "$TMP/list" || fail "list: $(cat "$TMP/list")"
[ "$(h list -f json | jq -r '.[] | "\(.id) \(.status) \(.bundle) \(.owner)"' | tr '\n' ' ')" = "c1 running $b root c2 created $b root " ] ||
    fail "list -f json: $(h list -f json)"

# SIGKILL gets a paused container, by kill and on its pid; delete --force does.
h pause c1 || fail 'pause before the end'
h kill --all c1 KILL || fail 'kill --all of a paused one'
until_is c1 stopped
wait $events || fail "events ended with $?"
h delete c1 || fail 'delete'
refused 'does not exist' events c1
h start c2 || fail 'start of the second'
h pause c2 || fail 'pause of the second'
h delete --force c2 || fail 'delete --force of a paused one'
h create --bundle "$b" --pid-file "$TMP/pid" c3 </dev/null >/dev/null 2>&1 || fail 'a third one'
h start c3 || fail 'start of the third'
h pause c3 || fail 'pause of the third'
kill -9 "$(cat "$TMP/pid")"
until_is c3 stopped
refused 'not running' pause c3
h delete c3 || fail 'delete of the third'
[ -z "$(h list -q)" ] || fail "left: $(h list)"
rmdir /sys/fs/cgroup/husk-it 2>/dev/null
exit $bad
