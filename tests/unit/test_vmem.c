/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmem.c: requests within bounds and beyond them, what grows, what goes back to the host.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

#define GPA	0x5000000000ull
#define REGION	(1024ull << 20)
#define MIB(n)	((uint64_t)(n) << 20)
#define USABLE0 MIB(384) /* of a first request of up to 128 MiB */

enum { PLUG, UNPLUG, UNPLUG_ALL, STATE };
enum { ACK, NACK, BUSY, ERROR };

struct resp {
	le16_t type, padding[3], state;
};

static struct virtio_dev *dev;
static struct fg *g;
static struct fg_queue *q;
static uint8_t *host;
static uint64_t usable;
static unsigned changes;
static int grow_rc;

static int grow(void *ctx, uint64_t to)
{
	int rc;

	(void)ctx;
	if (grow_rc < 0)
		return grow_rc;
	rc = usable ? gmem_grow(fg_mem(g), GPA, to) : gmem_add_ram(fg_mem(g), GPA, to, host);
	cr_assert_eq(rc, 0);
	cr_assert_gt(to, usable);
	usable = to;
	return 0;
}

static void count_change(void *ctx)
{
	(void)ctx;
	changes++;
}

static void begin(void)
{
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};
	struct vmem_config cfg = {.gpa = GPA, .len = REGION, .grow = grow, .changed = count_change};
	struct err e = {0};

	log_setup(&quiet);
	usable = changes = 0;
	grow_rc = 0;
	host = mmap(NULL, REGION, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert(host != MAP_FAILED);
	g = fg_new(1 << 20, FG_TINY_REGIONS);
	cr_assert_eq(vmem_new(&dev, "mem0", &cfg, &e), 0);
	fg_plug(g, dev, NULL);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	q = fg_q(g, 0);
}

static void end(void)
{
	fg_reset(g);
	virtio_free(dev);
	fg_free(g);
	(void)munmap(host, REGION);
}

static struct resp ask_raw(uint16_t type, uint64_t addr, uint16_t blocks)
{
	struct {
		le16_t type, padding[3];
		le64_t addr;
		le16_t blocks, padding2[3];
	} w = {.type = le16_of(type), .addr = le64_of(addr), .blocks = le16_of(blocks)};
	struct resp r = {0};
	uint64_t out, in;
	uint32_t written;

	fg_alloc_reset(g);
	out = fg_bytes(g, &w, 24);
	in = fg_alloc(g, 10, 1);
	(void)fg_add(q, (struct fg_buf[]){{out, 24, false}, {in, 10, true}}, 2, 0);
	(void)fg_kick(q);
	cr_assert_geq(fg_take_wait(q, &written), 0);
	cr_assert_eq(written, 10);
	fg_get(g, in, &r, sizeof(r));
	return r;
}

static unsigned ask(uint16_t type, uint64_t off, uint16_t blocks)
{
	return le16_get(ask_raw(type, GPA + off, blocks).type);
}

static unsigned state_of(uint64_t off, uint16_t blocks)
{
	struct resp r = ask_raw(STATE, GPA + off, blocks);

	cr_assert_eq(le16_get(r.type), ACK);
	return le16_get(r.state);
}

static uint64_t cfg64(unsigned off)
{
	le64_t v;

	vmmio_read(fg_slot(g), 0x100 + off, &v, 8);
	return le64_get(v);
}

Test(vmem, config_says_what_there_is)
{
	unsigned irqs;

	begin();
	cr_assert_eq(cfg64(0), VMEM_BLOCK);
	cr_assert_eq(cfg64(16), GPA);
	cr_assert_eq(cfg64(24), REGION);
	cr_assert_eq(cfg64(32), 0);
	cr_assert_eq(cfg64(48), 0);
	irqs = fg_irqs(g);
	cr_assert_eq(vmem_request_size(dev, MIB(64) - 1), 0);
	cr_assert_eq(fg_irqs(g), irqs + 1);
	cr_assert_eq(cfg64(48), MIB(64), "rounded up to a block");
	cr_assert_eq(cfg64(32), USABLE0);
	cr_assert_eq(cfg64(32), usable);
	end();
}

Test(vmem, the_usable_part_only_grows)
{
	begin();
	cr_assert_eq(vmem_request_size(dev, REGION), 0);
	cr_assert_eq(usable, REGION);
	cr_assert_eq(vmem_request_size(dev, 0), 0);
	cr_assert_eq(cfg64(32), REGION);
	cr_assert_eq(cfg64(48), 0);
	cr_assert_eq(vmem_request_size(dev, REGION + 1), -ERANGE);
	end();
}

Test(vmem, no_memory_nothing_changes)
{
	begin();
	grow_rc = -ENOMEM;
	cr_assert_eq(vmem_request_size(dev, MIB(2)), -ENOMEM);
	cr_assert_eq(cfg64(48), 0);
	cr_assert_eq(ask(PLUG, 0, 1), ERROR);
	end();
}

