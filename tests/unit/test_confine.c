/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each role's filter, loaded in a child: what the role does passes, what it must not do ends the
 * child with the handler's line. And what the rings of the loop refuse.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "runtime/confine.h"

#define KILLED (128 + SIGSYS)

/* Runs fn() in a child with @role's filter. Returns its status; @said is what it logged. */
static int confined(enum confine_role role, int (*fn)(void), char *said, size_t cap)
{
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	cr_assert_eq(pipe(fds), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct log_config log = {.program = "t", .file_fd = fds[1], .stderr_level = -1};
		struct err e = {0};

		log_setup(&log);
		if (confine_process(&e) < 0 || confine_thread(role, &e) < 0) {
			fprintf(stderr, "%s\n", e.msg);
			_exit(99);
		}
		_exit(fn());
	}
	(void)close(fds[1]);
	n = fd_read_full(fds[0], said, cap - 1);
	said[MAX(n, 0)] = '\0';
	(void)close(fds[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	/* Where the C library has blocked all signals there is no line: in pthread_create(). */
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

#define THREADS CONFINE_STANDIN /* the roles of a sandbox process's threads come first */

/* ---- what nobody may do -------------------------------------------------------------------- */

static int do_execve(void)
{
	return (int)syscall(SYS_execve, "/bin/true", NULL, NULL);
}
static int do_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}
static int do_ptrace(void)
{
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}
static int do_open(void)
{
	return (int)syscall(SYS_open, "/etc/passwd", O_RDONLY);
}
static int do_fork(void)
{
	return (int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}
static int do_newuser(void)
{
	return unshare(CLONE_NEWUSER);
}
static int do_mprotect_exec(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}
static int do_mmap_exec(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED;
}
static int do_tiocsti(void)
{
	return ioctl(0, TIOCSTI, "x");
}
static int do_tiocsti_high(void)
{
	/* The kernel ignores the upper half; so must the filter. */
	return (int)syscall(SYS_ioctl, 0, 0x100000000ul | TIOCSTI, "x");
}
static int do_uring(void)
{
	char params[120] = {0};

	return (int)syscall(SYS_io_uring_setup, 4, params);
}
static int do_uring_register(void)
{
	return (int)syscall(SYS_io_uring_register, 3, 0, NULL, 0);
}
static int do_kill(void)
{
	return kill(getppid(), SIGTERM);
}
static int do_tgkill_other(void)
{
	return (int)syscall(SYS_tgkill, 1, 1, SIGABRT);
}
static int do_tgkill_other_signal(void)
{
	return (int)syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGTERM);
}
static int do_sigaction(void)
{
	return sigaction(SIGSYS, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
}
static int do_prctl(void)
{
	return prctl(PR_SET_DUMPABLE, 1);
}
static int do_mount(void)
{
	return (int)syscall(SYS_mount, "none", "/", NULL, 0, NULL);
}
static int do_setuid(void)
{
	return (int)syscall(SYS_setuid, 0);
}
static int do_x32(void)
{
	return (int)syscall(0x40000000 | SYS_getpid);
}
static int do_memory_of_others(void)
{
	return (int)syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
}

#define CALL(f)                                                                                    \
	{                                                                                          \
#f, f                                                                              \
	}
struct call {
	const char *name;
	int (*fn)(void);
};
static const struct call never[] = {
    CALL(do_execve),	    CALL(do_socket),	   CALL(do_ptrace),
    CALL(do_open),	    CALL(do_fork),	   CALL(do_newuser),
    CALL(do_mprotect_exec), CALL(do_mmap_exec),	   CALL(do_tiocsti),
    CALL(do_tiocsti_high),  CALL(do_uring),	   CALL(do_uring_register),
    CALL(do_kill),	    CALL(do_tgkill_other), CALL(do_tgkill_other_signal),
    CALL(do_sigaction),	    CALL(do_prctl),	   CALL(do_mount),
    CALL(do_setuid),	    CALL(do_x32),	   CALL(do_memory_of_others),
};

Test(confine, nobody_may)
{
	char said[512];

	for (int role = 0; role < THREADS; role++) {
		for (size_t i = 0; i < ARRAY_LEN(never); i++) {
			int rc = confined((enum confine_role)role, never[i].fn, said, sizeof(said));

			cr_expect_eq(rc, KILLED, "%s: %s: status %d", confine_rules[role].what,
				     never[i].name, rc);
			cr_expect(strstr(said, confine_rules[role].what) &&
				      strstr(said, "which it must not"),
				  "%s: %s: '%s'", confine_rules[role].what, never[i].name, said);
		}
	}
}

/* ---- what only some may do ------------------------------------------------------------------- */

static int do_openat(void)
{
	return openat(AT_FDCWD, "/", O_PATH) < 0;
}
static int do_openat2(void)
{
	return syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0) == -1 && errno == EINVAL ? 0 : 1;
}
static int do_kvm_run(void)
{
	return ioctl(-1, KVM_RUN, 0) == -1 && errno == EBADF ? 0 : 1;
}
static int do_create_vm(void)
{
	return ioctl(-1, KVM_CREATE_VM, 0) == -1 && errno == EBADF ? 0 : 1;
}
static int do_uring_enter(void)
{
	return syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0) == -1 && errno == EBADF ? 0 : 1;
}
static int do_chown(void)
{
	return fchownat(-1, "x", 0, 0, 0) == -1 && errno == EBADF ? 0 : 1;
}
static int do_fsuid(void)
{
	return syscall(SYS_setfsuid, -1) < 0;
}
static int do_xattr(void)
{
	char buf[1];

	return getxattr("/nowhere", "user.x", buf, 1) == -1 && errno == ENOENT ? 0 : 1;
}
static int do_send(void)
{
	return send(-1, "x", 1, 0) == -1 && errno == EBADF ? 0 : 1;
}
static int do_unlink(void)
{
	return unlinkat(-1, "x", 0) == -1 && errno == EBADF ? 0 : 1;
}
static int do_tun(void)
{
	return ioctl(-1, TUNSETIFF, 0) == -1 && errno == EBADF ? 0 : 1;
}
static int do_make(void)
{
	return openat(-1, "x", O_CREAT | O_WRONLY, 0) == -1 && errno == EBADF ? 0 : 1;
}
static void *nothing(void *arg)
{
	return arg;
}
static int do_thread(void)
{
	pthread_t t;
	void *ret = NULL;
	int x;

	if (pthread_create(&t, NULL, nothing, &x) != 0 || pthread_join(t, &ret) != 0)
		return 1;
	return ret == &x ? 0 : 2;
}
static int do_groups(void)
{
	gid_t g = 5;

	return (int)syscall(SYS_setgroups, 1, &g);
}

Test(confine, some_may)
{
	static const struct {
		struct call c;
		bool may[THREADS]; /* loop, vCPU, file worker, network */
	} t[] = {
	    {CALL(do_openat), {true, false, true, true}},
	    {CALL(do_openat2), {false, false, true, false}},
	    {CALL(do_kvm_run), {true, true, false, false}},
	    {CALL(do_create_vm), {true, false, false, false}},
	    {CALL(do_uring_enter), {true, false, false, false}},
	    {CALL(do_chown), {false, false, true, false}},
	    {CALL(do_fsuid), {false, false, true, false}},
	    {CALL(do_xattr), {false, false, true, false}},
	    {CALL(do_send), {true, false, false, true}},
	    {CALL(do_unlink), {true, false, true, false}},
	    {CALL(do_tun), {false, false, false, true}},
	    {CALL(do_make), {true, false, true, false}},
	    {CALL(do_thread), {true, false, true, false}},
	    {CALL(do_groups), {false, false, false, false}},
	};
	char said[512];

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		for (int role = 0; role < THREADS; role++) {
			int rc = confined((enum confine_role)role, t[i].c.fn, said, sizeof(said));

			cr_expect_eq(rc, t[i].may[role] ? 0 : KILLED, "%s: %s: status %d: %s",
				     confine_rules[role].what, t[i].c.name, rc, said);
		}
	}
}

