#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Checks a mini OS image: check.sh AGENT IMAGE
#
#   - it is a whole erofs whose size is a multiple of 2 MiB
#   - every regular file in it has the plain layout: Linux 6.1 falls back from DAX for any other, with no more than a
#     line in the log
#   - /sbin/init is AGENT, byte for byte, owned by root; the mount points are there; nothing else can be executed but
#     an agent's own loader and libraries
#   - a second build, in another place, gives the same bytes

set -u
export LC_ALL=C
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd) || exit 1
failed=0

bad() {
	echo "rootfs: image '$image': $*" >&2
	failed=1
}

check_size() {
	local size
	size=$(stat -c %s -- "$image")
	if [ "$size" -eq 0 ] || [ $((size % (2 << 20))) -ne 0 ]; then
		bad "its size, $size, is not a multiple of 2 MiB"
	fi
}

check_file() {
	local path=$1 report layout
	report=$(dump.erofs "--path=$path" -e -- "$image" 2>&1)
	layout=$(sed -n 's/^.*Layout: \([0-9]*\) .*$/\1/p' <<<"$report")
	[ "$layout" = 0 ] || bad "$path: layout ${layout:-unknown}, not plain (0): it cannot be mapped with DAX"
	grep -q '^Uid: 0   Gid: 0 ' <<<"$report" || bad "$path: not owned by root"
}

check_tree() {
	local path dir
	fsck.erofs --extract="$work/tree" "$image" >"$work/log" 2>&1 || {
		bad "fsck.erofs: $(tail -n 1 "$work/log")"
		return
	}
	for dir in dev proc run sys tmp; do
		if [ -L "$work/tree/$dir" ] || [ ! -d "$work/tree/$dir" ]; then
			bad "/$dir: no such mount point"
		fi
	done
	cmp -s -- "$agent" "$work/tree/sbin/init" || bad "/sbin/init is not '$agent'"
	[ -x "$work/tree/sbin/init" ] || bad "/sbin/init cannot be executed"
	while IFS= read -r path; do
		path=/${path#"$work"/tree/}
		check_file "$path"
		case $path in
		/sbin/init | /lib/* | /lib64/* | /usr/lib/*) ;;
		*) [ ! -x "$work/tree$path" ] || bad "$path: a program that does not belong there" ;;
		esac
	done < <(find "$work/tree" -type f)
}

check_again() {
	mkdir "$work/elsewhere"
	TMPDIR=$work/elsewhere "$here/build.sh" "$agent" "$work/again.erofs" || {
		bad "cannot be built a second time"
		return
	}
	cmp -s -- "$image" "$work/again.erofs" || bad "a second build of the same agent differs"
}

if [ $# -ne 2 ]; then
	echo "usage: check.sh AGENT IMAGE" >&2
	exit 2
fi
agent=$1
image=$2
for tool in dump.erofs fsck.erofs; do
	command -v $tool >/dev/null || {
		echo "rootfs: $tool: not installed (package erofs-utils)" >&2
		exit 1
	}
done
[ -f "$image" ] || {
	bad "no such file"
	exit 1
}
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' HUP INT TERM
check_size
check_tree
check_again
exit $failed
