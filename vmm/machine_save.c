/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine is written to a file. See machine_save() in machine.h. Loop thread, but for the writing.
 *
 *   paused ─▶ devices are frozen: what runs ends ─▶ registers are collected ─▶ a thread writes ─▶ done()
 *
 * The order: virtual CPUs stand still before (pause.h), so nobody asks devices for anything; devices stand
 * still before the CPUs are read, because their last interrupts go into local APICs; the IO-APIC is read with
 * them. From then on nothing changes any more, and the thread reads guest memory in peace. Frozen devices stay
 * so until the guest goes on; a second save needs no second freeze.
 */
#include "vmm/machine_save.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/endian.h"
#include "base/thread.h"
#include "vmm/machine_priv.h"
#include "vmm/machine_saved.h"
#include "vmm/memmap.h"
#include "vmm/vcpu_snap.h"

#define FREEZE_NS (10 * NS_PER_SEC)

/* ---- what is collected ----------------------------------------------------------------------------- */

void machine_shape(const struct machine *m, struct saved_shape *s)
{
	*s = (struct saved_shape){.cpus = m->cfg.cpus,
				  .memory = m->cfg.memory,
				  .hw = m->hw,
				  .serial = m->has_serial,
				  .pins = m->ioapic.pins,
				  .pmem_cnt = m->pmem_cnt,
				  .slot_cnt = m->slot_cnt};
	for (unsigned i = 0; i < m->pmem_cnt; i++)
		s->pmem[i] =
		    (struct saved_window){m->pmem[i].gpa, m->pmem[i].map.len, m->pmem[i].readonly};
	for (unsigned i = 0; i < m->slot_cnt; i++) {
		const struct virtio_dev *dev = machine_device(m, i);

		if (!dev)
			continue;
		s->slot[i].id = dev->ops->id;
		memcpy(s->slot[i].name, dev->name, sizeof(s->slot[i].name));
	}
}

static int save_vm(const struct machine *m, struct buf *to, struct err *e)
{
	struct kvm_clock_data clock = {0};
	int rc = kvm_call(m->vm.fd, KVM_GET_CLOCK, &clock);
	le64_t w = le64_of(clock.clock);

	if (rc >= 0)
		rc = snap_put(to, SAVED_TAG_CLOCK, SAVED_VERSION, &w, sizeof(w));
	if (rc >= 0)
		rc = snap_put(to, SAVED_TAG_CPUID, SAVED_VERSION, m->cpuid.entry,
			      m->cpuid.nent * sizeof(m->cpuid.entry[0]));
	return rc < 0 ? err_sys(e, rc, "saving the guest's clock and CPUID") : 0;
}

static int save_vcpus(const struct machine *m, struct buf *to, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < m->cfg.cpus; i++)
		rc = vcpu_save(&m->vcpu[i], to, e);
	return rc;
}

/* Each slot's records in one, so that they can be loaded in another order. */
static int save_slot(struct machine *m, unsigned i, struct buf *to, struct err *e)
{
	struct buf b = {0};
	int rc;

	acks_take(&m->acks);
	rc = vmmio_save(&m->slot[i].io, &b, e);

	if (rc == 0 && snap_put(to, SAVED_TAG_SLOT, SAVED_VERSION, b.data, b.len) < 0)
		rc = err_set(e, -ENOMEM, "out of memory");
	buf_free(&b);
	return rc;
}

static int collect(struct machine *m, struct err *e)
{
	struct buf *to = &m->save.file.records;
	struct saved_shape shape;
	int rc;

	machine_shape(m, &shape);
	rc = saved_put_shape(to, &shape);
	if (rc == 0)
		rc = save_vm(m, to, e);
	if (rc == 0)
		rc = save_vcpus(m, to, e);
	if (rc == 0)
		rc = ioapic_save(&m->ioapic, to);
	if (rc == 0 && m->has_serial)
		rc = serial_save(&m->serial, to);
	for (unsigned i = 0; rc == 0 && i < m->slot_cnt; i++)
		rc = m->slot[i].used ? save_slot(m, i, to, e) : 0;
	return rc < 0 && !e->code ? err_sys(e, rc, "saving the machine") : rc;
}

static void add_section(struct machine_save *s, uint64_t gpa, uint64_t len, const void *host)
{
	if (!len)
		return;
	s->host[s->file.section_cnt] = host;
	s->file.section[s->file.section_cnt++] = (struct savefile_section){gpa, len};
}

static void add_sections(struct machine *m)
{
	uint64_t low = memmap_low_len(m->cfg.memory);

	add_section(&m->save, GPA_RAM_LOW, low, m->ram.host);
	add_section(&m->save, GPA_RAM_HIGH, memmap_high_len(m->cfg.memory), m->ram.host + low);
	add_section(&m->save, GPA_VIRTIO_MEM, m->vmem_usable, m->vmem_map.host);
}

/* ---- writing --------------------------------------------------------------------------------------- */

static void *write_main(void *arg)
{
	struct machine *m = arg;
	struct machine_save *s = &m->save;
	int rc = savefile_write_head(s->fd, &s->file);

	for (unsigned i = 0; rc == 0 && i < s->file.section_cnt; i++)
		rc = savefile_write_section(s->fd, &s->file, i, s->host[i]);
	if (rc == 0 && fsync(s->fd) < 0 && errno != EINVAL && errno != EROFS)
		rc = -errno;
	if (rc < 0)
		err_sys(&s->err, rc, "writing the saved machine");
	loop_post(m->loop, &s->written);
	return NULL;
}

static void thaw(struct machine *m)
{
	for (unsigned i = 0; i < m->slot_cnt; i++)
		if (m->slot[i].used && !m->slot[i].leaving)
			virtio_thaw(m->slot[i].io.dev);
}

