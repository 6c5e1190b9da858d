# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034 # what the scripts use
# For scripts that drive husk itself, as an engine or a person would. Sourced at their head; they end
# with `[ $bad = 0 ]`. HUSK_BUILD and TMP are set by tests/run-it.sh.
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
husk=$HUSK_BUILD/bin/husk
b=$TMP/bundle
root=$TMP/state
globals=() # more options that `h` gives
bad=0
mkfifo "$TMP/never" # nobody ever writes to it
fail() {
    echo "FAIL: $*"
    bad=1
}
# What husk has logged tells more than what a check has seen.
trap '[ $bad = 0 ] || ! [ -e "$TMP/log" ] || { echo "--- the end of its log:" && tail -n 25 "$TMP/log"; }' EXIT
h() {
    timeout 120 "$husk" --root "$root" --log "$TMP/log" "${globals[@]}" "$@"
}
# shellcheck disable=SC2120 # the argument is some scripts'
moment() { # moment [SECONDS]: a tenth of one, where there is no descriptor to wait on
    read -rt "${1:-0.1}" <>"$TMP/never"
}
status() { # status ID
    h state "$1" 2>"$TMP/status.err" | jq -r .status
}
until_is() { # until_is ID STATUS [SECONDS]
    local end=$((SECONDS + ${3:-120}))
    until [ "$(status "$1")" = "$2" ]; do
        if [ $SECONDS -ge $end ]; then
            fail "$1 does not become $2 but is $(status "$1")"
            return 1
        fi
        moment
    done
}
