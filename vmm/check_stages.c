/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stages of `vmm check`: which parts of a CPU, of KVM and of its LAPIC an ordinary guest needs,
 * and how each is proved with the payload (check_guest.S).
 *
 * Every stage starts from a known state of the same vCPU, so that one that fails hides no other.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "base/fd.h"
#include "vmm/check_vm.h"

#define SPEED_SHORT  10000u   /* turns of two instructions: 10 ms in a slow emulator */
#define SPEED_LONG   2000000u /* about a millisecond on hardware */
#define SPEED_TRIES  12u
#define EXITS	     500u
#define EXIT_REPEATS 5u
#define TIMER_NS     1000000u /* KVM's APIC timer counts nanoseconds: its bus runs at 1 GHz */
#define STEPS	     7u

struct ctx {
	struct check_vm *vm;
	unsigned limit_ms;
	double mips;
	char note[96]; /* of a stage that has passed */
};

struct stage_def {
	const char *name, *what;
	unsigned entry;
	bool required;
	bool irqchip;  /* needs the LAPIC */
	uint32_t leaf; /* CPUID bit without which the stage is skipped; 0 = none */
	uint8_t reg, bit;
	/* Instead of a plain run; fills @end likewise. Negative: skipped, the reason is in note. */
	int (*run)(struct ctx *c, const struct stage_def *d, struct check_end *end);
	const char *at[STEPS]; /* what the guest does from step 1, 2… on */
};

static int run_speed(struct ctx *c, const struct stage_def *d, struct check_end *end)
{
	double best = 0;

	/* The best of some: a neighbour that took the cache is not this host's speed. */
	for (unsigned i = 0; i < SPEED_TRIES && best < CHECK_MIPS_MIN * 2; i++) {
		check_vm_run(c->vm, d->entry, SPEED_SHORT, c->limit_ms, NULL, end);
		if (!end->ok)
			return 0;
		best = MAX(best, 2.0 * SPEED_SHORT * 1000 / (double)MAX(end->cpu_ns, 1u));
	}
	if (best >= CHECK_MIPS_MIN) {
		check_vm_run(c->vm, d->entry, SPEED_LONG, c->limit_ms, NULL, end);
		if (!end->ok)
			return 0;
		best = MAX(best, 2.0 * SPEED_LONG * 1000 / (double)MAX(end->cpu_ns, 1u));
	}
	c->mips = best;
	if (best < CHECK_MIPS_MIN) {
		end->ok = false;
		end->elsewhere = true;
		(void)snprintf(end->reason, sizeof(end->reason),
			       "only %.1f million instructions a second: KVM emulates kernel code "
			       "instead of running it",
			       best);
	} else {
		(void)snprintf(c->note, sizeof(c->note), "%.0f million instructions a second",
			       best);
	}
	return 0;
}

static int run_mmio(struct ctx *c, const struct stage_def *d, struct check_end *end)
{
	check_vm_run(c->vm, d->entry, 0, c->limit_ms, NULL, end);
	if (end->ok && (end->mmio != 2 || end->mmio_write != CG_MMIO_WRITE)) {
		end->ok = false;
		end->elsewhere = true;
		(void)snprintf(end->reason, sizeof(end->reason),
			       "%u accesses arrived instead of 2, with the value 0x%" PRIx64,
			       end->mmio, end->mmio_write);
	}
	return 0;
}

static int run_event(struct ctx *c, const struct stage_def *d, struct check_end *end)
{
	auto_fd efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct kvm_ioeventfd io = {.addr = CG_IOEVENTFD, .len = 4, .fd = efd};
	uint64_t n = 0;

	if (efd < 0 || ioctl(c->vm->vm_fd, KVM_IOEVENTFD, &io) < 0) {
		(void)snprintf(end->reason, sizeof(end->reason), "KVM_IOEVENTFD failed: %s",
			       strerror(errno));
		end->elsewhere = true;
		return 0;
	}
	check_vm_run(c->vm, d->entry, 0, c->limit_ms, NULL, end);
	io.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
	(void)ioctl(c->vm->vm_fd, KVM_IOEVENTFD, &io);
	if (end->ok && (read(efd, &n, sizeof(n)) != sizeof(n) || n != 1 || end->mmio)) {
		end->ok = false;
		end->elsewhere = true;
		(void)snprintf(end->reason, sizeof(end->reason),
			       "the write did not arrive as an event (%" PRIu64
			       " events, %u exits)",
			       n, end->mmio);
	}
	return 0;
}

