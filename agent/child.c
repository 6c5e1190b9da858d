/* SPDX-License-Identifier: Apache-2.0 */
/* The child between clone and execve: see child.h. It ends with _exit() or another program. */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/userns.h"
#include "base/fd.h"

#define IOPRIO_WHO_PROCESS 1

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

void signals_restore(void)
{
	struct sigaction sa = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &sa, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static NORETURN void child_fail(const struct child *ch, const struct err *e, int status)
{
	struct setup_msg m = {.kind = 'E', .status = status};
	size_t len = strnlen(e->msg, sizeof(m.text));

	memcpy(m.text, e->msg, len);
	(void)!fd_send(ch->sock, &m, offsetof(struct setup_msg, text) + len, NULL, 0);
	_exit(status); /* the child's end: the agent tells the host why */
}

static int say(const struct child *ch, char kind, const int *fd)
{
	struct setup_msg m = {.kind = kind};
	ssize_t n = fd_send(ch->sock, &m, offsetof(struct setup_msg, text), fd, fd ? 1 : 0);

	return n < 0 ? (int)n : 0;
}

/* The agent's descriptors are not the container's, nor may they keep other processes' pipes open.
 */
static void close_others(const struct child *ch)
{
	int keep[] = {ch->sock,	   ch->stdio[0], ch->stdio[1], ch->stdio[2],
		      ch->join_fd, ch->ipc_fd,	 ch->uts_fd};
	unsigned from = 3;

	for (;;) {
		int next = INT_MAX;

		for (size_t i = 0; i < ARRAY_LEN(keep); i++)
			if (keep[i] >= (int)from && keep[i] < next)
				next = keep[i];
		if (next == INT_MAX)
			break;
		if ((unsigned)next > from)
			(void)close_range(from, (unsigned)next - 1, 0);
		from = (unsigned)next + 1;
	}
	(void)close_range(from, ~0u, 0);
}

static int join(const struct child *ch, struct err *e)
{
	const int flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP |
			  (ch->c->spec.new_time ? CLONE_NEWTIME : 0);

	/* The user name space comes last: userns_join(). */
	if (setns(ch->join_fd, flags) < 0)
		return err_sys(e, -errno, "joining container '%s'", ch->c->id);
	return chdir("/") < 0 ? err_sys(e, -errno, "joining container '%s'", ch->c->id) : 0;
}

static int set_names(const struct spec *s, struct err *e)
{
	if (s->hostname && s->hostname[0] && sethostname(s->hostname, strlen(s->hostname)) < 0)
		return err_sys(e, -errno, "hostname '%s'", s->hostname);
	if (s->domainname && s->domainname[0] &&
	    setdomainname(s->domainname, strlen(s->domainname)) < 0)
		return err_sys(e, -errno, "domainname '%s'", s->domainname);
	return 0;
}

static int build(struct child *ch, struct err *e)
{
	const struct spec *s = &ch->c->spec;
	int rc = 0;

	if (ch->ipc_fd >= 0 && setns(ch->ipc_fd, CLONE_NEWIPC) < 0)
		return err_sys(e, -errno, "namespace 'ipc'");
	if (ch->uts_fd >= 0 && setns(ch->uts_fd, CLONE_NEWUTS) < 0)
		return err_sys(e, -errno, "namespace 'uts'");
	if (s->clone_flags & CLONE_NEWUSER)
		rc = userns_begin(ch, e);
	else if (s->clone_flags & CLONE_NEWCGROUP && unshare(CLONE_NEWCGROUP) < 0)
		rc = err_sys(e, -errno, "namespace 'cgroup'");
	rc = rc ? rc : timens_enter(s, e);
	rc = rc ? rc : set_names(s, e);
	rc = rc ? rc : rootfs_build(ch->c, e);
	return rc ? rc : rootfs_pivot(ch->c, e);
}

/* Needs the agent's procfs: before the pivot. */
static int set_oom(const struct spec_process *p, struct err *e)
{
	char text[16];
	int rc;

	if (!p->has_oom)
		return 0;
	(void)snprintf(text, sizeof(text), "%d", p->oom_score_adj);
	rc = write_text("/proc/self/oom_score_adj", text);
	return rc < 0 ? err_sys(e, rc, "oomScoreAdj %d", p->oom_score_adj) : 0;
}

static int set_scheduling(const struct child *ch, struct err *e)
{
	const struct spec_process *p = ch->p;
	const struct spec_cpus *cpus = p->cpus.set ? &p->cpus : &ch->c->spec.process.cpus;
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t prio;
		uint64_t runtime, deadline, period;
	} attr = {.size = 48,
		  .policy = p->sched.policy,
		  .flags = p->sched.flags,
		  .nice = p->sched.nice,
		  .prio = p->sched.prio,
		  .runtime = p->sched.runtime,
		  .deadline = p->sched.deadline,
		  .period = p->sched.period};

	if (p->sched.set && syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
		return err_sys(e, -errno, "scheduler");
	if (p->ioprio >= 0 && syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, p->ioprio) < 0)
		return err_sys(e, -errno, "ioPriority");
	/* Not for a container's first process (config.md); its setting is for those after it. */
	if (!ch->init && cpus->set && sched_setaffinity(0, sizeof(cpus->cpus), &cpus->cpus) < 0)
		return err_sys(e, -errno, "execCPUAffinity");
	if (ch->c->spec.has_personality && personality(ch->c->spec.personality) < 0)
		return err_sys(e, -errno, "personality");
	/* A session keyring of its own; kernels without keys have none to share. */
	(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	return 0;
}

/* A pty of the container's own devpts, so that its name means something there. */
static int open_pty(int *ret_master, int *ret_slave, struct err *e)
{
	auto_fd master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct statfs sfs;
	struct stat st;
	int unlock = 0;

	if (master < 0)
		return err_sys(e, -errno, "terminal: /dev/pts/ptmx");
	/* The image could have put anything there. */
	if (fstatfs(master, &sfs) < 0 || sfs.f_type != DEVPTS_SUPER_MAGIC ||
	    fstat(master, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
		return err_set(e, -ENOTTY, "terminal: the container has no devpts on /dev/pts");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, -errno, "terminal: unlocking");
	*ret_slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*ret_slave < 0)
		return err_sys(e, -errno, "terminal: opening");
	*ret_master = fd_take(&master);
	return 0;
}

static int bind_console(int slave, struct err *e)
{
	auto_fd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_fd copy = mount_clone(slave, false);
	auto_fd target = jail_open(root, "/dev/console", O_PATH);
	int rc = copy < 0 ? copy : target < 0 ? target : mount_move(copy, target);

	return rc < 0 ? err_sys(e, rc, "device '/dev/console'") : 0;
}

static int set_terminal(const struct child *ch, struct err *e)
{
	struct winsize ws = {.ws_row = ch->p->rows, .ws_col = ch->p->cols};
	auto_fd master = -1;
	auto_fd slave = -1;
	int rc = open_pty(&master, &slave, e);

	if (rc < 0)
		return rc;
	if (ws.ws_row && ws.ws_col)
		(void)ioctl(slave, TIOCSWINSZ, &ws);
	if (fchown(slave, userns_kuid(&ch->c->spec, ch->p->uid), (gid_t)-1) < 0)
		return err_sys(e, -errno, "terminal: owner");
	if (ch->init) {
		rc = bind_console(slave, e);
		if (rc < 0)
			return rc;
	}
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_sys(e, -errno, "terminal: taking control of it");
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			return err_sys(e, -errno, "terminal");
	rc = say(ch, 'T', &master);
	return rc < 0 ? err_sys(e, rc, "terminal: handing it over") : 0;
}

static int set_stdio(const struct child *ch, struct err *e)
{
	if (ch->p->terminal)
		return set_terminal(ch, e);
	for (int i = 0; i < 3; i++) {
		if (dup2(ch->stdio[i], i) < 0)
			return err_sys(e, -errno, "stdio");
		/* A process of a plain user opens /dev/stdout anew. */
		if (fchown(i, userns_kuid(&ch->c->spec, ch->p->uid), (gid_t)-1) < 0)
			return err_sys(e, -errno, "stdio: owner");
	}
	return 0;
}

static int change_dir(const char *cwd, struct err *e)
{
	char buf[PATH_MAX];

	if (chdir(cwd) < 0)
		return err_sys(e, -errno, "chdir to cwd (\"%s\") set in config.json failed", cwd);
	/* The kernel says "(unreachable)" for a directory outside of the root. */
	if (!getcwd(buf, sizeof(buf)))
		return err_sys(e, -errno, "chdir to cwd (\"%s\")", cwd);
	if (buf[0] != '/')
		return err_set(e, -ENOENT, "chdir to cwd (\"%s\"): outside of the container", cwd);
	return 0;
}

/* env with HOME added where it is missing. Never freed: execve follows. */
static const char **full_env(const struct spec_process *p)
{
	char home[PATH_MAX], *entry = NULL;
	const char **env;
	size_t n = 0;

	if (exec_env(p->env, "HOME") || exec_home(p->uid, home, sizeof(home)) < 0)
		return p->env;
	while (p->env[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env || asprintf(&entry, "HOME=%s", home) < 0)
		return p->env;
	memcpy(env, p->env, n * sizeof(*env));
	env[n] = entry;
	return env;
}

static int load_filter(const struct container *c)
{
	struct sock_fprog prog = {.len = (unsigned short)c->filter_len, .filter = c->filter};

	if (!c->filter)
		return 0;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, c->spec.seccomp_flags, &prog) < 0
		   ? -errno
		   : 0;
}

static NORETURN void execute(struct child *ch)
{
	const struct spec_process *p = ch->p;
	const char **env = full_env(p);
	static char path[PATH_MAX];
	struct err e = {0};
	int status = 1, rc;

	rc = ch->init ? starthooks_run(ch->c, &e) : 0;
	rc = rc ? rc : cred_begin(p, &e);
	rc = rc ? rc : change_dir(p->cwd, &e);
	rc = rc ? rc : exec_lookup(p->args[0], env, path, sizeof(path), &status, &e);
	if (rc == 0 && p->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = err_sys(&e, -errno, "noNewPrivileges");
	if (rc < 0)
		child_fail(ch, &e, status);
	(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	(void)say(ch, 'X', NULL);
	rc = load_filter(ch->c);
	if (rc < 0)
		(void)err_sys(&e, rc, "seccomp: loading the filter");
	if (rc == 0) {
		rc = cred_finish(p);
		if (rc < 0)
			(void)err_sys(&e, rc, "dropping capabilities");
	}
	if (rc < 0)
		child_fail(ch, &e, 1);
	(void)execve(path, (char *const *)(uintptr_t)p->args, (char *const *)(uintptr_t)env);
	rc = -errno;
	if (rc == -ENOEXEC)
		(void)err_set(&e, rc, "exec %s: exec format error", path);
	else if (rc == -ENOENT)
		(void)err_set(&e, rc, "exec %s: no such file or directory", path);
	else if (rc == -EACCES)
		(void)err_set(&e, rc, "exec %s: permission denied", path);
	else
		(void)err_sys(&e, rc, "exec %s", path);
	child_fail(ch, &e, rc == -ENOENT ? 127 : 126);
}

/* The container is there, and others may join it; the process itself waits for start. */
static void wait_for_go(const struct child *ch)
{
	unsigned nfds = 0;
	char c;

	if (say(ch, 'H', NULL) < 0 || fd_recv(ch->sock, &c, 1, NULL, &nfds) != 1)
		_exit(1); /* the child's end: the agent has gone, or has ended it */
}

void child_main(struct child *ch)
{
	struct err e = {0};
	int rc;

	signals_restore();
	close_others(ch);
	(void)setsid();
	rc = set_oom(ch->p, &e);
	if (rc == 0)
		rc = ch->init ? build(ch, &e) : join(ch, &e);
	rc = rc ? rc : set_scheduling(ch, &e);
	rc = rc ? rc : set_stdio(ch, &e);
	/* Others find all of the container's name spaces from here on. */
	rc = rc ? rc : cred_limits(ch->p, &e);
	rc = rc ? rc : userns_join(ch, &e);
	if (rc < 0)
		child_fail(ch, &e, 1);
	if (ch->hold)
		wait_for_go(ch);
	else if (ch->init)
		(void)say(ch, 'B', NULL);
	execute(ch);
}
