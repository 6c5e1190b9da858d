/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process from the agent's side: start, set-up messages, end. The answer to the request is sent
 * when the set-up socket closes: by execve (success) or after an error. EXIT goes out after the
 * answer is known and all of the process's output is with the link.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/child.h"
#include "base/fd.h"

int proc_wait_status(int ws)
{
	return WIFEXITED(ws) ? WEXITSTATUS(ws) : 128 + WTERMSIG(ws);
}

struct proc *proc_by_stream(struct agent *a, uint64_t stream)
{
	list_for_each (n, &a->procs) {
		struct proc *p = list_entry(n, struct proc, node);

		if (p->streams.opened && stream - p->streams.base <= 1)
			return p;
	}
	return NULL;
}

static void setup_close(struct proc *p)
{
	int fd = p->setup.fd;

	ev_del(p->a, &p->setup);
	fd_close(&fd);
}

void proc_free(struct proc *p)
{
	setup_close(p);
	streams_close(&p->streams);
	if (p->c && p->c->init == p)
		p->c->init = NULL;
	list_del(&p->node);
	if (!p->is_init)
		gspec_free_process(&p->spec);
	json_object_put(p->request);
	free(p);
}

/* The request's answer, once. */
static void proc_answer(struct proc *p)
{
	uint32_t req = p->req;
	char json[64];

	if (!req)
		return;
	p->req = 0;
	if (p->failed) {
		calls_reply_fail(p->a, req, &p->error, p->error_status, p->built);
		return;
	}
	if (p->is_init && p->c && p->hold)
		p->c->held = true;
	else if (p->is_init && p->c)
		p->c->running = true;
	(void)snprintf(json, sizeof(json), "{\"pid\":%d}", (int)p->pid);
	calls_reply_ok(p->a, req, json);
}

static void setup_message(struct proc *p, const struct setup_msg *m, size_t len, int fd)
{
	auto_fd master = fd;

	if (len < offsetof(struct setup_msg, text))
		return;
	switch (m->kind) {
	case 'T': {
		int in = master >= 0 ? fcntl(master, F_DUPFD_CLOEXEC, 3) : -1;

		if (in < 0 || p->streams.out[0].fd >= 0) {
			fd_close(&in);
			return;
		}
		(void)fd_set_nonblock(master, 1);
		if (streams_attach(&p->streams, in, fd_take(&master), -1, true) < 0)
			streams_close(&p->streams);
		return;
	}
	case 'B':
		p->built = true;
		return;
	case 'H':
		p->built = true;
		proc_answer(p);
		return;
	case 'X':
		p->execing = true;
		return;
	case 'E':
		p->failed = true;
		p->error_status = m->status;
		(void)err_set(&p->error, -EIO, "%.*s",
			      (int)(len - offsetof(struct setup_msg, text)), m->text);
		return;
	default:
		return;
	}
}

/* Reads what the child has said. True when the socket is at its end. */
static bool setup_read(struct proc *p)
{
	for (;;) {
		struct setup_msg m;
		unsigned nfds = 1;
		int fd = -1;
		ssize_t n = fd_recv(p->setup.fd, &m, sizeof(m), &fd, &nfds);

		if (n == -EAGAIN)
			return false;
		if (n <= 0)
			return true;
		setup_message(p, &m, (size_t)n, nfds ? fd : -1);
	}
}

static void setup_event(struct ev *ev, uint32_t events)
{
	struct proc *p = container_of(ev, struct proc, setup);

	(void)events;
	if (!setup_read(p))
		return;
	if (!p->execing && !p->failed && !p->went) {
		p->failed = true;
		p->error_status = 1;
		(void)err_set(&p->error, -EIO, "the process died while it was being set up");
	}
	setup_close(p);
	/* A failure is told when the child is gone: the container's name is free again then. */
	if (!p->failed || !p->pid)
		proc_answer(p);
	proc_progress(p);
}

