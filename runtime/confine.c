/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confinement of a sandbox process. See confine.h; confine_rules.c has the lists.
 *
 * The filters are assembled here, from tables, in a few microseconds: libseccomp, which compiles
 * the containers' own profiles, takes some forty times as long, at each start.
 */
#include "runtime/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/log.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#define SYSCALL_ARGS(regs)                                                                         \
	{                                                                                          \
		(regs)[REG_RDI], (regs)[REG_RSI], (regs)[REG_RDX]                                  \
	}
#else
#error "confinement: this architecture has no list of system calls"
#endif

#define FROM_FILTER 1 /* SYS_SECCOMP of Linux's asm-generic/siginfo.h, which the C library lacks */

/* ---- capabilities ---------------------------------------------------------------------------- */

/* What the file workers need to act for the container's users; and the network watcher's one. */
static const unsigned keep[] = {CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
				CAP_FSETID,  CAP_MKNOD,	       CAP_SETGID,	    CAP_SETUID,
				CAP_SETFCAP, CAP_NET_ADMIN};

static int keep_caps(struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0}, have[2] = {0};

	if (syscall(SYS_capget, &head, have) < 0)
		return err_sys(e, -errno, "reading capabilities");
	for (size_t i = 0; i < ARRAY_LEN(keep); i++)
		data[keep[i] / 32].permitted |= 1u << (keep[i] % 32);
	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted &= have[i].permitted;
		data[i].effective = data[i].permitted;
	}
	for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c) >= 0; c++)
		if (!(c < 64 && (data[c / 32].permitted & (1u << (c % 32)))))
			(void)prctl(PR_CAPBSET_DROP, c);
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(e, -errno, "dropping capabilities");
	return 0;
}

int confine_no_caps(struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	if (syscall(SYS_capset, &head, none) < 0)
		return err_sys(e, -errno, "dropping capabilities");
	return 0;
}

/* CAP_NET_ADMIN and no other, or all that there are but that. */
static int split_net(bool alone, struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};
	const uint32_t net = 1u << CAP_NET_ADMIN;

	if (syscall(SYS_capget, &head, data) < 0)
		return err_sys(e, -errno, "reading capabilities");
	data[0].permitted &= alone ? net : ~net;
	data[0].effective = data[0].permitted;
	data[1].permitted = data[1].effective = alone ? 0 : data[1].permitted;
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(e, -errno, "dropping capabilities");
	return 0;
}

int confine_no_net(struct err *e)
{
	return split_net(false, e);
}

int confine_caps_net(struct err *e)
{
	return split_net(true, e);
}

int confine_net_thread(struct err *e)
{
	int rc = confine_caps_net(e);

	return rc < 0 ? rc : confine_thread(CONFINE_NET, e);
}

/* ---- a forbidden call ------------------------------------------------------------------------ */

static _Thread_local const char *who = "unconfined";
static struct {
	int fd;
	bool json;
} lines = {.fd = -1};

static size_t put_text(char *buf, size_t n, const char *text)
{
	size_t len = strlen(text);

	memcpy(buf + n, text, len);
	return n + len;
}

