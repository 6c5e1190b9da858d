#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Disks and shares: what fio does in a guest of `vmm run` and in one of QEMU's microvm, with the same kernel, the same
# initrd, the same file behind the disk and the same tree shared by 9p. A round boots each once; between two jobs
# the guest is idle, and the VMM's CPU time is read, of which what the guest ran is taken off.
# Usage, in the lab or on a host with KVM, with HUSK_BUILD and HUSK_KERNEL set: devices.sh [ROUNDS [SECONDS-A-JOB]]
# OLD, the vmm of another build, is one more subject.
# JOBS, by default "cached direct 9p": a disk through the page cache (a file of ext4), one without it, and a share.
set -eu
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tests/lib/guesttools.sh
. "$here/lib/guesttools.sh"
rounds=${1:-3} seconds=${2:-5}
work=$(mktemp -d "${TMP:-/tmp}/bench-devices.XXXXXX")
pid=
loop=
clean() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || :
    mountpoint -q "$work/ext4" && umount "$work/ext4"
    [ -z "$loop" ] || losetup -d "$loop"
    rm -rf "$work"
}
trap clean EXIT
cd "$work"

# fio and what it needs are on a disk of their own, or each guest would unpack 80 MB of libraries.
mkdir tools ext4
guest_tools tools fio
mkfs.erofs tools.erofs tools >/dev/null 2>mkfs.err || { cat mkfs.err && exit 1; }
truncate -s 160M backing
loop=$(losetup -f --show backing)

job() { # job NAME ENGINE OPTION...
    printf '[%s]\nioengine=%s\nexec_prerun=/mark begin %s\nexec_postrun=/mark end %s\n' "$1" "$2" "$1" "$1"
    printf '%s\n' "${@:3}" ''
}
disk_jobs() {
    printf '[global]\nfilename=/dev/image\ndirect=1\nstonewall\ntime_based\nruntime=%s\nramp_time=0\n\n' "$seconds"
    job read-4k-random libaio rw=randread bs=4k iodepth=8
    job write-4k-random libaio rw=randwrite bs=4k iodepth=8
    job read-1M libaio rw=read bs=1M iodepth=4
    job write-1M libaio rw=write bs=1M iodepth=4
}
share_jobs() {
    printf '[global]\ndirectory=/share\nstonewall\n\n'
    job write-1M psync filename=big size=64M rw=write bs=1M
    job read-1M psync filename=big size=64M rw=read bs=1M
    # shellcheck disable=SC2016 # fio's
    local small=(nrfiles=250 openfiles=1 filesize=4k 'filename_format=small.$filenum')
    job create filecreate "${small[@]}"
    job stat filestat "${small[@]}"
    job unlink filedelete "${small[@]}"
}
cat >mark <<'END'
#!/bin/sh
echo "$*" >/dev/console
sleep 0.4
END
cat >init <<'END'
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
mkdir -p /tools /share
for i in vda vdb; do
    read -r ro </sys/block/$i/ro
    if [ "$ro" = 1 ]; then mount -t erofs -o ro /dev/$i /tools; else busybox ln -s $i /dev/image; fi
done
for i in lib lib64 usr; do [ ! -e /tools/$i ] || busybox ln -s /tools/$i /$i; done
busybox chmod 755 /mark
if [ "$1" = share ]; then
    mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000 share /share
fi
cd /tmp # fio writes what a mark says to files
/usr/bin/fio --minimal --output=/tmp/out /jobs."$1" >/tmp/err 2>&1
busybox cat /tmp/err >/dev/console
busybox cut -d';' -f3,5,6,8,9,47,49,50 /tmp/out | busybox sed 's/^/fio;/' >/dev/console
echo done >/dev/console
while :; do sleep 1000; done
END
disk_jobs >jobs.disk
share_jobs >jobs.share
"$here/lib/mkinitrd.sh" initrd init mark jobs.disk jobs.share

