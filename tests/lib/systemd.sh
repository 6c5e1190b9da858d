# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The systemd driver, for the scripts of v2 and of v1. Sourced after cgroup.sh.
# shellcheck disable=SC2154,SC2034 # of cgroup.sh
globals=(--systemd-cgroup)
property() { # UNIT NAME
    systemctl show -p "$2" --value "$1"
}
unit_gone() {
    local i
    for ((i = 0; i < 100; i++)); do
        [ "$(property "$1" LoadState)" != loaded ] && break
        moment
    done
    [ "$(property "$1" LoadState)" = not-found ] ||
        fail "unit $1 is left: $(property "$1" LoadState) $(property "$1" ActiveState)"
}
# life: create, look, kill, delete. Sets pid while `look` runs.
life() {
    h create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>"$TMP/err" ||
        fail "create: $(cat "$TMP/err")"
    pid=$(cat "$TMP/pid")
    "$1"
    h start c1 || fail 'start'
    kill -9 "$pid"
    ended "$pid"
    # As engines do for a dead shim: without --systemd-cgroup.
    timeout 120 "$husk" --root "$root" delete --force c1 || fail 'delete --force'
}
wrong_forms() {
    spec '.linux.cgroupsPath = "/docker/c1"'
    h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'a path for systemd'
    grep -q 'has not the form slice:prefix:name' "$TMP/err" || fail "a path: $(cat "$TMP/err")"
    spec '.linux.cgroupsPath = "no-slice:husk:c1"'
    h run --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" && fail 'no slice'
    grep -q 'is not the name of a slice' "$TMP/err" || fail "no slice: $(cat "$TMP/err")"
    gone c1
}
