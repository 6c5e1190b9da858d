/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a benchmark's figures depend on: kernel, processor, settings, where this process runs, and
 * what the kernel takes for a virtual machine without anything in it. See bench.h.
 */
#include "vmm/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "vmm/bench_stat.h"
#include "vmm/hostfile.h"

#define CREATE_VM_TRIES 9u
#define TEXT_MAX	512u

static void put(struct json_object *o, const char *key, const char *value)
{
	(void)json_object_object_add(o, key, *value ? json_object_new_string(value) : NULL);
}

struct json_object *bench_host_json(const struct bench_plan *p)
{
	struct json_object *o = json_object_new_object();
	char text[TEXT_MAX];
	struct utsname u;

	if (!o)
		return NULL;
	if (uname(&u) == 0) {
		put(o, "kernel", u.release);
		put(o, "kernel_build", u.version);
		put(o, "machine", u.machine);
	}
	(void)host_cpu_line("model name", text, sizeof(text));
	put(o, "cpu", text);
	(void)json_object_object_add(o, "cpus",
				     json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
	(void)json_object_object_add(o, "memory_mib",
				     json_object_new_int64((int64_t)sysconf(_SC_PHYS_PAGES) / 256 *
							   (sysconf(_SC_PAGESIZE) / 4096)));
	(void)json_object_object_add(o, "is_a_guest",
				     json_object_new_boolean(host_cpu_flag("hypervisor")));
	(void)host_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text,
			sizeof(text));
	put(o, "governor", text);
	(void)host_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text));
	host_chosen(text);
	put(o, "thp", text);
	(void)host_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", text,
			sizeof(text));
	put(o, "clocksource", text);
	(void)host_line("/proc/self/cgroup", text, sizeof(text));
	put(o, "cgroup", text);
	(void)host_line("/proc/loadavg", text, sizeof(text));
	put(o, "load", text);
	(void)host_line("/proc/cmdline", text, sizeof(text));
	put(o, "cmdline", text);
	(void)json_object_object_add(
	    o, "kvm_create_vm_ns",
	    p->create_vm_ns ? json_object_new_int64((int64_t)p->create_vm_ns) : NULL);
	put(o, "version", HUSK_VERSION);
	return o;
}

static const char *str(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && v ? json_object_get_string(v) : "-";
}

void bench_host_print(const struct bench_plan *p, FILE *f)
{
	struct json_object *o = bench_host_json(p);

	if (!o)
		return;
	(void)fprintf(f, "host: Linux %s, %s x %s%s, governor %s, huge pages %s, load %s\n",
		      str(o, "kernel"), str(o, "cpus"), str(o, "cpu"),
		      !strcmp(str(o, "is_a_guest"), "true") ? ", itself a guest" : "",
		      str(o, "governor"), str(o, "thp"), str(o, "load"));
	if (p->create_vm_ns)
		(void)fprintf(f, "      KVM_CREATE_VM alone %.3f ms, in cgroup %s\n",
			      (double)p->create_vm_ns / 1e6, str(o, "cgroup"));
	json_object_put(o);
}

uint64_t bench_create_vm(void)
{
	auto_fd kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	double v[CREATE_VM_TRIES];
	struct bench_stat st;
	size_t n = 0;

	for (unsigned i = 0; kvm >= 0 && i < CREATE_VM_TRIES; i++) {
		uint64_t t = clock_ns();
		auto_fd vm = ioctl(kvm, KVM_CREATE_VM, 0ul);

		if (vm >= 0)
			v[n++] = (double)(clock_ns() - t);
	}
	bench_stat(v, n, &st);
	return (uint64_t)st.median;
}
