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
#include "runtime/client.h"
#include "runtime/signame.h"
#include "runtime/spec.h"
#include "runtime/state.h"

#define GONE_NS (10 * NS_PER_SEC) /* how long a killed process may take to be gone */

int cmds_one_id(struct cli *c, const char *verb, struct err *e)
{
	if (c->argc == 0)
		return err_set(e, -EINVAL, "%s: needs the ID of a container", verb);
	if (c->argc > 1)
		return err_set(e, -EINVAL, "%s: unexpected argument '%s'", verb, c->argv[1]);
	return state_check_id(c->argv[0], e);
}

/* Opens and reads; a container whose creation is not far enough for a file counts as creating. */
static int open_state(struct cli *c, const char *id, int *ret_dir, struct state *s, struct err *e)
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
		rc = open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	owner_of(dir, owner, sizeof(owner));
	o = state_to_json(&s, s.status, true, owner);
	(void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
								   JSON_C_TO_STRING_SPACED |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
	return 0;
}

/* ---- list ------------------------------------------------------------------------------------ */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void list_row(const struct cli *c, const struct state *s, const char *owner,
		     struct json_object *all)
{
	bool json = c->o.format && !strcmp(c->o.format, "json");

	if (c->o.quiet)
		(void)printf("%s\n", s->id);
	else if (json)
		(void)json_object_array_add(all, state_to_json(s, s->status, true, owner));
	else
		(void)printf("%-24s %-8d %-9s %-40s %-31s %s\n", s->id,
			     s->status == STATE_STOPPED ? 0 : (int)s->pid,
			     state_status_name(s->status), s->bundle ? s->bundle : "", s->created,
			     owner);
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
	if (!json && !c->o.quiet)
		(void)printf("%-24s %-8s %-9s %-40s %-31s %s\n", "ID", "PID", "STATUS", "BUNDLE",
			     "CREATED", "OWNER");
	for (int i = 0; i < n; i++) {
		CLEANUP(state_free) struct state s = {0};
		struct err ignored = {0};
		auto_fd dir = -1;
		char owner[32];

		/* One that ends under our eyes is not listed. */
		if (!state_check_id(names[i]->d_name, &ignored) &&
		    !open_state(c, names[i]->d_name, &dir, &s, &ignored)) {
			owner_of(dir, owner, sizeof(owner));
			list_row(c, &s, owner, all);
		}
		free(names[i]);
	}
	free(names);
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
		return err_set(e, -ENOTSUP, "spec --rootless: not supported yet");
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
	if (rc < 0 || json_len(spec, "hooks.poststart") == 0)
		return rc;
	rc = state_load(dir, &s, e);
	if (rc < 0)
		return rc;
	doc = state_to_json(&s, STATE_RUNNING, false, NULL);
	return hooks_run(spec, "poststart", doc, NULL, e);
}

int cmds_start(struct cli *c, int dir, const char *id, struct err *e)
{
	auto_json req = json_object_new_object();
	int rc, status;

	json_add_str(req, "op", "start");
	rc = client_call(dir, req, &status, e);
	if (rc == -ECONNREFUSED && !e->code) {
		CLEANUP(state_free) struct state s = {0};

		if (state_load(dir, &s, e) == 0)
			return err_set(e, -ESRCH, "cannot start a container that is %s",
				       state_status_name(s.status));
		return err_set(e, -ESRCH, "container '%s' does not exist", id);
	}
	if (rc < 0) {
		c->status = status;
		return rc;
	}
	rc = poststart(dir, id, e);
	if (rc < 0) {
		struct err ignored = {0};

		json_add_str(req, "op", "kill");
		json_add_i64(req, "signal", SIGKILL);
		(void)!client_call(dir, req, &status, &ignored);
	}
	return rc;
}

int cmd_start(struct cli *c, struct err *e)
{
	CLEANUP(state_free) struct state s = {0};
	auto_fd dir = -1;
	int rc = cmds_one_id(c, "start", e);

	if (rc == 0)
		rc = open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	if (s.status != STATE_CREATED)
		return err_set(e, -EBUSY, "cannot start container '%s' that is %s", s.id,
			       state_status_name(s.status));
	return cmds_start(c, dir, s.id, e);
}

/* ---- kill ------------------------------------------------------------------------------------ */

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
	signo = signal_parse(name);
	if (signo < 0)
		return err_set(e, -EINVAL, "kill: unknown signal '%s'", name);
	rc = open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	if (s.status == STATE_STOPPED)
		return err_set(e, -ESRCH, "container not running");
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
	if (hooks_run(spec, "poststop", doc, NULL, &e) < 0)
		log_warn("%s", e.msg);
}

int cmds_delete(const char *root, const char *id, bool force, struct err *e)
{
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
	if (s.status == STATE_RUNNING && !force)
		return err_set(e, -EBUSY,
			       "cannot delete container '%s' that is not stopped: it is running",
			       id);
	memset(e, 0, sizeof(*e));
	/* One that has said it is stopped is on its way out by itself. */
	rc = known ? end_process(&s, s.status != STATE_STOPPED, GONE_NS, e) : 0;
	if (rc < 0)
		return rc;
	rc = cgroup_remove(s.cgroup, s.cgroup_keep);
	if (rc < 0)
		log_warn("cgroup %s: %s", s.cgroup, strerror(-rc));
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
