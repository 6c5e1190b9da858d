/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM and a move into a cgroup cost in either order: createvm CGROUP-DIR first|last
 *
 * A fresh process opens /dev/kvm, then makes the VM and writes itself into CGROUP-DIR/cgroup.procs, the VM
 * first or last. Prints nanoseconds: KVM_CREATE_VM, the move, both.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"

static uint64_t make_vm(int kvm)
{
	uint64_t t = clock_ns();

	return ioctl(kvm, KVM_CREATE_VM, 0ul) < 0 ? 0 : clock_ns() - t;
}

static uint64_t move(const char *dir)
{
	uint64_t t = clock_ns();
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		return 0;
	(void)close(fd);
	return clock_ns() - t;
}

int main(int argc, char **argv)
{
	uint64_t vm = 0, mv = 0;
	bool first;
	int kvm;

	if (argc != 3 || (strcmp(argv[2], "first") && strcmp(argv[2], "last"))) {
		(void)fprintf(stderr, "usage: createvm CGROUP-DIR first|last\n");
		return 2;
	}
	first = !strcmp(argv[2], "first");
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return 1;
	if (first)
		vm = make_vm(kvm);
	mv = move(argv[1]);
	if (!first)
		vm = make_vm(kvm);
	if (!vm || !mv) {
		(void)fprintf(stderr, "createvm: %s failed\n", vm ? "the move" : "KVM_CREATE_VM");
		return 1;
	}
	(void)printf("%llu %llu %llu\n", (unsigned long long)vm, (unsigned long long)mv,
		     (unsigned long long)(vm + mv));
	return 0;
}
