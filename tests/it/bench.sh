#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm bench boot` and `husk bench`: the shape of their results. No figure is judged.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
vmm=$HUSK_BUILD/bin/vmm husk=$HUSK_BUILD/bin/husk
fail() {
    echo "FAIL: $*"
    exit 1
}
# ask FILE FILTER: jq says true, or the file is shown
ask() {
    [ "$(jq -r "$2" "$1")" = true ] || { head -c 4000 "$1" && fail "not so: $2"; }
}

# A guest without a kernel, beside a peer given as a command line: vmm itself.
"$vmm" bench boot -k "$HUSK_BUILD/guest/null.elf" --serial --console none -n 2 --memory-use --json \
    --csv "$TMP/null.csv" --svg "$TMP/null.svg" \
    --peer "again=$vmm run -k {kernel} -m {memory}M -c {cpus} --serial --console none" >"$TMP/null.json" ||
    fail "vmm bench boot: status $?"
ask "$TMP/null.json" '.what == "boot" and (.subjects | map(.name)) == ["vmm", "again"]'
ask "$TMP/null.json" '[.subjects[].runs | length] == [2, 2]'
ask "$TMP/null.json" '.host.kvm_create_vm_ns > 0 and (.host.kernel | length) > 0'
ask "$TMP/null.json" '.subjects[0].at_ns | (.exec.median < .create_vm.median) and (.create_vm.median < .run.median) and
    (.run.median < .entry.median) and (.entry.median < .output_seen.median)'
ask "$TMP/null.json" '.subjects[0].counts | .io.median >= 1 and .guest_ram_kib.n == 2 and .pss_beyond_ram_kib.median > 0'
ask "$TMP/null.json" '.subjects[1].ratio_of_first_to_this | .n == 2 and .median > 0 and .min <= .median and .median <= .max'
[ "$(wc -l <"$TMP/null.csv")" = 5 ] || fail "csv: not a head and four runs"
python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$TMP/null.svg" || fail 'svg: not XML'

# The mark of Firecracker's guests, a store of 123 to 0xc0000000, says that init runs; a peer that is not
# installed leaves blanks.
PATH=/nowhere "$vmm" bench boot -k "$HUSK_BUILD/guest/mark.elf" --serial --console none -n 1 --json --peer firecracker \
    >"$TMP/mark.json" || fail "vmm bench boot: status $?"
ask "$TMP/mark.json" '.subjects[0].at_ns | (.entry.median < .init.median) and (.init.median < .output_seen.median)'
ask "$TMP/mark.json" '.subjects[1] | .name == "firecracker" and .installed == false and .runs == [] and .at_ns == {}'
ask "$TMP/null.json" '.subjects[0].at_ns.init == null'

# Our kernel: an initrd that marks init; the table.
"$here/../lib/mkinitrd.sh" "$TMP/initrd" "$here/../lib/init-vmm.sh" "$HUSK_BUILD/guest/endguest" || fail mkinitrd
"$vmm" bench boot -k "$HUSK_KERNEL/vmlinux" -i "$TMP/initrd" -a quiet -n 2 --warm-up 0 --until husk-init >"$TMP/linux.txt" ||
    fail "vmm bench boot, Linux: status $?"
for word in 'KVM_CREATE_VM alone' 'vmm: 2 runs' 'first KVM_RUN' 'init runs (marker)' 'first output byte seen' \
    'returns of KVM_RUN: MMIO'; do
    grep -qF "$word" "$TMP/linux.txt" || { cat "$TMP/linux.txt" && fail "table: no '$word'"; }
done

# The mini OS image marks init as Firecracker wants it, and ends.
"$vmm" run -k "$HUSK_KERNEL/vmlinux" -a 'quiet HUSK_BOOT_TIMER=1' --pmem "$HUSK_BUILD/rootfs.erofs,ro,root" \
    --boot-report=json >"$TMP/timer.out" 2>"$TMP/timer.json" </dev/null || fail "a boot that is timed: $(cat "$TMP/timer.out" "$TMP/timer.json")"
ask "$TMP/timer.json" '.phases_ns | .init > .entry'
[ ! -s "$TMP/timer.out" ] || fail "the boot that is timed says $(cat "$TMP/timer.out")"

# It is a part of every guest's memory.
[ "$(stat -c %s "$HUSK_BUILD/bin/husk-agent")" -le 1048576 ] || fail "husk-agent has $(stat -c %s "$HUSK_BUILD/bin/husk-agent") bytes"

# Containers, beside another runtime.
"$husk" bench run -n 2 --warm-up 0 --peer crun --json --svg "$TMP/run.svg" >"$TMP/run.json" || fail "husk bench run: status $?"
ask "$TMP/run.json" '.what == "run" and (.subjects | map(.name)) == ["husk", "crun"] and (.subjects[0].runs | length) == 2'
ask "$TMP/run.json" '.subjects[0].at_ns | (.run.median < .agent.median) and (.agent.median <= .process.median) and
    (.process.median < .end.median) and .output_seen.n == 2'
"$husk" bench create-start -n 2 --warm-up 0 --parallel 2 --json >"$TMP/create.json" ||
    fail "husk bench create-start: status $?"
ask "$TMP/create.json" '.subjects[0].at_ns | .created.median < .started.median and .output_seen.n == 2'

# What cannot be done is said, and nothing stays.
"$vmm" bench boot -k /nowhere/vmlinux -n 1 >/dev/null 2>"$TMP/err" && fail 'a kernel that is not there'
grep -q '/nowhere/vmlinux' "$TMP/err" || { cat "$TMP/err" && fail 'the sentence does not name the kernel'; }
"$vmm" bench boot -k "$HUSK_BUILD/guest/null.elf" --peer vmware -n 1 2>"$TMP/err" && fail 'a peer that is not known'
grep -q "'vmware'" "$TMP/err" || fail 'the sentence does not name the peer'
"$husk" bench run -n 1 --peer no-such-runtime 2>"$TMP/err" && fail 'a runtime that is not there'
grep -q 'no-such-runtime' "$TMP/err" || { cat "$TMP/err" && fail 'the sentence does not name the runtime'; }
[ -z "$("$husk" list --quiet)" ] || fail "containers stay: $("$husk" list --quiet)"
for left in /tmp/husk-bench.* /tmp/vmm-bench.*; do
    [ ! -e "$left" ] || fail "left behind: $left"
done
exit 0
