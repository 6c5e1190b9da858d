#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # what is in single quotes is the guest's
# A network card of `vmm run` on a tap of several queues: data, MTU, filter, cable; what cannot work.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
cd "$TMP" || exit 1
# shellcheck source=tests/lib/netdata.sh
. "$here/../lib/netdata.sh"
here_ns=a$$
trap 'ip netns del $here_ns' EXIT
ip netns add $here_ns || fail 'a name space'
in=(ip netns exec "$here_ns")
plain=$vmm
printf '#!/bin/sh\nexec ip netns exec %s %s "$@"\n' "$here_ns" "$plain" >nsvmm
chmod +x nsvmm
vmm=./nsvmm
# shellcheck disable=SC2317 # called by until_ok
count() { ctl stats --json | jq "[.devices[] | select(.name == \"net0\")][0].\"$1\""; }
# shellcheck disable=SC2317
counts() { [ "$(count "$1")" -ge "$2" ]; }

# A tap of two queues.
"${in[@]}" ip tuntap add tap0 mode tap multi_queue || fail tap
"${in[@]}" ip link set tap0 mtu 1400 up || fail 'tap up'
"${in[@]}" ip addr add 10.9.8.1/24 dev tap0 || fail 'address of the tap'
boot mq -c 2 --net tap=tap0,queues=2,mac=02:00:00:00:00:77 --control "$TMP/s"
tell 'ip addr add 10.9.8.2/24 dev eth0; ip link set eth0 up; cd /sys/class/net/eth0; echo "mtu $(cat mtu)" $(ls queues)'
until_ok 30 said 'mtu 1400 rx-0 rx-1 tx-0 tx-1' || fail "what the guest sees: $(cat mq.out)"
until_ok 30 counts queue-pairs 2 || fail 'the guest did not ask for its second queue'
serve "${in[@]}"
both 10.9.8.1
# Both queues have carried something: several streams at once.
for i in 1 2 3 4 5 6 7 8; do
    "${in[@]}" ping -q -c 1 -W 5 10.9.8.2 >pinged || fail "ping $i: $(cat pinged)"
    "${in[@]}" socat -u FILE:nsvmm TCP-LISTEN:60$i,reuseaddr &
done
# shellcheck disable=SC2317
all_listen() { [ "$("${in[@]}" ss -Hltn | grep -cE ':60[1-8] ')" = 8 ]; }
until_ok 20 all_listen || fail 'eight servers'
tell 'for i in 1 2 3 4 5 6 7 8; do busybox nc 10.9.8.1 60$i </dev/null >/dev/null & done; wait; echo "streams done"'
until_ok 60 said 'streams done' || fail 'eight streams'
wait_for_jobs
[ "$(ctl stats --json | jq '[.devices[] | select(.name == "net0")][0].queues | .[3].chains')" -gt 0 ] ||
    fail 'nothing was sent by the second queue'
# The filter: a frame for somebody else does not reach the guest.
filtered=$(count rx-filtered) # the host's own multicasts
"${in[@]}" ip neigh add 10.9.8.9 lladdr 02:00:00:00:00:aa dev tap0
"${in[@]}" ping -q -c 1 -W 1 10.9.8.9 >pinged && fail 'somebody answers'
until_ok 10 counts rx-filtered $((filtered + 1)) || fail 'the filter'
# The cable.
ctl link net0 down || fail 'link down'
tell 'until [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.1; done; echo "unplugged"'
until_ok 30 said unplugged || fail 'the guest does not see that its cable is out'
"${in[@]}" ping -q -c 1 -W 1 10.9.8.2 >pinged && fail 'a ping through a cable that is out'
ctl link net0 up || fail 'link up'
tell 'until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done; echo "plugged"'
until_ok 30 said plugged || fail 'the guest does not see its cable'
"${in[@]}" ping -q -c 1 -W 5 10.9.8.2 >pinged || fail 'ping afterwards'
ctl link net7 up 2>err && fail 'a card that is not there'
grep -qx "vmm: ctl: link: there is no network card 'net7'" err || fail "link net7: $(cat err)"
ctl link net0 sideways 2>err && fail 'a cable sideways'
grep -qx "vmm: ctl: link takes up or down, not 'sideways'" err || fail "sideways: $(cat err)"
ends

# What cannot work.
refused() {
    local want=$1 rc=0
    shift
    timeout 20 $vmm run -k "$HUSK_KERNEL/vmlinux" "$@" >out 2>err </dev/null || rc=$?
    if [ $rc != 1 ] || [ "$(wc -l <err)" != 1 ] || ! grep -qF "$want" err; then
        fail "$*: status $rc, $(cat err)"
    fi
}
refused "tap 'tap9': there is no such interface" --net tap=tap9
"${in[@]}" ip tuntap add tap1 mode tap
refused "tap 'tap1': not a tap of several queues" --net tap=tap1,queues=2
"${in[@]}" ip link add dummy0 type dummy || fail dummy
refused "tap 'dummy0': not a tap" --net tap=dummy0
exit 0
