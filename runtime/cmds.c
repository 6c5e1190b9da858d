/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs that look at a container or talk to its sandbox process. create and run are in
 * create.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/cgroup.h"
#include "runtime/cli.h"
#include "runtime/cmds.h"
#include "runtime/hooks.h"
#include "runtime/nettap.h"
#include "runtime/client.h"
#include "runtime/console.h"
#include "runtime/signame.h"
#include "runtime/spec.h"
#include "runtime/state.h"

#define GONE_NS (10 * NS_PER_SEC) /* how long a killed process may take to be gone */
#define END_MS	10000		  /* ... one that could not start its container */

int cmds_one_id(struct cli *c, const char *verb, struct err *e)
{
	if (c->argc == 0)
		return err_set(e, -EINVAL, "%s: needs the ID of a container", verb);
	if (c->argc > 1)
		return err_set(e, -EINVAL, "%s: unexpected argument '%s'", verb, c->argv[1]);
	return state_check_id(c->argv[0], e);
}

int cmds_open_state(struct cli *c, const char *id, int *ret_dir, struct state *s, struct err *e)
{
	auto_fd dir = -1;
	int rc = state_open_dir(c->g->root, id, &dir, e);

	if (rc < 0)
		return rc;
	rc = state_load(dir, s, e);
	if (rc == -ENOENT && !e->code) {
		s->id = strdup(id);
		s->version = strdup(SPEC_VERSION);
		s->exit_status = -1;
		rc = s->id && s->version ? 0 : err_set(e, -ENOMEM, "out of memory");
	}
	if (rc < 0)
		return err_wrap(e, "container '%s'", id);
	*ret_dir = fd_take(&dir);
	return 0;
}

int cmds_tell_pid(const struct cli_opts *o, pid_t pid, struct err *e)
{
	char text[16];
	int rc = 0;

	if (o->pidfd_socket)
		rc = console_send_pidfd(pid, o->pidfd_socket, e);
	if (rc < 0 || !o->pid_file)
		return rc;
	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	rc = fd_replace_file(AT_FDCWD, o->pid_file, text, strlen(text), 0644);
	return rc < 0 ? err_sys(e, rc, "pid file '%s'", o->pid_file) : 0;
}

static void owner_of(int dir, char *buf, size_t len)
{
	struct stat st = {0};

	(void)fstat(dir, &st);
	/* getpwuid() would load libraries into a static program; root is who it is. */
	if (st.st_uid == 0)
		(void)snprintf(buf, len, "root");
	else
		(void)snprintf(buf, len, "#%u", st.st_uid);
}

int cmd_state(struct cli *c, struct err *e)
{
	CLEANUP(state_free) struct state s = {0};
	auto_json o = NULL;
	auto_fd dir = -1;
	char owner[32];
	int rc = cmds_one_id(c, "state", e);

	if (rc == 0)
		rc = cmds_open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	owner_of(dir, owner, sizeof(owner));
	o = state_to_json(&s, s.status, true, owner);
	json_print(o);
	return 0;
}

/* ---- list ------------------------------------------------------------------------------------ */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Columns as wide as what is in them: at least 12, and 3 apart. */
static void print_list(struct json_object *all)
{
	static const char *const keys[] = {"id", "pid", "status", "bundle", "created", "owner"};
	static const char *const heads[] = {"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"};
	size_t cnt = json_object_array_length(all), width[ARRAY_LEN(keys)];

	for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
		width[k] = 12 - 3;
		for (size_t i = 0; i < cnt; i++) {
			struct json_object *v = json_at(json_object_array_get_idx(all, i), keys[k]);

			width[k] = MAX(width[k], v ? strlen(json_object_get_string(v)) : 0);
		}
	}
	for (size_t i = 0; i <= cnt; i++)
		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			struct json_object *v =
			    i ? json_at(json_object_array_get_idx(all, i - 1), keys[k]) : NULL;
			const char *text = !i ? heads[k] : v ? json_object_get_string(v) : "";

			if (k + 1 < ARRAY_LEN(keys))
				(void)printf("%-*s", (int)width[k] + 3, text);
			else
				(void)printf("%s\n", text);
		}
}

