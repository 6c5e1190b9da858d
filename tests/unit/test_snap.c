/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of devices: each is frozen under load, saved, given up, and loaded into a new one whose guest
 * memory lies elsewhere on the host; what was in the rings goes on there, once and whole.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"
#include "virtio/snap.h"

static struct virtio_dev *dev;
static struct fg *g;
static struct loop *l;
static struct err e;

static void begin(void)
{
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};

	log_setup(&quiet);
	cr_assert_eq(loop_new(&l, 256, &e), 0, "%s", e.msg);
	g = fg_new(8u << 20, 0);
}

static void start(void)
{
	fg_plug(g, dev, l);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
}

static void give_up(void)
{
	fg_shut(g, dev);
	dev = NULL;
}

static void end(void)
{
	if (dev)
		give_up();
	loop_free(l);
	fg_free(g);
}

TestSuite(snap, .timeout = 60);

/* The guest moves; @to is the device that it finds there. */
static void move_to(struct virtio_dev *to, struct buf *b)
{
	struct fg *copy = fg_copy(g);
	struct snap_rd r = {b->data, b->len};

	give_up();
	fg_free(g);
	g = copy;
	dev = to;
	fg_plug(g, dev, l);
	cr_assert_eq(virtio_load(dev, &r, &e), 0, "%s", e.msg);
	cr_assert_eq(r.left, 0);
	virtio_thaw(dev);
	buf_free(b);
}

/* ---- blk ------------------------------------------------------------------------------------------ */
#define SECTORS 256u
static int image;

static struct virtio_dev *disk(void)
{
	struct blk_config cfg = {.fd = dup(image), .queues = 2};
	struct virtio_dev *d;

	cr_assert_eq(blk_new(&d, "blk0", &cfg, &e), 0, "%s", e.msg);
	return d;
}

static uint64_t write_sector(unsigned q, unsigned n, uint8_t what)
{
	struct {
		le32_t type, reserved;
		le64_t sector;
	} h = {.type = le32_of(1), .sector = le64_of(n)};
	uint8_t data[512], status = 0xff;
	uint64_t s;

	memset(data, what, sizeof(data));
	s = fg_bytes(g, &status, 1);
	(void)fg_add(fg_q(g, q),
		     (struct fg_buf[]){{fg_bytes(g, &h, sizeof(h)), sizeof(h), false},
				       {fg_bytes(g, data, 512), 512, false},
				       {s, 1, true}},
		     3, FG_INDIRECT);
	return s;
}

