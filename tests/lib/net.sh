# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For scripts about networks that drive husk itself: name spaces made by hand, as CNI plugins and podman make them,
# at one bridge whose own addresses are 10.9.0.1 and fd09::1. After husk.sh; net_begin sets a trap.
# shellcheck source=SCRIPTDIR/asksh.sh
. "${here:?}/lib/asksh.sh"
probe=${HUSK_BUILD:?}/bin/netprobe
port=7777

# shellcheck disable=SC2317 # called by the trap
net_end() {
    local c n
    for c in $(h list -q); do h delete --force "$c"; done
    for n in /run/netns/husk-it-*; do [ ! -e "$n" ] || ip netns del "${n##*/}"; done
    ip link del husk-it-br 2>/dev/null
    [ -z "${server-}" ] || kill "$server"
}
net_begin() {
    trap net_end EXIT
    ip link add husk-it-br address 02:09:00:00:00:01 type bridge && ip addr add 10.9.0.1/24 dev husk-it-br &&
        ip addr add fd09::1/64 dev husk-it-br nodad && ip link set husk-it-br up || exit 1
    "$probe" serve $port >"$TMP/serving" &
    server=$!
    read -r _ < <(tail -f "$TMP/serving")
}
n() { # n NAME COMMAND: in its name space
    ip netns exec "husk-it-$1" "${@:2}"
}
plug() { # plug NAME INTERFACE NUMBER: one more, with the addresses of that number
    ip link add "it-$1-$2" type veth peer name "$2" address "02:09:00:00:00:$(printf %02x "$3")" netns "husk-it-$1" &&
        ip link set "it-$1-$2" master husk-it-br up &&
        n "$1" ip addr add "10.9.0.$3/24" brd + dev "$2" && n "$1" ip addr add "fd09::$3/64" dev "$2" nodad &&
        n "$1" ip link set "$2" up
}
netns() { # netns NAME NUMBER: with an interface eth0
    if ! { ip netns add "husk-it-$1" && n "$1" ip link set lo up && plug "$1" eth0 "$2" &&
        n "$1" ip route add default via 10.9.0.1 && n "$1" ip -6 route add default via fd09::1; }; then
        fail "no name space $1"
    fi
}
bundle() { # bundle NAME: a shell that does what it is told, in the name space of that name
    bash "$here/lib/bundle.sh" "$TMP/$1" sh && cp "$probe" "$TMP/$1/rootfs/bin/" &&
        jq --arg ns "/run/netns/husk-it-$1" '(.linux.namespaces[] | select(.type == "network")).path = $ns |
            .process.capabilities[] += ["CAP_NET_RAW"]' "$TMP/$1/config.json" >"$TMP/new" &&
        mv "$TMP/new" "$TMP/$1/config.json"
}
begin() { # begin NAME: runs it, serving
    ask_start "$1" h run --bundle "$TMP/$1" "$1"
    ask "$1" "mkfifo /dev/served && { netprobe serve $port >/dev/served & } && read -r _ </dev/served" || fail "$1: $REPLY"
}
# asks_until CONTAINER COMMAND TEST...: asks until TEST holds of the answer, in $out; false when it never does.
asks_until() {
    local i
    for ((i = 0; i < 60; i++)); do
        ask "$1" "$2"
        [ $? != 255 ] || {
            fail "$1: $REPLY" # it is dead: no use in asking on
            return 0
        }
        out=$REPLY
        "${@:3}" && return 0
        moment
    done
    return 1
}
has_all() {
    for missing in "$@"; do
        case $out in *"$missing"*) ;; *) return 1 ;; esac
    done
}
has_not() {
    case $out in *"$1"*) return 1 ;; esac
}
wants() { # wants CONTAINER COMMAND TEXT...: its output has these texts, sooner or later
    local out missing
    asks_until "$1" "$2" has_all "${@:3}" || fail "$1: $2: no '$missing' in: $out"
}
wants_not() { # wants_not CONTAINER COMMAND TEXT
    local out
    asks_until "$1" "$2" has_not "$3" || fail "$1: $2: still '$3' in: $out"
}
probes() { # probes HOST...: TCP and UDP from here to there, small, large and in fragments
    local host
    for host in "$@"; do
        if ! { "$probe" tcp "$host" $port 300000 && "$probe" udp "$host" $port 100 3 &&
            "$probe" udp "$host" $port 8000 2; } >"$TMP/out"; then
            fail "from here: $(cat "$TMP/out")"
        fi
    done
}
probes_from() { # probes_from CONTAINER HOST...: the same from inside
    local host
    for host in "${@:2}"; do
        ask "$1" "netprobe tcp $host $port 300000 && netprobe udp $host $port 100 3 && netprobe udp $host $port 8000 2" ||
            fail "from $1: $REPLY"
    done
}
clean() { # clean NAME: nothing of ours is in the name space; a ring holds a tap for a moment after its process has ended
    local left end=$((SECONDS + 30))
    while :; do
        left=$(n "$1" ip -o link | grep husk-; n "$1" tc qdisc show | grep ingress)
        [ -n "$left" ] || return 0
        [ $SECONDS -lt $end ] || fail "left in $1: $left"
        sleep 0.2
    done
}
