# shellcheck shell=bash
# shellcheck disable=SC2154 # name and pid are those of vmguest.sh
# SPDX-License-Identifier: Apache-2.0
# Data through a guest's network card, both ways. Sourced after vmguest.sh, in the test's directory.
guest_files+=("$HUSK_BUILD/bin/netprobe")
# serve WORDS...: echoes to who comes, until both() is done
serve() {
    "$@" "$HUSK_BUILD/bin/netprobe" serve 5000 >served &
    server=$!
    until_ok 20 grep -q serving served || fail 'the server'
}
# both ADDRESS [open]: data goes both ways through the card and arrives as it was; netprobe.c has the word
both() {
    tell "echo data \$(NETPROBE_LIMIT=120 /netprobe tcp $1 5000 4000000 ${2-}; /netprobe udp $1 5000 1200 20)"
    until_ok 150 grep -q '^data ' "$name.out" || fail "$name: data"
    said 'data ok ok' || fail "$name: data did not come back as it was sent"
    kill "$server"
    wait "$server"
}
# The servers end when their peers do; the guest stays.
wait_for_jobs() {
    local job
    for job in $(jobs -p); do
        [ "$job" = "$pid" ] || [ "$job" = "${passt_pid-}" ] || wait "$job" || fail 'a server'
    done
}