Test(snap, a_disk_under_load)
{
	uint64_t status[4 * 32];
	struct buf b;
	unsigned n = 0, taken = 0;

	begin();
	image = memfd_create("image", MFD_CLOEXEC);
	cr_assert(image >= 0 && ftruncate(image, SECTORS * 512) == 0);
	dev = disk();
	start();
	for (unsigned round = 0; round < 4; round++) {
		/* Under way; and in the ring, behind a kick that comes too late. */
		for (unsigned i = 0; i < 16; i++, n++)
			status[n] = write_sector(n % 2, n, (uint8_t)(n + 1));
		(void)fg_kick(fg_q(g, 0));
		(void)fg_kick(fg_q(g, 1));
		for (unsigned i = 0; i < 16; i++, n++)
			status[n] = write_sector(n % 2, n, (uint8_t)(n + 1));
		b = fg_save(g, dev);
		move_to(disk(), &b);
		while (taken < n) {
			cr_assert_geq(fg_take_wait(fg_q(g, taken % 2), NULL), 0);
			taken++;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		uint8_t s, data[512];

		fg_get(g, status[i], &s, 1);
		cr_assert_eq(s, 0);
		cr_assert_eq(pread(image, data, 512, i * 512), 512);
		cr_assert_eq(data[0], (uint8_t)(i + 1));
		cr_assert_eq(data[511], (uint8_t)(i + 1));
	}
	end();
}

Test(snap, a_disk_of_another_size_is_refused)
{
	struct virtio_dev *other;
	struct snap_rd r;
	struct fg *g2;
	struct buf b;

	begin();
	image = memfd_create("image", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(image, SECTORS * 512), 0);
	dev = disk();
	start();
	b = fg_save(g, dev);
	g2 = fg_copy(g);
	cr_assert_eq(ftruncate(image, SECTORS * 1024), 0);
	other = disk();
	fg_plug(g2, other, l);
	r = (struct snap_rd){b.data, b.len};
	cr_assert_lt(virtio_load(other, &r, &e), 0);
	cr_assert(strstr(e.msg, "sectors"));
	virtio_free(other);
	fg_free(g2);
	/* The first one goes on as if nothing had been. */
	virtio_thaw(dev);
	(void)write_sector(0, 1, 1);
	(void)fg_kick(fg_q(g, 0));
	cr_assert_geq(fg_take_wait(fg_q(g, 0), NULL), 0);
	buf_free(&b);
	end();
}

/* ---- net ------------------------------------------------------------------------------------------ */
static struct virtio_dev *nic(int fd)
{
	struct net_config cfg = {.fd = {fd}, .mac = {2}};
	struct virtio_dev *d;

	cr_assert_eq(net_new(&d, "net0", &cfg, &e), 0, "%s", e.msg);
	return d;
}

Test(snap, a_nic_under_load)
{
	uint8_t p[200] = {0};
	int sv[2], kept;
	unsigned got = 0, sent = 0, back = 0;
	struct buf b;

	begin();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	kept = dup(sv[0]);
	dev = nic(sv[0]);
	start();
	for (unsigned i = 0; i < 60; i++)
		(void)fg_add(fg_q(g, 0), &(struct fg_buf){fg_alloc(g, 2048, 1), 2048, true}, 1, 0);
	(void)fg_kick(fg_q(g, 0));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 5; i++, sent++)
			cr_assert_eq(send(sv[1], p, sizeof(p), 0), (ssize_t)sizeof(p));
		for (unsigned i = 0; i < 5; i++)
			(void)fg_add(fg_q(g, 1), &(struct fg_buf){fg_bytes(g, p, 200), 200, false},
				     1, 0);
		(void)fg_kick(fg_q(g, 1));
		b = fg_save(g, dev);
		move_to(nic(dup(kept)), &b);
		while (got < sent) {
			cr_assert_geq(fg_take_wait(fg_q(g, 0), NULL), 0);
			got++;
		}
		while (back < sent) {
			if (recv(sv[1], p, sizeof(p), 0) == 200)
				back++;
			else
				cr_assert_eq(loop_step(l, false), 0);
		}
	}
	end();
	(void)close(sv[1]);
	(void)close(kept);
}

/* ---- console --------------------------------------------------------------------------------------- */
static char said[64];
static size_t said_len, limit;

static size_t output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	size_t n = MIN(len, limit);

	(void)ctx;
	(void)iov_read(iov, cnt, 0, said + said_len, n);
	said_len += n;
	limit -= n;
	return n;
}
static const struct vcon_port_ops port_ops = {.output = output};

static struct virtio_dev *console(void)
{
	struct vcon_port_config cfg = {.console = true, .ops = &port_ops};
	struct virtio_dev *d;

	cr_assert_eq(vcon_new(&d, "console0", &cfg, 1, &e), 0);
	return d;
}

Test(snap, a_console_in_the_middle_of_a_line)
{
	struct buf b;

	begin();
	dev = console();
	start();
	limit = 3;
	(void)fg_add(fg_q(g, 1),
		     (struct fg_buf[]){{fg_bytes(g, "abcde", 5), 5, false},
				       {fg_bytes(g, "fgh", 3), 3, false}},
		     2, 0);
	(void)fg_add(fg_q(g, 1), &(struct fg_buf){fg_bytes(g, "ij", 2), 2, false}, 1, 0);
	(void)fg_kick(fg_q(g, 1));
	cr_assert_eq(said_len, 3);
	b = fg_save(g, dev);
	limit = 4;
	move_to(console(), &b);
	cr_assert_eq(said_len, 7);
	b = fg_save(g, dev);
	limit = 100;
	move_to(console(), &b);
	cr_assert_eq(said_len, 10);
	cr_assert_arr_eq(said, "abcdefghij", 10);
	cr_assert_geq(fg_take(fg_q(g, 1), NULL), 0);
	cr_assert_geq(fg_take(fg_q(g, 1), NULL), 0);
	cr_assert_eq(fg_take(fg_q(g, 1), NULL), -1);
	end();
}

