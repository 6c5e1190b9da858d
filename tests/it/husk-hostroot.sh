#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The host's root as a volume: recursively what is mounted there, too, but no window into the host's kernel.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
bash "$here/lib/bundle.sh" "$b" sleep 1000 &&
    jq '.linux.cgroupsPath = "/husk-it/c1" | .mounts += [
        {"destination": "/host", "type": "bind", "source": "/", "options": ["rbind", "ro"]},
        {"destination": "/flat", "type": "bind", "source": "/", "options": ["bind", "ro"]}]' "$b/config.json" >"$b/new" &&
    mv "$b/new" "$b/config.json" || exit 1
mkdir "$TMP/below" && mount -t tmpfs below "$TMP/below" && echo below >"$TMP/below/file" || exit 1
h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>&1 || fail "create: $(cat "$TMP/out")"
h start c1 || fail start
exported=/proc/$(cat "$TMP/pid")/root
# What is exported in their place is the directory below the mount.
for f in host/proc host/proc/sys host/sys host/sys/fs/cgroup host/dev host/dev/pts host/dev/shm flat/proc flat/dev; do
    [ ! -e "$exported/$f" ] || [ "$(stat -c %d "$exported/$f")" = "$(stat -c %d "$exported/${f%%/*}")" ] ||
        fail "/$f: a $(stat -fc %T "$exported/$f") of the host is exported"
done
[ "$(stat -c %d "$exported/host$TMP/below")" != "$(stat -c %d "$exported/host")" ] || fail 'a tmpfs below the root is not exported'
is() { # is COMMAND OUTPUT
    local got
    got=$(h exec c1 sh -c "$1" </dev/null 2>&1)
    [ "$got" = "$2" ] || fail "$1: '$got', not '$2'"
}
is 'cmp /host/proc/version /proc/version; cat /host/proc/self/comm; ls -d /host/sys/kernel; stat -c %t:%T /host/dev/null' $'cat\n/host/sys/kernel\n1:3'
is "cat /host$TMP/below/file" below
is "[ -e /flat$TMP/below/file ] || echo none" none
is 'cmp /host/etc/passwd /flat/etc/passwd; echo $?' 0
h delete --force c1 || fail delete
umount "$TMP/below"
[ $bad = 0 ]
