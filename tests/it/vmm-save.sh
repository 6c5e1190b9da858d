#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A machine under load is saved, ended, and goes on from the file in another process, twice: with two CPUs, a disk that is
# being written, a share with files in use, persistent memory, added memory, a balloon, a NIC. Nothing is lost, no
# clock runs backwards, the guest's kernel complains of nothing. Then what must be refused, and what must not change then.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
cd "$TMP" || exit 1

stopped() {
    ctl stop || fail stop
    exec 7>&-
    wait "$pid" || fail "$name: status $?: $(cat "$name.err")"
    [ ! -s "$name.err" ] || fail "$name: $(cat "$name.err")"
    pid=
}

truncate -s 64M disk.img
mkfs.ext4 -q disk.img || fail mkfs
mkdir share
head -c 3000000 /dev/urandom >ro.img
ip tuntap add tap-save mode tap || fail 'a tap'
trap 'ip link del tap-save' EXIT
# shellcheck disable=SC2054 # commas belong to it
options=(-c 2 --memory-max 512M --balloon --disk disk.img,serial=first --spare-disk 1 --share share,tag=share --pmem ro.img,ro
    --net tap=tap-save --control "$TMP/s")
boot first "${options[@]}"

ctl memory 384M >out || fail memory
until_ok 60 is .memory.now $((384 << 20)) || fail "the guest did not take the memory: $(ctl info)"
# What goes on meanwhile: files to the disk with their sums, counting over 9p in a file that stays open, memory beyond what
# it began with full of what can be checked, and a loop on each CPU. One line is one command.
# shellcheck disable=SC2016 # the guest's
{
    asks 'mount -t ext4 /dev/vda /mnt; mkdir /share /big; mount -t tmpfs -o size=400m tmpfs /big; a=$?'
    asks 'mount -t 9p -o trans=virtio,version=9p2000.L,cache=mmap share /share; a=$?'
    [ "$REPLY" = 0 ] || fail 'the share'
    asks 'dd if=/dev/urandom of=/big/one bs=1M count=200 2>/dev/null; sha256sum /big/one >/big/sum; a=$?'
    asks 'exec 8>/share/count 9>/share/held; echo before >&9; a=$?'
    asks '(i=0; while :; do i=$((i + 1)); echo $i >&8; done) & counter=$!'
    tell 'write() { dd if=/dev/urandom of=/mnt/f$(($1 % 40)) bs=64k count=8 conv=fsync 2>/dev/null; echo $1 >/big/files; }'
    asks '(i=0; while [ ! -e /big/end ]; do i=$((i + 1)); write $i; done) & writer=$!'
    asks '(while [ ! -e /big/end ]; do :; done) & spinner=$!; a="$(nproc)"'
}
[ "$REPLY" = 2 ] || fail "the load: $REPLY"
# shellcheck disable=SC2016
asks 'until [ "$(cat /big/files)" -gt 3 ]; do sleep 1; done; a=$(sed "s/ .*//" /proc/uptime)'
uptime=$REPLY
[ -s share/count ] || fail 'nothing is counted'

