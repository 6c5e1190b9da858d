#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `vmm run` refuses: one sentence on stderr, a non-zero status, nothing else.
set -u
vmm=$HUSK_BUILD/bin/vmm
k=$HUSK_KERNEL/vmlinux
cd "$TMP" || exit 1
fail() {
    echo "FAIL: $*"
    exit 1
}

# refused STATUS PATTERN ARGUMENT...
refused() {
    local want=$1 pattern=$2 rc=0
    shift 2
    timeout 20 "$vmm" "$@" >out 2>err </dev/null || rc=$?
    [ $rc = "$want" ] || fail "vmm $*: status $rc instead of $want: $(cat out err)"
    [ ! -s out ] || fail "vmm $*: output: $(cat out)"
    [ "$(wc -l <err)" = 1 ] || fail "vmm $*: not one line: $(cat err)"
    # shellcheck disable=SC2053 # a pattern is meant
    [[ $(cat err) == $pattern ]] || fail "vmm $*: not '$pattern': $(cat err)"
}

echo 'no kernel at all, only words' >text
: >empty
head -c 100000 "$k" >cut.elf
head -c 40 "$k" >short.elf
head -c 100000 "$HUSK_KERNEL/bzImage" >cut.bz
head -c 600 "$HUSK_KERNEL/bzImage" >short.bz
mkdir dir

# Misuse: 2.
refused 2 "vmm: run: no kernel given*" run
refused 2 "vmm: run: --cpus takes a number from 1 to 64, not '0'" run -k "$k" -c 0
refused 2 "vmm: run: --memory takes a size*" run -k "$k" -m many
refused 2 "vmm: run: unexpected argument 'more'" run -k "$k" more
refused 2 "vmm: run: config 'none.json': No such file or directory" run --config none.json
echo '{"kernel": "k"' >cut.json
refused 2 "vmm: run: config 'cut.json': not JSON: it ends too early" run --config cut.json
echo '{"kernel": "k", "cpus": "two"}' >type.json
refused 2 "vmm: run: config 'type.json': cpus: expected a whole number, got a string" run --config type.json
refused 2 "vmm: unknown command 'fly'*" fly
refused 2 "vmm: help: unknown command 'fly'" help fly

# What cannot be run: 1.
refused 1 "vmm: kernel 'none': No such file or directory" run -k none
refused 1 "vmm: kernel*'dir'*" run -k dir
refused 1 "vmm: kernel*'text': *not an ELF*bzImage*" run -k text
refused 1 "vmm: kernel*'empty'*" run -k empty
refused 1 "vmm: kernel*'cut.elf': *" run -k cut.elf
refused 1 "vmm: kernel*'short.elf': *" run -k short.elf
refused 1 "vmm: kernel*'cut.bz': *" run -k cut.bz
refused 1 "vmm: kernel*'short.bz': *" run -k short.bz
refused 1 "vmm: 1 MiB of memory: 16 to * are possible" run -k "$k" -m 1M
refused 1 "vmm: *: 1 MiB of memory: *" run -k "$k" -m 1M --name it
refused 1 "vmm: initrd 'none': No such file or directory" run -k "$k" -i none
refused 1 "vmm: disk 'none.img': No such file or directory" run -k "$k" --disk none.img
refused 1 "vmm: disk 'empty': *" run -k "$k" --disk empty
refused 1 "vmm: share 'none': No such file or directory" run -k "$k" --share none,tag=t
refused 1 "vmm: share 'text': Not a directory" run -k "$k" --share text,tag=t
refused 1 "vmm: pmem 'none': No such file or directory" run -k "$k" --pmem none
refused 1 "vmm: pmem 'text': *multiple of 2 MiB" run -k "$k" --pmem text
refused 1 "vmm: tap 'husk-none': there is no such interface" run -k "$k" --net tap=husk-none
refused 1 "vmm: tap 'lo': *" run -k "$k" --net tap=lo
refused 1 "vmm: console '/none/file': No such file or directory" run -k "$k" --console file=/none/file
refused 1 "vmm: the kernel command line is longer than*" run -k "$k" -a "$(head -c 9000 /dev/zero | tr '\0' x)"
printf '%s' '{"kernel":"'"$k"'","disk":[{"file":"none.img"}]}' >disk.json
refused 1 "vmm: disk 'none.img': *" run --config disk.json

# told STATUS SENTENCE: of the command before
told() {
    if [ "$1" != 1 ] || [ "$(wc -l <err)" != 1 ] || ! grep -q "^vmm: $2" err; then
        fail "not '$2': status $1: $(cat err)"
    fi
}
# /dev/kvm absent, foreign, forbidden: in a mount name space of its own.
unshare -m bash -c "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && '$vmm' run -k '$k'" >out 2>err </dev/null
told $? "/dev/kvm does not exist"
unshare -m bash -c "mount --bind /dev/null /dev/kvm && '$vmm' run -k '$k'" >out 2>err </dev/null
told $? "/dev/kvm is not a KVM device"
if [ "$(id -u)" = 0 ]; then
    mknod -m 600 kvm c 10 232
    cp "$vmm" "$k" .
    chmod 711 . ..
    unshare -m bash -c "mount --bind kvm /dev/kvm &&
        setpriv --reuid 65534 --regid 65534 --clear-groups ./vmm run -k vmlinux" >out 2>err </dev/null
    told $? "/dev/kvm: no permission for user 65534"
fi

# Help goes to stdout, fits a screen, and every verb has its own.
for verb in run check; do
    "$vmm" help $verb >out 2>err || fail "vmm help $verb"
    grep -q "^usage: vmm $verb" out || fail "vmm help $verb: $(cat out)"
    [ "$(wc -l <out)" -le 24 ] || fail "vmm help $verb: more than a screen"
    [ "$("$vmm" $verb --help)" = "$(cat out)" ] || fail "vmm $verb --help is another"
done
[ "$("$vmm" --help | wc -l)" -le 24 ] || fail '--help: more than a screen'
[ "$("$vmm" help)" = "$("$vmm" --help)" ] || fail 'vmm help is not vmm --help'
exit 0
