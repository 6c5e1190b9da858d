#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm ctl`: what a running machine tells and lets itself be changed: pause, disks, memory both ways, end.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
cd "$TMP" || exit 1

# What does not change by itself: a guest goes on to give memory up that it was asked for.
# shellcheck disable=SC2016 # jq's
state() { ctl info --json | jq -S 'del(."uptime-ms", .memory.now, .memory.balloon, .memory.reported)'; }
# refuses SENTENCE ARGUMENTS...: one sentence, status 1, and nothing has changed
refuses() {
    local want=$1 rc=0
    shift
    state >before
    ctl "$@" >out 2>err || rc=$?
    if [ $rc != 1 ] || [ -s out ] || [ "$(wc -l <err)" != 1 ] || ! grep -q "^vmm: ctl: $want" err; then
        fail "'$*' was not refused with '$want': status $rc: $(cat out err)"
    fi
    state | cmp -s - before || fail "'$*' was refused and changed something"
}
# shellcheck disable=SC2317
at_most() {
    kill -0 "$pid" || fail "$name has ended"
    [ "$(info "$1")" -le "$2" ]
}
# shellcheck disable=SC2317
rss_below() { [ "$(rss_kb)" -lt "$1" ]; }

truncate -s 8M one.img
truncate -s 16M two.img
mkfs.ext4 -q two.img || fail mkfs
boot ctl -c 2 -m 256M --memory-max 512M --balloon --spare-disk 2 --disk one.img,serial=first --control "$TMP/s"
[ "$(stat -c %a s)" = 600 ] || fail 'the socket is open to others'
ctl info >text || fail 'ctl info'
grep -q '^state: running' text || fail "info: $(cat text)"
[ "$(info .cpus)" = 2 ] || fail 'cpus'

# Pause: the guest stands still, and goes on where it was.
refuses 'resume: the guest is not paused' resume
# shellcheck disable=SC2016 # the guest's
tell 'i=0; while :; do i=$((i + 1)); echo "n $i"; sleep 0.05; done & p=$!'
until_ok 30 grep -q '^n 20' ctl.out || fail 'the guest does not count'
ctl pause || fail pause
[ "$(info .state)" = paused ] || fail 'not paused'
ctl pause || fail 'a second pause says the same'
sleep 0.5 # what was on its way to the file
size=$(stat -c %s ctl.out)
sleep 1
[ "$(stat -c %s ctl.out)" = "$size" ] || fail 'a paused guest counts'
ctl resume || fail resume
until_ok 30 grown "$size" || fail 'the guest did not go on'
# shellcheck disable=SC2016
tell 'kill $p; echo "counted"'
until_ok 60 said counted || fail 'the guest does not end to count'

# Disks: a spare gets its image; one grows; both go back to the host as they should.
refuses 'disk blk1: neither a regular file nor a block device' add-disk /dev/null
ctl add-disk two.img >out || fail 'add-disk'
grep -qx 'disk: blk1' out || fail "add-disk said $(cat out)"
tell 'mount -t ext4 /dev/vdb /mnt && echo guest >/mnt/file && umount /mnt && echo "mounted"'
until_ok 30 said mounted || fail 'the added disk'
debugfs -R 'cat /file' two.img 2>err | grep -qx guest || fail 'what the guest wrote onto the added disk'
refuses "disk blk2: the image is in use by another process" add-disk one.img
ctl resize-disk blk0 12M >out || fail 'resize-disk'
tell 'cat /sys/block/vda/size; cat /sys/block/vda/serial; echo'
until_ok 30 said 24576 || fail 'the guest does not see the larger disk'
until_ok 30 said first || fail 'the serial number of a disk'
truncate -s 14M one.img
ctl resize-disk blk0 || fail 'resize-disk without a size'
tell 'cat /sys/block/vda/size'
until_ok 30 said 28672 || fail 'the guest does not see the even larger disk'
refuses "resize-disk: there is no disk 'blk7'" resize-disk blk7 1G
refuses 'disk blk0: 1048576 bytes are fewer' resize-disk blk0 1M
refuses 'resize-disk takes a size' resize-disk blk0 lots
ctl add-disk one.img,ro 2>/dev/null && fail 'an image twice'
truncate -s 1M three.img
ctl add-disk three.img,ro >out || fail 'the second spare'
refuses 'add-disk: all spare disks are in use' add-disk three.img,ro

