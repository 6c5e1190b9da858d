/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk on an image in a temporary file.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

#define SECTORS 64u

static char path[64];
static struct loop *loop;
static struct virtio_dev *dev;
static struct fg *g;
static struct err e;

static int image(int flags)
{
	int fd;

	if (!path[0]) {
		(void)snprintf(path, sizeof(path), "/tmp/husk-blk-XXXXXX");
		fd = mkstemp(path);
		cr_assert(fd >= 0 && ftruncate(fd, SECTORS * 512) == 0);
		(void)close(fd);
	}
	fd = open(path, flags | O_CLOEXEC);
	cr_assert(fd >= 0);
	return fd;
}

static void begin_on(int flags, bool readonly, unsigned fg_flags, uint64_t features)
{
	struct blk_config cfg = {.fd = image(flags), .readonly = readonly, .serial = "serial-1"};

	cr_assert(loop_new(&loop, 64, &e) == 0 && blk_new(&dev, "blk0", &cfg, &e) == 0, "%s",
		  e.msg);
	g = fg_new(4u << 20, fg_flags);
	fg_plug(g, dev, loop);
	cr_assert_eq(fg_start(g, features), 0);
}

static void begin(bool readonly, unsigned fg_flags, uint64_t features)
{
	begin_on(readonly ? O_RDONLY : O_RDWR, readonly, fg_flags, features);
}

static void end(void)
{
	if (dev) {
		fg_shut(g, dev);
		loop_free(loop);
		fg_free(g);
	}
	(void)unlink(path);
}

TestSuite(blk, .fini = end, .timeout = 60);

struct head {
	le32_t type, reserved;
	le64_t sector;
};

/* One request with @out_len bytes behind the header and @in_len before the status; its status. */
static int request(uint32_t type, uint64_t sector, const void *out, uint32_t out_len, void *in,
		   uint32_t in_len)
{
	struct head h = {.type = le32_of(type), .sector = le64_of(sector)};
	struct fg_buf buf[4];
	unsigned n = 0;
	uint8_t status = 0xff;
	uint64_t s;
	uint32_t written;

	fg_alloc_reset(g);
	buf[n++] = (struct fg_buf){fg_bytes(g, &h, sizeof(h)), sizeof(h), false};
	if (out_len)
		buf[n++] = (struct fg_buf){fg_bytes(g, out, out_len), out_len, false};
	if (in_len)
		buf[n++] = (struct fg_buf){fg_alloc(g, in_len, 1), in_len, true};
	s = fg_bytes(g, &status, 1);
	buf[n++] = (struct fg_buf){s, 1, true};
	(void)fg_add(fg_q(g, 0), buf, n, 0);
	(void)fg_kick(fg_q(g, 0));
	if (fg_take_wait(fg_q(g, 0), &written) < 0)
		return -1;
	if (in_len)
		fg_get(g, buf[n - 2].gpa, in, in_len);
	fg_get(g, s, &status, 1);
	return status;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + seed);
}

static void write_then_read(unsigned fg_flags)
{
	static uint8_t a[16384], b[16384];

	begin(false, fg_flags, FG_ALL);
	fill(a, sizeof(a), 3);
	cr_assert_eq(request(1, 5, a, sizeof(a), NULL, 0), 0);
	cr_assert_eq(request(4, 0, NULL, 0, NULL, 0), 0, "flush");
	cr_assert_eq(request(0, 5, NULL, 0, b, sizeof(b)), 0);
	cr_assert_arr_eq(a, b, sizeof(a));
	int fd = image(O_RDONLY);
	cr_assert_eq(pread(fd, b, sizeof(b), 5 * 512), (ssize_t)sizeof(b));
	cr_assert_arr_eq(a, b, sizeof(a));
	(void)close(fd);
}

Test(blk, write_then_read)
{
	write_then_read(0);
}

Test(blk, write_then_read_in_tiny_regions)
{
	write_then_read(FG_TINY_REGIONS);
}

Test(blk, without_flush_feature)
{
	uint8_t a[512] = {1};

	begin(false, 0, FG_ALL & ~(1ull << 9));
	cr_assert_eq(request(1, 0, a, sizeof(a), NULL, 0), 0);
}

