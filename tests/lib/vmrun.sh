# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# `vmm run` with Linux and tests/lib/init-vmm.sh, to its end. Sourced.
# shellcheck disable=SC2034 # what the scripts use
vmm=$HUSK_BUILD/bin/vmm
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
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
says() {
    grep -qE -- "$1" "$TMP/out" || fail "no line like '$1' in the output"
}
complains() {
    grep -qE -- "$1" "$TMP/err" || fail "no line like '$1' in the messages"
    [ "$(wc -l <"$TMP/err")" = 1 ] || fail "more than one sentence"
}

# Copies, so that a slow file system below does not count against the guest.
cp "$HUSK_KERNEL/vmlinux" "$HUSK_KERNEL/bzImage" "$TMP/" || exit 1
"$here/lib/mkinitrd.sh" "$TMP/initrd" "$here/lib/init-vmm.sh" "$HUSK_BUILD/guest/endguest" || exit 1
linux=(-k "$TMP/vmlinux" -i "$TMP/initrd" -m 256M)