# With ticks: in a lab an idle guest may miss what wakes it (docs/STATUS.md, the interrupt shadow).
append='quiet console=hvc0 reboot=t panic=-1 tsc=reliable no_timer_check nohz=off'
memory=256M
# shellcheck disable=SC2054 # commas belong to it
vmm_for() { # vmm_for FILE OPTIONS-OF-DISK SHARE-OR-DISK VMM
    subject=("$4" run -k "$HUSK_KERNEL/vmlinux" -i initrd -m "$memory" -a "quiet nohz=off $3"
        --disk "$1$2" --disk tools.erofs,ro --share share,tag=share)
}
qemu_for() {
    local cache=cache.direct=off,cache.no-flush=off
    [ "$2" != ,direct ] || cache=cache.direct=on,cache.no-flush=off
    subject=(qemu-system-x86_64
        -M 'microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=on,auto-kernel-cmdline=on'
        -cpu host -m "$memory" -smp 1 -nodefaults -no-user-config -display none -no-reboot
        -kernel "$HUSK_KERNEL/vmlinux" -initrd initrd -append "$append $3"
        -device 'virtio-serial-device,max_ports=1' -chardev 'stdio,id=c,signal=off' -device 'virtconsole,chardev=c'
        -object 'iothread,id=io'
        -drive "if=none,id=t,format=raw,readonly=on,file=tools.erofs" -device 'virtio-blk-device,drive=t,iothread=io'
        -drive "if=none,id=d,format=raw,aio=io_uring,$cache,file=$1" -device 'virtio-blk-device,drive=d,iothread=io'
        -fsdev 'local,id=s,path=share,security_model=passthrough' -device 'virtio-9p-device,fsdev=s,mount_tag=share')
}

# ticks ARRAY: user and system time in hundredths of seconds, without the guest's
ticks() {
    local -n into=$1
    local stat
    stat=$(<"/proc/$pid/stat")
    read -ra stat <<<"${stat##*) }"
    # shellcheck disable=SC2034 # the caller's
    into=($((stat[11] - stat[40])) "${stat[12]}")
}
# one ROUND NAME KIND: boots the subject; a line of figures for each job of fio's
one() {
    local line name ops error rkib riops rms wkib wiops wms
    local -a began=() now=()
    declare -A cpu=()
    rm -rf share fifo
    mkdir share
    mkfifo fifo
    "${subject[@]}" >fifo 2>err </dev/null &
    pid=$!
    exec {said}<fifo
    while IFS= read -r -t 300 -u "$said" line; do
        line=${line%$'\r'}
        case $line in
        'begin '*) ticks began ;;
        'end '*)
            ticks now
            cpu[${line#end }]=$((now[0] - began[0]))$'\t'$((now[1] - began[1]))
            ;;
        'fio;'*)
            IFS=';' read -r _ name error rkib riops rms wkib wiops wms <<<"$line"
            [ "$error" = 0 ] || echo "$2: fio's '$name' failed: $error" >&2
            # What counts: KiB for large requests, requests for the others.
            if [ "$rms" -lt "$wms" ]; then rkib=$wkib riops=$wiops rms=$wms; fi
            case $name in
            *1M) ops=$((rkib / 1024)) ;;
            *) ops=$(awk "BEGIN { print int($riops * $rms / 1000 + 0.5) }") ;;
            esac
            printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3: $name" "$ops" "$rms" "${cpu[$name]}" >>figures
            ;;
        'done') break ;;
        *) [ -z "$line" ] || echo "$2: $line" >&2 ;;
        esac
    done
    exec {said}<&-
    [ "$line" = "done" ] || { echo "$2: $(cat err)" >&2 && exit 1; }
    kill "$pid"
    wait "$pid" || :
    pid=
}

subjects=(husk ${OLD:+old} qemu)
for ((round = 1; round <= rounds; round++)); do
    for kind in ${JOBS:-cached direct 9p}; do
        file=$loop options='' what=disk
        case $kind in
        cached)
            mkfs.ext4 -q -F "$loop"
            mount "$loop" ext4
            file=ext4/image
            head -c 96M /dev/zero >"$file"
            ;;
        direct)
            options=,direct
            head -c 160M /dev/zero >"$loop"
            ;;
        9p) what=share ;;
        *) echo "JOBS: there is no '$kind' (cached, direct, 9p)" >&2 && exit 2 ;;
        esac
        # What needs the page cache of the other kind is away by then.
        for who in "${subjects[@]}"; do
            [ ! -t 2 ] || printf '\rround %d of %d: %s, %s ' "$round" "$rounds" "$kind" "$who" >&2
            case $who in
            husk) vmm_for "$file" "$options" "$what" "$HUSK_BUILD/bin/vmm" ;;
            old) vmm_for "$file" "$options" "$what" "$OLD" ;;
            *) qemu_for "$file" "$options" "$what" ;;
            esac
            one "$round" "$who" "$kind"
        done
        ! mountpoint -q ext4 || umount ext4
    done
done
[ ! -t 2 ] || printf '\r\033[K' >&2
python3 "$here/bench/rates.py" figures "${subjects[@]}"
