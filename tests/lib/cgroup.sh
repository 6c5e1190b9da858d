# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034 # what the scripts use
# For the scripts about cgroups, which run the same container on hosts of each kind. Sourced; the
# script has set HUSK_BUILD and TMP, and afterwards ends with `[ $bad = 0 ]`.
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
bash "$here/lib/bundle.sh" "$b" sh -c 'echo ready; exec sleep 1000' || exit 1
cp "$b/config.json" "$b/base.json"
# spec FILTER: the bundle's config.json with a jq filter applied.
spec() {
    jq "$1" "$b/base.json" >"$b/config.json"
}
# is FILE VALUE: a file of the cgroup has this text.
is() {
    [ "$(cat "$1" 2>&1)" = "$2" ] || fail "$1 is '$(cat "$1" 2>&1)', not '$2'"
}
# cgroups_named NAME: where cgroups of that name are, in all hierarchies.
cgroups_named() {
    find /sys/fs/cgroup -name "$1" -type d
}
# gone NAME: nothing is left; systemd may take a moment for its part.
gone() {
    local i
    for ((i = 0; i < 100; i++)); do
        [ -n "$(cgroups_named "$1")" ] || break
        moment
    done
    [ -z "$(cgroups_named "$1")" ] || fail "left: $(cgroups_named "$1")"
    [ -z "$(ls -A "$root" 2>/dev/null)" ] || fail "left: $(ls -A "$root")"
}
# ended PID: waits until the process is gone.
ended() {
    tail --pid="$1" -f /dev/null
}
# refused FILTER TEXT: no container of this spec, a sentence that says why, nothing left.
refused() {
    spec "$1"
    h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail "$1 is accepted"
    grep -qF -- "$2" "$TMP/err" || fail "$1: $(cat "$TMP/err")"
    gone c1
}