int proc_go(struct proc *p, uint32_t req)
{
	ssize_t n = p->hold && p->setup.fd >= 0 ? fd_send(p->setup.fd, "G", 1, NULL, 0) : -ESRCH;

	if (n < 0)
		return (int)n;
	p->hold = false;
	p->went = true;
	p->req = req;
	return 0;
}

void proc_progress(struct proc *p)
{
	if (p->pid || p->setup.fd >= 0)
		return;
	proc_answer(p);
	if (!p->exit_sent && (p->failed || streams_drained(&p->streams))) {
		p->exit_sent = true;
		if (!p->failed && p->streams.opened)
			link_send_exit(p->a->link, p->streams.base, (uint32_t)p->status);
		streams_release(&p->streams);
		if (p->c && p->c->init == p)
			p->c->init = NULL;
	}
	/* The rest is for descendants that still hold the pipes. */
	if (p->exit_sent && streams_idle(&p->streams))
		list_del(&p->node), list_add_tail(&p->a->ended, &p->node);
}

void proc_reaped(struct proc *p, int ws)
{
	p->pid = 0;
	p->status = proc_wait_status(ws);
	if (p->is_init && p->c) {
		p->c->init_pid = 0;
		/* Without a pid name space of its own its children would survive it. */
		(void)cgrp_kill(p->c->id, SIGKILL);
	}
	if (p->setup.fd >= 0)
		setup_event(&p->setup, EPOLLHUP);
	/* The socket outlives the process only where a child of its own holds it: not before
	 * execve. */
	if (p->setup.fd >= 0)
		setup_close(p);
	streams_ended(&p->streams);
	proc_progress(p);
}

struct proc *proc_new(struct container *c, uint64_t base, uint32_t req, struct err *e)
{
	struct proc *p = calloc(1, sizeof(*p));
	int rc;

	if (!p) {
		(void)err_set(e, -ENOMEM, "out of memory");
		return NULL;
	}
	p->a = c->a;
	p->c = c;
	p->req = req;
	p->setup = (struct ev){-1, setup_event};
	rc = streams_open(c->a, &p->streams, p, base);
	if (rc < 0) {
		(void)err_sys(e, rc, "base: stream %llu", (unsigned long long)base);
		free(p);
		return NULL;
	}
	list_add_tail(&c->a->procs, &p->node);
	return p;
}

/* ---- start ----------------------------------------------------------------------------------- */

struct pipes {
	int child[3], agent[3];
};

static void pipes_close(struct pipes *ps)
{
	for (int i = 0; i < 3; i++) {
		fd_close(&ps->child[i]);
		fd_close(&ps->agent[i]);
	}
}

static int pipes_open(struct pipes *ps)
{
	for (int i = 0; i < 3; i++) {
		int fds[2];

		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		ps->child[i] = fds[i == 0 ? 0 : 1];
		ps->agent[i] = fds[i == 0 ? 1 : 0];
		(void)fd_set_nonblock(ps->agent[i], 1);
	}
	return 0;
}

static int pidfd_of(const struct container *c)
{
	int fd = c && c->init_pid ? (int)syscall(SYS_pidfd_open, c->init_pid, 0) : -1;

	return fd < 0 ? -ESRCH : fd;
}

