#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an initrd (cpio, not compressed) of busybox and a script that becomes /init.
# Usage: mkinitrd.sh OUT INIT-SCRIPT [FILE...]; further files go to /.
set -euo pipefail
out=$(realpath -m -- "${1:?usage: mkinitrd.sh OUT INIT-SCRIPT [FILE...]}")
init=${2:?usage: mkinitrd.sh OUT INIT-SCRIPT [FILE...]}
shift 2
dir=$(mktemp -d "${TMPDIR:-/tmp}/mkinitrd.XXXXXX")
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir" # it is the guest's /
mkdir -p "$dir"/{bin,dev,proc,sys,tmp,mnt}
cp "$(command -v busybox)" "$dir/bin/busybox"
for name in sh mount umount mkdir echo cat ls dd poweroff reboot dmesg sleep grep sed head tail wc od printf cmp \
    md5sum sync stty ifconfig ip ping test true false date free uname tr rm sha256sum nproc devmem; do
    ln -s busybox "$dir/bin/$name"
done
mknod -m 600 "$dir/dev/console" c 5 1
mknod -m 600 "$dir/dev/port" c 1 4
mknod -m 666 "$dir/dev/null" c 1 3
cp "$init" "$dir/init"
chmod 755 "$dir/init"
for file in "$@"; do
    cp -- "$file" "$dir/"
done
(cd "$dir" && find . -print0 | LC_ALL=C sort -z | cpio --quiet -0 -o -H newc) >"$out.tmp"
mv "$out.tmp" "$out"
