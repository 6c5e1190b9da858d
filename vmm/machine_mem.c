/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that comes and goes while a machine runs. See machine.h. Loop thread.
 *
 * What is added lies in the virtio-mem window (memmap.h). Address space for all of it is reserved when
 * the first part is asked for; KVM and the devices get to know of it part by part, as the device lets
 * the guest use more. Nothing is taken away from them again: what the guest gives up is discarded.
 */
#include "vmm/machine_priv.h"

#include <errno.h>

#include "vmm/memmap.h"

#define SECTION (128ull << 20) /* Linux adds memory in sections of that size */

static void changed(void *ctx)
{
	struct machine *m = ctx;

	if (m->cfg.memory_changed && m->started && !m->ended)
		m->cfg.memory_changed(m->cfg.ctx);
}

int machine_add_balloon(struct machine *m, bool stats, unsigned *ret_slot, struct err *e)
{
	struct balloon_config cfg = {
	    .deflate_on_oom = true, .stats = stats, .changed = changed, .ctx = m};
	struct virtio_dev *dev;
	int rc;

	if (m->balloon)
		return err_set(e, -EEXIST, "the machine has a balloon already");
	rc = balloon_new(&dev, "balloon0", &cfg, e);
	if (rc == 0)
		rc = machine_plug(m, dev, ret_slot, e);
	if (rc == 0)
		m->balloon = dev;
	return rc;
}

/* The guest may use @usable bytes of the window. */
static int grow(void *ctx, uint64_t usable)
{
	struct machine *m = ctx;
	uint64_t was = m->vmem_usable;
	struct vmem_size size;
	int rc = 0;

	vmem_size(m->vmem, &size);
	if (!m->vmem_map.len)
		rc = mem_ram(&m->vmem_map, size.max);
	if (rc == 0)
		rc = vm_add_memory(&m->vm, GPA_VIRTIO_MEM + was, usable - was,
				   m->vmem_map.host + was, false);
	if (rc < 0)
		return rc;
	rc = was ? gmem_grow(&m->gmem, GPA_VIRTIO_MEM, usable)
		 : gmem_add_ram(&m->gmem, GPA_VIRTIO_MEM, usable, m->vmem_map.host);
	if (rc == 0)
		m->vmem_usable = usable;
	return rc;
}

int machine_add_vmem(struct machine *m, uint64_t max, unsigned *ret_slot, struct err *e)
{
	const uint64_t window = GPA_VIRTIO_MEM_END - GPA_VIRTIO_MEM;
	struct vmem_config cfg = {
	    .gpa = GPA_VIRTIO_MEM, .grow = grow, .changed = changed, .ctx = m};
	struct virtio_dev *dev;
	int rc;

	if (m->vmem)
		return err_set(e, -EEXIST, "the machine has memory to add already");
	if (max <= m->cfg.memory || max - m->cfg.memory > window)
		return err_set(
		    e, -ERANGE,
		    "memory up to %llu MiB: the machine has %llu MiB, and may have up to "
		    "%llu",
		    (unsigned long long)(max >> 20), (unsigned long long)(m->cfg.memory >> 20),
		    (unsigned long long)((m->cfg.memory + window) >> 20));
	/* Linux uses whole sections only; machine_set_memory() stops at what was asked for. */
	cfg.len = ALIGN_UP(max - m->cfg.memory, SECTION);
	rc = vmem_new(&dev, "mem0", &cfg, e);
	if (rc == 0)
		rc = machine_plug(m, dev, ret_slot, e);
	if (rc < 0)
		return rc;
	m->vmem = dev;
	m->memory_max = max;
	return 0;
}

int machine_set_memory(struct machine *m, uint64_t bytes, struct err *e)
{
	uint64_t boot = m->cfg.memory, more = bytes > boot ? bytes - boot : 0;
	int rc;

	if (more && !m->vmem)
		return err_set(e, -ENOTSUP,
			       "memory cannot grow beyond the %llu MiB that the machine began with",
			       (unsigned long long)(boot >> 20));
	if (more && bytes > m->memory_max)
		return err_set(e, -ERANGE, "%llu MiB of memory: at most %llu are possible",
			       (unsigned long long)(bytes >> 20),
			       (unsigned long long)(m->memory_max >> 20));
	if (bytes < boot && !m->balloon)
		return err_set(e, -ENOTSUP,
			       "memory cannot shrink below the %llu MiB that the machine began "
			       "with: it has no balloon",
			       (unsigned long long)(boot >> 20));
	if (bytes < MACHINE_MEMORY_MIN)
		return err_set(e, -ERANGE, "%llu MiB of memory: at least %llu are needed",
			       (unsigned long long)(bytes >> 20),
			       (unsigned long long)(MACHINE_MEMORY_MIN >> 20));
	if (m->vmem) {
		rc = vmem_request_size(m->vmem, more);
		if (rc < 0)
			return err_sys(e, rc, "adding %llu MiB of memory",
				       (unsigned long long)(more >> 20));
	}
	if (m->balloon)
		balloon_set_target(m->balloon, bytes < boot ? boot - bytes : 0);
	return 0;
}

void machine_memory(const struct machine *m, struct machine_memory *ret)
{
	struct vmem_size size = {0};

	*ret = (struct machine_memory){.boot = m->cfg.memory, .has_balloon = m->balloon != NULL};
	if (m->vmem)
		vmem_size(m->vmem, &size);
	if (m->balloon)
		balloon_stats(m->balloon, &ret->balloon);
	ret->max = m->vmem ? m->memory_max : ret->boot;
	ret->wanted = ret->boot + size.requested - MIN(ret->balloon.target, ret->boot);
	ret->now = ret->boot + size.plugged - MIN(ret->balloon.actual, ret->boot);
}

bool machine_ask_memory(struct machine *m)
{
	return m->balloon && balloon_ask(m->balloon);
}
