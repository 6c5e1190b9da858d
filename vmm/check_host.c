/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host offers and how it is set: KVM's capabilities and limits, io_uring, and the settings
 * that cost milliseconds, memory or safety. Only reads; a file that cannot be read is reported so.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include "base/compiler.h"
#include "base/fd.h"
#include "vmm/check.h"
#include "vmm/hostfile.h"

#define FILE_MAX (1u << 20)

/* In newer kernels than the headers we are built with. Documentation/virt/kvm/api.rst */
#ifndef KVM_CAP_BINARY_STATS_FD
#define KVM_CAP_BINARY_STATS_FD 203
#endif

static const struct check_cap caps[] = {
    {"USER_MEMORY", KVM_CAP_USER_MEMORY, true, 0, "guests have no memory"},
    {"SET_TSS_ADDR", KVM_CAP_SET_TSS_ADDR, true, 0, "guests do not start on Intel CPUs"},
    {"EXT_CPUID", KVM_CAP_EXT_CPUID, true, 0, "guests cannot be told which CPU they have"},
    {"SPLIT_IRQCHIP", KVM_CAP_SPLIT_IRQCHIP, true, 0, "guests have no interrupts"},
    {"SIGNAL_MSI", KVM_CAP_SIGNAL_MSI, true, 0, "devices cannot interrupt guests"},
    {"IOEVENTFD", KVM_CAP_IOEVENTFD, true, 0, "guests cannot notify devices"},
    {"IMMEDIATE_EXIT", KVM_CAP_IMMEDIATE_EXIT, true, 0, "vCPUs cannot be stopped safely"},
    {"READONLY_MEM", KVM_CAP_READONLY_MEM, true, 0, "images cannot be shared by guests"},
    {"IRQFD", KVM_CAP_IRQFD, false, 0, "vhost and VFIO devices"},
    {"TSC_DEADLINE_TIMER", KVM_CAP_TSC_DEADLINE_TIMER, false, 0, "the cheapest guest timer"},
    {"GET_TSC_KHZ", KVM_CAP_GET_TSC_KHZ, false, 0, "guests calibrate their TSC: slower boots"},
    {"TSC_CONTROL", KVM_CAP_TSC_CONTROL, false, 0,
     "snapshots keep their TSC rate only on hosts with the same one"},
    {"ADJUST_CLOCK", KVM_CAP_ADJUST_CLOCK, false, 0, "a paused guest's clock jumps"},
    {"KVMCLOCK_CTRL", KVM_CAP_KVMCLOCK_CTRL, false, 0, "a resumed guest may report soft lockups"},
    {"X2APIC_API", KVM_CAP_X2APIC_API, false, 0, "guests have at most 254 vCPUs"},
    {"XSAVE2", KVM_CAP_XSAVE2, false, 0, "snapshots of guests that use AMX"},
    {"VCPU_EVENTS", KVM_CAP_VCPU_EVENTS, false, 0, "snapshots"},
    {"BINARY_STATS_FD", KVM_CAP_BINARY_STATS_FD, false, 0, "counts of exits in statistics"},
    {"HALT_POLL", KVM_CAP_HALT_POLL, false, 0, "halt polling is the host's choice alone"},
    {"X86_DISABLE_EXITS", KVM_CAP_X86_DISABLE_EXITS, false, 0,
     "idle vCPUs cannot be kept on their CPU"},
    {"EXIT_ON_EMULATION_FAILURE", KVM_CAP_EXIT_ON_EMULATION_FAILURE, false, 0,
     "a stopped guest's instruction is not told"},
};
_Static_assert(ARRAY_LEN(caps) <= CHECK_CAP_MAX, "CHECK_CAP_MAX");

static struct check_item *item(struct check_host *h, const char *name, enum check_level level,
			       const char *note)
{
	struct check_item *it;

	BUG_ON(h->item_cnt == CHECK_ITEM_MAX);
	it = &h->item[h->item_cnt++];
	it->name = name;
	it->level = level;
	(void)snprintf(it->note, sizeof(it->note), "%s", note);
	return it;
}