generation() { # generation NAME: saves, ends, and goes on under that name
    local before
    ctl save machine >out 2>err || fail "save: $(cat err)"
    grep -q '^bytes: ' out || fail "save said $(cat out)"
    [ "$(info .state)" = paused ] || fail 'not paused after the save'
    [ "$(stat -c %a machine)" = 600 ] || fail 'a saved machine is open to others'
    [ "$(stat -c %s machine)" -gt $((384 << 20)) ] || fail 'a saved machine without its memory'
    echo "saved: $(du -m machine | cut -f1) MiB of $(($(stat -c %s machine) >> 20))"
    before=$(tail -n 1 share/count)
    stopped
    [ "$(tail -n 1 share/count)" = "$before" ] || fail 'counted after the save'
    ls machine.* 2>/dev/null && fail 'something is left beside the saved machine'
    go_on "$1" --restore machine "${options[@]:2}"
    # shellcheck disable=SC2317
    counts_on() {
        kill -0 "$pid" 2>/dev/null || fail "it ended: $(cat "$name.err")"
        [ "$(tail -n 1 share/count)" -gt "$before" ]
    }
    until_ok 60 counts_on || fail "it does not go on: $(cat "$1.err")"
}
healthy() {
    local was=$uptime
    # shellcheck disable=SC2016
    asks 'a=$(sed "s/ .*//" /proc/uptime)'
    uptime=$REPLY
    awk -v a="$was" -v b="$uptime" 'BEGIN { exit !(b > a) }' || fail "the clock: $was, then $uptime"
    # shellcheck disable=SC2016
    asks 'n=$(cat /big/files); until [ "$(cat /big/files)" -gt "$n" ]; do sleep 1; done; echo after >&9; a="$(nproc)"'
    [ "$REPLY" = 2 ] || fail "it had 2 CPUs, and has $REPLY"
    tail -n 1 share/held | grep -qx after || fail 'a file that was open'
    [ "$(info .cpus)" = 2 ] || fail "info: $(ctl info)"
    # Added memory is shown as what it is, and can be taken back and added to.
    [ "$(info .memory.now)" = $((384 << 20)) ] || fail "memory: $(ctl info)"
}
generation second
healthy
generation third
healthy
# shellcheck disable=SC2016
asks 'touch /big/end; kill $counter; wait $writer $spinner; sha256sum -c /big/sum >/dev/null; a="memory $?"'
[ "$REPLY" = 'memory 0' ] || fail 'memory has changed'
# shellcheck disable=SC2016
asks 'sha256sum /mnt/f* >/big/now; umount /mnt; mount -t ext4 /dev/vda /mnt; sha256sum -c /big/now >/dev/null; a="disk $?"; umount /mnt'
[ "$REPLY" = 'disk 0' ] || fail 'what is on the disk has changed'
# shellcheck disable=SC2016
asks 'a=$(sha256sum </dev/pmem0)'
[ "${REPLY%% *}" = "$( (cat ro.img; head -c $(((4 << 20) - 3000000)) /dev/zero) | sha256sum | cut -d' ' -f1)" ] || fail 'persistent memory'
# shellcheck disable=SC2016
asks 'dmesg | grep -iE "stalls|lockup|BUG:|oops|hung|I/O error|call trace" | head -n 3; a=$(dmesg | grep -ciE "stalls|lockup|BUG:|oops|hung|I/O error|call trace")'
[ "$REPLY" = 0 ] || fail "the guest's kernel complains"
awk 'NF { if ($1 != last + 1 && NR > 1) { print "after", last, "came", $1; bad = 1 } last = $1 } END { exit bad }' share/count ||
    fail 'counted twice, or not'
truncate -s 8M more.img
ctl add-disk more.img >out || fail 'a spare disk of a machine that went on'
# shellcheck disable=SC2016
asks 'a=$(cat /sys/block/vdb/size)'
[ "$REPLY" = 16384 ] || fail "the added disk has $REPLY sectors"
e2fsck -fn disk.img >fsck.out 2>&1 || fail "the disk: $(cat fsck.out)"

# A save that fails: nothing is left of it, and the guest, which ran, runs.
mkdir small
mount -t tmpfs -o size=4m tmpfs small || fail 'a small tmpfs'
ctl save small/machine >out 2>err && fail 'saved 384 MiB into 4'
grep -qx 'vmm: ctl: writing the saved machine: No space left on device' err || fail "a full disk: $(cat err)"
[ -z "$(ls small)" ] || fail "left behind: $(ls small)"
umount small
[ "$(info .state)" = running ] || fail 'not running after a save that failed'
asks 'a=still'
for bad in "share|save: 'share' is there, and not a regular file" "/dev/null|save: '/dev/null' is there" "nowhere/x|save: 'nowhere/x': No such"; do
    ctl save "${bad%%|*}" >out 2>err && fail "saved to ${bad%%|*}"
    grep -q "^vmm: ctl: ${bad#*|}" err || fail "${bad%%|*}: $(cat err)"
