/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PAUSECONTAINER, RESUMECONTAINER, UPDATECONTAINER, STATSCONTAINER, and the event of a container
 * that ran out of memory. What may wait runs in a job: freezing, syncing, and a lower memory limit,
 * which first takes away what is above it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/stats.h"
#include "base/fd.h"

#define FREEZE_MS_DEFAULT 10000
#define FREEZE_MS_MAX	  600000

/* ---- pause and resume -------------------------------------------------------------------------- */

struct pause_args {
	const struct container *c;
	int timeout_ms;
};

static int pause_job(void *arg, struct json_object *reply, struct err *e)
{
	const struct pause_args *p = arg;
	int rc = cgrp_freeze(p->c->id, true, p->timeout_ms);

	(void)reply;
	if (rc < 0) {
		(void)cgrp_freeze(p->c->id, false, 0);
		return rc == -EBUSY ? err_set(e, rc, "its processes did not freeze within %d ms",
					      p->timeout_ms)
				    : err_sys(e, rc, "freezing container '%s'", p->c->id);
	}
	/* Whoever pauses reads the files next (an engine's commit): what is mapped gets there, too. */
	sync();
	return 0;
}

void container_pause(struct agent *a, uint32_t req, struct json_object *o)
{
	struct pause_args args = {.c = container_named(a, req, o, true)};
	int64_t ms = FREEZE_MS_DEFAULT;
	struct err e = {0};
	int rc;

	if (!args.c)
		return;
	rc = js_int(o, "timeout_ms", 1, FREEZE_MS_MAX, &ms, &e);
	args.timeout_ms = (int)ms;
	rc = rc ? rc : job_start(a, req, pause_job, &args, &e);
	if (rc < 0)
		calls_reply_err(a, req, &e, 1);
}

void container_resume(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = container_named(a, req, o, true);
	struct err e = {0};
	int rc;

	if (!c)
		return;
	rc = cgrp_freeze(c->id, false, 0);
	if (rc < 0) {
		(void)err_sys(&e, rc, "thawing container '%s'", c->id);
		calls_reply_err(a, req, &e, 1);
		return;
	}
	calls_reply_ok(a, req, NULL);
}

/* ---- update ------------------------------------------------------------------------------------ */

struct update_args {
	const struct container *c;
	struct spec s;
	const char **devices; /* slots that have been filled, to be bound first */
	/* memory.checkBeforeUpdate: refuse when more than this is in use; 0 = do not look. */
	uint64_t below;
};

static int update_job(void *arg, struct json_object *reply, struct err *e)
{
	const struct update_args *u = arg;
	auto_fd dir = cgrp_open(u->c->id, 0);

	(void)reply;
	if (dir < 0)
		return err_sys(e, dir, "cgroup of container '%s'", u->c->id);
	for (const char *const *d = u->devices; *d; d++) {
		int rc = device_bind(*d, e);

		if (rc < 0)
			return rc;
	}
	if (u->below) {
		auto_free char *text = NULL;
		uint64_t used;
		int rc = fd_read_file(dir, "memory.current", 64, &text, NULL);

		if (rc < 0)
			return err_sys(e, rc, "memory.current");
		used = strtoull(text, NULL, 10);
		if (used > u->below)
			return err_set(e, -EBUSY,
				       "resources: memory.limit: %" PRIu64
				       " is below what is in use, %" PRIu64,
				       u->below, used);
	}
	return cgrp_apply(dir, &u->s.cgroup, e);
}

static int parse_update(struct json_object *o, struct update_args *u, struct err *e)
{
	struct json_object *res = NULL, *mem = NULL;
	int64_t limit = 0;
	bool check = false;
	int rc = js_obj(o, "resources", &res, e);

	if (rc == 0 && !res)
		rc = err_set(e, -EINVAL, "resources: missing");
	rc = rc ? rc : js_strv(o, "devices", &u->devices, NULL, NULL, e);
	for (size_t i = 0; rc == 0 && u->devices[i]; i++)
		if (strchr(u->devices[i], '/') || u->devices[i][0] == '.')
			rc = err_set(e, -EINVAL, "devices: '%s' is not a device's name",
				     u->devices[i]);
	rc = rc ? rc : gspec_parse_resources(res, &u->s, e);
	rc = rc ? rc : js_obj(res, "memory", &mem, e);
	if (rc == 0 && mem) {
		rc = js_bool(mem, "checkBeforeUpdate", &check, e);
		rc = rc ? rc : js_int(mem, "limit", -1, INT64_MAX, &limit, e);
		if (check && limit > 0)
			u->below = (uint64_t)limit;
	}
	return rc;
}

void container_update(struct agent *a, uint32_t req, struct json_object *o)
{
	struct update_args u = {.c = container_named(a, req, o, true)};
	struct err e = {0};
	int rc;

	if (!u.c)
		return;
	rc = parse_update(o, &u, &e);
	rc = rc ? rc : job_start(a, req, update_job, &u, &e);
	gspec_free(&u.s);
	free(u.devices);
	if (rc < 0)
		calls_reply_err(a, req, &e, 1);
}

/* ---- stats and out of memory ------------------------------------------------------------------- */

void container_stats(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = container_named(a, req, o, true);
	struct err e = {0};

	if (c && job_start(a, req, stats_job, c, &e) < 0)
		calls_reply_err(a, req, &e, 1);
}

void container_oom_check(struct container *c)
{
	char json[CONTAINER_ID_MAX + 96], text[1024];
	uint64_t kills;
	ssize_t n;

	if (c->oom.fd < 0)
		return;
	n = fd_pread_full(c->oom.fd, text, sizeof(text) - 1, 0);
	if (n < 0) {
		container_oom_forget(c); /* else it would be reported for ever */
		return;
	}
	text[n] = '\0';
	kills = stats_value(text, "oom_kill");
	if (kills <= c->oom_kills)
		return;
	c->oom_kills = kills;
	(void)snprintf(json, sizeof(json),
		       "{\"event\":\"oom\",\"container\":\"%s\",\"oom_kill\":%" PRIu64 "}", c->id,
		       kills);
	if (link_event(c->a->link, json) == -ENOMEM)
		agent_stop(c->a, "out of memory for an event");
}

static void oom_event(struct ev *ev, uint32_t events)
{
	(void)events;
	container_oom_check(container_of(ev, struct container, oom));
}

void container_oom_watch(struct container *c)
{
	auto_fd dir = cgrp_open(c->id, 0);
	auto_fd fd = dir < 0 ? -1 : openat(dir, "memory.events", O_RDONLY | O_CLOEXEC);

	c->oom.fn = oom_event;
	/* The kernel says POLLPRI when the file has changed since it was read. */
	if (fd >= 0 && ev_add(c->a, &c->oom, fd, EPOLLPRI) == 0)
		(void)fd_take(&fd);
}

void container_oom_forget(struct container *c)
{
	int fd = c->oom.fd;

	ev_del(c->a, &c->oom);
	fd_close(&fd);
}