Test(blk, config)
{
	uint64_t cap = 0;
	uint32_t seg = 0;

	begin(false, 0, FG_ALL);
	vmmio_read(fg_slot(g), 0x100, &cap, 8);
	vmmio_read(fg_slot(g), 0x10c, &seg, 4);
	cr_assert_eq(le64toh(cap), SECTORS);
	cr_assert_eq(le32toh(seg), 126);
}

Test(blk, beyond_the_end)
{
	static uint8_t b[1024];

	begin(false, 0, FG_ALL);
	cr_assert_eq(request(0, SECTORS - 1, NULL, 0, b, 512), 0);
	cr_assert_eq(request(0, SECTORS, NULL, 0, b, 512), 1);
	cr_assert_eq(request(0, SECTORS - 1, NULL, 0, b, 1024), 1);
	cr_assert_eq(request(1, SECTORS - 1, b, 1024, NULL, 0), 1);
	cr_assert_eq(request(0, UINT64_MAX, NULL, 0, b, 1024), 1, "sum wraps");
	cr_assert_eq(request(0, UINT64_MAX / 512 + 1, NULL, 0, b, 512), 1, "product wraps");
	struct stat st;
	cr_assert(stat(path, &st) == 0 && st.st_size == SECTORS * 512, "the image did not grow");
}

Test(blk, odd_and_unknown)
{
	static uint8_t b[1024];

	begin(false, 0, FG_ALL);
	cr_assert_eq(request(0, 0, NULL, 0, b, 511), 1);
	cr_assert_eq(request(1, 0, b, 513, NULL, 0), 1);
	cr_assert_eq(request(0, 0, NULL, 0, b, 0), 0);
	cr_assert_eq(request(2, 0, b, 512, NULL, 0), 2, "a SCSI command");
	cr_assert_eq(request(0x80000000u, 0, NULL, 0, b, 512), 2);
}

Test(blk, serial)
{
	char id[32];

	begin(false, 0, FG_ALL);
	memset(id, 'x', sizeof(id));
	cr_assert_eq(request(8, 0, NULL, 0, id, 20), 0);
	cr_assert_arr_eq(id, "serial-1\0\0\0\0\0\0\0\0\0\0\0", 20);
	cr_assert_eq(request(8, 0, NULL, 0, id, 4), 0, "a short buffer");
	cr_assert_eq(request(8, 0, NULL, 0, id, 32), 0, "a long one");
}

Test(blk, readonly)
{
	uint8_t a[512] = {1};

	begin(true, 0, FG_ALL);
	cr_assert(virtio_offered(dev) & (1ull << 5));
	cr_assert_eq(request(1, 0, a, sizeof(a), NULL, 0), 1);
	cr_assert_eq(request(0, 0, NULL, 0, a, sizeof(a)), 0);
}

Test(blk, readonly_whatever_the_descriptor_can)
{
	struct {
		le64_t sector;
		le32_t sectors, flags;
	} r = {.sectors = le32_of(1)};
	uint8_t a[512] = {1};

	begin_on(O_RDWR, true, 0, FG_ALL);
	cr_assert_eq(request(1, 0, a, sizeof(a), NULL, 0), 1);
	cr_assert_neq(request(13, 0, &r, sizeof(r), NULL, 0), 0);
	cr_assert_eq(request(0, 0, NULL, 0, a, sizeof(a)), 0);
	cr_assert_eq(a[0], 0);
}

static void too_short(uint32_t out, uint32_t in)
{
	struct fg_buf b[2];
	unsigned n = 0;

	cr_assert_eq(fg_start(g, FG_ALL), 0);
	fg_alloc_reset(g);
	if (out)
		b[n++] = (struct fg_buf){fg_alloc(g, out, 1), out, false};
	if (in)
		b[n++] = (struct fg_buf){fg_alloc(g, in, 1), in, true};
	(void)fg_add(fg_q(g, 0), b, n, 0);
	(void)fg_kick(fg_q(g, 0));
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "%u %u", out, in);
}

Test(blk, too_short_for_a_request)
{
	begin(false, 0, FG_ALL);
	too_short(15, 1);
	too_short(16, 0);
	too_short(0, 513);
}

