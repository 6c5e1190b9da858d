/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial.c: as Linux's 8250 driver and an early console use it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/serial_reg.h>
#include <string.h>

#include "vmm/serial.h"

static struct serial s;
static char out[256];
static size_t out_len;
static unsigned irqs, rooms;

static void on_output(void *ctx, const void *buf, size_t len)
{
	(void)ctx;
	memcpy(out + out_len, buf, len);
	out_len += len;
}

static void on_irq(void *ctx)
{
	(void)ctx;
	irqs++;
}

static void on_room(void *ctx)
{
	(void)ctx;
	rooms++;
}

static const struct serial_ops ops = {.output = on_output, .irq = on_irq, .room = on_room};

static void setup(void)
{
	out_len = 0;
	irqs = rooms = 0;
	serial_init(&s, &ops, NULL);
}

static void teardown(void)
{
	serial_fini(&s);
}

static uint8_t in(unsigned reg)
{
	uint8_t v;

	serial_read(&s, reg, &v, 1);
	return v;
}

static void outb(unsigned reg, uint8_t v)
{
	serial_write(&s, reg, &v, 1);
}

TestSuite(serial, .init = setup, .fini = teardown);

Test(serial, output_comes_out_and_the_line_is_always_ready)
{
	for (const char *p = "hello"; *p; p++) {
		cr_assert(in(UART_LSR)&UART_LSR_THRE);
		outb(UART_TX, (uint8_t)*p);
	}
	cr_assert_eq(out_len, 5u);
	cr_assert_arr_eq(out, "hello", 5);
	cr_assert_eq(irqs, 0u);
}

Test(serial, divisor_latch_is_not_output)
{
	outb(UART_LCR, UART_LCR_DLAB);
	outb(UART_DLL, 1);
	outb(UART_DLM, 2);
	cr_assert_eq(in(UART_DLL), 1);
	cr_assert_eq(in(UART_DLM), 2);
	outb(UART_LCR, UART_LCR_WLEN8);
	cr_assert_eq(out_len, 0u);
	cr_assert_eq(in(UART_IER), 0);
}

