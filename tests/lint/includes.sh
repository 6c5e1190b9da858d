#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The direction of includes: base <- virtio <- vmm <- runtime, base <- mux <- runtime and agent.
# Prints each include that goes another way and fails; also KVM headers in virtio/, I/O in mux/, and
# liburing in the agent, which runs without it.
set -u
cd "$(dirname "$0")/../.." || exit 2
bad=0
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT

allowed() {
    case $1 in
    base) echo base ;;
    virtio) echo base virtio ;;
    vmm) echo base virtio vmm ;;
    mux) echo base mux ;;
    runtime) echo base virtio vmm mux runtime ;;
    agent) echo base mux agent ;;
    esac
}

for dir in base virtio vmm mux runtime agent; do
    ok=" $(allowed $dir) "
    for f in "$dir"/*.[chS]; do
        [ -f "$f" ] || continue
        sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$f" | while read -r inc; do
            top=${inc%%/*}
            [ "$top" = "$inc" ] && echo "$f: \"$inc\": name the folder, as \"$dir/$inc\"" && continue
            case "$ok" in
            *" $top "*) ;;
            *) echo "$f: includes $inc, but $dir/ may include only:$ok" ;;
            esac
        done
    done
done >"$tmp"
[ -s "$tmp" ] && cat "$tmp" && bad=1


forbid() { # pattern, reason, files...
    pat=$1 why=$2
    shift 2
    if grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*<($pat)>" "$@" /dev/null; then
        echo "  $why"
        bad=1
    fi
}
forbid 'linux/kvm\.h|asm/kvm\.h' 'virtio/ knows no KVM: devices run in unit tests on plain memory' virtio/*.[ch]
forbid 'liburing\.h|sys/socket\.h|sys/epoll\.h|poll\.h|unistd\.h|fcntl\.h|linux/kvm\.h' \
    'mux/ does no I/O: bytes in, bytes out' mux/*.[ch]
forbid 'liburing\.h' 'only base/loop.c knows the ring' base/[!l]*.[ch] virtio/*.[ch] runtime/*.[ch] agent/*.[ch]
exit $bad
