#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `vmm check` where KVM is whole: every required stage passes, also when the CPUs are taken and for
# many at once; and one clear sentence where the device is foreign, missing or forbidden.
set -u
vmm=$HUSK_BUILD/bin/vmm
hogs=()
fail() {
    echo "FAIL: $*"
    exit 1
}
trap '[ ${#hogs[@]} = 0 ] || kill "${hogs[@]}"' EXIT

# The report in both forms.
"$vmm" check >"$TMP/text" || { cat "$TMP/text"; fail "vmm check: status $?"; }
[ "$(tail -n 1 "$TMP/text")" = 'this host can run guests' ] || fail 'the last line is no verdict'
grep -q $'\033' "$TMP/text" && fail 'colours in a file'
"$vmm" check --json >"$TMP/json" || fail "vmm check --json: status $?"
jq -e '.can_run and (.stages | length) == 19
    and ([.stages[] | select(.required and .result == "fail")] == [])
    and ([.stages[] | select(.name == ("long-mode", "ring3", "syscall", "breakpoint", "msi", "timer"))
          | .result] | unique) == ["pass"]
    and .mips >= 20 and .io_uring.works
    and .cost_ns.create_vm.n == 5 and .cost_ns.exit_user.median > 0 and .cost_ns.exit_kernel.median > 0
    and ([.capabilities[] | select(.required and (.present | not))] == [])
    and .limits.vcpus_max >= 1' "$TMP/json" >"$TMP/jq" || { cat "$TMP/json"; fail 'the JSON report'; }

# No watchdog goes off because others use the CPUs, nor because others make VMs.
for ((i = 0; i < 2 * $(nproc); i++)); do
    while :; do :; done &
    hogs+=($!)
done
for i in 1 2 3; do
    "$vmm" check --quick >"$TMP/quick" || fail "beside busy neighbours, run $i: $(cat "$TMP/quick")"
done
kill "${hogs[@]}"
wait "${hogs[@]}" 2>"$TMP/wait"
hogs=()
pids=()
for i in 1 2 3 4 5 6 7 8; do
    "$vmm" check --quick >"$TMP/quick.$i" &
    pids+=($!)
done
for i in 1 2 3 4 5 6 7 8; do
    wait "${pids[i - 1]}" || fail "eight at once: $(cat "$TMP/quick.$i")"
done

# Nor because there is next to no CPU time: a fiftieth of one.
if mkdir /sys/fs/cgroup/husk-check-slow && echo '2000 100000' >/sys/fs/cgroup/husk-check-slow/cpu.max; then
    (echo $BASHPID >/sys/fs/cgroup/husk-check-slow/cgroup.procs && exec "$vmm" check --quick >"$TMP/quick") ||
        fail "with a fiftieth of a CPU: $(cat "$TMP/quick")"
    rmdir /sys/fs/cgroup/husk-check-slow
fi

# refused STATUS SENTENCE COMMAND...
refused() {
    local status=$1 sentence=$2 out rc=0
    shift 2
    out=$("$@" 2>&1) || rc=$?
    [ $rc = "$status" ] || fail "$*: status $rc instead of $status: $out"
    [[ $out == *"$sentence"* ]] || fail "$*: '$sentence' is not in: $out"
}
refused 1 'this host cannot run guests: /dev/null is not a KVM device' "$vmm" check --quick --device /dev/null
refused 1 "$TMP/none does not exist" "$vmm" check --quick --device "$TMP/none"
refused 1 'cannot write the report' bash -c "'$vmm' check --quick >/dev/full"
refused 2 "unknown option '--bogus'" "$vmm" check --bogus
if [ "$(id -u)" = 0 ]; then
    cp "$vmm" "$TMP/vmm"
    chmod 711 "$TMP"
    [ -k "$(dirname "$TMP")" ] || chmod 711 "$(dirname "$TMP")"
    mknod -m 600 "$TMP/kvm" c 10 232
    refused 1 "$TMP/kvm: no permission for user 65534" \
        setpriv --reuid 65534 --regid 65534 --clear-groups "$TMP/vmm" check --quick --device "$TMP/kvm"
fi
exit 0