int cmd_list(struct cli *c, struct err *e)
{
	auto_json all = json_object_new_array();
	struct dirent **names = NULL;
	bool json = c->o.format && !strcmp(c->o.format, "json");
	int n;

	if (c->argc)
		return err_set(e, -EINVAL, "list: unexpected argument '%s'", c->argv[0]);
	if (c->o.format && !json && strcmp(c->o.format, "table") != 0)
		return err_set(e, -EINVAL,
			       "list: option --format: expected table or json, not '%s'",
			       c->o.format);
	n = scandir(c->g->root, &names, NULL, by_name);
	if (n < 0 && errno != ENOENT)
		return err_sys(e, -errno, "state directory '%s'", c->g->root);
	for (int i = 0; i < n; i++) {
		CLEANUP(state_free) struct state s = {0};
		struct err ignored = {0};
		auto_fd dir = -1;
		char owner[32];

		/* One that ends under our eyes is not listed. */
		if (!state_check_id(names[i]->d_name, &ignored) &&
		    !cmds_open_state(c, names[i]->d_name, &dir, &s, &ignored)) {
			owner_of(dir, owner, sizeof(owner));
			if (c->o.quiet)
				(void)printf("%s\n", s.id);
			else
				(void)json_object_array_add(
				    all, state_to_json(&s, s.status, true, owner));
		}
		free(names[i]);
	}
	free(names);
	if (!json && !c->o.quiet)
		print_list(all);
	if (json && !c->o.quiet)
		(void)printf("%s\n",
			     json_object_to_json_string_ext(
				 all, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	return 0;
}

/* ---- spec ------------------------------------------------------------------------------------ */

int cmd_spec(struct cli *c, struct err *e)
{
	auto_free char *text = spec_template();
	auto_fd dir = -1;
	auto_fd fd = -1;
	int rc;

	if (c->argc)
		return err_set(e, -EINVAL, "spec: unexpected argument '%s'", c->argv[0]);
	if (c->o.rootless)
		return err_set(e, -ENOTSUP, "spec --rootless: not supported: husk needs root");
	dir = open(c->o.bundle ? c->o.bundle : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, -errno, "bundle '%s'", c->o.bundle ? c->o.bundle : ".");
	fd = openat(dir, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST)
		return err_set(e, -EEXIST, "config.json exists already: remove it first");
	if (fd < 0)
		return err_sys(e, -errno, "config.json");
	rc = text ? fd_write_full(fd, text, strlen(text)) : -ENOMEM;
	if (rc < 0)
		(void)unlinkat(dir, "config.json", 0);
	return rc < 0 ? err_sys(e, rc, "config.json") : 0;
}

/* ---- start ----------------------------------------------------------------------------------- */

/* Hooks that run once the process does; a failure stops the container (spec 1.3). */
static int poststart(int dir, const char *id, struct err *e)
{
	CLEANUP(state_free) struct state s = {0};
	auto_free char *text = NULL;
	auto_json spec = NULL;
	auto_json doc = NULL;
	size_t len = 0;
	int rc = fd_read_file(dir, STATE_SPEC, SPEC_SIZE_MAX, &text, &len);

	if (rc < 0)
		return err_sys(e, rc, "container '%s': " STATE_SPEC, id);
	rc = json_parse(text, len, STATE_SPEC, &spec, e);
	if (rc == 0)
		rc = state_load(dir, &s, e);
	if (rc < 0)
		return rc;
	doc = state_to_json(&s, STATE_RUNNING, false, NULL);
	return hooks_run(spec, "poststart", doc, NULL, e);
}

/*
 * A container that could not be started is over. Engines delete it as soon as they hear so, and a
 * container that still seems to be created they cannot delete.
 */
static void await_end(int dir)
{
	CLEANUP(state_free) struct state s = {0};
	auto_fd fd = -1;
	struct pollfd p = {.events = POLLIN};
	struct err ignored = {0};

	if (state_load(dir, &s, &ignored) < 0 || s.pid <= 0)
		return;
	fd = (int)syscall(SYS_pidfd_open, s.pid, 0u);
	if (fd < 0) /* it has ended */
		return;
	p.fd = fd;
	(void)poll(&p, 1, END_MS);
}

int cmds_start(struct cli *c, int dir, const char *id, bool wait, struct err *e)
{
	auto_json req = json_object_new_object();
	auto_json answer = NULL;
	int rc, status;

	json_add_str(req, "op", "start");
	json_add_bool(req, "wait", wait);
	rc = client_query(dir, req, &answer, &status, e);
	if (rc == -ECONNREFUSED && !e->code) {
		CLEANUP(state_free) struct state s = {0};
		auto_fd again = -1;

		rc = cmds_open_state(c, id, &again, &s, e);
		return rc < 0 ? rc
			      : err_set(e, -ESRCH, "cannot start a container that is %s",
					state_status_name(s.status));
	}
	if (rc < 0) {
		c->status = status;
		if (rc == -ESHUTDOWN)
			await_end(dir);
		return rc;
	}
	/* A sandbox process of an older husk does not say. */
	if (answer && json_flag(answer, "poststart", true))
		rc = poststart(dir, id, e);
	if (rc < 0) {
		struct err ignored = {0};

		json_add_str(req, "op", "kill");
		json_add_i64(req, "signal", SIGKILL);
		(void)!client_call(dir, req, &status, &ignored);
	}
	return rc;
}

/* The sandbox process knows best whether it can: state.json is read only when it is not there. */
int cmd_start(struct cli *c, struct err *e)
{
	auto_fd dir = -1;
	int rc = cmds_one_id(c, "start", e);

	if (rc == 0)
		rc = state_open_dir(c->g->root, c->argv[0], &dir, e);
	return rc < 0 ? rc : cmds_start(c, dir, c->argv[0], false, e);
}

/* ---- kill ------------------------------------------------------------------------------------ */

/*
 * A sandbox process that is stopped itself cannot be asked: it gets the signal as any process would,
 * and hands it on when it is continued. SIGCONT continues it, SIGKILL ends it and the VM.
 */
static bool kill_halted(const struct state *s, int signo)
{
	auto_fd fd = s->pid > 0 ? (int)syscall(SYS_pidfd_open, s->pid, 0u) : -1;

	return fd >= 0 && state_alive(s) && state_is_halted(s) &&
	       syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0u) == 0;
}

int cmd_kill(struct cli *c, struct err *e)
{
	CLEANUP(state_free) struct state s = {0};
	auto_json req = json_object_new_object();
	const char *name = c->argc > 1 ? c->argv[1] : "TERM";
	auto_fd dir = -1;
	int signo, rc, status;

	if (c->argc > 2)
		return err_set(e, -EINVAL, "kill: unexpected argument '%s'", c->argv[2]);
	if (c->argc > 1)
		c->argc = 1;
	rc = cmds_one_id(c, "kill", e);
	if (rc < 0)
		return rc;
	signo = strcmp(name, "0") != 0 ? signal_parse(name) : 0; /* 0: does it run? */
	if (signo < 0)
		return err_set(e, -EINVAL, "kill: unknown signal '%s'", name);
	rc = cmds_open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	if (s.status == STATE_STOPPED && c->o.all) /* with the first process all have ended */
		return 0;
	if (s.status == STATE_STOPPED)
		return err_set(e, -ESRCH, "container not running");
	if (signo == 0 || kill_halted(&s, signo))
		return 0;
	json_add_str(req, "op", "kill");
	json_add_i64(req, "signal", signo);
	json_add_bool(req, "all", c->o.all);
	rc = client_call(dir, req, &status, e);
	if (rc == -ECONNREFUSED && !e->code)
		return err_set(e, -ESRCH, "container not running");
	return rc;
}

/* ---- delete ---------------------------------------------------------------------------------- */

/*
 * Waits until the process of @s is gone, kills it before that if asked to. A zombie counts as gone:
 * it is its parent's business.
 */
static int end_process(const struct state *s, bool force, uint64_t grace_ns, struct err *e)
{
	uint64_t until = clock_ns() + grace_ns;
	auto_fd fd = s->pid > 0 ? (int)syscall(SYS_pidfd_open, s->pid, 0u) : -1;

	/* Looked at after the pidfd was taken, so the pid cannot have become somebody else's. */
	if (fd < 0 || !state_alive(s))
		return 0;
	if (force)
		(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0u);
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = clock_ns();

		if (poll(&p, 1, now < until ? (int)((until - now) / NS_PER_MS + 1) : 0) > 0)
			return 0;
		if (clock_ns() < until)
			continue;
		if (force)
			return err_set(e, -ETIMEDOUT, "process %d does not end after SIGKILL",
				       (int)s->pid);
		force = true;
		until = clock_ns() + GONE_NS;
		(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0u);
	}
}