done
# A command that is interrupted leaves no file; what it had asked for is done.
kill -STOP "$pid"
"$vmm" ctl "$TMP/s" save late >out 2>err &
late=$!
# shellcheck disable=SC2317
has_part() { compgen -G 'late.*' >/dev/null; }
until_ok 20 has_part || fail 'no file beside the one that is to be'
kill -TERM $late
wait $late && fail 'an interrupted save says that all is well'
kill -CONT "$pid"
compgen -G 'late*' && fail 'an interrupted save leaves a file'
until_ok 60 is .state paused || fail 'the save that was asked for'
ctl resume || fail resume
# Saved twice while it is paused, the second over the first; it stays paused, and goes on here as well.
twice() { ctl pause && ctl save machine >out && cp --sparse=always machine machine2 && ctl save machine >out; }
twice || fail 'saving a paused machine'
[ "$(info .state)" = paused ] || fail 'the save let it go on'
# Clocks are registers; memory comes behind them, within the first MiB.
cmp -s -i 1048576 machine machine2 || fail 'a second save of the same guest differs'
ctl resume || fail resume
asks 'a=resumed'
# Ended while it is being saved: what is being written is written to its end, or not there.
"$vmm" ctl "$TMP/s" save gone >out 2>err &
saver=$!
until_ok 20 is .state saving || fail 'not seen to be saved'
# Unless it has just been saved.
ctl resume 2>err2 || grep -q 'the machine is being saved' err2 || fail "resume in a save: $(cat err2)"
stopped
if wait $saver; then
    [ -s gone ] || fail 'a save that went well without a file'
else
    [ ! -e gone ] || fail 'a save that failed with a file'
fi
compgen -G 'gone.*' && fail 'an ended save leaves a file'

# What cannot be: one sentence, status 1 or 2, and the files stay as they are.
refused() { # refused STATUS SENTENCE OPTIONS...
    local want=$1 text=$2 rc=0
    shift 2
    timeout 60 "$vmm" run "$@" >out 2>err </dev/null || rc=$?
    if [ $rc != "$want" ] || [ "$(wc -l <err)" != 1 ] || ! grep -q -- "$text" err; then
        fail "'$*': status $rc: $(cat err)"
    fi
}
# shellcheck disable=SC2054
rest=(--memory-max 512M --balloon --disk disk.img,serial=first --disk more.img,spare --share share,tag=share --pmem ro.img,ro --net tap=tap-save)
sha256sum machine disk.img ro.img >sums
refused 1 "'machine' was saved with 2 CPUs, not 1" --restore machine -c 1 "${rest[@]}"
refused 1 "'machine' was saved with 256 MiB, not 128" --restore machine -m 128M "${rest[@]}"
refused 2 '--kernel: a machine that goes on' --restore machine -k "$HUSK_KERNEL/vmlinux" "${rest[@]}"
refused 2 '--append: a machine that goes on' --restore machine -a quiet "${rest[@]}"
refused 2 '--memory-max' --restore machine -m 256M "${rest[@]}" --memory-max 1M
refused 1 "its device 0 was saved as 'blk0', and now is 'balloon0': the same options" --restore machine --balloon --control "$TMP/s"
refused 1 'disk blk1: it has 0 sectors, and had 16384 when it was saved' --restore machine "${options[@]:2}"
refused 1 'it was saved with 1 --pmem, and now has 2' --restore machine "${rest[@]}" --pmem disk.img,ro
refused 1 "it was saved without a serial port" --restore machine "${rest[@]}" --serial
refused 1 'not a saved machine' --restore ro.img "${rest[@]}"
refused 1 "saved machine 'nothing': No such file" --restore nothing "${rest[@]}"
truncate -s -1 machine2
refused 1 'cut off or damaged' --restore machine2 "${rest[@]}"
truncate -s 100 machine2
refused 1 'cut off or damaged' --restore machine2 "${rest[@]}"
cp --sparse=always machine machine2
printf '\377' | dd of=machine2 bs=1 seek=16 conv=notrunc 2>/dev/null
refused 1 'a saved machine of version 255' --restore machine2 "${rest[@]}"
mv share/count share/other
refused 1 "share 'share': 'count'" --restore machine "${rest[@]}"
mv share/other share/count
sha256sum --quiet -c sums || fail 'a refused machine has changed a file'
# And one that is what it was goes on after all of that.
go_on last --restore machine "${rest[@]}"
asks 'a=last'
ends

# Described by an MP table, one CPU, with a serial port.
boot table --hw mptable --serial --control "$TMP/s"
asks 'a=one'
ctl save machine >out || fail 'save with an MP table'
stopped
go_on table2 --restore machine --serial --control "$TMP/s"
asks 'a=two'
ends
exit 0
