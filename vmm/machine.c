/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's life. See machine.h for the contract.
 *
 * The end, which may begin on any thread: the first reason is kept, all vCPUs are told to leave.
 * The loop goes on meanwhile, since a vCPU may be waiting in loop_call(). The last vCPU thread to
 * leave wakes the loop, which joins them, takes what the guest said last out of the rings, stops
 * the devices, waits for them to drain, and only then says ended().
 */
#include "vmm/machine_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/log.h"
#include "vmm/kvmstats.h"
#include "vmm/memmap.h"

/*
 * What every guest kernel gets in front of the user's words, which win where they disagree.
 *
 * tsc=reliable     no clock watchdog: there is nothing to compare the TSC with
 * rcupdate.rcu_expedited=1  nobody sits out grace periods
 * noreplace-smp    a kernel with one CPU patches 8000 lock prefixes away at boot, each with a
 *                  switch of page tables; they cost less where they are
 * dummy.numdummies=0  no dummy0 in every network name space's first
 */
static const char cmdline_common[] =
    "tsc=reliable rcupdate.rcu_expedited=1 noreplace-smp dummy.numdummies=0";
/*
 * Not for kernels of ours, which are made so: a word is compared with hundreds of names, twice.
 *
 * reboot=k         a restart writes to port 0x64, which ends the machine
 * panic=-1         a panic restarts at once
 * no_timer_check   no test whether the PIT's interrupt arrives: there is no PIT
 * cryptomgr.notests  no self-tests of ciphers
 * random.trust_cpu=on, and the seed: no waiting for entropy
 */
static const char cmdline_foreign[] =
    " reboot=k panic=-1 no_timer_check cryptomgr.notests random.trust_cpu=on";
/*
 * Early allocations begin behind the kernel instead of at the end of memory: they share its huge
 * pages, fewer of which the host has to clear. Its price is that memory added later would be
 * movable only, which the second word forbids. Not for large machines: their page descriptors
 * belong above 4 GiB. And only for kernels of ours: one without memory hotplug would hand the word on
 * to its init.
 */
static const char cmdline_compact[] = " movable_node memhp_default_state=online_kernel";
#define COMPACT_MAX (16ull << 30)
/*
 * Variables of each CPU in pages of their own. Otherwise 2 MiB are taken and cleared for them, by the
 * guest and before it by the host, for the sake of one large page; 150 KiB a CPU are needed.
 */
static const char cmdline_percpu[] = " percpu_alloc=page";
/* With an MP table there is no ACPI and no PCI to look for. */
static const char cmdline_mptable[] = " acpi=off pci=off";
/* Do not probe for UARTs that are not there. */
static const char cmdline_no_serial[] = " 8250.nr_uarts=0";

#define CMDLINE_BUF 8192u

/* ---- making ------------------------------------------------------------------------------------
 */
static int check_config(const struct machine_config *cfg, struct err *e)
{
	if (!cfg->cpus || cfg->cpus > MACHINE_CPUS_MAX)
		return err_set(e, -EINVAL, "%u CPUs: 1 to %u are possible", cfg->cpus,
			       MACHINE_CPUS_MAX);
	if (cfg->memory < MACHINE_MEMORY_MIN || cfg->memory > MEMMAP_RAM_MAX)
		return err_set(e, -EINVAL, "%llu MiB of memory: %llu to %llu are possible",
			       (unsigned long long)(cfg->memory >> 20),
			       (unsigned long long)(MACHINE_MEMORY_MIN >> 20),
			       (unsigned long long)(MEMMAP_RAM_MAX >> 20));
	if (cfg->memory % 4096)
		return err_set(e, -EINVAL, "%llu bytes of memory: not a multiple of 4 KiB",
			       (unsigned long long)cfg->memory);
	return 0;
}

