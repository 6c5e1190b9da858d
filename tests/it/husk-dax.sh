#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The container's root is 9p, and the mini OS is on DAX: by the word of the guest's kernel about the agent's
# own file, and by the host's smaps, where two machines share the image's pages.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
image() { # image PID FIELD: KiB of a field of smaps, summed over the mappings of the image
    awk -v f="$2:" '/^[0-9a-f]+-[0-9a-f]+ /{on = /rootfs\.erofs/} on && $1 == f {n += $2} END {print n + 0}' \
        "/proc/$1/smaps"
}
bash "$here/lib/bundle.sh" "$b" sh -c 'grep " / " /proc/mounts; read -r _' || exit 1
pids=()
for i in 1 2; do
    mkfifo "$TMP/in$i"
    "$husk" --root "$TMP/state" --debug --log "$TMP/log$i" create --bundle "$b" --pid-file "$TMP/pid" "d$i" \
        <>"$TMP/in$i" >"$TMP/out$i" 2>&1 || fail "create: $(cat "$TMP/out$i")"
    pids+=("$(cat "$TMP/pid")")
    "$husk" --root "$TMP/state" start "d$i" || fail start
    grep -qF 'dax\":true' "$TMP/log$i" || fail "the agent does not say that it is on DAX: $(cat "$TMP/log$i")"
    read -rt 60 line < <(tail -n +1 -f "$TMP/out$i" --pid="${pids[-1]}")
    [[ $line == *' / 9p '* ]] || fail "the container's root: $line"
done
for pid in "${pids[@]}"; do
    rss=$(image "$pid" Rss) pss=$(image "$pid" Pss) dirty=$(image "$pid" Private_Dirty)
    echo "process $pid: image Rss $rss kB, Pss $pss kB, private dirty $dirty kB"
    [ "$rss" -gt 100 ] || fail 'the guest does not run from the image'
    [ "$pss" -lt $((rss * 3 / 4)) ] || fail 'the pages of the image are not shared'
    [ "$dirty" = 0 ] || fail 'pages of the image were copied'
done
for i in 1 2; do
    echo end >"$TMP/in$i"
    "$husk" --root "$TMP/state" delete --force "d$i" || fail "delete $i"
done
[ $bad = 0 ]
