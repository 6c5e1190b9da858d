# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# A guest of `vmm run` that does what a test tells it, line by line. Sourced; works in the current directory.
here_lib=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
vmm=$HUSK_BUILD/bin/vmm
pid=
name=

fail() {
    echo "FAIL: $*"
    [ -z "$name" ] || tail -n 15 "$name.out" "$name.err"
    [ -z "$pid" ] || kill "$pid" 2>/dev/null
    exit 1
}
# until_ok SECONDS WORDS...: waits for a command to succeed
until_ok() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}
# The guest has written that line.
said() { tr -d '\r' <"$name.out" | grep -qxF -- "$1"; }
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }
# Its output is longer than so many bytes.
grown() { [ "$(stat -c %s "$name.out")" -gt "$1" ]; }

# boot NAME OPTIONS...: its words are in NAME.out; it does what is written to descriptor 7
boot() {
    name=$1
    shift
    cat >guest.init <<'END'
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
echo ready
while read -r words; do eval "$words"; done
reboot -f
END
    "$here_lib/mkinitrd.sh" guest.cpio guest.init "${guest_files[@]}" || fail mkinitrd
    mkfifo "$name.in"
    "$vmm" run -k "$HUSK_KERNEL/vmlinux" -i guest.cpio -a quiet -m 256M --name "$name" "$@" \
        >"$name.out" 2>"$name.err" <"$name.in" &
    pid=$!
    exec 7>"$name.in"
    until_ok 90 said ready || fail "$name did not boot: $(cat "$name.out" "$name.err")"
}
# The same from a file, which vmm ctl has saved.
go_on() {
    name=$1
    shift
    mkfifo "$name.in"
    "$vmm" run --name "$name" "$@" >"$name.out" 2>"$name.err" <"$name.in" &
    pid=$!
    exec 7>"$name.in"
}
# Of a machine that was started with --control "$TMP/s".
ctl() { "$HUSK_BUILD/bin/vmm" ctl "$TMP/s" "$@"; }
info() { ctl info --json | jq -r "$1"; }
# shellcheck disable=SC2317 # called by until_ok
is() { [ "$(info "$1")" = "$2" ]; }
guest_files=()
tell() { printf '%s\n' "$1" >&7; }
# asks WORDS: the guest runs them, which are one line, and says $a, in REPLY
asked=0
asks() {
    asked=$((asked + 1))
    tell "a=; $1; echo \"answer $asked \$a\""
    # shellcheck disable=SC2317 # called by until_ok
    answered() {
        kill -0 "$pid" 2>/dev/null || fail "it ended: $(cat "$name.err")"
        tr -d '\r' <"$name.out" | grep -q "^answer $asked "
    }
    until_ok "${ASK_TIMEOUT:-400}" answered || fail "no answer to '$1'"
    # shellcheck disable=SC2034 # the caller's
    REPLY=$(tr -d '\r' <"$name.out" | sed -n "s/^answer $asked //p")
}
# It ends by itself, with status 0 and nothing on stderr; ends_with WARNING: with that there.
ends() {
    ends_with ''
    [ ! -s "$name.err" ] || fail "$name: $(cat "$name.err")"
}
ends_with() {
    tell 'reboot -f'
    exec 7>&-
    wait "$pid" || fail "$name: status $? $(cat "$name.err")"
    [ -z "$1" ] || grep -q -- "$1" "$name.err" || fail "$name: no '$1': $(cat "$name.err")"
    pid=
}
