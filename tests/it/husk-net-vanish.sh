#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An interface that comes and goes all the time while a container is started does not stop it.
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
# shellcheck source=SCRIPTDIR/../lib/net.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/net.sh"
net_begin
netns v 40
bundle v || fail "no bundle"
# Three times: what it meets depends on when it goes.
for _ in 1 2 3; do
    (while plug v eth5 41; do n v ip link del eth5; done) &
    flapper=$!
    begin v
    kill $flapper
    wait $flapper
    n v ip link del eth5 2>/dev/null
    wants v 'ls /sys/class/net; ip addr' eth0 10.9.0.40/24
    wants_not v 'ls /sys/class/net' eth5
    probes 10.9.0.40
    ask_end v
    clean v
    [ $bad = 0 ] || break
done
[ $bad = 0 ]
