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
    restore)
        # A guest that has booted, from a file, to what it says next; beside its boot.
        printf '#!/bin/sh\nexec yes husk-init\n' >"$work/init-says"
        "$here/../lib/mkinitrd.sh" "$work/initrd" "$work/init-says"
        boot=("$HUSK_BUILD/bin/vmm" run -k "$HUSK_KERNEL/vmlinux" -i "$work/initrd" -a quiet -m 128M)
        mkfifo "$work/said"
        "${boot[@]}" --control "$work/s" </dev/null >"$work/said" 2>"$work/err" &
        exec {said}<"$work/said"
        read -ru "$said" _
        "$HUSK_BUILD/bin/vmm" ctl "$work/s" save "$work/saved" >"$work/err" || exit 1
        "$HUSK_BUILD/bin/vmm" ctl "$work/s" stop
        exec {said}<&-
        wait
        echo "restore: $(du -k "$work/saved" | cut -f1) KiB of 128 MiB are in the file"
        labels=(restore boot)
        cmd_0=("$HUSK_BUILD/bin/vmm" run --restore "$work/saved")
        cmd_1=("${boot[@]}")
        measure restore "$pairs" husk-init -k
        ;;
    run)
        "$here/../lib/bundle.sh" "$work/bundle" echo husk-out
        labels=(husk crun runc)
        cmd_0=("$HUSK_BUILD/bin/husk" run -b "$work/bundle" bench-husk)
        cmd_1=(crun run -b "$work/bundle" bench-crun)
        cmd_2=(runc run -b "$work/bundle" bench-runc)
        measure run "$pairs" husk-out
        ;;
    exec)
        # In containers that run already, one of each, to the first byte of one more process.
        "$here/../lib/bundle.sh" "$work/bundle" sleep 100000
        labels=(husk crun runc)
        cmd_0=("$HUSK_BUILD/bin/husk" exec bench-husk echo husk-out)
        cmd_1=(crun exec bench-crun echo husk-out)
        cmd_2=(runc exec bench-runc echo husk-out)
        trap 'for r in "$HUSK_BUILD/bin/husk" crun runc; do "$r" delete -f "bench-${r##*/}"; done; rm -rf "$work"' EXIT
        for r in "${cmd_0[0]}" crun runc; do
            "$r" run -d -b "$work/bundle" "bench-${r##*/}" </dev/null >"$work/err" 2>&1
        done
        measure exec "$pairs" husk-out
        ;;
    start)
        # Of containers that have been created a while ago, one each: of ours the guest waits at the gate by then.
        "$here/../lib/bundle.sh" "$work/bundle" sleep 100000
        labels=(husk crun runc)
        runtimes=("$HUSK_BUILD/bin/husk" crun runc)
        mkfifo "$work/never"
        trap 'for r in "${runtimes[@]}"; do "$r" delete -f "bench-${r##*/}"; done; rm -rf "$work"' EXIT
        : >"$work/start.dat"
        for ((i = -1; i < pairs; i++)); do # -1: warm-up
            : >"$work/log"
            "${runtimes[0]}" --debug --log "$work/log" create -b "$work/bundle" bench-husk </dev/null >"$work/err" 2>&1
            for r in "${runtimes[@]:1}"; do
                "$r" create -b "$work/bundle" "bench-$r" </dev/null >"$work/err" 2>&1
            done
            for ((k = 0; k < 1200; k++)); do
                ! grep -q 'waits at the gate' "$work/log" || break
                read -rt 0.1 <>"$work/never" || :
            done
            line=
            for r in "${runtimes[@]}"; do
                out=$("$firstbyte" -e -t 120 -- "$r" start "bench-${r##*/}" 2>"$work/err" </dev/null) || {
                    echo "bench start: ${r##*/}: $(tail -n 3 "$work/err")" >&2
                    exit 1
                }
                line+="${out%% *} "
            done
            for r in "${runtimes[@]}"; do
                "$r" delete -f "bench-${r##*/}"
            done
            [ $i -lt 0 ] || echo "$line" >>"$work/start.dat"
        done
        python3 "$here/table.py" start "$work/start.dat" "${labels[@]}"
        ;;
    exits)
        # What one exit of each kind costs. In a lab with --icount: instructions, else ticks of the time stamp counter.
        "$HUSK_BUILD/bin/vmm" run -k "$HUSK_BUILD/guest/kernel_exits.elf" -m 128M --serial --console none </dev/null
        ;;
    reasons)
        mkdir "$work/reasons"
        "$here/reasons.sh" "$work/reasons"
        ;;
    virtual)
        # For a lab with --icount, where a nanosecond is an instruction: what is executed, and what with all waits.
        "$here/../lib/bundle.sh" "$work/bundle" true
        mkdir "$work/assets"
        ln "$HUSK_KERNEL/vmlinux" "$HUSK_BUILD/rootfs.erofs" "$work/assets/"
        mkdir "$work/bin"
        cp -L "$(command -v crun)" "$(command -v runc)" "$work/bin/"
        labels=(husk crun runc)
        cmd_0=("$HUSK_BUILD/bin/husk" --assets "$work/assets" run -b "$work/bundle" bench-husk)
        cmd_1=("$work/bin/crun" run -b "$work/bundle" bench-crun)
        cmd_2=("$work/bin/runc" run -b "$work/bundle" bench-runc)
        : >"$work/all.dat"
        : >"$work/busy.dat"
        for ((i = -2; i < pairs; i++)); do # -2, -1: warm-up
            all='' busy=''
            for ((k = 0; k < ${#labels[@]}; k++)); do
                declare -n cmd=cmd_$k
                out=$("$firstbyte" -e -t 600 -- "${cmd[@]}" 2>"$work/err" </dev/null) || {
                    echo "bench virtual: ${labels[k]}: $(tail -n 3 "$work/err")" >&2
                    exit 1
                }
                read -r total _ _ idle <<<"$out"
                all+="$total "
                busy+="$((total - idle)) "
            done
            [ $i -lt 0 ] || echo "$all" >>"$work/all.dat"
            [ $i -lt 0 ] || echo "$busy" >>"$work/busy.dat"
        done
        python3 "$here/table.py" 'virtual, run of true, with all waits' "$work/all.dat" "${labels[@]}"
        python3 "$here/table.py" 'virtual, run of true, executed' "$work/busy.dat" "${labels[@]}"
        for ((i = 0; i < 2; i++)); do
            "${cmd_0[@]:0:4}" --boot-report "${cmd_0[@]:4}" 2>"$work/report" </dev/null
        done
        cat "$work/report"
        # Our kernel with the mini OS as its root: its init waits for a husk, so it is ended.
        for ((i = 0; i < 2; i++)); do
            timeout 1 "$HUSK_BUILD/bin/vmm" run -k "$HUSK_KERNEL/vmlinux" -m 128M -a quiet --boot-report \
                --pmem "$HUSK_BUILD/rootfs.erofs,ro,root" 2>"$work/report" </dev/null >"$work/out" || [ $? = 124 ]
        done
        cat "$work/report"
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
        stat -c '  husk-agent     %s bytes' "$HUSK_BUILD/bin/husk-agent"
        ;;
    *)
        echo "bench '$bench': there is none of that name (null, linux, restore, run, exec, start, memory, create-vm, exits, reasons, virtual)" >&2
        exit 2
        ;;
    esac
done