static int run_readonly(struct ctx *c, const struct stage_def *d, struct check_end *end)
{
	if (!c->vm->ro) {
		(void)snprintf(end->reason, sizeof(end->reason),
			       "KVM has no read-only memory slots");
		end->elsewhere = true;
		return 0;
	}
	check_vm_run(c->vm, d->entry, 0, c->limit_ms, NULL, end);
	if (end->ok && end->mmio != 1) {
		end->ok = false;
		end->elsewhere = true;
		(void)snprintf(end->reason, sizeof(end->reason),
			       "a write to a read-only slot caused %u exits instead of 1",
			       end->mmio);
	}
	c->vm->ro[0] = CG_RO_MAGIC;
	return 0;
}

static int send_msi(struct check_vm *vm)
{
	struct kvm_msi msi = {.address_lo = CG_LAPIC, .data = CG_VEC_MSI};

	return ioctl(vm->vm_fd, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}

static int run_msi(struct ctx *c, const struct stage_def *d, struct check_end *end)
{
	check_vm_run(c->vm, d->entry, 0, c->limit_ms, send_msi, end);
	return 0;
}

static int run_timer(struct ctx *c, const struct stage_def *d, struct check_end *end)
{
	uint64_t param = TIMER_NS, least = TIMER_NS;

	if (d->entry == CG_DEADLINE) {
		int khz = ioctl(c->vm->vcpu_fd, KVM_GET_TSC_KHZ, 0);

		if (khz <= 0) {
			(void)snprintf(c->note, sizeof(c->note),
				       "KVM does not tell the TSC's rate");
			return -1;
		}
		param = (uint64_t)khz * TIMER_NS / 1000000;
		least = TIMER_NS / 2; /* KVM fires it ahead of time, by lapic_timer_advance */
	}
	check_vm_run(c->vm, d->entry, param, c->limit_ms, NULL, end);
	if (end->ok && end->ns < least) {
		end->ok = false;
		end->elsewhere = true;
		(void)snprintf(end->reason, sizeof(end->reason),
			       "the timer of %u us fired after %" PRIu64 " us", TIMER_NS / 1000,
			       end->ns / 1000);
	} else if (end->ok) {
		(void)snprintf(c->note, sizeof(c->note),
			       "asleep for %u us, woken after %" PRIu64 " us", TIMER_NS / 1000,
			       end->ns / 1000);
	}
	return 0;
}

/* clang-format off */
static const struct stage_def defs[] = {
	{.name = "long-mode", .what = "64-bit mode, entered from 32 bits", .entry = CG_LONG_MODE,
	 .required = true,
	 .at = {"the first 32-bit instructions (LGDT, CR4, CR3)", "WRMSR to EFER",
		"switching paging on", "the far jump to 64-bit code", "LIDT and LTR", "64-bit code"}},
	{.name = "speed", .what = "kernel code runs on the CPU", .entry = CG_SPEED,
	 .required = true, .run = run_speed, .at = {"a loop that counts"}},
	{.name = "invalid-opcode", .what = "exception #UD", .entry = CG_INVALID_OPCODE,
	 .required = true, .at = {"ud2", "the return from #UD"}},
	{.name = "page-fault", .what = "exception #PF", .entry = CG_PAGE_FAULT, .required = true,
	 .at = {"a read of a page that is not present", "the return from #PF"}},
	{.name = "breakpoint", .what = "int3", .entry = CG_BREAKPOINT, .required = true,
	 .at = {"int3", "the return from #BP"}},
	{.name = "ring3", .what = "user mode and back", .entry = CG_RING3, .required = true,
	 .at = {"IRET to ring 3", "int 0x80 from ring 3"}},
	{.name = "syscall", .what = "SYSCALL and SYSRET", .entry = CG_SYSCALL, .required = true,
	 .at = {"WRMSR to STAR, LSTAR and SFMASK", "IRET to ring 3",
		"SYSCALL, which the guest's kernel did not get",
		"the kernel's SYSCALL entry, which runs in ring 3", "the registers after SYSCALL",
		"SYSRET", "ring 3 after SYSRET"}},
	{.name = "popcnt", .what = "popcnt", .entry = CG_POPCNT, .required = true,
	 .leaf = 1, .reg = 2, .bit = 23, .at = {"popcnt"}},
	{.name = "fpu", .what = "x87 and fwait", .entry = CG_FPU, .required = true,
	 .at = {"fninit", "x87 arithmetic", "fwait", "fistp"}},
	{.name = "fxsave", .what = "FXSAVE and FXRSTOR", .entry = CG_FXSAVE, .required = true,
	 .at = {"SSE", "fxsave", "fxrstor"}},
	{.name = "xsave", .what = "XSAVE and XRSTOR", .entry = CG_XSAVE, .required = true,
	 .leaf = 1, .reg = 2, .bit = 26, .at = {"CR4.OSXSAVE", "xsetbv", "xsave", "xrstor"}},
	{.name = "cmpxchg16b", .what = "cmpxchg16b", .entry = CG_CMPXCHG16B, .required = true,
	 .leaf = 1, .reg = 2, .bit = 13, .at = {"cmpxchg16b"}},
	{.name = "smap", .what = "stac and clac", .entry = CG_SMAP, .required = true,
	 .leaf = 7, .reg = 1, .bit = 20, .at = {"stac", "clac"}},
	{.name = "mmio", .what = "device registers", .entry = CG_MMIO_EXIT, .required = true,
	 .run = run_mmio, .at = {"an MMIO write", "an MMIO read"}},
	{.name = "ioeventfd", .what = "queue notifications", .entry = CG_EVENT, .required = true,
	 .run = run_event, .at = {"a write that an eventfd is bound to"}},
	{.name = "readonly", .what = "read-only memory, for shared images", .entry = CG_READONLY,
	 .required = true, .run = run_readonly,
	 .at = {"a read of read-only memory", "a write to read-only memory",
		"a read after a dropped write"}},
	{.name = "msi", .what = "an interrupt wakes from HLT", .entry = CG_MSI, .required = true,
	 .irqchip = true, .run = run_msi,
	 .at = {"switching the LAPIC on", "HLT until an interrupt"}},
	{.name = "timer", .what = "the LAPIC timer wakes from HLT", .entry = CG_ONESHOT,
	 .required = true, .irqchip = true, .run = run_timer,
	 .at = {"starting the LAPIC timer", "HLT until the LAPIC timer"}},
	{.name = "tsc-deadline", .what = "the TSC deadline timer does too", .entry = CG_DEADLINE,
	 .irqchip = true, .leaf = 1, .reg = 2, .bit = 24, .run = run_timer,
	 .at = {"WRMSR to IA32_TSC_DEADLINE", "HLT until the TSC deadline"}},
};
/* clang-format on */
_Static_assert(ARRAY_LEN(defs) == CHECK_STAGES, "CHECK_STAGES");

static void run_stage(struct ctx *c, const struct stage_def *d, struct check_stage *s)
{
	struct check_end end = {.ok = false};
	uint32_t step;

	*s = (struct check_stage){.name = d->name, .what = d->what, .required = d->required};
	c->note[0] = '\0';
	if (d->leaf && !check_vm_cpuid(c->vm, d->leaf, d->reg, d->bit)) {
		s->result = CHECK_SKIP;
		(void)snprintf(s->reason, sizeof(s->reason), "not offered to guests by this host");
		return;
	}
	if (d->irqchip && !c->vm->irqchip) {
		s->result = CHECK_FAIL;
		(void)snprintf(s->reason, sizeof(s->reason),
			       "KVM has no split irqchip (KVM_CAP_SPLIT_IRQCHIP)");
		return;
	}
	/*
	 * A host that stood still gets a second chance, and that is told. So does an emulated one: QEMU's TCG forgets
	 * at VMRUN that STI holds interrupts back until HLT, and one that comes right there wakes nobody.
	 */
	for (unsigned i = 0; i < 2; i++) {
		end = (struct check_end){.ok = false};
		if (!d->run) {
			check_vm_run(c->vm, d->entry, 0, c->limit_ms, NULL, &end);
		} else if (d->run(c, d, &end) < 0) {
			s->result = CHECK_SKIP;
			(void)snprintf(s->reason, sizeof(s->reason), "%s", c->note);
			return;
		}
		if (end.ok && i)
			(void)snprintf(c->note, sizeof(c->note), "no answer the first time");
		if (!end.timed_out || c->limit_ms != CHECK_STAGE_MS)
			break;
	}
	s->ns = end.ns;
	s->result = end.ok ? CHECK_PASS : CHECK_FAIL;
	step = check_vm_step(c->vm); /* the guest's word: only an index after a check */
	if (end.ok)
		(void)snprintf(s->reason, sizeof(s->reason), "%s", c->note);
	else if (step >= 1 && step <= STEPS && d->at[step - 1] && !end.elsewhere)
		(void)snprintf(s->reason, sizeof(s->reason), "%s at %s", end.reason,
			       d->at[step - 1]);
	else
		(void)snprintf(s->reason, sizeof(s->reason), "%s", end.reason);
	if (end.timed_out)
		c->limit_ms = CHECK_STAGE_SHORT_MS;
}

static struct check_cost measure_exits(struct ctx *c, unsigned entry)
{
	uint64_t v[EXIT_REPEATS];
	struct check_end end;

	for (unsigned i = 0; i < EXIT_REPEATS; i++) {
		check_vm_run(c->vm, entry, EXITS, c->limit_ms, NULL, &end);
		if (!end.ok)
			return (struct check_cost){.n = 0};
		v[i] = end.ns / EXITS;
	}
	return check_cost_of(v, EXIT_REPEATS);
}

static int run_stages(const char *dev, int kvm_fd, unsigned flags, const atomic_bool *give_up,
		      struct check_guest *g)
{
	struct check_vm vm = {.kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1};
	struct ctx c = {.vm = &vm, .limit_ms = CHECK_STAGE_MS};
	bool quick = flags & CHECK_QUICK;
	int rc;

	*g = (struct check_guest){.stage_cnt = 0};
	rc = check_vm_open(&vm, dev, kvm_fd, !quick, &g->err);
	for (unsigned i = 0; rc == 0 && i < ARRAY_LEN(defs); i++) {
		if (give_up && atomic_load(give_up)) {
			rc = -ECANCELED;
			break;
		}
		run_stage(&c, &defs[i], &g->stage[g->stage_cnt++]);
		if (quick && defs[i].required && g->stage[i].result == CHECK_FAIL)
			break;
	}
	g->mips = c.mips;
	g->create_vm = vm.create_vm;
	g->create_vcpu = vm.create_vcpu;
	if (rc == 0 && !quick && g->mips >= CHECK_MIPS_MIN) {
		g->exit_user = measure_exits(&c, CG_EXIT_USER);
		g->exit_kernel = measure_exits(&c, CG_EXIT_KERNEL);
	}
	check_vm_close(&vm);
	for (unsigned i = 0; rc == 0 && i < g->stage_cnt; i++) {
		if (g->stage[i].required && g->stage[i].result == CHECK_FAIL)
			rc = -ENOTSUP;
	}
	return rc;
}

int check_guest_run(const char *dev, unsigned flags, struct check_guest *g)
{
	return run_stages(dev, -1, flags, NULL, g);
}

const char *check_guest_reason(const struct check_guest *g, char *buf, size_t len)
{
	if (g->err.code) {
		(void)snprintf(buf, len, "%s", g->err.msg);
		return buf;
	}
	for (unsigned i = 0; i < g->stage_cnt; i++) {
		const struct check_stage *s = &g->stage[i];

		if (s->required && s->result == CHECK_FAIL) {
			(void)snprintf(buf, len, "%s: %s", s->name, s->reason);
			return buf;
		}
	}
	return NULL;
}

int kvm_probe_fd(int kvm_fd, const atomic_bool *give_up, struct err *e)
{
	struct check_guest g;
	char why[sizeof(g.err.msg)];
	int rc = run_stages(CHECK_KVM_DEV, kvm_fd, CHECK_QUICK, give_up, &g);

	if (rc == 0)
		return 0;
	return err_set(e, rc, "this host cannot run guests: %s",
		       check_guest_reason(&g, why, sizeof(why)) ? why : "unknown reason");
}

int kvm_probe(struct err *e)
{
	return kvm_probe_fd(-1, NULL, e);
}