/* What the C library does by itself in any thread. */
static int do_ordinary(void)
{
	char *p = malloc(8 << 20), *q;
	uint64_t one = 1;
	sigset_t set;
	int word = 0;

	if (!p)
		return 1;
	memset(p, 1, 8 << 20);
	q = realloc(p, 64 << 20);
	free(q ? q : p);
	for (int i = 0; i < 4000; i++)
		free(malloc((size_t)i * 64));
	if (getrandom(&one, sizeof(one), 0) != sizeof(one) || write(-1, "", 0) != -1)
		return 2;
	(void)sigfillset(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)pthread_setname_np(pthread_self(), "x");
	if (syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0) != 0)
		return 3;
	return 0;
}

Test(confine, ordinary_things_work)
{
	char said[512];

	for (int role = 0; role < THREADS; role++) {
		int rc = confined((enum confine_role)role, do_ordinary, said, sizeof(said));

		cr_expect_eq(rc, 0, "%s: status %d: %s", confine_rules[role].what, rc, said);
	}
}

static void on_abort(int sig)
{
	(void)sig;
	_exit(42);
}
static int do_abort(void)
{
	abort();
}

Test(confine, abort_works)
{
	for (int role = 0; role < THREADS; role++) {
		char said[512];
		int rc;

		/* The child inherits the handler. */
		(void)signal(SIGABRT, on_abort);
		rc = confined((enum confine_role)role, do_abort, said, sizeof(said));
		(void)signal(SIGABRT, SIG_DFL);
		cr_expect_eq(rc, 42, "%s: status %d: %s", confine_rules[role].what, rc, said);
	}
}

