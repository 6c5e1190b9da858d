#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Memory that the guest frees goes back to the host by itself (free page reporting), and only with --balloon.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/vmguest.sh
. "$here/../lib/vmguest.sh"
cd "$TMP" || exit 1
# shellcheck disable=SC2317 # called by until_ok
below() { [ "$(rss_kb)" -lt "$1" ]; }

for with in --balloon ''; do
    # shellcheck disable=SC2086 # no option is no word
    boot "m${with#--}" $with
    tell 'mount -t tmpfs -o size=200m tmpfs /mnt; dd if=/dev/zero bs=1M count=100 2>/dev/null | tr "\000" x >/mnt/big; sync; echo full'
    until_ok 120 said full || fail "$name: not full: $(cat "$name.out")"
    full=$(rss_kb)
    [ "$full" -gt 110000 ] || fail "$name: full with $full kB"
    tell 'rm /mnt/big; echo empty'
    until_ok 60 said empty || fail "$name: not empty"
    if [ -n "$with" ]; then
        until_ok 60 below $((full - 90000)) || fail "$name: $full kB full, $(rss_kb) kB after it was freed"
    else
        sleep 5 # what is not given back cannot be waited for
        [ "$(rss_kb)" -gt $((full - 10000)) ] || fail "$name: given back without a balloon"
    fi
    ends
done
exit 0
