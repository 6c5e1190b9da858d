#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm run` with disks, shares, pmem, a network card, a serial port, a configuration file: what the guest sees
# of them, and what it leaves on the host. stdin is no terminal here.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
vmm=$HUSK_BUILD/bin/vmm
cd "$TMP" || exit 1
fail() {
    echo "FAIL: $*"
    exit 1
}

# guest STATUS NAME OPTIONS... <<SCRIPT: boots our kernel with SCRIPT as init; its words are in NAME.out
guest() {
    local want=$1 name=$2 rc=0
    shift 2
    {
        echo '#!/bin/sh'
        echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
        cat
        echo 'reboot -f'
    } >"$name.init"
    "$here/../lib/mkinitrd.sh" "$name.cpio" "$name.init" || fail mkinitrd
    timeout 100 "$vmm" run -k "${kernel:-$HUSK_KERNEL/vmlinux}" -i "$name.cpio" -a quiet -m 128M "$@" \
        >"$name.out" 2>"$name.err" </dev/null || rc=$?
    [ $rc = "$want" ] && [ ! -s "$name.err" ] && return
    cat "$name.out" "$name.err"
    fail "$name: status $rc instead of $want"
}
# says NAME LINE: the guest wrote that line
says() {
    tr -d '\r' <"$1.out" | grep -qxF -- "$2" || {
        cat "$1.out"
        fail "$1: the guest did not say '$2'"
    }
}

# Disks, shares, writable pmem, all by a configuration file; the status that the guest hands over.
truncate -s 16M disk.img pm.img
mkfs.ext4 -q disk.img || fail mkfs
head -c 1M /dev/urandom >ro.img
mkdir rw ro
echo host >rw/file
echo host >ro/file
cat >all.json <<END
{"cpus": 2, "disk": [{"file": "disk.img"}, {"file": "ro.img", "ro": true}],
 "share": [{"dir": "rw", "tag": "one"}, {"dir": "ro", "tag": "two", "ro": true}], "pmem": [{"file": "pm.img"}]}
END
guest 0 all --config all.json <<'END'
mount -t ext4 /dev/vda /mnt && echo guest >/mnt/file && umount /mnt && echo "disk ok"
echo "ro $(cat /sys/block/vda/ro) $(cat /sys/block/vdb/ro)"
sha256sum /dev/vdb
o=trans=virtio,version=9p2000.L
mount -t 9p -o $o one /mnt && cat /mnt/file && echo guest >/mnt/new && mkdir /mnt/dir && umount /mnt && echo "share ok"
mount -t 9p -o $o two /mnt && cat /mnt/file && ! echo guest 2>/dev/null >/mnt/new && echo "read-only share ok"
umount /mnt
echo pmem | dd of=/dev/pmem0 bs=4096 conv=sync,fsync 2>/dev/null && echo "pmem ok"
echo "cpus $(nproc)"
END
says all 'disk ok'
says all 'ro 0 1'
says all "$(sha256sum <ro.img | cut -d' ' -f1)  /dev/vdb"
says all 'share ok'
says all 'read-only share ok'
says all 'pmem ok'
says all 'cpus 2'
if [ "$(cat rw/new)" != guest ] || [ ! -d rw/dir ] || [ -e ro/new ]; then
    fail 'what the guest wrote into shares'
fi
[ "$(head -c 4 pm.img)" = pmem ] || fail 'what the guest wrote into pmem'
e2fsck -fn disk.img >fsck 2>&1 || fail "the disk: $(cat fsck)"
debugfs -R 'cat /file' disk.img 2>err | grep -qx guest || fail 'what the guest wrote onto the disk'

# A writable disk has one user; the first goes on.
guest 0 second --disk disk.img <<'END' &
echo "here"
cat /dev/vda >/dev/null; sleep 8
END
first=$!
for ((i = 0; i < 300; i++)); do
    grep -q here second.out 2>err && break
    sleep 0.1
