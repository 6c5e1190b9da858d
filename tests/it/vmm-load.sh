#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# not in check: 4 minutes in a lab by itself, 10 beside another, most of it waiting for the emulator.
# shellcheck disable=SC2016 # what is in single quotes is the guest's
# Devices at work, by the programs that people judge them with: fio's verified writes on disks, databases, git and trees of
# files over 9p, iperf3 on a tap. Then drivers that let go of their devices while these are at work, a reset and a
# SIGKILL in the middle. TREE is how many files the tree has (60; a kernel's sources are 80000), MIB
# what each of fio's writers writes (1).
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
# shellcheck source=tests/lib/guesttools.sh
. "$here/../lib/guesttools.sh"
cd "$TMP" || exit 1

ns=l$$
two=
trap 'ip netns del $ns; [ -z "$two" ] || losetup -d "$two"' EXIT
ip netns add $ns || fail 'a name space'
in=(ip netns exec "$ns")
"${in[@]}" sh -ec 'ip link set lo up; ip tuntap add tap0 mode tap vnet_hdr; ip link set tap0 up; ip addr add 10.9.8.1/24 dev tap0' || fail tap
printf '#!/bin/sh\nexec ip netns exec %s %s "$@"\n' "$ns" "$vmm" >nsvmm
chmod +x nsvmm
vmm=./nsvmm
# same VALUE WANTED WHAT
same() { [ "$1" = "$2" ] || fail "$3: '$1', not '$2'"; }
step=$SECONDS
say() {
    printf '%5d s  %s\n' $((SECONDS - step)) "$*"
    step=$SECONDS
}

mkdir tools work work/tree
guest_tools tools cp fio sqlite3 git iperf3 || fail 'programs for the guest'
truncate -s $((8 * ${MIB:-1} + 16))M one.img two.img
"$vmm" run -k "$HUSK_KERNEL/vmlinux" --disk two.img,direct >out 2>err </dev/null
grep -qx "vmm: disk 'two.img': its file system has no direct access" err || [ "$(stat -f -c %T two.img)" != tmpfs ] || fail "O_DIRECT on tmpfs: $(cat err)"
two=$(losetup -f --show two.img) || fail 'a loop device'
# shellcheck disable=SC2054 # commas belong to it
options=(-c 2 -m 512M --disk one.img --disk "$two",direct --share tools,tag=tools,ro --share work,tag=share --net tap=tap0
    --control "$TMP/s")
start() { # start NAME: boots, with its shares and its address
    boot "$1" "${options[@]}"
    asks "$(guest_tools_init)"
    asks 'mkdir /share; mount -t 9p -o trans=virtio,version=9p2000.L,cache=mmap,msize=512000 share /share; a=$?'
    [ "$REPLY" = 0 ] || fail 'the share'
    asks 'ip addr add 10.9.8.2/24 dev eth0; ip link set lo up; ip link set eth0 up; a=$?'
}
start load

# Eight writers with eight requests each in flight, all of it read back and compared.
for disk in vda vdb; do
    asks "fio --name=v --filename=/dev/$disk --rw=randwrite --bsrange=4k-32k --blockalign=4k --ioengine=libaio --direct=1 --iodepth=8 --numjobs=8 --offset_increment=${MIB:-1}M --size=${MIB:-1}M --verify=crc32c --verify_fatal=1 --group_reporting --minimal >/tmp/fio 2>&1; a=\$?"
    [ "$REPLY" = 0 ] || asks 'tail -n 5 /tmp/fio; a=failed'
    same "$REPLY" 0 "fio on $disk"
    say "fio on $disk"
done

# A tree that the host has made: copied, hashed, renamed and removed by the guest.
# Linux' client of 9p (6.1) sets times in whole seconds.
for ((i = 0; i < ${TREE:-60}; i++)); do
    dir=work/tree/$((i % 23))/$((i % 7))
    [ $i -ge 161 ] || mkdir -p "$dir"
    head -c $((i * 37 % 20000)) /dev/urandom >"$dir/file $i"
