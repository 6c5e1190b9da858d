/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The register file as a page of memory that the guest reads (vmmio_show_in()). Under the device's lock, any thread.
 *
 * Theory of operation
 *
 * No register of virtio over MMIO does anything when it is read: what a read returns changes by writes, which come to
 * us, and by the device. So all of it can lie in memory that the guest may only read, and InterruptStatus, which
 * a driver reads at each interrupt, costs a load instead of an exit to this process.
 *
 * A word of it is written by one store, so a guest sees the old or the new. The config space may be longer than a
 * word, and what protects a driver against a torn one is its generation: equal before and after means that
 * nothing changed between. With stores one after the other there would be a moment in which some bytes are
 * new and the generation is not. So an update is made in a fresh page, which then takes the place of the old one
 * in the address space: to the guest, at an instant.
 */
#include <string.h>
#include <sys/mman.h>

#include "base/endian.h"
#include "virtio/mmio_priv.h"

#define CONFIG_MAX (VMMIO_WINDOW - CONFIG_OFF)

/* Never change while a device is there. */
static const uint16_t fixed[] = {REG_MAGIC,	 REG_VERSION,	  REG_VENDOR_ID,  REG_SHM_LEN_LO,
				 REG_SHM_LEN_HI, REG_SHM_BASE_LO, REG_SHM_BASE_HI};
static const uint16_t selected[] = {REG_DEV_FEATURES, REG_QUEUE_NUM_MAX, REG_QUEUE_READY,
				    REG_STATUS};

static void put(const struct vmmio *s, const struct virtio_dev *dev, unsigned reg)
{
	const le32_t v = le32_of(vmmio_reg(s, dev, reg));

	__atomic_store_n((uint32_t *)(void *)(s->page + reg), v.raw, __ATOMIC_RELEASE);
}

static void put_config(uint8_t *page, const struct virtio_dev *dev)
{
	memcpy(page + CONFIG_OFF, dev->cfg, MIN(dev->cfg_len, CONFIG_MAX));
}

static void update(const struct vmmio *s, const struct virtio_dev *dev)
{
	const le32_t gen = le32_of(dev->cfg_gen);
	uint8_t *fresh = mmap(NULL, VMMIO_PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (fresh != MAP_FAILED) {
		memcpy(fresh, s->page, VMMIO_WINDOW);
		memcpy(fresh + REG_CONFIG_GEN, &gen, sizeof(gen));
		put_config(fresh, dev);
		if (mremap(fresh, VMMIO_PAGE, VMMIO_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, s->page) !=
		    MAP_FAILED)
			return;
		(void)munmap(fresh, VMMIO_PAGE);
	}
	/* No memory: a driver that reads in this very moment may be told wrong, until the interrupt that follows. */
	put_config(s->page, dev);
	put(s, dev, REG_CONFIG_GEN);
}

void vmmio_page_show(struct vmmio *s, struct virtio_dev *dev, unsigned what)
{
	if (what & VIRTIO_SHOW_ISR)
		put(s, dev, REG_ISR);
	if (what & VIRTIO_SHOW_REGS)
		for (size_t i = 0; i < ARRAY_LEN(selected); i++)
			put(s, dev, selected[i]);
	if (what == VIRTIO_SHOW_ALL) {
		/* The driver that waits for a device looks at DeviceID. */
		for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
			put(s, dev, fixed[i]);
		put(s, dev, REG_CONFIG_GEN);
		put_config(s->page, dev);
		put(s, dev, REG_DEVICE_ID);
	} else if (what & VIRTIO_SHOW_UPDATE) {
		update(s, dev);
	} else if (what & VIRTIO_SHOW_CONFIG) {
		put_config(s->page, dev);
	}
}

void vmmio_page_empty(struct vmmio *s)
{
	put(s, NULL, REG_DEVICE_ID);
	for (unsigned reg = 0; reg < CONFIG_OFF; reg += sizeof(uint32_t))
		put(s, NULL, reg);
	memset(s->page + CONFIG_OFF, 0, CONFIG_MAX);
}
