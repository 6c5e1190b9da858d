#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2030,SC2031
# create and delete where the surroundings are bad: standard descriptors closed, SIGCHLD ignored, signals
# blocked, no descriptors to spare, a full or read-only state directory, odd umasks, long paths, hooks that
# never stop talking, an image full of traps, the CLI killed anywhere. Whatever happens, one sentence and
# nothing left. No guest has to come up for it.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
[ "$(id -u)" = 0 ] && [ -w /dev/kvm ] || {
    echo 'needs root and /dev/kvm'
    exit 77
}
h() {
    timeout 60 "$husk" --root "$root" "$@"
}
config() { # config FILTER: the bundle's config.json from the plain one
    jq "del(.linux.cgroupsPath) | $1" "$TMP/plain.json" >"$b/config.json" || exit 1
}
create() {
    h create --bundle "$b" --pid-file "$TMP/pid" c1 >"$TMP/out" 2>"$TMP/err" </dev/null
}
nothing() { # nothing WHAT: no state, no process, no mount
    h delete --force c1 || fail "$1: delete --force"
    for ((i = 0; i < 100; i++)); do
        pgrep -f -- "--root $root" >"$TMP/left" || break
        moment
    done
    [ ! -s "$TMP/left" ] || fail "$1: left: $(xargs ps -o pid,args -p <"$TMP/left")"
    [ -z "$(ls -A "$root" 2>"$TMP/err2")" ] || fail "$1: left: $(ls -AR "$root")"
    ! grep "$b" /proc/self/mounts || fail "$1: mounts are left"
}
refused() { # refused WHAT REGEX: create fails with one such sentence and leaves nothing, by itself
    create && fail "$1: it was made"
    grep -qE -- "$2" "$TMP/err" && [ "$(wc -l <"$TMP/err")" = 1 ] || fail "$1: said: $(cat "$TMP/err")"
    [ -z "$(ls -A "$root" 2>"$TMP/err2")" ] || fail "$1: left by itself: $(ls -AR "$root")"
    nothing "$1"
}
made() { # made WHAT
    create || fail "$1: $(cat "$TMP/err")"
    nothing "$1"
}
bash "$here/lib/bundle.sh" "$b" sh -c : && mv "$b/config.json" "$TMP/plain.json" || exit 1
config .

# Standard descriptors that are closed become /dev/null, not whatever is opened first.
h create --bundle "$b" --pid-file "$TMP/pid" c1 <&- >&- 2>&- || fail 'create without standard descriptors'
for i in 0 1 2; do
    [ "$(readlink "/proc/$(cat "$TMP/pid")/fd/$i")" = /dev/null ] ||
        fail "closed descriptor $i became $(readlink "/proc/$(cat "$TMP/pid")/fd/$i")"
done
nothing 'closed descriptors'

# A parent that ignores SIGCHLD: the kernel would throw away what a hook ended with.
config '.hooks.createRuntime = [{"path": "/bin/sh", "args": ["sh", "-c", "exit 7"]}]'
env --ignore-signal=CHLD "$husk" --root "$root" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>"$TMP/err" &&
    fail 'a failing hook passes where SIGCHLD is ignored'
grep -q 'exit status 7' "$TMP/err" || fail "SIGCHLD ignored: $(cat "$TMP/err")"
nothing 'SIGCHLD ignored'

# Hooks: endless output does not suspend the timeout; a process that they leave does not hold them up.
config '.hooks.createRuntime = [{"path": "/bin/sh", "args": ["sh", "-c", "exec yes"], "timeout": 1}]'
refused 'a hook that talks for ever' 'took longer than its timeout'
config '.hooks.createRuntime = [{"path": "/bin/sh", "args": ["sh", "-c", "yes & exit 0"]}]'
made 'a hook that leaves a talker'
config '.hooks.createRuntime = [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000"], "timeout": 1}]'
refused 'a hook that hangs' 'took longer than its timeout'
config .

# Inherited trouble.
env --block-signal "$husk" --root "$root" create --bundle "$b" --pid-file "$TMP/pid" c1 </dev/null >"$TMP/out" 2>&1 ||
    fail "blocked signals: $(cat "$TMP/out")"
kill -TERM "$(cat "$TMP/pid")"
for ((i = 0; i < 100; i++)); do
    [ "$(h state c1 | jq -r .status)" = stopped ] && break
    moment
done
[ "$(h state c1 | jq -r .status)" = stopped ] || fail 'SIGTERM, once blocked, does not end it'
nothing 'blocked signals'
env -i "$husk" --root "$root" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1 || fail "env -i: $(cat "$TMP/out")"
nothing 'no environment'
for n in 4 6 8 10 13 16; do
    prlimit --nofile=$n "$husk" --root "$root" create --bundle "$b" c1 >"$TMP/out" 2>"$TMP/err" </dev/null ||
        grep -q '^husk: .' "$TMP/err" || fail "$n descriptors: $(cat "$TMP/err")"
    nothing "$n descriptors"
done
mkdir "$TMP/gone"
(cd "$TMP/gone" && rmdir "$TMP/gone" && h create c1 </dev/null >"$TMP/out" 2>"$TMP/err") && fail 'created without a directory'
grep -q "bundle '.'" "$TMP/err" || fail "no current directory: $(cat "$TMP/err")"
(cd / && setpriv --reuid 65534 --clear-groups "$husk" --root "$root/none" create --bundle "$b" c1) >"$TMP/out" 2>&1 </dev/null &&
    fail 'created as nobody'
