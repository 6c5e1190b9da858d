/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver against the register file and the core: any access of any size at any offset, on
 * an empty slot and on a whole device with config space.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/fuzz/fuzz_input.h"
#include "virtio/mmio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct virtio_dev dev;
static uint8_t ram[16384] __attribute__((aligned(4096)));
static struct iovec iov[64];
static unsigned started;

static int on_start(struct virtio_dev *d)
{
	(void)d;
	started++;
	return started % 5 == 0 ? -5 : 0;
}

static void on_kick(struct virtio_dev *d, struct vq *q)
{
	struct vq_chain c = {.iov = iov, .cap = ARRAY_LEN(iov)};

	(void)d;
	if (vq_pop(q, &c) == 1)
		vq_push(q, c.head, 0);
	vq_notify(q);
}

static void on_stop(struct virtio_dev *d)
{
	virtio_stopped(d);
}

static void on_cfg(struct virtio_dev *d, size_t off, size_t len)
{
	BUG_ON(off < d->cfg_rw_off || off + len > d->cfg_rw_off + d->cfg_rw_len);
}

static const struct virtio_ops ops = {.name = "fuzz",
				      .id = 1,
				      .start = on_start,
				      .kick = on_kick,
				      .stop = on_stop,
				      .cfg_write = on_cfg};

static void access(struct vmmio *s, struct fuzz_in *in)
{
	uint8_t op = fz_u8(in);
	unsigned len = 1u << ((op >> 1) & 3);
	uint64_t off = fz_u8(in), v;
	uint8_t buf[8];

	off = op & 8 ? 4 * off : off;
	if (op & 16)
		off = fz_u64(in);
	if (op & 32)
		len = 4;
	if (op & 1) {
		vmmio_read(s, off, buf, len);
		return;
	}
	/* Small values reach further than random ones. */
	v = op & 64 ? fz_u8(in) : fz_u64(in);
	vmmio_write(s, off, &v, len);
}

/* What lies in memory for the guest is what it would have been answered. */
static void check_page(struct vmmio *s, const uint8_t *page)
{
	for (unsigned off = 0; off < VMMIO_WINDOW; off += 4) {
		uint8_t v[4];

		vmmio_read(s, off, v, sizeof(v));
		BUG_ON(memcmp(v, page + off, sizeof(v)) != 0);
	}
}

static uint8_t *new_page(void)
{
	uint8_t *p =
	    mmap(NULL, VMMIO_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void put_gen(struct virtio_dev *d, void *arg)
{
	memcpy(d->cfg, arg, 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t *page[2];
	static const struct log_config quiet = {.program = "f", .file_fd = -1, .stderr_level = -1};
	static const uint16_t max[] = {8, 64, 1024};
	struct fuzz_in in = {data, len};
	struct vmmio slot, empty;
	unsigned checks = 0; /* each costs more than an access */
	struct gmem mem = {0};

	log_setup(&quiet);
	started = 0;
	memset(ram, 0, sizeof(ram));
	fz_bytes(&in, ram, MIN(in.left / 2, 512u));
	if (gmem_add(&mem, 0, sizeof(ram), ram, false) < 0 ||
	    virtio_init(&dev, &ops, "fuzz0", 5, 3, max, 37) < 0)
		abort();
	dev.cfg_rw_off = 7;
	dev.cfg_rw_len = 12;
	vmmio_init(&slot, 0, NULL, NULL);
	vmmio_init(&empty, 1, NULL, NULL);
	for (unsigned i = 0; i < 2 && !page[i]; i++)
		page[i] = new_page();
	memset(page[0], 0, VMMIO_PAGE);
	vmmio_show_in(&slot, page[0]);
	vmmio_show_in(&empty, page[1]);
	vmmio_plug(&slot, &dev, &mem, NULL);
	while (in.left) {
		uint8_t first = in.p[0];

		if (first == 0xfe) /* the host's doing, between accesses */
			virtio_cfg_update(&dev, put_gen, ram);
		access(first & 128 ? &empty : &slot, &in);
		if (checks++ < 64)
			check_page(&slot, page[0]);
	}
	check_page(&slot, page[0]);
	check_page(&empty, page[1]);
	vmmio_unplug(&slot);
	check_page(&slot, page[0]);
	virtio_set_status(&dev, 0);
	BUG_ON(dev.running);
	virtio_fini(&dev);
	return 0;
}
