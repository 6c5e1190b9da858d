/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that means harm: a 32-bit PVH kernel that drives all virtio-mmio slots at random. Registers get any
 * value at any width; queues get chains that are nearly good, so that requests begin, and chains that are
 * anything: addresses outside of memory, in registers, in the rings themselves, loops, wild indices; resets
 * come while requests run. The serial port says how far it is; at its end it resets the machine.
 *
 * Always the same random numbers, from the seed on the command line.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmm/memmap.h"

#define SLOTS	  22u
#define ROUNDS	  2000u
#define RINGS	  0x1000000u /* 64 KiB for each queue of a slot, 32 queues */
#define RING_LEN  0x10000u
#define AVAIL_OFF 0x8000u
#define USED_OFF  0xc000u
#define DATA	  0x5000000u
#define DATA_LEN  0x1000000u
#define RAM_END	  0x8000000u

__asm__(".section .note.xen, \"a\", @note\n"
	".balign 4\n"
	".long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
	".asciz \"Xen\"\n"
	".long entry\n"
	".text\n"
	".globl entry\n"
	"entry:\n"
	"movl $stack + 16384, %esp\n"
	"call kernel\n"
	"1: hlt\n"
	"jmp 1b\n");

uint8_t stack[16384];
void kernel(void);
static uint32_t seed = 1;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return below ? (seed >> 7) % below : (seed >> 7) ^ (seed << 25);
}

static void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void say(const char *s)
{
	while (*s)
		outb(0x3f8, (uint8_t)*s++);
}

static void say_number(uint32_t v)
{
	char b[12];
	unsigned n = sizeof(b);

	b[--n] = 0;
	do
		b[--n] = (char)('0' + v % 10);
	while (v /= 10);
	say(b + n);
}

/* ---- registers -------------------------------------------------------------------------------------- */

static volatile uint32_t *reg(uint32_t slot, uint32_t off)
{
	return (volatile uint32_t *)(uintptr_t)((uint32_t)GPA_SLOTS +
						slot * (uint32_t)MMIO_SLOT_STRIDE + off);
}

static void any_access(uint32_t slot)
{
	uint32_t off = rnd(4) ? 4 * rnd(0x40) : rnd((uint32_t)MMIO_SLOT_STRIDE - 8);
	uint32_t v = rnd(3) ? rnd(0) : rnd(8);
	uintptr_t at = (uintptr_t)reg(slot, off);

	/* Not a reset only: those have their own place. */
	if (off == 0x70 && !v)
		v = 15;
	switch (rnd(6)) {
	case 0:
		(void)*(volatile uint8_t *)at;
		break;
	case 1:
		(void)*(volatile uint16_t *)at;
		break;
	case 2:
		*(volatile uint8_t *)at = (uint8_t)v;
		break;
	case 3:
		*(volatile uint16_t *)at = (uint16_t)v;
		break;
	case 4:
		(void)*(volatile uint32_t *)at;
		break;
	default:
		*(volatile uint32_t *)at = v;
		break;
	}
}

/* ---- rings ------------------------------------------------------------------------------------------ */

struct desc {
	uint32_t lo, hi, len;
	uint16_t flags, next;
};

static uint8_t *ring(uint32_t slot, uint32_t queue)
{
	/* Slots share rings: two devices then write into each other's. */
	return (uint8_t *)(uintptr_t)(RINGS + ((slot * 7 + queue) % 64) * RING_LEN);
}

static uint32_t data_at(void)
{
	return DATA + rnd(DATA_LEN - 0x10000);
}

static void put_address(struct desc *d, uint32_t slot)
{
	d->hi = 0;
	switch (rnd(16)) {
	case 0:
		d->lo = (uint32_t)GPA_SLOTS + rnd(SLOTS * 0x1000);
		break;
	case 1: /* the persistent memory, and behind it */
		d->lo = rnd(0x4000000);
		d->hi = 0x40;
		break;
	case 2:
		d->lo = (uint32_t)(uintptr_t)ring(slot, rnd(4)) + rnd(RING_LEN);
		break;
	case 3:
		d->lo = rnd(0);
		d->hi = rnd(2) ? UINT32_MAX : rnd(0);
		break;
	case 4:
		d->lo = RAM_END - rnd(64);
		break;
	default:
		d->lo = data_at();
		break;
	}
}

/* A request that the device may take for one, at @to. */
static void put_request(uint32_t id, volatile uint32_t *to)
{
	for (unsigned i = 0; i < 16; i++)
		to[i] = rnd(2) ? rnd(0) : rnd(16);
	if (id == 2) { /* a disk */
		static const uint8_t types[] = {0, 1, 4, 8, 11, 13};

		to[0] = types[rnd(sizeof(types))];
		to[2] = rnd(64);
		to[3] = 0;
	} else if (id == 9) { /* a share: size, type and tag, a fid */
		uint32_t type = rnd(3) ? 6 + 2 * rnd(60) : 100;

		to[0] = rnd(4) ? 19 + rnd(40) : rnd(0);
		to[1] = type | rnd(64) << 8 | rnd(4) << 24;
		if (type == 100) { /* Tversion */
			to[0] = 21;
			to[2] = 0x08000000;
			to[3] = 0x50390000;
			to[4] = 0x30303032;
			to[5] = 0x4c2e;
		}
	} else if (id == 1) { /* a network card: no offloads, mostly */
		to[0] = rnd(4) ? 0 : rnd(0);
		to[1] = to[2] = 0;
	}
}

/* Which queues take only what they can write, or only read. */
static bool all_written(uint32_t id, uint32_t queue)
{
	return (id == 1 && queue % 2 == 0) || id == 4;
}

