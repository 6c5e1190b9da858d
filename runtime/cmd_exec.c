/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verb exec. The sandbox process gets the descriptors and does the I/O; what is left on the
 * host is the stand-in (standin.h): this command itself in the foreground, a process of its own
 * detached.
 *
 * Failures exit with 255, as runc's do, but for mistakes on the command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sigfd.h"
#include "runtime/cli.h"
#include "runtime/client.h"
#include "runtime/cmds.h"
#include "runtime/console.h"
#include "runtime/exec_spec.h"
#include "runtime/spec.h"
#include "runtime/standin.h"
#include "runtime/state.h"
#include "vmm/term.h"

#define EXEC_FAILED 255

struct execution {
	struct cli *c;
	struct state s;
	struct json_object *process;
	bool terminal;
	int dir, sock, own_tty, sig_fd;
	struct console con;
	struct standin st;
};

/* What cannot be had, by name. */
static int check_options(const struct cli *c, struct err *e)
{
	const struct cli_opts *o = &c->o;

	if (c->argc == 0)
		return err_set(e, -EINVAL, "exec: needs the ID of a container");
	if (c->argc == 1 && !o->process)
		return err_set(e, -EINVAL, "exec: process args cannot be empty");
	if (c->argc > 1 && o->process)
		return err_set(e, -EINVAL, "exec: a command beside --process");
	if (o->preserve_fds && strcmp(o->preserve_fds, "0") != 0)
		return err_set(e, -ENOTSUP,
			       "exec: --preserve-fds: descriptors do not cross into a VM");
	if (o->process_label && *o->process_label)
		return err_set(e, -ENOTSUP, "exec: --process-label: the guest has no SELinux");
	if (o->apparmor && *o->apparmor)
		return err_set(e, -ENOTSUP, "exec: --apparmor: the guest has no AppArmor");
	if (o->cgroup && strcmp(o->cgroup, "/") != 0 && *o->cgroup)
		return err_set(e, -ENOTSUP,
			       "exec: --cgroup: not supported: a process of an exec is in its "
			       "container's cgroup");
	return state_check_id(c->argv[0], e);
}

static int check_state(const struct execution *x, struct err *e)
{
	switch (x->s.status) {
	case STATE_CREATING:
		return err_set(e, -EAGAIN, "container '%s' is still being created", x->s.id);
	case STATE_STOPPED:
		return err_set(e, -ESRCH, "container not running: '%s' has stopped", x->s.id);
	default:
		return 0;
	}
}

static int read_process(struct execution *x, struct err *e)
{
	const struct cli_opts *o = &x->c->o;
	auto_free char *text = NULL;
	auto_free char *own = NULL;
	auto_json spec = NULL;
	size_t len = 0, own_len = 0;
	int rc = fd_read_file(x->dir, STATE_SPEC, SPEC_SIZE_MAX, &text, &len);

	if (rc < 0)
		return err_sys(e, rc, "container '%s': " STATE_SPEC, x->s.id);
	rc = json_parse(text, len, STATE_SPEC, &spec, e);
	if (rc == 0 && o->process) {
		rc = fd_read_file(AT_FDCWD, o->process, SPEC_SIZE_MAX, &own, &own_len);
		if (rc < 0)
			return err_sys(e, rc, "process file '%s'", o->process);
		rc = exec_spec_from_text(spec, own, own_len, &x->process, e);
		/* conmon says it twice. */
		if (rc == 0 && o->tty)
			json_add_bool(x->process, "terminal", true);
	} else if (rc == 0) {
		const struct exec_flags f = {.cwd = o->cwd,
					     .user = o->user,
					     .env = o->env,
					     .caps = o->caps,
					     .gids = o->gids,
					     .tty = o->tty,
					     .no_new_privs = o->no_new_privs,
					     .args = x->c->argv + 1,
					     .arg_cnt = (size_t)x->c->argc - 1};

		rc = exec_spec_from_flags(spec, &f, &x->process, e);
	}
	if (rc < 0)
		return rc;
	x->terminal = json_flag(x->process, "terminal", false);
	return console_check(x->terminal, o->detach, o->console_socket, e);
}

static int prepare_terminal(struct execution *x, struct err *e)
{
	int rc;

	if (!x->terminal)
		return 0;
	if (x->c->o.console_socket) {
		rc = console_open(&x->con, x->process, e);
		return rc ? rc : console_send(&x->con, x->c->o.console_socket, e);
	}
	x->own_tty = console_own(e);
	if (x->own_tty < 0)
		return x->own_tty;
	console_add_size(x->process, x->own_tty);
	return 0;
}