static pid_t do_clone(uint64_t flags, int cgroup_fd)
{
	struct clone_args args = {
	    .flags = flags | CLONE_INTO_CGROUP,
	    .exit_signal = SIGCHLD,
	    .cgroup = (uint64_t)cgroup_fd,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* As do_clone(), into the pid name space of @pidfd; the agent's own children stay in the agent's.
 */
static pid_t clone_into_pidns(uint64_t flags, int cgroup_fd, int pidfd)
{
	auto_fd own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (own < 0)
		return -1;
	if (setns(pidfd, CLONE_NEWPID) < 0)
		return -1;
	pid = do_clone(flags, cgroup_fd);
	if (pid != 0) {
		int saved = errno;

		(void)setns(own, CLONE_NEWPID);
		errno = saved;
	}
	return pid;
}

static int join_fds(struct proc *p, struct child *ch, int *ret_pidns, struct err *e)
{
	const struct spec *s = &p->c->spec;
	const struct {
		const char *id;
		int *fd;
	} joins[] = {
	    {s->join_pid, ret_pidns}, {s->join_ipc, &ch->ipc_fd}, {s->join_uts, &ch->uts_fd}};

	if (!p->is_init) {
		ch->join_fd = pidfd_of(p->c);
		if (ch->join_fd < 0)
			return err_set(e, -ESRCH, "container '%s': not running", p->c->id);
		*ret_pidns = fcntl(ch->join_fd, F_DUPFD_CLOEXEC, 3);
		return *ret_pidns < 0 ? err_sys(e, -errno, "dup") : 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(joins); i++) {
		if (!joins[i].id)
			continue;
		*joins[i].fd = pidfd_of(container_find(p->a, joins[i].id));
		if (*joins[i].fd < 0)
			return err_set(e, -ESRCH,
				       "container '%s', whose name spaces '%s' joins: not running",
				       joins[i].id, p->c->id);
	}
	return 0;
}

static int spawn(struct proc *p, struct child *ch, int pidns, struct err *e)
{
	uint64_t flags = 0;
	auto_fd cg = cgrp_open(p->c->id, p->is_init ? 0 : p->c->init_pid);
	pid_t pid;

	if (cg < 0)
		return err_sys(e, cg, "cgroup of container '%s'", p->c->id);
	/* A cgroup name space has its root where its maker is: the child makes it once it is there.
	 */
	if (p->is_init)
		flags = (uint64_t)(unsigned)(p->c->spec.clone_flags & ~CLONE_NEWCGROUP);
	/* In a user name space of its own, all but the pids are its helper's to make (userns.h). */
	if (flags & CLONE_NEWUSER)
		flags &= CLONE_NEWPID;
	pid = pidns >= 0 ? clone_into_pidns(flags, cg, pidns) : do_clone(flags, cg);
	if (pid == 0)
		child_main(ch);
	if (pid < 0)
		return err_sys(e, -errno, "starting a process in container '%s'", p->c->id);
	p->pid = pid;
	if (p->is_init)
		p->c->init_pid = pid;
	return 0;
}

static void child_fds_close(struct child *ch)
{
	fd_close(&ch->sock);
	fd_close(&ch->join_fd);
	fd_close(&ch->ipc_fd);
	fd_close(&ch->uts_fd);
}

int proc_start(struct proc *p, struct err *e)
{
	struct child ch = {.c = p->c,
			   .p = p->is_init ? &p->c->spec.process : &p->spec,
			   .init = p->is_init,
			   .hold = p->hold,
			   .sock = -1,
			   .stdio = {-1, -1, -1},
			   .join_fd = -1,
			   .ipc_fd = -1,
			   .uts_fd = -1,
			   .helper_sock = -1,
			   .user_fd = -1};
	struct pipes ps CLEANUP(pipes_close) = {{-1, -1, -1}, {-1, -1, -1}};
	auto_fd pidns = -1;
	int pair[2], rc;

	rc = ch.p->terminal ? 0 : pipes_open(&ps);
	if (rc < 0)
		return err_sys(e, rc, "pipe");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, -errno, "socketpair");
	ch.sock = pair[1];
	(void)fd_set_nonblock(pair[0], 1);
	rc = ev_add(p->a, &p->setup, pair[0], EPOLLIN);
	if (rc < 0) {
		(void)close(pair[0]);
		(void)err_sys(e, rc, "epoll");
	}
	memcpy(ch.stdio, ps.child, sizeof(ch.stdio));
	rc = rc ? rc : join_fds(p, &ch, &pidns, e);
	rc = rc ? rc : spawn(p, &ch, pidns, e);
	child_fds_close(&ch);
	if (rc < 0 || ch.p->terminal)
		return rc;
	rc = streams_attach(&p->streams, fd_take(&ps.agent[0]), fd_take(&ps.agent[1]),
			    fd_take(&ps.agent[2]), false);
	/* The process lives; its output is what cannot be had. */
	if (rc < 0)
		(void)kill(p->pid, SIGKILL);
	return 0;
}
