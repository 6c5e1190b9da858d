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

#include "base/b64.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/sigfd.h"
#include "runtime/cgroup.h"
#include "runtime/cli.h"
#include "runtime/cmds.h"
#include "runtime/console.h"
#include "runtime/hooks.h"
#include "runtime/mounts.h"
#include "runtime/sandbox.h"
#include "runtime/seccomp.h"
#include "runtime/standin.h"
#include "vmm/check.h"
#include "vmm/term.h"

struct creation {
	struct cli *c;
	struct spec spec;
	struct sandbox_args a;
	int chan;      /* our end */
	int state_dir; /* locked */
	bool made_dir;
	bool detach; /* this command returns before the container's end */
	struct console con;
	int own_tty; /* the terminal of this command, in the foreground */
	char *kernel_params;
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
	if (o->preserve_fds && strcmp(o->preserve_fds, "0") != 0)
		return err_set(e, -ENOTSUP, "--preserve-fds: descriptors do not cross into a VM");
	if (o->boot_report && *o->boot_report && strcmp(o->boot_report, "json") != 0)
		return err_set(e, -EINVAL, "option --boot-report: expected json, not '%s'",
			       o->boot_report);
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

/* The configuration's words, the annotation's, and those of the vm section, in this order. */
static char *kernel_params(const struct spec *s, const struct config *conf, const struct annot *ann)
{
	struct json_object *words = json_at(s->root, "vm.kernel.parameters");
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	(void)fputs(conf->kernel_params, f);
	if (ann->kernel_params)
		(void)fprintf(f, " %s", ann->kernel_params);
	for (size_t i = 0; words && i < json_object_array_length(words); i++)
		(void)fprintf(f, " %s",
			      json_object_get_string(json_object_array_get_idx(words, i)));
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

/* A container may ask for less than the administrator allows, not for more. */
static uint64_t lower(uint64_t limit, uint64_t asked)
{
	return limit && asked ? MIN(limit, asked) : MAX(limit, asked);
}

static void set_net(struct sandbox_args *a, const struct config *conf, const struct annot *ann)
{
	const uint64_t burst = conf->net.burst_ms * NS_PER_MS;

	a->net.model = (enum net_model)conf->net.model;
	a->net.rx = (struct net_limit){.bytes = lower(conf->net.rx_rate, ann->rx_rate),
				       .packets = conf->net.rx_packets,
				       .burst_ns = burst};
	a->net.tx = (struct net_limit){.bytes = lower(conf->net.tx_rate, ann->tx_rate),
				       .packets = conf->net.tx_packets,
				       .burst_ns = burst};
}

/* How large the VM is and what it boots. */
static int size_vm(struct creation *k, struct err *e)
{
	struct assets_want want = {.dir = k->c->g->assets};
	const struct config *conf = NULL;
	struct sizing_host host;
	struct annot ann;
	int rc = cli_config(k->c->g, &conf, e);

	if (rc == 0)
		rc = annot_read(&ann, json_at(k->spec.root, "annotations"), conf, e);
	if (rc < 0)
		return rc;
	sizing_of_host(&host);
	rc = sizing_of(&k->a.size, &k->spec, &ann, conf, &host, e);
	if (rc < 0)
		return rc;
	k->kernel_params = kernel_params(&k->spec, conf, &ann);
	if (!k->kernel_params)
		return err_set(e, -ENOMEM, "out of memory");
	k->a.kernel_params = k->kernel_params;
	set_net(&k->a, conf, &ann);
	k->a.balloon = conf->memory.balloon;
	/* The command line is nearer than the file, and the container than both. */
	want.kernel = ann.kernel ? ann.kernel : want.dir ? NULL : conf->kernel;
	want.image = want.dir ? NULL : conf->image;
	if (k->spec.vm_kernel)
		want.kernel = k->spec.vm_kernel;
	if (k->spec.vm_image)
		want.image = k->spec.vm_image;
	want.initrd = k->spec.vm_initrd;
	return assets_open(&want, &k->a.assets, e);
}

/* Its cgroup on the host and the limits there. */
static int place(struct creation *k, const char *id, struct err *e)
{
	struct sandbox_args *a = &k->a;
	int rc = cglimits_of(&a->limits, json_at(k->spec.root, "linux.resources"), &a->size, e);

	if (rc == 0)
		rc = cgroup_resolve(&a->cgroup, &k->spec, id, k->c->g->systemd_cgroup, e);
	if (rc < 0)
		return rc;
	a->state.cgroup = cgroup_to_json(&a->cgroup);
	a->state.size = a->size;
	return 0;
}

/* Everything that can fail before anything has been made. */
static int prepare(struct creation *k, const char *id, struct err *e)
{
	struct sandbox_args *a = &k->a;
	struct cli *c = k->c;
	int rc;

	rc = spec_load(&k->spec, c->o.bundle ? c->o.bundle : ".", e);
	if (rc == 0)
		rc = console_check(k->spec.terminal, k->detach, c->o.console_socket, e);
	if (rc == 0)
		rc = compile_seccomp(k, e);
	if (rc == 0)
		rc = disks_open(&k->spec, &a->disks, e);
	if (rc == 0)
		rc = mounts_for_guest(&k->spec, e);
	if (rc == 0)
		rc = size_vm(k, e);
	if (rc == 0) /* before its cgroup is found to be in use */
		rc = state_check_free(c->g->root, id, e);
	if (rc == 0)
		rc = place(k, id, e);
	if (rc < 0)
		return rc;
	a->root = c->g->root;
	a->spec = &k->spec;
	a->log_fd = c->g->log_fd;
	a->report = c->g->report;
	a->report->wanted = c->o.boot_report != NULL;
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

static int open_terminal(struct creation *k, struct err *e)
{
	struct json_object *process = json_at(k->spec.root, "process");
	int rc;

	if (!k->spec.terminal)
		return 0;
	if (!k->c->o.console_socket) {
		k->own_tty = console_own(e);
		if (k->own_tty < 0)
			return k->own_tty;
		console_add_size(process, k->own_tty);
		k->a.tty_fd = k->own_tty;
		return 0;
	}
	rc = console_open(&k->con, process, e);
	if (rc == 0)
		rc = console_send(&k->con, k->c->o.console_socket, e);
	k->a.tty_fd = k->con.slave;
	k->a.tty_own = true;
	return rc;
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
			rc = cmds_tell_pid(&k->c->o, k->pid, e);
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
	(void)cgroup_remove(&k->a.cgroup);
	root = open(k->a.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root >= 0)
		(void)state_remove_dir(root, k->a.state.id);
}

static void creation_end(struct creation *k)
{
	fd_close(&k->chan);
	if (!k->is_child) { /* in the child long closed, and their numbers others' */
		fd_close(&k->state_dir);
		console_close(&k->con);
		fd_close(&k->own_tty);
	}
	if (k->a.assets.kernel_fd >= 0)
		(void)close(k->a.assets.kernel_fd);
	if (k->a.assets.image_fd >= 0)
		(void)close(k->a.assets.image_fd);
	if (k->a.assets.initrd_fd >= 0)
		(void)close(k->a.assets.initrd_fd);
	if (!k->is_child) /* in the child long its devices' */
		disks_close(&k->a.disks);
	state_free(&k->a.state);
	free(k->a.seccomp);
	free(k->kernel_params);
	cgroup_free(&k->a.cgroup);
	spec_free(&k->spec);
}

/* 0 in the CLI when the container is there, and in the child when it is over. */
static int create(struct creation *k, struct err *e)
{
	int rc;

	k->chan = k->state_dir = k->own_tty = k->a.tty_fd = -1;
	k->con = (struct console){-1, -1};
	k->a.assets = (struct assets){.kernel_fd = -1, .image_fd = -1, .initrd_fd = -1};
	rc = cmds_one_id(k->c, "create", e);
	if (rc == 0)
		rc = check_options(k->c, e);
	if (rc == 0)
		rc = prepare(k, k->c->argv[0], e);
	if (rc == 0)
		rc = make_state(k, e);
	if (rc == 0)
		rc = open_terminal(k, e);
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
	struct creation k = {.c = c, .detach = true};
	int rc = create(&k, e);

	if (k.is_child)
		rc = k.child_status;
	creation_end(&k);
	return rc;
}

/* ---- run ------------------------------------------------------------------------------------- */

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
	sig_fd = sigfd_open(NULL, 0, e);
	rc = sig_fd < 0 ? sig_fd : 0;
	/* Before the process runs and writes. */
	if (rc == 0 && !c->o.detach && k->own_tty >= 0 && term_foreground(k->own_tty))
		(void)term_raw(k->own_tty);
	if (rc == 0)
		rc = cmds_start(c, k->state_dir, k->a.state.id, true, e);
	if (rc >= 0 && c->o.detach)
		return 0;
	if (rc >= 0)
		rc = wait_for(k->pid, sig_fd, e);
	else
		explain(e);
	term_restore();
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
	struct creation k = {.c = c, .detach = c->o.detach};
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
