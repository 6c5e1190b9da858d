#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Proves that the lab can be relied on: tests/lab/selftest.sh. Starts a dozen labs one after another
# (some minutes). Prints one line per promise; exit status 1 when one is not kept.
# shellcheck disable=SC2016,SC2317,SC1003 # shell code for the lab is quoted; check() calls functions
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
run=$here/run
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
bad=0
check() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@"; then
		printf 'ok    %s\n' "$what"
	else
		printf 'FAIL  %s\n' "$what"
		bad=1
	fi
}
same() {
	[ "$1" = "$2" ] || { printf '      got %q, expected %q\n' "$1" "$2"; false; }
}
children() { # how many processes have our mark on their command line: run, labio-host, QEMU
	grep -alE -- "lab[.]selftest=$$" /proc/[0-9]*/cmdline 2>/dev/null | wc -l
}

# --- arguments, directory, environment, stdout and stderr apart, status
cat > "$dir/args.sh" <<'END'
#!/bin/bash
printf '%s\0' "$0" "$PWD" "$LAB" "$X" "$@"
echo 'on stderr' >&2
cat
exit 7
END
chmod +x "$dir/args.sh"
args=('a b' '' $'line\nline' "it's" '"$HOME" `x` \' '--' '-c' $'\xff\t*')
cd "$dir" || exit 1
"$run" -v --env "X=1 = 2" args.sh "${args[@]}" > out 2> err
check "status 7" same $? 7
printf '%s\0' ./args.sh "$dir" 1 '1 = 2' "${args[@]}" > expected
check "arguments, directory and environment are exact, stdout is clean" cmp out expected
check "stderr is separate, and only what was written" \
	same "$(grep -v '^lab: ' err)" 'on stderr'
grep '^lab: ' err

# --- bytes, and what stdin gives when passed
head -c 10000000 /dev/urandom > blob
"$run" -c "cat '$dir/blob'; head -c 100 '$dir/blob' >&2" > out 2> err
check "status 0" same $? 0
check "10 MB of binary output are intact" cmp out blob
check "binary stderr is intact" cmp err <(head -c 100 blob)
"$run" --stdin -c 'sha256sum; kill -9 $$' < blob > out
check "status 137 for a SIGKILL" same $? 137
check "10 MB of stdin arrive, and its end" same "$(cut -c1-64 out)" "$(sha256sum < blob | cut -c1-64)"

# --- what the lab is made of
mkdir share
"$run" --out share -c '
set -e
test -c /dev/kvm -a -c /dev/net/tun -a -c /dev/vhost-net -a -c /dev/fuse -a -c /dev/loop-control
echo "kvm $(cat /sys/module/kvm_amd/parameters/nested) $(cat /sys/module/kvm_amd/parameters/npt)"
cp "$0" "$LAB_OUT/copy"; mkdir "$LAB_OUT/d"; echo x > "$LAB_OUT/d/f"
echo "controllers $(cat /sys/fs/cgroup/cgroup.subtree_control)"
echo "tmp $(stat -fc %T /tmp) $(stat -fc %T /var/lib/docker)"
touch /etc/husk-lab-was-here
' "$dir/blob" > out
check "the lab has its devices" same $? 0
check "kvm_amd with nested guests and nested paging" grep -qx 'kvm 1 Y' out
check "cgroup2 delegates all controllers" \
	grep -q 'controllers .*cpuset.* cpu .*io .*memory .*pids' out
check "/tmp and engine directories are tmpfs" grep -qx 'tmp tmpfs tmpfs' out
check "--out gives files back" cmp share/copy blob
check "--out gives directories back" same "$(cat share/d/f)" x
check "the machine's root stays as it was" test ! -e /etc/husk-lab-was-here
"$run" --cgroup v1 -c 'cat /sys/fs/cgroup/memory/tasks | grep -qx $$ && test -d /sys/fs/cgroup/cpuset'
check "--cgroup v1" same $? 0
"$run" --init systemd -c 'grep -qx systemd /proc/1/comm && busctl --no-pager list | grep -q systemd1 &&
	systemd-run --wait --quiet true && exit 5'
check "--init systemd" same $? 5
"$run" --vfio -c 'ls /sys/kernel/iommu_groups/*/devices; d=$(echo /sys/bus/pci/drivers/e1000e/0000*)
	a=${d##*/}; test -e "$d" || a=$(grep -l 0x10d3 /sys/bus/pci/devices/*/device | cut -d/ -f6)
	n=$(ls "/sys/bus/pci/devices/$a/iommu_group/devices" | wc -l)
	if [ -e "/sys/bus/pci/devices/$a/driver" ]; then echo "$a" > "/sys/bus/pci/devices/$a/driver/unbind"; fi
	echo vfio-pci > "/sys/bus/pci/devices/$a/driver_override"
	echo "$a" > /sys/bus/pci/drivers_probe
	test "$n" = 1 -a -e "/sys/bus/pci/drivers/vfio-pci/$a"' > out
check "--vfio: a NIC alone in its group binds to vfio-pci" same $? 0
"$run" --icount -c 'test "$(nproc)" = 1'
check "--icount" same $? 0

# --- a nested guest: the lab's kernel boots under the lab's KVM until it looks for a root
kernel=$(printf '%s\n' /boot/vmlinuz-*-amd64 | grep -v cloud | sort -V | tail -1)
"$run" -v --timeout 200 -c "timeout 120 qemu-system-x86_64 -M microvm,accel=kvm -cpu host -m 256 -nodefaults \
	-no-reboot -display none -serial stdio -kernel '$kernel' -append 'console=ttyS0 panic=-1'" > out 2> err
check "a nested Linux gets up to its missing root" \
	grep -q 'Unable to mount root fs' out
check "and it ran on KVM" grep -q 'Hypervisor detected: KVM' out
grep '^lab: ' err

# --- output streams, timeouts and signals, nothing left
mkdir tmp
export TMPDIR=$dir/tmp
: > out
"$run" --append "lab.selftest=$$" -c 'echo first; exec sleep 1000' > out 2>&1 &
pid=$!
for ((i = 0; i < 600; i++)); do
	[ -s out ] && break
	sleep 0.1
done
check "output streams while the command runs" same "$(cat out)" first
check "its VM is there" test "$(children)" -ge 1
kill -TERM $pid
wait $pid
check "SIGTERM ends it with 143" same $? 143
check "and its VM" same "$(children)" 0
"$run" --append "lab.selftest=$$" --timeout 14 -c 'echo first; exec sleep 1000' > out 2> err
check "timeout gives 124" same $? 124
check "and one sentence" same "$(wc -l < err)" 1
cat err
check "no VM is left" same "$(children)" 0
"$run" --append "lab.selftest=$$" -c 'echo first; exec sleep 1000' > out 2>&1 &
pid=$!
for ((i = 0; i < 600; i++)); do
	[ -s out ] && break
	sleep 0.1
done
kill -KILL $pid
wait $pid 2>/dev/null
for ((i = 0; i < 50; i++)); do
	[ "$(children)" = 0 ] && break
	sleep 0.1
done
check "SIGKILL of run ends the VM as well" same "$(children)" 0
check "no temporary file is left" same "$(ls -A tmp)" ''
"$run" --append rdinit=/nowhere -c true > out 2> err
check "a lab that cannot start says 125" same $? 125
"$run" --qemu-arg -nonsense -c true > out 2> err
check "QEMU's complaint is shown, status 125" same "$? $(grep -c nonsense err)" "125 1"
"$run" --smp > out 2> err
check "a bad option gives 125" same $? 125
exit $bad