/* The machine ends, and has waited long enough. */
static void let_end(struct machine *m)
{
	struct machine_save *s = &m->save;

	if (!s->stopping || s->timer.op.busy || s->state == SAVE_WRITING)
		return;
	s->stopping = false;
	machine_drained(m);
}

/* Answers whoever asked; on failure the devices go on, as the guest may. */
static void finish(struct machine *m)
{
	struct machine_save *s = &m->save;
	void (*done)(void *ctx, const struct err *e) = s->done;

	savefile_free(&s->file);
	s->file = (struct savefile){0};
	s->state = s->err.code ? SAVE_NONE : SAVE_FROZEN;
	if (s->err.code && !m->draining && !m->ended)
		thaw(m);
	s->done = NULL;
	if (done)
		done(s->ctx, &s->err);
	let_end(m);
}

static void on_written(struct loop_work *w)
{
	struct machine *m = container_of(w, struct machine, save.written);

	(void)pthread_join(m->save.thread, NULL);
	finish(m);
}

static void begin_writing(struct machine *m)
{
	struct machine_save *s = &m->save;
	int rc;

	s->file.section_cnt = 0;
	add_sections(m);
	if (collect(m, &s->err) < 0) {
		finish(m);
		return;
	}
	s->state = SAVE_WRITING;
	rc = thread_start(&s->thread, THREAD_STACK, write_main, m);
	if (rc < 0) {
		err_sys(&s->err, rc, "starting the thread that writes");
		finish(m);
	}
}

/* ---- freezing -------------------------------------------------------------------------------------- */

/* Its device's turn may come after a time-out, when nobody waits any more. */
static void on_quiet(void *arg)
{
	struct machine *m = arg;

	if (m->save.state == SAVE_FREEZING && --m->save.waiting == 0)
		loop_post(m->loop, &m->save.quiet);
}

static void on_all_quiet(struct loop_work *w)
{
	struct machine *m = container_of(w, struct machine, save.quiet);

	if (m->save.state != SAVE_FREEZING || m->save.waiting || m->save.stopping)
		return;
	loop_cancel(m->loop, &m->save.timer.op);
	begin_writing(m);
}

static const char *first_busy(const struct machine *m)
{
	for (unsigned i = 0; i < m->slot_cnt; i++)
		if (m->slot[i].used && m->slot[i].io.dev->frozen_fn)
			return m->slot[i].io.dev->name;
	return "a device";
}

static void on_time(struct loop_op *op, int res, unsigned flags)
{
	struct machine *m = container_of(op, struct machine, save.timer.op);
	struct machine_save *s = &m->save;

	(void)res;
	(void)flags;
	if (s->state == SAVE_FREEZING && s->waiting && !s->stopping) {
		if (clock_ns() < s->until) { /* an earlier one's, cancelled */
			loop_timer(m->loop, &s->timer, s->until);
			return;
		}
		err_set(&s->err, -ETIMEDOUT, "save: %s has requests that do not end",
			first_busy(m));
		finish(m);
		return;
	}
	let_end(m);
}

static int may_save(const struct machine *m, struct err *e)
{
	if (!m->started || m->ended || m->draining || !m->pause.paused)
		return err_set(e, -EINVAL, "save: the guest is not paused");
	if (machine_is_saving(m))
		return err_set(e, -EBUSY, "save: another one is under way");
	for (unsigned i = 0; i < m->slot_cnt; i++)
		if (m->slot[i].used && m->slot[i].leaving)
			return err_set(e, -EBUSY, "save: %s is being unplugged",
				       m->slot[i].leaving->name);
	return 0;
}

int machine_save(struct machine *m, int fd, void (*done)(void *ctx, const struct err *e), void *ctx,
		 struct err *e)
{
	struct machine_save *s = &m->save;
	bool frozen = s->state == SAVE_FROZEN;
	int rc = may_save(m, e);

	if (rc < 0)
		return rc;
	s->fd = fd;
	s->done = done;
	s->ctx = ctx;
	s->err = (struct err){0};
	s->state = SAVE_FREEZING;
	s->waiting = 1; /* ours, so that it ends outside of this call */
	s->until = clock_ns() + FREEZE_NS;
	if (!s->timer.op.busy)
		loop_timer(m->loop, &s->timer, s->until);
	for (unsigned i = 0; !frozen && i < m->slot_cnt; i++) {
		if (!m->slot[i].used)
			continue;
		s->waiting++;
		virtio_freeze(m->slot[i].io.dev, on_quiet, m);
	}
	on_quiet(m);
	return 0;
}

bool machine_is_saving(const struct machine *m)
{
	return m->save.state == SAVE_FREEZING || m->save.state == SAVE_WRITING;
}

void machine_save_init(struct machine *m)
{
	m->save.quiet.fn = on_all_quiet;
	m->save.written.fn = on_written;
	m->save.timer.op = (struct loop_op){.done = on_time, .what = "wait for devices to freeze"};
}

void machine_save_thaw(struct machine *m)
{
	if (m->save.state != SAVE_FROZEN)
		return;
	m->save.state = SAVE_NONE;
	thaw(m);
}

void machine_save_stop(struct machine *m)
{
	struct machine_save *s = &m->save;

	s->stopping = true;
	loop_unpost(m->loop, &s->quiet); /* nobody runs it when the machine is gone */
	loop_cancel(m->loop, &s->timer.op);
	if (s->state == SAVE_FREEZING) {
		err_set(&s->err, -ECANCELED, "save: the machine ends");
		finish(m);
	} else { /* what is being written is written to its end */
		let_end(m);
	}
}