struct range {
	le64_t sector;
	le32_t sectors, flags;
};

Test(blk, ranges)
{
	static uint8_t a[512 * 8], zero[512 * 8];
	struct range r = {.sector = le64_of(2), .sectors = le32_of(2)};

	begin(false, 0, FG_ALL);
	if (!(virtio_offered(dev) & (1ull << 13)))
		cr_skip_test("no holes on this file system");
	fill(a, sizeof(a), 1);
	cr_assert_eq(request(1, 0, a, sizeof(a), NULL, 0), 0);
	cr_assert_eq(request(11, 0, &r, sizeof(r), NULL, 0), 0);
	cr_assert_eq(request(0, 0, NULL, 0, a, sizeof(a)), 0);
	cr_assert_arr_eq(a + 1024, zero, 1024);
	cr_assert_neq(a[1023], 0);
	cr_assert_neq(a[2048], 0);
	r.sector = le64_of(SECTORS - 1);
	cr_assert_eq(request(11, 0, &r, sizeof(r), NULL, 0), 1, "beyond the end");
	r.sectors = le32_of(0);
	cr_assert_eq(request(11, 0, &r, sizeof(r), NULL, 0), 1);
	r = (struct range){.sectors = le32_of(1), .flags = le32_of(1)};
	cr_assert_eq(request(11, 0, &r, sizeof(r), NULL, 0), 2, "a discard has no flags");
	cr_assert_eq(request(11, 0, &r, sizeof(r) - 1, NULL, 0), 2);
	if (virtio_offered(dev) & (1ull << 14)) {
		cr_assert_eq(request(13, 0, &r, sizeof(r), NULL, 0), 0);
		r.flags = le32_of(0);
		r.sector = le64_of(1);
		cr_assert_eq(request(13, 0, &r, sizeof(r), NULL, 0), 0);
		cr_assert_eq(request(0, 0, NULL, 0, a, sizeof(a)), 0);
		cr_assert_arr_eq(a, zero, 1024);
	}
}

Test(blk, image_cut_short)
{
	uint8_t a[512];

	begin(false, 0, FG_ALL);
	cr_assert_eq(truncate(path, 512), 0);
	cr_assert_eq(request(0, 4, NULL, 0, a, sizeof(a)), 1);
	cr_assert_eq(request(0, 0, NULL, 0, a, sizeof(a)), 0);
}

Test(blk, no_room)
{
	struct head h = {{0}, {0}, {0}};

	begin(false, 0, FG_ALL);
	(void)fg_add(fg_q(g, 0), (struct fg_buf[]){{fg_bytes(g, &h, 16), 16, false}}, 1, 0);
	(void)fg_kick(fg_q(g, 0));
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "no status byte");
	cr_assert_eq(fg_start(g, FG_ALL), 0, "a reset heals");
	(void)fg_add(
	    fg_q(g, 0),
	    (struct fg_buf[]){{fg_bytes(g, &h, 15), 15, false}, {fg_alloc(g, 1, 1), 1, true}}, 2,
	    0);
	(void)fg_kick(fg_q(g, 0));
	cr_assert(fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET, "a short header");
}

Test(blk, many_at_once_and_reset)
{
	static uint8_t b[4096];
	struct head h = {.type = le32_of(0)};
	unsigned irqs;

	begin(false, 0, FG_ALL);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t hdr = fg_bytes(g, &h, sizeof(h));

		for (unsigned i = 0; i < 80; i++)
			(void)fg_add(fg_q(g, 0),
				     (struct fg_buf[]){{hdr, 16, false},
						       {fg_alloc(g, 4096, 1), 4096, true},
						       {fg_alloc(g, 1, 1), 1, true}},
				     3, 0);
		(void)fg_kick(fg_q(g, 0));
		irqs = fg_irqs(g);
		fg_reset(g); /* with all of them on their way */
		while (dev->running)
			cr_assert_eq(loop_step(loop, true), 0);
		cr_assert_eq(fg_irqs(g), irqs, "nothing is pushed for a reset");
		cr_assert_eq(fg_start(g, FG_ALL), 0);
		cr_assert_eq(request(0, 0, NULL, 0, b, sizeof(b)), 0, "round %u", round);
	}
}