static size_t put_number(char *buf, size_t n, unsigned long long v, unsigned base)
{
	char digits[20];
	unsigned cnt = 0;

	do {
		digits[cnt++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (cnt)
		buf[n++] = digits[--cnt];
	return n;
}

/* Async-signal-safe, and within every role's filter. The stack has room: the texts are ours. */
static void on_forbidden(int sig, siginfo_t *si, void *ctx)
{
	const ucontext_t *uc = ctx;
	const long long args[] = SYSCALL_ARGS(uc->uc_mcontext.gregs);
	char buf[320];
	size_t n;

	(void)sig;
	if (si->si_code != FROM_FILTER) /* somebody's kill(2) */
		_exit(128 + SIGSYS);
	n = put_text(buf, 0, lines.json ? "{\"level\":\"error\",\"msg\":\"" : "level=error msg=\"");
	if (lines.fd == STDERR_FILENO)
		n = put_text(buf, 0, "husk: ");
	n = put_text(buf, n, "a ");
	n = put_text(buf, n, who);
	n = put_text(buf, n, " thread made system call ");
	n = put_number(buf, n, (unsigned)si->si_syscall, 10);
	for (unsigned i = 0; i < ARRAY_LEN(args); i++) {
		n = put_text(buf, n, i ? ", 0x" : " (0x");
		n = put_number(buf, n, (unsigned long long)args[i], 16);
	}
	n = put_text(buf, n, "), which it must not: the sandbox ends");
	if (lines.fd != STDERR_FILENO)
		n = put_text(buf, n, lines.json ? "\"}" : "\"");
	buf[n++] = '\n';
	if (lines.fd >= 0 && write(lines.fd, buf, n) < 0)
		lines.fd = -1; /* nobody to tell */
	_exit(128 + SIGSYS);
}

static int catch_forbidden(struct err *e)
{
	const struct log_config *log = log_current();
	struct sigaction sa = {.sa_flags = SA_SIGINFO, .sa_sigaction = on_forbidden};
	sigset_t set;

	lines.fd = log->file_fd >= 0 ? log->file_fd : log->stderr_level >= 0 ? STDERR_FILENO : -1;
	lines.json = log->json;
	(void)sigfillset(&sa.sa_mask);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGSYS);
	if (sigaction(SIGSYS, &sa, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &set, NULL) < 0)
		return err_sys(e, -errno, "handler of forbidden system calls");
	return 0;
}

int confine_process(struct err *e)
{
	int rc = keep_caps(e);

	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = err_sys(e, -errno, "no_new_privs");
	if (rc == 0)
		rc = catch_forbidden(e);
	/* Left alone, malloc asks for the number of CPUs, some versions in a file of sysfs. */
	(void)mallopt(M_ARENA_MAX, 2);
	return rc;
}

/* ---- filters --------------------------------------------------------------------------------- */

#define GROUPS_MAX 128u

struct prog {
	struct sock_filter *insn;
	unsigned cnt;
	bool full;
};

static void emit(struct prog *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	if (p->cnt == CONFINE_PROG_MAX) {
		p->full = true;
		return;
	}
	p->insn[p->cnt++] = (struct sock_filter){.code = code, .k = k, .jt = jt, .jf = jf};
}

static void emit_load(struct prog *p, size_t off)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)off, 0, 0);
}

static void emit_return(struct prog *p, uint32_t what)
{
	emit(p, BPF_RET | BPF_K, what, 0, 0);
}

/* One comparison; when it fails, on to what stands @skip instructions behind it. */
static void emit_cmp(struct prog *p, const struct confine_cmp *c, unsigned skip)
{
	uint32_t val = c->val;

	if (c->kind == CONFINE_CMP_PID)
		val = (uint32_t)getpid();
	else if (c->kind == CONFINE_CMP_RTSIG)
		val += (uint32_t)SIGRTMIN;
	/* The low word: little-endian, as every machine here. */
	emit_load(p, offsetof(struct seccomp_data, args[0]) + c->arg * sizeof(uint64_t));
	if (c->mask != ~0u)
		emit(p, BPF_ALU | BPF_AND | BPF_K, c->mask, 0, 0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, val, 0, (uint8_t)skip);
}

static unsigned cmp_len(const struct confine_cmp *c)
{
	return c->mask != ~0u ? 3 : 2;
}

static void emit_rule(struct prog *p, const struct confine_rule *r)
{
	unsigned rest = 1;

	for (unsigned i = 0; i < r->cnt; i++)
		rest += cmp_len(&r->cmp[i]);
	for (unsigned i = 0; i < r->cnt; i++) {
		rest -= cmp_len(&r->cmp[i]);
		emit_cmp(p, &r->cmp[i], rest);
	}
	emit_return(p, r->err ? SECCOMP_RET_ERRNO | r->err : SECCOMP_RET_ALLOW);
}

