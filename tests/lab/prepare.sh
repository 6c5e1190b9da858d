# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by run: finds the kernel, builds the initrd and the two labio programs, once for each
# content they are made from. The cache is outside of the tree, shared by all trees of a user.
#
# The caller has set `here` (this folder) and die(). lab_prepare sets LAB_KERNEL, LAB_INITRD and
# LAB_HOST (labio-host).

# shellcheck disable=SC2034,SC2154 # both of the above
:

# What the root needs; loaded first, in this order.
lab_modules_root="virtio_pci virtio_console 9pnet_virtio 9p overlay"
lab_modules_kvm="kvm_amd"
# Modules that are not found through an alias when first used, or that cost less from here.
lab_modules_host="virtio_rng tun veth bridge loop fuse vhost_net"
lab_modules_vfio="vfio_iommu_type1 vfio_pci"

lab_newest_kernel() {
	local k v
	for k in $(printf '%s\n' /boot/vmlinuz-*-amd64 | sort -rV); do
		v=${k#/boot/vmlinuz-}
		case $v in *cloud*) continue ;; esac
		if [ -r "$k" ] && modprobe -S "$v" --show-depends kvm_amd >/dev/null 2>&1; then
			echo "$v"
			return
		fi
	done
	die "no kernel /boot/vmlinuz-*-amd64 with a kvm_amd module (package linux-image-amd64)"
}

# Put a module file into the initrd, uncompressed.
lab_copy_module() {
	case $1 in
	*.ko) cp "$1" "$2" ;;
	*.ko.xz) xz -dc "$1" > "$2" ;;
	*.ko.zst) zstd -qdc "$1" > "$2" ;;
	*.ko.gz) gzip -dc "$1" > "$2" ;;
	*) die "module '$1': unknown compression" ;;
	esac
}

# lab_modules_of VERSION TREE GROUP NAME...: copies modules and writes TREE/modules.GROUP.
lab_modules_of() {
	local version=$1 tree=$2 group=$3 name verb file params base
	shift 3
	: > "$tree/modules.$group"
	for name in "$@"; do
		while read -r verb file params; do
			[ "$verb" = insmod ] || continue
			base=${file##*/}
			base=${base%%.ko*}.ko
			[ ! -e "$tree/m/$base" ] || continue
			lab_copy_module "$file" "$tree/m/$base"
			echo "/m/$base $params" >> "$tree/modules.$group"
		done < <(modprobe -C /dev/null -S "$version" --show-depends "$name" ||
			die "kernel $version: no module '$name'")
	done
}

lab_build_initrd() { # VERSION TREE LABIO-GUEST
	local version=$1 tree=$2 b
	mkdir -p "$tree"/{bin,m,proc,sys,dev}
	b=$(command -v busybox) || die "no busybox (package busybox-static)"
	cp "$b" "$tree/bin/busybox"
	for b in sh mount mkdir insmod cat ln cp ip rm switch_root; do
		ln -s busybox "$tree/bin/$b"
	done
	cp "$here/initrd-init" "$tree/init"
	cp "$3" "$tree/labio-guest"
	chmod 755 "$tree/init" "$tree/labio-guest"
	# shellcheck disable=SC2086 # lists
	{
		lab_modules_of "$version" "$tree" root $lab_modules_root
		lab_modules_of "$version" "$tree" kvm $lab_modules_kvm
		lab_modules_of "$version" "$tree" host $lab_modules_host
		lab_modules_of "$version" "$tree" vfio $lab_modules_vfio
	}
}

# Take the ELF file out of a bzImage (Documentation/x86/boot.rst: setup_sects at 0x1f1, payload_offset
# at 0x248, payload_length at 0x24c). QEMU starts it through PVH; the guest unpacking its own xz
# payload would take 6 of 14 seconds here. Where this does not work out the bzImage serves as well.
lab_unpack_kernel() { # FROM TO
	local sects off len start
	sects=$(od -An -tu1 -j $((0x1f1)) -N1 "$1")
	off=$(od -An -tu4 -j $((0x248)) -N4 "$1")
	len=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
	start=$(((sects + 1) * 512 + off))
	# All but gzip have the unpacked size, 4 bytes, appended.
	head -c $((start + len)) "$1" | tail -c "$len" > "$2.packed"
	case $(od -An -tx1 -N4 "$2.packed") in
	' fd 37 7a 58') xz -dc --single-stream "$2.packed" > "$2" ;;
	' 28 b5 2f fd') head -c -4 "$2.packed" | zstd -qdc > "$2" ;;
	' 1f 8b'*) gzip -dc "$2.packed" > "$2" ;;
	esac 2>/dev/null || true
	rm -f "$2.packed"
	if ! [ "$(head -c 4 "$2" 2>/dev/null)" = $'\x7fELF' ] ||
		! grep -q '^CONFIG_PVH=y' "/boot/config-${1#*vmlinuz-}"; then
		cp "$1" "$2"
	fi
}

lab_prepare() {
	local version cache key dir new tool
	for tool in qemu-system-x86_64 busybox cpio modprobe; do
		command -v "$tool" >/dev/null ||
			die "'$tool' is not installed (packages qemu-system-x86 busybox-static cpio kmod)"
	done
	version=$(lab_newest_kernel)
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/husk/lab
	key=$({
		cat "$here"/{prepare.sh,initrd-init,labio.h,labio-guest.c,labio-host.c} "/boot/vmlinuz-$version"
		cat "/lib/modules/$version/modules.dep"
		cat "$(command -v busybox)"
	} | sha256sum | cut -c1-16)
	dir=$cache/$key
	if [ ! -e "$dir/initrd" ]; then
		mkdir -p "$cache"
		new=$(mktemp -d "$cache/new.XXXXXX")
		# shellcheck disable=SC2064 # now
		trap "rm -rf -- '$new'" EXIT
		for tool in labio-guest labio-host; do
			"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -static \
				-o "$new/$tool" "$here/$tool.c" || die "'$tool.c' does not compile"
		done
		lab_build_initrd "$version" "$new/tree" "$new/labio-guest"
		(cd "$new/tree" && find . -print0 | sort -z | cpio -0 -o -H newc -R 0:0 --quiet) > "$new/initrd" ||
			die "cpio failed"
		lab_unpack_kernel "/boot/vmlinuz-$version" "$new/kernel"
		rm -rf "$new/tree" "$new/labio-guest"
		# What nobody started for a week was made for other files than there are now.
		find "$cache" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
		# Someone else may have been faster: then theirs is as good.
		mv -T "$new" "$dir" 2>/dev/null || rm -rf "$new"
		trap - EXIT
	fi
	[ -e "$dir/initrd" ] || die "cache '$dir' cannot be made"
	touch "$dir"
	LAB_KERNEL=$dir/kernel
	LAB_INITRD=$dir/initrd
	LAB_HOST=$dir/labio-host
}
