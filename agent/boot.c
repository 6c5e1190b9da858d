/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PID 1 does before it serves: mounts, sysctls, processors, the two ports. Everything here is
 * the guest's own and trusted; nothing of a container exists yet.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <sys/io.h>
#endif

#include "agent/agent.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

/* The machine's ABI: port 0x80 takes phase markers, 0x41 = init runs. */
#define MARK_PORT 0x80
#define MARK_INIT 0x41

/* Firecracker, --boot-timer (its src/vmm/src/devices/pseudo/boot_timer.rs): a byte of 123 at this address = init runs. */
#define TIMER_GPA     0xc0000000
#define TIMER_INIT    123
#define TIMER_PAGE    4096u

#define PORTS_WAIT_NS (30 * NS_PER_SEC)
#define VIRTIO_PORTS  "/sys/class/virtio-ports"

int write_text(const char *path, const char *text)
{
	auto_fd fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	return fd_write_full(fd, text, strlen(text));
}

void boot_mark_init(void)
{
#ifdef __x86_64__
	unsigned eax, ebx, ecx, edx;

	/* Bit 31 of ECX: below a hypervisor. On bare metal the port is somebody else's. */
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & (1u << 31)))
		return;
	if (ioperm(MARK_PORT, 1, 1) < 0)
		return;
	outb(MARK_INIT, MARK_PORT);
	(void)ioperm(MARK_PORT, 1, 0);
#endif
}

int boot_timer(struct err *e)
{
	auto_fd fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	volatile uint8_t *at;

	if (fd < 0)
		return err_sys(e, -errno, "boot timer: /dev/mem");
	at = mmap(NULL, TIMER_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, TIMER_GPA);
	if (at == MAP_FAILED)
		return err_sys(e, -errno, "boot timer: mapping %#x", TIMER_GPA);
	*at = TIMER_INIT;
	(void)munmap((void *)(uintptr_t)at, TIMER_PAGE);
	return 0;
}

static const struct boot_mount {
	const char *type, *dir;
	unsigned long flags;
	const char *data;
	bool must, guest_only;
} mounts[] = {
    {"devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755", true, true},
    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true, false},
    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true, false},
    {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755", true, false},
    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", true, true},
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620,gid=5", true, true},
    {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", false, true},
    {"mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false, true},
    {"cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate", true, false},
};

int boot_mounts(struct agent *a, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		const struct boot_mount *m = &mounts[i];

		if (m->guest_only && !a->guest)
			continue;
		(void)mkdir(m->dir, 0755);
		/* EBUSY: mounted already (CONFIG_DEVTMPFS_MOUNT). */
		if (mount(m->type, m->dir, m->type, m->flags, m->data) < 0 && errno != EBUSY &&
		    m->must)
			return err_sys(e, -errno, "mounting %s on %s", m->type, m->dir);
	}
	if ((mkdir("/run/husk", 0700) < 0 && errno != EEXIST) ||
	    (mkdir(AGENT_ROOT_DIR, 0755) < 0 && errno != EEXIST))
		return err_sys(e, -errno, "making " AGENT_ROOT_DIR);
	/* A mount of a builder must never come back here. */
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, -errno, "making the mounts private");
	return 0;
}

