#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Networks: iperf3 and ping between a container on the host's bridge and the host, and between two of them, in each
# model of husk, beside a plain veth (what runc's containers have) and QEMU's microvm with a tap and the same
# redirection, where QEMU itself or the kernel's vhost moves the packets. For each: Mbit/s from the guest, to it, and per
# second of CPU time that the VMM itself took (all of it less what the guest ran).
# Usage, in the lab or on a host with KVM, with HUSK_BUILD and HUSK_KERNEL set: net.sh [SECONDS]; MODELS="tc" has fewer.
set -u
export TMP=${TMP:-$(mktemp -d)}/bench-net ASK_TIMEOUT=150
mkdir -p "$TMP"
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
# shellcheck source=SCRIPTDIR/../lib/net.sh
. "$here/lib/net.sh"
seconds=${1:-3}

# cpu PID...: hundredths of seconds of CPU time in user mode, less the guests', and in the kernel
cpu() {
    local pid user=0 system=0 stat
    for pid in "$@"; do
        stat=$(<"/proc/$pid/stat")
        read -ra stat <<<"${stat##*) }"
        user=$((user + stat[11] - stat[40]))
        system=$((system + stat[12]))
    done
    echo $user $system
}
rate() { # rate <OUTPUT of iperf3 -f m: what the receiver saw
    awk '/receiver/ { for (i = 2; i <= NF; i++) if ($i == "Mbits/sec") v = $(i - 1) } END { print v + 0 }'
}
silent() {
    printf '%-22s no figure: %s\n' "$1" "$(grep . <<<"$REPLY" | tail -n 1)"
}
# row LABEL PIDS HOST CALL...: three rows by CALL, which runs a command in the guest and has its output in REPLY, with a
# server at HOST; after a second each way for the code to be warm.
row() {
    local label=$1 pids=() host=$3 way speed
    local -a before after
    read -ra pids <<<"$2"
    shift 3
    for way in '' -R; do
        # Who has been silent answers the question before next, so that nothing more can be measured.
        "$@" "iperf3 -c $host -t 1 $way" || { silent "$label ${way:-out}" && return; }
        read -ra before <<<"$(cpu "${pids[@]}")"
        "$@" "iperf3 -c $host -t $seconds -f m $way" || { silent "$label ${way:-out}" && return; }
        read -ra after <<<"$(cpu "${pids[@]}")"
        speed=$(rate <<<"$REPLY")
        awk -v l="$label" -v w="${way:-out}" -v s="$speed" -v u=$((after[0] - before[0])) -v k=$((after[1] - before[1])) \
            -v t="$seconds" 'BEGIN {
            printf "%-22s %-4s %8.0f Mbit/s", l, w == "-R" ? "in" : "out", s
            c = (u + k) / 100
            if (c > 0) printf "   %6.2f CPU s (%2.0f %% in user mode)   %8.0f Mbit per CPU s", c, u / c, s * t / c
            print "" }'
    done
    "$@" "ping -c 20 -i 0.1 -q $host 2>&1 || ping -c 10 -q $host"
    printf '%-22s ping %s\n' "$label" "$(grep -E 'round-trip|rtt' <<<"$REPLY")"
}

net_begin
for c in a b q v w; do
    netns $c $((2 + $(printf '%d' "'$c") - 97))
done
iperf3 -s -D -I "$TMP/iperf.pid" >"$TMP/iperf.out" 2>&1
for c in a b; do
    bundle $c || exit 1
    jq '.linux.resources = {}' "$TMP/$c/config.json" >"$TMP/new" && mv "$TMP/new" "$TMP/$c/config.json"
    for file in "$(command -v iperf3)" $(ldd "$(command -v iperf3)" | grep -o '/[^ ]*'); do
        install -D "$file" "$TMP/$c/rootfs$file"
    done
    ln -s ../usr/bin/iperf3 "$TMP/$c/rootfs/bin/iperf3"
done

in_v() {
    REPLY=$(n v bash -c "$1" 2>&1)
}
row veth '' 10.9.0.1 in_v
n w iperf3 -s -D -I "$TMP/iperf.w.pid" >"$TMP/iperf.w.out" 2>&1
row 'veth to veth' '' "$(n w ip -4 -o addr show eth0 | grep -o '10\.9\.0\.[0-9]*' | head -n 1)" in_v
kill "$(tr -d '\0' <"$TMP/iperf.w.pid")"