Test(vmem, plugs_up_to_what_is_requested)
{
	struct vmem_size s;

	begin();
	cr_assert_eq(ask(PLUG, 0, 1), ERROR, "nothing is usable");
	cr_assert_eq(vmem_request_size(dev, MIB(8)), 0);
	cr_assert_eq(ask(PLUG, 0, 3), ACK);
	cr_assert_eq(ask(PLUG, MIB(6), 2), NACK, "one too many");
	cr_assert_eq(ask(PLUG, MIB(6), 1), ACK);
	cr_assert_eq(ask(PLUG, MIB(8), 1), NACK);
	cr_assert_eq(ask(PLUG, MIB(4), 1), ERROR, "plugged already");
	vmem_size(dev, &s);
	cr_assert_eq(s.plugged, MIB(8));
	cr_assert_eq(cfg64(40), MIB(8));
	cr_assert_eq(changes, 2);
	/* Less is wanted than there is: nothing more until the guest has given up enough. */
	cr_assert_eq(vmem_request_size(dev, MIB(2)), 0);
	cr_assert_eq(ask(PLUG, MIB(8), 1), NACK);
	cr_assert_eq(ask(UNPLUG, 0, 4), ACK);
	cr_assert_eq(ask(PLUG, MIB(8), 1), ACK);
	end();
}

Test(vmem, ranges_are_checked)
{
	static const struct {
		uint64_t off;
		uint16_t blocks;
	} bad[] = {{0, 0},
		   {1, 1},
		   {4096, 1},
		   {UINT64_MAX - MIB(2) + 1, 1}, /* before the region */
		   {UINT64_MAX - MIB(2) + 1, 2},
		   {USABLE0, 1},
		   {USABLE0 - MIB(2), 2},
		   {0, 65535},
		   {REGION, 1},
		   {UINT64_MAX - GPA - MIB(2) + 1, 1}};

	begin();
	cr_assert_eq(vmem_request_size(dev, MIB(128)), 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		cr_assert_eq(ask(PLUG, bad[i].off, bad[i].blocks), ERROR, "%u", i);
		cr_assert_eq(ask(UNPLUG, bad[i].off, bad[i].blocks), ERROR, "%u", i);
		cr_assert_eq(ask(STATE, bad[i].off, bad[i].blocks), ERROR, "%u", i);
	}
	cr_assert_eq(ask(PLUG, USABLE0 - MIB(2), 1), ACK, "the last one is good");
	cr_assert_eq(ask(4, 0, 1), ERROR, "no such request");
	cr_assert_eq(ask(65535, 0, 1), ERROR);
	end();
}

Test(vmem, state_tells)
{
	begin();
	cr_assert_eq(vmem_request_size(dev, MIB(128)), 0);
	cr_assert_eq(ask(PLUG, MIB(4), 2), ACK);
	cr_assert_eq(state_of(MIB(4), 2), 0);
	cr_assert_eq(state_of(0, 2), 1);
	cr_assert_eq(state_of(MIB(2), 2), 2);
	end();
}

Test(vmem, unplugged_memory_goes_back)
{
	begin();
	cr_assert_eq(vmem_request_size(dev, MIB(8)), 0);
	cr_assert_eq(ask(PLUG, 0, 3), ACK);
	memset(host, 'x', MIB(6));
	cr_assert_eq(ask(UNPLUG, MIB(2), 1), ACK);
	cr_assert_eq(host[MIB(2) - 1], 'x');
	cr_assert_eq(host[MIB(2)], 0);
	cr_assert_eq(host[MIB(4) - 1], 0);
	cr_assert_eq(host[MIB(4)], 'x');
	cr_assert_eq(ask(UNPLUG, 0, 3), ERROR, "one is out already");
	cr_assert_eq(host[0], 'x');
	cr_assert_eq(ask(UNPLUG_ALL, 0, 0), ACK);
	cr_assert_eq(host[0], 0);
	cr_assert_eq(cfg64(40), 0);
	cr_assert_eq(state_of(0, 4), 1);
	end();
}

/* What is plugged stays over a reset of the driver: the memory is still in use. */
Test(vmem, a_reset_keeps_it)
{
	begin();
	cr_assert_eq(vmem_request_size(dev, MIB(4)), 0);
	cr_assert_eq(ask(PLUG, 0, 2), ACK);
	fg_reset(g);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(cfg64(40), MIB(4));
	cr_assert_eq(state_of(0, 2), 0);
	end();
}

Test(vmem, short_requests_fail_the_device)
{
	static const uint32_t len[][2] = {{23, 10}, {24, 9}, {0, 10}};

	for (unsigned i = 0; i < ARRAY_LEN(len); i++) {
		begin();
		(void)fg_add(q,
			     (struct fg_buf[]){{fg_alloc(g, 24, 1), len[i][0], false},
					       {fg_alloc(g, 24, 1), len[i][1], true}},
			     2, 0);
		(void)fg_kick(q);
		cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "%u", i);
		end();
	}
}

Test(vmem, regions_are_whole_blocks)
{
	static const struct vmem_config bad[] = {{.gpa = GPA},
						 {.gpa = GPA, .len = 4096},
						 {.gpa = GPA + 4096, .len = VMEM_BLOCK},
						 {.gpa = 0ull - VMEM_BLOCK, .len = 2 * VMEM_BLOCK}};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};

		cr_assert_eq(vmem_new(&dev, "mem0", &bad[i], &e), -EINVAL, "%u", i);
		cr_assert(strstr(e.msg, "mem0"));
	}
}
