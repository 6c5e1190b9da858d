/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine goes on from a file (machine_config.saved). See machine_saved.h for the records.
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

static int load_clock(const struct machine *m, struct err *e)
{
	struct kvm_clock_data clock = {.clock = m->cfg.saved->clock};
	int rc = kvm_call(m->vm.fd, KVM_SET_CLOCK, &clock);

	return rc < 0 ? err_sys(e, rc, "KVM refuses the saved machine's clock") : 0;
}

/* In place of the host's own: the guest has looked already. */
int machine_load_cpuid(struct machine *m, struct err *e)
{
	const struct machine_saved *s = m->cfg.saved;
	uint32_t leaf;

	if (!cpuid_covers(&m->cpuid, &s->cpuid, &leaf))
		return err_set(e, -EOPNOTSUPP,
			       "'%s': saved on another processor: this one lacks features of CPUID "
			       "leaf %#x",
			       s->name, leaf);
	m->cpuid = s->cpuid;
	return 0;
}

/* ---- devices --------------------------------------------------------------------------------------- */

static int load_slot(struct machine *m, unsigned i, const struct snap_rd *from, struct err *e)
{
	struct snap_rd r = *from;
	int rc = vmmio_load(&m->slot[i].io, &r, e);

	return rc == 0 && r.left ? saved_damaged(m->cfg.saved, e) : rc;
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
		return saved_damaged(m->cfg.saved, e);
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
			return saved_damaged(m->cfg.saved, e);
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
	struct saved_shape now;
	int rc;

	machine_shape(m, &now);
	rc = saved_compare(&s->shape, &now, e);
	if (rc < 0)
		return err_wrap(e, "'%s'", s->name);
	for (unsigned i = 0; rc == 0 && i < m->cfg.cpus; i++)
		rc = vcpu_load(&m->vcpu[i], &r, e);
	if (rc < 0)
		return err_wrap(e, "'%s'", s->name);
	if (ioapic_load(&m->ioapic, &r) < 0 || (m->has_serial && serial_load(&m->serial, &r) < 0))
		return saved_damaged(m->cfg.saved, e);
	m->loaded = true;
	rc = load_slots(m, &r, e);
	if (rc == 0 && r.left)
		return saved_damaged(m->cfg.saved, e);
	return rc == 0 ? load_clock(m, e) : err_wrap(e, "'%s'", s->name);
}

void machine_restored(struct machine *m)
{
	for (unsigned i = 0; i < m->slot_cnt; i++)
		if (m->slot[i].used)
			virtio_thaw(m->slot[i].io.dev);
}
