#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016
# Files and devices of the host in a running container: what an engine binds and rewrites later, copies in
# and out, volumes and their options, file systems of the host's kernel, /dev/shm, disks, and what is refused.
set -u
# shellcheck source=SCRIPTDIR/../lib/husk.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/husk.sh"
v=$TMP/vol
spec() {
    jq --arg v "$v" "$1" "$b/base.json" >"$b/config.json" || fail "filter: $1"
}
refused() { # refused TEXT FILTER
    spec "$2"
    h run --bundle "$b" bad </dev/null >"$TMP/out" 2>"$TMP/err" && fail "accepted: $2"
    grep -qF -- "$1" "$TMP/err" || fail "$2: no '$1' in: $(cat "$TMP/err")"
    [ -z "$(ls -A "$TMP/state")" ] || fail "$2: left: $(ls -A "$TMP/state")"
}
bash "$here/lib/bundle.sh" "$b" sh && cp "$b/config.json" "$b/base.json" || exit 1
mkdir -p "$v"/{engine,ro/below,lower,upper,work,shm}
for f in resolv hosts; do echo "$f 1" >"$v/engine/$f"; done
truncate -s 4M "$TMP/disk" "$TMP/disk2" && echo 'on the disk' | dd of="$TMP/disk" conv=notrunc status=none
loop=$(losetup --find --show "$TMP/disk") && loop2=$(losetup --find --show "$TMP/disk2") || exit 1
trap 'umount "$v/ro/below" "$v/shm" 2>/dev/null; losetup -d "$loop" "$loop2"' EXIT
mount -t tmpfs -o size=3m,mode=1777 shm "$v/shm" && mount -t tmpfs below "$v/ro/below" && echo below >"$v/ro/below/file"
echo lower >"$v/lower/file" && echo gone >"$v/lower/gone"
minor=$((0x$(stat -c %T "$loop"))) minor2=$((0x$(stat -c %T "$loop2")))

# One container that does what it is told, a line at a time.
cat >"$b/rootfs/serve" <<'END'
while read -r line; do
    eval "$line" 2>&1
    echo "--"
done
END
spec '.process.args = ["sh", "/serve"] | .mounts += [
  {"destination": "/etc/resolv.conf", "type": "bind", "source": ($v + "/engine/resolv"), "options": ["rbind", "rprivate"]},
  {"destination": "/etc/hosts", "type": "bind", "source": ($v + "/engine/hosts"), "options": ["rbind", "ro"]},
  {"destination": "/etc/engine", "type": "bind", "source": ($v + "/engine"), "options": ["bind"]},
  {"destination": "/ro", "type": "bind", "source": ($v + "/ro"), "options": ["rbind", "rro"]},
  {"destination": "/dev/shm", "type": "bind", "source": ($v + "/shm"), "options": ["bind", "nosuid", "nodev", "noexec"]},
  {"destination": "/over", "type": "overlay", "source": "overlay", "options": ["lowerdir=" + $v + "/lower", "upperdir=" + $v + "/upper", "workdir=" + $v + "/work"]},
  {"destination": "/hostproc", "type": "bind", "source": "/proc", "options": ["rbind", "ro"]},
  {"destination": "/etc/masked", "type": "bind", "source": "/dev/null", "options": ["bind"]},
  {"destination": "/run/secrets/deep", "type": "bind", "source": ($v + "/engine"), "options": ["rbind", "ro"]},
  {"destination": "/up", "type": "tmpfs", "options": ["tmpcopyup", "nosymfollow", "size=1m"]}]
| .mounts |= (map(select(.destination != "/run/secrets/deep")) + [{"destination": "/run", "type": "tmpfs"}] + map(select(.destination == "/run/secrets/deep")))
| .linux.devices = [{"type": "b", "path": "/dev/xda", "major": 7, "minor": '$minor', "fileMode": 432, "uid": 0, "gid": 6},
   {"type": "b", "path": "/dev/xdb", "major": 7, "minor": '$minor2'}]
