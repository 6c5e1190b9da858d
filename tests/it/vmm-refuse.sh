#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm run`: what is refused, with one sentence each, and status 1 or 2.
set -u
# shellcheck source=SCRIPTDIR/../lib/vmrun.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/vmrun.sh"

# Refused, with one sentence each, and status 1 or 2.
run 1 -k "$TMP/none"
complains "kernel '$TMP/none': No such file"
run 1 -k "$here"
complains 'is a directory'
run 1 -k "$here/it/vmm-refuse.sh"
complains 'not an ELF file or bzImage'
head -c 100000 "$TMP/vmlinux" >"$TMP/cut"
run 1 -k "$TMP/cut"
complains 'outside of the file'
head -c 3000000 "$TMP/bzImage" >"$TMP/cut"
run 1 -k "$TMP/cut"
complains 'cut off'
# Its first segment takes 64 MiB of memory: p_memsz of the first program header.
cp "$TMP/vmlinux" "$TMP/big"
printf '\0\0\0\4\0\0\0\0' | dd of="$TMP/big" bs=1 seek=$((64 + 40)) conv=notrunc status=none
run 1 -k "$TMP/big" -m 32M
complains 'does not fit'
run 1 "${linux[@]}" -i "$TMP/none"
complains "initrd '$TMP/none'"
run 1 -k "$HUSK_BUILD/guest/null.elf" --hw fdt
complains 'cannot be given a device tree'
run 1 "${linux[@]}" -a "$(printf 'x%.0s' {1..3000})"
complains 'command line has'
run 2 -k "$TMP/vmlinux" -m 5X
run 2 -k "$TMP/vmlinux" --hw acpi
run 2
echo 'all of it'
