#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The ways between an interface and the guest's NIC that the configuration names: each has the interface's MAC,
# passes packets, follows changes and leaves nothing after kill -9. Limits. What is refused, in one sentence.
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
# shellcheck source=SCRIPTDIR/../lib/net.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/net.sh"
net_begin
netns a 2
netns b 3
if ! { bundle a && bundle b; }; then fail "no bundle"; fi
conf() {
    echo "$1" >"$TMP/husk.conf"
    globals=(--config "$TMP/husk.conf")
}
killed() {
    kill -9 "$(h state a | jq .pid)"
    ask_end a
    h delete --force a || fail 'delete'
    clean a
}
say() {
    echo "$SECONDS s: $*"
}
for model in bridge macvtap; do
    say $model
    conf "{\"network\": {\"model\": \"$model\"}, \"vcpus\": {\"default\": 2}}"
    begin a
    wants a 'ip addr' 02:09:00:00:00:02 10.9.0.2/24 fd09::2/64
    n a ip link show eth0 | grep -q 02:09:00:00:00:02 || fail "$model: eth0 has another MAC"
    # Nobody but the guest answers for its address.
    ip neigh flush dev husk-it-br
    probes 10.9.0.2 fd09::2
    ip neigh show 10.9.0.2 dev husk-it-br | grep -q 02:09:00:00:00:02 || fail "$model: $(ip neigh show dev husk-it-br)"
    probes_from a 10.9.0.1
    for host in 127.0.0.1 ::1 10.9.0.2; do # as engines forward a port
        n a "$probe" tcp $host $port 300000 >"$TMP/out" || fail "$model: a port at $host: $(cat "$TMP/out")"
    done
    begin b # guest to guest
    probes_from a 10.9.0.3 fd09::3
    probes_from b 10.9.0.2
    ask_end b
    clean b
    n a ip addr add 10.9.0.22/24 dev eth0
    wants a 'ip addr' 10.9.0.22/24
    n a ip addr del 10.9.0.22/24 dev eth0
    wants_not a 'ip addr' 10.9.0.22/24
    killed
done
say none
conf '{"network": {"model": "none"}}'
begin a
ask a 'ls /sys/class/net'
[ "$REPLY" = "lo"$'\n' ] || fail "none: $REPLY"
killed

# A limit of 100 KB a second, either way: 300000 bytes there and back take two seconds at least.
for way in tx rx; do
    say "a limit, $way"
    conf '{"network": {"'$way'_rate": "100K", "burst_ms": 50}, "enable_annotations": ["network_rx_rate"]}'
    begin a
    began=${EPOCHREALTIME/./}
    "$probe" tcp 10.9.0.2 $port 300000 >"$TMP/out" || fail "limited: $(cat "$TMP/out")"
    took=$((${EPOCHREALTIME/./} - began))
    [ $took -gt 2000000 ] || fail "300000 bytes at 100 KB/s ($way) took $took us"
    killed
done
globals=()

# Twenty interfaces are too many.
say 'twenty interfaces'
netns many 30
bundle many || fail "no bundle"
for i in $(seq 10 28); do
    plug many "eth$i" "$i" || fail "eth$i"
done
out=$(h run --bundle "$TMP/many" many 2>&1 </dev/null) && fail 'not refused: 20 interfaces'
[[ $out == *': this microVM has room for 16'* ]] || fail "20 interfaces: $out"
for i in 10 11 12 13; do
    n many ip link del "eth$i"
done
begin many
ask many 'ls /sys/class/net | grep -c eth'
[ "$REPLY" = "16"$'\n' ] || fail "16 interfaces: $REPLY"
# One more waits until there is room.
plug many eth12 12 || fail eth12
for ((i = 0; i < 600; i++)); do
    ! grep -q "interface 'eth12': this microVM has room for 16" "$TMP/log" || break
    moment