static int make(struct machine *m, const struct machine_config *cfg, struct err *e)
{
	int rc;

	m->kernel_name = strdup(cfg->kernel_name);
	m->cmdline = strdup(cfg->cmdline ? cfg->cmdline : "");
	if (!m->kernel_name || !m->cmdline)
		return err_set(e, -ENOMEM, "out of memory");
	m->hw = cfg->hw;
	rc = machine_make_memory(m, e);
	if (rc == 0)
		rc = machine_load_begin(m, e);
	if (rc == 0)
		rc = vm_open(&m->vm, cfg->kvm_fd, e);
	if (rc < 0)
		return rc;
	report_stamp(cfg->report, PHASE_CREATE_VM);
	rc = machine_give_memory(m, e);
	if (rc < 0)
		return rc;
	report_stamp(cfg->report, PHASE_MEMORY);
	/* The registers and windows of a machine depend on how it is described to the guest. */
	if (m->hw == MACHINE_HW_AUTO)
		rc = machine_load_await(m, e);
	if (rc < 0)
		return rc;
	return machine_add_registers(m, e);
}

static void on_end(struct loop_work *w);
static void on_left(struct loop_work *w);

int machine_new(struct machine **ret, const struct machine_config *cfg, struct loop *loop,
		struct err *e)
{
	struct machine *m;
	int rc = check_config(cfg, e);