# Memory: more than it began with, all of it used, and given back.
before=$(rss_kb)
ctl memory 352M >out || fail 'memory'
until_ok 60 is .memory.now $((352 << 20)) || fail "the guest did not take the memory: $(ctl info)"
tell 'mount -t tmpfs -o size=300m tmpfs /mnt; dd if=/dev/zero bs=1M count=260 2>/dev/null | tr "\000" x >/mnt/big; echo "big $?"'
until_ok 240 said "big 0" || fail "the guest cannot use its memory: $(ctl info)"
[ "$(rss_kb)" -gt $((before + 200000)) ] || fail "$(rss_kb) kB after $before"
tell 'rm /mnt/big; umount /mnt; echo "gone"'
until_ok 60 said gone || fail 'rm'
# It gives up a few MiB of what was added at a time, seconds each in the lab: the first blocks show that it does.
ctl memory 320M >out || fail 'memory'
[ "$(info .memory.wanted)" = $((320 << 20)) ] || fail "what was asked for: $(ctl info)"
until_ok 100 at_most .memory.now $((346 << 20)) || fail "the guest did not give memory up: $(ctl info)"
ctl memory 160M >out || fail 'memory'
until_ok 60 is .memory.balloon $((96 << 20)) || fail "the balloon: $(ctl info)"
# What was added and is not given up yet is free, and has been reported so.
until_ok 60 rss_below 190000 || fail "$(rss_kb) kB with 160 MiB: $(ctl info)"
ctl balloon 64M >out || fail 'balloon'
until_ok 60 is .memory.balloon $((64 << 20)) || fail "the balloon: $(ctl info)"
refuses '600 MiB of memory: at most 512 are possible' memory 600M
refuses '1 MiB of memory: at least 16 are needed' memory 1M
refuses 'balloon: 250 MiB of 256 would leave less than 16' balloon 250M
refuses 'memory takes a size' memory much

# Counters.
ctl stats --json >all.stats || fail stats
jq -e '.devices[] | select(.name == "blk0").queues | length == 2' all.stats >out || fail 'two queues'
jq -e '[.devices[] | select(.name == "blk1").queues[].chains] | add > 3' all.stats >out || fail 'chains of blk1'
jq -e '.vcpus.exits > 100 and .memory.total > 0' all.stats >out || fail "KVM's statistics, the guest's: $(cat all.stats)"
ctl stats >out || fail 'stats as text'

# Bad requests by hand.
python3 - "$TMP/s" <<'END' || fail 'requests by hand'
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
for bad in (b'x', b'[]', b'{"command":1}', b'{"command":"info"} x', b'{' + b' ' * 17000 + b'}', b'\xff\x00'):
    s.send(bad)
    answer = json.loads(s.recv(65536))
    assert answer['ok'] is False and answer['error'], answer
s.send(b'{"command":"info"}')
assert json.loads(s.recv(65536))['ok']
END
"$vmm" run -k "$HUSK_KERNEL/vmlinux" --control "$TMP/s" >out 2>err </dev/null && fail 'one socket, two machines'
grep -q "another machine listens there" err || fail "$(cat err)"

ctl stop || fail stop
exec 7>&-
rc=0
wait "$pid" || rc=$?
[ $rc = 0 ] || fail "status $rc after 'stop'"
pid=
[ ! -e s ] || fail 'the socket is left behind'
rc=0
ctl info >out 2>err || rc=$?
if [ $rc != 1 ] || ! grep -q '^vmm: ctl: no machine listens at' err; then fail "a dead machine: $(cat err)"; fi

# A machine without spare disks, memory to add or balloon; a name instead of a path.
boot plain --control it-plain
vmm_s=(ctl it-plain)
for words in "add-disk one.img|add-disk: the machine was started without --spare-disk" \
    'balloon 1M|balloon: the machine was started without --balloon' \
    'memory 300M|memory cannot grow beyond the 256 MiB' \
    'memory 200M|memory cannot shrink below the 256 MiB'; do
    # shellcheck disable=SC2086 # words
    "$vmm" "${vmm_s[@]}" ${words%%|*} >out 2>err && fail "$words"
    grep -q "${words#*|}" err || fail "$words: $(cat err)"
done
ends

# A vCPU that nothing takes out of KVM_RUN holds nobody up.
"$vmm" run -k "$HUSK_BUILD/guest/idle.elf" -m 16M --serial --console none --control it-idle >idle.out 2>idle.err </dev/null &
pid=$!
until_ok 60 test -s idle.out || fail "the idle guest: $(cat idle.err)"
timeout 60 "$vmm" ctl it-idle stats --json >out 2>err || fail "stats of an idle machine: $(cat err)"
jq -e '.vcpus.exits > 0' out >jq.out || fail "stats of an idle machine: $(cat out)"
timeout 60 "$vmm" ctl it-idle stop || fail 'stop of an idle machine'
wait "$pid" || fail "the idle machine: status $?"
pid=
exit 0