done
rc=0
timeout 20 "$vmm" run -k "$HUSK_KERNEL/vmlinux" --disk disk.img >out 2>err </dev/null || rc=$?
if [ $rc != 1 ] || ! grep -q "^vmm: disk 'disk.img': " err; then
    fail "a second user of a disk: status $rc $(cat err)"
fi
wait $first || fail 'the first user of the disk'

# A read-only image as root, on DAX and not beside it: pages of the image are not read into guest memory.
mkdir -p root/sbin root/proc root/dev root/sys root/bin
cp "$(command -v busybox)" root/bin/busybox
head -c 24M /dev/urandom >root/big
cat >root/sbin/init <<'END'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b grep ' / ' /proc/mounts
before=$($b awk '/^Cached/ { print $2 }' /proc/meminfo)
$b cat /big >/dev/null
after=$($b awk '/^Cached/ { print $2 }' /proc/meminfo)
[ $((after - before)) -lt 4096 ] && echo "not cached" || echo "cached $before $after"
$b reboot -f
END
sed -i '1s|.*|#!/bin/busybox sh|' root/sbin/init
chmod +x root/sbin/init
mkfs.erofs -Enoinline_data root.erofs root >mkfs.log 2>&1 || fail "mkfs.erofs: $(cat mkfs.log)"
timeout 100 "$vmm" run -k "$HUSK_KERNEL/vmlinux" -m 128M -a quiet --pmem root.erofs,ro,root >dax.out 2>err </dev/null ||
    fail "pmem root: status $? $(cat dax.out err)"
grep -q 'erofs.*dax=always' dax.out || fail "no DAX: $(cat dax.out)"
says dax 'not cached'

# A network card on a tap, in a name space of its own.
ip netns add "it$$" || fail 'no network name space'
{
    trap 'ip netns del "it$$"' EXIT
    ns=(ip netns exec "it$$")
    "${ns[@]}" ip tuntap add tap0 mode tap || fail tap
    "${ns[@]}" ip addr add 10.9.8.1/24 dev tap0 || fail 'address of the tap'
    "${ns[@]}" ip link set tap0 up || fail 'tap up'
    vmm_plain=$vmm
    printf '#!/bin/sh\nexec ip netns exec it%s %s "$@"\n' $$ "$vmm" >nsvmm
    chmod +x nsvmm
    vmm=./nsvmm
    guest 0 net --net tap=tap0,mac=02:00:00:00:00:77 <<'END'
ip addr add 10.9.8.2/24 dev eth0; ip link set eth0 up
cat /sys/class/net/eth0/address
ping -c 2 -W 5 10.9.8.1 >/dev/null && echo "ping ok"
END
    vmm=$vmm_plain
    says net 02:00:00:00:00:77
    says net 'ping ok'
}

# The serial port as the user's console, in both descriptions of the hardware.
for hw in fdt mptable; do
    guest 0 "serial-$hw" --hw $hw --serial --console none <<'END'
cat /proc/consoles
i=0; while [ $i -lt 200 ]; do echo "line $i of the serial port"; i=$((i + 1)); done
END
    says serial-$hw 'line 199 of the serial port'
    grep -q ttyS0 serial-$hw.out || fail "ttyS0 with $hw"
done
# A kernel of few bytes: PVH, serial.
null=$HUSK_BUILD/guest/null.elf
[ -e "$null" ] || fail 'no null guest: make guests'
timeout 20 "$vmm" run -k "$null" --serial --console none >null.out 2>err </dev/null || fail "null guest: status $? $(cat err)"
[ -s null.out ] || fail 'the null guest said nothing'
# The phase table.
kernel=$HUSK_KERNEL/bzImage
timeout 60 "$vmm" run -k "$kernel" -i net.cpio -m 128M -a quiet --boot-report=json >out 2>report </dev/null || fail report
jq -e . report >jq.out || fail "the report: $(cat report)"
exit 0
