/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio slots and pmem windows of a machine. See machine.h.
 *
 * A slot's queue notifications come as one eventfd for all of its queues: a kick looks at each,
 * which costs less than another eventfd for every queue. Loop thread, but for the register windows.
 *
 * The windows of all slots are one read-only memory slot, where the guest reads registers without an exit
 * (virtio/mmio_page.c); what it writes there is an MMIO exit as it would be without. Beyond a window, to the end of its
 * page, there are zeros.
 */
#include "vmm/machine_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "virtio/devices.h"
#include "vmm/abi.h"
#include "vmm/memmap.h"

uint64_t machine_slot_gpa(const struct machine *m, unsigned slot)
{
	(void)m;
	return GPA_SLOTS + slot * MMIO_SLOT_STRIDE;
}

struct virtio_dev *machine_device(const struct machine *m, unsigned slot)
{
	return slot < MACHINE_SLOTS_MAX && m->slot[slot].used ? m->slot[slot].io.dev : NULL;
}

static void slot_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	struct slot *s = ctx;

	acks_take(&s->m->acks);
	vmmio_read(&s->io, off, buf, len);
}

static void slot_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	struct slot *s = ctx;

	acks_take(&s->m->acks);
	vmmio_write(&s->io, off, buf, len);
}
static const struct bus_ops slot_ops = {.read = slot_read, .write = slot_write};

static void slot_irq(void *ctx, unsigned slot)
{
	struct machine *m = ctx;

	ioapic_pulse(&m->ioapic, hw_slot_pin(slot));
}

static void slot_flush(void *ctx)
{
	acks_take(&((struct machine *)ctx)->acks);
}
static const struct vmmio_ops vmmio_machine_ops = {.irq = slot_irq, .flush = slot_flush};

static void slot_ack(void *ctx, uint64_t gpa, const void *data, unsigned len)
{
	struct machine *m = ctx;
	uint64_t off = gpa - GPA_SLOTS;

	if (off / MMIO_SLOT_STRIDE < m->slot_cnt)
		vmmio_write(&m->slot[off / MMIO_SLOT_STRIDE].io, off % MMIO_SLOT_STRIDE, data, len);
}

static void kick_all(struct slot *s)
{
	struct virtio_dev *dev = s->io.dev;

	for (unsigned q = 0; q < dev->queue_cnt; q++)
		virtio_kick(dev, q);
}

static void slot_arm(struct slot *s)
{
	loop_read(s->m->loop, &s->kick, s->kick_fd, &s->kick_val, sizeof(s->kick_val), LOOP_NO_OFF);
}

/* ---- a device that goes ---------------------------------------------------------------------- */

#define RETRY_NS NS_PER_MS

static void leave_again(struct loop_op *op, int res, unsigned flags);

/* Has drained, no notification is under way, no vCPU is in its registers: then it is over. */
static void leave_step(struct slot *s)
{
	struct machine *m = s->m;

	if (!s->down || s->kick.busy || s->retry.op.busy)
		return;
	vmmio_unplug(&s->io);
	if (!vmmio_is_quiet(&s->io)) {
		s->retry.op = (struct loop_op){.done = leave_again, .what = "slot"};
		loop_timer(m->loop, &s->retry, clock_ns() + RETRY_NS);
		return;
	}
	(void)!vm_ioeventfd(&m->vm, machine_slot_gpa(m, (unsigned)(s - m->slot)) + VMMIO_NOTIFY,
			    s->kick_fd, false);
	acks_del(&m->acks, machine_slot_gpa(m, (unsigned)(s - m->slot)) + VMMIO_ACK);
	fd_close(&s->kick_fd);
	virtio_free(s->leaving);
	s->leaving = NULL;
	s->down = s->used = false;
	if (m->draining)
		machine_drained(m);
	else if (m->cfg.slot_free)
		m->cfg.slot_free(m->cfg.ctx);
}

static void leave_again(struct loop_op *op, int res, unsigned flags)
{
	(void)res;
	(void)flags;
	leave_step(container_of(op, struct slot, retry.op));
}

static void leave_down(void *arg)
{
	struct slot *s = arg;

	s->down = true;
	leave_step(s);
}

void machine_unplug(struct machine *m, unsigned slot)
{
	struct slot *s = &m->slot[slot];

	BUG_ON(slot >= MACHINE_SLOTS_MAX || !s->used || !m->started);
	if (s->leaving || m->draining || m->ended)
		return;
	s->leaving = s->io.dev;
	loop_cancel(m->loop, &s->kick);
	virtio_shutdown(s->leaving, leave_down, s);
}