done
ask many 'ls /sys/class/net | grep -c eth'
[ "$REPLY" = "16"$'\n' ] || fail "16 interfaces and one that has no room: $REPLY"
n many ip link del eth20
wants many 'ls /sys/class/net; ip addr' eth12 10.9.0.12/24
wants_not many 'ls /sys/class/net' eth20
ask_end many
clean many
# One too many at create, and one less by the time of start.
plug many eth10 10 || fail eth10
jq '.process.args = ["sleep", "1000"]' "$TMP/many/config.json" >"$TMP/new" && mv "$TMP/new" "$TMP/many/config.json"
h create --bundle "$TMP/many" many </dev/null >"$TMP/out" 2>&1 || fail "17 at create: $(cat "$TMP/out")"
for ((i = 0; i < 600; i++)); do
    [ "$(n many ip -o link | grep -c ' husk-tap')" -lt 17 ] || break
    moment
done
n many ip link del eth14
h start many || fail 'start with 16 that were 17'
out=$(h exec many sh -c 'ls /sys/class/net; ip addr')
for text in eth10 eth12 10.9.0.10/24 eth28; do
    case $out in *"$text"*) ;; *) fail "no $text in: $out" ;; esac
done
h delete --force many
clean many

refused() { # refused SENTENCE: create fails with it, and leaves nothing
    local out
    out=$(h run --bundle "$TMP/a" r 2>&1 </dev/null) && fail "not refused: $1"
    [[ $out == *"$1"* ]] || fail "expected '$1': $out"
    [ "$(wc -l <<<"$out")" = 1 ] || fail "more than a sentence: $out"
    [ -z "$(h list -q)" ] || fail "$1: a container is left"
    clean a
}
say refusals
n a ip link set eth0 mtu 65535
refused "interface 'eth0': an MTU of 65535 is more than a tap takes"
n a ip link set eth0 mtu 1500
n a tc qdisc add dev eth0 ingress
out=$(h run --bundle "$TMP/a" r 2>&1 </dev/null) && fail 'not refused: a qdisc of somebody else'\''s'
[[ $out == *"interface 'eth0' has an ingress qdisc already"* ]] || fail "ingress: $out"
n a tc qdisc del dev eth0 ingress
cp "$TMP/a/config.json" "$TMP/good.json"
mkfifo "$TMP/fifo"
for path in "$TMP/log" /nonexistent "$TMP/fifo"; do
    jq --arg ns "$path" '(.linux.namespaces[] | select(.type == "network")).path = $ns' "$TMP/good.json" >"$TMP/a/config.json"
    refused "network namespace '$path'"
done
jq 'del(.linux.namespaces[] | select(.type == "network"))' "$TMP/good.json" >"$TMP/a/config.json"
refused 'host network is not supported'
cp "$TMP/good.json" "$TMP/a/config.json"
n a ip tuntap add tun9 mode tun
n a ip addr add 10.99.0.1/24 dev tun9
refused "interface 'tun9' is not Ethernet"
n a ip link del tun9
mkdir "$TMP/nodev"
(unshare -m bash -c "mount --bind '$TMP/nodev' /dev/net && exec \"\$@\"" sh "$husk" --root "$root" run --bundle "$TMP/a" r \
    >"$TMP/out" 2>&1 </dev/null) && fail 'not refused: no /dev/net/tun'
grep -q '/dev/net/tun does not exist on this host' "$TMP/out" || fail "no tap: $(cat "$TMP/out")"
h delete --force r 2>/dev/null
clean a

say 'two for one'
# Two for one interface: the second is refused, the first goes on.
begin a
out=$(h run --bundle "$TMP/a" r 2>&1 </dev/null) && fail 'not refused: an interface twice'
[[ $out == *"is another microVM's already"* ]] || fail "twice: $out"
probes 10.9.0.2
# One that cannot be had later is named in the log, and keeps nothing else from the guest.
plug a eth4 4 && n a ip link set eth4 mtu 65535
n a ip addr add 10.9.0.44/24 dev eth0
wants a 'ip addr' 10.9.0.44/24
n a ip link del eth4
# An interface that vanishes takes nothing with it.
plug a eth5 5 && n a ip link del eth5
plug a eth6 6 && n a ip link del eth6
plug a eth7 7
wants a 'ip addr' 10.9.0.7/24
probes 10.9.0.2 10.9.0.7
ask_end a
clean a
[ $bad = 0 ]