for model in ${MODELS:-tc bridge macvtap}; do
    echo "{\"network\": {\"model\": \"$model\"}, \"vcpus\": {\"default\": 1}}" >"$TMP/husk.conf"
    globals=(--config "$TMP/husk.conf")
    ask_start a h run --bundle "$TMP/a" a
    ask_start b h run --bundle "$TMP/b" b
    ask a 'iperf3 -v' || { echo "$model: $REPLY" && exit 1; }
    ask b 'iperf3 -s -D >/dev/null 2>&1' || { echo "$model: $REPLY" && exit 1; }
    a=$(h state a | jq .pid) b=$(h state b | jq .pid)
    row "husk $model" "$a" 10.9.0.1 ask a
    row "husk $model, to a guest" "$a $b" 10.9.0.3 ask a
    ask_end b
    ask_end a
done

# The same for QEMU: its tap in the name space, joined to the interface in the same way. With ticks, since in a lab an idle
# guest may miss what wakes it (docs/STATUS.md, the interrupt shadow), and this one cannot be nudged by anything else.
n q ip tuntap add tapq mode tap vnet_hdr && n q ip link set tapq up
for pair in 'eth0 tapq' 'tapq eth0'; do
    n q tc qdisc add dev "${pair% *}" ingress
    n q tc filter add dev "${pair% *}" ingress protocol all matchall action mirred egress redirect dev "${pair#* }"
done
q=$(n q ip -4 -o addr show eth0 | grep -o '10\.9\.0\.[0-9]*' | head -n 1)
cat >"$TMP/init" <<END
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up
ip addr add $q/24 dev eth0
ip link set eth0 up
# Questions come over the network: what is typed wakes a guest in a lab as little as anything else.
nc -ll -p 99 -e /bin/sh </dev/null >/dev/null 2>&1 &
echo ready >/dev/console
while :; do sleep 1000; done
END
chmod 755 "$TMP/init"
cp "$TMP/init" "$TMP/b/rootfs/init"
(cd "$TMP/b/rootfs" && find . -print0 | cpio --quiet -0 -o -H newc) >"$TMP/initrd"
in_q() {
    REPLY=$(timeout 100 busybox nc "$q" 99 <<<"{ $1; } 2>&1; echo ask-end" 2>&1)
    [[ $REPLY == *ask-end ]]
}
until_ready() {
    local line
    while IFS= read -r -t "$ASK_TIMEOUT" -u "${ASK_OUT[$1]}" line; do
        [ "${line%$'\r'}" != ready ] || return 0
    done
    REPLY='it does not boot'
    return 1
}
# The packets once by QEMU itself, once by the kernel's vhost, whose thread counts as well.
for vhost in off on; do
    if [ $vhost = on ] && [ ! -c /dev/vhost-net ]; then
        echo 'qemu tc, vhost: no figure: no /dev/vhost-net'
        break
    fi
    ask_start q$vhost ip netns exec husk-it-q qemu-system-x86_64 \
        -M 'microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=on,auto-kernel-cmdline=on' \
        -cpu host -m 256M -smp 1 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$HUSK_KERNEL/vmlinux" -initrd "$TMP/initrd" \
        -append 'quiet console=hvc0 reboot=t panic=-1 tsc=reliable no_timer_check nohz=off' \
        -device virtio-serial-device,max_ports=1 -chardev stdio,id=c,signal=off -device virtconsole,chardev=c \
        -netdev tap,id=n,ifname=tapq,script=no,downscript=no,vhost=$vhost \
        -device virtio-net-device,netdev=n,mac="$(n q cat /sys/class/net/eth0/address)"
    if until_ready q$vhost && in_q 'iperf3 -v'; then
        pid=$(pgrep -f "^qemu-system-x86_64 .*ifname=tapq" | head -n 1)
        label='qemu tc'
        [ $vhost = off ] || label='qemu tc, vhost'
        row "$label" "$pid $(pgrep -x "vhost-$pid")" 10.9.0.1 in_q
        kill "$pid"
        ask_end q$vhost || :
    else
        echo "QEMU, vhost=$vhost: $REPLY"
    fi
done
kill "$(tr -d '\0' <"$TMP/iperf.pid")"
