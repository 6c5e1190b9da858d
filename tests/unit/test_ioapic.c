/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic.c: what is delivered when, with a recorder in place of KVM.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "vmm/ioapic.h"

struct sent {
	unsigned n, routes;
	uint64_t addr;
	uint32_t data;
};

static void deliver(void *ctx, uint64_t addr, uint32_t data)
{
	struct sent *s = ctx;

	s->n++;
	s->addr = addr;
	s->data = data;
}

static void routes(void *ctx, const uint64_t entry[IOAPIC_PINS])
{
	(void)entry;
	((struct sent *)ctx)->routes++;
}

static const struct ioapic_ops ops = {.deliver = deliver, .routes = routes};
static struct ioapic a;
static struct sent sent;

static void setup(void)
{
	memset(&sent, 0, sizeof(sent));
	ioapic_init(&a, &ops, &sent);
}

static void teardown(void)
{
	ioapic_fini(&a);
}

static void reg_write(uint32_t idx, uint32_t val)
{
	ioapic_write(&a, 0x00, &idx, 4);
	ioapic_write(&a, 0x10, &val, 4);
}

static uint32_t reg_read(uint32_t idx)
{
	uint32_t val;

	ioapic_write(&a, 0x00, &idx, 4);
	ioapic_read(&a, 0x10, &val, 4);
	return val;
}

static void entry_write(unsigned pin, uint64_t entry)
{
	reg_write(0x10 + 2 * pin + 1, (uint32_t)(entry >> 32));
	reg_write(0x10 + 2 * pin, (uint32_t)entry);
}

TestSuite(ioapic, .init = setup, .fini = teardown);

Test(ioapic, version_says_how_many_pins)
{
	cr_assert_eq(reg_read(1), 0x00170011u);
	ioapic_set_pins(&a, 7);
	cr_assert_eq(reg_read(1), 0x00060011u);
	cr_assert_eq(reg_read(0x10 + 14), 0u, "no eighth pin");
	cr_assert_eq(reg_read(0x10 + 12), IOAPIC_MASKED);
}

Test(ioapic, all_pins_begin_masked)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		cr_assert_eq(reg_read(0x10 + 2 * pin), IOAPIC_MASKED);
		ioapic_pulse(&a, pin);
	}
	cr_assert_eq(sent.n, 0u);
}

Test(ioapic, edge_becomes_a_message)
{
	entry_write(5, 3ull << 56 | 0x31);
	ioapic_pulse(&a, 5);
	cr_assert_eq(sent.n, 1u);
	cr_assert_eq(sent.addr, 0xfee03000u);
	cr_assert_eq(sent.data, 0x31u);
	ioapic_pulse(&a, 5);
	cr_assert_eq(sent.n, 2u);
	entry_write(5, 3ull << 56 | IOAPIC_LOGICAL | 1 << 8 | 0x31);
	ioapic_pulse(&a, 5);
	cr_assert_eq(sent.addr, 0xfee03004u);
	cr_assert_eq(sent.data, 0x131u);
	cr_assert_eq(sent.routes, 0u, "edges need no route");
}

Test(ioapic, edge_while_masked_is_kept_and_comes_once)
{
	ioapic_pulse(&a, 7);
	ioapic_pulse(&a, 7);
	cr_assert_eq(sent.n, 0u);
	entry_write(7, 0x41);
	cr_assert_eq(sent.n, 1u);
	cr_assert_eq(sent.data, 0x41u);
	entry_write(7, IOAPIC_MASKED | 0x41);
	entry_write(7, 0x41);
	cr_assert_eq(sent.n, 1u, "nothing new came");
}

Test(ioapic, level_waits_for_its_eoi)
{
	entry_write(9, IOAPIC_LEVEL | 0x51);
	cr_assert_eq(sent.routes, 1u);
	ioapic_set_level(&a, 9, true);
	cr_assert_eq(sent.n, 1u);
	cr_assert_eq(sent.data, 0xc051u);
	cr_assert(reg_read(0x10 + 18) & IOAPIC_REMOTE_IRR);
	ioapic_set_level(&a, 9, true);
	cr_assert_eq(sent.n, 1u);
	ioapic_eoi(&a, 0x50);
	cr_assert_eq(sent.n, 1u, "another vector's");
	ioapic_eoi(&a, 0x51);
	cr_assert_eq(sent.n, 2u, "still up: again");
	ioapic_set_level(&a, 9, false);
	ioapic_eoi(&a, 0x51);
	cr_assert_eq(sent.n, 2u);
	cr_assert_not(reg_read(0x10 + 18) & IOAPIC_REMOTE_IRR);
}

Test(ioapic, remote_irr_is_not_the_guests_to_write)
{
	entry_write(9, IOAPIC_LEVEL | IOAPIC_REMOTE_IRR | 1ull << 12 | 0x51);
	cr_assert_eq(reg_read(0x10 + 18), IOAPIC_LEVEL | 0x51);
	ioapic_set_level(&a, 9, true);
	entry_write(9, IOAPIC_LEVEL | 0x51);
	cr_assert_eq(sent.n, 1u, "rewriting the entry does not deliver again");
	/* Switching to edge and back is how Linux clears it on an IO-APIC without EOI register. */
	entry_write(9, IOAPIC_MASKED | 0x51);
	entry_write(9, IOAPIC_MASKED | IOAPIC_LEVEL | 0x51);
	cr_assert_not(reg_read(0x10 + 18) & IOAPIC_REMOTE_IRR);
}

