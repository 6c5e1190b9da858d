#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest that writes anything into registers and rings of every device, with requests under way and resets:
# it gets to its end, the machine answers meanwhile, and the host's files are as they may be.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
cd "$TMP" || exit 1
hostile=$HUSK_BUILD/guest/kernel_hostile.elf
[ -e "$hostile" ] || fail 'no hostile guest: make guests'
ns=h$$
trap 'ip netns del $ns' EXIT
ip netns add $ns || fail 'a name space'
in=(ip netns exec "$ns")
"${in[@]}" sh -ec 'ip tuntap add tap0 mode tap multi_queue; ip link set tap0 up; ip addr add 10.9.8.1/24 dev tap0
    ip neigh add 10.9.8.2 lladdr 02:00:00:00:00:77 dev tap0' || fail tap
plain=$vmm
# shellcheck disable=SC2317 # called by until_ok
at_round() { grep -q "^hostile: round $1" "$name.out" || ! kill -0 "$pid"; }

truncate -s 4M rw.img ro.img pm.img
head -c 2M /dev/urandom >ropm.img
head -c 1M /dev/urandom | dd of=ro.img conv=notrunc status=none
mkdir -p share/dir outside
echo secret >outside/file
ln -s ../outside share/link
echo file >share/dir/file
sha256sum ro.img ropm.img outside/file >sums

for seed in one two; do
    name=$seed
    "${in[@]}" "$plain" run -k "$hostile" -m 128M --memory-max 256M --balloon --serial --console none --append "$seed" \
        --disk rw.img --disk ro.img,ro --spare-disk 1 --share share,tag=rw --pmem pm.img --pmem ropm.img,ro \
        --net tap=tap0,queues=2,mac=02:00:00:00:00:77 --control "$TMP/s" --name "$name" \
        >"$name.out" 2>"$name.err" </dev/null &
    pid=$!
    until_ok 60 at_round 0 || fail "$name: $(cat "$name.out" "$name.err")"
    "${in[@]}" ping -q -n -i 0.05 -s 2000 10.9.8.2 >pinged &
    ping=$!
    until_ok 240 at_round 1000 || fail "$name: $(tail -n 3 "$name.out" "$name.err")"
    ctl stats --json >stats.now || fail "$name: the machine does not answer: $(cat "$name.err")"
    [ "$(jq '[.devices[].faults] | add' stats.now)" -gt 20 ] || fail "$name: no faults: $(cat stats.now)"
    [ "$(jq '[.devices[].queues[].chains] | add' stats.now)" -gt 200 ] || fail "$name: hardly a request: $(cat stats.now)"
    [ "$(rss_kb)" -lt 300000 ] || fail "$name: $(rss_kb) kB"
    rc=0
    wait "$pid" || rc=$?
    pid=
    kill $ping
    wait $ping
    if [ $rc != 0 ] || ! grep -q '^hostile: done' "$name.out"; then
        fail "$name: status $rc: $(tail -n 5 "$name.out" "$name.err")"
    fi
    sha256sum -c --quiet sums || fail "$name: files that it must not change"
    [ "$(stat -c %s rw.img)/$(stat -c %s pm.img)" = 4194304/4194304 ] || fail "$name: images of another size"
    [ "$(find outside -mindepth 1 | wc -l)" = 1 ] || fail "$name: files outside of the share"
done
exit 0
