#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Data through engines: a large body through `docker run -i` and back, binary, the end of input, a reader
# that stalls and stops nobody else, and the last line before an exit, of containers and of many execs.
# MIB is the size of the body (24; the full test takes 1024), RUNTIMES who carries it (runc husk), ECHOS the
# number of execs (60; 1000).
# shellcheck source=SCRIPTDIR/../lib/engine.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/engine.sh"
engine_setup
dockerd_start
docker_image
say 'dockerd is up'
c=data
mib=${MIB:-24} echos=${ECHOS:-60}

# There and back, equal: every byte value at changing offsets. The log of such a container would be larger
# than the body, so it has none.
awk 'BEGIN { for (i = 0; i < 256; i++) printf "%c", i }' >"$E/bytes"
for ((i = 0; i < 12; i++)); do cat "$E/bytes" "$E/bytes" >"$E/more" && mv "$E/more" "$E/bytes"; done
echo odd >>"$E/bytes"
body() {
    local n=$mib
    while [ $((n -= 1)) -ge 0 ]; do cat "$E/bytes"; done
}
body | md5sum >"$E/sum.in"
for r in ${RUNTIMES:-runc husk}; do
    began=$(now)
    body | LIMIT=${BODY_LIMIT:-300} dk_run --rm -i --log-driver none bb:1 sh -c 'echo begun >&2; exec cat' \
        2>"$E/begun" | md5sum >"$E/sum.out"
    grep -qx begun "$E/begun" || fail "$r: stderr beside the body: $(cat "$E/begun")"
    cmp "$E/sum.in" "$E/sum.out" || fail "$r: the body changed on its way"
    say "$r: $mib MiB there and back in $((($(now) - began) / 1000)) s"
done

r=husk
dk_run -d --init --name $c bb:1 sleep 100000 >"$E/id"
id=$(cat "$E/id")
state=$(dirname "$E"/docker-run/runtime-*/moby/"$id")
# The end of input arrives, and what is written behind it as well.
[ "$(printf 'no newline' | dk exec -i $c sh -c 'cat; echo; sleep 0.3; echo last')" = $'no newline\nlast' ] ||
    fail 'end of input'

# One writes and nobody reads: nobody else may be held up by that.
mkfifo "$E/stalled"
exec {unread}<>"$E/stalled"
LIMIT=$((200 + echos)) ct -n moby task exec --exec-id stalled "$id" yes >"$E/stalled" 2>"$E/stalled.err" {unread}<&- &
stalled=$!
until_ok sh -c "dd if=$E/stalled bs=2 count=1 2>/dev/null | grep -q y"
say 'end of input; one reader stalls'

# Not one last line is lost: every tenth exec through containerd, the others by the runtime itself.
by_husk() {
    timeout "${LIMIT:-200}" "$husk" --root "$state" exec "$id" echo "line $1"
}
small() {
    local i
    for ((i = $1; i < echos; i += 4)); do
        if [ $((i % 10)) = 0 ]; then
            ct -n moby task exec --exec-id "small-$i" "$id" echo "line $i"
        else
            by_husk $i
        fi >"$E/small.$i" 2>&1
    done
}
began=$(now)
pids=()
for i in 0 1 2 3; do
    small $i &
    pids+=($!)
done
wait "${pids[@]}"
for ((i = 0; i < echos; i++)); do
    [ "$(cat "$E/small.$i")" = "line $i" ] || fail "output $i of $echos: '$(cat "$E/small.$i")'"
done
say "$echos last lines in $((($(now) - began) / 1000)) s"

kill -0 $stalled || fail "the stalled writer has ended: $(cat "$E/stalled.err")"
exec {unread}<&- # the client's next write fails, then the shim's, then the one in the guest
wait $stalled
until_ok dk exec $c sh -c '! pgrep yes'
for i in 1 2; do
    [ "$(dk_run --rm bb:1 sh -c "seq 1 2000; echo last $i" | tail -n 1)" = "last $i" ] || fail "the last line of container $i"
done
say 'last lines of containers'
dk rm -f $c >"$E/rm"
dockerd_stop
engine_clean
engine_end