Test(serial, looks_like_a_16550a)
{
	outb(UART_IER, 0xff);
	cr_assert_eq(in(UART_IER), 0x0f);
	outb(UART_IER, 0);
	outb(UART_SCR, 0xa5);
	cr_assert_eq(in(UART_SCR), 0xa5);
	outb(UART_FCR, UART_FCR_ENABLE_FIFO);
	cr_assert_eq(in(UART_IIR) >> 6, 3);
	outb(UART_FCR, 0);
	cr_assert_eq(in(UART_IIR) >> 6, 0);
	outb(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	cr_assert_eq(in(UART_MSR)&0xf0, UART_MSR_DCD | UART_MSR_CTS);
}

Test(serial, each_byte_sent_is_an_edge)
{
	outb(UART_IER, UART_IER_THRI);
	cr_assert_eq(irqs, 1u, "empty when enabled");
	cr_assert_eq(in(UART_IIR), UART_IIR_THRI);
	cr_assert_eq(in(UART_IIR), UART_IIR_NO_INT, "reading acknowledged it");
	outb(UART_TX, 'a');
	outb(UART_TX, 'b');
	cr_assert_eq(irqs, 3u);
}

Test(serial, input_waits_for_the_driver)
{
	outb(UART_FCR, UART_FCR_ENABLE_FIFO);
	cr_assert_eq(serial_input(&s, "abc", 3), 0u, "nobody listens");
	cr_assert_eq(rooms, 0u);
	outb(UART_IER, UART_IER_RDI);
	cr_assert_eq(rooms, 1u);
	cr_assert_eq(serial_input(&s, "abc", 3), 3u);
	cr_assert_eq(irqs, 1u);
	cr_assert_eq(in(UART_IIR)&0x0f, UART_IIR_RDI);
	cr_assert(in(UART_LSR)&UART_LSR_DR);
	cr_assert_eq(in(UART_RX), 'a');
	cr_assert_eq(in(UART_RX), 'b');
	cr_assert_eq(in(UART_RX), 'c');
	cr_assert_not(in(UART_LSR)&UART_LSR_DR);
	cr_assert_eq(in(UART_RX), 0, "empty");
}

Test(serial, receiver_is_bounded_and_says_when_there_is_room)
{
	uint8_t big[64];

	memset(big, 'x', sizeof(big));
	outb(UART_FCR, UART_FCR_ENABLE_FIFO);
	outb(UART_IER, UART_IER_RDI);
	cr_assert_eq(serial_input(&s, big, sizeof(big)), SERIAL_FIFO);
	cr_assert_eq(serial_input(&s, big, 1), 0u);
	cr_assert_eq(rooms, 0u);
	(void)in(UART_RX);
	cr_assert_eq(rooms, 1u);
	(void)in(UART_RX);
	cr_assert_eq(rooms, 1u, "told once");
	cr_assert_eq(serial_input(&s, big, sizeof(big)), 2u);
	outb(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	cr_assert_not(in(UART_LSR)&UART_LSR_DR);
}

Test(serial, listening_takes_interrupt_and_fifo)
{
	outb(UART_IER, UART_IER_RDI);
	cr_assert_eq(serial_input(&s, "ab", 2), 0u);
	cr_assert_eq(rooms, 0u);
	outb(UART_FCR, UART_FCR_ENABLE_FIFO);
	cr_assert_eq(rooms, 1u);
	cr_assert_eq(serial_input(&s, "ab", 2), 2u);
	outb(UART_FCR, 0);
	cr_assert_eq(serial_input(&s, "ab", 2), 0u);
	cr_assert_eq(in(UART_RX), 'a', "what is there stays");
}

Test(serial, loopback_stays_inside_and_is_bounded)
{
	outb(UART_FCR, UART_FCR_ENABLE_FIFO);
	outb(UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < 100; i++)
		outb(UART_TX, (uint8_t)i);
	cr_assert_eq(out_len, 0u);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		cr_assert_eq(in(UART_RX), i);
	cr_assert_not(in(UART_LSR)&UART_LSR_DR);
}

Test(serial, wide_accesses)
{
	uint8_t b[8] = {'w', 1, 2, 3, 4, 5, 6, 7};

	serial_write(&s, UART_TX, b, 8);
	cr_assert_eq(out_len, 1u);
	serial_read(&s, UART_LSR, b, 8);
	cr_assert_eq(b[0], UART_LSR_THRE | UART_LSR_TEMT);
	cr_assert_eq(b[1], 0);
}

/* ---- saved state ------------------------------------------------------------------------------ */

Test(serial, a_saved_one_goes_on)
{
	struct buf b = {0};
	struct snap_rd r;

	outb(UART_LCR, UART_LCR_DLAB);
	outb(UART_DLL, 3);
	outb(UART_LCR, UART_LCR_WLEN8);
	outb(UART_FCR, UART_FCR_ENABLE_FIFO);
	outb(UART_IER, UART_IER_RDI);
	outb(UART_MCR, UART_MCR_OUT2);
	outb(UART_SCR, 0x77);
	cr_assert_eq(serial_input(&s, "0123456789abcdef", 16), 16u);
	cr_assert_eq(in(UART_RX), '0');
	cr_assert_eq(serial_input(&s, "g", 1), 1u, "its ring has wrapped");
	cr_assert_eq(serial_save(&s, &b), 0);
	serial_fini(&s);
	irqs = 0;
	serial_init(&s, &ops, NULL);
	r = (struct snap_rd){b.data, b.len};
	cr_assert_eq(serial_load(&s, &r), 0);
	cr_assert_eq(in(UART_SCR), 0x77);
	cr_assert_eq(in(UART_LCR), UART_LCR_WLEN8);
	cr_assert_eq(in(UART_IIR), UART_IIR_RDI | 0xc0);
	for (const char *p = "123456789abcdefg"; *p; p++)
		cr_assert_eq(in(UART_RX), *p);
	cr_assert_eq(irqs, 0u, "its line was up when it was saved");
	cr_assert_eq(serial_input(&s, "h", 1), 1u);
	cr_assert_eq(irqs, 1u);
	buf_free(&b);
}

Test(serial, saved_state_that_cannot_be_is_refused)
{
	/* ier, mcr, fifo_on, thre_pending, line, rx_cnt */
	static const struct {
		size_t at;
		uint8_t v;
	} bad[] = {{0, 0x10}, {2, 0x20}, {6, 2}, {7, 2}, {8, 2}, {9, SERIAL_FIFO + 1}};
	struct buf b = {0};
	struct snap_rd r;

	cr_assert_eq(serial_save(&s, &b), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t was = b.data[12 + bad[i].at];

		b.data[12 + bad[i].at] = bad[i].v;
		r = (struct snap_rd){b.data, b.len};
		cr_assert_eq(serial_load(&s, &r), -EPROTO, "byte %zu", bad[i].at);
		b.data[12 + bad[i].at] = was;
	}
	r = (struct snap_rd){b.data, b.len - 1};
	cr_assert_eq(serial_load(&s, &r), -EPROTO, "cut off");
	r = (struct snap_rd){b.data, b.len};
	cr_assert_eq(serial_load(&s, &r), 0);
	buf_free(&b);
}
