/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verb events: one line of JSON for each. A child waits for memory to run out, which the sandbox
 * process answers when it happens; this process prints the figures in between, and ends when the
 * child does, because the container is gone then.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/cli.h"
#include "runtime/cmds.h"
#include "runtime/events_json.h"
#include "runtime/state.h"

#define INTERVAL "5s"

/* One write for each line: two processes print. */
static int print(struct json_object *o, struct err *e)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								 JSON_C_TO_STRING_NOSLASHESCAPE);
	auto_free char *line = NULL;
	int n, rc;

	n = text ? asprintf(&line, "%s\n", text) : -1;
	if (n < 0) {
		line = NULL;
		return err_set(e, -ENOMEM, "out of memory");
	}
	rc = fd_write_full(1, line, (size_t)n);
	return rc < 0 ? err_sys(e, rc, "events: printing") : 0;
}

static int print_stats(int dir, const char *id, struct err *e)
{
	auto_json req = json_object_new_object();
	auto_json figures = NULL;
	auto_json o = NULL;
	int rc = cmds_query(dir, "stats", req, &figures, e);

	if (rc < 0)
		return rc;
	o = events_stats(id, figures);
	return print(o, e);
}

/* Until the sandbox process is gone or nobody reads us. Its first answer is how it stands now. */
static void wait_for_oom(int dir, const char *id)
{
	int64_t seen = -1;

	for (;;) {
		auto_json req = json_object_new_object();
		auto_json answer = NULL;
		auto_json o = NULL;
		struct err e = {0};
		int64_t now;

		json_add_i64(req, "oom", seen);
		if (cmds_query(dir, "wait", req, &answer, &e) < 0 ||
		    json_flag(answer, "ended", false))
			return;
		now = json_i64(answer, "oom", 0);
		if (seen >= 0 && now > seen) {
			o = events_oom(id);
			if (print(o, &e) < 0)
				return;
		}
		seen = now;
	}
}

static pid_t start_waiter(int dir, const char *id)
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		wait_for_oom(dir, id);
	_exit(0); /* the child's end */
}

static int follow(int dir, const struct state *s, uint64_t interval_ns, struct err *e)
{
	pid_t pid = start_waiter(dir, s->id);
	auto_fd child = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0u) : -1;
	uint64_t next = clock_ns() + interval_ns;
	int rc = 0;

	if (pid < 0 || child < 0)
		return err_sys(e, -errno, "events: starting a process");
	while (rc == 0) {
		struct pollfd p = {.fd = child, .events = POLLIN};
		uint64_t now = clock_ns();
		struct err err = {0};
		uint64_t ms = now < next ? (next - now) / NS_PER_MS + 1 : 0;

		if (poll(&p, 1, (int)MIN(ms, 3600000)) > 0)
			break;
		if (clock_ns() < next)
			continue;
		next += interval_ns;
		/* A container that is not started yet, or ends just now, has none. */
		if (print_stats(dir, s->id, &err) < 0 && err.code == -EPIPE)
			rc = err_set(e, err.code, "%s", err.msg);
		else if (err.code)
			log_dbg("%s", err.msg);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return rc;
}

int cmd_events(struct cli *c, struct err *e)
{
	CLEANUP(state_free) struct state s = {0};
	uint64_t interval_ns = 0;
	auto_fd dir = -1;
	int rc = cmds_one_id(c, "events", e);

	if (rc == 0)
		rc = events_interval(c->o.interval ? c->o.interval : INTERVAL, &interval_ns, e);
	if (rc == 0)
		rc = cmds_open_state(c, c->argv[0], &dir, &s, e);
	if (rc < 0)
		return rc;
	if (s.status == STATE_STOPPED || s.status == STATE_CREATING)
		return err_set(e, -ESRCH, "container with id %s is not running", s.id);
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error that is said */
	return c->o.stats ? print_stats(dir, s.id, e) : follow(dir, &s, interval_ns, e);
}
