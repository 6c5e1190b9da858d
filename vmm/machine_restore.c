/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine goes on from a file (machine_config.saved). See machine_save.h for the records.
 *
 * It is made as any other, with the same devices, but no kernel is loaded: the loading thread fills the memory
 * instead, and the first vCPU is not given a start state. What was saved comes in before the first
 * thread: memory, vCPUs, interrupt controller, devices, and last the clock, so that the guest misses as little of it
 * as can be. Devices stay frozen until all vCPUs have their threads.
 *
 * Memory that was added while it ran is known to its device: that one is loaded first, then this memory's
 * contents, then the others, whose rings may lie there.
 */
#include "vmm/machine_save.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "vmm/machine_priv.h"
#include "vmm/machine_saved.h"
#include "vmm/memmap.h"
#include "vmm/vcpu_snap.h"

static int load_section(const struct machine_saved *s, unsigned i, void *host, struct err *e)
{
	int rc = savefile_read_section(s->fd, &s->file, i, host);

	return rc < 0 ? err_sys(e, rc, "'%s': reading the memory of the saved machine", s->name)
		      : 0;
}

int machine_load_ram(struct machine *m, struct err *e)
{
	const struct machine_saved *s = m->cfg.saved;
	uint64_t low = memmap_low_len(m->cfg.memory);
	int rc = load_section(s, 0, m->ram.host, e);

	if (rc == 0 && memmap_high_len(m->cfg.memory))
		rc = load_section(s, 1, m->ram.host + low, e);
	return rc;
}

/* ---- the machine's own ----------------------------------------------------------------------------- */

static int damaged(const struct machine *m, struct err *e)
{
	return err_set(e, -EPROTO, "'%s': this saved machine is damaged, or of another version",
		       m->cfg.saved->name);
}

static int load_clock(const struct machine *m, const uint8_t *p, struct err *e)
{
	struct kvm_clock_data clock = {0};
	le64_t w;
	int rc;

	memcpy(&w, p, sizeof(w));
	clock.clock = le64_get(w);
	rc = kvm_call(m->vm.fd, KVM_SET_CLOCK, &clock);
	return rc < 0 ? err_sys(e, rc, "KVM refuses the saved machine's clock") : 0;
}

/* In place of the host's own: the guest has looked already. */
int machine_load_cpuid(struct machine *m, struct err *e)
{
	struct snap_rd r = m->cfg.saved->rest;
	static struct cpuid was; /* loop thread; large */
	const uint8_t *p;
	uint32_t leaf;
	size_t len;
	int rc = snap_get(&r, SAVED_TAG_CLOCK, SAVED_VERSION, sizeof(le64_t), &p, &len);

	if (rc == 0)
		rc = snap_get(&r, SAVED_TAG_CPUID, SAVED_VERSION, sizeof(was.entry[0]), &p, &len);
	if (rc < 0 || len % sizeof(was.entry[0]) || len > sizeof(was.entry))
		return damaged(m, e);
	was.nent = (uint32_t)(len / sizeof(was.entry[0]));
	was.padding = 0;
	memcpy(was.entry, p, len);
	if (!cpuid_covers(&m->cpuid, &was, &leaf))
		return err_set(e, -EOPNOTSUPP,
			       "'%s': saved on another processor: this one lacks features of CPUID "
			       "leaf %#x",
			       m->cfg.saved->name, leaf);
	m->cpuid = was;
	return 0;
}

/* ---- devices --------------------------------------------------------------------------------------- */

static int load_slot(struct machine *m, unsigned i, const struct snap_rd *from, struct err *e)
{
	struct snap_rd r = *from;
	int rc = vmmio_load(&m->slot[i].io, &r, e);

	return rc == 0 && r.left ? damaged(m, e) : rc;
}

static int load_added_memory(struct machine *m, const struct snap_rd *from, unsigned slot,
			     struct err *e)
{
	const struct savefile *f = &m->cfg.saved->file;
	unsigned own = memmap_high_len(m->cfg.memory) ? 2 : 1;
	uint64_t saved = f->section_cnt > own ? f->section[own].len : 0;
	int rc = m->vmem ? load_slot(m, slot, from, e) : 0;

	if (rc < 0)
		return rc;
	if (saved != m->vmem_usable)
		return damaged(m, e);
	return saved ? load_section(m->cfg.saved, own, m->vmem_map.host, e) : 0;
}

static int load_slots(struct machine *m, struct snap_rd *r, struct err *e)
{
	struct snap_rd of[MACHINE_SLOTS_MAX] = {0};
	unsigned vmem = MACHINE_SLOTS_MAX;
	int rc = 0;

	for (unsigned i = 0; i < m->slot_cnt; i++) {
		if (!m->slot[i].used)
			continue;
		if (snap_get(r, SAVED_TAG_SLOT, SAVED_VERSION, 0, &of[i].p, &of[i].left) < 0)
			return damaged(m, e);
		if (m->vmem && m->slot[i].io.dev == m->vmem)
			vmem = i;
	}
	rc = load_added_memory(m, vmem < MACHINE_SLOTS_MAX ? &of[vmem] : NULL, vmem, e);
	for (unsigned i = 0; rc == 0 && i < m->slot_cnt; i++)
		if (m->slot[i].used && i != vmem)
			rc = load_slot(m, i, &of[i], e);
	return rc;
}

/* ---- all together ---------------------------------------------------------------------------------- */

int machine_load_state(struct machine *m, struct err *e)
{
	const struct machine_saved *s = m->cfg.saved;
	struct snap_rd r = s->rest;
	const uint8_t *clock, *cpuid;
	struct saved_shape now;
	size_t len;
	int rc;

	machine_shape(m, &now);
	rc = saved_compare(&s->shape, &now, e);
	if (rc < 0)
		return err_wrap(e, "'%s'", s->name);
	/* Looked at before; the clock is for the end. */
	if (snap_get(&r, SAVED_TAG_CLOCK, SAVED_VERSION, sizeof(le64_t), &clock, &len) < 0 ||
	    snap_get(&r, SAVED_TAG_CPUID, SAVED_VERSION, 0, &cpuid, &len) < 0)
		return damaged(m, e);
	for (unsigned i = 0; rc == 0 && i < m->cfg.cpus; i++)
		rc = vcpu_load(&m->vcpu[i], &r, e);
	if (rc < 0)
		return err_wrap(e, "'%s'", s->name);
	if (ioapic_load(&m->ioapic, &r) < 0 || (m->has_serial && serial_load(&m->serial, &r) < 0))
		return damaged(m, e);
	m->loaded = true;
	rc = load_slots(m, &r, e);
	if (rc == 0 && r.left)
		return damaged(m, e);
	return rc == 0 ? load_clock(m, clock, e) : err_wrap(e, "'%s'", s->name);
}

void machine_restored(struct machine *m)
{
	for (unsigned i = 0; i < m->slot_cnt; i++)
		if (m->slot[i].used)
			virtio_thaw(m->slot[i].io.dev);
}
