/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs create and run: the CLI's side of a sandbox process's birth (sandbox.h), and for run
 * the wait for its end. The later privileged host work (hooks of the runtime's namespaces) is done
 * here, because the sandbox process has left those namespaces.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/b64.h"
#include "runtime/cgroup.h"
#include "runtime/cli.h"
#include "runtime/cmds.h"
#include "runtime/hooks.h"
#include "runtime/sandbox.h"
#include "runtime/seccomp.h"
#include "vmm/check.h"

struct creation {
	struct cli *c;
	struct spec spec;
	struct sandbox_args a;
	int chan;      /* our end */
	int state_dir; /* locked */
	bool made_dir;
	bool is_child; /* we are the sandbox process, at its end */
	int child_status;
	pid_t pid;
};

static int check_options(const struct cli *c, struct err *e)
{
	const struct cli_opts *o = &c->o;

	if (o->no_pivot)
		return err_set(e, -ENOTSUP,
			       "--no-pivot: not supported: the root is always pivoted");
	if (o->console_socket)
		return err_set(e, -ENOTSUP, "--console-socket: terminals are not supported yet");
	if (o->preserve_fds && strcmp(o->preserve_fds, "0") != 0)
		return err_set(e, -ENOTSUP, "--preserve-fds: descriptors do not cross into a VM");
	if (o->boot_report && *o->boot_report && strcmp(o->boot_report, "json") != 0)
		return err_set(e, -EINVAL, "option --boot-report: expected json, not '%s'",
			       o->boot_report);
	if (c->g->systemd_cgroup)
		return err_set(e, -ENOTSUP, "--systemd-cgroup: not supported yet: cgroupfs only");
	return 0;
}

static int compile_seccomp(struct creation *k, struct err *e)
{
	struct json_object *s = json_at(k->spec.root, "linux.seccomp");
	auto_free void *prog = NULL;
	size_t len = 0;
	int rc;

	if (!s)
		return 0;
	rc = seccomp_compile(s, &prog, &len, e);
	if (rc < 0)
		return rc;
	k->a.seccomp = b64_encode(prog, len);
	return k->a.seccomp ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* Everything that can fail before anything has been made. */
static int prepare(struct creation *k, const char *id, struct err *e)
{
	struct sandbox_args *a = &k->a;
	struct cli *c = k->c;
	int rc;

	rc = spec_load(&k->spec, c->o.bundle ? c->o.bundle : ".", e);
	if (rc == 0 && k->spec.terminal)
		rc = err_set(e, -ENOTSUP,
			     "config.json: process.terminal: terminals are not supported yet");
	if (rc == 0)
		rc = compile_seccomp(k, e);
	if (rc == 0)
		rc = assets_open(c->g->assets, &a->assets, e);
	if (rc == 0) /* before its cgroup is found to be in use */
		rc = state_check_free(c->g->root, id, e);
	if (rc == 0)
		rc = cgroup_resolve(&k->spec, &a->state.cgroup, &a->state.cgroup_keep, e);
	if (rc < 0)
		return rc;
	a->root = c->g->root;
	a->spec = &k->spec;
	a->log_fd = c->g->log_fd;
	a->report = c->g->report;
	a->memory = sandbox_memory(&k->spec);
	a->cpus = sandbox_cpus(&k->spec);
	a->state.id = strdup(id);
	a->state.version = strdup(SPEC_VERSION);
	a->state.bundle = strdup(k->spec.bundle);
	a->state.rootfs = strdup(k->spec.rootfs);
	a->state.annotations = json_object_get(json_at(k->spec.root, "annotations"));
	a->state.exit_status = -1;
	clock_rfc3339(a->state.created, sizeof(a->state.created), 9);
	if (!a->state.id || !a->state.version || !a->state.bundle || !a->state.rootfs)
		return err_set(e, -ENOMEM, "out of memory");
	report_stamp(c->g->report, PHASE_CONFIG);
	return 0;
}

static int make_state(struct creation *k, struct err *e)
{
	int rc = state_make_dir(k->a.root, k->a.state.id, &k->state_dir, e);

	if (rc < 0)
		return rc;
	k->made_dir = true;
	k->a.state_dir = k->state_dir;
	rc = fd_write_file(k->state_dir, STATE_SPEC, k->spec.text, k->spec.text_len, 0600);
	if (rc == 0)
		rc = state_save(k->state_dir, &k->a.state);
	return rc < 0 ? err_sys(e, rc, "state directory '%s/%s'", k->a.root, k->a.state.id) : 0;
}

static int fork_sandbox(struct creation *k, struct err *e)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, -errno, "socket pair");
	k->chan = pair[0];
	k->a.chan = pair[1];
	(void)fflush(NULL); /* nothing buffered that both would write */
	k->pid = fork();
	if (k->pid < 0) {
		(void)close(pair[1]);
		return err_sys(e, -errno, "fork");
	}
	if (k->pid == 0) {
		(void)close(pair[0]);
		k->chan = -1;
		k->is_child = true;
		k->child_status = sandbox_main(&k->a);
		return 0;
	}
	(void)close(pair[1]);
	return 0;
}

