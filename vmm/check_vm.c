/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM of `vmm check`: made, put back to a known state, run under a watchdog.
 *
 * One thread, the caller's. The watchdog is a POSIX timer that signals this very thread; its
 * handler sets immediate_exit, so that the signal is not lost when it comes just before KVM_RUN.
 * Structures: Documentation/virt/kvm/api.rst; descriptors and control registers: Intel SDM volume
 * 3, chapters 2 to 4.
 */
#include "vmm/check_vm.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "base/fd.h"

/* Just below 4 GiB, where no PC has RAM: three pages that Intel CPUs need. */
#define TSS_ADDR  0xfffbd000u
#define PTE_P	  0x1u
#define PTE_W	  0x2u
#define PTE_U	  0x4u
#define PTE_PCD	  0x10u
#define PTE_PS	  0x80u
#define MEASURE_N 5

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

struct check_cost check_cost_of(uint64_t *v, unsigned n)
{
	struct check_cost c = {.n = n};

	for (unsigned i = 1; i < n; i++) {
		for (unsigned j = i; j > 0 && v[j] < v[j - 1]; j--) {
			uint64_t t = v[j];

			v[j] = v[j - 1];
			v[j - 1] = t;
		}
	}
	if (n) {
		c.min = v[0];
		c.median = v[n / 2];
		c.max = v[n - 1];
	}
	return c;
}

/*
 * The name of group @gid from /etc/group, else its number. Not getgrgid(): a static program cannot
 * load what that needs.
 */
static void group_name(gid_t gid, char *buf, size_t len)
{
	auto_free char *text = NULL;
	char name[64];
	unsigned id;

	(void)snprintf(buf, len, "%u", gid);
	if (fd_read_file(AT_FDCWD, "/etc/group", 1u << 20, &text, NULL))
		return;
	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (sscanf(p, "%63[^:\n]:%*[^:\n]:%u:", name, &id) == 2 && id == gid) {
			(void)snprintf(buf, len, "'%s'", name);
			return;
		}
	}
}

static int open_error(const char *dev, int rc, struct err *e)
{
	struct stat st;
	char group[80];

	if (rc == -ENOENT)
		return err_set(
		    e, rc,
		    "%s does not exist: load kvm_intel or kvm_amd, or turn virtualization on "
		    "in the firmware or the outer hypervisor",
		    dev);
	if (rc == -ENODEV || rc == -ENXIO)
		return err_set(e, rc, "%s has no driver: load kvm_intel or kvm_amd", dev);
	if ((rc == -EACCES || rc == -EPERM) && !stat(dev, &st)) {
		group_name(st.st_gid, group, sizeof(group));
		if (st.st_mode & 0060)
			return err_set(e, rc, "%s: no permission for user %u: join the group %s",
				       dev, geteuid(), group);
		return err_set(e, rc, "%s: no permission for user %u: its mode is %03o", dev,
			       geteuid(), st.st_mode & 0777u);
	}
	return err_sys(e, rc, "%s: cannot open", dev);
}

int check_open_kvm(const char *dev, struct err *e)
{
	auto_fd fd = open(dev, O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return open_error(dev, -errno, e);
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return err_set(e, -ENOTTY, "%s is not a KVM device", dev);
	if (version != KVM_API_VERSION)
		return err_set(e, -EPROTO, "%s speaks KVM API version %d, not %d", dev, version,
			       KVM_API_VERSION);
	return fd_take(&fd);
}

/* ---- making it ------------------------------------------------------------------------------- */
static int create_vm(int kvm_fd, bool *ret_irqchip, struct err *e)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	int vm_fd, rc;

	do {
		vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	} while (vm_fd < 0 && errno == EINTR);
	if (vm_fd < 0) {
		rc = -errno;
		if (rc == -EBUSY)
			return err_set(e, rc,
				       "KVM cannot make a VM: another hypervisor holds the CPU's "
				       "virtualization");
		return err_sys(e, rc, "KVM cannot make a VM");
	}
	/* Only Intel CPUs without unrestricted guest mode need it; no error is of interest. */
	(void)ioctl(vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDR);
	*ret_irqchip = ioctl(vm_fd, KVM_ENABLE_CAP, &split) == 0;
	return vm_fd;
}

