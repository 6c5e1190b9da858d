#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs end-to-end scripts where a whole KVM is: on this machine, or in one lab VM for all of them.
# Usage: run-it.sh BUILD-DIR SCRIPT...
# A script gets HUSK_BUILD (programs in bin/, rootfs.erofs) and HUSK_KERNEL (vmlinux, bzImage), a fresh
# directory of its own as $TMP, and passes with 0, is skipped with 77 (its last line says why), and
# fails else. After each, what it left behind is looked for: that is a failure too.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
limit=900 # seconds for one script: emulation on a busy machine is slow

inner() {
    local passed=0 failed=0 skipped=0 rc script name began before
    mkdir -p "$TMPROOT"
    for script in "$@"; do
        name=$(basename "$script" .sh)
        TMP=$TMPROOT/$name
        rm -rf "$TMP" && mkdir -p "$TMP"
        export TMP
        began=$SECONDS
        before=$(snapshot)
        timeout --kill-after=10 "$limit" bash "$script" >"$TMP.log" 2>&1 </dev/null
        rc=$?
        if [ $rc = 0 ] && ! leftovers >>"$TMP.log"; then
            rc=99
        fi
        case $rc in
        0) passed=$((passed + 1)) && printf 'ok    %-28s %3d s\n' "$name" $((SECONDS - began)) ;;
        77) skipped=$((skipped + 1)) && printf 'skip  %-28s %s\n' "$name" "$(tail -n 1 "$TMP.log")" ;;
        *)
            failed=$((failed + 1))
            case $rc in
            99) rc='something left behind' ;;
            124 | 137) rc="no end within $limit s" ;;
            *) rc="status $rc" ;;
            esac
            printf 'FAIL  %-28s %s\n' "$name" "$rc"
            sed 's/^/      | /' "$TMP.log" | tail -n 60
            ;;
        esac
    done
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ $failed = 0 ]
}

# Processes, mounts and state of husk that were not there before the script: named, removed, a failure.
snapshot() {
    pgrep -x 'husk|vmm' | sort
    find /run/husk -mindepth 1 -maxdepth 1 -printf 'state:%f\n' 2>/dev/null
}

leftovers() {
    local bad=0 new one
    new=$(comm -13 <(sort <<<"$before") <(snapshot | sort))
    for one in $new; do
        bad=1
        case $one in
        state:*)
            echo "left behind: /run/husk/${one#state:}"
            rm -rf "/run/husk/${one#state:}"
            ;;
        *)
            echo "left behind: process $one: $(tr '\0' ' ' <"/proc/$one/cmdline")"
            kill -9 "$one"
            ;;
        esac
    done
    if grep -E " $TMP(/| )" /proc/self/mounts; then
        echo 'left behind: the mounts above'
        bad=1
    fi
    return $bad
}

if [ "${1-}" = --inner ]; then
    shift
    TMPROOT=$(mktemp -d /tmp/husk-it.XXXXXX)
    trap 'rm -rf "$TMPROOT"' EXIT
    # The lab's root is a file server: what every script loads again and again is copied out of it once.
    if [ "${LAB:-0}" = 1 ]; then
        mkdir -p "$TMPROOT/kernel"
        cp "$HUSK_KERNEL"/{vmlinux,bzImage} "$TMPROOT/kernel/"
        cp -r "$HUSK_BUILD" "$TMPROOT/release"
        rm -rf "$TMPROOT/release/obj"
        export HUSK_BUILD=$TMPROOT/release HUSK_KERNEL=$TMPROOT/kernel
    fi
    inner "$@"
    exit
fi

[ $# -ge 2 ] || {
    echo "usage: run-it.sh BUILD-DIR SCRIPT..." >&2
    exit 2
}
build=$(realpath "$1")
shift
export HUSK_BUILD=$build HUSK_KERNEL=${HUSK_KERNEL:-$(dirname "$build")/kernel}
VMM=$build/bin/vmm "$here/lab/auto" --timeout 3300 -m 6144 --env HUSK_BUILD --env HUSK_KERNEL \
    "$here/run-it.sh" --inner "$@"