[ "$(wc -l <"$TMP/out")" = 1 ] || fail "as nobody: $(cat "$TMP/out")"
nothing 'as nobody'

# Modes are not the caller's umask's.
mkdir "$TMP/src"
for mask in 077 0777; do
    config '.mounts += [{"destination": "/made/by/us", "type": "bind", "source": "'"$TMP/src"'", "options": ["bind"]}]'
    (umask $mask && create) || fail "umask $mask: $(cat "$TMP/err")"
    [ "$(stat -c %a "$b/rootfs/made" "$b/rootfs/made/by")" = $'755\n755' ] ||
        fail "umask $mask: $(stat -c %a "$b/rootfs/made" "$b/rootfs/made/by")"
    nothing "umask $mask"
    rm -r "$b/rootfs/made"
done
config .

# The state directory: long, full, read-only; two of them.
long=$TMP/$(printf 'd%.0s' {1..200})
(root=$long && made 'a long state directory' && [ $bad = 0 ]) || fail 'a long state directory'
(root=$TMP/other && create && root=$TMP/state && made 'the same id twice' && root=$TMP/other &&
    nothing 'the same id in the other' && [ $bad = 0 ]) || fail 'the same id under two state directories'
mkdir -p "$root" && mount -t tmpfs -o size=4k tmpfs "$root" || exit 1
head -c 4096 /dev/zero >"$root/full"
create && fail 'created on a full file system'
grep -q 'No space left' "$TMP/err" || fail "full: $(cat "$TMP/err")"
[ "$(ls -A "$root")" = full ] || fail "full: left: $(ls -AR "$root")"
mount -o remount,ro "$root" && create && fail 'created on a read-only file system'
grep -q 'Read-only file system' "$TMP/err" || fail "read-only: $(cat "$TMP/err")"
umount "$root"
nothing 'state directories'

# Traps in an image: links where mounts go, entry points that are none.
mkdir "$TMP/precious" "$TMP/img"
cp -r "$b/rootfs" "$TMP/img/"
cp "$TMP/plain.json" "$TMP/img/plain"
b=$TMP/img
r=$b/rootfs
ln -s "$TMP/precious" "$r/abs"
ln -s "../../../../../../../..$TMP/precious" "$r/rel"
ln -s loop "$r/loop"
mkfifo "$r/bin/fifo"
mknod "$r/bin/node" c 1 5
ln -s nowhere "$r/bin/dangling"
ln -s /proc/self/root/bin/sh "$r/bin/magic"
mkdir "$r/bin/dir"
for d in abs/x rel/x; do
    config '.mounts += [{"destination": "/'$d'", "type": "bind", "source": "'"$TMP/src"'", "options": ["bind"]}]'
    create
    nothing "a mount below a link: $d"
    [ -z "$(ls -A "$TMP/precious")" ] || fail "a mount at $d came out of the image"
done
config '.mounts += [{"destination": "/loop/x", "type": "bind", "source": "'"$TMP/src"'", "options": ["bind"]}]'
refused 'a mount below a loop of links' 'Too many levels of symbolic links'
config '.mounts += [{"destination": "/", "type": "bind", "source": "'"$TMP/src"'", "options": ["bind"]}]'
refused 'a mount on /' 'destination'
for e in 'fifo:permission denied' 'node:permission denied' 'dir:permission denied' 'dangling:not found|no such file' \
    'magic:not found|no such file|permission'; do
    config '.process.args = ["/bin/'"${e%%:*}"'"]'
    refused "entry point ${e%%:*}" "${e#*:}"
done
config .
rm -r "${r:?}/proc" "${r:?}/dev" "${r:?}/etc/passwd"
ln -s "$TMP/precious" "$r/proc"
ln -s "$TMP/precious/dev" "$r/dev"
mkfifo "$r/etc/passwd"
create
nothing 'an image whose /proc and /dev are links'
[ -z "$(ls -A "$TMP/precious")" ] || fail 'a mount point was made outside of the image'
b=$TMP/bundle

# The CLI killed at any moment, and delete racing with create.
for ms in 2 5 10 20 40 80; do
    timeout -s KILL "0.$(printf %03d $ms)" "$husk" --root "$root" create --bundle "$b" c1 </dev/null >"$TMP/out" 2>&1
    nothing "killed after $ms ms"
    create &
    moment "0.$(printf %03d $ms)"
    h delete --force c1 || fail "delete --force $ms ms into create"
    wait $!
    nothing "deleted after $ms ms"
done

# A cgroup that somebody lives in: to delete the container would be to kill them.
if [ -w /sys/fs/cgroup/cgroup.procs ]; then
    mkdir -p /sys/fs/cgroup/husk-it/taken
    sleep 1000 &
    echo $! >/sys/fs/cgroup/husk-it/taken/cgroup.procs
    jq '.linux.cgroupsPath = "/husk-it/taken"' "$TMP/plain.json" >"$b/config.json"
    refused 'a cgroup with processes' 'has processes in it already'
    kill -0 $! || fail 'the process in the cgroup was killed'
    kill -9 $!
    wait $! 2>"$TMP/err2"
    until rmdir /sys/fs/cgroup/husk-it/taken 2>"$TMP/err2"; do moment; done
    rmdir /sys/fs/cgroup/husk-it
fi
[ $bad = 0 ]