/*
 * What lies on interfaces of a name space that is not the container's own, where the sandbox process
 * could not take it away itself: killed.
 */
static void sweep_network(int dir, const char *id)
{
	auto_free char *text = NULL;
	auto_json spec = NULL;
	struct json_object *list;
	size_t len = 0;

	if (fd_read_file(dir, STATE_SPEC, SPEC_SIZE_MAX, &text, &len) < 0 ||
	    json_parse(text, len, STATE_SPEC, &spec, NULL) < 0)
		return;
	list = json_at(spec, "linux.namespaces");
	for (size_t i = 0; i < json_len(spec, "linux.namespaces"); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		if (!strcmp(json_str(o, "type", ""), "network") && json_str(o, "path", NULL))
			nettap_sweep_path(json_str(o, "path", NULL), id);
	}
}

static void poststop(int dir, const struct state *s)
{
	auto_free char *text = NULL;
	auto_json spec = NULL;
	auto_json doc = NULL;
	struct err e = {0};
	size_t len = 0;

	if (fd_read_file(dir, STATE_SPEC, SPEC_SIZE_MAX, &text, &len) < 0 ||
	    json_parse(text, len, STATE_SPEC, &spec, &e) < 0)
		return;
	doc = state_to_json(s, STATE_STOPPED, false, NULL);
	hooks_run_all(spec, "poststop", doc);
}