/* Costs of an empty VM and its first vCPU, several times: the host's settings show here. */
static int measure_create(struct check_vm *vm, struct err *e)
{
	uint64_t t_vm[MEASURE_N], t_vcpu[MEASURE_N];

	for (unsigned i = 0; i < MEASURE_N; i++) {
		uint64_t t0 = clock_ns(), t1;
		bool irqchip;
		auto_fd fd = create_vm(vm->kvm_fd, &irqchip, e);

		if (fd < 0)
			return fd;
		t1 = clock_ns();
		t_vm[i] = t1 - t0;
		auto_fd vcpu = ioctl(fd, KVM_CREATE_VCPU, 0);
		t_vcpu[i] = clock_ns() - t1;
		if (vcpu < 0)
			return err_sys(e, -errno, "KVM cannot make a vCPU");
	}
	vm->create_vm = check_cost_of(t_vm, MEASURE_N);
	vm->create_vcpu = check_cost_of(t_vcpu, MEASURE_N);
	return 0;
}

static int set_slot(struct check_vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa, void *host,
		    size_t len)
{
	struct kvm_userspace_memory_region r = {
	    .slot = slot,
	    .flags = flags,
	    .guest_phys_addr = gpa,
	    .memory_size = len,
	    .userspace_addr = (uintptr_t)host,
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

static int make_memory(struct check_vm *vm, struct err *e)
{
	int rc;
	void *p =
	    mmap(NULL, CG_RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(e, -errno, "memory for the test guest");
	vm->ram = p;
	rc = set_slot(vm, 0, 0, 0, vm->ram, CG_RAM_LEN);
	if (rc)
		return err_sys(e, rc, "KVM does not take memory for a guest");
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_sys(e, -errno, "memory for the test guest");
	vm->ro = p;
	vm->ro[0] = CG_RO_MAGIC;
	if (set_slot(vm, 1, KVM_MEM_READONLY, CG_RO_GPA, vm->ro, 4096)) {
		(void)munmap(vm->ro, 4096);
		vm->ro = NULL;
	}
	return 0;
}

static int load_cpuid(struct check_vm *vm, struct err *e)
{
	vm->cpuid =
	    calloc(1, sizeof(*vm->cpuid) + CHECK_CPUID_MAX * sizeof(struct kvm_cpuid_entry2));
	if (!vm->cpuid)
		return err_sys(e, -ENOMEM, "test guest");
	vm->cpuid->nent = CHECK_CPUID_MAX;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, vm->cpuid) < 0)
		return err_sys(e, -errno, "KVM does not tell which CPU it offers");
	if (vm->irqchip && ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0) {
		for (uint32_t i = 0; i < vm->cpuid->nent; i++) {
			if (vm->cpuid->entries[i].function == 1)
				vm->cpuid->entries[i].ecx |= 1u << 24;
		}
	}
	return 0;
}

static int make_vcpu(struct check_vm *vm, struct err *e)
{
	int len;
	void *p;

	vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);
	if (vm->vcpu_fd < 0)
		return err_sys(e, -errno, "KVM cannot make a vCPU");
	len = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (len < (int)sizeof(struct kvm_run))
		return err_set(e, -EPROTO, "KVM offers %d bytes to run a vCPU with, too few", len);
	p = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, -errno, "KVM's vCPU cannot be mapped");
	vm->run = p;
	vm->run_len = (size_t)len;
	if (load_cpuid(vm, e))
		return e->code;
	if (ioctl(vm->vcpu_fd, KVM_SET_CPUID2, vm->cpuid) < 0)
		return err_sys(e, -errno, "KVM refuses the CPU that it offers");
	if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &vm->sregs) < 0 ||
	    (vm->irqchip && ioctl(vm->vcpu_fd, KVM_GET_LAPIC, &vm->lapic) < 0))
		return err_sys(e, -errno, "KVM does not tell a vCPU's state");
	return 0;
}

/* ---- watchdog -------------------------------------------------------------------------------- */
static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	(void)sig;
	(void)ctx;
	/* Of our timer only: somebody else's signal carries no pointer of ours. */
	if (si->si_code == SI_TIMER)
		((struct kvm_run *)si->si_value.sival_ptr)->immediate_exit = 1;
}

static int watchdog_make(struct check_vm *vm, struct err *e)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO, .sa_sigaction = on_signal};
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = CHECK_SIGNAL};
	sigset_t set;

	ev.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	ev.sigev_value.sival_ptr = vm->run;
	if (timer_create(CLOCK_MONOTONIC, &ev, &vm->timer))
		return err_sys(e, -errno, "watchdog timer");
	(void)sigfillset(&sa.sa_mask);
	(void)sigaction(CHECK_SIGNAL, &sa, &vm->old_action);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, CHECK_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, &vm->old_mask);
	vm->watchdog = true;
	return 0;
}

