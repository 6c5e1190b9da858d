/* SPDX-License-Identifier: Apache-2.0 */
/*
 * husk-agent: PID 1 of the guest. Mounts what a Linux needs, opens the two ports to the sandbox
 * process, and supervises containers until the host says DESTROYPOD or the link breaks; then it
 * powers the machine off. A PID 1 that ends would panic the kernel, so every way out leads there.
 *
 * With --ctl-fd and --io-fd it serves on two descriptors that it inherits instead, for tests: PID 1
 * of fresh pid and mount name spaces then, and it exits instead of powering off.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/container.h"
#include "base/fd.h"
#include "base/log.h"

static struct agent agent;

static NORETURN void reset(void)
{
	(void)reboot(RB_AUTOBOOT);
	for (;;)
		(void)pause();
}

static NORETURN void power_off(void)
{
	if (!agent.guest)
		_exit(agent.why[0] ? 1 : 0);
	(void)reboot(RB_POWER_OFF);
	/* A kernel without a power-off driver: the machine ends at a reset too. */
	reset();
}

static void say(const char *text)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "husk-agent: %s\n", text);
	auto_fd fd = agent.guest ? open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC) : dup(2);

	if (fd >= 0 && n > 0)
		(void)!write(fd, line, MIN((size_t)n, sizeof(line) - 1));
}

/*
 * HUSK_BOOT_TIMER on the kernel's command line, which makes it a variable of PID 1: the boot is all that is wanted, by a
 * VMM that may be another's. A reset is what ends a machine everywhere.
 */
static NORETURN void time_boot(void)
{
	struct err e = {0};

	if (boot_timer(&e) < 0)
		say(e.msg);
	reset();
}

/* Only async-signal-safe calls: a fault may come from anywhere. */
static void on_fault(int sig)
{
	static const char text[] = "husk-agent: fatal signal, powering off\n";
	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	(void)sig;
	(void)!write(fd >= 0 ? fd : 2, text, sizeof(text) - 1);
	if (agent.guest)
		(void)reboot(RB_POWER_OFF);
	_exit(1);
}

static void setup_signals(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
	struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_RESETHAND | SA_NODEFER};

	for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
		(void)sigaction(fatal[i], &sa, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static void on_child(struct ev *ev, uint32_t events)
{
	struct agent *a = container_of(ev, struct agent, child_ev);
	struct signalfd_siginfo si;

	(void)events;
	while (read(ev->fd, &si, sizeof(si)) > 0)
		;
	container_reap(a);
}

static int setup_loop(struct agent *a, struct err *e)
{
	sigset_t set;
	int fd, rc;

	list_init(&a->containers);
	list_init(&a->procs);
	list_init(&a->ended);
	list_init(&a->dials);
	list_init(&a->jobs);
	a->child_ev = (struct ev){-1, on_child};
	a->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (a->epoll_fd < 0)
		return err_sys(e, -errno, "epoll");
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_sys(e, -errno, "signalfd");
	rc = ev_add(a, &a->child_ev, fd, EPOLLIN);
	if (rc < 0) {
		(void)close(fd);
		return err_sys(e, rc, "epoll");
	}
	return 0;
}

static void setup_limits(void)
{
	struct rlimit rl = {1048576, 1048576};

	/* Two or three pipes for each process. Containers start from the spec's limits. */
	(void)setrlimit(RLIMIT_NOFILE, &rl);
}

static int start(struct agent *a, int ctl_fd, int io_fd, struct err *e)
{
	int rc = setup_loop(a, e);

	if (rc == 0)
		rc = boot_mounts(a, e);
	if (rc == 0 && a->guest) {
		boot_sysctls();
		setup_limits();
		rc = boot_find_ports(&ctl_fd, &io_fd, e);
	}
	if (rc == 0)
		rc = boot_cgroups(e);
	if (rc < 0)
		return rc;
	(void)boot_lo_up();
	rc = link_io_start(a, ctl_fd, io_fd);
	if (rc < 0)
		return err_sys(e, rc, "the link");
	(void)link_io_turn(a);
	if (a->guest)
		boot_cpus();
	return 0;
}

static int usage(void)
{
	(void)puts("usage: husk-agent --version | --help | --ctl-fd N --io-fd N\n"
		   "\n"
		   "PID 1 of the guest of husk; started by the kernel without options.\n"
		   "\n"
		   "  --ctl-fd N  serve on inherited descriptors instead of virtio-console ports.\n"
		   "  --io-fd N   For tests, as PID 1 of fresh pid and mount name spaces:\n"
		   "              proc, sysfs, /run and cgroup2 are mounted over what is there.");
	return 0;
}

static int parse_fd(const char *s)
{
	char *end;
	long v = strtol(s, &end, 10);

	if (!*s || *end || v < 0 || v > 1048576 || fcntl((int)v, F_GETFD) < 0)
		return -1;
	(void)fd_set_cloexec((int)v, 1);
	(void)fd_set_nonblock((int)v, 1);
	return (int)v;
}

/* 0 = go on, else exit with *ret. */
static int options(int argc, char **argv, int *ctl_fd, int *io_fd, int *ret)
{
	*ret = 0;
	for (int i = 1; i < argc; i++) {
		int *slot = strcmp(argv[i], "--ctl-fd") == 0  ? ctl_fd
			    : strcmp(argv[i], "--io-fd") == 0 ? io_fd
							      : NULL;

		if (strcmp(argv[i], "--version") == 0) {
			(void)puts("husk-agent " HUSK_VERSION);
			return 1;
		}
		if (strcmp(argv[i], "--help") == 0) {
			(void)usage();
			return 1;
		}
		/* The kernel hands words of its command line that it does not know to PID 1. */
		if (!slot && getpid() == 1)
			continue;
		*ret = 2;
		if (!slot) {
			(void)fprintf(stderr, "husk-agent: option '%s': unknown\n", argv[i]);
			return 1;
		}
		*slot = ++i < argc ? parse_fd(argv[i]) : -1;
		if (*slot < 0) {
			(void)fprintf(stderr, "husk-agent: %s: not an open descriptor\n",
				      argv[i - 1]);
			return 1;
		}
		*ret = 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct log_config quiet = {
	    .program = "husk-agent", .file_fd = -1, .stderr_level = LOG_LVL_WARN};
	int ctl_fd = -1, io_fd = -1, status;
	struct err e = {0};
	int rc;

	if (options(argc, argv, &ctl_fd, &io_fd, &status))
		return status;
	if (getpid() != 1) {
		(void)fprintf(stderr, "husk-agent: not PID 1: it runs in a guest of husk only\n");
		return 2;
	}
	agent.guest = ctl_fd < 0 && io_fd < 0;
	if (!agent.guest && (ctl_fd < 0 || io_fd < 0)) {
		(void)fprintf(stderr, "husk-agent: --ctl-fd and --io-fd belong together\n");
		return 2;
	}
	if (agent.guest && getenv("HUSK_BOOT_TIMER"))
		time_boot();
	if (agent.guest)
		boot_mark_init();
	/* Containers may see the agent's pid; its memory is not theirs to read. */
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)umask(0022);
	setup_signals();
	log_setup(&quiet);
	rc = start(&agent, ctl_fd, io_fd, &e);
	if (rc == 0) {
		rc = agent_loop(&agent);
		if (rc < 0)
			agent_stop(&agent, "epoll: %s", strerror(-rc));
	} else {
		agent_stop(&agent, "%s", e.msg);
	}
	if (agent.why[0])
		say(agent.why);
	container_end_all(&agent);
	sync();
	power_off();
}
