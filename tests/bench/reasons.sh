#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Exits of KVM until the guest's init, by reason, and returns of KVM_RUN to user space, by tracepoints that stop at the
# byte 0x41 on port 0x80, husk-agent's first act. reasons.sh WORK-DIR, with HUSK_BUILD and HUSK_KERNEL set; for a
# lab with --icount, where the counts do not depend on how busy the machine is.
set -euo pipefail
work=$1
trace=/sys/kernel/tracing
[ -d $trace/events ] || mount -t tracefs none $trace
# shellcheck disable=SC2317 # the trap's
end() {
    echo '!traceoff' >$trace/events/kvm/kvm_pio/trigger
    echo 0 >$trace/events/kvm/enable
    ! ip link show husk-bench0 >/dev/null 2>&1 || ip link del husk-bench0
}
trap end EXIT
mkdir -p "$work/share"
ip tuntap add husk-bench0 mode tap
ip link set husk-bench0 up
echo 16384 >$trace/buffer_size_kb
for event in kvm_exit kvm_pio kvm_userspace_exit; do
    echo 1 >$trace/events/kvm/$event/enable
done
echo 'traceoff if port == 128 && val == 65' >$trace/events/kvm/kvm_pio/trigger

# by_reason EVENT: counts, the most first.
by_reason() {
    awk -v e="$1:" '$0 ~ " " e { for (i = 1; i < NF; i++) if ($i == "reason") { n[$(i + 1)]++; all++ } }
        END { printf "%8d all\n", all; for (r in n) printf "%8d %s\n", n[r], r }' $trace/trace | sort -rn
}
count() { # count NAME OPTION...: of the second boot, when all that it needs has been used once
    local name=$1
    shift
    for _ in 1 2; do
        echo >$trace/trace
        echo 1 >$trace/tracing_on
        timeout 1 "$HUSK_BUILD/bin/vmm" run -k "$HUSK_KERNEL/vmlinux" --pmem "$HUSK_BUILD/rootfs.erofs,ro,root" -m 128M \
            -a quiet "$@" >"$work/out" 2>"$work/err" </dev/null || [ $? = 124 ] || { cat "$work/err" && return 1; }
    done
    [ "$(cat $trace/tracing_on)" = 0 ] || { echo "reasons: $name: no marker of an init" >&2 && return 1; }
    echo "reasons, $name: returns of KVM_RUN to user space"
    by_reason kvm_userspace_exit
    echo "reasons, $name: exits in KVM"
    by_reason kvm_exit
}
count 'console and pmem'
count 'console, pmem, 9p and a NIC' --share "$work/share,tag=s" --net tap=husk-bench0
