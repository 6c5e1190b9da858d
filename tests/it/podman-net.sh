#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# podman with netavark and aardvark-dns: a network of its own with names, a port, a fixed address, connect and
# disconnect while running; between husk, runc and the host.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
podman_setup
cat >>"$E/containers.conf" <<END
[network]
network_backend = "netavark"
network_config_dir = "$E/networks"
END
probe=$HUSK_BUILD/bin/netprobe
port=7777
cp "$probe" "$E/root/bin/"
mkdir -p "$E/networks"
sysctl -qw net.ipv4.ip_forward=1

serve() { # serve RUNTIME NAME OPTION...
    cp -a "$E/root" "$E/root.$2"
    pm --runtime "$1" run -d --name "$2" "${@:3}" --rootfs "$E/root.$2" netprobe serve $port >"$E/out" 2>&1 ||
        fail "run $2: $(cat "$E/out")"
    until_ok serving "$2"
}
serving() {
    pm logs "$1" 2>&1 | grep serving
}
inside() {
    inside_of pm "$@"
}

pm network create --subnet 10.89.7.0/24 it1 >"$E/out" 2>&1 || fail "network create: $(cat "$E/out")"
pm network create --subnet 10.89.8.0/24 it2 >"$E/out" 2>&1 || fail "network create: $(cat "$E/out")"
serve husk p1 --network it1:ip=10.89.7.10,mac=02:89:00:00:00:10 -p 8082:$port
say p1
serve runc p2 --network it1:ip=10.89.7.11
inside p1 'ip addr; ip route' 10.89.7.10/24 02:89:00:00:00:10 'default via 10.89.7.1'
inside p1 "netprobe tcp 10.89.7.11 $port 300000 && netprobe udp 10.89.7.11 $port 8000 2" ok
inside p1 'nslookup p2' 10.89.7.11
inside p2 "netprobe tcp 10.89.7.10 $port 30000" ok
here tcp 10.89.7.10 $port 300000
here udp 10.89.7.10 $port 8000 2
here tcp 127.0.0.1 8082 30000
say packets
pm network connect it2 p1 || fail 'network connect'
inside p1 'ip -o addr' ' 10.89.8.'
pm network disconnect it2 p1 || fail 'network disconnect'
inside p1 'ip -o addr | grep -c 10.89.8 || :' 0
here tcp 10.89.7.10 $port 1000
say 'connect, disconnect'
pm rm -f -t 0 p1 p2 >"$E/out" 2>&1 || fail "rm: $(cat "$E/out")"
pm network rm it1 it2 >"$E/out" || fail 'network rm'
! ip -o link | grep -E 'veth|husk-|podman' || fail 'links are left'
podman_end
engine_clean
engine_end