int cmds_delete(const char *root, const char *id, bool force, struct err *e)
{
	CLEANUP(cgroup_free) struct cgroup cg = {0};
	struct err bad = {0};
	CLEANUP(state_free) struct state s = {0};
	auto_fd dir = -1;
	auto_fd rootdir = -1;
	bool known;
	int rc = state_open_dir(root, id, &dir, e);

	/* A sandbox process that is not yet committed holds nothing back: it sees its CLI's end. */
	if (rc == 0)
		rc = state_lock(dir, id, e);
	if (rc < 0)
		return rc;
	rc = state_load(dir, &s, e);
	known = rc == 0;
	if (rc < 0 && !force && e->code)
		return err_wrap(e, "container '%s'", id);
	if ((s.status == STATE_RUNNING || s.status == STATE_PAUSED) && !force)
		return err_set(e, -EBUSY,
			       "cannot delete container '%s' that is not stopped: it is %s", id,
			       state_status_name(s.status));
	memset(e, 0, sizeof(*e));
	/* One that has said it is stopped is on its way out by itself. */
	rc = known ? end_process(&s, s.status != STATE_STOPPED, GONE_NS, e) : 0;
	if (rc < 0)
		return rc;
	sweep_network(dir, id);
	if (cgroup_from_json(&cg, s.cgroup, &bad) < 0)
		log_warn("%s", bad.msg);
	(void)cgroup_remove(&cg); /* says itself what it cannot */
	rootdir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rootdir < 0)
		return err_sys(e, -errno, "state directory '%s'", root);
	if (known && s.status != STATE_CREATING)
		poststop(dir, &s);
	rc = state_remove_dir(rootdir, id);
	return rc < 0 ? err_sys(e, rc, "removing %s/%s", root, id) : 0;
}

int cmd_delete(struct cli *c, struct err *e)
{
	int rc = cmds_one_id(c, "delete", e);

	if (rc < 0)
		return rc;
	rc = cmds_delete(c->g->root, c->argv[0], c->o.force, e);
	if (rc == -ENOENT && c->o.force) {
		memset(e, 0, sizeof(*e));
		return 0;
	}
	return rc;
}
