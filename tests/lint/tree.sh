#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Rules about the tree that a compiler does not know: SPDX lines, file lengths, exit() outside of a
# main.c, sleeps instead of events, and paths or hosts of one machine.
set -u
cd "$(dirname "$0")/../.." || exit 2
bad=0
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
complain() {
    echo "$*"
    bad=1
}

files=$(git ls-files --cached --others --exclude-standard)
for f in $files; do
    [ -f "$f" ] || continue
    case $f in
    *.c | *.h | *.S | *.sh | *.mk | *.config | *.ld | Makefile | tests/lab/run | tests/lab/auto | .ci/run)
        head -n 3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || complain "$f: no SPDX line at the top" ;;
    esac
    case $f in
    *.c | *.h)
        n=$(wc -l <"$f")
        [ "$n" -le 800 ] || complain "$f: $n lines; split what is longer than 800" ;;
    esac
done

for f in base/*.c virtio/*.c vmm/*.c mux/*.c runtime/*.c agent/*.c; do
    case $f in */main.c | */\*.c) continue ;; esac
    # The child after a fork ends with _exit(), and says why there.
    grep -nE '(^|[^_[:alnum:]])(exit|abort)\(' "$f" | grep -vE '^\s*[0-9]+:\s*(/\*|\*|//)' |
        grep -v 'base/err.c' >"$tmp" && [ "$f" != base/err.c ] && {
        sed "s|^|$f:|" "$tmp"
        complain "  only a main.c ends the process"
    }
    grep -nE '(^|[^_[:alnum:]])(sleep|usleep|nanosleep)\(' "$f" /dev/null &&
        complain "  wait for an event, not for time"
done


# This file names what it looks for.
# shellcheck disable=SC2086
if grep -nIE '/work/|/tmp/w/|deb\.debian\.org|registry\.npmjs' $files /dev/null | grep -v '^tests/lint/tree.sh:'; then
    complain "  the project names no machine's paths and no registry's host"
fi
exit $bad
