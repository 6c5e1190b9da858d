#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a root file system of busybox: busybox-root.sh DIR. For bundles and for images of engines.
set -euo pipefail
root=${1:?usage: busybox-root.sh DIR}
mkdir -p "$root"/{bin,etc,tmp,root,dev,proc,sys,run}
busybox=$(command -v busybox)
cp "$busybox" "$root/bin/busybox"
# One process instead of four hundred, which take minutes in an emulated machine.
if [ "$(id -u)" = 0 ]; then
    chroot "$root" /bin/busybox --install -s /bin
else
    for applet in $("$busybox" --list); do
        ln -sf busybox "$root/bin/$applet"
    done
fi
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