static void kick_done(struct loop_op *op, int res, unsigned flags)
{
	struct slot *s = container_of(op, struct slot, kick);

	(void)flags;
	if (s->leaving) {
		leave_step(s);
		return;
	}
	if (s->m->draining) {
		machine_drained(s->m);
		return;
	}
	watch_alive(&s->m->watch);
	/* Armed first: what is kicked from here on is not lost. */
	slot_arm(s);
	if (res == (int)sizeof(s->kick_val))
		kick_all(s);
}

static int fill_slot(struct machine *m, struct slot *s, struct virtio_dev *dev)
{
	unsigned n = (unsigned)(s - m->slot);
	int rc;

	s->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (s->kick_fd < 0)
		return -errno;
	rc = vm_ioeventfd(&m->vm, machine_slot_gpa(m, n) + VMMIO_NOTIFY, s->kick_fd, true);
	if (rc < 0) {
		fd_close(&s->kick_fd);
		return rc;
	}
	acks_add(&m->acks, machine_slot_gpa(m, n) + VMMIO_ACK);
	s->kick.done = kick_done;
	s->kick.what = "virtio notification";
	s->used = true;
	vmmio_plug(&s->io, dev, &m->gmem, m->loop);
	if (m->started)
		slot_arm(s);
	return 0;
}

/* The number of the first free slot, or *@windows if there is none. */
static unsigned free_slot(const struct machine *m, unsigned *windows)
{
	unsigned n = 0;

	*windows = m->started ? m->slot_cnt : MACHINE_SLOTS_MAX;
	while (n < *windows && m->slot[n].used)
		n++;
	return n;
}

bool machine_has_slot(const struct machine *m)
{
	unsigned windows;

	return free_slot(m, &windows) < windows;
}

int machine_plug(struct machine *m, struct virtio_dev *dev, unsigned *ret_slot, struct err *e)
{
	unsigned windows, n = free_slot(m, &windows);
	int rc = -ENOSPC;

	if (n < windows && !m->draining && !m->ended)
		rc = fill_slot(m, &m->slot[n], dev);
	if (rc < 0) {
		if (n == windows)
			err_set(e, rc, "device %s: all %u virtio slots are in use", dev->name,
				windows);
		else
			err_sys(e, rc, "device %s: slot %u", dev->name, n);
		virtio_free(dev);
		return rc;
	}
	if (ret_slot)
		*ret_slot = n;
	return 0;
}

/* A KVM that has no read-only memory makes an exit of each read, and nothing else changes. */
static int show_slots(struct machine *m)
{
	size_t len = m->slot_cnt * (size_t)MMIO_SLOT_STRIDE;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	_Static_assert(MMIO_SLOT_STRIDE == VMMIO_PAGE, "a page for each slot");
	if (p == MAP_FAILED)
		return -errno;
	m->slot_pages = p;
	m->slot_pages_len = len;
	for (unsigned i = 0; i < m->slot_cnt; i++)
		vmmio_show_in(&m->slot[i].io, m->slot_pages + i * (size_t)VMMIO_PAGE);
	(void)!vm_add_memory(&m->vm, machine_slot_gpa(m, 0), len, p, true);
	return 0;
}

int machine_add_slots(struct machine *m, struct err *e)
{
	unsigned used = 0;
	int rc = 0;

	while (used < MACHINE_SLOTS_MAX && m->slot[used].used)
		used++;
	if (m->cfg.spare_slots > MACHINE_SLOTS_MAX - used)
		return err_set(e, -ENOSPC,
			       "%u devices and %u spare slots are more than the %u that there are",
			       used, m->cfg.spare_slots, MACHINE_SLOTS_MAX);
	m->slot_cnt = used + m->cfg.spare_slots;
	for (unsigned i = 0; rc == 0 && i < m->slot_cnt; i++)
		rc =
		    bus_add(&m->mmio, machine_slot_gpa(m, i), VMMIO_WINDOW, &slot_ops, &m->slot[i]);
	if (rc == 0 && m->slot_cnt)
		rc = show_slots(m);
	/* Each pin costs Linux some 16 accesses, which are exits: no more of them than are used. */
	ioapic_set_pins(&m->ioapic,
			MAX(IRQ_SERIAL, m->slot_cnt ? hw_slot_pin(m->slot_cnt - 1) : 0) + 1);
	return rc ? err_sys(e, rc, "virtio slots") : 0;
}

void machine_init_slots(struct machine *m)
{
	acks_init(&m->acks, &m->vm, slot_ack, m);
	for (unsigned i = 0; i < MACHINE_SLOTS_MAX; i++) {
		m->slot[i].m = m;
		m->slot[i].kick_fd = -1;
		vmmio_init(&m->slot[i].io, i, &vmmio_machine_ops, m);
	}
}

void machine_arm_slots(struct machine *m)
{
	for (unsigned i = 0; i < m->slot_cnt; i++) {
		if (m->slot[i].used)
			slot_arm(&m->slot[i]);
	}
}

