#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a sandbox process holds on to: per thread its filter of system calls and its capabilities, for the
# process its descriptors and limits. Once behind the gate, where the guest runs already, and once with a
# container at work; and that the file workers, the only ones with capabilities, still act for any user.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
field() { # field FILE NAME
    sed -n "s/^$2:[[:space:]]*//p" "$1"
}
# chown, dac_override, dac_read_search, fowner, fsetid, setgid, setuid, mknod, setfcap
files=00000000880000df
none=0000000000000000
net=0000000000001000   # net_admin: the net watcher's
bound=00000000880010df # of both: no thread can execute anything

threads() { # threads WHEN: each thread of $pid by its role
    local t name seen=
    for t in "/proc/$pid/task"/*; do
        name=$(cat "$t/comm")
        case $name in
        p9) want=$files ;;
        'net watcher') want=$net ;;
        vcpu/* | iou-wrk-*) want=$none ;; # the latter are the ring's, made by the kernel
        *)
            [ "${t##*/}" = "$pid" ] || fail "$1: a thread '$name'"
            want=$none
            name=loop
            ;;
        esac
        seen+=" ${name%%/*}" # "net watcher": two words
        [ "$(field "$t/status" Seccomp)" = 2 ] || fail "$1: $name: no filter"
        [ "$(field "$t/status" Seccomp_filters)" = 1 ] ||
            fail "$1: $name: $(field "$t/status" Seccomp_filters) filters"
        [ "$(field "$t/status" NoNewPrivs)" = 1 ] || fail "$1: $name: may gain privileges"
        [ "$(field "$t/status" CapPrm)" = $want ] || fail "$1: $name: CapPrm $(field "$t/status" CapPrm)"
        [ $want != $none ] || [ "$(field "$t/status" CapEff)" = $none ] ||
            fail "$1: $name: CapEff $(field "$t/status" CapEff)"
        [ "$(field "$t/status" CapInh)$(field "$t/status" CapAmb)" = $none$none ] || fail "$1: $name: CapInh, CapAmb"
        [ "$(field "$t/status" CapBnd)" = $bound ] || fail "$1: $name: CapBnd $(field "$t/status" CapBnd)"
    done
    for name in loop vcpu p9 watcher; do
        [[ " $seen " == *" $name "* ]] || fail "$1: no $name thread among:$seen"
    done
}

descriptors() { # descriptors WHEN: nothing but what has a name here
    local fd to
    for fd in "/proc/$pid/fd"/*; do
        to=$(readlink "$fd") || continue
        case $to in
        'anon_inode:[io_uring]' | 'anon_inode:[eventfd]' | 'anon_inode:[signalfd]') ;;
        anon_inode:bpf-prog) ;; # the net watcher's: answers to the name space's own sockets
        anon_inode:kvm-vm | anon_inode:kvm-vcpu:* | /dev/kvm | /dev/net/tun) ;;
        socket:*) ;;                     # its own, and clients
        "$TMP"/log | "$root"/c1) ;;      # the log, the state directory
        "$TMP"/out | "$TMP"/in) ;;       # the engine's
        "/proc/$pid/fd" | /) ;;          # for the file server: procfs, and the container's root
        /bin | /bin/* | /dev | /proc | /sys | /tmp* | /etc*) ;; # what the guest has open, in the container's root
        *) fail "$1: descriptor ${fd##*/} is $to" ;;
        esac
    done
    [ "$(find "/proc/$pid/fd" -lname 'socket:*' | wc -l)" -le 6 ] ||
        fail "$1: more sockets than its own, a client's, and the net watcher's: $(find "/proc/$pid/fd" -lname 'socket:*' | wc -l)"
}

# As root and as a user, many at once so that workers start workers: who owns what is made?
# shellcheck disable=SC2016 # the container's shell expands it
bash "$here/lib/bundle.sh" "$b" sh -c '
    mkdir /tmp/d && chmod 1777 /tmp/d
    su -s /bin/sh nobody -c "for i in $(seq -s\  1 20); do for j in 1 2 3 4 5 6 7 8; do : >/tmp/d/n\$i.\$j & done; wait; done" &
    for i in $(seq 20); do for j in 1 2 3 4 5 6 7 8; do : >/tmp/d/r$i.$j & done; wait $!; done
    wait
    touch /tmp/suid && chown 65534:65534 /tmp/suid && chmod 6755 /tmp/suid
    mkdir -m 700 /tmp/private && chown 65534 /tmp/private && : >/tmp/private/by-root
    mknod /tmp/fifo p && mknod /tmp/null c 1 3 && echo made
    read -r _; exit 5' &&
    jq '.process.capabilities[] += ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD",
        "CAP_SETUID", "CAP_SETGID"]' "$b/config.json" >"$b/new" && mv "$b/new" "$b/config.json" || exit 1
mkfifo "$TMP/in"
h create --bundle "$b" --pid-file "$TMP/pid" c1 <>"$TMP/in" >"$TMP/out" 2>&1 || fail "create: $(cat "$TMP/out")"
pid=$(cat "$TMP/pid")
threads created
descriptors created
grep -q '^Max core file size  *0  *0 ' "/proc/$pid/limits" || fail 'its core would have the guest'\''s memory'
h start c1 || fail start
read -rt 120 line < <(tail -n +1 -f "$TMP/out" --pid="$pid")
[ "$line" = made ] || fail "the container: $(cat "$TMP/out" "$TMP/log")"
threads running
descriptors running
echo end >"$TMP/in"
for ((i = 0; i < 600; i++)); do
    kill -0 "$pid" 2>"$TMP/err" || break
    read -rt 0.1 <>"$TMP/in"
done
h delete c1 || fail "delete: $(cat "$TMP/log")"
t=$b/rootfs/tmp
owners=$(find "$t/d" -type f -printf '%.1f %U\n' | sort | uniq -c | tr -s ' \n' ' ')
[ "$owners" = ' 160 n 65534 160 r 0 ' ] || fail "who owns the files of nobody and of root: $owners"
[ "$(stat -c %u:%g:%a "$t/suid")" = 65534:65534:6755 ] || fail "suid: $(stat -c %u:%g:%a "$t/suid")"
[ "$(stat -c %u:%a "$t/private")" = 65534:700 ] || fail "private: $(stat -c %u:%a "$t/private")"
[ "$(stat -c %u "$t/private/by-root")" = 0 ] || fail 'a file of root in a directory of somebody else'
[ -p "$t/fifo" ] || fail "a FIFO: $(ls -l "$t")"
[ "$(stat -c %t:%T "$t/null")" = 1:3 ] || fail "a device: $(ls -l "$t")"
grep 'must not' "$TMP/log" && fail 'a thread made a system call that its filter does not know'
[ $bad = 0 ]