static bool all_read(uint32_t id, uint32_t queue)
{
	return (id == 1 && queue % 2) || (id == 5 && queue < 3);
}

/* @wild: breaking rules; else a chain that the device serves, or answers with an error. */
static void add_chain(uint32_t slot, uint32_t queue, uint32_t id, uint32_t num, bool wild)
{
	struct desc *d = (struct desc *)(void *)ring(slot, queue);
	volatile uint16_t *avail = (volatile uint16_t *)(void *)(ring(slot, queue) + AVAIL_OFF);
	uint32_t first = avail[1] * 4 % num, cnt = 1 + rnd(4);
	bool write = all_written(id, queue);

	for (uint32_t i = 0; i < cnt; i++) {
		struct desc *at = &d[first + i];

		if (i && (rnd(2) || i + 1 == cnt) && !all_read(id, queue))
			write = true;
		at->lo = data_at() & ~63u;
		at->hi = 0;
		at->len = i + 1 == cnt && i ? 16 + rnd(64) : i ? 512 * rnd(9) : 64;
		at->flags = (uint16_t)((i + 1 < cnt ? 1 : 0) | (write ? 2 : 0));
		at->next = (uint16_t)(first + i + 1);
		if (i == 0)
			put_request(id, (volatile uint32_t *)(uintptr_t)at->lo);
		if (!wild)
			continue;
		if (!rnd(4))
			put_address(at, slot);
		if (!rnd(8))
			at->len = rnd(0);
		if (!rnd(8))
			at->flags = (uint16_t)rnd(8);
		if (!rnd(8))
			at->next = (uint16_t)(rnd(2) ? rnd(num) : rnd(0));
	}
	avail[2 + avail[1] % num] = (uint16_t)(wild && !rnd(4) ? rnd(0) : first);
	__asm__ volatile("" ::: "memory");
	avail[1] = (uint16_t)(avail[1] + (wild && !rnd(8) ? rnd(0) : 1));
}

/* ---- devices ---------------------------------------------------------------------------------------- */

static uint32_t size_of[SLOTS];

static void start(uint32_t slot)
{
	*reg(slot, 0x70) = 0;
	*reg(slot, 0x70) = 1;
	*reg(slot, 0x70) = 3;
	for (uint32_t w = 0; w < 2; w++) {
		*reg(slot, 0x14) = w;
		*reg(slot, 0x24) = w;
		*reg(slot, 0x20) =
		    rnd(20) ? *reg(slot, 0x10) & (rnd(3) ? UINT32_MAX : rnd(0) | 1) : rnd(0);
	}
	*reg(slot, 0x70) = 11;
	size_of[slot] = 8u << rnd(5);
	for (uint32_t q = 0; q < 12; q++) {
		uint32_t base = (uint32_t)(uintptr_t)ring(slot, q);
		uint32_t *p = (uint32_t *)(uintptr_t)base;

		*reg(slot, 0x30) = q;
		if (!*reg(slot, 0x34))
			break;
		for (uint32_t i = 0; i < RING_LEN / 4; i += 64)
			p[i] = 0;
		*(volatile uint32_t *)(uintptr_t)(base + AVAIL_OFF) = 0;
		*reg(slot, 0x38) = rnd(100) ? size_of[slot] : rnd(0);
		*reg(slot, 0x80) = base;
		*reg(slot, 0x84) = rnd(200) ? 0 : rnd(0);
		*reg(slot, 0x90) = base + AVAIL_OFF;
		*reg(slot, 0x94) = 0;
		*reg(slot, 0xa0) = rnd(200) ? base + USED_OFF : rnd(0);
		*reg(slot, 0xa4) = 0;
		*reg(slot, 0x44) = 1;
	}
	*reg(slot, 0x70) = 15;
}

static void act(uint32_t slot, uint32_t id)
{
	uint32_t queue = rnd(8) ? rnd(3) : rnd(12);

	if (id != 1 && id != 5 && rnd(8))
		queue = 0;

	switch (rnd(16)) {
	case 0:
		start(slot);
		break;
	case 1:
		if (!rnd(3))
			*reg(slot, 0x70) = 0;
		break;
	case 2:
	case 3:
		any_access(slot);
		break;
	case 4:
		*reg(slot, 0x50) = rnd(4) ? queue : rnd(0);
		break;
	default:
		for (uint32_t n = 1 + rnd(size_of[slot] / 4); n; n--)
			add_chain(slot, queue, id, size_of[slot], !rnd(25));
		*reg(slot, 0x50) = queue;
		/* Some of what runs is reset at once. */
		if (!rnd(20))
			*reg(slot, 0x70) = 0;
		break;
	}
	/* A device that has failed, or that was reset: go on. */
	if (*reg(slot, 0x70) & 0x40 || !(*reg(slot, 0x70) & 4))
		if (rnd(3))
			start(slot);
}

void kernel(void)
{
	const volatile char *word = (const volatile char *)(uintptr_t)GPA_CMDLINE;
	uint32_t found[SLOTS], cnt = 0;

	/* PVH: the command line is where the loader puts it; any of it is a seed. */
	while (*word)
		seed = seed * 31 + (uint8_t)*word++;
	for (uint32_t s = 0; s < SLOTS; s++) {
		size_of[s] = 8;
		if (*reg(s, 8))
			found[cnt++] = s;
	}
	say("hostile: ");
	say_number(cnt);
	say(" devices\n");
	for (uint32_t i = 0; i < ROUNDS && cnt; i++) {
		uint32_t slot = found[rnd(cnt)];

		act(slot, *reg(slot, 8));
		if (i % 500 == 0) {
			say("hostile: round ");
			say_number(i);
			say("\n");
		}
	}
	say("hostile: done\n");
	outb(0x64, 0xfe);
}
