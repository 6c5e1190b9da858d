/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several vCPUs in the registers of the same devices at once, with the loop serving them: no order of status
 * writes, queue addresses, notifications and resets may do more than fail a device. The rings hold chains
 * that are good, so that requests are under way when resets come. For the sanitizers, the thread one above all.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

#define VCPUS  3u
#define ROUNDS 1000u

static struct loop *loop;
static struct virtio_dev *dev;
static struct fg *g;
static struct err e;
static atomic_uint left;

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void w(uint64_t reg, uint32_t v)
{
	vmmio_write(fg_slot(g), reg, &v, sizeof(v));
}

/* A driver's start, with the rings that fg_start() had laid out. */
static void start(uint32_t *seed)
{
	w(0x70, 1);
	w(0x70, 3);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t offer;

		w(0x14, i);
		vmmio_read(fg_slot(g), 0x10, &offer, sizeof(offer));
		w(0x24, i);
		w(0x20, offer);
	}
	w(0x70, 11);
	for (uint32_t i = 0; i < dev->queue_cnt; i++) {
		const struct fg_queue *q = fg_q(g, i);

		w(0x30, i);
		w(0x38, next(seed) % 32 ? q->num : next(seed));
		w(0x80, (uint32_t)q->desc);
		w(0x90, (uint32_t)q->avail);
		w(0xa0, (uint32_t)q->used);
		w(0x44, 1);
	}
	w(0x70, 15);
}

static void wake(struct loop_work *work)
{
	(void)work;
}
static struct loop_work ended = {.fn = wake};

static void *vcpu(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg, v;
	uint64_t wide;

	for (unsigned i = 0; i < ROUNDS; i++) {
		switch (next(&seed) % 8) {
		case 0:
			start(&seed);
			break;
		case 1:
			w(0x70, 0);
			break;
		case 2:
		case 3:
			w(0x50, next(&seed) % (dev->queue_cnt + 2));
			break;
		case 4:
			vmmio_read(fg_slot(g), 4 * (next(&seed) % 80), &v, sizeof(v));
			break;
		case 5:
			vmmio_read(fg_slot(g), 0x100 + next(&seed) % 64, &wide, 8);
			break;
		case 6:
			v = next(&seed);
			vmmio_write(fg_slot(g), 0x100 + next(&seed) % 64, &v, sizeof(v));
			break;
		default:
			w(4ull * (next(&seed) % 64),
			  next(&seed) % 3 ? next(&seed) % 16 : next(&seed));
			break;
		}
	}
	(void)atomic_fetch_sub(&left, 1);
	loop_post(loop, &ended);
	return NULL;
}

/* Chains in all queues before the vCPUs start: they are taken again after each reset. */
static void fill(uint32_t len)
{
	for (unsigned i = 0; i < dev->queue_cnt; i++) {
		for (unsigned n = 0; n < 8; n++) {
			struct fg_buf b[] = {{fg_alloc(g, 64, 1), 64, false},
					     {fg_alloc(g, len, 1), len, true}};

			(void)fg_add(fg_q(g, i), b, 2, 0);
		}
	}
}

static void storm(struct virtio_dev *d)
{
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};
	pthread_t t[VCPUS];

	log_setup(&quiet);
	dev = d;
	g = fg_new(4u << 20, 0);
	fg_plug(g, dev, loop);
	cr_assert_eq(fg_start(g, FG_ALL), 0);
	fill(600);
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(loop, true), 0);
	atomic_store(&left, VCPUS);
	for (uintptr_t i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, vcpu, (void *)(i + 1)), 0);
	while (atomic_load(&left))
		cr_assert_eq(loop_step(loop, true), 0);
	for (unsigned i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_join(t[i], NULL), 0);
	fg_shut(g, dev);
	fg_free(g);
	loop_free(loop);
}

static void begin(void)
{
	cr_assert_eq(loop_new(&loop, 64, &e), 0, "%s", e.msg);
}

TestSuite(smp, .init = begin, .timeout = 120);

Test(smp, disk)
{
	struct blk_config cfg = {.queues = 2};
	struct virtio_dev *d;

	cfg.fd = memfd_create("image", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(cfg.fd, 1 << 20), 0);
	cr_assert_eq(blk_new(&d, "blk0", &cfg, &e), 0, "%s", e.msg);
	storm(d);
}

Test(smp, network_card)
{
	struct net_config cfg = {.queues = 2, .filter = true, .mac = {2}};
	struct virtio_dev *d;
	int a[2], b[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, a), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, b), 0);
	cfg.fd[0] = a[0];
	cfg.fd[1] = b[0];
	cr_assert_eq(net_new(&d, "net0", &cfg, &e), 0, "%s", e.msg);
	storm(d);
	(void)close(a[1]);
	(void)close(b[1]);
}

Test(smp, stream)
{
	struct net_config cfg = {.stream = true, .mac = {2}};
	struct virtio_dev *d;
	int sv[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	cfg.fd[0] = sv[0];
	cr_assert_eq(net_new(&d, "net0", &cfg, &e), 0, "%s", e.msg);
	storm(d);
	(void)close(sv[1]);
}

Test(smp, share)
{
	struct p9_config cfg = {.proc_fd = -1, .tag = "t", .on_loop = true};
	struct virtio_dev *d;

	cfg.root_fd = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(p9_new(&d, "9p0", &cfg, &e), 0, "%s", e.msg);
	storm(d);
}

Test(smp, entropy)
{
	struct virtio_dev *d;

	cr_assert_eq(rng_new(&d, "rng0", &e), 0, "%s", e.msg);
	storm(d);
}

Test(smp, balloon)
{
	struct balloon_config cfg = {.stats = true, .deflate_on_oom = true};
	struct virtio_dev *d;

	cr_assert_eq(balloon_new(&d, "balloon0", &cfg, &e), 0, "%s", e.msg);
	storm(d);
}

Test(smp, pmem)
{
	struct pmem_config cfg = {.gpa = 1ull << 40, .len = 2 << 20};
	struct virtio_dev *d;

	cfg.fd = memfd_create("pmem", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(cfg.fd, 2 << 20), 0);
	cr_assert_eq(pmem_new(&d, "pmem0", &cfg, &e), 0, "%s", e.msg);
	storm(d);
}

static size_t output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	(void)ctx;
	(void)iov;
	(void)cnt;
	return len;
}

Test(smp, console)
{
	static const struct vcon_port_ops ops = {.output = output};
	const struct vcon_port_config ports[] = {{.console = true, .ops = &ops},
						 {.name = "husk.ctl", .ops = &ops}};
	struct virtio_dev *d;

	cr_assert_eq(vcon_new(&d, "con0", ports, 2, &e), 0, "%s", e.msg);
	storm(d);
}
