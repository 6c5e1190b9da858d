#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the guest kernel: build.sh OUTDIR
#
# OUTDIR gets vmlinux (stripped; the PVH note stays), bzImage, System.map, kernel.config and kernel.hash. The source is
# Debian's linux-source-6.1 as it is packaged (HUSK_KERNEL_SOURCE names another tar file), the configuration is
# allnoconfig plus the fragments beside this script. vmlinux is linked in an order of our own: link.awk.
#
# A build takes minutes, so its results are kept in ${XDG_CACHE_HOME:-~/.cache}/husk/kernel/HASH, where HASH covers the
# source, the fragments, the compiler, the linker and the scripts: whatever can change the result. An entry is renamed
# into place when it is complete; whatever else lies there is left over from an interrupted build, and the next build
# removes it. A lock for each hash lets concurrent callers wait for the one that builds.

set -euo pipefail
export LC_ALL=C
umask 022

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source_tar=${HUSK_KERNEL_SOURCE:-/usr/src/linux-source-6.1.tar.xz}
products="vmlinux bzImage System.map kernel.config"
expected_steps=2040		# lines that make prints, about: only for the progress in percent

die() {
	echo "kernel: $*" >&2
	exit 1
}

# The sum of the source is kept beside the cache with the file's identity: hashing 130 MiB takes most of a second.
source_sum() {
	local id known_id known_sum
	id=$(stat -L -c '%s-%Y-%Z-%d-%i' -- "$source_tar")
	if read -r known_id known_sum 2>/dev/null <"$cache/source.sum" && [ "$known_id" = "$id" ] &&
		[ ${#known_sum} -eq 64 ]; then
		echo "$known_sum"
		return
	fi
	known_sum=$(sha256sum <"$source_tar")
	known_sum=${known_sum%% *}
	echo "$id $known_sum" >"$cache/source.sum.$$"
	mv -f -- "$cache/source.sum.$$" "$cache/source.sum"
	echo "$known_sum"
}

kernel_hash() {
	local sum
	sum=$({
		source_sum
		gcc --version | head -n 1
		ld --version | head -n 1
		cat -- "$here"/build.sh "$here"/check.sh "$here"/link.awk "$here"/*.config
	} | sha256sum)
	echo "${sum:0:24}"
}

# One line, rewritten, on a terminal; a line for each tenth elsewhere.
show_progress() {
	local steps=0 percent shown=-1 line
	while IFS= read -r line; do
		printf '%s\n' "$line" >&3
		case $line in "  "*) ;; *) continue ;; esac
		steps=$((steps + 1))
		percent=$((steps * 100 / expected_steps))
		[ "$percent" -le 99 ] || percent=99
		if [ -t 2 ]; then
			printf '\r\033[K  KERNEL  %2d%%  %s' "$percent" "${line:2:60}" >&2
		elif [ $((percent / 10)) -ne "$shown" ]; then
			shown=$((percent / 10))
			echo "  KERNEL  $percent%" >&2
		fi
	done
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

# The caller's environment and make flags (O, V, ARCH, a job server...) must not leak into the kernel's makefiles.
kernel_make() {
	env -i PATH="$PATH" HOME="${HOME:-/}" LC_ALL=C TMPDIR="$work" \
		KBUILD_BUILD_TIMESTAMP="$stamp" KBUILD_BUILD_USER=husk KBUILD_BUILD_HOST=husk KBUILD_BUILD_VERSION=1 \
		make -C "$tree" O="$obj" ARCH=x86_64 -j"$(nproc)" "$@"
}

fail_with_log() {
	tail -n 30 -- "$log" >&2
	die "$1 (whole log: $log)"
}

# Only what an x86 kernel without such hardware cannot need is left out; Kconfig files and makefiles all stay.
unpack() {
	local dir=$1 top
	mkdir -p -- "$dir"
	tar -x -f "$source_tar" -C "$dir" --no-same-owner --exclude='*/drivers/gpu/*.[ch]' \
		--exclude='*/drivers/media/*.[ch]' --exclude='*/drivers/net/ethernet/*.[ch]' \
		--exclude='*/drivers/net/wireless/*.[ch]' --exclude='*/drivers/staging/*.[ch]' \
		--exclude='*/tools/testing/*' --exclude='*/arch/[!x]*/*.[chS]' \
		--exclude='*/arch/*/boot/dts/*' --exclude='*/Documentation/*.rst' --exclude='*/Documentation/*.txt' \
		--exclude='*/Documentation/*.yaml' || return 1
	top=$(find "$dir" -mindepth 1 -maxdepth 1 -type d)
	[ -f "$top/Kconfig" ] || return 1
	echo "$top"
}

build() {
	local seconds=$SECONDS stop lds=arch/x86/kernel/vmlinux.lds
	log=$cache/$hash.log
	work=$cache/work.$hash
	rm -rf -- "$work"
	mkdir -p -- "$work/tmp" "$work/entry"
	trap 'rm -rf -- "$work"' EXIT
	for stop in HUP INT TERM; do
		trap "exit 130" $stop
	done
	echo "  KERNEL  unpacking $source_tar" >&2
	tree=$(unpack "$work/src") || die "kernel source '$source_tar': cannot be unpacked, or not a kernel"
	obj=${tree%/*}/obj		# beside the source, always: a compiler cache can make paths between the two relative
	stamp=$(date -u -d "@$(stat -c %Y -- "$tree")")
	"$here/check.sh" --options >"$work/options"
	kernel_make -s KCONFIG_ALLCONFIG="$work/options" allnoconfig >"$log" 2>&1 ||
		fail_with_log "the kernel cannot be configured"
	"$here/check.sh" "$obj/.config" || die "the configuration is not what the fragments ask for"
	echo "  KERNEL  building $(kernel_make -s kernelrelease), some minutes" >&2
	kernel_make -s $lds >>"$log" 2>&1 || fail_with_log "the kernel's linker script cannot be made"
	awk -f "$here/link.awk" "$obj/$lds" >"$obj/husk.lds" || die "the linker script cannot be changed"
	{ kernel_make KBUILD_LDS=husk.lds vmlinux bzImage 2>&1 | show_progress; } 3>>"$log" ||
		fail_with_log "the kernel does not build"
	objcopy --strip-all "$obj/vmlinux" "$work/entry/vmlinux"
	cp -- "$obj/arch/x86/boot/bzImage" "$obj/System.map" "$work/entry/"
	cp -- "$obj/.config" "$work/entry/kernel.config"
	chmod 444 "$work"/entry/*
	sync -- "$work"/entry/*
	rm -rf -- "${cache:?}/$hash"
	mv -T -- "$work/entry" "$cache/$hash"
	rm -rf -- "$work" "$log"
	trap - EXIT HUP INT TERM
	echo "  KERNEL  built in $((SECONDS - seconds)) s" >&2
}

complete() {
	local file
	for file in $products; do
		[ -s "$1/$file" ] || return 1
	done
}

# Work directories whose builder is gone: their lock can be taken.
sweep() {
	local dir other
	for dir in "$cache"/work.*; do
		[ -d "$dir" ] || continue
		other=${dir##*/work.}
		[ "$other" != "$hash" ] || continue
		flock -n "$cache/$other.lock" rm -rf -- "$dir" || :
	done
}

if [ $# -ne 1 ] || [ "${1#-}" != "$1" ]; then
	echo "usage: build.sh OUTDIR" >&2
	exit 2
fi
out=$1
[ -r "$source_tar" ] ||
	die "kernel source '$source_tar': cannot be read (package linux-source-6.1; HUSK_KERNEL_SOURCE names another)"
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/husk/kernel
mkdir -p -- "$cache" "$out"
hash=$(kernel_hash)
if [ "$(cat -- "$out/kernel.hash" 2>/dev/null || :)" = "$hash" ] && complete "$out"; then
	exit 0
fi
for tool in make gcc ld flex bison bc objcopy zstd xz; do
	command -v "$tool" >/dev/null || die "$tool: not installed (make deps)"
done
[ -e /usr/include/libelf.h ] || die "libelf.h: not installed (package libelf-dev)"

exec 8>"$cache/$hash.lock"
if ! flock -n 8; then
	echo "  KERNEL  another process builds the same kernel: waiting for it" >&2
	flock 8
fi
if ! complete "$cache/$hash"; then
	sweep
	build
fi
rm -f -- "$out/kernel.hash"
for file in $products; do
	ln -f -- "$cache/$hash/$file" "$out/$file" 2>/dev/null || {
		rm -f -- "$out/$file"
		cp -- "$cache/$hash/$file" "$out/$file"
	}
done
echo "$hash" >"$out/kernel.hash"
