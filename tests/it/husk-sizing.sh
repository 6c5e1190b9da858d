#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The size of the VM: what a small memory limit means inside and outside, what configuration and
# annotations decide, and what of them is refused.
set -u
# shellcheck source=SCRIPTDIR/../lib/cgroup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/cgroup.sh"

# 64 MiB and real pressure: the guest kills inside, the machine lives and says 137.
spec '.linux.cgroupsPath = "/husk-it/c1" | .linux.resources.memory = {limit: 67108864, swap: 67108864} |
    .process.args = ["sh", "-c", "echo start; (tail -c 90000000 /dev/zero; echo rc $?); echo alive"]'
h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail "pressure: status $?: $(cat "$TMP/err")"
grep -q '^rc 137' "$TMP/out" || fail "pressure: not killed inside: $(cat "$TMP/out" "$TMP/err")"
grep -q '^alive' "$TMP/out" || fail "pressure: the container did not survive: $(cat "$TMP/out")"
gone c1
# Configuration and annotations decide what the guest sees.
cat >"$TMP/husk.conf" <<'END'
{ // sizes
  "memory": {"default": "192M", "max": "400M"}, "vcpus": {"default": 2},
  "kernel_params": "husk_test=1", "enable_annotations": ["memory"] }
END
globals=(--config "$TMP/husk.conf")
spec '.process.args = ["sh", "-c", "nproc; cat /proc/cmdline; cat /proc/meminfo"]'
guest_mib() { # of the last run
    awk '/^MemTotal/ {print int($2 / 1024)}' "$TMP/out"
}
h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail "configured: $(cat "$TMP/err")"
[ "$(head -n 1 "$TMP/out")" = 2 ] || fail "CPUs: $(head -n 1 "$TMP/out")"
grep -q ' husk_test=1' "$TMP/out" || fail "kernel_params: $(grep root= "$TMP/out")"
{ [ "$(guest_mib)" -gt 120 ] && [ "$(guest_mib)" -lt 192 ]; } || fail "memory: $(guest_mib) MiB"
small=$(guest_mib)
spec '.annotations = {"io.husk.memory": "320M"} | .process.args = ["cat", "/proc/meminfo"]'
h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" || fail "annotated: $(cat "$TMP/err")"
[ "$(guest_mib)" -gt $((small + 100)) ] || fail "io.husk.memory: $(guest_mib) MiB, not more than $small"
refused '.annotations = {"io.husk.memory": "1G"}' 'io.husk.memory: 1024 MiB is not from'
refused '.annotations = {"io.husk.vcpus": "1"}' "does not have 'vcpus'"
echo '{"vcpu": 1}' >"$TMP/husk.conf"
refused . "configuration '$TMP/husk.conf': unknown key 'vcpu'"
globals=(--config "$TMP/nowhere")
refused . "configuration '$TMP/nowhere': No such file"
[ $bad = 0 ]