/*
 * A description of our own that does not block, for a terminal: the sandbox process has no right to
 * open another user's anew. A copy of anything else.
 */
static int reopen(int fd)
{
	char path[32];
	int mine = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (isatty(fd))
		mine = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return mine < 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : mine;
}

/* Until the process runs in the guest, or why it does not. */
static int ask(struct execution *x, struct err *e)
{
	auto_fd in = x->terminal && x->con.slave < 0 ? reopen(0) : -1;
	auto_fd out = x->terminal && x->con.slave < 0 ? reopen(1) : -1;
	int fds[3] = {in >= 0 ? in : 0, out >= 0 ? out : 1, 2}, status, rc;
	auto_json req = json_object_new_object();
	auto_json answer = NULL;

	if (x->con.slave >= 0)
		fds[0] = fds[1] = x->con.slave;
	json_add_str(req, "op", "exec");
	json_add_bool(req, "ignorePaused", x->c->o.ignore_paused);
	json_add_i64(req, "pid", x->c->o.detach ? x->st.pid : getpid());
	(void)json_object_object_add(req, "process", json_object_get(x->process));
	rc = client_ask(x->dir, x->sock, req, fds, x->terminal ? 2 : 3, &answer, &status, e);
	if (rc == -ECONNREFUSED && !e->code)
		return err_set(e, -ESRCH, "container not running");
	return rc;
}

static int detached(struct execution *x, struct err *e)
{
	int rc = cmds_tell_pid(&x->c->o, x->st.pid, e);

	return rc ? rc : standin_commit(&x->st, x->con.slave, e);
}

/* Before the process runs: what it writes at once is seen raw, and signals that answer to that are for it. */
static int take_over(struct execution *x, struct err *e)
{
	if (x->own_tty >= 0 && term_foreground(x->own_tty)) {
		int rc = term_raw(x->own_tty);

		if (rc < 0)
			return err_sys(e, rc, "terminal: raw mode");
	}
	x->sig_fd = sigfd_open(NULL, 0, e);
	return MIN(x->sig_fd, 0);
}

static int foreground(struct execution *x, struct err *e)
{
	int rc = cmds_tell_pid(&x->c->o, getpid(), e);

	return rc ? rc : standin_wait(x->sock, x->sig_fd, x->own_tty);
}

static int execute(struct execution *x, struct err *e)
{
	CLEANUP(cgroup_free) struct cgroup cgroup = {0};
	bool detach = x->c->o.detach;
	int rc = cmds_open_state(x->c, x->c->argv[0], &x->dir, &x->s, e);

	if (rc == 0)
		rc = check_state(x, e);
	if (rc < 0)
		return rc;
	x->sock = client_dial(x->dir, e);
	if (x->sock == -ECONNREFUSED && !e->code)
		return err_set(e, -ESRCH, "container not running");
	if (x->sock < 0)
		return x->sock;
	/* Now, while this process is small. */
	rc = detach && x->s.cgroup ? cgroup_from_json(&cgroup, x->s.cgroup, e) : 0;
	if (rc == 0 && detach)
		rc = standin_fork(&x->st, x->sock, &cgroup, e);
	if (rc == 0)
		rc = read_process(x, e);
	if (rc == 0)
		rc = prepare_terminal(x, e);
	if (rc == 0 && !detach)
		rc = take_over(x, e);
	if (rc == 0)
		rc = ask(x, e);
	if (rc < 0)
		return rc;
	return detach ? detached(x, e) : foreground(x, e);
}

int cmd_exec(struct cli *c, struct err *e)
{
	struct execution x = {.c = c,
			      .dir = -1,
			      .sock = -1,
			      .own_tty = -1,
			      .sig_fd = -1,
			      .con = {-1, -1},
			      .st = {-1, -1}};
	int rc = check_options(c, e);

	if (rc == 0) {
		c->status = EXEC_FAILED;
		rc = execute(&x, e);
		term_restore();
		if (rc < 0)
			err_wrap(e, "exec failed");
	}
	/* First the connection: with that the process in the guest has nobody but the stand-in. */
	fd_close(&x.sock);
	standin_cancel(&x.st);
	console_close(&x.con);
	fd_close(&x.own_tty);
	fd_close(&x.sig_fd);
	fd_close(&x.dir);
	json_put_ptr(&x.process);
	state_free(&x.s);
	free(c->o.env.v);
	free(c->o.caps.v);
	free(c->o.gids.v);
	return rc;
}
