/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved state from an untrusted file: what every device writes, changed by the fuzzer, loaded into a new
 * device. It is refused with one sentence, or the device goes on, is saved once more and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/fuzz_input.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"
#include "virtio/snap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define KINDS 8u

static struct loop *loop;
static struct fg *g; /* the guest in which they were saved */
static struct buf saved[KINDS];

static void die(const char *why)
{
	(void)fprintf(stderr, "fuzz_snap: %s\n", why);
	abort();
}

static size_t output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	(void)ctx;
	(void)iov;
	(void)cnt;
	return len / 2;
}

static int grow(void *ctx, uint64_t usable)
{
	(void)ctx;
	return usable > (4 * VMEM_BLOCK) ? -ENOMEM : 0;
}

static int file(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 2 << 20) < 0)
		die("no file");
	return fd;
}

static int sock(void)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv) < 0)
		die("no sockets");
	(void)close(sv[1]);
	return sv[0];
}

static struct virtio_dev *make(unsigned kind)
{
	static const struct vcon_port_ops ops = {.output = output};
	const struct vcon_port_config ports[] = {{.console = true, .ops = &ops},
						 {.name = "p", .ops = &ops}};
	struct virtio_dev *d = NULL;
	struct err e = {0};
	int rc;

	switch (kind) {
	case 0:
		rc = blk_new(&d, "blk0", &(struct blk_config){.fd = file(), .queues = 2}, &e);
		break;
	case 1:
		rc = net_new(
		    &d, "net0",
		    &(struct net_config){.fd = {sock(), sock()}, .queues = 2, .filter = true}, &e);
		break;
	case 2:
		rc = vcon_new(&d, "con0", ports, 2, &e);
		break;
	case 3:
		rc = rng_new(&d, "rng0", &e);
		break;
	case 4:
		rc = balloon_new(&d, "bal0", &(struct balloon_config){.stats = true}, &e);
		break;
	case 5:
		rc = vmem_new(
		    &d, "mem0",
		    &(struct vmem_config){.gpa = 1ull << 40, .len = 16 * VMEM_BLOCK, .grow = grow},
		    &e);
		break;
	case 6:
		rc = pmem_new(
		    &d, "pmem0",
		    &(struct pmem_config){.fd = file(), .gpa = 1ull << 40, .len = 2 << 20}, &e);
		break;
	default:
		rc = p9_new(
		    &d, "9p0",
		    &(struct p9_config){.root_fd = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC),
					.proc_fd = -1,
					.tag = "t"},
		    &e);
		break;
	}
	if (rc < 0)
		die(e.msg);
	return d;
}

static void set(void *arg)
{
	*(bool *)arg = true;
}

static void end(struct virtio_dev *d)
{
	bool over = false;

	virtio_shutdown(d, set, &over);
	while (!over)
		(void)loop_step(loop, true);
	virtio_free(d);
}

static void save(struct virtio_dev *d, struct buf *to)
{
	bool quiet = false;
	struct err e = {0};

	virtio_freeze(d, set, &quiet);
	while (!quiet)
		(void)loop_step(loop, true);
	if (virtio_save(d, to, &e) < 0 && !e.msg[0])
		die("refused without a word");
}

/* Each kind as it is when it runs, with a chain or two in its queues. */
static void begin(void)
{
	static const struct log_config quiet = {
	    .program = "fuzz", .file_fd = -1, .stderr_level = -1};
	struct err e = {0};

	log_setup(&quiet);
	if (loop_new(&loop, 64, &e) < 0)
		die(e.msg);
	g = fg_new(256u << 10, 0);
	for (unsigned k = 0; k < KINDS; k++) {
		struct virtio_dev *d = make(k);

		fg_alloc_reset(g);
		fg_plug(g, d, loop);
		if (fg_start(g, FG_ALL) < 0)
			die("start");
		(void)fg_add(fg_q(g, 0), (struct fg_buf[]){{fg_alloc(g, 600, 1), 600, true}}, 1, 0);
		save(d, &saved[k]);
		end(d);
	}
}

static void load(struct fuzz_in *in, unsigned kind, struct buf *b)
{
	struct virtio_dev *d = make(kind);
	struct snap_rd r = {b->data, b->len};
	struct fg *to = fg_copy(g);
	struct err e = {0};
	struct buf again = {0};

	fg_plug(to, d, loop);
	if (virtio_load(d, &r, &e) < 0) {
		if (!e.msg[0])
			die("refused without a word");
		virtio_free(d);
		fg_free(to);
		return;
	}
	virtio_thaw(d);
	for (unsigned i = 0; i < 4; i++) {
		uint32_t v = fz_u8(in) % (d->queue_cnt + 1);

		vmmio_write(fg_slot(to), 0x50, &v, sizeof(v));
		(void)loop_step(loop, false);
	}
	save(d, &again);
	buf_free(&again);
	virtio_thaw(d);
	end(d);
	fg_free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, len};
	unsigned kind = fz_u8(&in) % KINDS, patches = fz_u8(&in) % 16;
	struct buf b = {0};

	if (!loop)
		begin();
	if (buf_append(&b, saved[kind].data, saved[kind].len) < 0)
		abort();
	for (unsigned i = 0; i < patches; i++) {
		size_t at = fz_u16(&in) % b.len, n = MIN(1u + fz_u8(&in) % 8u, b.len - at);

		fz_bytes(&in, b.data + at, n);
	}
	if (fz_u8(&in) & 1)
		b.len = fz_u16(&in) % (b.len + 1);
	load(&in, kind, &b);
	buf_free(&b);
	return 0;
}