static int do_standins(void)
{
	struct winsize ws;
	uint8_t byte;

	(void)poll(NULL, 0, 0);
	(void)ioctl(-1, TIOCGWINSZ, &ws);
	(void)send(-1, "", 1, MSG_NOSIGNAL);
	(void)!read(-1, &byte, 1);
	/* A sanitizer's _exit() does more than this. */
	return (int)syscall(SYS_exit_group, 0);
}
static int do_open_any(void)
{
	return (int)syscall(SYS_openat, AT_FDCWD, "/", O_PATH);
}
static int do_write_any(void)
{
	return (int)write(-1, "", 0);
}
static int do_map_any(void)
{
	return (int)syscall(SYS_munmap, NULL, 4096);
}
static int do_kill_itself(void)
{
	return (int)syscall(SYS_tgkill, getpid(), gettid(), SIGKILL);
}

/* A process of its own, without the handler that writes a line: it has nowhere to write it. */
Test(confine, a_stand_in_may_do_next_to_nothing)
{
	static const struct call more[] = {CALL(do_open_any), CALL(do_write_any),
					   CALL(do_map_any),  CALL(do_kill_itself),
					   CALL(do_thread),   CALL(do_openat2)};
	char said[512];
	int rc = confined(CONFINE_STANDIN, do_standins, said, sizeof(said));

	cr_expect_eq(rc, 0, "status %d: %s", rc, said);
	for (size_t i = 0; i < ARRAY_LEN(never) + ARRAY_LEN(more); i++) {
		const struct call *c =
		    i < ARRAY_LEN(never) ? &never[i] : &more[i - ARRAY_LEN(never)];

		rc = confined(CONFINE_STANDIN, c->fn, said, sizeof(said));
		cr_expect_eq(rc, KILLED, "%s: status %d", c->name, rc);
	}
}

/* ---- threads, capabilities, the line --------------------------------------------------------- */

static void *confined_again(void *arg)
{
	return confine_thread(CONFINE_FILES, arg) == 0 ? NULL : arg;
}
static int do_inherit(void)
{
	struct err e = {0};
	void *ret = &e;
	pthread_t t;

	if (pthread_create(&t, NULL, confined_again, &e) != 0 || pthread_join(t, &ret) != 0)
		return 1;
	return ret ? 2 : 0;
}

Test(confine, a_worker_started_by_a_worker_keeps_the_filter)
{
	char said[512];
	int rc = confined(CONFINE_FILES, do_inherit, said, sizeof(said));

	cr_assert_eq(rc, 0, "status %d: %s", rc, said);
	cr_assert_eq(confined(CONFINE_VCPU, do_inherit, said, sizeof(said)), KILLED);
}

