#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# /init of the guests of vmm-boot.sh: says who it is, then does what the words on the command line say.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
/endguest 0x80 0x41
echo "husk-init: cpus $(nproc) memory $(free -m | sed -n 's/Mem: *\([0-9]*\).*/\1/p')"
# shellcheck disable=SC2013 # words are wanted
for word in $(cat /proc/cmdline); do
    case $word in
    t=irq) grep IO-APIC /proc/interrupts ;;
    t=uart) dmesg | grep -c 'is a 16550A' ;;
    t=pmem) mount -o ro,dax=always /dev/pmem0 /mnt && cat /mnt/hello && grep -q 'dax=always' /proc/mounts && echo dax ;;
    t=store=*) echo "${word#t=}" >/dev/pmem1 && sync && echo stored ;;
    t=write) echo x >/dev/pmem0 || echo cannot write ;;
    t=off) poweroff -f ;;
    t=reboot) reboot -f ;;
    t=exit) /endguest 0xf4 7 ;;
    t=panic) echo c >/proc/sysrq-trigger ;;
    t=triple) /endguest 0x64 0xfe ;;
    t=cat) read -r line && echo "got $line" ;;
    t=idle) sleep 6 ;;
    t=hang) while :; do sleep 1000; done ;;
    esac
done
echo "husk-init: nothing ended me"
poweroff -f
