#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm run`: what is refused, with one sentence each, and status 1 or 2.
set -u
vmm=$HUSK_BUILD/bin/vmm
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
fail() {
    echo "FAIL: $*"
    cat "$TMP/out" "$TMP/err"
    exit 1
}

# run STATUS ARG...: output in $TMP/out, messages in $TMP/err
run() {
    local want=$1 rc
    shift
    timeout 120 "$vmm" run "$@" >"$TMP/out" 2>"$TMP/err" <"${input:-/dev/null}"
    rc=$?
    [ $rc = "$want" ] || fail "vmm run $*: status $rc, not $want"
}
complains() {
    grep -qE -- "$1" "$TMP/err" || fail "no line like '$1' in the messages"
    [ "$(wc -l <"$TMP/err")" = 1 ] || fail "more than one sentence"
}

# Copies, so that a slow file system below does not count against the guest.
cp "$HUSK_KERNEL/vmlinux" "$HUSK_KERNEL/bzImage" "$TMP/" || exit 1
"$here/../lib/mkinitrd.sh" "$TMP/initrd" "$here/../lib/init-vmm.sh" "$HUSK_BUILD/guest/endguest" || exit 1
linux=(-k "$TMP/vmlinux" -i "$TMP/initrd" -m 256M)

# Refused, with one sentence each, and status 1 or 2.
run 1 -k "$TMP/none"
complains "kernel '$TMP/none': No such file"
run 1 -k "$here"
complains 'is a directory'
run 1 -k "$here/vmm-refuse.sh"
complains 'not an ELF file or bzImage'
head -c 100000 "$TMP/vmlinux" >"$TMP/cut"
run 1 -k "$TMP/cut"
complains 'outside of the file'
head -c 3000000 "$TMP/bzImage" >"$TMP/cut"
run 1 -k "$TMP/cut"
complains 'cut off'
run 1 -k "$TMP/vmlinux" -m 16M
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