static void value(struct check_item *it, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void value(struct check_item *it, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(it->value, sizeof(it->value), fmt, ap);
	va_end(ap);
}

/* ---- KVM ------------------------------------------------------------------------------------- */
static void check_caps(int kvm_fd, struct check_host *h)
{
	int v;

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		h->cap[i] = caps[i];
		v = ioctl(kvm_fd, KVM_CHECK_EXTENSION, (unsigned long)caps[i].id);
		h->cap[i].value = MAX(v, 0);
	}
	h->cap_cnt = ARRAY_LEN(caps);
}

static void check_limits(int kvm_fd, struct check_limits *l)
{
	auto_fd vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);

	l->vcpus_recommended = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS);
	l->vcpus_max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	l->vcpu_id_max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID);
	l->memslots = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	if (vm_fd >= 0) {
		auto_fd vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0);

		if (vcpu_fd >= 0)
			l->tsc_khz = MAX(ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0), 0);
	}
}

static int phys_bits(int kvm_fd)
{
	auto_free struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	if (!c)
		return 0;
	c->nent = 256;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0)
		return 0;
	for (uint32_t i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 0x80000008)
			return (int)(c->entries[i].eax & 0xff);
	}
	return 0;
}

/* ---- io_uring -------------------------------------------------------------------------------- */
static void check_uring(struct check_host *h)
{
	static const struct {
		int op;
		const char *name;
	} ops[] = {
	    {IORING_OP_READ, "READ"},	      {IORING_OP_WRITE, "WRITE"},
	    {IORING_OP_READV, "READV"},	      {IORING_OP_WRITEV, "WRITEV"},
	    {IORING_OP_FSYNC, "FSYNC"},	      {IORING_OP_FALLOCATE, "FALLOCATE"},
	    {IORING_OP_POLL_ADD, "POLL_ADD"}, {IORING_OP_POLL_REMOVE, "POLL_REMOVE"},
	    {IORING_OP_TIMEOUT, "TIMEOUT"},   {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL"},
	    {IORING_OP_ACCEPT, "ACCEPT"},     {IORING_OP_SENDMSG, "SENDMSG"},
	    {IORING_OP_RECVMSG, "RECVMSG"},
	};
	struct io_uring ring;
	struct io_uring_probe *probe;
	char sysctl[16] = "";
	size_t used;
	int rc = io_uring_queue_init(8, &ring, 0);

	if (rc < 0) {
		(void)host_line("/proc/sys/kernel/io_uring_disabled", sysctl, sizeof(sysctl));
		(void)snprintf(h->uring_reason, sizeof(h->uring_reason),
			       "io_uring is refused: %s%s%s", strerror(-rc),
			       sysctl[0] ? ", kernel.io_uring_disabled=" : "", sysctl);
		return;
	}
	h->uring_works = true;
	probe = io_uring_get_probe_ring(&ring);
	for (size_t i = 0; probe && i < ARRAY_LEN(ops); i++) {
		if (io_uring_opcode_supported(probe, ops[i].op))
			continue;
		used = strlen(h->uring_reason);
		(void)snprintf(h->uring_reason + used, sizeof(h->uring_reason) - used, "%s%s",
			       used ? " " : "io_uring lacks ", ops[i].name);
		h->uring_works = false;
	}
	if (!probe) {
		(void)snprintf(h->uring_reason, sizeof(h->uring_reason),
			       "io_uring does not tell its operations: older than Linux 5.6");
		h->uring_works = false;
	}
	io_uring_free_probe(probe);
	io_uring_queue_exit(&ring);
}

/* ---- settings -------------------------------------------------------------------------------- */
static void check_machine(struct check_host *h)
{
	struct utsname u;
	bool nested = host_cpu_flag("hypervisor");

	if (!uname(&u))
		value(item(h, "kernel", CHECK_OK, ""), "%s", u.release);
	value(item(h, "hardware", nested ? CHECK_NOTE : CHECK_OK,
		   nested ? "every exit of a guest costs several of this machine's own" : ""),
	      "%s", nested ? "a virtual machine" : "bare metal");
	value(item(h, "cpu virtualization", CHECK_OK, ""), "%s",
	      host_cpu_flag("vmx")   ? "vmx"
	      : host_cpu_flag("svm") ? "svm"
				     : "none shown by the CPU");
}

/* Whether a parameter's value is one of the kernel's words for "on". */
static bool is_on(const char *v)
{
	return v[0] == 'Y' || v[0] == 'y' || v[0] == '1';
}

static void check_kvm_params(struct check_host *h)
{
	static const char *const paging[] = {"/sys/module/kvm_intel/parameters/ept",
					     "/sys/module/kvm_amd/parameters/npt"};
	static const char *const nested[] = {"/sys/module/kvm_intel/parameters/nested",
					     "/sys/module/kvm_amd/parameters/nested"};
	char v[64];

	for (size_t i = 0; i < ARRAY_LEN(paging); i++) {
		if (host_line(paging[i], v, sizeof(v)))
			value(item(h, strrchr(paging[i], '/') + 1, is_on(v) ? CHECK_OK : CHECK_WARN,
				   is_on(v) ? ""
					    : "without nested paging every page fault is an exit"),
			      "%s", v);
		if (host_line(nested[i], v, sizeof(v)))
			value(item(h, "nested", CHECK_OK, ""), "%s", v);
	}
	if (host_line("/sys/module/kvm/parameters/nx_huge_pages", v, sizeof(v)))
		value(
		    item(h, "kvm.nx_huge_pages", is_on(v) ? CHECK_WARN : CHECK_OK,
			 is_on(v)
			     ? "code pages are split and each VM gets a kernel thread: slower "
			       "KVM_CREATE_VM; 'never' if the CPU is not affected by iTLB multihit"
			     : ""),
		    "%s", v);
	if (host_line("/sys/module/kvm/parameters/halt_poll_ns", v, sizeof(v)))
		value(item(h, "kvm.halt_poll_ns", strcmp(v, "0") ? CHECK_NOTE : CHECK_OK,
			   strcmp(v, "0")
			       ? "idle vCPUs burn up to so much host CPU before they sleep"
			       : ""),
		      "%s", v);
}

static void check_cgroup(struct check_host *h)
{
	auto_free char *text = NULL;
	bool found = false, dyn = false;

	if (!fd_read_file(AT_FDCWD, "/proc/self/mountinfo", FILE_MAX, &text, NULL)) {
		for (char *line = text, *next; line && *line; line = next) {
			next = strchr(line, '\n');
			if (next)
				*next++ = '\0';
			if (strstr(line, " - cgroup2 ")) {
				found = true;
				dyn = dyn || strstr(line, "favordynmods");
			}
		}
	}
	value(item(h, "cgroup2",
		   !found ? CHECK_WARN
		   : dyn  ? CHECK_OK
			  : CHECK_NOTE,
		   !found ? "no cgroup limits for guests"
		   : dyn  ? ""
			  : "without favordynmods, moving a VM into its cgroup may wait some "
			    "10 ms for an RCU grace period"),
	      "%s",
	      !found ? "not mounted"
	      : dyn  ? "favordynmods"
		     : "mounted");
}

static void check_memory(struct check_host *h)
{
	char v[96];

	if (host_line("/sys/kernel/mm/transparent_hugepage/enabled", v, sizeof(v))) {
		host_chosen(v);
		value(item(h, "transparent hugepages", strcmp(v, "never") ? CHECK_OK : CHECK_WARN,
			   strcmp(v, "never")
			       ? ""
			       : "guest memory in 4 KiB pages: slower boots and walks"),
		      "%s", v);
	}
	if (host_line("/sys/kernel/mm/transparent_hugepage/defrag", v, sizeof(v))) {
		host_chosen(v);
		value(item(h, "hugepage defrag", CHECK_OK, ""), "%s", v);
	}
	if (host_line("/proc/sys/vm/nr_hugepages", v, sizeof(v)))
		value(item(h, "vm.nr_hugepages", CHECK_OK, ""), "%s", v);
	if (host_line("/sys/kernel/mm/ksm/run", v, sizeof(v)))
		value(item(h, "ksm", strcmp(v, "1") ? CHECK_OK : CHECK_WARN,
			   strcmp(v, "1")
			       ? ""
			       : "pages merged across guests are a side channel between them"),
		      "%s", strcmp(v, "1") ? "off" : "running");
	if (host_line("/proc/sys/vm/overcommit_memory", v, sizeof(v)))
		value(item(h, "vm.overcommit_memory", strcmp(v, "2") ? CHECK_OK : CHECK_WARN,
			   strcmp(v, "2") ? ""
					  : "guests' memory is charged in full before it is used"),
		      "%s", v);
	if (host_line("/proc/sys/vm/max_map_count", v, sizeof(v)))
		value(item(h, "vm.max_map_count", CHECK_OK, ""), "%s", v);
}

static void check_rlimit(struct check_host *h, const char *name, int which, rlim_t least,
			 const char *note)
{
	struct rlimit r;
	struct check_item *it;

	if (getrlimit(which, &r))
		return;
	it = item(h, name, r.rlim_max < least ? CHECK_WARN : CHECK_OK,
		  r.rlim_max < least ? note : "");
	if (r.rlim_max == RLIM_INFINITY)
		value(it, "unlimited");
	else
		value(it, "%llu", (unsigned long long)r.rlim_max);
}

static void check_mitigations(struct check_host *h)
{
	static const char *const names[] = {"l1tf", "mds", "spec_store_bypass", "itlb_multihit",
					    "spec_rstack_overflow"};
	char path[96], v[96];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s",
			       names[i]);
		if (!host_line(path, v, sizeof(v)) || !strcmp(v, "Not affected"))
			continue;
		value(item(h, names[i], strncmp(v, "Vulnerable", 10) ? CHECK_OK : CHECK_WARN,
			   strncmp(v, "Vulnerable", 10) ? ""
							: "a guest may read what is not its own"),
		      "%s", v);
	}
	if (host_line("/sys/devices/system/cpu/smt/control", v, sizeof(v)))
		value(item(h, "smt", CHECK_OK, ""), "%s", v);
}