Test(ioapic, pins_and_registers_beyond_the_end)
{
	for (uint32_t idx = 0; idx < 0x100; idx++)
		reg_write(idx, 0);
	memset(&sent, 0, sizeof(sent));
	ioapic_pulse(&a, IOAPIC_PINS);
	ioapic_pulse(&a, 31);
	ioapic_pulse(&a, UINT32_MAX);
	ioapic_set_level(&a, IOAPIC_PINS, true);
	cr_assert_eq(sent.n, 0u);
	cr_assert_eq(reg_read(0x10 + 2 * IOAPIC_PINS), 0u);
	cr_assert_eq(reg_read(0xff), 0u);
	reg_write(0, 0xffffffff);
	cr_assert_eq(reg_read(0), 0x0f000000u);
}

Test(ioapic, odd_widths_do_nothing)
{
	uint8_t b[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	reg_write(0x10, 0x77);
	for (unsigned len = 1; len <= 8; len++) {
		if (len == 4)
			continue;
		memset(b, 0xff, sizeof(b));
		ioapic_write(&a, 0x10, b, len);
		ioapic_read(&a, 0x10, b, len);
		cr_assert_eq(b[0], 0);
	}
	cr_assert_eq(reg_read(0x10), 0x77u);
}

/* ---- saved state ------------------------------------------------------------------------------ */

static struct buf saved;

static int load_into(struct ioapic *to, unsigned pins)
{
	struct snap_rd r = {saved.data, saved.len};

	ioapic_init(to, &ops, &sent);
	ioapic_set_pins(to, pins);
	return ioapic_load(to, &r);
}

/* The saved record with @val (32 bits) at @at of its payload. */
static int load_with(size_t at, uint32_t val)
{
	struct ioapic b;
	uint32_t was;
	int rc;

	memcpy(&was, saved.data + 12 + at, 4);
	memcpy(saved.data + 12 + at, &val, 4);
	rc = load_into(&b, 7);
	ioapic_fini(&b);
	memcpy(saved.data + 12 + at, &was, 4);
	return rc;
}

#define PIN_AT(pin) (24 + 8 * (size_t)(pin))

Test(ioapic, a_saved_one_goes_on)
{
	struct ioapic b;

	ioapic_set_pins(&a, 7);
	entry_write(2, IOAPIC_LEVEL | 0x31);
	entry_write(3, IOAPIC_MASKED | 0x32);
	ioapic_set_level(&a, 2, true);
	ioapic_pulse(&a, 3);
	(void)reg_read(0x10 + 2 * 3);
	cr_assert_eq(ioapic_save(&a, &saved), 0);
	sent = (struct sent){0};
	cr_assert_eq(load_into(&b, 7), 0);
	cr_assert_eq(sent.n, 0u, "what was sent is not sent again");
	cr_assert_eq(sent.routes, 1u, "the kernel knows whose EOIs to report");
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		cr_assert_eq(b.entry[i], a.entry[i]);
	cr_assert_eq(b.select, a.select);
	ioapic_eoi(&b, 0x31);
	cr_assert_eq(sent.n, 1u, "the line is up still");
	ioapic_fini(&a);
	a = b;
	entry_write(3, 0x32);
	cr_assert_eq(sent.n, 2u, "an edge that was latched");
	cr_assert_eq(sent.data, 0x32u);
	buf_free(&saved);
}

Test(ioapic, saved_state_that_cannot_be_is_refused)
{
	struct ioapic b;

	ioapic_set_pins(&a, 7);
	cr_assert_eq(ioapic_save(&a, &saved), 0);
	cr_assert_eq(load_with(0, 7), 0);
	cr_assert_eq(load_with(0, 8), -EPROTO, "pins");
	cr_assert_eq(load_into(&b, 8), -EPROTO, "another machine's pins");
	ioapic_fini(&b);
	cr_assert_eq(load_with(4, 0x100), -EPROTO, "select");
	cr_assert_eq(load_with(8, 1), -EPROTO, "id");
	cr_assert_eq(load_with(12, 1 << 7), -EPROTO, "an edge of no pin");
	cr_assert_eq(load_with(16, 1 << 7), -EPROTO, "the line of no pin");
	cr_assert_eq(load_with(20, 1), -EPROTO);
	cr_assert_eq(load_with(PIN_AT(0), 1 << 12), -EPROTO, "delivery status");
	cr_assert_eq(load_with(PIN_AT(0), IOAPIC_REMOTE_IRR | 0x30), -EPROTO, "no level");
	cr_assert_eq(load_with(PIN_AT(0), IOAPIC_REMOTE_IRR | IOAPIC_LEVEL | 0x30), 0);
	cr_assert_eq(load_with(PIN_AT(7), 0x30), -EPROTO, "an entry of no pin");
	saved.len--;
	cr_assert_eq(load_into(&b, 7), -EPROTO, "cut off");
	ioapic_fini(&b);
	buf_free(&saved);
}
