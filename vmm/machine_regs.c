/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of the machine itself (abi.h): resets, exit status, markers, power, panic, and the
 * glue of serial port and IO-APIC. vCPU threads come in here.
 */
#include "vmm/machine_priv.h"

#include <linux/serial_reg.h>
#include <string.h>

#include "vmm/abi.h"
#include "vmm/memmap.h"

static void read_zero(void *ctx, uint64_t off, void *buf, unsigned len)
{
	(void)ctx;
	(void)off;
	memset(buf, 0, len);
}

/* ---- ports -------------------------------------------------------------------------------------
 */
static void exit_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	(void)off;
	(void)len;
	machine_end(ctx, MACHINE_EXIT, *(const uint8_t *)buf, NULL);
}
static const struct bus_ops exit_ops = {.read = read_zero, .write = exit_write};

static void mark_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	struct machine *m = ctx;
	uint8_t code = *(const uint8_t *)buf;

	(void)off;
	(void)len;
	if (code == MARK_KERNEL_ENTRY)
		report_stamp(m->cfg.report, PHASE_ENTRY);
	else if (code == MARK_INIT)
		report_stamp(m->cfg.report, PHASE_INIT);
}
static const struct bus_ops mark_ops = {.read = read_zero, .write = mark_write};

static void kbd_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	(void)ctx;
	(void)off;
	memset(buf, 0, len);
	*(uint8_t *)buf = KBD_STATUS;
}

static void kbd_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	(void)off;
	(void)len;
	if (*(const uint8_t *)buf == KBD_CMD_RESET)
		machine_end(ctx, MACHINE_RESET, 0, NULL);
}
static const struct bus_ops kbd_ops = {.read = kbd_read, .write = kbd_write};

static void reset_ctl_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	(void)off;
	(void)len;
	if (*(const uint8_t *)buf & RESET_CTL_RESET)
		machine_end(ctx, MACHINE_RESET, 0, NULL);
}
static const struct bus_ops reset_ctl_ops = {.read = read_zero, .write = reset_ctl_write};

/* ---- MMIO --------------------------------------------------------------------------------------
 */
static void boot_mark_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	struct machine *m = ctx;

	(void)len;
	if (off == 0 && *(const uint8_t *)buf == MARK_MMIO_INIT)
		report_stamp(m->cfg.report, PHASE_INIT);
}
static const struct bus_ops boot_mark_ops = {.read = read_zero, .write = boot_mark_write};

static void system_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	uint32_t val = 0;

	memcpy(&val, buf, MIN(len, sizeof(val)));
	if (off == SYS_REG_EXIT)
		machine_end(ctx, MACHINE_EXIT, (int)(val & 0xff), NULL);
	else if (off == SYS_REG_POWER && val == SYS_POWER_OFF)
		machine_end(ctx, MACHINE_POWEROFF, 0, NULL);
	else if (off == SYS_REG_POWER && val == SYS_POWER_RESET)
		machine_end(ctx, MACHINE_RESET, 0, NULL);
}
static const struct bus_ops system_ops = {.read = read_zero, .write = system_write};

static void panic_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	read_zero(ctx, off, buf, len);
	if (off == 0)
		*(uint8_t *)buf = PANIC_F_PANICKED;
}

static void panic_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	(void)len;
	if (off == 0 && (*(const uint8_t *)buf & PANIC_F_PANICKED))
		machine_end(ctx, MACHINE_PANIC, 0, NULL);
}
static const struct bus_ops panic_ops = {.read = panic_read, .write = panic_write};

/* ---- serial port -------------------------------------------------------------------------------
 */
static void port_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	struct machine *m = ctx;

	serial_read(&m->serial, off, buf, len);
}

static void port_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	struct machine *m = ctx;

	serial_write(&m->serial, off, buf, len);
}
static const struct bus_ops port_ops = {.read = port_read, .write = port_write};

/* abi.h: usable by early messages, not found by a probe. */
static void early_port_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	memset(buf, 0xff, len);
	if (off == UART_LSR || off == UART_LCR)
		port_read(ctx, off, buf, len);
}
static const struct bus_ops early_port_ops = {.read = early_port_read, .write = port_write};