	if (rc < 0)
		return rc;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, -ENOMEM, "out of memory");
	m->cfg = *cfg;
	m->loop = loop;
	m->vm.fd = m->vm.kvm_fd = -1;
	m->load.kernel_fd = m->load.initrd_fd = -1;
	m->pmem_next = GPA_PMEM;
	m->end_work.fn = on_end;
	m->left_work.fn = on_left;
	(void)pthread_mutex_init(&m->end_lock, NULL);
	(void)pthread_mutex_init(&m->shared.gate_lock, NULL);
	(void)pthread_cond_init(&m->shared.gate_moved, NULL);
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
		m->vcpu[i].fd = m->vcpu[i].stats_fd = -1;
	machine_init_slots(m);
	halt_init(&m->halt, m->vcpu, &m->shared);
	pause_init(&m->pause, m->vcpu, &m->shared, loop);
	machine_save_init(m);
	rc = make(m, cfg, e);
	if (rc < 0) {
		machine_free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

const struct gmem *machine_gmem(const struct machine *m)
{
	return &m->gmem;
}

int machine_kvm_stats(const struct machine *m,
		      void (*of_vm)(void *ctx, const char *name, uint64_t v), void *vm_ctx,
		      void (*of_vcpu)(void *ctx, const char *name, uint64_t v), void *vcpu_ctx)
{
	auto_fd fd = kvmstats_open(m->vm.fd);
	int rc = fd < 0 ? fd : kvmstats_read(fd, of_vm, vm_ctx);

	for (unsigned i = 0; rc == 0 && i < m->cfg.cpus; i++)
		if (m->vcpu[i].stats_fd >= 0)
			rc = kvmstats_read(m->vcpu[i].stats_fd, of_vcpu, vcpu_ctx);
	return rc;
}

/* ---- describing --------------------------------------------------------------------------------
 */
static void describe(const struct machine *m, struct hw_desc *hw)
{
	memset(hw, 0, sizeof(*hw));
	hw->cpus = m->cfg.cpus;
	hw->serial = m->has_serial;
	hw->pins = m->ioapic.pins;
	hw->slot_cnt = m->slot_cnt;
	for (unsigned i = 0; i < m->slot_cnt; i++) {
		hw->slot[i].gpa = machine_slot_gpa(m, i);
		hw->slot[i].pin = hw_slot_pin(i);
	}
	for (unsigned i = 0; i < m->pmem_cnt; i++) {
		if (!m->pmem[i].readonly)
			continue;
		hw->pmem[hw->pmem_cnt].gpa = m->pmem[i].gpa;
		hw->pmem[hw->pmem_cnt].len = m->pmem[i].map.len;
		hw->pmem_cnt++;
	}
}

static int make_cmdline(const struct machine *m, const struct hw_desc *hw, char buf[CMDLINE_BUF],
			struct err *e)
{
	bool mp = m->hw == MACHINE_HW_MPTABLE;
	bool compact = m->image.ours && m->cfg.memory <= COMPACT_MAX;
	int n = snprintf(buf, CMDLINE_BUF, "%s%s%s%s%s%s", cmdline_common,
			 m->image.ours ? "" : cmdline_foreign, compact ? cmdline_compact : "",
			 compact ? cmdline_percpu : "", mp ? cmdline_mptable : "",
			 m->has_serial ? "" : cmdline_no_serial);
	int slots = mp ? hw_mptable_cmdline(hw, buf + n, CMDLINE_BUF - (size_t)n) : 0;
	size_t len, room;

	if (slots < 0)
		return err_sys(e, slots, "kernel command line");
	len = (size_t)n + (size_t)slots;
	room = CMDLINE_BUF - len;
	if (m->cmdline[0] && (size_t)snprintf(buf + len, room, " %s", m->cmdline) >= room)
		return err_set(e, -E2BIG, "the kernel command line is longer than %u bytes",
			       CMDLINE_BUF - 1);
	return 0;
}

/* @hw: NULL = one that says nothing, beside a device tree. */
static int put_mptable(struct machine *m, const struct hw_desc *hw, struct err *e)
{
	uint8_t buf[HW_MPTABLE_MAX];
	uint64_t gpa = hw ? GPA_MPTABLE : GPA_NO_MPTABLE;
	int len =
	    hw ? hw_mptable(hw, gpa, buf, sizeof(buf)) : hw_mptable_none(gpa, buf, sizeof(buf));

	if (len < 0 || gmem_write(&m->gmem, gpa, buf, (size_t)len) < 0)
		return err_set(e, -ENOSPC, "the MP table does not fit");
	return 0;
}

static int prepare_boot(struct machine *m, struct boot_regs *regs, struct err *e)
{
	uint8_t seed[BOOT_SEED_LEN];
	auto_free uint8_t *fdt = NULL;
	char cmdline[CMDLINE_BUF];
	struct boot_params_in in = {.image = &m->image,
				    .cmdline = cmdline,
				    .ram = m->cfg.memory,
				    .initrd = m->initrd,
				    .initrd_len = m->initrd_len,
				    .mark_entry = m->cfg.report && m->cfg.report->wanted};
	struct hw_desc hw;
	int rc;

	describe(m, &hw);
	rc = make_cmdline(m, &hw, cmdline, e);
	if (rc < 0)
		return rc;
	if (m->hw == MACHINE_HW_FDT) {
		fdt = malloc(HW_FDT_MAX);
		rc = fdt ? hw_fdt(&hw, fdt, HW_FDT_MAX) : -ENOMEM;
		if (rc < 0)
			return err_sys(e, rc, "device tree");
		in.fdt = fdt;
		in.fdt_len = (size_t)rc;
	}
	rc = put_mptable(m, fdt ? NULL : &hw, e);
	if (rc < 0)
		return rc;
	if (getrandom(seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
		in.seed = seed;
	rc = boot_setup(&m->gmem, &in, regs, e);
	return rc < 0 ? err_wrap(e, "kernel '%s'", m->kernel_name) : 0;
}

/* ---- running -----------------------------------------------------------------------------------
 */
static void vcpu_eoi(void *ctx, uint8_t vector)
{
	struct machine *m = ctx;

	ioapic_eoi(&m->ioapic, vector);
}

static void vcpu_end(void *ctx, enum machine_end why, int status, const char *msg)
{
	machine_end(ctx, why, status, msg);
}

static void vcpu_left(void *ctx)
{
	struct machine *m = ctx;

	if (atomic_fetch_sub(&m->alive, 1) == 1)
		loop_post(m->loop, &m->left_work);
}

static void vcpu_muster(void *ctx, struct vcpu *v)
{
	struct machine *m = ctx;

	halt_muster(&m->halt, v);
}

static void vcpu_park(void *ctx, struct vcpu *v)
{
	struct machine *m = ctx;

	pause_park(&m->pause, v);
}

/* @regs: NULL = they come from a file. */
static void free_vcpus(struct machine *m)
{
	/* What is kept lies in a page of theirs. */
	acks_take(&m->acks);
	acks_end(&m->acks);
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
		vcpu_free(&m->vcpu[i]);
}

static int make_vcpus(struct machine *m, const struct boot_regs *regs, struct err *e)
{
	int rc = cpuid_query(&m->cpuid, &m->vm, e);

	if (rc == 0 && m->cfg.saved)
		rc = machine_load_cpuid(m, e);
	m->shared.vm = &m->vm;
	m->shared.pio = &m->pio;
	m->shared.mmio = &m->mmio;
	m->shared.cpus = m->cfg.cpus;
	m->shared.report = m->cfg.report;
	m->shared.eoi = vcpu_eoi;
	m->shared.end = vcpu_end;
	m->shared.left = vcpu_left;
	m->shared.muster = vcpu_muster;
	m->shared.park = vcpu_park;
	m->shared.ctx = m;
	m->shared.init = m->cfg.vcpu_init;
	m->shared.init_arg = m->cfg.ctx;
	m->shared.gated = m->cfg.vcpu_init || m->cfg.before_run;
	for (unsigned i = 0; rc == 0 && i < m->cfg.cpus; i++)
		rc = vcpu_new(&m->vcpu[i], &m->shared, i, &m->cpuid, regs, e);
	if (rc == 0)
		acks_begin(&m->acks, m->vcpu[0].run);
	/* Before they run; a kernel that has none leaves them out. */
	for (unsigned i = 0; rc == 0 && m->cfg.kvm_stats && i < m->cfg.cpus; i++)
		m->vcpu[i].stats_fd = kvmstats_open(m->vcpu[i].fd);
	return rc;
}

static void stop_vcpus(struct machine *m)
{
	atomic_store_explicit(&m->shared.stop, true, memory_order_release);
	for (unsigned i = 0; i < m->cfg.cpus; i++)
		vcpu_kick(&m->vcpu[i]);
	halt_release(&m->halt);
	pause_release(&m->pause);
}

/*
 * The boot processor comes last: the others wait for its start-up interrupt inside KVM, so that
 * they can be joined here when something fails.
 */
static int start_threads(struct machine *m, struct err *e)
{
	struct vcpu_shared *sh = &m->shared;
	unsigned i = m->cfg.cpus;
	int rc = 0;

	atomic_store(&m->alive, m->cfg.cpus);
	while (rc == 0 && i > 0)
		rc = vcpu_start(&m->vcpu[--i], e);
	if (rc == 0 && sh->gated)
		rc = vcpu_gate_await(sh, m->cfg.cpus, e);
	if (rc == 0 && m->cfg.before_run)
		rc = m->cfg.before_run(m->cfg.ctx, e);
	if (rc < 0)
		stop_vcpus(m);
	if (sh->gated)
		vcpu_gate_open(sh);
	if (rc == 0)
		return 0;
	free_vcpus(m);
	/* If all were there, the last one has told the loop that it left. */
	loop_unpost(m->loop, &m->left_work);
	return rc;
}

static void watch_broken(void *ctx, const char *why)
{
	char msg[300];

	(void)snprintf(msg, sizeof(msg), "%.250s; 'vmm check' tells more", why);
	machine_end(ctx, MACHINE_FAILED, 0, msg);
}

/* How Linux powers off when it knows no other way; or a crash before it could say anything. */
static void all_halted(void *ctx)
{
	struct machine *m = ctx;

	if (!ioapic_has_nmi(&m->ioapic))
		machine_end(m, MACHINE_POWEROFF, 0, NULL);
}

static void watch_stopped(void *ctx)
{
	machine_drained(ctx);
}

int machine_start(struct machine *m, struct err *e)
{
	struct boot_regs regs;
	int rc;

	BUG_ON(m->started);
	rc = machine_add_slots(m, e);
	if (rc == 0)
		rc = machine_load_await(m, e);
	if (rc == 0 && !m->cfg.saved)
		rc = prepare_boot(m, &regs, e);
	if (rc == 0)
		rc = make_vcpus(m, m->cfg.saved ? NULL : &regs, e);
	if (rc == 0 && m->cfg.saved)
		rc = machine_load_state(m, e);
	if (rc < 0)
		return rc;
	rc = vcpu_setup_signal();
	if (rc < 0)
		return err_sys(e, rc, "signal of the vCPU threads");
	rc = start_threads(m, e);
	if (rc < 0)
		return rc;
	m->started = true;
	m->watch.broken = watch_broken;
	m->watch.stopped = watch_stopped;
	m->watch.ctx = m;
	watch_start(&m->watch, m->loop, m->vm.kvm_fd);
	m->halt.halted = all_halted;
	m->halt.stopped = watch_stopped;
	m->halt.ctx = m;
	m->pause.stopped = watch_stopped;
	m->pause.ctx = m;
	if (m->hw == MACHINE_HW_MPTABLE)
		halt_start(&m->halt, m->loop);
	machine_arm_slots(m);
	if (m->cfg.saved)
		machine_restored(m);
	return 0;
}

int machine_pause(struct machine *m, uint64_t timeout_ns, void (*done)(void *ctx, int rc),
		  void *ctx)
{
	return m->started ? pause_begin(&m->pause, timeout_ns, done, ctx) : -ESRCH;
}

void machine_resume(struct machine *m)
{
	if (!m->started || machine_is_saving(m))
		return;
	machine_save_thaw(m);
	pause_end(&m->pause);
}

bool machine_is_paused(const struct machine *m)
{
	return m->pause.paused;
}

/* ---- ending ------------------------------------------------------------------------------------
 */
void machine_end(struct machine *m, enum machine_end why, int status, const char *msg)
{
	bool first;

	(void)pthread_mutex_lock(&m->end_lock);
	first = m->why == MACHINE_RUNNING;
	if (first) {
		m->why = why;
		m->status = status;
		if (msg)
			(void)snprintf(m->msg, sizeof(m->msg), "%s '%.200s': %s",
				       m->cfg.saved ? "saved machine" : "kernel", m->kernel_name,
				       msg);
	}
	(void)pthread_mutex_unlock(&m->end_lock);
	if (!first)
		return;
	report_stamp(m->cfg.report, PHASE_EXIT);
	/* The thread that comes from here must not enter the guest again. */
	atomic_store_explicit(&m->shared.stop, true, memory_order_release);
	loop_post(m->loop, &m->end_work);
}

void machine_stop(struct machine *m)
{
	if (!m->started)
		return;
	machine_end(m, MACHINE_STOPPED, 0, NULL);
}

static void on_end(struct loop_work *w)
{
	stop_vcpus(container_of(w, struct machine, end_work));
}

void machine_drained(struct machine *m)
{
	BUG_ON(!m->draining);
	if (--m->draining)
		return;
	m->ended = true;
	if (m->cfg.ended)
		m->cfg.ended(m->cfg.ctx, m->why, m->status, m->msg[0] ? m->msg : NULL);
}

static void on_left(struct loop_work *w)
{
	struct machine *m = container_of(w, struct machine, left_work);

	free_vcpus(m);
	/* One for ourselves, so that it cannot reach zero half-way. */
	m->draining = 1;
	machine_drain_slots(m);
	m->draining++;
	watch_stop(&m->watch);
	m->draining++;
	halt_stop(&m->halt);
	m->draining++;
	pause_stop(&m->pause);
	m->draining++;
	machine_save_stop(m);
	machine_drained(m);
}

/* Turns the loop until ended(). False: it is broken, and the kernel may still write into what the machine has. */
static bool await_end(struct machine *m)
{
	int rc = 0;

	while (!m->ended && rc == 0)
		rc = loop_step(m->loop, true);
	if (rc < 0)
		log_err("machine: the event loop does not turn any more: %s", strerrordesc_np(-rc));
	return rc == 0;
}

/* Devices of a file run before the guest does: when it comes to no start, they have to be stopped. */
static bool shut_loaded(struct machine *m)
{
	if (m->started)
		return true;
	m->cfg.ended = NULL;
	m->draining = 1;
	machine_drain_slots(m);
	machine_drained(m);
	return await_end(m);
}

static bool stop_and_wait(struct machine *m)
{
	m->cfg.ended = NULL;
	machine_stop(m);
	return await_end(m);
}

void machine_free(struct machine *m)
{
	if (!m || (m->started && !m->ended && !stop_and_wait(m)) || (m->loaded && !shut_loaded(m)))
		return;
	machine_load_end(m);
	loop_unpost(m->loop, &m->end_work); /* of a start that failed half-way */
	free_vcpus(m);
	machine_free_slots(m);
	vm_close(&m->vm);
	for (unsigned i = 0; i < BOOT_PMEM_MAX; i++)
		mem_unmap(&m->pmem[i].map);
	mem_unmap(&m->vmem_map);
	mem_unmap(&m->ram);
	if (m->ioapic.ops) {
		ioapic_fini(&m->ioapic);
		serial_fini(&m->serial);
	}
	halt_fini(&m->halt);
	pause_fini(&m->pause);
	(void)pthread_mutex_destroy(&m->end_lock);
	(void)pthread_mutex_destroy(&m->shared.gate_lock);
	(void)pthread_cond_destroy(&m->shared.gate_moved);
	free(m->kernel_name);
	free(m->cmdline);
	free(m);
}
