#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The part of run.sh that runs where KVM is whole. Arguments: [-n PAIRS] [BENCH...]
# The arrays cmd_N are used by name, and QEMU's words hold commas.
# shellcheck disable=SC2034,SC2054
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
pairs=20
if [ "${1-}" = -n ]; then
    pairs=$2
    shift 2
fi
[ $# -gt 0 ] || set -- null linux run memory create-vm
work=$(mktemp -d /tmp/husk-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
# The lab's root is a file server: what is measured is loaded from memory, as the peers are once warm.
if [ "${LAB:-0}" = 1 ]; then
    mkdir "$work/kernel" "$work/release"
    cp "$HUSK_KERNEL/vmlinux" "$work/kernel/"
    cp -r "$HUSK_BUILD"/{bin,bench,guest,rootfs.erofs} "$work/release/"
    export HUSK_BUILD=$work/release HUSK_KERNEL=$work/kernel
fi

firstbyte=$HUSK_BUILD/bench/firstbyte

# measure NAME PAIRS MARK [-k]: interleaves the commands in the arrays cmd_<i>, labels in labels[]; the first is ours.
# Each line of $work/NAME.dat: one pair, nanoseconds to the first byte, one column a command.
measure() {
    local name=$1 n=$2 mark=$3 kill=${4-} i k line
    : >"$work/$name.dat"
    for ((i = -1; i < n; i++)); do # -1: warm-up
        line=
        for ((k = 0; k < ${#labels[@]}; k++)); do
            local -n cmd=cmd_$k
            if ! out=$("$firstbyte" -t 120 ${kill:+"$kill"} ${mark:+-m "$mark"} -- "${cmd[@]}" 2>"$work/err" </dev/null); then
                echo "bench $name: no output from ${labels[k]}: $(tail -n 3 "$work/err")" >&2
                return 1
            fi
            line+="${out%% *} "
        done
        [ $i -lt 0 ] || echo "$line" >>"$work/$name.dat"
        [ ! -t 2 ] || printf '\r%s: %d of %d ' "$name" $((i + 1)) "$n" >&2
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
    python3 "$here/table.py" "$name" "$work/$name.dat" "${labels[@]}"
}

microvm=(qemu-system-x86_64 -M 'microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=on,auto-kernel-cmdline=on'
    -cpu host -m 128M -smp 1 -nodefaults -no-user-config -display none -no-reboot)

for bench in "$@"; do
    case $bench in
    null)
        labels=(vmm 'qemu microvm')
        cmd_0=("$HUSK_BUILD/bin/vmm" run -k "$HUSK_BUILD/guest/null.elf" -m 128M --serial --console none)
        cmd_1=("${microvm[@]}" -kernel "$HUSK_BUILD/guest/null.elf" -serial stdio)
        measure null "$pairs" '' -k # microvm knows no reset by port 0x64
        ;;
    linux)
        "$here/../lib/mkinitrd.sh" "$work/initrd" "$here/init-first-byte.sh"
        labels=(vmm 'qemu microvm')
        cmd_0=("$HUSK_BUILD/bin/vmm" run -k "$HUSK_KERNEL/vmlinux" -i "$work/initrd" -a 'quiet end' -m 128M)
        cmd_1=("${microvm[@]}" -kernel "$HUSK_KERNEL/vmlinux" -initrd "$work/initrd"
            '-append' 'quiet console=hvc0 reboot=t panic=-1 tsc=reliable no_timer_check end'
            -device virtio-serial-device,max_ports=1 -chardev stdio,id=c -device virtconsole,chardev=c)
        measure linux "$pairs" husk-init -k
        ;;
    run)
        "$here/../lib/bundle.sh" "$work/bundle" echo husk-out
        labels=(husk crun runc)
        cmd_0=("$HUSK_BUILD/bin/husk" run -b "$work/bundle" bench-husk)
        cmd_1=(crun run -b "$work/bundle" bench-crun)
        cmd_2=(runc run -b "$work/bundle" bench-runc)
        measure run "$pairs" husk-out
        ;;
    create-vm)
        # The order of KVM_CREATE_VM and the move into a fresh cgroup: one column each.
        : >"$work/create-vm.dat"
        for ((i = 0; i < pairs; i++)); do
            mkdir "/sys/fs/cgroup/husk-bench-$$"
            first=$("$HUSK_BUILD/bench/createvm" "/sys/fs/cgroup/husk-bench-$$" first)
            last=$("$HUSK_BUILD/bench/createvm" "/sys/fs/cgroup/husk-bench-$$" last)
            rmdir "/sys/fs/cgroup/husk-bench-$$"
            echo "${first##* } ${last##* }" >>"$work/create-vm.dat"
        done
        python3 "$here/table.py" 'create-vm and cgroup' "$work/create-vm.dat" 'VM first' 'cgroup first'
        ;;
    memory)
        "$here/../lib/mkinitrd.sh" "$work/initrd" "$here/init-first-byte.sh"
        python3 "$here/memory.py" "$work/initrd"
        ;;
    *)
        echo "bench '$bench': there is none of that name (null, linux, run, memory, create-vm)" >&2
        exit 2
        ;;
    esac
done
