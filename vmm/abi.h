/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest can say to the machine beside virtio: ports and two small register pages. Stable:
 * guests that were built against it, and snapshots, depend on it.
 *
 *   port 0xf4, byte    the guest ends the machine and hands over a status (0 to 255)
 *   port 0x80, byte    phase markers: 0x40 kernel entry, 0x41 init runs; everything else is
 * ignored, since this is also the port that old code writes to for a short delay port 0x64, 0xfe
 * reset, as the keyboard controller did (Linux: reboot=k) port 0xcf9, bit 2  reset, as a south
 * bridge did (Linux: reboot=p) port 0x3f8, 8      a 16550A, if asked for; beside a device tree,
 * which names it at SERIAL_GPA, this is for early messages only and hides from being probed: its
 * IER reads as all ones 0xc0000000, byte   123: init runs (the mark that Firecracker's guests
 * write)
 *
 * The system page (SYS_PAGE_GPA), 32-bit registers:
 *   0x00 power  write 1 = power off, 2 = reset; reads as 0. A syscon-poweroff node points here.
 *   0x04 exit   write: the same as port 0xf4, low 8 bits
 *
 * The panic page (PANIC_PAGE_GPA), one byte as QEMU's pvpanic has it: reads as PANIC_F_PANICKED; a
 * write with that bit says that the guest kernel panicked.
 */
#ifndef HUSK_VMM_ABI_H
#define HUSK_VMM_ABI_H

#define PORT_EXIT	  0xf4u
#define PORT_MARK	  0x80u
#define PORT_KBD_DATA	  0x60u
#define PORT_KBD_CMD	  0x64u
#define PORT_RESET_CTL	  0xcf9u
#define PORT_SERIAL	  0x3f8u
#define PORT_SERIAL_LEN	  8u

#define MARK_KERNEL_ENTRY 0x40u
#define MARK_INIT	  0x41u
#define MARK_MMIO_INIT	  123u

#define KBD_CMD_RESET	  0xfeu
/*
 * What the keyboard controller's status port reads as: "output buffer full" for ever makes Linux's
 * i8042 driver give up after 16 reads, and "input buffer empty" lets its reset code go on at once.
 */
#define KBD_STATUS	 0x01u
#define RESET_CTL_RESET	 0x04u

#define SYS_REG_POWER	 0x00u
#define SYS_REG_EXIT	 0x04u
#define SYS_REG_LEN	 0x08u
#define SYS_POWER_OFF	 1u
#define SYS_POWER_RESET	 2u

#define PANIC_F_PANICKED 0x01u

/* IO-APIC pin. Those of the virtio slots: hw_slot_pin(). */
#define IRQ_SERIAL 4u

#endif
