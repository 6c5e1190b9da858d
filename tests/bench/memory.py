#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""memory.py: PSS of the VMM beyond guest RAM, for `vmm run` and QEMU microvm with the same kernel and initrd.

Guest RAM is the mapping that holds the guest's 128 MiB; images mapped as persistent memory are counted
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


def measure(label, argv):
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        seen = b""
        while b"husk-init" not in seen:
            part = os.read(p.stdout.fileno(), 4096)
            if not part:
                sys.exit(f"memory: {label}: the guest ended before its init")
            seen += part
        maps = list(mappings(p.pid))
        p.kill()
    # Huge-page alignment may make the mapping a little larger than the guest's memory.
    ram = [m for m in maps if not m["name"].startswith("/") and RAM <= m["size"] <= RAM + 8 * MIB]
    image = [m for m in maps if m["name"].endswith(".erofs")]
    rest = [m for m in maps if m not in ram and m not in image]
    if len(ram) != 1:
        sys.exit(f"memory: {label}: {len(ram)} mappings look like guest RAM: {[hex(m['size']) for m in maps]}")

    def kib(ms, key="Pss"):
        return sum(m[key] for m in ms) // 1024

    print(f"  {label:<14} PSS beyond guest RAM {kib(rest):8d} KiB   guest RAM used {kib(ram):8d} KiB")


def main():
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