void boot_sysctls(void)
{
	static const char *const settings[][2] = {
	    {"/proc/sys/fs/nr_open", "1073741816"}, /* containers bring limits of their hosts */
	    {"/proc/sys/fs/inotify/max_user_instances", "8192"},
	    {"/proc/sys/kernel/ctrl-alt-del", "0"},
	    {"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
	    {"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
	};

	/* Where the kernel has none of it, nobody can use it either. */
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		(void)!write_text(settings[i][0], settings[i][1]);
}

static bool has_word(const char *list, const char *word, size_t len)
{
	for (const char *p = list; (p = strstr(p, word)) != NULL; p += len)
		if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\n' || !p[len]))
			return true;
	return false;
}

/*
 * Turns controllers on for the children of @dir. In one write, because each costs the kernel the same
 * whatever is in it. Where one cannot be had, the write changes nothing; then one by one, and a limit
 * of a controller that is missing fails later and says which file is not there.
 */
static void turn_on(const char *dir, const char *all)
{
	char path[64], one[32];

	(void)snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	if (write_text(path, all) == 0)
		return;
	for (const char *p = all; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		(void)snprintf(one, sizeof(one), "%.*s", (int)len, p);
		(void)!write_text(path, one);
		p += len;
	}
}

int boot_cgroups(struct err *e)
{
	static const char *const wanted[] = {"cpuset",	"cpu",	"io",  "memory",
					     "hugetlb", "pids", "misc"};
	auto_free char *have = NULL;
	char on[128] = "";
	size_t len = 0;

	if (fd_read_file(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers", 8192, &have, NULL) < 0)
		return err_set(e, -ENOENT, "/sys/fs/cgroup: not a cgroup v2 hierarchy");
	if (mkdir(AGENT_CGROUP_TOP, 0755) < 0 && errno != EEXIST)
		return err_sys(e, -errno, "making " AGENT_CGROUP_TOP);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (has_word(have, wanted[i], strlen(wanted[i])))
			len += (size_t)snprintf(on + len, sizeof(on) - len, "%s+%s", len ? " " : "",
						wanted[i]);
	turn_on("/sys/fs/cgroup", on);
	turn_on(AGENT_CGROUP_TOP, on);
	return 0;
}

/* In a child, since each processor takes its time and nothing waits for them. */
void boot_cpus(void)
{
	char path[64];
	pid_t pid = fork();

	if (pid != 0)
		return;
	for (unsigned n = 1;; n++) {
		(void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", n);
		if (write_text(path, "1") == -ENOENT)
			_exit(0); /* the child's end: no more processors */
	}
}

int boot_lo_up(void)
{
	auto_fd s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_name = "lo"};

	if (s < 0)
		return -errno;
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(s, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

/* Looks through /sys/class/virtio-ports; sets what it finds, as open descriptors. */
static void scan_ports(int *ctl, int *io)
{
	DIR *d = opendir(VIRTIO_PORTS);
	struct dirent *de;

	while (d && (de = readdir(d)) != NULL) {
		char path[sizeof(VIRTIO_PORTS) + sizeof(de->d_name) + 8];
		auto_free char *name = NULL;
		int *slot = NULL;

		if (de->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), VIRTIO_PORTS "/%s/name", de->d_name);
		/* sysfs says 4096 bytes for every file. */
		if (fd_read_file(AT_FDCWD, path, 8192, &name, NULL) < 0)
			continue;
		name[strcspn(name, "\n")] = '\0';
		if (strcmp(name, LINK_PORT_CTL) == 0)
			slot = ctl;
		else if (strcmp(name, LINK_PORT_IO) == 0)
			slot = io;
		if (!slot || *slot >= 0)
			continue;
		(void)snprintf(path, sizeof(path), "/dev/%s", de->d_name);
		*slot = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	if (d)
		(void)closedir(d);
}

int boot_find_ports(int *ret_ctl, int *ret_io, struct err *e)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = 1};
	uint64_t end = clock_ns() + PORTS_WAIT_NS;
	auto_fd ctl = -1;
	auto_fd io = -1;
	auto_fd nl = -1;

	scan_ports(&ctl, &io);
	if (ctl < 0 || io < 0) {
		/* A port gets its name some time after the driver was bound; the kernel tells. */
		nl = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			    NETLINK_KOBJECT_UEVENT);
		if (nl < 0 || bind(nl, (struct sockaddr *)&sa, sizeof(sa)) < 0)
			return err_sys(e, -errno, "listening for kernel events");
		scan_ports(&ctl, &io);
	}
	while (ctl < 0 || io < 0) {
		struct pollfd pfd = {.fd = nl, .events = POLLIN};
		uint64_t now = clock_ns();
		char buf[4096];

		if (now >= end || poll(&pfd, 1, (int)((end - now) / NS_PER_MS) + 1) == 0)
			return err_set(e, -ETIMEDOUT, "virtio console port '%s': not there",
				       ctl < 0 ? LINK_PORT_CTL : LINK_PORT_IO);
		while (recv(nl, buf, sizeof(buf), 0) > 0)
			;
		scan_ports(&ctl, &io);
	}
	*ret_ctl = fd_take(&ctl);
	*ret_io = fd_take(&io);
	return 0;
}
