/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory and what is loaded into it. See machine_priv.h.
 *
 * Clearing and copying the kernel's megabytes takes as long as all else that is done before the first
 * KVM_RUN, and making a VM is to a good part waiting for the host's kernel. So a thread of its own
 * loads, from the moment when there is memory until somebody has to know about the kernel. It lives
 * that long and touches nothing but @m->ram, @m->image, @m->initrd and @m->load.
 */
#include "vmm/machine_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/thread.h"
#include "vmm/memmap.h"

#define SMALL_MAX (512 << 10)

static int dup_fd(int fd)
{
	int rc = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return rc < 0 && fd >= 0 ? -errno : rc;
}

int machine_make_memory(struct machine *m, struct err *e)
{
	uint64_t low = memmap_low_len(m->cfg.memory), high = memmap_high_len(m->cfg.memory);
	int rc = mem_ram(&m->ram, m->cfg.memory);

	if (rc < 0)
		return err_sys(e, rc, "%llu MiB of guest memory",
			       (unsigned long long)(m->cfg.memory >> 20));
	rc = gmem_add_ram(&m->gmem, GPA_RAM_LOW, low, m->ram.host);
	if (rc == 0 && high)
		rc = gmem_add_ram(&m->gmem, GPA_RAM_HIGH, high, m->ram.host + low);
	return rc ? err_sys(e, rc, "setting up guest memory") : 0;
}

int machine_give_memory(struct machine *m, struct err *e)
{
	uint64_t low = memmap_low_len(m->cfg.memory), high = memmap_high_len(m->cfg.memory);
	int rc = vm_add_memory(&m->vm, GPA_RAM_LOW, low, m->ram.host, false);

	if (rc == 0 && high)
		rc = vm_add_memory(&m->vm, GPA_RAM_HIGH, high, m->ram.host + low, false);
	return rc ? err_sys(e, rc, "giving memory to the guest") : 0;
}

static int load_initrd(struct machine *m, struct err *e)
{
	const char *name = m->load.initrd_name;
	struct image_src src;
	void *to;
	int rc;

	if (m->load.initrd_fd < 0)
		return 0;
	rc = image_open(&src, m->load.initrd_fd, name, e);
	if (rc == 0)
		rc = boot_place_initrd(&m->image, m->cfg.memory, src.size, &m->initrd, e);
	if (rc < 0)
		return err_wrap(e, "initrd");
	to = gmem_map(&m->gmem, m->initrd, src.size, 1, true);
	rc = to ? image_read(&src, 0, to, src.size) : -EFAULT;
	if (rc < 0)
		return err_sys(e, rc, "initrd '%s'", name);
	m->initrd_len = src.size;
	return 0;
}

static int load(struct machine *m, struct err *e)
{
	struct image_src src;
	int rc;

	if (m->cfg.saved)
		return machine_load_ram(m, e);
	rc = image_open(&src, m->load.kernel_fd, m->kernel_name, e);

	if (rc < 0)
		return err_wrap(e, "kernel");
	rc = image_load(&m->gmem, &src, m->kernel_name, &m->image, e);
	if (rc == 0)
		rc = load_initrd(m, e);
	if (rc == 0 && m->hw == MACHINE_HW_FDT && m->image.proto == BOOT_PVH)
		return err_set(e, -EINVAL,
			       "kernel '%s': a PVH kernel cannot be given a device tree",
			       m->kernel_name);
	return rc;
}

static void *load_main(void *arg)
{
	struct machine *m = arg;

	(void)load(m, &m->load.err);
	return NULL;
}

/* Is it done sooner than a thread is made? */
static bool is_small(int fd)
{
	struct stat st;

	return fd < 0 || (fstat(fd, &st) == 0 && st.st_size < SMALL_MAX);
}

int machine_load_begin(struct machine *m, struct err *e)
{
	struct machine_load *l = &m->load;
	int rc;

	l->kernel_fd = dup_fd(m->cfg.kernel_fd);
	l->initrd_fd = dup_fd(m->cfg.initrd_fd);
	if (l->kernel_fd < 0 && !m->cfg.saved)
		return err_sys(e, l->kernel_fd, "kernel '%s'", m->kernel_name);
	if (m->cfg.initrd_fd >= 0) {
		if (l->initrd_fd < 0)
			return err_sys(e, l->initrd_fd, "initrd '%s'", m->cfg.initrd_name);
		l->initrd_name = strdup(m->cfg.initrd_name);
		if (!l->initrd_name)
			return err_set(e, -ENOMEM, "out of memory");
	}
	if (!m->cfg.saved && is_small(l->kernel_fd) && is_small(l->initrd_fd)) {
		(void)load_main(m);
		return 0;
	}
	rc = thread_start(&l->thread, THREAD_STACK, load_main, m);
	if (rc < 0)
		return err_sys(e, rc, "starting the thread that loads the kernel");
	l->running = true;
	return 0;
}

static void join(struct machine_load *l)
{
	if (l->running)
		(void)pthread_join(l->thread, NULL);
	l->running = false;
	fd_close(&l->kernel_fd);
	fd_close(&l->initrd_fd);
}

int machine_load_await(struct machine *m, struct err *e)
{
	join(&m->load);
	if (m->load.err.code)
		return err_set(e, m->load.err.code, "%s", m->load.err.msg);
	if (m->hw == MACHINE_HW_AUTO)
		m->hw = m->image.proto == BOOT_LINUX64 && m->image.has_of ? MACHINE_HW_FDT
									  : MACHINE_HW_MPTABLE;
	report_stamp(m->cfg.report, PHASE_KERNEL);
	return 0;
}

void machine_load_end(struct machine *m)
{
	join(&m->load);
	free(m->load.initrd_name);
	m->load.initrd_name = NULL;
}