/* The rules of one system call. */
struct group {
	const struct confine_rule *rule;
	size_t cnt;
};

/* Entered with the number of a system call loaded that is this one or has no rules. */
static void emit_group(struct prog *p, const struct group *g)
{
	unsigned over;

	emit(p, BPF_JMP | BPF_JEQ | BPF_K, (unsigned)g->rule->nr, 1, 0);
	emit_return(p, SECCOMP_RET_TRAP);
	over = p->cnt;
	for (size_t i = 0; i < g->cnt; i++)
		emit_rule(p, &g->rule[i]);
	if (p->cnt != over + 1) /* not allowed as it is: what no comparison has let through */
		emit_return(p, SECCOMP_RET_TRAP);
}

/*
 * A binary search: the kernel runs the program for every system call there is when it is loaded,
 * to see which are allowed whatever their arguments. One after the other costs twice the time.
 */
static void emit_search(struct prog *p, const struct group *g, size_t cnt)
{
	size_t half = cnt / 2;
	unsigned over;

	if (cnt == 1) {
		emit_group(p, g);
		return;
	}
	emit(p, BPF_JMP | BPF_JGE | BPF_K, (unsigned)g[half].rule->nr, 0, 1);
	over = p->cnt;
	emit(p, BPF_JMP | BPF_JA, 0, 0, 0);
	emit_search(p, g, half);
	if (!p->full)
		p->insn[over].k = p->cnt - over - 1;
	emit_search(p, g + half, cnt - half);
}

static int by_nr(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return x->rule->nr - y->rule->nr;
}

static size_t add_groups(struct group *g, size_t cnt, const struct confine_rules *r)
{
	for (size_t i = 0; i < r->cnt; i++) {
		if (i && r->rule[i].nr == r->rule[i - 1].nr)
			g[cnt - 1].cnt++;
		else if (cnt < GROUPS_MAX)
			g[cnt++] = (struct group){.rule = &r->rule[i], .cnt = 1};
	}
	return cnt;
}

int confine_program(enum confine_role role, struct sock_filter *insn)
{
	struct prog p = {.insn = insn};
	struct group group[GROUPS_MAX];
	size_t cnt = add_groups(group, 0, &confine_rules[role]);

	if (role != CONFINE_STANDIN) /* it has neither threads nor memory to ask for */
		cnt = add_groups(group, cnt, &confine_rules_all);
	qsort(group, cnt, sizeof(*group), by_nr);
	emit_load(&p, offsetof(struct seccomp_data, arch));
	emit(&p, BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
	emit_return(&p, SECCOMP_RET_KILL_PROCESS);
	/* The numbers of x32 are none of those below. */
	emit_load(&p, offsetof(struct seccomp_data, nr));
	emit_search(&p, group, cnt);
	return p.full || cnt == GROUPS_MAX ? -E2BIG : (int)p.cnt;
}

int confine_thread(enum confine_role role, struct err *e)
{
	struct sock_filter insn[CONFINE_PROG_MAX];
	struct sock_fprog prog = {.filter = insn};
	sigset_t set;
	int n;

	who = confine_rules[role].what;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGSYS);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	n = confine_program(role, insn);
	if (n < 0)
		return err_set(e, n, "the %s threads' filter is too long", who);
	prog.len = (unsigned short)n;
	/* -EALREADY is the answer of the role's own filter: the thread has inherited it. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 && errno != EALREADY)
		return err_sys(e, -errno, "filtering system calls of the %s thread", who);
	return 0;
}

int confine_standin(struct err *e)
{
	int rc = confine_no_caps(e);

	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = err_sys(e, -errno, "no_new_privs");
	return rc < 0 ? rc : confine_thread(CONFINE_STANDIN, e);
}
