#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The network of a container: what is in its name space is in the guest, from its first process on and when
# it changes later; packets go both ways, to the host and to another container; nothing is left of it.
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
# shellcheck source=SCRIPTDIR/../lib/net.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/net.sh"
net_begin
netns a 2
netns b 3
bundle a || fail "no bundle"
bundle b || fail "no bundle"
for c in a b; do # one MTU on all of the bridge
    n $c ip link set eth0 mtu 1450
    ip link set it-$c-eth0 mtu 1450
done
n a ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent
n a ip route add 10.77.0.0/16 via 10.9.0.1 src 10.9.0.2 metric 50 mtu 1400
n a ip route add blackhole 10.78.0.0/16
n a ip route add 10.79.0.0/16 dev eth0 scope link table 100
n a ip route add 10.80.0.0/16 nexthop via 10.9.0.1 dev eth0 nexthop via 10.9.0.4 dev eth0

# Everything is there when the first process runs.
begin a
begin b
ask a 'ip addr; ip route; ip -6 route; ip neigh; ip route show table 100' || fail "a: $(cat "$TMP/a.err")"
for text in 'eth0: <BROADCAST,MULTICAST,UP' 'mtu 1450' '02:09:00:00:00:02' 'inet 10.9.0.2/24 brd 10.9.0.255' \
    'inet6 fd09::2/64' 'default via 10.9.0.1 dev eth0' 'default via fd09::1 dev eth0' \
    '10.77.0.0/16 via 10.9.0.1 dev eth0' 'src 10.9.0.2  metric 50' 'blackhole 10.78.0.0/16' \
    '10.79.0.0/16 dev eth0' '10.80.0.0/16' '10.9.0.77 dev eth0 lladdr 02:00:00:00:00:77' 'PERMANENT'; do
    case $REPLY in *"$text"*) ;; *) fail "no '$text' in: $REPLY" ;; esac
done
case $REPLY in *tentative* | *dadfailed*) fail "addresses that are not usable: $REPLY" ;; esac
# Packets, both ways, and to the other one.
ping -c 1 -W 20 10.9.0.2 >"$TMP/out" || fail "ping of the guest: $(cat "$TMP/out")"
ping -c 1 -W 20 -s 8000 fd09::2 >"$TMP/out" || fail "ping of the guest: $(cat "$TMP/out")"
wants a 'ping -c 1 -W 20 10.9.0.1; ping -6 -c 1 -W 20 -s 8000 fd09::1' ' 0% packet loss'
probes 10.9.0.2 fd09::2
probes_from a 10.9.0.1 fd09::1 10.9.0.3 fd09::3
probes_from b 10.9.0.2
"$probe" tcp 10.9.0.2 $port 3000000 >"$TMP/out" || fail "$(cat "$TMP/out")"

# Ports at the name space's own addresses are the guest's: engines dial them to forward a port.
for host in 127.0.0.1 ::1 10.9.0.2; do
    n a "$probe" tcp $host $port 300000 >"$TMP/out" || fail "localhost: $(cat "$TMP/out")"
done
! n a "$probe" tcp 127.0.0.1 1 10 >"$TMP/out" || fail 'a port where nobody listens'
ask a 'netprobe tcp 127.0.0.1 1 10' && fail 'a port where nobody listens, in the guest'

# The interface that the engine sees is as it made it.
n a ip addr show eth0 | grep -q 'inet 10.9.0.2/24' || fail 'the engine'\''s interface has lost its address'

# Everything changes while it runs.
for c in a b; do
    n $c ip link set eth0 mtu 1300
    ip link set it-$c-eth0 mtu 1300
done
n a ip addr add 10.9.0.22/24 dev eth0
n a ip addr add fd09::22/64 dev eth0 nodad
n a ip route change 10.77.0.0/16 via 10.9.0.3 metric 50
n a ip route add 10.50.0.0/16 via 10.9.0.1
n a ip -6 route add fd50::/64 via fd09::1
n a ip neigh add 10.9.0.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
wants a 'ip addr; ip route; ip -6 route; ip neigh' 'mtu 1300' 10.9.0.22/24 fd09::22/64 '10.77.0.0/16 via 10.9.0.3' \
    '10.50.0.0/16 via 10.9.0.1' 'fd50::/64 via fd09::1' '10.9.0.99 dev eth0 lladdr 02:00:00:00:00:99'
probes 10.9.0.22 fd09::22
n a ip addr del 10.9.0.22/24 dev eth0
n a ip addr del fd09::22/64 dev eth0
n a ip route del 10.50.0.0/16
n a ip neigh del 10.9.0.99 dev eth0
n a ip -6 route del fd50::/64
for text in 10.9.0.22 fd09::22 10.50.0.0 10.9.0.99 fd50::; do
    wants_not a 'ip addr; ip route; ip -6 route; ip neigh' "$text"
done
# An interface comes, later than everything, and goes.
plug a eth7 7 || fail 'no eth7'
wants a 'ip addr' 'eth7: <BROADCAST,MULTICAST,UP' 10.9.0.7/24 02:09:00:00:00:07
probes 10.9.0.7
n a ip link set eth7 down
n a ip link set eth7 name blue
n a ip link set blue up
wants a 'ip addr' 'blue: <BROADCAST,MULTICAST,UP' 10.9.0.7/24
n a ip link del blue
wants_not a 'ip addr' blue
plug a eth8 8 || fail 'no eth8'
wants a 'ip addr' 'eth8: <BROADCAST,MULTICAST,UP' 10.9.0.8/24
# Down and up; another MAC address, of which the host has to hear. Two interfaces in one subnet would be one too many
# for that.
n a ip link del eth8
wants_not a 'ip addr' eth8
n a ip link set eth0 down
wants_not a 'ip link show eth0' ',UP'
n a ip link set eth0 address 02:09:00:00:00:55
n a ip link set eth0 up
wants a 'ip link show eth0' 02:09:00:00:00:55 ',UP'
ip neigh flush dev husk-it-br
probes 10.9.0.2

plug a eth9 9 || fail 'no eth9'
wants a 'ip addr' 10.9.0.9/24
# Nothing is left: after an end, and after kill -9.
ask_end b
clean b
kill -9 "$(h state a | jq .pid)"
ask_end a
h delete --force a || fail 'delete'
clean a
[ $bad = 0 ]