static void serial_out(void *ctx, const void *buf, size_t len)
{
	struct machine *m = ctx;

	report_stamp(m->cfg.report, PHASE_CONSOLE);
	if (m->cfg.serial_out)
		m->cfg.serial_out(m->cfg.ctx, buf, len);
}

static void serial_irq(void *ctx)
{
	struct machine *m = ctx;

	ioapic_pulse(&m->ioapic, IRQ_SERIAL);
}

static void serial_room(void *ctx)
{
	struct machine *m = ctx;

	if (m->cfg.serial_room)
		m->cfg.serial_room(m->cfg.ctx);
}
static const struct serial_ops serial_machine_ops = {
    .output = serial_out, .irq = serial_irq, .room = serial_room};

size_t machine_serial_in(struct machine *m, const void *buf, size_t len)
{
	return m->has_serial ? serial_input(&m->serial, buf, len) : 0;
}

/* ---- IO-APIC -----------------------------------------------------------------------------------
 */
static void window_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	struct machine *m = ctx;

	ioapic_read(&m->ioapic, off, buf, len);
}

static void window_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	struct machine *m = ctx;

	ioapic_write(&m->ioapic, off, buf, len);
}
static const struct bus_ops window_ops = {.read = window_read, .write = window_write};

static void deliver(void *ctx, uint64_t addr, uint32_t data)
{
	struct machine *m = ctx;

	/* A guest may send to processors that are not there: KVM says so, nobody else cares. */
	(void)vm_signal_msi(&m->vm, addr, data);
}

static void routes(void *ctx, const uint64_t entry[IOAPIC_PINS])
{
	struct vm_route route[VM_IRQ_PINS];
	struct machine *m = ctx;

	_Static_assert(VM_IRQ_PINS == IOAPIC_PINS, "one route a pin");
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		route[i].used = (entry[i] & IOAPIC_LEVEL) && !(entry[i] & IOAPIC_MASKED);
		ioapic_message(entry[i], &route[i].addr, &route[i].data);
	}
	(void)vm_set_routes(&m->vm, route);
}
static const struct ioapic_ops ioapic_machine_ops = {.deliver = deliver, .routes = routes};

/* ---- all together ------------------------------------------------------------------------------
 */
int machine_add_registers(struct machine *m, struct err *e)
{
	int rc = 0;

	ioapic_init(&m->ioapic, &ioapic_machine_ops, m);
	serial_init(&m->serial, &serial_machine_ops, m);
	m->has_serial = m->cfg.serial;
	rc |= bus_add(&m->mmio, GPA_IOAPIC, GPA_IOAPIC_LEN, &window_ops, m);
	rc |= bus_add(&m->mmio, GPA_BOOT_MARK, GPA_BOOT_MARK_LEN, &boot_mark_ops, m);
	rc |= bus_add(&m->mmio, SYS_PAGE_GPA, SYS_REG_LEN, &system_ops, m);
	rc |= bus_add(&m->mmio, PANIC_PAGE_GPA, 2, &panic_ops, m);
	rc |= bus_add(&m->pio, PORT_EXIT, 4, &exit_ops, m);
	rc |= bus_add(&m->pio, PORT_MARK, 1, &mark_ops, m);
	rc |= bus_add(&m->pio, PORT_KBD_CMD, 1, &kbd_ops, m);
	rc |= bus_add(&m->pio, PORT_RESET_CTL, 1, &reset_ctl_ops, m);
	if (m->has_serial && m->hw == MACHINE_HW_FDT) {
		rc |= bus_add(&m->mmio, SERIAL_GPA, PORT_SERIAL_LEN, &port_ops, m);
		rc |= bus_add(&m->pio, PORT_SERIAL, PORT_SERIAL_LEN, &early_port_ops, m);
	} else if (m->has_serial) {
		rc |= bus_add(&m->pio, PORT_SERIAL, PORT_SERIAL_LEN, &port_ops, m);
	}
	return rc ? err_set(e, -EINVAL, "the machine's registers overlap") : 0;
}