/* A signal every @ms, 0 = none any more: whatever was sent has then been delivered. */
static void watchdog_set(struct check_vm *vm, unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
	struct itimerspec its = {.it_value = ts, .it_interval = ts};

	(void)timer_settime(vm->timer, 0, &its, NULL);
	if (!ms)
		vm->run->immediate_exit = 0;
}

/* ---- known state ----------------------------------------------------------------------------- */
static void put64(struct check_vm *vm, uint32_t gpa, uint64_t v)
{
	memcpy(vm->ram + gpa, &v, sizeof(v));
}

static void fill_memory(struct check_vm *vm, uint64_t param)
{
	struct check_shared *sh = (struct check_shared *)(void *)(vm->ram + CG_SHARED);

	memset(vm->ram, 0, CG_STACK_TRAP);
	memcpy(vm->ram + CG_BASE, check_guest, (size_t)(check_guest_end - check_guest));
	put64(vm, CG_PML4, CG_PDPT | PTE_P | PTE_W | PTE_U);
	put64(vm, CG_PDPT, CG_PD_LOW | PTE_P | PTE_W | PTE_U);
	put64(vm, CG_PDPT + 3 * 8, CG_PD_HIGH | PTE_P | PTE_W | PTE_U);
	put64(vm, CG_PD_LOW, 0 | PTE_P | PTE_W | PTE_U | PTE_PS);
	put64(vm, CG_PD_LOW + 8, CG_RO_GPA | PTE_P | PTE_W | PTE_U | PTE_PS);
	put64(vm, CG_PD_HIGH + ((CG_MMIO >> 21) & 511) * 8,
	      CG_MMIO | PTE_P | PTE_W | PTE_U | PTE_PCD | PTE_PS);
	put64(vm, CG_PD_HIGH + ((CG_LAPIC >> 21) & 511) * 8,
	      CG_LAPIC | PTE_P | PTE_W | PTE_U | PTE_PCD | PTE_PS);
	sh->expect = UINT32_MAX;
	sh->param = param;
}

static uint32_t entry_of(unsigned entry)
{
	uint32_t off;

	memcpy(&off, check_guest + entry * sizeof(off), sizeof(off));
	return CG_BASE + off;
}

static struct kvm_segment segment(uint16_t sel, unsigned type, bool code64, bool code32)
{
	return (struct kvm_segment){
	    .limit = 0xffffffff,
	    .selector = sel,
	    .type = (uint8_t)type,
	    .present = 1,
	    .s = 1,
	    .l = code64,
	    .db = !code64 && (code32 || sel == CG_SEL_DATA),
	    .g = 1,
	};
}

static void fill_sregs(const struct check_vm *vm, bool protected32, struct kvm_sregs *s)
{
	*s = vm->sregs;
	s->cs = segment(protected32 ? CG_SEL_CODE32 : CG_SEL_CODE, 0xb, !protected32, protected32);
	s->ds = s->es = s->fs = s->gs = s->ss = segment(CG_SEL_DATA, 0x3, false, false);
	s->tr = (struct kvm_segment){.base = entry_of(CG_TSS),
				     .limit = 0x67,
				     .present = 1,
				     .selector = CG_SEL_TSS,
				     .type = 0xb};
	s->ldt = (struct kvm_segment){.unusable = 1};
	s->gdt.base = entry_of(CG_GDT);
	s->gdt.limit = CG_GDT_LEN - 1;
	s->idt.base = entry_of(CG_IDT);
	s->idt.limit = CG_IDT_LEN - 1;
	s->cr2 = 0;
	s->cr8 = 0;
	memset(s->interrupt_bitmap, 0, sizeof(s->interrupt_bitmap));
	if (protected32) {
		s->cr0 = 0x33; /* PE MP ET NE */
		s->cr3 = 0;
		s->cr4 = 0;
		s->efer = 0;
		s->gdt.base = s->idt.base = 0;
		s->gdt.limit = s->idt.limit = 0;
	} else {
		s->cr0 = 0x80010033; /* PG WP NE ET MP PE */
		s->cr3 = CG_PML4;
		s->cr4 = 0x620;	 /* OSXMMEXCPT OSFXSR PAE */
		s->efer = 0x501; /* LMA LME SCE */
	}
}