done
ln -s '0/0/file 0' work/tree/link
chmod 4751 "work/tree/1/1/file 1"
touch -d '2001-02-03 04:05:06.789' "work/tree/2/2/file 2"
asks '/usr/bin/cp -a /share/tree /share/copy; a=$?; sync'
[ "$REPLY" = 0 ] || fail 'cp -a'
diff -r --no-dereference work/tree work/copy || fail 'the copy differs'
list() { (cd "$1" && find . -printf '%p %y %m %U %G %Ts %l\n' | sort); }
diff <(list work/tree) <(list work/copy) >differ || fail "modes, owners or times of the copy differ: $(head -n 4 differ)"
say 'a copy over 9p'
want=$(cd work/tree && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
asks 'cd /share/copy; a=$(find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum); cd /'
[ "$REPLY" = "$want" ] || fail "the guest reads something else: $REPLY"
say 'its hash'
asks 'cd /share/copy; for i in */*; do mv "$i" "$i.moved" || a="$a $i"; done; cd /; mv /share/copy /share/moved || a=no'
[ -z "$REPLY" ] || fail "renaming: $REPLY"
same "$(find work/moved -type f | wc -l)" "${TREE:-60}" 'files after renaming'
if [ ! -d work/moved/3/3.moved ] || [ -e work/copy ]; then fail 'what was renamed'; fi
asks 'rm -r /share/moved; a=$?'
same "$REPLY" 0 'rm -r'
[ ! -e work/moved ] || fail 'something was not removed'
say 'renamed and removed'

# git: nothing has changed where the host made it; the guest's commit is whole.
git init -q work/repo
cp -r work/tree/0 work/tree/1 work/repo/
git=(git -C work/repo -c user.name=husk -c user.email=husk@localhost)
"${git[@]}" add .
"${git[@]}" commit -qm one || fail 'git commit'
asks 'git config --global --add safe.directory /share/repo; git config --global user.name guest; git config --global user.email guest@localhost; cd /share/repo; git status --porcelain; a=$?$(git status --porcelain | wc -l)'
[ "$REPLY" = 00 ] || fail "git status: $REPLY"
asks 'echo more >new; git mv "0/0/file 0" moved; git add new; git commit -qm two; a=$?; git gc -q; a=$a$?; cd /'
[ "$REPLY" = 00 ] || fail "git commit in the guest: $REPLY"
"${git[@]}" fsck --strict >fsck.out 2>&1 || fail "what the guest committed: $(cat fsck.out)"
same "$("${git[@]}" status --porcelain)$("${git[@]}" show HEAD:new)" more 'the repository'
say git

# A database in WAL mode, whose index is memory shared by mmap: two writers at once; and files as dpkg writes them.
asks 'cd /share; sqlite3 db "pragma journal_mode=wal; create table t(w, i, s);"; a=$?'
[ "$REPLY" = 0 ] || fail 'sqlite3'
tell 'fill() { i=0; while [ $i -lt 12 ]; do i=$((i + 1)); sqlite3 db ".timeout 60000" "insert into t values($1, $i, hex(randomblob(2000)))" || echo "failed $1 $i"; done; }'
asks 'fill 1 & fill 2 & wait; a=$(sqlite3 db "select count(*) from t; pragma integrity_check;" | tr "\n" " ")'
[ "$REPLY" = '24 ok ' ] || fail "the database: $REPLY"
[ "$(sqlite3 work/db 'select count(*), count(distinct w * 1000 + i) from t; pragma integrity_check;' | tr '\n' ' ')" = '24|24 ok ' ] || fail 'the database on the host'
asks 'i=0; while [ $i -lt 20 ]; do i=$((i + 1)); echo $i | dd of=f.dpkg-new conv=fsync 2>/dev/null && mv f.dpkg-new f$((i % 10)); done; cd /; sync; a=$(ls /share | grep -c "^f[0-9]")'
same "$REPLY $(cat work/f0)" '10 20' 'files with fsync'
[ ! -e work/f.dpkg-new ] || fail 'a file that was renamed is there'
asks 'fio --name=m --filename=/share/mapped --size=2M --rw=randwrite --bs=4k --ioengine=mmap --fsync=64 --verify=crc32c --minimal >/tmp/fio 2>&1; a=$?'
[ "$REPLY" = 0 ] || fail 'fio by mmap over 9p'
say 'a database, fsync, mmap'

"${in[@]}" iperf3 -s -D -I "$TMP/iperf.pid" >iperf.out 2>&1
for way in '' -R; do
    asks "iperf3 -c 10.9.8.1 -t 2 $way >/tmp/iperf 2>&1; a=\"\$? \$(grep -c 'receiver' /tmp/iperf) \$(grep receiver /tmp/iperf)\""
    [[ $REPLY == '0 1 '* ]] || fail "iperf3 $way: $REPLY"
    say "iperf3${way:+ $way}: $(grep -o '[0-9.]* [MKG]bits/sec' <<<"$REPLY")"
done

# Drivers let go while requests are under way: what was under way fails, and nothing is lost afterwards.
bound() { ctl info --json | jq -r '[.devices[] | select(.driver == "running")] | length'; }
was=$(bound)
files=$(find "/proc/$pid/fd" | wc -l)
asks 'a=$(readlink -f /sys/block/vdb/device)'
dev=${REPLY##*/}
# A node that is not there would be made as a file by who writes to it.
tell 'reads() { dd if=/dev/vdb of=/dev/null bs=64k iflag=direct 2>/dev/null; }; writes() { while [ -b /dev/vdb ] && dd if=/dev/zero of=/dev/vdb bs=4k count=20 oflag=direct 2>/dev/null; do :; done; }'
asks "for i in 1 2 3 4 5 6; do reads & writes & sleep 0.5; echo $dev >/sys/bus/virtio/drivers/virtio_blk/unbind; wait; rm -f /dev/vdb; echo $dev >/sys/bus/virtio/drivers/virtio_blk/bind; done; [ ! -b /dev/vdb ] || a=there"
[ "$REPLY" = there ] || fail "the disk after unbinding: $REPLY"
asks 'fio --name=v --filename=/dev/vdb --rw=randwrite --bs=4k --ioengine=libaio --direct=1 --iodepth=8 --size=4M --verify=crc32c --verify_fatal=1 --minimal >/tmp/fio 2>&1; a=$?'
[ "$REPLY" = 0 ] || fail 'fio after unbinding'
say 'a disk unbound six times'
asks 'n=$(ls -d /sys/bus/virtio/drivers/virtio_net/virtio*); n=${n##*/}; for i in 1 2 3; do iperf3 -c 10.9.8.1 -t 20 >/dev/null 2>&1 & p=$!; sleep 0.5; echo $n >/sys/bus/virtio/drivers/virtio_net/unbind; kill $p; wait; echo $n >/sys/bus/virtio/drivers/virtio_net/bind; ip addr add 10.9.8.2/24 dev eth0; ip link set eth0 up; done; a=$(ping -q -c 3 10.9.8.1 | grep -c " 0% packet loss")'
[ "$REPLY" = 1 ] || fail 'the network after unbinding'
say 'a NIC unbound three times'
[ "$(bound)" = "$was" ] || fail "devices: $(ctl info)"
[ "$(find "/proc/$pid/fd" | wc -l)" -le "$files" ] || fail 'descriptors are left'

# A reset in the middle of it all; then a SIGKILL: the images are free again, and so is the tap.
busy() {
    tell 'fio --name=b --filename=/dev/vda --rw=randrw --bs=4k --ioengine=libaio --direct=1 --iodepth=32 --time_based --runtime=300 >/dev/null 2>&1 & (while :; do cp -a /share/tree /share/busy; rm -r /share/busy; done) & iperf3 -c 10.9.8.1 -t 300 >/dev/null 2>&1 &'
    asks 'sleep 2; a=busy'
}
busy
ends
[ ! -e s ] || fail 'the socket is left'
rm -rf work/busy
start again
busy
kill -9 "$pid"
exec 7>&-
wait "$pid"
pid=
rm -rf work/busy
start third
asks 'a=$(dd if=/dev/vda of=/dev/null bs=1M 2>/dev/null; echo $?)'
[ "$REPLY" = 0 ] || fail 'the disk after a SIGKILL'
ends
kill "$(tr -d '\0' <"$TMP/iperf.pid")"
say 'reset and SIGKILL under load'
exit 0