static unsigned long long status_of(const char *field)
{
	auto_free char *text = NULL;
	char *p;

	cr_assert_eq(fd_read_file(AT_FDCWD, "/proc/thread-self/status", 1 << 16, &text, NULL), 0);
	p = strstr(text, field);
	cr_assert(p, "%s", field);
	return strtoull(p + strlen(field), NULL, 16);
}

static void *unconfined_caps(void *arg)
{
	*(unsigned long long *)arg = status_of("CapEff:");
	return NULL;
}

struct worker {
	pthread_barrier_t b;
	unsigned long long caps;
};

static void *file_worker(void *arg)
{
	struct worker *w = arg;

	(void)pthread_barrier_wait(&w->b); /* the other one gives up what it has */
	(void)pthread_barrier_wait(&w->b);
	return unconfined_caps(&w->caps);
}

static void *net_watcher(void *arg)
{
	struct err e = {0};

	if (confine_net_thread(&e) < 0)
		return arg;
	/* Its filter lets it read nothing but what is open: capget() is not among its calls. */
	return NULL;
}

static void *net_caps(void *arg)
{
	struct err e = {0};

	return confine_caps_net(&e) < 0 ? arg : unconfined_caps(arg);
}

Test(confine, capabilities_go_thread_by_thread)
{
	struct worker w;
	unsigned long long net = ~0ull;
	void *failed = NULL;
	const unsigned long long files = 0x880000dfull; /* see confine.c: chown … setfcap */
	const unsigned long long admin = 1ull << CAP_NET_ADMIN;
	unsigned long long had = status_of("CapPrm:"), mine, late = ~0ull;
	struct err e = {0};
	pthread_t t, u;

	cr_assert_eq(confine_process(&e), 0, "%s", e.msg);
	cr_expect_eq(status_of("NoNewPrivs:"), 1);
	cr_expect_eq(status_of("CapBnd:") & ~(files | admin), 0);
	cr_assert_eq(pthread_create(&t, NULL, net_watcher, &w), 0);
	(void)pthread_join(t, &failed);
	cr_expect_null(failed, "the watcher's filter");
	cr_assert_eq(pthread_create(&t, NULL, net_caps, &net), 0);
	(void)pthread_join(t, NULL);
	cr_expect_eq(net, had & admin, "network watcher: %llx", net);
	cr_assert_eq(confine_no_net(&e), 0, "%s", e.msg);
	(void)pthread_barrier_init(&w.b, NULL, 2);
	cr_assert_eq(pthread_create(&t, NULL, file_worker, &w), 0);
	(void)pthread_barrier_wait(&w.b);
	cr_assert_eq(confine_no_caps(&e), 0, "%s", e.msg);
	(void)pthread_barrier_wait(&w.b);
	(void)pthread_join(t, NULL);
	mine = status_of("CapPrm:") | status_of("CapEff:") | status_of("CapInh:");
	cr_assert_eq(pthread_create(&u, NULL, unconfined_caps, &late), 0);
	(void)pthread_join(u, NULL);
	cr_expect_eq(mine, 0);
	cr_expect_eq(late, 0, "a thread started later");
	cr_expect_eq(w.caps, had & files, "file worker: %llx", w.caps);
}

Test(confine, every_rule_stands_with_its_likes)
{
	struct sock_filter prog[CONFINE_PROG_MAX];

	for (int role = 0; role < THREADS; role++) {
		const struct confine_rules *own = &confine_rules[role], *all = &confine_rules_all;
		const struct confine_rule *r[512];
		size_t cnt = 0;
		int n;

		for (size_t i = 0; i < own->cnt; i++)
			r[cnt++] = &own->rule[i];
		for (size_t i = 0; i < all->cnt; i++)
			r[cnt++] = &all->rule[i];
		/* A rule after those of another call would never be reached. */
		for (size_t i = 0; i < cnt; i++)
			for (size_t j = i + 1; j < cnt; j++)
				cr_expect(r[i]->nr != r[j]->nr || r[j - 1]->nr == r[j]->nr,
					  "%s: system call %d in two places", own->what, r[i]->nr);
		n = confine_program((enum confine_role)role, prog);
		cr_expect(n > 0 && n < (int)CONFINE_PROG_MAX / 2, "%s: %d instructions", own->what,
			  n);
	}
}
