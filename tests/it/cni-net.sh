#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# CNI plugins: bridge with portmap, and ptp, called as CRI engines call them, before the container is made; and
# `ctr run --cni`, which calls them between create and start. COUNT=50: so many containers (3) are on one bridge at
# the same time, come and go.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
# shellcheck source=SCRIPTDIR/../lib/asksh.sh
. "$engine_lib/asksh.sh"
engine_setup
probe=$HUSK_BUILD/bin/netprobe
port=7777
cp "$probe" "$E/root/bin/"
plugins=/usr/lib/cni
sysctl -qw net.ipv4.ip_forward=1
cni() { # cni ADD|DEL CONTAINER PLUGIN <CONFIGURATION: as an engine would
    CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/husk-cni-$2 CNI_IFNAME=eth0 CNI_PATH=$plugins \
        "$plugins/$3" >"$E/cni.$2" || fail "$3 $1: $(cat "$E/cni.$2")"
}
conf() { # conf PLUGIN NUMBER: the configuration of a network
    jq -n --arg type "$1" --arg net "10.88.$2.0/24" --arg dir "$E/ipam" '{cniVersion: "0.4.0", name: $type, type: $type,
        bridge: "cni-it", isGateway: true, ipMasq: true, ipam: {type: "host-local", subnet: $net,
        routes: [{dst: "0.0.0.0/0"}], dataDir: $dir}}'
}
bundle() { # bundle NAME: a shell that is asked
    bash "$engine_lib/bundle.sh" "$E/$1" sh && cp "$probe" "$E/$1/rootfs/bin/" &&
        jq --arg ns "/run/netns/husk-cni-$1" '(.linux.namespaces[] | select(.type == "network")).path = $ns' \
            "$E/$1/config.json" >"$E/new" && mv "$E/new" "$E/$1/config.json"
}
begin() {
    ask_start "$1" "$husk" --root "$E/state" --log "$E/log" run --bundle "$E/$1" "$1"
}
serving() {
    ask "$1" "mkfifo /dev/served && { netprobe serve $port >/dev/served & } && read -r _ </dev/served" || fail "$1: $REPLY"
}
address() {
    jq -r '.ips[0].address | sub("/.*"; "")' "$E/result.$1"
}

for c in a p; do
    ip netns add "husk-cni-$c"
    bundle $c || fail 'no bundle'
done
conf bridge 1 >"$E/bridge.conf"
conf ptp 2 >"$E/ptp.conf"
cni ADD a bridge <"$E/bridge.conf"
mv "$E/cni.a" "$E/result.a"
jq -n --slurpfile prev "$E/result.a" --argjson port $port '{cniVersion: "0.4.0", name: "bridge", type: "portmap", snat: true,
    runtimeConfig: {portMappings: [{hostPort: 8083, containerPort: $port, protocol: "tcp"}]},
    prevResult: $prev[0]}' >"$E/portmap.conf"
cni ADD a portmap <"$E/portmap.conf"
cni ADD p ptp <"$E/ptp.conf"
mv "$E/cni.p" "$E/result.p"
begin a
begin p
serving a
serving p
a=$(address a) p=$(address p)
ask p 'ip route'
case $REPLY in *'default via 10.88.2.1'*) ;; *) fail "ptp: $REPLY" ;; esac
here tcp "$a" $port 300000
here udp "$a" $port 8000 2
here tcp 127.0.0.1 8083 30000
here tcp "$p" $port 300000
ask a "netprobe tcp $p $port 30000" || fail "bridge to ptp: $REPLY"
ask p "netprobe tcp $a $port 30000 && netprobe udp $a $port 8000 2" || fail "ptp to bridge: $REPLY"
say 'bridge, portmap, ptp'
ask_end a
ask_end p
cni DEL a portmap <"$E/portmap.conf"
cni DEL a bridge <"$E/bridge.conf"
cni DEL p ptp <"$E/ptp.conf"

# Many come and go; ten at a time are under way. Nothing of them is left anywhere.
count=${COUNT:-3}
before=$(ip -o link | wc -l)
for ((i = 1; i <= count; i++)); do
    ip netns add "husk-cni-m$i"
    mkdir "$E/m$i"
    sed "s#husk-cni-a#husk-cni-m$i#" "$E/a/config.json" >"$E/m$i/config.json"
    cp -a "$E/a/rootfs" "$E/m$i/rootfs"
    cni ADD "m$i" bridge <"$E/bridge.conf"
    mv "$E/cni.m$i" "$E/result.m$i"
    begin "m$i"
    [ $((i % 10)) = 0 ] || [ $i = "$count" ] || continue
    for ((k = (i - 1) / 10 * 10 + 1; k <= i; k++)); do
        serving "m$k"
    done
    say "$i are there"
done
[ "$("$husk" --root "$E/state" list -q | wc -l)" = "$count" ] || fail "not $count at the same time"
# In a lab an idle guest may sleep over what should wake it (docs/STATUS.md, the interrupt shadow), so that it answers no
# ARP: who was not reached is nudged by other means, and tried again.
reached() { # reached NUMBER COMMAND: a command that needs that guest's network
    "${@:2}" && return
    ask "m$1" true
    return 1
}
for ((i = 1; i <= count; i++)); do
    next=$((i % count + 1))
    LIMIT=30 until_ok reached $i "$probe" tcp "$(address "m$i")" $port 30000
    LIMIT=30 until_ok reached $next ask "m$i" "netprobe tcp $(address "m$next") $port 30000" || fail "m$i: $REPLY"
done
say 'each with its neighbour and with the host'
for ((i = 1; i <= count; i++)); do
    echo exit >&"${ASK_IN[m$i]}" # all of them go at the same time
done
for ((i = 1; i <= count; i++)); do
    ask_end "m$i"
    left=$(ip netns exec "husk-cni-m$i" sh -c 'ip -o link | grep husk-; tc qdisc show | grep ingress')
    [ -z "$left" ] || fail "left in m$i: $left"
    cni DEL "m$i" bridge <"$E/bridge.conf"
    ip netns del "husk-cni-m$i" || fail "m$i: its namespace"
done
[ "$(ip -o link | wc -l)" = "$before" ] || fail "links are left: $(ip -o link)"
[ -z "$("$husk" --root "$E/state" list -q)" ] || fail 'containers are left'
for c in a p; do
    ip netns del "husk-cni-$c"
done
say "$count on one bridge"

# containerd's client has its places built in: they are ours in this mount namespace.
mkdir -p /etc/cni
mount -t tmpfs none /opt
mount -t tmpfs none /etc/cni
mkdir -p /opt/cni /etc/cni/net.d
ln -s $plugins /opt/cni/bin
jq -n --slurpfile c "$E/bridge.conf" '{cniVersion: "0.4.0", name: "it", plugins: [$c[0] | del(.cniVersion, .name)]}' \
    >/etc/cni/net.d/10-it.conflist
containerd_start
ct run -d --cni --runtime io.containerd.runc.v2 --runc-binary "$husk" --runc-root "$E/runtime-root" --env PATH=/bin \
    --rootfs "$E/root" c1 netprobe serve $port >"$E/out" 2>&1 || fail "ctr run: $(cat "$E/out")"
c1=$(find "$E/ipam" -name '10.88.1.*' -printf '%f\n' | tail -n 1)
LIMIT=30 until_ok "$probe" tcp "$c1" $port 30000
ct task kill -s KILL c1
until_ok ct task rm c1
ct container rm c1
say 'ctr --cni'
containerd_stop
umount /opt /etc/cni
ip link del cni-it
engine_clean
engine_end