static int reset(struct check_vm *vm, unsigned entry, uint64_t param)
{
	struct kvm_regs regs = {.rip = entry_of(entry), .rsp = CG_STACK, .rflags = 2};
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_vcpu_events events = {.flags = 0};
	struct kvm_sregs s;

	fill_memory(vm, param);
	fill_sregs(vm, entry == CG_LONG_MODE, &s);
	(void)ioctl(vm->vcpu_fd, KVM_SET_VCPU_EVENTS, &events);
	if (vm->irqchip && (ioctl(vm->vcpu_fd, KVM_SET_LAPIC, &vm->lapic) < 0 ||
			    ioctl(vm->vcpu_fd, KVM_SET_MP_STATE, &mp) < 0))
		return -errno;
	if (ioctl(vm->vcpu_fd, KVM_SET_SREGS, &s) < 0 ||
	    ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

/* ---- running --------------------------------------------------------------------------------- */
static void vsay(struct check_end *end, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
static void vsay(struct check_end *end, const char *fmt, va_list ap)
{
	(void)vsnprintf(end->reason, sizeof(end->reason), fmt, ap);
}

/* Records why the run is over. Returns true: it is. */
static bool over(struct check_end *end, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool over(struct check_end *end, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay(end, fmt, ap);
	va_end(ap);
	return true;
}

static const char *trap_name(uint32_t vector, char *buf, size_t len)
{
	static const char *const names[] = {
	    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL,  "#TS",
	    "#NP", "#SS", "#GP", "#PF", NULL,  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
	};

	if (vector < ARRAY_LEN(names) && names[vector])
		return names[vector];
	(void)snprintf(buf, len, "vector %" PRIu32, vector);
	return buf;
}

static bool handle_io(struct check_vm *vm, int (*mark)(struct check_vm *vm), struct check_end *end)
{
	const struct kvm_run *run = vm->run;
	char name[24];
	uint32_t v = 0;
	int rc;

	if (run->io.direction != KVM_EXIT_IO_OUT || run->io.size != 4 ||
	    run->io.data_offset > vm->run_len - 4)
		return over(end, "an access to port 0x%x that the guest does not make",
			    run->io.port);
	memcpy(&v, (const uint8_t *)run + run->io.data_offset, sizeof(v));
	switch (run->io.port) {
	case CG_PORT_DONE:
		end->ok = v == 0;
		return v ? over(end, "a wrong result") : true;
	case CG_PORT_TRAP:
		return over(end, "an unexpected exception (%s)", trap_name(v, name, sizeof(name)));
	case CG_PORT_MARK:
		rc = mark ? mark(vm) : 0;
		return rc < 0 ? over(end, "the host's part failed: %s", strerror(-rc)) : false;
	default:
		return over(end, "an access to port 0x%x that the guest does not make",
			    run->io.port);
	}
}

static bool handle_mmio(struct check_vm *vm, struct check_end *end)
{
	struct kvm_run *run = vm->run;
	uint32_t v;

	end->mmio++;
	if (run->mmio.len != 4)
		return over(end, "an MMIO access of %u bytes instead of 4", run->mmio.len);
	if (run->mmio.is_write) {
		memcpy(&v, run->mmio.data, sizeof(v));
		end->mmio_write = v;
	} else {
		v = CG_MMIO_READ;
		memcpy(run->mmio.data, &v, sizeof(v));
	}
	return false;
}

static bool handle_internal(const struct kvm_run *run, struct check_end *end)
{
	static const char *const names[] = {
	    NULL, "emulation failure", "unexpected double exception",
	    "event that could not be delivered", "unexpected exit reason"};
	uint32_t sub = run->internal.suberror;
	const char *name = sub < ARRAY_LEN(names) && names[sub] ? names[sub] : "unknown";

	return over(end, "KVM stopped with an internal error (suberror %" PRIu32 ": %s)", sub,
		    name);
}

/* Handles one return of KVM_RUN; true when the run is over. */
static bool handle_exit(struct check_vm *vm, int (*mark)(struct check_vm *vm),
			struct check_end *end)
{
	const struct kvm_run *run = vm->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_io(vm, mark, end);
	case KVM_EXIT_MMIO:
		return handle_mmio(vm, end);
	case KVM_EXIT_INTERNAL_ERROR:
		return handle_internal(run, end);
	case KVM_EXIT_SHUTDOWN:
		return over(end, "a triple fault");
	case KVM_EXIT_HLT:
		return over(end,
			    "HLT left to user space, as if there were no interrupt controller");
	case KVM_EXIT_FAIL_ENTRY:
		return over(end, "the CPU refused to enter the guest (reason 0x%llx)",
			    (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	default:
		return over(end, "unexpected exit reason %" PRIu32, run->exit_reason);
	}
}

/* What this thread has had of the CPUs, the guest's time included. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Whatever else the host has to do takes time from the clock on the wall only. */
static bool is_late(const struct check_end *end, unsigned limit_ms)
{
	uint64_t limit = limit_ms * NS_PER_MS;

	return end->cpu_ns >= limit || end->ns >= CHECK_STARVED * limit;
}

void check_vm_run(struct check_vm *vm, unsigned entry, uint64_t param, unsigned limit_ms,
		  int (*mark)(struct check_vm *vm), struct check_end *end)
{
	uint64_t t0, cpu0;
	int rc = reset(vm, entry, param);
	bool stop = false;

	*end = (struct check_end){.ok = false};
	if (rc) {
		(void)over(end, "KVM refuses the state to start from: %s", strerror(-rc));
		return;
	}
	watchdog_set(vm, MAX(limit_ms / 8, 1u));
	t0 = clock_ns();
	cpu0 = cpu_ns();
	while (!stop) {
		rc = ioctl(vm->vcpu_fd, KVM_RUN, 0) < 0 ? -errno : 0;
		if (rc == 0)
			stop = handle_exit(vm, mark, end);
		else if (rc != -EINTR && rc != -EAGAIN)
			stop = over(end, "KVM_RUN failed: %s", strerror(-rc));
		if (rc == -EINTR)
			vm->run->immediate_exit = 0; /* one that is lost here is not the last */
		end->ns = clock_ns() - t0;
		end->cpu_ns = cpu_ns() - cpu0;
		/* By the clocks, not by the signal: a guest that keeps leaving is stopped too. */
		if (!stop && is_late(end, limit_ms)) {
			end->timed_out = true;
			stop = end->cpu_ns >= limit_ms * NS_PER_MS
				   ? over(end, "no answer in %u ms of CPU time", limit_ms)
				   : over(end, "no answer in %u ms", CHECK_STARVED * limit_ms);
		}
	}
	watchdog_set(vm, 0);
}

uint32_t check_vm_step(const struct check_vm *vm)
{
	const struct check_shared *sh =
	    (const struct check_shared *)(const void *)(vm->ram + CG_SHARED);

	return sh->step;
}

bool check_vm_cpuid(const struct check_vm *vm, uint32_t leaf, unsigned reg, unsigned bit)
{
	for (uint32_t i = 0; i < vm->cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *c = &vm->cpuid->entries[i];
		const uint32_t regs[4] = {c->eax, c->ebx, c->ecx, c->edx};

		if (c->function == leaf && c->index == 0)
			return regs[reg] >> bit & 1;
	}
	return false;
}

int check_vm_open(struct check_vm *vm, const char *dev, int kvm_fd, bool measure, struct err *e)
{
	*vm = (struct check_vm){.kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1};
	if (kvm_fd >= 0) {
		vm->kvm_fd = fcntl(kvm_fd, F_DUPFD_CLOEXEC, 3);
		if (vm->kvm_fd < 0)
			return err_sys(e, -errno, "KVM descriptor %d", kvm_fd);
	} else {
		vm->kvm_fd = check_open_kvm(dev, e);
		if (vm->kvm_fd < 0)
			return vm->kvm_fd;
	}
	if (measure && measure_create(vm, e))
		return e->code;
	vm->vm_fd = create_vm(vm->kvm_fd, &vm->irqchip, e);
	if (vm->vm_fd < 0)
		return vm->vm_fd;
	if (make_memory(vm, e) || make_vcpu(vm, e) || watchdog_make(vm, e))
		return e->code;
	return 0;
}

void check_vm_close(struct check_vm *vm)
{
	if (vm->watchdog) {
		(void)timer_delete(vm->timer);
		(void)pthread_sigmask(SIG_SETMASK, &vm->old_mask, NULL);
		(void)sigaction(CHECK_SIGNAL, &vm->old_action, NULL);
	}
	if (vm->run)
		(void)munmap(vm->run, vm->run_len);
	free(vm->cpuid);
	fd_close(&vm->vcpu_fd);
	fd_close(&vm->vm_fd);
	fd_close(&vm->kvm_fd);
	if (vm->ram)
		(void)munmap(vm->ram, CG_RAM_LEN);
	if (vm->ro)
		(void)munmap(vm->ro, 4096);
}