/* As io_uring does with the files of a machine that has just ended. */
Test(blk, freed_is_unlocked)
{
	struct blk_config cfg = {.fd = image(O_RDWR)};
	int held = dup(cfg.fd), rc;

	cr_assert(held >= 0 && blk_new(&dev, "blk0", &cfg, &e) == 0, "%s", e.msg);
	g = fg_new(4u << 20, 0);
	cr_assert_eq(loop_new(&loop, 64, &e), 0);
	fg_plug(g, dev, loop);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	fg_shut(g, dev);
	dev = NULL;
	cfg = (struct blk_config){.fd = image(O_RDWR)};
	rc = fcntl(cfg.fd, F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET});
	(void)close(held);
	(void)close(cfg.fd);
	cr_assert_eq(rc, 0);
	loop_free(loop);
	fg_free(g);
}

Test(blk, refusals)
{
	struct blk_config cfg = {.fd = image(O_RDWR)};
	struct virtio_dev *other = NULL;

	begin(false, 0, FG_ALL);
	cr_assert_eq(blk_new(&other, "blk1", &cfg, &e), -EBUSY);
	cr_assert(strstr(e.msg, "in use"));
	e = (struct err){0};
	cfg = (struct blk_config){.fd = image(O_RDONLY), .readonly = true};
	cr_assert_eq(blk_new(&other, "blk1", &cfg, &e), -EBUSY, "a reader beside a writer");
	e = (struct err){0};
	cfg.fd = open("/dev/null", O_RDONLY);
	cr_assert_eq(blk_new(&other, "blk1", &cfg, &e), -EINVAL);
	cr_assert(strstr(e.msg, "neither"));
	e = (struct err){0};
	cfg = (struct blk_config){.fd = image(O_RDONLY), .serial = "123456789012345678901"};
	cr_assert_eq(blk_new(&other, "blk1", &cfg, &e), -EINVAL);
	cr_assert_eq(fcntl(cfg.fd, F_GETFD), -1, "the descriptor is closed on failure");
}

/* ---- several queues, spares, other sizes, O_DIRECT ---------------------------------------------- */
static uint64_t capacity(void)
{
	le64_t v;

	vmmio_read(fg_slot(g), 0x100, &v, 8);
	return le64_get(v);
}

static void begin_with(const struct blk_config *cfg)
{
	cr_assert(loop_new(&loop, 64, &e) == 0 && blk_new(&dev, "blk0", cfg, &e) == 0, "%s", e.msg);
	g = fg_new(4u << 20, 0);
	fg_plug(g, dev, loop);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
}

Test(blk, each_queue_answers_its_own)
{
	uint8_t status = 0xff, data[512];
	uint64_t s[4];
	le16_t queues;

	begin_with(&(struct blk_config){.fd = image(O_RDWR), .queues = 4});
	vmmio_read(fg_slot(g), 0x100 + 34, &queues, 2);
	cr_assert_eq(le16_get(queues), 4);
	fill(data, sizeof(data), 1);
	for (unsigned i = 0; i < 4; i++) {
		struct head h = {.type = le32_of(1), .sector = le64_of(i)};

		data[0] = (uint8_t)i;
		s[i] = fg_bytes(g, &status, 1);
		(void)fg_add(fg_q(g, i),
			     (struct fg_buf[]){{fg_bytes(g, &h, sizeof(h)), sizeof(h), false},
					       {fg_bytes(g, data, 512), 512, false},
					       {s[i], 1, true}},
			     3, 0);
		(void)fg_kick(fg_q(g, i));
	}
	for (unsigned i = 4; i-- > 0;) {
		cr_assert_geq(fg_take_wait(fg_q(g, i), NULL), 0);
		cr_assert_eq(fg_take(fg_q(g, i), NULL), -1);
		fg_get(g, s[i], &status, 1);
		cr_assert_eq(status, 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(request(0, i, NULL, 0, data, 512), 0);
		cr_assert_eq(data[0], i);
	}
}

Test(blk, a_spare_is_empty_until_it_is_filled)
{
	struct blk_info info;
	uint8_t data[512];
	unsigned irqs;

	begin_with(&(struct blk_config){.fd = -1});
	cr_assert_eq(capacity(), 0);
	cr_assert_eq(request(0, 0, NULL, 0, data, 512), 1, "nothing to read");
	cr_assert_eq(request(4, 0, NULL, 0, NULL, 0), 0, "nothing to flush");
	cr_assert_eq(blk_resize(dev, 0, &e), -ENOENT);
	irqs = fg_irqs(g);
	e = (struct err){0};
	cr_assert_eq(blk_attach(dev, image(O_RDWR), false, &e), 0, "%s", e.msg);
	cr_assert_eq(fg_irqs(g), irqs + 1);
	cr_assert_eq(capacity(), SECTORS);
	blk_info(dev, &info);
	cr_assert(!info.spare && info.was_spare);
	fill(data, sizeof(data), 9);
	cr_assert_eq(request(1, 3, data, 512, NULL, 0), 0);
	cr_assert_eq(request(4, 0, NULL, 0, NULL, 0), 0);
	cr_assert_eq(blk_attach(dev, image(O_RDWR), false, &e), -EBUSY);
	/* The queues start anew, the image stays. */
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(loop, true), 0);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	cr_assert_eq(request(0, 3, NULL, 0, data, 512), 0);
}

