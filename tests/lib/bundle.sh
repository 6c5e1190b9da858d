#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an OCI bundle whose root is a busybox tree: bundle.sh DIR [ARG...] (the container's command).
# DIR/rootfs and DIR/config.json are made by our own `husk spec`, then edited.
set -euo pipefail
husk=${HUSK_BUILD:?}/bin/husk
dir=$1
shift
mkdir -p "$dir"/rootfs/{bin,etc,tmp,root,dev,proc,sys,run}
busybox=$(command -v busybox)
cp "$busybox" "$dir/rootfs/bin/busybox"
# One process instead of four hundred, which take minutes in an emulated machine.
if [ "$(id -u)" = 0 ]; then
    chroot "$dir/rootfs" /bin/busybox --install -s /bin
else
    for applet in $("$busybox" --list); do
        ln -sf busybox "$dir/rootfs/bin/$applet"
    done
fi
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$dir/rootfs/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$dir/rootfs/etc/group"
chmod 1777 "$dir/rootfs/tmp"
rm -f "$dir/config.json"
"$husk" spec --bundle "$dir"
[ $# -gt 0 ] || set -- sh
args=$(jq -cn '$ARGS.positional' --args -- "$@")
jq --argjson args "$args" '.process.terminal = false | .process.args = $args | .root.readonly = false' \
    "$dir/config.json" >"$dir/config.json.new"
mv "$dir/config.json.new" "$dir/config.json"