| .linux.resources.devices = [{"allow": false, "access": "rwm"}, {"allow": true, "type": "b", "major": 7, "minor": '$minor', "access": "rwm"},
   {"allow": true, "type": "b", "major": 7, "minor": '$minor2', "access": "r"}]'
mkdir -p "$b/rootfs/up" && echo was >"$b/rootfs/up/there" && ln -s /etc/passwd "$b/rootfs/up/link"
mkfifo "$TMP/in"
h run --bundle "$b" one <"$TMP/in" >"$TMP/out" 2>"$TMP/err" &
run=$!
exec 7>"$TMP/in" 8< <(tail -n +1 -f "$TMP/out" --pid=$run)
say() { # say COMMAND: what it printed is in $got
    local line
    got=
    echo "$1" >&7
    while read -rt 100 line <&8 && [ "$line" != -- ]; do got+=$line$'\n'; done
    got=${got%$'\n'}
}
is() { # is COMMAND WANTED
    say "$1"
    [ "$got" = "$2" ] || fail "$1: '$got', not '$2' $(cat "$TMP/err")"
}
like() {
    say "$1"
    grep -qP -- "$2" <<<"$got" || fail "$1: '$got' is not like '$2' $(cat "$TMP/err")"
}
# Rewritten in place, truncated, replaced in a directory: the next open sees it.
is 'cat /etc/resolv.conf /etc/hosts' $'resolv 1\nhosts 1'
echo 'resolv 2, and longer' >"$v/engine/resolv"
is 'cat /etc/resolv.conf' 'resolv 2, and longer'
: >"$v/engine/resolv"
is 'wc -c </etc/resolv.conf' 0
echo short >"$v/engine/resolv"
is 'cat /etc/resolv.conf' short
echo other >"$v/engine/new" && mv "$v/engine/new" "$v/engine/hosts"
is 'cat /etc/hosts' 'hosts 1' # a bind mount follows the file, not its name
is 'cat /etc/engine/hosts; ls /etc/engine' $'other\nhosts\nresolv'
is 'echo inside >/etc/resolv.conf; cat /etc/engine/resolv' inside
[ "$(cat "$v/engine/resolv")" = inside ] || fail "the host does not see what the guest wrote"
like 'echo x >/etc/hosts' 'Read-only'
# As `docker cp` does it, both ways.
say 'mkdir -p /copy; echo out >/copy/file; chmod 640 /copy/file'
[ "$(stat -c %a "$b/rootfs/copy/file") $(cat "$b/rootfs/copy/file")" = '640 out' ] || fail 'copy out'
mkdir "$b/rootfs/copy/in" && head -c 300000 /dev/urandom >"$b/rootfs/copy/in/data"
is 'md5sum </copy/in/data' "$(md5sum <"$b/rootfs/copy/in/data")"
rm -r "$b/rootfs/copy"
like 'ls /copy' 'No such file'
# Volumes: read-only all the way down; one below a tmpfs of the guest; one that the host's kernel mounts.
is 'cat /ro/below/file' below
like 'echo x >/ro/below/file' 'Read-only'
like 'echo x >/ro/x' 'Read-only'
is 'cat /run/secrets/deep/hosts; grep -c " /run tmpfs" /proc/mounts' $'other\n1'
is 'cat /over/file; rm /over/gone; echo new >/over/new; ls /over' $'lower\nfile\nnew'
[ "$(stat -c %F "$v/upper/gone") $(cat "$v/upper/new")" = 'character special file new' ] || fail "overlay: $(ls -l "$v/upper")"
[ -e "$v/lower/gone" ] || fail 'the overlay wrote below'
# The host's tmpfs of /dev/shm becomes the guest's own, as large.
like 'grep " /dev/shm " /proc/mounts' '^shm /dev/shm tmpfs rw,nosuid,nodev,noexec,.*size=3072k'
is 'echo a >/dev/shm/a; stat -c %a /dev/shm; ls /dev/shm' $'1777\na'
[ -z "$(ls "$v/shm")" ] || fail 'shared memory of the guest is on the host'
is 'cat /up/there; grep -c "/up tmpfs.*nosymfollow" /proc/mounts' $'was\n1'
like 'cat /up/link' 'Too many levels'
# What is the kernel's is the guest's own, and not exported at all.
is 'grep -c "^proc /hostproc proc ro," /proc/mounts; cat /hostproc/self/comm; stat -c %t:%T /etc/masked' $'1\ncat\n1:3'
[ -z "$(ls -A "/proc/$(h state one </dev/null | jq .pid)/root/hostproc")" ] || fail "the host's /proc is exported"
# Disks: the host's content, the guest's numbers, the rules that were given for the host's.
like 'stat -c "%A %u:%g" /dev/xda' '^brw-rw---- 0:6$'
is 'head -n 1 /dev/xda' 'on the disk'
is 'blockdev --getsize64 /dev/xda' 4194304
is 'printf "from the guest" | dd of=/dev/xda conv=notrunc,fsync 2>/dev/null && sync; echo $?' 0
grep -q 'from the guest' "$TMP/disk" || fail 'the disk was not written'
like 'echo x >/dev/xdb' 'not permitted'
is 'head -c 1 /dev/xdb | wc -c' 1
like 'mknod /dev/other b 254 15 && head -c 1 /dev/other' 'not permitted'
echo 'exit 5' >&7
exec 7>&-
wait $run
[ $? = 5 ] || fail "the end: $(cat "$TMP/err")"
exec 8<&-