Test(blk, a_spare_refuses_bad_images_and_stays)
{
	static const uint8_t data[512];
	int p[2], fd;

	begin_with(&(struct blk_config){.fd = -1});
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	cr_assert_eq(blk_attach(dev, p[0], false, &e), -EINVAL);
	(void)close(p[1]);
	cr_assert(strstr(e.msg, "blk0"));
	fd = image(O_RDONLY);
	e = (struct err){0};
	cr_assert_eq(blk_attach(dev, fd, true, &e), 0, "%s", e.msg);
	/* It could not be told that it is read-only. */
	cr_assert_eq(request(1, 0, data, 512, NULL, 0), 1);
	cr_assert_eq(request(13, 0, data, 16, NULL, 0), 1);
}

Test(blk, grows_while_it_runs)
{
	unsigned irqs;
	uint8_t data[512];

	begin_with(&(struct blk_config){.fd = image(O_RDWR)});
	cr_assert_eq(request(0, SECTORS, NULL, 0, data, 512), 1);
	irqs = fg_irqs(g);
	cr_assert_eq(blk_resize(dev, 2 * SECTORS * 512, &e), 0, "%s", e.msg);
	cr_assert_eq(fg_irqs(g), irqs + 1);
	cr_assert_eq(capacity(), 2 * SECTORS);
	cr_assert_eq(request(0, 2 * SECTORS - 1, NULL, 0, data, 512), 0);
	cr_assert_eq(blk_resize(dev, SECTORS * 512, &e), -EINVAL, "never smaller");
	cr_assert_eq(blk_resize(dev, 2 * SECTORS * 512 + 1, &e), -EINVAL);
	/* Made smaller by somebody else. */
	cr_assert_eq(truncate(path, SECTORS * 512), 0);
	cr_assert_eq(request(0, SECTORS, NULL, 0, data, 512), 1);
	cr_assert_eq(blk_resize(dev, 0, &e), 0);
	cr_assert_eq(capacity(), SECTORS);
}

/* The buffers lie on odd addresses, which O_DIRECT does not take. */
Test(blk, direct_io_from_any_address)
{
	static uint8_t a[200 << 10], b[200 << 10];
	int fd;

	/* /tmp may be a tmpfs, which has no direct I/O. */
	(void)strcpy(path, "./husk-blk-XXXXXX");
	fd = mkstemp(path);
	cr_assert(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	(void)close(fd);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	cr_assert(fd >= 0, "no direct I/O here");
	begin_with(&(struct blk_config){.fd = fd});
	fill(a, sizeof(a), 5);
	(void)fg_alloc(g, 3, 1);
	cr_assert_eq(request(1, 8, a, sizeof(a), NULL, 0), 0);
	cr_assert_eq(request(0, 8, NULL, 0, b, sizeof(b)), 0);
	cr_assert_arr_eq(a, b, sizeof(a));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(pread(fd, b, sizeof(b), 8 * 512), (ssize_t)sizeof(b));
	cr_assert_arr_eq(a, b, sizeof(a));
	(void)close(fd);
}
