/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device tree of the machine, for Linux on x86. See hw.h.
 *
 * Linux 6.1 takes its IO-APIC from a node "intel,ce4100-ioapic", processors from /cpus and devices
 * from the children of a bus (arch/x86/kernel/devicetree.c). Memory comes from the e820 map alone.
 * An interrupt is two cells: pin, and 3 for "rising edge".
 *
 * libfdt's sequential writer; the first error sticks, so that the calls stay linear.
 */
#include "vmm/hw.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "virtio/mmio.h"
#include "vmm/abi.h"
#include "vmm/memmap.h"

#define PHANDLE_IOAPIC	1u
#define PHANDLE_SYSTEM	2u
#define IRQ_EDGE_RISING 3u
#define UART_CLOCK	1843200u

struct tree {
	void *buf;
	int err; /* of libfdt; 0 = none so far */
};

static void note(struct tree *t, int rc)
{
	if (!t->err && rc < 0)
		t->err = rc;
}

static void begin(struct tree *t, const char *name)
{
	if (!t->err)
		note(t, fdt_begin_node(t->buf, name));
}

/* "name@address" */
static void begin_at(struct tree *t, const char *name, uint64_t at)
{
	char full[64];

	(void)snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)at);
	begin(t, full);
}

static void end(struct tree *t)
{
	if (!t->err)
		note(t, fdt_end_node(t->buf));
}

static void str(struct tree *t, const char *name, const char *val)
{
	if (!t->err)
		note(t, fdt_property_string(t->buf, name, val));
}

static void cells(struct tree *t, const char *name, const uint32_t *val, unsigned cnt)
{
	fdt32_t be[8];

	if (t->err)
		return;
	BUG_ON(cnt > ARRAY_LEN(be));
	for (unsigned i = 0; i < cnt; i++)
		be[i] = cpu_to_fdt32(val[i]);
	note(t, fdt_property(t->buf, name, be, (int)(cnt * sizeof(be[0]))));
}
#define CELLS(t, name, ...)                                                                        \
	cells(t, name, (const uint32_t[]){__VA_ARGS__},                                            \
	      ARRAY_LEN(((const uint32_t[]){__VA_ARGS__})))

static void flag(struct tree *t, const char *name)
{
	if (!t->err)
		note(t, fdt_property(t->buf, name, NULL, 0));
}

static void reg64(struct tree *t, uint64_t gpa, uint64_t len)
{
	CELLS(t, "reg", (uint32_t)(gpa >> 32), (uint32_t)gpa, (uint32_t)(len >> 32), (uint32_t)len);
}

static void cpus(struct tree *t, const struct hw_desc *hw)
{
	begin(t, "cpus");
	CELLS(t, "#address-cells", 1);
	CELLS(t, "#size-cells", 0);
	for (unsigned i = 0; i < hw->cpus; i++) {
		begin_at(t, "cpu", i);
		str(t, "device_type", "cpu");
		CELLS(t, "reg", i); /* APIC id */
		end(t);
	}
	end(t);
}

static void apics(struct tree *t)
{
	begin_at(t, "lapic", GPA_LAPIC);
	str(t, "compatible", "intel,ce4100-lapic");
	reg64(t, GPA_LAPIC, GPA_LAPIC_LEN);
	end(t);

	begin_at(t, "ioapic", GPA_IOAPIC);
	str(t, "compatible", "intel,ce4100-ioapic");
	reg64(t, GPA_IOAPIC, GPA_IOAPIC_LEN);
	flag(t, "interrupt-controller");
	CELLS(t, "#interrupt-cells", 2);
	CELLS(t, "#address-cells", 0);
	CELLS(t, "phandle", PHANDLE_IOAPIC);
	end(t);
}

/*
 * At a memory address: Linux translates port numbers in a tree only when it is built with PCI. Its
 * port stays for early messages, and does not look like a UART to the probe, or there would be two.
 */
static void serial(struct tree *t)
{
	begin_at(t, "serial", SERIAL_GPA);
	str(t, "compatible", "ns16550a");
	reg64(t, SERIAL_GPA, PORT_SERIAL_LEN);
	CELLS(t, "reg-io-width", 1);
	CELLS(t, "clock-frequency", UART_CLOCK);
	CELLS(t, "interrupts", IRQ_SERIAL, IRQ_EDGE_RISING);
	end(t);
}

static void system_page(struct tree *t)
{
	begin_at(t, "system", SYS_PAGE_GPA);
	str(t, "compatible", "syscon");
	reg64(t, SYS_PAGE_GPA, GPA_PAGE);
	CELLS(t, "phandle", PHANDLE_SYSTEM);
	end(t);

	begin(t, "poweroff");
	str(t, "compatible", "syscon-poweroff");
	CELLS(t, "regmap", PHANDLE_SYSTEM);
	CELLS(t, "offset", SYS_REG_POWER);
	CELLS(t, "value", SYS_POWER_OFF);
	end(t);

	begin_at(t, "pvpanic", PANIC_PAGE_GPA);
	str(t, "compatible", "qemu,pvpanic-mmio");
	reg64(t, PANIC_PAGE_GPA, 2);
	end(t);
}

static void devices(struct tree *t, const struct hw_desc *hw)
{
	for (unsigned i = 0; i < hw->pmem_cnt; i++) {
		begin_at(t, "pmem", hw->pmem[i].gpa);
		str(t, "compatible", "pmem-region");
		reg64(t, hw->pmem[i].gpa, hw->pmem[i].len);
		flag(t, "volatile"); /* read-only: there is nothing to flush */
		end(t);
	}
	for (unsigned i = 0; i < hw->slot_cnt; i++) {
		begin_at(t, "virtio_mmio", hw->slot[i].gpa);
		str(t, "compatible", "virtio,mmio");
		reg64(t, hw->slot[i].gpa, VMMIO_WINDOW);
		CELLS(t, "interrupts", hw->slot[i].pin, IRQ_EDGE_RISING);
		end(t);
	}
}

int hw_fdt(const struct hw_desc *hw, void *buf, size_t cap)
{
	struct tree t = {.buf = buf};

	note(&t, fdt_create(buf, (int)cap));
	if (!t.err)
		note(&t, fdt_finish_reservemap(buf));
	begin(&t, "");
	CELLS(&t, "#address-cells", 2);
	CELLS(&t, "#size-cells", 2);
	str(&t, "compatible", "husk,microvm");
	str(&t, "model", "husk");
	CELLS(&t, "interrupt-parent", PHANDLE_IOAPIC);
	cpus(&t, hw);
	begin(&t, "soc");
	/* The second name is what makes Linux look for children, in its first pass already. */
	if (!t.err)
		note(&t, fdt_property(buf, "compatible", "intel,ce4100-cp\0simple-bus",
				      sizeof("intel,ce4100-cp\0simple-bus")));
	CELLS(&t, "#address-cells", 2);
	CELLS(&t, "#size-cells", 2);
	flag(&t, "ranges");
	apics(&t);
	devices(&t, hw);
	system_page(&t);
	if (hw->serial)
		serial(&t);
	end(&t);
	end(&t);
	if (!t.err)
		note(&t, fdt_finish(buf));
	if (t.err)
		return t.err == -FDT_ERR_NOSPACE ? -ENOSPC : -EINVAL;
	return (int)fdt_totalsize(buf);
}
