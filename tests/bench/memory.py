#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""memory.py: memory of the VMM beyond guest RAM, for `vmm run` and QEMU microvm with the same kernel and initrd.

PSS of the process, and what its cgroup (v2) is charged with, which has the kernel's own memory for it too: page
tables, KVM's structures, rings, sockets. Guest RAM is the mapping that holds the guest's 128 MiB; images mapped as persistent memory are counted
apart, since all machines share their pages. Each VMM is looked at once its guest has said `husk-init`.
"""
import os
import re
import subprocess
import sys

MIB = 1 << 20
RAM = 128 * MIB


def mappings(pid):
    cur = None
    with open(f"/proc/{pid}/smaps", encoding="ascii") as f:
        for line in f:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)", line)
            if m:
                cur = {"size": int(m[2], 16) - int(m[1], 16), "name": m[3], "Pss": 0, "Rss": 0}
                yield cur
            elif line.startswith(("Pss:", "Rss:")):
                key, val = line.split()[:2]
                cur[key[:-1]] = int(val) * 1024


def charge(path):
    """What a cgroup is charged with: all of it and, of that, kernel memory, in bytes."""
    with open(f"{path}/memory.current", encoding="ascii") as f:
        total = int(f.read())
    with open(f"{path}/memory.stat", encoding="ascii") as f:
        stat = dict(line.split() for line in f)
    return total, int(stat["kernel"])


def measure(label, argv):
    path = f"/sys/fs/cgroup/husk-bench-memory-{os.getpid()}"
    os.mkdir(path)
    try:
        measure_in(path, label, argv)
    finally:
        os.rmdir(path)


def measure_in(path, label, argv):
    def join():
        with open(f"{path}/cgroup.procs", "w", encoding="ascii") as f:
            f.write("0")

    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=join) as p:
        seen = b""
        while b"husk-init" not in seen:
            part = os.read(p.stdout.fileno(), 4096)
            if not part:
                sys.exit(f"memory: {label}: the guest ended before its init")
            seen += part
        maps = list(mappings(p.pid))
        total, kernel = charge(path)
        p.kill()
    # Huge-page alignment may make the mapping a little larger than the guest's memory.
    ram = [m for m in maps if not m["name"].startswith("/") and RAM <= m["size"] <= RAM + 8 * MIB]
    image = [m for m in maps if m["name"].endswith(".erofs")]
    rest = [m for m in maps if m not in ram and m not in image]
    if len(ram) != 1:
        sys.exit(f"memory: {label}: {len(ram)} mappings look like guest RAM: {[hex(m['size']) for m in maps]}")

    def kib(ms, key="Pss"):
        return sum(m[key] for m in ms) // 1024

    print(f"  {label:<14} guest RAM used {kib(ram):8d} KiB   beyond it: PSS {kib(rest):8d} KiB, "
          f"cgroup charge {total // 1024 - kib(ram, 'Rss'):8d} KiB (kernel memory {kernel // 1024} KiB)")


def main():
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        sys.exit("memory: /sys/fs/cgroup is not a cgroup v2 hierarchy")
    with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as f:
        f.write("+memory")
    build, kernel, initrd = os.environ["HUSK_BUILD"], os.environ["HUSK_KERNEL"], sys.argv[1]
    print("memory: 1 vCPU, 128 MiB, console only, at init's first byte")
    measure("vmm", [f"{build}/bin/vmm", "run", "-k", f"{kernel}/vmlinux", "-i", initrd, "-a", "quiet", "-m", "128M"])
    measure("qemu microvm",
            ["qemu-system-x86_64", "-M", "microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial=off",
             "-cpu", "host", "-m", "128M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", f"{kernel}/vmlinux", "-initrd", initrd,
             "-append", "quiet console=hvc0 reboot=t panic=-1 tsc=reliable no_timer_check",
             "-device", "virtio-serial-device,max_ports=1", "-chardev", "stdio,id=c", "-device", "virtconsole,chardev=c"])


main()