/* ---- rng, pmem -------------------------------------------------------------------------------------- */
static struct virtio_dev *entropy(void)
{
	struct virtio_dev *d;

	cr_assert_eq(rng_new(&d, "rng0", &e), 0);
	return d;
}

Test(snap, a_request_for_entropy_that_waits)
{
	unsigned asked = 8, got = 0;
	struct buf b;

	begin();
	dev = entropy();
	start();
	/* More than the bucket holds: the last ones wait for the timer. */
	for (unsigned i = 0; i < asked; i++)
		(void)fg_add(fg_q(g, 0), &(struct fg_buf){fg_alloc(g, 65536, 1), 65536, true}, 1,
			     0);
	(void)fg_kick(fg_q(g, 0));
	b = fg_save(g, dev);
	while (fg_take(fg_q(g, 0), NULL) >= 0)
		got++;
	cr_assert_lt(got, asked);
	move_to(entropy(), &b);
	while (got < asked) {
		cr_assert_geq(fg_take_wait(fg_q(g, 0), NULL), 0);
		got++;
	}
	cr_assert_eq(fg_take(fg_q(g, 0), NULL), -1);
	end();
}

static struct virtio_dev *pm(void)
{
	struct pmem_config cfg = {.fd = memfd_create("p", MFD_CLOEXEC), .len = 4096};
	struct virtio_dev *d;

	cr_assert_eq(pmem_new(&d, "pmem0", &cfg, &e), 0);
	return d;
}

Test(snap, flushes_under_way)
{
	le32_t flush = le32_of(0);
	unsigned got = 0;
	struct buf b;

	begin();
	dev = pm();
	start();
	for (unsigned i = 0; i < 20; i++) {
		(void)fg_add(fg_q(g, 0),
			     (struct fg_buf[]){{fg_bytes(g, &flush, 4), 4, false},
					       {fg_alloc(g, 4, 4), 4, true}},
			     2, 0);
		(void)fg_kick(fg_q(g, 0));
	}
	b = fg_save(g, dev);
	while (fg_take(fg_q(g, 0), NULL) >= 0)
		got++;
	cr_assert_eq(got, 20, "what was taken has been answered");
	(void)fg_add(
	    fg_q(g, 0),
	    (struct fg_buf[]){{fg_bytes(g, &flush, 4), 4, false}, {fg_alloc(g, 4, 4), 4, true}}, 2,
	    0);
	move_to(pm(), &b);
	cr_assert_geq(fg_take_wait(fg_q(g, 0), NULL), 0);
	end();
}

/* ---- balloon, mem ------------------------------------------------------------------------------------ */
static struct virtio_dev *balloon(void)
{
	struct balloon_config cfg = {.stats = true};
	struct virtio_dev *d;

	cr_assert_eq(balloon_new(&d, "balloon0", &cfg, &e), 0);
	return d;
}

Test(snap, a_balloon_keeps_its_size)
{
	le32_t actual = le32_of(5);
	struct balloon_stats s;
	struct buf b;

	begin();
	dev = balloon();
	start();
	balloon_set_target(dev, 7 * 4096);
	vmmio_write(fg_slot(g), 0x104, &actual, 4);
	(void)fg_add(fg_q(g, 2), &(struct fg_buf){fg_alloc(g, 10, 1), 10, false}, 1, 0);
	(void)fg_kick(fg_q(g, 2));
	b = fg_save(g, dev);
	cr_assert_geq(fg_take(fg_q(g, 2), NULL), 0, "the statistics' buffer is the driver's again");
	move_to(balloon(), &b);
	balloon_stats(dev, &s);
	cr_assert_eq(s.target, 7 * 4096);
	cr_assert_eq(s.actual, 5 * 4096);
	end();
}

static uint8_t *added;
static int grow(void *ctx, uint64_t usable)
{
	(void)ctx;
	return gmem_add_ram(fg_mem(g), 0x5000000000, usable, added);
}

