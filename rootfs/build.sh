#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the mini OS image: build.sh AGENT IMAGE
#
# The image is an erofs with the agent as /sbin/init and the mount points that it needs. There is no shell in it and
# nothing else to execute. It is made to be mapped with DAX from a pmem region:
#   - files are plain: not compressed, and no tail packed into the inode (-Enoinline_data). Linux 6.1 maps nothing else,
#     and says no more than a line in the log about the rest;
#   - its size is a multiple of 2 MiB, as the region has to be.
# The same agent gives the same bytes: fixed times, owners and modes, a UUID that comes from the agent's own hash.
#
# A dynamically linked agent (debug and asan builds) gets its loader and libraries beside it.

set -euo pipefail
export LC_ALL=C
umask 022

die() {
	echo "rootfs: $*" >&2
	exit 1
}

put() {		# put PATH MODE: a file from standard input
	cat >"$tree/$1"
	chmod "$2" "$tree/$1"
}

put_libraries() {
	local lib
	ldd -- "$agent" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x[0-9a-f]*)$/\1/p' | sort -u | while read -r lib; do
		install -D -m 755 -- "$lib" "$tree$lib"
	done
}

put_tree() {
	local dir
	for dir in dev etc mnt proc root run sbin sys tmp usr var; do
		mkdir -m 755 -- "$tree/$dir"
	done
	chmod 700 "$tree/root"
	chmod 1777 "$tree/tmp"
	install -m 755 -- "$agent" "$tree/sbin/init"
	put etc/passwd 644 <<-END
		root:x:0:0:root:/root:/sbin/init
		nobody:x:65534:65534:nobody:/:/sbin/init
	END
	put etc/group 644 <<-END
		root:x:0:
		tty:x:5:
		nogroup:x:65534:
	END
	put etc/os-release 644 <<-END
		ID=husk
		NAME=husk
		PRETTY_NAME="husk mini OS"
	END
	# The image is read-only: what changes lies on the tmpfs that the agent mounts on /run.
	ln -s /run/resolv.conf "$tree/etc/resolv.conf"
	ln -s /run/hosts "$tree/etc/hosts"
	ln -s /run/hostname "$tree/etc/hostname"
	ln -s /proc/self/mounts "$tree/etc/mtab"
	ln -s /run "$tree/var/run"
	ln -s /tmp "$tree/var/tmp"
}

if [ $# -ne 2 ]; then
	echo "usage: build.sh AGENT IMAGE" >&2
	exit 2
fi
agent=$1
image=$2
[ -f "$agent" ] || die "agent '$agent': no such file"
[ "$(head -c 4 -- "$agent" | od -An -tx1 | tr -d ' \n')" = 7f454c46 ] || die "agent '$agent': not an ELF file"
command -v mkfs.erofs >/dev/null || die "mkfs.erofs: not installed (package erofs-utils)"

work=$(mktemp -d)
trap 'rm -rf -- "$work" "$image.$$"' EXIT
trap 'exit 130' HUP INT TERM
tree=$work/tree
mkdir -m 755 -- "$tree"
put_tree
if readelf -lW -- "$agent" | grep -q '^ *INTERP'; then
	put_libraries
fi
uuid=$(sha256sum <"$agent" | sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-4\3-8\4-\5/')
mkfs.erofs -d1 --quiet -Enoinline_data -T1 -U"$uuid" --all-root -x-1 "$image.$$" "$tree" >"$work/log" 2>&1 || {
	cat "$work/log" >&2
	die "mkfs.erofs failed"
}
truncate -s %2M -- "$image.$$"
chmod 644 "$image.$$"
mv -f -- "$image.$$" "$image"
