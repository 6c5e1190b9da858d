#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Docker's networks: default bridge, networks of the user's own with names and IPv6, ports, options of addresses and
# name servers, connect and disconnect while running; between husk, runc and the host. Making networks is
# slow in an emulated machine, so a few containers serve all cases.
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
probe=$HUSK_BUILD/bin/netprobe
port=7777
cp "$probe" "$E/root/bin/"
BRIDGE=1 dockerd_start
docker_image
say 'dockerd is up'

# serve RUNTIME NAME OPTION...: a container that echoes
serve() {
    dk run -d --runtime "$1" --name "$2" "${@:3}" bb:1 netprobe serve $port >"$E/out" 2>&1 || fail "run $2: $(cat "$E/out")"
    dk_watch 1 serving logs -f "$2"
}
inside() {
    inside_of dk "$@"
}
address() { # address NAME NETWORK
    dk inspect -f "{{(index .NetworkSettings.Networks \"$2\").IPAddress}}" "$1"
}

# A server of the outside world, with one name; answers that are long are to be asked for by TCP.
cat >"$E/dns.py" <<'END'
import socket, struct, sys, threading
def answer(q, tcp):
    name = q[12:q.index(b"\0", 12) + 1]
    question = q[12:12 + len(name) + 4]
    big = b"big" in name
    if struct.unpack(">H", question[-4:-2])[0] != 1:
        return q[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + question
    if big and not tcp:
        return q[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + question
    n = 200 if big else 1
    rr = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + bytes([198, 51, 100, i]) for i in range(7, 7 + n))
    return q[:2] + b"\x81\x80\0\1" + struct.pack(">H", n) + b"\0\0\0\0" + question + rr
def tcp():
    s = socket.create_server(("", 53))
    while True:
        c, _ = s.accept()
        n = struct.unpack(">H", c.recv(2, socket.MSG_WAITALL))[0]
        a = answer(c.recv(n, socket.MSG_WAITALL), True)
        c.sendall(struct.pack(">H", len(a)) + a)
        c.close()
threading.Thread(target=tcp, daemon=True).start()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 53))
print("serving", flush=True)
while True:
    q, who = s.recvfrom(512)
    s.sendto(answer(q, False), who)
END
python3 "$E/dns.py" >"$E/dns.out" &
dns=$!

# A network of the user's own.
dk network create --ipv6 --subnet 172.30.0.0/24 --subnet fd30::/64 -o com.docker.network.driver.mtu=1400 n1 >"$E/out" 2>&1 ||
    fail "network create: $(cat "$E/out")"
dk network create --subnet 172.31.0.0/24 n2 >"$E/out" 2>&1 || fail "network create: $(cat "$E/out")"
serve husk h1 --network n1 --ip 172.30.0.10 --ip6 fd30::10 --mac-address 02:30:00:00:00:10 --dns 172.30.0.1 \
    --dns-search x.test --dns-opt ndots:2 -p 8080:$port -p 8080:$port/udp
say 'h1'
serve husk h2 --network n1
serve runc r1 --network n1
say 'h2, r1'
inside h1 'ip addr; ip route; cat /etc/resolv.conf' 172.30.0.10/24 fd30::10/64 02:30:00:00:00:10 'mtu 1400' \
    'default via 172.30.0.1' 'nameserver 127.0.0.11' 'search x.test' 'ndots:2'
h2=$(address h2 n1)
r1=$(address r1 n1)
inside h1 'nslookup h2 127.0.0.11; nslookup r1 127.0.0.11' "$h2" "$r1"
inside r1 'nslookup h1 127.0.0.11' 172.30.0.10
say names
inside h1 'nslookup outside.test 127.0.0.11' 198.51.100.7
# A question by TCP: its length, a head, big.test, A, IN. 200 addresses come back.
inside h1 "printf '\\000\\032\\022\\064\\001\\000\\000\\001\\000\\000\\000\\000\\000\\000\\003big\\004test\\000\\000\\001\\000\\001' |
    nc 127.0.0.11 53 | wc -c" 3228
say 'names of the world outside'
for there in "$h2" "$r1" 172.30.0.1; do
    [ "$there" != 172.30.0.1 ] || { "$probe" serve $port >"$E/serving" & server=$!; }
    inside h1 "netprobe tcp $there $port 300000 && netprobe udp $there $port 8000 2 && ping -c 1 -s 3000 -W 20 $there" \
        ' 0% packet loss'
done
kill "$server"
inside r1 "netprobe tcp 172.30.0.10 $port 300000 && netprobe tcp fd30::10 $port 1000 && echo good" good
here tcp 172.30.0.10 $port 300000
here udp 172.30.0.10 $port 8000 2
here tcp fd30::10 $port 1000
here tcp 127.0.0.1 8080 30000
here udp 127.0.0.1 8080 100 2
say packets

# Connected and disconnected while it runs.
serve runc r2 --network n2
dk network connect n2 h1 || fail 'network connect'
inside h1 'ip -o addr' ' 172.31.0.'
r2=$(address r2 n2)
inside h1 "netprobe tcp $r2 $port 30000; nslookup r2 127.0.0.11" ok "$r2"
here tcp "$(address h1 n2)" $port 1000
dk network disconnect n2 h1 || fail 'network disconnect'
inside h1 'ip -o addr | grep -c 172.31 || :' 0
here tcp 172.30.0.10 $port 1000
say 'connect, disconnect'

# The default bridge, and two networks from the beginning (dockerd has them so in create, then connect, then start).
dk create --runtime husk --name h3 -p 8081:$port bb:1 netprobe serve $port >"$E/out" || fail 'create'
dk network connect n2 h3 || fail 'network connect before start'
dk start h3 >"$E/out" || fail 'start'
dk_watch 1 serving logs -f h3
inside h3 'ip -o addr' 'eth0    inet 172.17.' 'eth1    inet 172.31.'
here tcp "$(address h3 bridge)" $port 30000
here tcp "$(address h3 n2)" $port 30000
here tcp 127.0.0.1 8081 1000
say 'default bridge, two networks'

none() { dk run --rm --runtime "$r" --network none bb:1 ls /sys/class/net; }
same none
out=$(dk run --rm --runtime husk --network host bb:1 true 2>&1) && fail 'not refused: host'
[[ $out == *"is the host's: a container in a VM needs one of its own"* ]] || fail "host: $out"
out=$(dk run --rm --runtime husk --network container:h1 bb:1 true 2>&1) && fail 'not refused: container:h1'
[[ $out == *"is another microVM's already"* ]] || fail "container:h1: $out"
here tcp 172.30.0.10 $port 1000
say refusals

dk rm -f h1 h2 h3 r1 r2 >"$E/out" || fail 'rm'
dk network rm n1 n2 >"$E/out" || fail 'network rm'
kill $dns
dockerd_stop
umount "$E/docker-run/netns/default" # dockerd's own, for --network host
ip link del docker0
! ip -o link | grep -E 'veth|husk-|br-' || fail 'links are left'
engine_clean
engine_end
