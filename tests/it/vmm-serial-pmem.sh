#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm run`: the serial port, and files as persistent memory, under both hardware descriptions.
set -u
# shellcheck source=SCRIPTDIR/../lib/vmrun.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/vmrun.sh"

# A serial port: early messages by the port, the driver by the tree, found once.
run 0 "${linux[@]}" --serial --console none -a 'earlyprintk=serial,ttyS0 t=irq t=uart t=off'
says 'Linux version'
says 'IO-APIC +4-edge +ttyS0'
says '^1.?$'

# What is piped in comes out of the port, from the first byte on.
input=$TMP/typed
echo 'hello world' >"$input"
for hw in fdt mptable; do
    run 0 "${linux[@]}" --hw $hw --serial --console none -a 'quiet t=cat t=reboot'
    says '^got hello world'
done
input=

# A read-only image: mapped, with DAX, and what the guest writes goes nowhere.
mkdir -p "$TMP/image" && echo from-the-image >"$TMP/image/hello"
mkfs.erofs -Enoinline_data "$TMP/image.erofs" "$TMP/image" >"$TMP/mkfs" 2>&1 || fail "mkfs.erofs: $(cat "$TMP/mkfs")"
sum=$(sha256sum <"$TMP/image.erofs")
for hw in fdt mptable; do
    run 0 "${linux[@]}" --hw $hw --pmem "$TMP/image.erofs,ro" -a 'quiet t=pmem t=write t=reboot'
    says '^from-the-image'
    says '^dax'
    [ "$sum" = "$(sha256sum <"$TMP/image.erofs")" ] || fail "the guest changed a read-only image ($hw)"
done

# A writable one: behind the read-only one, whatever their order; what is written and flushed is in the file.
truncate -s 2M "$TMP/disk"
for hw in fdt mptable; do
    run 0 "${linux[@]}" --hw $hw --pmem "$TMP/disk" --pmem "$TMP/image.erofs,ro" -a "quiet t=pmem t=store=$hw t=reboot"
    says '^from-the-image'
    says '^stored'
    [ "$(head -n 1 "$TMP/disk" | tr -d '\0')" = "store=$hw" ] ||
        fail "what the guest stored is not in the file ($hw)"
done

echo 'all of it'
