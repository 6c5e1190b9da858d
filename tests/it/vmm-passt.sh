#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # what is in single quotes is the guest's
# `vmm run --net passt`: one that we start and one that runs already; data both ways, its end.
# The stream's sending side stays open until all is back: once it has been shut down, the passt of Debian 12 sends bytes
# again behind the end, to a guest of QEMU's as well.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
# shellcheck source=tests/lib/guesttools.sh
. "$here/../lib/guesttools.sh"
cd "$TMP" || exit 1
# shellcheck source=tests/lib/netdata.sh
. "$here/../lib/netdata.sh"
here_ns=a$$ there_ns=b$$
sock=
trap 'ip netns del $here_ns; ip netns del $there_ns; rm -rf "$sock"' EXIT
{ ip netns add $here_ns && ip netns add $there_ns; } || fail 'name spaces'
in=(ip netns exec "$here_ns") there=(ip netns exec "$there_ns")
plain=$vmm
printf '#!/bin/sh\nexec ip netns exec %s %s "$@"\n' "$here_ns" "$plain" >nsvmm
chmod +x nsvmm
vmm=./nsvmm
# shellcheck disable=SC2317 # called by until_ok
no_passt() { ! pgrep '^passt' >/dev/null; }

# passt, between two name spaces, of which the guest's has an address, a route and no tap.
"${in[@]}" ip link add up0 type veth peer name peer0 netns $there_ns || fail veth
"${in[@]}" ip addr add 10.9.7.2/24 dev up0 && "${in[@]}" ip link set up0 up && "${in[@]}" ip link set lo up
# Another address than the gateway's, which passt takes for the name space's own localhost.
"${there[@]}" ip addr add 10.9.7.1/24 dev peer0 && "${there[@]}" ip addr add 10.9.7.3/24 dev peer0 &&
    "${there[@]}" ip link set peer0 up
"${in[@]}" ip route add default via 10.9.7.1 || fail route
cat >lease <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
ip route add default via "$router"
END
chmod +x lease
guest_files+=("$TMP/lease")
lease='ip link set lo up; ip link set eth0 up; busybox udhcpc -n -q -t 10 -i eth0 -s /lease >/dev/null 2>&1 && echo leased'
mkdir tools
guest_tools tools iperf3 || fail 'programs for the guest'
boot passt --net passt --share tools,tag=tools,ro
tell "$lease"
until_ok 60 said leased || fail "no address by DHCP: $(cat passt.out passt.err)"
serve "${there[@]}"
both 10.9.7.3 open
asks "$(guest_tools_init)"
"${there[@]}" iperf3 -s -D -I "$TMP/iperf.pid" >iperf.out 2>&1
for way in '' -R; do
    asks "iperf3 -c 10.9.7.3 -t 2 $way >/tmp/iperf 2>&1; a=\"\$? \$(grep receiver /tmp/iperf)\""
    awk -v words="$REPLY" 'BEGIN { exit !(words ~ /^0 .* [1-9][0-9.]* .bits\/sec/) }' || fail "iperf3 $way: $REPLY"
done
kill "$(tr -d '\0' <"$TMP/iperf.pid")"
ends_with '' # passt has words of its own there
until_ok 60 no_passt || fail 'passt is still there'

# passt makes it as nobody.
sock=$(mktemp -d "${TMPDIR:-/tmp}/husk-passt.XXXXXX")
chmod 777 "$sock"
"${in[@]}" passt --quiet --foreground --one-off --socket "$sock/p" 2>passt.log &
passt_pid=$!
until_ok 60 test -S "$sock/p" || fail "passt: $(cat passt.log)"
boot given --net passt="$sock/p",mac=02:00:00:00:00:78 --control "$TMP/s"
tell "cat /sys/class/net/eth0/address; $lease"
until_ok 60 said leased || fail "no address by DHCP: $(cat given.out given.err)"
said 02:00:00:00:00:78 || fail 'the address of the card'
# It goes: the guest sees its cable pulled, and lives.
kill $passt_pid
wait $passt_pid
tell 'until [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do sleep 0.1; done; echo "unplugged"'
until_ok 30 said unplugged || fail 'the guest does not see that passt has gone'
ctl link net0 up 2>err && fail 'link up without another end'
ends_with 'warning: net0: the other end: closed'

rc=0
timeout 20 $vmm run -k "$HUSK_KERNEL/vmlinux" --net passt=/nowhere/p >out 2>err </dev/null || rc=$?
if [ $rc != 1 ] || [ "$(cat err)" != "vmm: passt '/nowhere/p': No such file or directory" ]; then
    fail "no socket: status $rc, $(cat err)"
fi
rc=0
env PATH=/nowhere "$plain" run -k "$HUSK_KERNEL/vmlinux" --net passt >out 2>err </dev/null || rc=$?
if [ $rc != 1 ] || [ "$(cat err)" != 'vmm: starting passt: No such file or directory' ]; then
    fail "no passt: status $rc, $(cat err)"
fi
exit 0
