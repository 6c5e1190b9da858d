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
    # Who started this lab hears that it lives, whatever a script waits for.
    mkfifo "$TMPROOT/never"
    while echo alive; do
        read -rt 20 <>"$TMPROOT/never"
    done &
    beat=$!
    inner "$@"
    rc=$?
    kill $beat
    exit $rc
fi

[ $# -ge 2 ] || {
    echo "usage: run-it.sh BUILD-DIR SCRIPT..." >&2
    exit 2
}
build=$(realpath "$1")
shift
export HUSK_BUILD=$build HUSK_KERNEL=${HUSK_KERNEL:-$(dirname "$build")/kernel}

# A line "# lab: OPTIONS" at a script's head names the options of tests/lab/run that it needs: a lab
# for each set of them.
variant_of() {
    sed -n '1,12s/^# lab: *//p' "$1"
}

# Scripts of one variant in one lab; what each said is shown as it comes, but the count is kept for the end.
# A lab tells that it lives. One that stands still or dies (tests/lab/README.md) is given up, and the scripts
# that it has not ended go to a new one, twice at most.
silence=180 # seconds
run_one() {
    local variant=$1 tally=$2 words line fd lab ended what try rc passed=0 failed=0 skipped=0
    shift 2
    read -ra words <<<"$variant"
    for try in 1 2 3; do
        ended=
        exec {fd}< <(VMM=$build/bin/vmm exec "$here/lab/auto" --timeout 4200 -m 6144 --env HUSK_BUILD --env HUSK_KERNEL \
            "${words[@]}" "$here/run-it.sh" --inner "$@" </dev/null)
        lab=$!
        while :; do
            IFS= read -rt $silence -u "$fd" line
            rc=$?
            [ $rc = 0 ] || break
            case $line in
            alive) continue ;;
            'ok    '*) passed=$((passed + 1)) && shift ;;
            'FAIL  '*) failed=$((failed + 1)) && echo "$1" >>"$tally.failed" && shift ;;
            'skip  '*) skipped=$((skipped + 1)) && shift ;;
            esac
            if [[ $line =~ ^[0-9]+\ passed,\ [0-9]+\ failed,\ [0-9]+\ skipped$ ]]; then
                ended=1
            else
                printf '%s\n' "$line"
            fi
        done
        [ -z "$ended" ] || break
        # Over 128: nothing came for too long. Else the lab is over.
        [ $rc -gt 128 ] && what="has stood still for $silence s" || what='has ended by itself'
        kill "$lab" 2>/dev/null
        wait "$lab"
        rc=$?
        exec {fd}<&-
        if [ $try = 3 ] || [ $rc = 124 ]; then # 124: its time is up
            failed=$((failed + $#))
            break
        else
            echo "a lab $what: a new one goes on with $(basename "$1" .sh)"
        fi
    done
    echo "$passed passed, $failed failed, $skipped skipped" >"$tally"
}

tallies=$(mktemp -d)
trap 'rm -rf "$tallies"' EXIT
# Each lab has a process group, by which it ends when we are to end.
set -m
# shellcheck disable=SC2317 # the trap's
end_labs() {
    local job
    for job in $(jobs -p); do
        kill -- "-$job" 2>/dev/null
    done
    exit 130
}
trap end_labs INT TERM
labs=0 most=1 emulated=
if ! { [ "$(id -u)" = 0 ] && "$here/lab/whole-kvm"; }; then
    emulated=1
fi
# Labs do not meet, so two may run where there are CPUs; on a machine with a KVM of its own all scripts share it.
if [ -n "$emulated" ] && [ "$(nproc)" -ge 2 ]; then
    most=2
fi
begin() {
    [ $# -gt 1 ] || return 0
    while [ "$(jobs -rp | wc -l)" -ge $most ]; do
        wait -n || :
    done
    labs=$((labs + 1))
    run_one "$1" "$tallies/$labs" "${@:2}" &
}
plain=() other=()
variants=$(for one in "$@"; do variant_of "$one"; done | sort -u)
for one in "$@"; do
    [ -z "$(variant_of "$one")" ] || continue
    if [ $((${#plain[@]} + ${#other[@]})) -lt 3 ] || [ ${#plain[@]} -le ${#other[@]} ]; then
        plain+=("$one")
    else
        other+=("$one")
    fi
done
[ $most -gt 1 ] || { plain+=("${other[@]}") && other=(); }
begin '' "${plain[@]}"
begin '' "${other[@]}"
[ -z "$variants" ] || while IFS= read -r variant; do
    scripts=()
    for one in "$@"; do
        [ "$(variant_of "$one")" != "$variant" ] || scripts+=("$one")
    done
    begin "$variant" "${scripts[@]}"
done <<<"$variants"
wait
# A lab that ended without a count has failed as a whole.
for n in $(seq $labs); do
    [ -s "$tallies/$n" ] || { rm -f "$tallies/$n.failed" && echo '0 passed, 1 failed, 0 skipped' >"$tallies/$n"; }
done
count() {
    cat "$tallies"/*[0-9] | awk '{ p += $1; f += $3; s += $5 } END { print p, f, s }'
}
read -r passed failed skipped < <(count)

# The emulator of a lab has a race that corrupts what runs in it, once in some hundred boots (tests/lab/README.md). So a
# few that failed get a second try, in a lab of their own. It is said which needed it, and what they said the first time
# stands above; what fails twice has failed.
mapfile -t again < <(cat "$tallies"/*.failed 2>/dev/null)
second=()
if [ -n "$emulated" ] && [ "$failed" -gt 0 ] && [ "$failed" = ${#again[@]} ] && [ "$failed" -le 3 ]; then
    rm -f "$tallies"/*
    failed=0
    for one in "${again[@]}"; do
        echo "again $(basename "$one" .sh), in a new lab"
        rm -f "$tallies"/*
        run_one "$(variant_of "$one")" "$tallies/1" "$one" &
        wait $!
        case $(cat "$tallies/1") in
        '1 passed, 0 failed, 0 skipped') passed=$((passed + 1)) && second+=("$(basename "$one" .sh)") ;;
        *) failed=$((failed + 1)) ;;
        esac
    done
fi
[ ${#second[@]} = 0 ] || echo "passed at the second try only: ${second[*]}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
