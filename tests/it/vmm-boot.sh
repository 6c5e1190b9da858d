#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm run` with real kernels: both hardware descriptions, ELF and bzImage, one CPU and several, and each
# way in which a guest can end.
set -u
# shellcheck source=SCRIPTDIR/../lib/vmrun.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/vmrun.sh"

# The null guest: one byte, and a reset.
run 0 -k "$HUSK_BUILD/guest/null.elf" -m 16M --serial --console none --boot-report=json
[ "$(cat "$TMP/out")" = x ] || fail 'the null guest said something else'
# Three exits: the entry's marker, the byte, the reset.
jq -e '.exits.io == 3 and .exits.mmio == 0 and .phases_ns.entry > .phases_ns.run and
    .phases_ns.console > .phases_ns.entry' "$TMP/err" >/dev/null ||
    fail 'the null guest: report'

# Device tree: power-off, reset, status, and how few returns to user space a boot takes.
run 0 "${linux[@]}" -a 'quiet t=irq t=off' --boot-report=json
says '^husk-init: cpus 1 memory 2'
says 'IO-APIC +1-edge +virtio'
grep -q 'nothing ended me' "$TMP/out" && fail 'power-off did not end it'
jq -e '.exits.io + .exits.mmio + .exits.eoi + .exits.other <= 300 and .phases_ns.init' "$TMP/err" >/dev/null ||
    fail 'more than 300 returns of KVM_RUN'
run 0 "${linux[@]}" -a 'quiet t=reboot'
run 7 "${linux[@]}" -a 'quiet t=exit'
says '^husk-init'
run 0 "${linux[@]}" -a 'quiet t=off' --hw fdt -c 2
says '^husk-init: cpus 2 '
input=$TMP/typed
echo 'hello world' >"$input"
run 0 "${linux[@]}" -a 'quiet t=cat t=off'
says '^got hello world'
input=
run 0 "${linux[@]}" -m 4G -a 'quiet t=off'
says '^husk-init: cpus 1 memory (39|40)'
if grep -q '^CONFIG_PVPANIC_MMIO=y' "$HUSK_KERNEL/kernel.config" 2>/dev/null; then
    run 1 "${linux[@]}" -a 'quiet t=panic'
    grep -q "the guest's kernel panicked" "$TMP/err" || fail 'no word of the panic'
    says 'sysrq triggered crash'
fi

# MP table; the same kernel compressed.
run 0 "${linux[@]}" --hw mptable -c 2 -a 'quiet t=irq t=reboot'
says '^husk-init: cpus 2 '
says 'IO-APIC +1-edge +virtio'
run 0 -k "$HUSK_BUILD/guest/halt.elf" -m 16M --console none -c 3
# No register to power off by: it halts its processors, which is noticed.
for cpus in 1 3; do
    run 0 "${linux[@]}" --hw mptable -c $cpus -a 'quiet t=irq t=off'
    says "^husk-init: cpus $cpus "
done
# Idle is not off: asleep for longer than it takes to notice.
run 7 "${linux[@]}" --hw mptable -c 2 -a 'quiet t=idle t=exit'
run 0 "${linux[@]}" -k "$TMP/bzImage" -a 'quiet t=off'
says '^husk-init'

# Stopped from outside: the status that a shell gives.
"$vmm" run "${linux[@]}" -a 'quiet t=hang' >"$TMP/out" 2>"$TMP/err" </dev/null &
pid=$!
for ((i = 0; i < 600; i++)); do
    grep -q husk-init "$TMP/out" && break
    sleep 0.1
done
kill -TERM $pid
wait $pid
rc=$?
[ $rc = 143 ] || fail "SIGTERM: status $rc"

echo 'all of it'