static void check_tun(struct check_host *h)
{
	auto_fd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	unsigned features = 0;
	int rc = fd < 0 ? -errno : ioctl(fd, TUNGETFEATURES, &features) < 0 ? -errno : 0;
	bool hdr = features & IFF_VNET_HDR;

	value(item(h, "/dev/net/tun", rc || !hdr ? CHECK_WARN : CHECK_OK,
		   rc || !hdr ? "guests have no network through taps" : ""),
	      "%s",
	      rc    ? strerror(-rc)
	      : hdr ? "usable"
		    : "without IFF_VNET_HDR");
}

static void check_device(const char *dev, struct check_host *h)
{
	struct stat st;

	if (stat(dev, &st))
		return;
	value(item(h, dev, st.st_mode & 0007 ? CHECK_NOTE : CHECK_OK,
		   st.st_mode & 0007 ? "every user of this host may make VMs" : ""),
	      "mode %03o, user %u, group %u", st.st_mode & 0777u, st.st_uid, st.st_gid);
}

void check_host_run(const char *dev, unsigned flags, struct check_host *h)
{
	auto_fd kvm_fd = -1;

	*h = (struct check_host){.cap_cnt = 0};
	kvm_fd = check_open_kvm(dev, NULL);
	if (kvm_fd >= 0)
		check_caps(kvm_fd, h);
	check_uring(h);
	if (flags & CHECK_QUICK)
		return;
	if (kvm_fd >= 0) {
		check_limits(kvm_fd, &h->limits);
		h->limits.phys_bits = phys_bits(kvm_fd);
	}
	check_machine(h);
	check_device(dev, h);
	check_kvm_params(h);
	check_cgroup(h);
	check_memory(h);
	check_rlimit(h, "RLIMIT_NOFILE", RLIMIT_NOFILE, 1024, "a VM with many devices needs more");
	check_rlimit(h, "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, 1u << 16,
		     "io_uring of kernels before 5.12 needs 64 KiB");
	check_tun(h);
	check_mitigations(h);
}