static void slot_down(void *arg)
{
	struct slot *s = arg;

	s->down = true;
	machine_drained(s->m);
}

/* The vCPUs have left. What the guest said last is taken, then devices stop. */
void machine_drain_slots(struct machine *m)
{
	for (unsigned i = 0; i < m->slot_cnt; i++) {
		struct slot *s = &m->slot[i];

		if (!s->used)
			continue;
		if (s->leaving) { /* counted by its end */
			m->draining++;
			continue;
		}
		kick_all(s);
		m->draining += 2;
		if (!s->kick.busy)
			m->draining--;
		loop_cancel(m->loop, &s->kick);
		virtio_shutdown(s->io.dev, slot_down, s);
	}
}

void machine_free_slots(struct machine *m)
{
	for (unsigned i = 0; i < MACHINE_SLOTS_MAX; i++) {
		struct slot *s = &m->slot[i];

		if (s->used)
			virtio_free(s->leaving ? s->leaving : s->io.dev);
		s->used = false;
		s->leaving = NULL;
		fd_close(&s->kick_fd);
	}
	/* After the devices. The VM that has them mapped does not run any more. */
	if (m->slot_pages)
		(void)munmap(m->slot_pages, m->slot_pages_len);
	m->slot_pages = NULL;
}

/* ---- pmem --------------------------------------------------------------------------------------
 */
static void drop_read(void *ctx, uint64_t off, void *buf, unsigned len)
{
	(void)ctx;
	(void)off;
	memset(buf, 0, len);
}

static void drop_write(void *ctx, uint64_t off, const void *buf, unsigned len)
{
	struct machine *m = ctx;

	(void)off;
	(void)buf;
	(void)len;
	(void)atomic_fetch_add_explicit(&m->dropped_writes, 1, memory_order_relaxed);
}
static const struct bus_ops drop_ops = {.read = drop_read, .write = drop_write};

static int map_window(struct machine *m, struct pmem_window *w, int fd, uint64_t len)
{
	int rc = mem_file(&w->map, fd, len, w->readonly);

	if (rc < 0)
		return rc;
	if (w->map.len > GPA_PMEM_END - w->gpa)
		return -ENOSPC;
	rc = vm_add_memory(&m->vm, w->gpa, w->map.len, w->map.host, w->readonly);
	if (rc == 0)
		rc = gmem_add(&m->gmem, w->gpa, w->map.len, w->map.host, w->readonly);
	if (rc == 0 && w->readonly)
		rc = bus_add(&m->mmio, w->gpa, w->map.len, &drop_ops, m);
	return rc;
}

/*
 * The device behind a window that is writable, and carries out the flushes; or one that nothing
 * else announces: Linux looks at e820 entries of persistent memory (type 12) only when it goes
 * through PCI's resources, and there is no PCI.
 */
static int plug_pmem(struct machine *m, const struct pmem_window *w, int fd, struct err *e)
{
	struct pmem_config cfg = {.gpa = w->gpa, .len = w->map.len};
	struct virtio_dev *dev;
	char name[16];
	int rc;

	(void)snprintf(name, sizeof(name), "pmem%u", m->pmem_cnt - 1);
	cfg.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (cfg.fd < 0) {
		rc = -errno;
		return err_sys(e, rc, "%s", name);
	}
	rc = pmem_new(&dev, name, &cfg, e);
	return rc < 0 ? rc : machine_plug(m, dev, NULL, e);
}

int machine_pmem(struct machine *m, int fd, const char *name, bool readonly, struct err *e)
{
	struct pmem_window *w = &m->pmem[m->pmem_cnt];
	struct stat st;
	int rc;

	if (m->pmem_cnt == BOOT_PMEM_MAX)
		return err_set(e, -ENOSPC, "pmem '%s': at most %u images", name, BOOT_PMEM_MAX);
	if (fstat(fd, &st) < 0) {
		rc = -errno;
		return err_sys(e, rc, "pmem '%s'", name);
	}
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return err_set(e, -EINVAL, "pmem '%s': not a regular file with something in it",
			       name);
	if (!readonly && st.st_size % (off_t)PMEM_ALIGN)
		return err_set(e, -EINVAL,
			       "pmem '%s': to be writable its length must be a multiple of 2 MiB",
			       name);
	*w = (struct pmem_window){.gpa = m->pmem_next, .readonly = readonly};
	rc = map_window(m, w, fd, (uint64_t)st.st_size);
	if (rc < 0) {
		/* A slot that KVM has already stays with the mapping until the machine goes. */
		return err_sys(e, rc, "pmem '%s'", name);
	}
	m->pmem_next += w->map.len;
	m->pmem_cnt++;
	return readonly && m->hw == MACHINE_HW_FDT ? 0 : plug_pmem(m, w, fd, e);
}