static struct virtio_dev *mem(uint64_t len)
{
	struct vmem_config cfg = {.gpa = 0x5000000000, .len = len, .grow = grow};
	struct virtio_dev *d;

	cr_assert_eq(vmem_new(&d, "mem0", &cfg, &e), 0);
	return d;
}

Test(snap, added_memory_stays_plugged)
{
	struct {
		le16_t type, padding[3];
		le64_t addr;
		le16_t blocks, padding2[3];
	} w = {.addr = le64_of(0x5000000000 + VMEM_BLOCK), .blocks = le16_of(3)};
	struct virtio_dev *small;
	struct vmem_size s;
	struct snap_rd r;
	struct buf b, copy = {0};

	begin();
	added = mmap(NULL, 512u << 20, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	dev = mem(512u << 20);
	start();
	cr_assert_eq(vmem_request_size(dev, 4 * VMEM_BLOCK), 0);
	(void)fg_add(
	    fg_q(g, 0),
	    (struct fg_buf[]){{fg_bytes(g, &w, 24), 24, false}, {fg_alloc(g, 10, 1), 10, true}}, 2,
	    0);
	(void)fg_kick(fg_q(g, 0));
	cr_assert_geq(fg_take(fg_q(g, 0), NULL), 0);
	b = fg_save(g, dev);
	cr_assert_eq(buf_append(&copy, b.data, b.len), 0);
	/* The copy of the guest's map begins without what was added: grow() brings it. */
	fg_mem(g)->cnt--;
	move_to(mem(512u << 20), &b);
	vmem_size(dev, &s);
	cr_assert_eq(s.plugged, 3 * VMEM_BLOCK);
	cr_assert_eq(s.requested, 4 * VMEM_BLOCK);
	/* A smaller region cannot take it. */
	small = mem(256u << 20);
	r = (struct snap_rd){copy.data, copy.len};
	virtio_attach(small, fg_mem(g), l, NULL, NULL);
	cr_assert_lt(virtio_load(small, &r, &e), 0);
	virtio_free(small);
	buf_free(&copy);
	end();
}

/* ---- bad states -------------------------------------------------------------------------------------- */
static void try_load(const uint8_t *p, size_t len)
{
	static struct vmmio slot;
	struct virtio_dev *d = balloon();
	struct snap_rd r = {p, len};
	struct err why = {0};

	/* The same memory will do: the device that was saved stands still. */
	vmmio_init(&slot, 1, NULL, NULL);
	vmmio_plug(&slot, d, fg_mem(g), l);
	if (virtio_load(d, &r, &why) < 0) {
		cr_assert(why.code < 0 && strstr(why.msg, "balloon0"), "%s", why.msg);
	} else {
		virtio_thaw(d);
		fg_shut(g, d);
		return;
	}
	virtio_free(d);
}

Test(snap, features_that_were_never_offered)
{
	const size_t acked = 12 + 16; /* the record's head, then dev_wire */
	struct virtio_dev *d;
	struct snap_rd r;
	struct vmmio slot;
	struct buf b;

	begin();
	dev = balloon();
	start();
	b = fg_save(g, dev);
	b.data[acked + 6] |= 0x80; /* bit 55 */
	d = balloon();
	vmmio_init(&slot, 1, NULL, NULL);
	vmmio_plug(&slot, d, fg_mem(g), l);
	r = (struct snap_rd){b.data, b.len};
	e = (struct err){0};
	cr_assert_lt(virtio_load(d, &r, &e), 0);
	cr_assert(strstr(e.msg, "features that this device does not have"), "%s", e.msg);
	virtio_free(d);
	buf_free(&b);
	virtio_thaw(dev);
	end();
}

Test(snap, broken_states_are_refused_or_harmless)
{
	struct buf b;

	begin();
	dev = balloon();
	start();
	b = fg_save(g, dev);
	for (size_t i = 0; i < b.len; i++) {
		try_load(b.data, i);
		for (unsigned bit = 0; bit < 8; bit += 3) {
			b.data[i] ^= (uint8_t)(1u << bit);
			try_load(b.data, b.len);
			b.data[i] ^= (uint8_t)(1u << bit);
		}
	}
	buf_free(&b);
	virtio_thaw(dev);
	end();
}