static int runtime_hooks(struct creation *k, struct err *e)
{
	auto_json doc = NULL;
	int rc;

	k->a.state.pid = k->pid;
	doc = state_to_json(&k->a.state, STATE_CREATING, false, NULL);
	rc = hooks_run(k->spec.root, "prestart", doc, NULL, e);
	if (rc == 0)
		rc = hooks_run(k->spec.root, "createRuntime", doc, NULL, e);
	return rc;
}

static int answer(struct creation *k, enum say what, struct err *e)
{
	struct say_msg m = {.what = (char)what};

	if (send(k->chan, &m, sizeof(m), MSG_NOSIGNAL) < 0)
		return err_sys(e, -errno, "the sandbox process");
	return 0;
}

static int write_pid_file(const struct creation *k, struct err *e)
{
	const char *path = k->c->o.pid_file;
	char text[16];
	int rc;

	if (!path)
		return 0;
	(void)snprintf(text, sizeof(text), "%d", (int)k->pid);
	rc = fd_replace_file(AT_FDCWD, path, text, strlen(text), 0644);
	return rc < 0 ? err_sys(e, rc, "pid file '%s'", path) : 0;
}

/* The CLI's half of the conversation in sandbox.h. */
static int attend_birth(struct creation *k, struct err *e)
{
	for (;;) {
		struct say_msg m = {0};
		ssize_t n = recv(k->chan, &m, sizeof(m), 0);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(m))
			return err_set(e, -ECHILD, "the sandbox process died while it was made");
		m.text[sizeof(m.text) - 1] = '\0';
		switch (m.what) {
		case SAY_BORN:
			rc = runtime_hooks(k, e);
			if (rc == 0)
				rc = answer(k, SAY_GO_ON, e);
			break;
		case SAY_READY:
			rc = write_pid_file(k, e);
			return rc == 0 ? answer(k, SAY_COMMIT, e) : rc;
		case SAY_FAILED:
			k->c->status = m.status;
			return err_set(e, m.code < 0 ? m.code : -EIO, "%s", m.text);
		default:
			rc = err_set(e, -EPROTO, "the sandbox process said something strange");
			break;
		}
		if (rc < 0)
			return rc;
	}
}