# Refused at create, by name.
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$v/sock" && mkfifo "$v/fifo"
for f in sock:'a socket' fifo:'a FIFO'; do
    refused "source '$v/${f%%:*}': ${f#*:} of the host does not reach into the VM" \
        '.mounts += [{"destination": "/mnt", "type": "bind", "source": ($v + "/'"${f%%:*}"'"), "options": ["bind"]}]'
done
refused "a block device of the host does not reach into the VM by a mount" \
    '.mounts += [{"destination": "/mnt", "type": "bind", "source": "'"$loop"'", "options": ["bind"]}]'
refused "'/dev/kvm': character device 10:232 of the host does not reach into the VM" \
    '.linux.devices = [{"type": "c", "path": "/dev/kvm", "major": 10, "minor": 232}]'
refused 'mounting nosuchfs' '.mounts += [{"destination": "/mnt", "type": "nosuchfs", "source": "x"}]'
refused "option 'ridmap': not supported" '.mounts[0].options = ["ridmap"]'

# A privileged container: every device of the host is listed, the guest makes those that it has.
list=$(for f in /dev/null /dev/kvm /dev/fuse "$loop" /dev/net/tun; do
    [ -e "$f" ] || continue
    type=c && [ -b "$f" ] && type=b
    printf '{"type": "%s", "path": "%s", "major": %d, "minor": %d}\n' $type "$f" "0x$(stat -c %t "$f")" "0x$(stat -c %T "$f")"
done | jq -s -c .)
spec '.linux.devices = '"$list"' | .linux.resources.devices = [{"allow": true, "access": "rwm"}] | .process.args = ["sh", "-c", "ls /dev; head -c 1 /dev/zero | wc -c"]'
h run --bundle "$b" all </dev/null >"$TMP/out" 2>"$TMP/err" || fail "privileged: $(cat "$TMP/err")"
grep -qx kvm "$TMP/out" && fail 'privileged: /dev/kvm is there'
grep -qx "${loop#/dev/}" "$TMP/out" && fail 'privileged: a disk of the host is there'
[ "$(tail -n 1 "$TMP/out")" = 1 ] || fail "privileged: $(cat "$TMP/out" "$TMP/err")"
[ $bad = 0 ]