/* A creation that failed leaves nothing. */
static void undo(struct creation *k)
{
	auto_fd root = -1;

	if (k->pid > 0) {
		fd_close(&k->chan);
		(void)kill(k->pid, SIGKILL);
		while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (!k->made_dir)
		return;
	if (k->a.state.cgroup)
		(void)cgroup_remove(k->a.state.cgroup, k->a.state.cgroup_keep);
	root = open(k->a.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root >= 0)
		(void)state_remove_dir(root, k->a.state.id);
}

static void creation_end(struct creation *k)
{
	fd_close(&k->chan);
	if (!k->is_child)
		fd_close(&k->state_dir); /* in the child long closed, and its number another's */
	if (k->a.assets.kernel_fd >= 0)
		(void)close(k->a.assets.kernel_fd);
	if (k->a.assets.image_fd >= 0)
		(void)close(k->a.assets.image_fd);
	state_free(&k->a.state);
	free(k->a.seccomp);
	spec_free(&k->spec);
}

/* 0 in the CLI when the container is there, and in the child when it is over. */
static int create(struct creation *k, struct err *e)
{
	int rc;

	k->chan = k->state_dir = -1;
	k->a.assets.kernel_fd = k->a.assets.image_fd = -1;
	rc = cmds_one_id(k->c, "create", e);
	if (rc == 0)
		rc = check_options(k->c, e);
	if (rc == 0)
		rc = prepare(k, k->c->argv[0], e);
	if (rc == 0)
		rc = make_state(k, e);
	if (rc == 0)
		rc = fork_sandbox(k, e);
	if (k->is_child)
		return 0;
	if (rc == 0)
		rc = attend_birth(k, e);
	if (rc < 0)
		undo(k);
	return rc;
}

int cmd_create(struct cli *c, struct err *e)
{
	struct creation k = {.c = c};
	int rc = create(&k, e);

	if (k.is_child)
		rc = k.child_status;
	creation_end(&k);
	return rc;
}

/* ---- run ------------------------------------------------------------------------------------- */

static int forward_signals(int *ret_fd, struct err *e)
{
	sigset_t set;

	(void)sigfillset(&set);
	(void)sigdelset(&set, SIGSEGV);
	(void)sigdelset(&set, SIGBUS);
	(void)sigdelset(&set, SIGFPE);
	(void)sigdelset(&set, SIGILL);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return err_sys(e, -errno, "signal mask");
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *ret_fd < 0 ? err_sys(e, -errno, "signalfd") : 0;
}

/* Waits for the sandbox process and hands signals on to it. Returns the exit status or -errno. */
static int wait_for(pid_t pid, int sig_fd, struct err *e)
{
	auto_fd pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
	struct signalfd_siginfo si;
	int status = 0;

	if (pidfd < 0)
		return err_sys(e, -errno, "pidfd");
	for (;;) {
		struct pollfd p[2] = {{.fd = pidfd, .events = POLLIN},
				      {.fd = sig_fd, .events = POLLIN}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_sys(e, -errno, "poll");
		if (p[1].revents && read(sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si) &&
		    si.ssi_signo != SIGCHLD)
			(void)kill(pid, (int)si.ssi_signo);
		if (!p[0].revents)
			continue;
		if (waitpid(pid, &status, 0) < 0)
			return err_sys(e, -errno, "waiting for the sandbox process");
		return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

/* The container did not start: was it the VM? Then the host's KVM may have a reason of its own. */
static void explain(struct err *e)
{
	struct err kvm = {0};

	if (strstr(e->msg, "the VM ended") && kvm_probe(&kvm) < 0)
		*e = kvm;
}

static int run_container(struct creation *k, struct err *e)
{
	struct cli *c = k->c;
	struct err ignored = {0};
	auto_fd sig_fd = -1;
	int rc;

	/* It is made. Others may delete it while we wait for its end. */
	state_unlock(k->state_dir);
	rc = forward_signals(&sig_fd, e);
	if (rc == 0)
		rc = cmds_start(c, k->state_dir, k->a.state.id, e);
	if (rc < 0) {
		explain(e);
	} else if (c->o.detach) {
		return 0;
	} else {
		rc = wait_for(k->pid, sig_fd, e);
	}
	fd_close(&k->state_dir);
	if (!(rc >= 0 && c->o.keep) && cmds_delete(c->g->root, k->a.state.id, true, &ignored) < 0 &&
	    ignored.code != -ENOENT) /* somebody else has deleted it */
		log_warn("%s", ignored.msg);
	if (rc < 0)
		while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
			;
	return rc;
}

int cmd_run(struct cli *c, struct err *e)
{
	struct creation k = {.c = c};
	int rc = create(&k, e);

	if (k.is_child) {
		rc = k.child_status;
		creation_end(&k);
		return rc;
	}
	if (rc == 0) {
		rc = run_container(&k, e);
		if (c->o.boot_report && !c->o.detach)
			report_print(c->g->report, stderr, *c->o.boot_report != '\0');
	}
	creation_end(&k);
	return rc;
}
